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

"""
Joint targets as the messages that an arm takes.

`TrajectoryCommands` speaks to ros2_control's joint_trajectory_controller, to MoveIt and to the
simulation: one point for the arm, one for the gripper, to be reached one control period after the
stamp. A driver with messages of its own gets a class of its own here with the same three members
(`TYPE`, `TOPICS`, `messages`); `COMMAND_STYLES` is the one table that the node chooses from.

Joint angles in radians; the finger in metres as its joint measures it (half the opening).
"""

from collections.abc import Sequence

from builtin_interfaces.msg import Duration, Time
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT
from rlrc_ros.arm.safety import JointCommand
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint


class TrajectoryCommands:
    """One-point joint trajectories, the portable way to stream targets."""

    TYPE = JointTrajectory
    TOPICS = ('arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory')
    """Topics relative to the node's namespace, in the order of `messages`."""

    @staticmethod
    def messages(command: JointCommand, stamp_ns: int, period_s: float) -> list[JointTrajectory]:
        """
        Return the arm's and the gripper's message.

        `stamp_ns` is the stamp of the image that the command answers (a simulation in lockstep
        matches by it), or 0: a trajectory controller then starts when the message arrives.
        """
        return [
            one_point(ARM_JOINTS, command.arm_rad.tolist(), stamp_ns, period_s),
            one_point((FINGER_JOINT,), (command.finger_m,), stamp_ns, period_s),
        ]


COMMAND_STYLES = {'joint_trajectory': TrajectoryCommands}
"""Ways to command an arm, by the name that the parameter `command_style` takes."""


def one_point(
    names: Sequence[str], positions: Sequence[float], stamp_ns: int, period_s: float,
) -> JointTrajectory:
    """Return a trajectory of one point, reached `period_s` after `stamp_ns`."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = to_stamp(stamp_ns)
    seconds, nanoseconds = divmod(round(period_s * 1e9), 1_000_000_000)
    message.points = [JointTrajectoryPoint(
        positions=[float(position) for position in positions],
        time_from_start=Duration(sec=seconds, nanosec=nanoseconds))]
    return message


def to_stamp(stamp_ns: int) -> Time:
    """Return nanoseconds as a message stamp, exactly."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)
