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

"""Forward and inverse kinematics of the WidowX-250S, and how targets add up."""

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics, next_target, rotation_from_rpy
from rlrc_ros.arm.limits import HOME_RAD, INITIAL_RAD, JOINT_LOWER_RAD, JOINT_UPPER_RAD, SLEEP_RAD
from rlrc_ros.types import Action
from scipy.spatial.transform import Rotation


@pytest.fixture(scope='module')
def kinematics() -> Kinematics:
    """Return one solver for all tests."""
    return Kinematics()


def pose(xyz_m: tuple[float, float, float], rotation: np.ndarray | None = None) -> np.ndarray:
    """Return a homogeneous matrix (4, 4)."""
    T = np.eye(4)
    T[:3, 3] = xyz_m
    T[:3, :3] = np.eye(3) if rotation is None else rotation
    return T


def move(xyz_m: tuple[float, ...] = (0, 0, 0), rpy_rad: tuple[float, ...] = (0, 0, 0)) -> Action:
    """Return an action with the hand open."""
    return Action(np.array(xyz_m, dtype=float), np.array(rpy_rad, dtype=float), 1.0)


def test_home_pose_is_the_published_one(kinematics: Kinematics) -> None:
    """All joints at zero put the end effector at (0.458325, 0, 0.36065), unrotated."""
    assert kinematics.forward(HOME_RAD) == pytest.approx(
        pose((0.458325, 0.0, 0.36065)), abs=1e-6)


def test_sleep_pose_is_the_published_one(kinematics: Kinematics) -> None:
    """Interbotix' resting pose puts the end effector at (0.1227, 0, 0.0813)."""
    assert kinematics.forward(SLEEP_RAD)[:3, 3] == pytest.approx((0.1227, 0, 0.0813), abs=1e-4)


def test_inverse_undoes_forward_over_random_configurations(kinematics: Kinematics) -> None:
    """From a seed up to 0.2 rad away, FK(IK(T)) is T for every reachable pose tried."""
    random = np.random.default_rng(7)
    for _ in range(300):
        q = random.uniform(JOINT_LOWER_RAD, JOINT_UPPER_RAD)
        T = kinematics.forward(q)
        found = kinematics.inverse(T, q + random.uniform(-0.2, 0.2, 6))
        assert found is not None
        error = kinematics.forward(found)
        assert np.linalg.norm(error[:3, 3] - T[:3, 3]) < 1e-4
        angle = Rotation.from_matrix(error[:3, :3] @ T[:3, :3].T).magnitude()
        assert angle < 1e-3


def test_inverse_stays_near_its_seed(kinematics: Kinematics) -> None:
    """A step of the policy's size changes the joints by less than one step's worth of speed."""
    random = np.random.default_rng(8)
    T = kinematics.forward(INITIAL_RAD)
    for _ in range(50):
        action = move(random.uniform(-0.03, 0.03, 3), random.uniform(-0.2, 0.2, 3))
        found = kinematics.inverse(next_target(T, action), INITIAL_RAD)
        assert np.abs(found - INITIAL_RAD).max() < 0.62


def test_inverse_works_from_the_wrist_singularity(kinematics: Kinematics) -> None:
    """At home two wrist axes are one; small moves from there are still found."""
    T = next_target(kinematics.forward(HOME_RAD), move((-0.02, 0.01, -0.02), (0.05, 0.1, 0.05)))
    found = kinematics.inverse(T, HOME_RAD)
    assert kinematics.forward(found) == pytest.approx(T, abs=1e-4)


@pytest.mark.parametrize('target', [(2.0, 0.0, 0.0), (0.0, 0.0, 1.5), (0.6, 0.4, 0.3)])
def test_an_unreachable_pose_has_no_solution(
    kinematics: Kinematics, target: tuple[float, float, float],
) -> None:
    """A pose beyond the arm's length gives None, not an approximation."""
    assert kinematics.inverse(pose(target), INITIAL_RAD) is None


def test_rotation_is_intrinsic_xyz() -> None:
    """The three angles mean Rx @ Ry @ Rz, as the task suite's controller reads them."""
    rpy = np.array([0.3, -0.2, 0.5])
    assert rotation_from_rpy(rpy) == pytest.approx(Rotation.from_euler('XYZ', rpy).as_matrix())


def test_a_roll_turns_about_the_base_axis_through_the_end_effector() -> None:
    """With the gripper pointing down, a roll is about base x and keeps the position."""
    down = Rotation.from_euler('y', 90, degrees=True).as_matrix()
    T = next_target(pose((0.3, 0.1, 0.2), down), move(rpy_rad=(0.2, 0.0, 0.0)))
    assert T[:3, 3] == pytest.approx((0.3, 0.1, 0.2))
    assert T[:3, :3] == pytest.approx(Rotation.from_euler('x', 0.2).as_matrix() @ down)


def test_translation_is_in_base_axes() -> None:
    """A turned gripper does not turn the translation."""
    down = Rotation.from_euler('y', 90, degrees=True).as_matrix()
    T = next_target(pose((0.3, 0.1, 0.2), down), move((0.01, 0.02, 0.03)))
    assert T[:3, 3] == pytest.approx((0.31, 0.12, 0.23))


def test_targets_stay_rotations_over_hours() -> None:
    """After 20000 steps, more than an hour of them, the target's rotation is still orthonormal."""
    T, action = np.eye(4), move(rpy_rad=(0.21, -0.17, 0.13))
    for _ in range(20_000):
        T = next_target(T, action)
    assert T[:3, :3] @ T[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
