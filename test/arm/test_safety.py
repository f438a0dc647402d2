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

"""Every reason of the safety gate, and that refusing changes nothing."""

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics, next_target
from rlrc_ros.arm.limits import ARM_JOINTS, HOME_RAD, INITIAL_RAD
from rlrc_ros.arm.safety import JointCommand, Rejection, SafetyGate, SafetyLimits
from rlrc_ros.types import Action, StopReason

KINEMATICS = Kinematics()
WIDE = {'workspace_lower_m': (-1.0, -1.0, -1.0), 'workspace_upper_m': (1.0, 1.0, 1.0)}


def action(
    xyz_m: tuple[float, ...] = (0, 0, 0), rpy_rad: tuple[float, ...] = (0, 0, 0),
    gripper: float = 1.0,
) -> Action:
    """Return an action of plain numbers."""
    return Action(np.array(xyz_m, dtype=float), np.array(rpy_rad, dtype=float), gripper)


def check(
    step: Action, q_rad: np.ndarray = INITIAL_RAD, commanded: np.ndarray | None = None,
    target: np.ndarray | None = None, **limits: object,
) -> JointCommand | Rejection:
    """Put one action to a gate, from the pose of `q_rad`."""
    gate = SafetyGate(SafetyLimits(**limits), KINEMATICS)
    T = KINEMATICS.forward(q_rad) if target is None else target
    return gate.check(step, T, q_rad, commanded)


def test_a_good_action_becomes_the_joints_that_reach_it() -> None:
    """The command's joints, put through forward kinematics, are the last target plus the delta."""
    command = check(action((0.02, -0.01, 0.01), (0.0, 0.0, 0.1), gripper=0.0))
    assert isinstance(command, JointCommand)
    moved = KINEMATICS.forward(command.arm_rad)
    assert moved == pytest.approx(command.T_base_ee, abs=1e-4)
    assert moved[:3, 3] - KINEMATICS.forward(INITIAL_RAD)[:3, 3] == pytest.approx(
        (0.02, -0.01, 0.01), abs=1e-4)
    assert command.finger_m == 0.015


@pytest.mark.parametrize(('step', 'reason', 'said'), [
    (action((np.nan, 0, 0)), StopReason.ACTION_NOT_FINITE, 'nan'),
    (action(gripper=np.inf), StopReason.ACTION_NOT_FINITE, 'inf'),
    (action((0.06, 0, 0)), StopReason.ACTION_TOO_LARGE, 'translation of 0.060 m'),
    (action((0, 0, 0), (0, 0, -0.3)), StopReason.ACTION_TOO_LARGE, 'rotation of 0.300 rad'),
])
def test_a_bad_number_or_a_large_step_is_refused(
    step: Action, reason: StopReason, said: str,
) -> None:
    """NaN, infinity and steps beyond the bound each give their reason and the number."""
    rejection = check(step)
    assert rejection.reason is reason
    assert said in rejection.detail


def test_a_step_at_the_bound_passes_in_float32() -> None:
    """A policy that saturates answers 0.25 as float32 has it, and that is allowed."""
    assert isinstance(check(action(rpy_rad=(0, 0, float(np.float32(0.25)) + 1e-8))), JointCommand)


def test_a_target_outside_the_box_stops_at_its_face() -> None:
    """On that axis alone: the others, the turn and the next steps go on."""
    box = {'workspace_lower_m': (0.1, -0.2, 0.1)}
    command = check(action((-0.02, 0.01, -0.04), (0, 0, 0.1)), **box)
    free = next_target(KINEMATICS.forward(INITIAL_RAD), action((-0.02, 0.01, -0.04), (0, 0, 0.1)))
    assert command.T_base_ee[2, 3] == 0.1 > free[2, 3] and command.clamped
    np.testing.assert_array_equal(command.T_base_ee[:2], free[:2])
    np.testing.assert_allclose(KINEMATICS.forward(command.arm_rad), command.T_base_ee, atol=1e-3)
    there = check(action((0, 0, -0.04)), command.arm_rad, target=command.T_base_ee, **box)
    assert there.T_base_ee[2, 3] == 0.1, 'it does not creep out'
    up = check(action((0, 0, 0.02)), command.arm_rad, target=command.T_base_ee, **box)
    assert up.T_base_ee[2, 3] == pytest.approx(0.12) and not up.clamped


def test_a_target_outside_the_box_is_refused_where_that_is_asked() -> None:
    """The reason names axis, target and bounds."""
    rejection = check(action((0, 0, -0.04)), workspace_lower_m=(0.1, -0.2, 0.1),
                      clamp_to_workspace=False)
    assert rejection.reason is StopReason.OUTSIDE_WORKSPACE
    assert 'target z = 0.095 m; the box allows 0.1 ... 0.3 m' in rejection.detail


def test_an_arm_outside_the_box_may_only_come_in() -> None:
    """From the home pose, above the box, down is allowed and up is refused."""
    assert isinstance(check(action((0, 0, -0.03)), HOME_RAD), JointCommand)
    assert check(action((0, 0, 0.01)), HOME_RAD).reason is StopReason.OUTSIDE_WORKSPACE
    assert check(action((0, 0, 0)), HOME_RAD).reason is StopReason.OUTSIDE_WORKSPACE


def test_an_unreachable_target_is_refused() -> None:
    """A target beyond the arm's length has its own reason."""
    far = KINEMATICS.forward(INITIAL_RAD)
    far[:3, 3] = (0.8, 0.0, 0.3)
    rejection = check(action(), target=far, **WIDE)
    assert rejection.reason is StopReason.UNREACHABLE
    assert '(0.800, 0.000, 0.300)' in rejection.detail


def test_a_joint_at_its_limit_is_refused() -> None:
    """Turning a wrist that stands at its margin further gives the joint's name and range."""
    q = np.array(HOME_RAD)
    q[3], q[4], q[5] = 0.0, 0.5, 3.10
    turn = KINEMATICS.forward(q)
    q_further = np.array(q)
    q_further[5] = 3.14
    rejection = check(action(), q, target=KINEMATICS.forward(q_further), **WIDE)
    assert rejection.reason is StopReason.JOINT_LIMIT
    assert 'wrist_rotate would go to 3.140 rad' in rejection.detail
    assert isinstance(check(action(), q, target=turn, **WIDE), JointCommand)


def test_a_joint_that_would_race_is_refused() -> None:
    """Too far from the measured joints, or from the last command, is too fast."""
    rejection = check(action((0, 0.03, 0)), max_joint_speed_rad_s=0.2)
    assert rejection.reason is StopReason.JOINT_SPEED
    assert 'measured' in rejection.detail
    elsewhere = np.array(INITIAL_RAD)
    elsewhere[ARM_JOINTS.index('waist')] += 1.0
    rejection = check(action(), commanded=elsewhere)
    assert rejection.reason is StopReason.JOINT_SPEED
    assert 'waist' in rejection.detail
    assert 'commanded' in rejection.detail


def test_refusing_leaves_the_target_as_it_was() -> None:
    """The gate changes none of what it is given."""
    T = KINEMATICS.forward(INITIAL_RAD)
    before, q = T.copy(), np.array(INITIAL_RAD)
    gate = SafetyGate(SafetyLimits(), KINEMATICS)
    assert isinstance(gate.check(action((0.0, 0.0, 0.3)), T, q), Rejection)
    assert np.array_equal(T, before)
    assert np.array_equal(q, INITIAL_RAD)


@pytest.mark.parametrize(('limits', 'said'), [
    ({'max_step_m': 0.0}, 'max_step_m'), ({'max_step_rad': 9.0}, 'max_step_rad'),
    ({'joint_margin_rad': -0.1}, 'joint_margin_rad'),
    ({'max_joint_speed_rad_s': float('nan')}, 'max_joint_speed_rad_s'),
    ({'period_s': 0.0}, 'period_s'),
    ({'workspace_lower_m': (0.1, 0.2)}, 'three numbers'),
    ({'workspace_lower_m': (0.1, 0.2, float('nan'))}, 'three numbers'),
    ({'workspace_lower_m': (0.9, -0.2, 0.0)}, 'box is empty'),
])
def test_limits_that_make_no_sense_are_refused(limits: dict, said: str) -> None:
    """Each bound is checked when the limits are made."""
    with pytest.raises(ValueError, match=said):
        SafetyLimits(**limits)
