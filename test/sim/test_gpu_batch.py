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

"""ManiSkill's batched simulation on a GPU: the small task means there what it means on a CPU."""

import gymnasium as gym
import numpy as np
import pytest
from rlrc_sim.put_on_plate import ENV_ID
from rlrc_sim.world import World
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.sim, pytest.mark.skipif(
    not torch.cuda.is_available(), reason='no CUDA device: batched physics runs on a GPU only')]
SEEDS = [0, 1, 2, 3]


def test_a_batch_on_a_gpu_begins_and_judges_as_single_worlds_do():
    """
    Four environments: things stand where four worlds on a CPU have them, to 2 mm.

    Lying beside the plate counts for none of them; put onto it, for all, and only for those.
    """
    env = gym.make(ENV_ID, num_envs=len(SEEDS), obs_mode='none', reward_mode='sparse',
                   control_mode='ee', sim_backend='physx_cuda', render_backend='gpu',
                   max_episode_steps=10**9).unwrapped
    env.reset(seed=0, options={'episode_set': 'ind', 'episode_seeds': SEEDS})
    world = World((32, 32))
    for row, seed in enumerate(SEEDS):
        world.reset(seed)
        assert env.instructions[row] == world.instruction
        for ours, theirs in ((env.object_pose, world._env.object_pose),
                             (env.plate_pose, world._env.plate_pose)):
            np.testing.assert_allclose(ours()[row, :3].cpu(), theirs()[0, :3], atol=2e-3)
    world.close()

    still = torch.zeros(len(SEEDS), 7, device=env.device)
    still[:, 6] = 0.037
    assert not env.step(still)[4]['success'].any()
    lifted = env.plate_pose().clone()
    lifted[:, 2] += env._plate_half[:, 2] + env._object_half[:, 2] + 0.003
    for row in (0, 2):
        actor = env._actors[env.placements[row].object_name]
        pose = actor.pose.raw_pose.clone()
        pose[row, :3] = lifted[row, :3]
        actor.set_pose(type(actor.pose).create(pose))
    env.scene._gpu_apply_all()
    env.scene._gpu_fetch_all()
    for _ in range(3):
        _, reward, _, _, verdict = env.step(still)
    assert verdict['success'].tolist() == [True, False, True, False]
    assert not reward.any(), 'nothing was grasped, so nothing is paid'
    env.close()
