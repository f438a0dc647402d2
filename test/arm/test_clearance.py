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

"""The arm's distance from itself and from the table, and what the gate makes of it."""

import numpy as np
import pytest
from rlrc_ros.arm.clearance import ClearanceModel
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import HOME_RAD, INITIAL_RAD, SLEEP_RAD
from rlrc_ros.arm.safety import JointCommand, Rejection, SafetyGate, SafetyLimits
from rlrc_ros.types import Action, StopReason

KINEMATICS = Kinematics()
WIDE = {'workspace_lower_m': (-1.0, -1.0, -1.0), 'workspace_upper_m': (1.0, 1.0, 1.0)}
STILL = Action(np.zeros(3), np.zeros(3), 1.0)


def check(action: Action, q_rad: np.ndarray, **limits: object) -> JointCommand | Rejection:
    """Put one action to a gate without a box, from the pose of `q_rad`."""
    gate = SafetyGate(SafetyLimits(**{**WIDE, **limits}), KINEMATICS)
    return gate.check(action, KINEMATICS.forward(q_rad), q_rad)


def test_known_poses_have_their_known_distances() -> None:
    """At home the forearm is 0.3395 m above the base and the tips hang free; asleep it touches."""
    model = ClearanceModel(0.0)
    home = model.at(HOME_RAD)
    # By hand: fingers are 26 mm thick around z = 0.36065.
    assert home.finger_m == pytest.approx(0.36065 - 0.013, abs=1e-4)
    assert home.self_m > 0.04
    assert model.at(SLEEP_RAD).self_m < 0
    raised = ClearanceModel(0.1).at(HOME_RAD)
    assert raised.finger_m == pytest.approx(home.finger_m - 0.1, abs=1e-6)


@pytest.mark.parametrize(('q_rad', 'xyz_m', 'said'), [
    ((0.0, -1.51, 1.43, 0.0, 0.81, 0.0), (0.0, 0.0, -0.02), 'shoulder and gripper would be'),
    ((0.0, 0.6, 0.49, 0.0, -0.83, 0.0), (0.0, 0.0, -0.02), 'gripper_bar would be'),
], ids=['itself', 'table'])
def test_a_link_that_would_hit_something_is_refused_by_name(
    q_rad: tuple[float, ...], xyz_m: tuple[float, ...], said: str,
) -> None:
    """Hand against shoulder, hand against table: refused, with links and millimetres."""
    q = np.array(q_rad)
    assert isinstance(check(STILL, q), JointCommand)
    refused = check(Action(np.array(xyz_m), np.zeros(3), 1.0), q)
    assert refused.reason is StopReason.COLLISION
    assert said in refused.detail


def test_fingers_may_come_down_only_so_far() -> None:
    """With a hard table (finger_clearance_m 0) a step through it is refused in millimetres."""
    down = Action(np.array([0.0, 0.0, -0.05]), np.zeros(3), 0.0)
    q = np.array([0.0, 0.3, 0.3, 0.0, 0.9, 0.0])
    above_m = ClearanceModel(-0.0005).at(q).finger_m
    assert 0 < above_m < 0.05
    refused = check(down, q, finger_clearance_m=0.0)
    assert refused.reason is StopReason.COLLISION
    assert 'a finger would be' in refused.detail
    assert isinstance(check(down, q, finger_clearance_m=-0.05, table_clearance_m=-0.05),
                      JointCommand)


def test_an_arm_that_begins_too_close_may_move_apart_only() -> None:
    """The sleep pose touches itself: away from it is allowed; deeper in is not."""
    up = Action(np.array([0.0, 0.0, 0.01]), np.zeros(3), 1.0)
    assert isinstance(check(up, SLEEP_RAD), JointCommand)
    close = np.array([0.0, -1.51, 1.43, 0.0, 0.81, 0.0])
    in_m, out_m = np.array([0.0, 0.0, -0.01]), np.array([0.01, 0.0, 0.01])
    demanding = {'self_clearance_m': 0.03}
    assert check(Action(in_m, np.zeros(3), 1.0), close, **demanding).reason is (
        StopReason.COLLISION)
    assert isinstance(check(Action(out_m, np.zeros(3), 1.0), close, **demanding), JointCommand)


def test_a_speed_that_changes_too_fast_is_refused() -> None:
    """A step back right after a step forth needs twice the change of speed."""
    gate = SafetyGate(SafetyLimits(max_joint_acceleration_rad_s2=3.0), KINEMATICS)
    T = KINEMATICS.forward(INITIAL_RAD)
    forth = gate.check(Action(np.array([0, 0.02, 0.0]), np.zeros(3), 1.0), T, INITIAL_RAD)
    assert isinstance(forth, JointCommand)
    speed = (forth.arm_rad - INITIAL_RAD) / gate.limits.period_s
    back = Action(np.array([0, -0.02, 0.0]), np.zeros(3), 1.0)
    refused = gate.check(back, forth.T_base_ee, forth.arm_rad, forth.arm_rad, speed)
    assert refused.reason is StopReason.JOINT_ACCELERATION
    assert 'rad/s2' in refused.detail
    assert isinstance(
        gate.check(back, forth.T_base_ee, forth.arm_rad, forth.arm_rad, 0 * speed), JointCommand)


def test_an_answer_far_from_the_arm_is_not_near() -> None:
    """The same pose with another elbow is no solution: every joint stays within its step."""
    refused = check(Action(np.array([0, 0.05, 0.0]), np.zeros(3), 1.0), INITIAL_RAD,
                    max_joint_step_rad=0.05)
    assert refused.reason is StopReason.UNREACHABLE
    assert 'at most 0.05' in refused.detail
