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

"""When what the node senses is fit to act on, and what it says when it is not."""

import numpy as np
import pytest
from rlrc_ros.arm.limits import ARM_JOINTS, INITIAL_RAD
from rlrc_ros.arm.safety import Rejection
from rlrc_ros.nodes.senses import Frame, Guards, Now, Senses
from rlrc_ros.types import StopReason

NAMES = (*ARM_JOINTS, 'gripper', 'left_finger', 'right_finger')
POSITIONS = (*INITIAL_RAD.tolist(), 0.0, 0.03, -0.03)
IMAGE = np.zeros((4, 4, 3), np.uint8)


def at(time_s: float, ros_s: float | None = None) -> Now:
    """Return a moment; both clocks agree unless told otherwise."""
    return Now(round((time_s if ros_s is None else ros_s) * 1e9), time_s)


def senses(*, lockstep: bool = False) -> Senses:
    """Return senses that know an instruction, an image and joints from time 10 s."""
    made = Senses(0.5, 0.1, lockstep=lockstep)
    made.instruction = 'put carrot on plate'
    made.see(Frame(IMAGE, at(10.0).ros_ns, 10.0))
    made.feel(NAMES, POSITIONS, at(10.0).ros_ns, 10.0)
    return made


def test_fresh_senses_have_no_fault() -> None:
    """With everything there and new, nothing is held against the node."""
    assert senses().fault(at(10.05)) is None


def test_joints_are_read_by_name_in_any_order() -> None:
    """A driver that lists its joints backwards gives the same reading."""
    made = senses()
    made.feel(NAMES[::-1], POSITIONS[::-1], at(10.0).ros_ns, 10.0)
    assert made.joints.arm_rad == pytest.approx(INITIAL_RAD)
    assert made.joints.finger_m == 0.03


def test_foreign_joints_count_only_while_the_arms_own_are_missing() -> None:
    """Another part of the robot on the same topic does no harm, alone it is named."""
    made = senses()
    made.feel(('wheel_left', 'wheel_right'), (0.0, 0.0), at(10.05).ros_ns, 10.05)
    assert made.fault(at(10.06)) is None
    fault = made.fault(at(10.2))
    assert fault.reason is StopReason.JOINT_STATE_INVALID
    assert 'wheel_left' in fault.detail
    assert 'waist' in fault.detail


def test_a_nan_joint_counts_at_once_and_is_named() -> None:
    """One NaN from the arm holds it until a finite state comes."""
    made = senses()
    made.feel(NAMES, (*POSITIONS[:2], np.nan, *POSITIONS[3:]), at(10.01).ros_ns, 10.01)
    fault = made.fault(at(10.02))
    assert fault.reason is StopReason.JOINT_STATE_INVALID
    assert 'elbow' in fault.detail
    made.feel(NAMES, POSITIONS, at(10.03).ros_ns, 10.03)
    assert made.fault(at(10.04)) is None


@pytest.mark.parametrize(('now', 'said'), [
    (at(10.04, ros_s=1_700_000_000.0), 'use_sim_time'), (at(10.04, ros_s=2.0), 's after now'),
    (at(10.9, ros_s=10.0), 'newest image is 0.90 s old')])
def test_an_image_is_stale_on_either_clock(now: Now, said: str) -> None:
    """Clocks that disagree and a ROS clock that stands still are both noticed."""
    fault = senses().fault(now)
    assert fault.reason is StopReason.IMAGE_STALE
    assert said in fault.detail


def test_in_lockstep_only_silence_is_age() -> None:
    """A simulation that waits seconds for a slow answer is not stale; one that is gone is."""
    made = senses(lockstep=True)
    assert made.fault(at(15.0, ros_s=10.0)) is None
    assert made.fault(at(30.0, ros_s=10.0)).reason is StopReason.IMAGE_STALE


def test_in_lockstep_joints_must_belong_to_the_image() -> None:
    """Joints older than the image are waited for, then held against the node."""
    made = senses(lockstep=True)
    made.see(Frame(IMAGE, at(10.2).ros_ns, 11.0))
    assert not made.in_step()
    assert made.fault(at(11.1)) is None
    assert made.fault(at(12.0)).reason is StopReason.JOINT_STATE_STALE


def test_a_further_camera_is_missed_refused_and_found_stale_by_name() -> None:
    """No image yet, one that cannot be used, one that is old: each names the camera."""
    made = Senses(0.5, 0.1, lockstep=False, extra_cameras=('wrist',))
    made.instruction = 'go'
    made.feel(NAMES, POSITIONS, at(10.0).ros_ns, 10.0)
    made.see(Frame(IMAGE, at(10.0).ros_ns, 10.0))
    assert made.fault(at(10.0)).reason is StopReason.NO_IMAGE
    made.see_extra_invalid('wrist', 'odd encoding')
    assert made.fault(at(10.0)).detail == 'camera wrist: odd encoding'
    made.see_extra('wrist', Frame(IMAGE, at(9.9).ros_ns, 9.9))
    assert made.fault(at(10.0)) is None
    made.see(Frame(IMAGE, at(10.45).ros_ns, 10.45))
    stale = made.fault(at(10.45))
    assert stale.reason is StopReason.IMAGE_STALE
    assert 'camera wrist' in stale.detail


def test_in_lockstep_a_further_camera_must_belong_to_the_image() -> None:
    """Its older image is waited for, then held against it by name."""
    made = Senses(0.5, 0.1, lockstep=True, extra_cameras=('wrist',))
    made.instruction = 'go'
    made.see_extra('wrist', Frame(IMAGE, at(10.0).ros_ns, 10.0))
    made.feel(NAMES, POSITIONS, at(10.2).ros_ns, 10.2)
    made.see(Frame(IMAGE, at(10.2).ros_ns, 10.2))
    assert not made.in_step()
    assert made.fault(at(10.3)) is None
    assert 'camera wrist' in made.fault(at(11.0)).detail
    made.see_extra('wrist', Frame(IMAGE, at(10.2).ros_ns, 11.0))
    assert made.in_step()
    assert made.fault(at(11.0)) is None


def guarded(**guards: object) -> Senses:
    """Return senses with guards, that know an instruction, an image and joints."""
    senses = Senses(0.5, 0.2, lockstep=False, guards=Guards(**guards))
    senses.instruction = 'put carrot on plate'
    return senses


def show(senses: Senses, time_s: float, value: int = 0, q_rad: float = 0.0,
         efforts: tuple[float, ...] = ()) -> Rejection | None:
    """Bring an image of one colour and joints at `time_s`, and return the fault then."""
    now = Now(round(time_s * 1e9), time_s)
    names = (*ARM_JOINTS, 'left_finger')
    senses.feel(names, [q_rad] * 6 + [0.03], now.ros_ns, time_s, efforts)
    senses.see(Frame(np.full((4, 4, 3), value, np.uint8), now.ros_ns, time_s))
    return senses.fault(now)


def test_a_camera_that_repeats_itself_is_frozen_until_the_picture_changes() -> None:
    """Fresh stamps do not hide it; a single other pixel ends it."""
    senses = guarded(max_frozen_image_s=0.3)
    assert show(senses, 10.0) is None
    assert show(senses, 10.2) is None
    assert show(senses, 10.4).reason is StopReason.IMAGE_FROZEN
    assert show(senses, 10.6, value=1) is None


def test_a_joint_that_jumps_is_remembered() -> None:
    """Farther than it can turn: held, however steady it is then, until it is forgiven."""
    senses = guarded(max_joint_jump_rad=0.35)
    assert show(senses, 10.0, q_rad=0.1) is None
    assert show(senses, 10.02, q_rad=0.4) is None
    jumped = show(senses, 10.04, q_rad=1.1)
    assert jumped.reason is StopReason.JOINT_STATE_INVALID
    assert 'waist jumped by 0.70 rad' in jumped.detail
    assert show(senses, 11.0, q_rad=1.1) is jumped
    assert senses.joints.arm_rad[0] == 0.4, 'a hold must not command the jump'
    senses.forgive()
    assert show(senses, 11.1, q_rad=1.1) is None


def test_a_further_camera_that_repeats_itself_is_frozen_by_name() -> None:
    """The first camera moves on, the wrist's does not: held, and the name is said."""
    senses = Senses(0.5, 0.2, lockstep=False, extra_cameras=('wrist',),
                    guards=Guards(max_frozen_image_s=0.35))
    senses.instruction = 'go'
    for tenth in range(5):
        time_s = 10.0 + tenth / 10
        senses.see_extra('wrist', Frame(IMAGE, at(time_s).ros_ns, time_s))
        fault = show(senses, time_s, value=tenth)
        assert (fault is None) is (tenth <= 3)
    assert fault.reason is StopReason.IMAGE_FROZEN
    assert 'camera wrist' in fault.detail
    senses.see_extra('wrist', Frame(IMAGE + 1, at(10.5).ros_ns, 10.5))
    assert show(senses, 10.5, value=9) is None


def test_efforts_that_are_not_measured_are_no_fault() -> None:
    """ros2_control writes NaN for them; one NaN among numbers is a motor that fell silent."""
    senses = guarded(max_effort=(1000.0,) * 6)
    assert show(senses, 10.0, efforts=(np.nan,) * 7) is None
    assert show(senses, 10.1, efforts=(0, np.nan, 0, 0, 0, 0, 0)).reason is (
        StopReason.EFFORT_LIMIT)


def test_a_motor_that_pushes_too_hard_is_remembered() -> None:
    """The reason stays when the effort is gone, until it is forgiven; no efforts, no reason."""
    senses = guarded(max_effort=(1000.0,) * 6)
    assert show(senses, 10.0) is None
    assert show(senses, 10.1, efforts=(0, 0, -1200.0, 0, 0, 0, 0)).reason is (
        StopReason.EFFORT_LIMIT)
    stays = show(senses, 10.2, efforts=(0.0,) * 7)
    assert 'elbow pushed with -1200; at most 1000' in stays.detail
    senses.forgive()
    assert show(senses, 10.3) is None


def test_the_deadman_must_be_pressed_and_recent() -> None:
    """Not pressed, released, or silent for too long: all the same."""
    senses = guarded(max_deadman_age_s=0.25)
    assert show(senses, 10.0).reason is StopReason.DEADMAN
    senses.press(True, 10.0)
    assert show(senses, 10.2) is None
    assert show(senses, 10.3).reason is StopReason.DEADMAN
    senses.press(True, 10.3)
    senses.press(False, 10.35)
    assert show(senses, 10.36).reason is StopReason.DEADMAN
