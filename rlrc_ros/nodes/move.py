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
Move the arm slowly to a named pose, by joint angles: `rlrc move home` or `rlrc move sleep`.

    rlrc move start                                    # where an episode begins
    rlrc move sleep --arm ros2_control --speed 0.3     # fold up, before the power goes off

For bringing a real arm up and down without its maker's tools. The way is a straight line in joint
space, run through with a smooth speed (zero at both ends). Before anything moves, the whole way is
looked at: joint limits, table, and the arm's own links, which may come closer than
`self_clearance_m` only as far as the two ends already are. The arm must follow: one that lags
by more than 0.2 rad, or falls silent, ends the move where it is. vla_node must not be configured
at the same time; there is room for one commander. The torque stays on. Radians, seconds.
"""

import argparse
import sys
from time import monotonic

import numpy as np
import rclpy
from rclpy.node import Node
from rlrc_ros.arm.clearance import ClearanceModel
from rlrc_ros.arm.commands import command_style
from rlrc_ros.arm.limits import (
    ARM_JOINTS,
    FINGER_CLOSED_M,
    FINGER_JOINT,
    FINGER_OPEN_M,
    HOME_RAD,
    INITIAL_RAD,
    JOINT_LOWER_RAD,
    JOINT_UPPER_RAD,
    SLEEP_RAD,
)
from rlrc_ros.arm.safety import JointCommand, SafetyLimits
from rlrc_ros.nodes.doors import DoorError
from rlrc_ros.nodes.graph import arms_on
from rlrc_ros.nodes.lifetime import begin, Ended, spun
from rlrc_ros.nodes.xs_driver import XsDriver
from sensor_msgs.msg import JointState

POSES = {'home': HOME_RAD, 'sleep': SLEEP_RAD, 'start': INITIAL_RAD}
ARMS = {'ros2_control': 'joint_trajectory', 'interbotix': 'interbotix'}
RATE_HZ = 20.0
MAX_LAG_RAD = 0.2
MAX_AGE_S = 0.3
STILL_RAD = 0.01
DISCOVERY_S = 5.0
FASTEST_RAD_S = 1.0
CHECKED_EVERY_RAD = 0.05


class MoveNode(Node):
    """Knows where the arm is and tells it where to be."""

    def __init__(self, arm: str, robot_name: str, **node_options: object) -> None:
        """Subscribe to the joint states; nothing is commanded before `run`."""
        super().__init__('rlrc_move', **node_options)
        self._robot_name = robot_name
        self._style = command_style(ARMS[arm], robot_name)
        below = '' if arm == 'interbotix' else f'{robot_name}/'
        self.topics = [f'{below}{topic}' for topic in self._style.topics]
        self.q_rad: np.ndarray | None = None
        """The last finite joint angles (6,) that arrived; None: none yet."""
        self.arrived_s = 0.0
        self._invalid: list[float] = []
        """What the newest joint states say, where that is no angle."""
        self.finger_m = FINGER_OPEN_M
        self.create_subscription(JointState, f'{robot_name}/joint_states', self._feel, 10)
        self._publishers: list = []

    def _feel(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=False))
        if all(name in by_name for name in (*ARM_JOINTS, FINGER_JOINT)):
            values = [float(by_name[name]) for name in (*ARM_JOINTS, FINGER_JOINT)]
            self._invalid = [] if np.isfinite(values).all() else values
            if not self._invalid:
                self.q_rad = np.array(values[:-1])
                self.finger_m = float(np.clip(values[-1], FINGER_CLOSED_M, FINGER_OPEN_M))
                self.arrived_s = monotonic()

    @property
    def feels(self) -> bool:
        """Whether `q_rad` says where the arm is now."""
        return (self.q_rad is not None and not self._invalid
                and monotonic() - self.arrived_s <= MAX_AGE_S)

    def fault(self) -> str | None:
        """Return why nothing may be commanded, or None."""
        if self._invalid:
            return f'the joint states are not finite: {self._invalid}'
        if self.q_rad is None:
            return (f'no joint states with {ARM_JOINTS[0]} ... {FINGER_JOINT} on '
                    f'{self._robot_name}/joint_states. Start the driver, or give --robot-name')
        if not self.feels:
            return f'the joint states stopped {monotonic() - self.arrived_s:.1f} s ago'
        for topic in self.topics:
            if self.count_publishers(topic) > (1 if self._publishers else 0):
                return (f'somebody else commands {topic}: clean vla_node up first, with  '
                        'ros2 lifecycle set /vla_node cleanup')
            if not arms_on(self, topic):
                return f'nobody listens to {topic}. Start the driver, or give --arm'
        return None

    def begin(self, arm: str) -> None:
        """Settle the driver's profile and open the way to the arm."""
        if ARMS[arm] == 'interbotix':
            XsDriver(self, self._robot_name).prepare(2.0 / RATE_HZ)
        self._publishers = [
            self.create_publisher(message_type, topic, 1)
            for message_type, topic in zip(self._style.types, self.topics, strict=True)]

    def command(self, q_rad: np.ndarray) -> None:
        """Send one point of the way; the hand keeps what it has."""
        command = JointCommand(q_rad, self.finger_m, np.eye(4))
        messages = self._style.messages(command, 0, 2.0 / RATE_HZ)
        self._publishers[0].publish(messages[0])


def share_of_way(time_s: float, whole_s: float) -> float:
    """Return how far along the way the arm is: 10 t^3 - 15 t^4 + 6 t^5, at rest at both ends."""
    t = min(max(time_s / whole_s, 0.0), 1.0)
    return t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def duration_s(begin_rad: np.ndarray, end_rad: np.ndarray, speed_rad_s: float) -> float:
    """Return the time in which no joint is faster than `speed_rad_s` (15/8 of the mean)."""
    return max(0.5, 15.0 / 8.0 * float(np.abs(end_rad - begin_rad).max()) / speed_rad_s)


def obstacle(begin_rad: np.ndarray, end_rad: np.ndarray, table_height_m: float) -> str | None:
    """Return what is in the way from one pose (6,) to the other, or None."""
    limits, clearance = SafetyLimits(), ClearanceModel(table_height_m)
    for name, value, low, high in zip(
            ARM_JOINTS, begin_rad, JOINT_LOWER_RAD, JOINT_UPPER_RAD, strict=True):
        if not low - 0.05 <= value <= high + 0.05:
            return f'{name} says {value:.2f} rad; it can only be in {low:.2f} ... {high:.2f}'
    ends = [clearance.at(begin_rad), clearance.at(end_rad)]
    least_m = min(limits.self_clearance_m, *(end.self_m for end in ends)) - 1e-3
    least_table_m = min(limits.table_clearance_m, *(end.table_m for end in ends)) - 1e-3
    least_finger_m = min(0.0, *(end.finger_m for end in ends)) - 1e-3
    steps = int(np.ceil(np.abs(end_rad - begin_rad).max() / CHECKED_EVERY_RAD)) + 1
    for share in np.linspace(0.0, 1.0, steps):
        there = clearance.at(begin_rad + share * (end_rad - begin_rad))
        if there.self_m < least_m:
            return (f'{" and ".join(there.self_pair)} would come within {there.self_m * 1e3:.0f} '
                    'mm on the way. Go by another pose first: rlrc move home')
        if there.table_m < least_table_m or there.finger_m < least_finger_m:
            return ('the way goes through the table. Lift the arm by hand with its torque off, '
                    'or go by another pose first: rlrc move home')
    return None


def stands_at(node: MoveNode, q_rad: np.ndarray, stopped: Ended) -> bool:
    """Wait for the next joint states; return whether the arm is still at `q_rad` (6,)."""
    asked_s = monotonic()
    while node.arrived_s <= asked_s and monotonic() - asked_s < MAX_AGE_S:
        stopped.wait(0.01)
    return node.feels and bool(np.abs(node.q_rad - q_rad).max() <= STILL_RAD)


def run(node: MoveNode, pose: str, options: argparse.Namespace, stopped: Ended) -> int:
    """Wait for the arm, look at the way, go it; return the exit status. Somebody else spins."""
    deadline_s = monotonic() + DISCOVERY_S
    while node.fault() is not None and monotonic() < deadline_s and not stopped.wait(0.05):
        pass
    end_rad, begin_rad = POSES[pose], node.q_rad
    said = node.fault() or obstacle(begin_rad, end_rad, options.table_height)
    if said:
        print(f'rlrc move: {said}', file=sys.stderr)
        return 1
    try:
        node.begin(options.arm)
    except DoorError as error:
        print(f'rlrc move: {error}', file=sys.stderr)
        return 1
    if not stands_at(node, begin_rad, stopped):  # a changed mode switches the torque off
        begin_rad = node.q_rad
        said = node.fault() or obstacle(begin_rad, end_rad, options.table_height)
        if said:
            print(f'rlrc move: {said}', file=sys.stderr)
            return 1
    whole_s = duration_s(begin_rad, end_rad, options.speed)
    print(f'moving to {pose} in {whole_s:.1f} s; Ctrl-C stops')
    began_s, q_rad = monotonic(), begin_rad
    while (now_s := monotonic() - began_s) < whole_s + 2.0 / RATE_HZ:
        said = node.fault()
        lag_rad = np.abs(node.q_rad - q_rad)
        if said is None and lag_rad.max() > MAX_LAG_RAD:
            said = (f'{ARM_JOINTS[int(lag_rad.argmax())]} is {lag_rad.max():.2f} rad behind: '
                    'something blocks it')
        if said or stopped.is_set():
            node.command(node.q_rad if node.feels else q_rad)  # stay there
            print(f'rlrc move: {said or "stopped"}; the arm holds', file=sys.stderr)
            return 1
        q_rad = begin_rad + share_of_way(now_s, whole_s) * (end_rad - begin_rad)
        node.command(q_rad)
        stopped.wait(1.0 / RATE_HZ)
    return 0


def speed(text: str) -> float:
    """Return a speed in rad/s; raises ArgumentTypeError on one that is not slow."""
    value = float(text)
    if not 0.01 <= value <= FASTEST_RAD_S:
        raise argparse.ArgumentTypeError(f'{text} is not in 0.01 ... {FASTEST_RAD_S:g} rad/s')
    return value


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog='rlrc move', description=__doc__.splitlines()[1])
    made.add_argument('pose', choices=tuple(POSES))
    made.add_argument('--arm', choices=tuple(ARMS), default='interbotix')
    made.add_argument('--robot-name', default='wx250s', help='namespace of the driver')
    made.add_argument('--speed', type=speed, default=0.5, help='of the fastest joint, rad/s')
    made.add_argument('--table-height', type=float, default=SafetyLimits().table_height_m,
                      help='of the table in the frame of the base, m')
    return made


def main(argv: list[str] | None = None) -> int:
    """Move as the command line says; return 0 when the arm is there."""
    options = parser().parse_args(argv)
    stopped = begin([])
    try:
        node = MoveNode(options.arm, options.robot_name)
    except ModuleNotFoundError as error:
        print(f'rlrc move: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    with spun(node):
        return run(node, options.pose, options, stopped)


if __name__ == '__main__':
    sys.exit(main())
