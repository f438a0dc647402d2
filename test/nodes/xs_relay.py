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
The fake xs_sdk driver with the simulated arm in its hands: its topics in, sim_bridge's out.

What the motors' profile makes of the commands goes to the simulation at 50 Hz; the simulated
joints come back as the driver's joint_states at 100 Hz, on `/wx250s/joint_states`. When the
simulation is reset it drives nothing until the next command: joints that leap say so.
"""

from nodes.fake_xs_sdk import FakeXsSdk, NAMES
import numpy as np
import rclpy
from rlrc_ros.arm.commands import one_point
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

DRIVE_HZ = 50.0
LEAP_RAD = 0.1
"""From one joint state to the next (20 ms) a joint turns by 0.063 rad at most."""


class XsRelay(FakeXsSdk):
    """A driver whose motors are those of the simulation; keeps what was commanded and measured."""

    def __init__(self, context: rclpy.Context) -> None:
        self._newest: JointState | None = None
        super().__init__(context, '', '/wx250s/joint_states')
        self.measured: list[tuple[float, np.ndarray]] = []
        self.episodes_began: list[int] = []
        """For each episode how many commands had come before it."""
        self._driving = False
        self._arm = self.create_publisher(
            JointTrajectory, '/arm_controller/joint_trajectory', 1)
        self._hand = self.create_publisher(
            JointTrajectory, '/gripper_controller/joint_trajectory', 1)
        self.create_subscription(JointState, '/joint_states', self._on_joints, 10)
        self.create_timer(1.0 / DRIVE_HZ, self._drive)

    def now_s(self) -> float:
        """Return simulated time, so that a simulation slower than life keeps its proportions."""
        return 0.0 if self._newest is None else self._stamp_ns() * 1e-9

    def _stamp_ns(self) -> int:
        stamp = self._newest.header.stamp
        return stamp.sec * 1_000_000_000 + stamp.nanosec

    def _on_joints(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=True))
        q_rad = np.array([by_name[name] for name in ARM_JOINTS])
        before_rad = self.measured[-1][1] if self.measured else None
        self._newest = message
        if before_rad is None or np.abs(q_rad - before_rad).max() > LEAP_RAD:
            self._driving = False
            self.episodes_began.append(len(self.commands))
            self._from = self._to = q_rad
            self._began_s = self.now_s()
            self._finger_m = by_name[FINGER_JOINT]
        self.measured.append((self.now_s(), q_rad))

    def _on_group(self, message: object) -> None:
        super()._on_group(message)
        self._driving = self._newest is not None

    def _drive(self) -> None:
        if not self._driving:
            return
        # Stamped with simulated time, so that a new episode takes nothing for its own that was
        # meant for the one before.
        stamp_ns = self._stamp_ns()
        self._arm.publish(one_point(
            ARM_JOINTS, self.q_rad(self.now_s()).tolist(), stamp_ns, 1.0 / DRIVE_HZ))
        self._hand.publish(one_point((FINGER_JOINT,), (self._finger_m,), stamp_ns, 1.0 / DRIVE_HZ))

    def _publish(self) -> None:
        if self.silent or self._newest is None:
            return
        message = JointState(name=NAMES)
        message.header.stamp = self._newest.header.stamp
        by_name = dict(zip(self._newest.name, self._newest.position, strict=True))
        message.position = [by_name[name] for name in NAMES]
        message.velocity = [0.0] * 9
        message.effort = [self.effort] * 7 + [0.0, 0.0]
        self._states.publish(message)
