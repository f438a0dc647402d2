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
stamp. `InterbotixCommands` speaks to the xs_sdk driver of Interbotix, which has no watchdog, clamp
or NaN check: what leaves here is what the motors do. Both are made by `command_style` and have the
same members: `types`, `topics`, `messages`.

Joint angles in radians; the finger in metres as its joint measures it (half the opening).
"""

from collections.abc import Sequence
from types import ModuleType

from builtin_interfaces.msg import Duration, Time
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT
from rlrc_ros.arm.safety import JointCommand
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint


class TrajectoryCommands:
    """One-point joint trajectories, the portable way to stream targets."""

    types = (JointTrajectory, JointTrajectory)
    topics = ('arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory')
    """Topics relative to the node's namespace, in the order of `messages`."""

    @staticmethod
    def messages(command: JointCommand, stamp_ns: int, period_s: float) -> list[object]:
        """
        Return the arm's and the gripper's message.

        `stamp_ns` is the stamp of the image that the command answers (a simulation in lockstep
        matches by it), or 0: a trajectory controller then starts when the message arrives.
        """
        return [
            one_point(ARM_JOINTS, command.arm_rad.tolist(), stamp_ns, period_s),
            one_point((FINGER_JOINT,), (command.finger_m,), stamp_ns, period_s),
        ]


class InterbotixCommands:
    """Position commands of the xs_sdk driver: the group `arm`, the single joint `gripper`."""

    def __init__(self, robot_name: str) -> None:
        """Import the driver's messages; raises ModuleNotFoundError with what to install."""
        messages = interbotix_interfaces().msg
        self.types = (messages.JointGroupCommand, messages.JointSingleCommand)
        self.topics = tuple(
            f'{robot_name}/commands/{kind}' for kind in ('joint_group', 'joint_single'))

    def messages(self, command: JointCommand, stamp_ns: int, period_s: float) -> list[object]:
        """
        Return the arm's and the gripper's message; the driver knows no stamp and no period.

        In mode `linear_position` the gripper takes the distance between the two fingers, while
        joint_states reports each finger's distance from the middle: a factor of two.
        """
        group, single = self.types
        return [group(name=INTERBOTIX_ARM, cmd=[float(angle) for angle in command.arm_rad]),
                single(name=INTERBOTIX_GRIPPER, cmd=2.0 * command.finger_m)]


INTERBOTIX_ARM, INTERBOTIX_GRIPPER = 'arm', 'gripper'


def command_style(name: str, robot_name: str) -> TrajectoryCommands | InterbotixCommands:
    """Return the way to command an arm that the parameter `command_style` names."""
    return TrajectoryCommands() if name == 'joint_trajectory' else InterbotixCommands(robot_name)


def interbotix_interfaces() -> ModuleType:
    """Return the package interbotix_xs_msgs; raises ModuleNotFoundError with what to install."""
    try:
        import interbotix_xs_msgs.msg
        import interbotix_xs_msgs.srv
    except ImportError as error:  # also a package built for another Python or ROS
        raise ModuleNotFoundError(
            f'the Interbotix driver needs the package interbotix_xs_msgs ({error}). Source the '
            'workspace that holds the driver (source ~/interbotix_ws/install/setup.bash), or '
            'build interbotix_xs_msgs of github.com/Interbotix/interbotix_ros_core with colcon',
            name='interbotix_xs_msgs') from error
    return interbotix_xs_msgs


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
