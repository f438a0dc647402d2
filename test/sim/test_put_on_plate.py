# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The task's judgement, against the suite's own numbers where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
from rlrc_sim.put_on_plate import is_on_plate, potential
import torch

GOLDENS = Path(__file__).parents[3] / 'shared' / 'goldens' / 'ppo_a'


def _golden(name: str):
    path = GOLDENS / name
    if not path.exists():
        pytest.skip(f'no ../shared/goldens/ppo_a/{name} beside the repository')
    return np.load(path)


def test_success_equals_the_official_formula():
    """Every golden row of poses, boxes and forces is judged as the suite judges it."""
    golden = _golden('success.npz')

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(np.asarray(golden[name])).float()

    force = tensor('contact_force')
    ours = is_on_plate(
        tensor('object_pos').reshape(-1, 3), tensor('target_pos').reshape(-1, 3),
        tensor('object_bbox_world').reshape(-1, 3) / 2,
        tensor('target_bbox_world').reshape(-1, 3) / 2, force.reshape(-1, 3))
    np.testing.assert_array_equal(ours.numpy(), golden['success'].reshape(-1).astype(bool))


def test_reward_equals_the_official_sequence():
    """Rewards over the golden episodes' flags are the suite's, step by step."""
    golden = _golden('reward.npz')
    grasped = golden['is_src_obj_grasped'].astype(bool)
    held = golden['consecutive_grasp'].astype(bool)
    success = golden['success'].astype(bool)
    steps, envs = golden['reward'].shape[:2]
    grasped, held, success = (each.reshape(steps, envs) for each in (grasped, held, success))
    before = torch.zeros(envs)
    for step in range(steps):
        now = potential(*(torch.from_numpy(each[step]) for each in (grasped, held, success)))
        np.testing.assert_allclose(
            (now - before).numpy(), golden['reward'][step].reshape(-1), atol=1e-6)
        before = now


def test_an_object_beside_or_above_the_plate_is_no_success():
    """Distance, height and contact each decide."""
    plate, half_object = torch.zeros(1, 3), torch.full((1, 3), 0.02)
    half_plate = torch.tensor([[0.055, 0.055, 0.003]])
    press, none = torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3)

    def judged(x: float, z: float, force: torch.Tensor) -> bool:
        return bool(is_on_plate(torch.tensor([[x, 0.0, z]]), plate, half_object, half_plate,
                                force))

    assert judged(0.0, 0.023, press)
    assert judged(0.064, 0.023, press) and not judged(0.066, 0.023, press)
    assert not judged(0.0, 0.080, press)
    assert not judged(0.0, -0.01, press)
    assert not judged(0.0, 0.023, none)
