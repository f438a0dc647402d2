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
from rlrc_ros.nodes.senses import Frame, Now, Senses
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
