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

"""The arm's state as a policy reads it."""

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics, rotation_from_rpy
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M, INITIAL_RAD
from rlrc_ros.arm.proprio import proprio_of, rpy_of
from rlrc_ros.vla.config import PROPRIO_LAYOUTS

POSE = Kinematics().forward(INITIAL_RAD)


@pytest.mark.parametrize('seed', range(5))
def test_euler_angles_give_the_rotation_back(seed: int) -> None:
    """They are those that an action's rotation is made of."""
    rpy_rad = np.random.default_rng(seed).uniform(-1.5, 1.5, 3)
    np.testing.assert_allclose(rpy_of(rotation_from_rpy(rpy_rad)), rpy_rad, atol=1e-12)


def test_every_layout_has_its_length_and_its_numbers() -> None:
    """Position first where there is one; the gripper as an action counts it."""
    for layout, length in PROPRIO_LAYOUTS.items():
        closed, opened = (proprio_of(layout, POSE, INITIAL_RAD, finger_m)
                          for finger_m in (FINGER_CLOSED_M, FINGER_OPEN_M))
        assert closed.shape == (length,)
        assert closed.dtype == np.float32
        start = INITIAL_RAD[:3] if layout == 'joints_gripper' else POSE[:3, 3]
        np.testing.assert_allclose(closed[:3], start, atol=1e-6)
        if layout == 'xyz_axis_angle_fingers':
            assert opened[-2:] == pytest.approx([FINGER_OPEN_M, -FINGER_OPEN_M])
            angle_rad = np.arccos((np.trace(POSE[:3, :3]) - 1) / 2)
            assert np.linalg.norm(closed[3:6]) == pytest.approx(angle_rad, abs=1e-5)
        else:
            assert (closed[-1], opened[-1]) == (0.0, 1.0)


def test_an_unknown_layout_is_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="'mine' is not known"):
        proprio_of('mine', POSE, INITIAL_RAD, 0.02)
