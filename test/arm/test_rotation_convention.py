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

"""Which way is roll: about the end effector, along the axes of the base (SimplerEnv 78)."""

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import next_target, rotation_from_rpy
from rlrc_ros.types import Action
from scipy.spatial.transform import Rotation

DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""BridgeData's default: the gripper points straight down, its own x axis along -z of the base."""


def turned(rpy_rad: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation vector in base axes, and the position, after one action from DOWN."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = DOWN, (0.3, 0.0, 0.1)
    T_next = next_target(T, Action(np.zeros(3), np.array(rpy_rad), 1.0))
    return Rotation.from_matrix(T_next[:3, :3] @ DOWN.T).as_rotvec(), T_next[:3, 3]


@pytest.mark.parametrize('axis', range(3), ids=['roll', 'pitch', 'yaw'])
def test_each_angle_turns_about_its_base_axis_and_leaves_the_hand_where_it_is(axis: int) -> None:
    """Of a hand that points down, roll tilts it sideways; taken in its own axes it would yaw."""
    rpy = [0.0, 0.0, 0.0]
    rpy[axis] = 0.2
    vector, position = turned(tuple(rpy))
    assert vector == pytest.approx(np.eye(3)[axis] * 0.2, abs=1e-12)
    assert position == pytest.approx((0.3, 0.0, 0.1))
    own_axes = Rotation.from_matrix(
        DOWN @ rotation_from_rpy(np.array(rpy)) @ DOWN.T).as_rotvec()
    if axis == 0:
        assert own_axes == pytest.approx((0.0, 0.0, -0.2), abs=1e-12)  # the trap: a yaw


def test_the_real_controllers_euler_order_differs_little_at_the_policys_steps() -> None:
    """The robot multiplies Rz Ry Rx, the suite Rx Ry Rz: 1.6 degrees apart at most at q99."""
    rpy = np.array([0.0819, 0.0779, 0.2038])  # q99 of bridge_orig
    ours = rotation_from_rpy(rpy)
    theirs = Rotation.from_euler('xyz', rpy).as_matrix()  # extrinsic: Rz @ Ry @ Rx
    assert 0.005 < Rotation.from_matrix(ours.T @ theirs).magnitude() < np.deg2rad(1.6)
