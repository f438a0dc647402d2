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

"""The messages that go to the arm, field by field."""

import sys

import numpy as np
import pytest
from rlrc_ros.arm.commands import command_style, TrajectoryCommands
from rlrc_ros.arm.limits import ARM_JOINTS
from rlrc_ros.arm.safety import JointCommand
from trajectory_msgs.msg import JointTrajectory

COMMAND = JointCommand(np.arange(6) / 10, 0.037, np.eye(4))


def test_arm_and_gripper_get_one_point_each() -> None:
    """Names, positions, the image's stamp to the nanosecond, and one period to get there."""
    arm, gripper = TrajectoryCommands.messages(COMMAND, 1_700_000_000_123_456_789, 0.2)
    assert isinstance(arm, JointTrajectory)
    assert tuple(arm.joint_names) == ARM_JOINTS
    assert list(arm.points[0].positions) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(gripper.joint_names) == ['left_finger']
    assert list(gripper.points[0].positions) == [0.037]
    for message in (arm, gripper):
        assert len(message.points) == 1
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (
            1_700_000_000, 123_456_789)
        duration = message.points[0].time_from_start
        assert (duration.sec, duration.nanosec) == (0, 200_000_000)


def test_a_period_beyond_a_second_keeps_its_seconds() -> None:
    """A policy at 0.8 Hz gets 1 s and 250 ms, not a wrapped number."""
    arm, _ = TrajectoryCommands.messages(COMMAND, 0, 1.25)
    duration = arm.points[0].time_from_start
    assert (duration.sec, duration.nanosec) == (1, 250_000_000)


def test_as_many_topics_as_messages() -> None:
    """Each message has its topic and its type."""
    messages = TrajectoryCommands.messages(COMMAND, 0, 0.2)
    assert len(messages) == len(TrajectoryCommands.topics) == len(TrajectoryCommands.types)
    assert all(map(isinstance, messages, TrajectoryCommands.types))


def test_interbotix_messages_have_the_drivers_units() -> None:
    """Joint order and radians for the arm; for the gripper the distance between both fingers."""
    pytest.importorskip('interbotix_xs_msgs.msg', reason='see test/nodes/fake_xs_sdk.py')
    style = command_style('interbotix', 'wx250s')
    arm, gripper = style.messages(COMMAND, 0, 0.2)
    assert (arm.name, gripper.name) == ('arm', 'gripper')
    assert list(arm.cmd) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert gripper.cmd == pytest.approx(0.074)
    assert style.topics[0] == 'wx250s/commands/joint_group'


def test_a_missing_driver_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where it comes from, and nothing asks for the package before that."""
    monkeypatch.setitem(sys.modules, 'interbotix_xs_msgs.msg', None)
    with pytest.raises(ModuleNotFoundError, match='Source .*interbotix_ws.*interbotix_ros_core'):
        command_style('interbotix', 'wx250s')
