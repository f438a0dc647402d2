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

"""The door of sim_bridge: what it takes, what it refuses, and where the two threads meet."""

import threading

import numpy as np
import pytest
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_CLOSED_M, FINGER_OPEN_M
from rlrc_sim.bridge_commands import (
    arm_target,
    BadTrajectory,
    CommandInbox,
    finger_target,
    ResetRequested,
    ShutdownRequested,
)
from sim_client import trajectory
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

ANGLES = [0.1, -0.2, 0.3, -0.4, 0.5, -0.6]
FINGERS = ('left_finger', 'right_finger')


def test_joints_are_sorted_by_name():
    """Whatever the order of the message, the arm gets its angles from base to wrist."""
    order = (5, 2, 0, 4, 1, 3)
    message = trajectory([ARM_JOINTS[i] for i in order], [ANGLES[i] for i in order], 0)
    np.testing.assert_array_equal(arm_target(message, ARM_JOINTS), ANGLES)


@pytest.mark.parametrize(('names', 'positions', 'said'), [
    (ARM_JOINTS[:5], ANGLES[:5], 'wrist_rotate'),
    ((*ARM_JOINTS, 'left_finger'), [*ANGLES, 0.03], 'left_finger'),
    ((*ARM_JOINTS[:5], 'waist'), ANGLES, 'waist'),
    (ARM_JOINTS, ANGLES[:5], '5 positions for 6'),
    (ARM_JOINTS, [*ANGLES[:5], float('nan')], 'wrist_rotate'),
    (ARM_JOINTS, [float('inf'), *ANGLES[1:]], 'waist'),
    (ARM_JOINTS, [90.0, *ANGLES[1:]], 'radians'),
    ((), (), 'missing'),
])
def test_a_wrong_arm_command_is_refused_with_the_reason(names, positions, said):
    """Names, lengths, numbers that are not finite, degrees: each refusal names what is wrong."""
    with pytest.raises(BadTrajectory, match=said):
        arm_target(trajectory(names, positions, 0), ARM_JOINTS)


@pytest.mark.parametrize('points', [0, 2])
def test_a_command_has_exactly_one_point(points):
    """A trajectory without points, or with several, is refused as a whole."""
    message = JointTrajectory(joint_names=list(ARM_JOINTS))
    message.points = [JointTrajectoryPoint(positions=ANGLES) for _ in range(points)]
    with pytest.raises(BadTrajectory, match=f'{points} points'):
        arm_target(message, ARM_JOINTS)


@pytest.mark.parametrize(('names', 'positions', 'finger_m'), [
    (('left_finger',), [0.02], 0.02),
    (('right_finger', 'left_finger'), [-0.03, 0.03], 0.03),
    (('left_finger',), [FINGER_OPEN_M + 1e-9], FINGER_OPEN_M),
    (('left_finger',), [FINGER_CLOSED_M], FINGER_CLOSED_M),
])
def test_a_gripper_command_gives_half_the_opening(names, positions, finger_m):
    """The left finger is commanded; the right one may come along and changes nothing."""
    assert finger_target(trajectory(names, positions, 0), FINGERS) == finger_m


@pytest.mark.parametrize('finger_m', [0.074, 0.0, -0.02, float('nan')])
def test_a_gripper_beyond_its_range_is_refused(finger_m):
    """The full opening (0.074 m), zero and NaN are mistakes, not targets."""
    with pytest.raises(BadTrajectory, match='left_finger'):
        finger_target(trajectory(['left_finger'], [finger_m], 0), FINGERS)


def test_an_answer_needs_both_commands_with_the_stamp():
    """One command, or two with different stamps, are no answer; a late second one completes it."""
    inbox = CommandInbox()
    inbox.put_arm(7, np.array(ANGLES))
    assert inbox.wait_answer(7, 0.0) is None
    inbox.put_gripper(6, 0.02)
    assert inbox.wait_answer(7, 0.0) is None
    timer = threading.Timer(0.05, inbox.put_gripper, (7, 0.03))
    timer.start()
    answer = inbox.wait_answer(7, 30.0)
    timer.join()
    assert answer.finger_m == 0.03
    np.testing.assert_array_equal(answer.arm_rad, ANGLES)


def test_commands_of_the_episode_before_are_not_taken():
    """In real time only what is stamped in this episode counts, or what has no stamp."""
    inbox = CommandInbox()
    inbox.put_arm(99, np.array(ANGLES))
    inbox.put_gripper(0, 0.03)
    newest = inbox.newest_since(100)
    assert newest.arm_rad is None
    assert newest.finger_m == 0.03
    inbox.begin_episode()
    assert inbox.newest_since(0).finger_m is None


def test_a_reset_while_the_next_episode_is_built_asks_for_that_one():
    """Who calls ~/reset twice within a scene's seconds must not lose an episode."""
    inbox = CommandInbox()
    inbox.request_reset()
    assert inbox.wait_for_reset(1.0)
    inbox.request_reset()  # again, while World.reset() builds
    inbox.begin_episode()
    inbox.pause(0.0)
    inbox.request_reset()
    with pytest.raises(ResetRequested):
        inbox.pause(1.0)


def test_a_request_ends_every_wait():
    """~/reset interrupts a wait once; a shutdown interrupts this one and all that follow."""
    inbox = CommandInbox()
    threading.Timer(0.05, inbox.request_reset).start()
    with pytest.raises(ResetRequested):
        inbox.pause(30.0)
    inbox.pause(0.0)
    inbox.request_reset()
    assert inbox.wait_for_reset(30.0)
    assert not inbox.wait_for_reset(0.0)
    threading.Timer(0.05, inbox.request_shutdown).start()
    for wait in (lambda: inbox.wait_answer(1, 30.0), lambda: inbox.wait_for_reset(30.0)):
        with pytest.raises(ShutdownRequested):
            wait()
