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
A stand-in for Interbotix' xs_sdk node that behaves as the real driver does, with faults on demand.

Same interfaces (interbotix_xs_msgs, built by scripts/interbotix_interfaces.sh), same joint order,
joint_states at 100 Hz, the arm moves by the time profile that it was given (2000 ms by default),
and the same carelessness: no watchdog, no clamp, no check for NaN, only the length of a command is
looked at, a change of mode lets the arm sag for a moment, and a request that cannot be met gets an
empty answer. The motors are a trapezoid of
speed in time from where each joint is; the gripper in linear_position takes the distance between
the fingers. Radians, metres, seconds.
"""

from time import monotonic

from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo
import numpy as np
import rclpy
from rclpy.node import Node
from rlrc_ros.arm.limits import (
    ARM_JOINTS,
    FINGER_OPEN_M,
    INITIAL_RAD,
    JOINT_LOWER_RAD,
    JOINT_UPPER_RAD,
    SLEEP_RAD,
)
from rlrc_ros.nodes.xs_driver import PROFILE_REGISTERS
from sensor_msgs.msg import JointState

JOINT_STATE_HZ = 100.0
NAMES = [*ARM_JOINTS, 'gripper', 'left_finger', 'right_finger']


class FakeXsSdk(Node):
    """The driver in namespace `wx250s`; its joint states go to `joint_states`."""

    def __init__(
        self, context: rclpy.Context, namespace: str, joint_states: str | None = None,
    ) -> None:
        super().__init__('xs_sdk', context=context, namespace=f'{namespace}/wx250s')
        self.modes = {'arm': ('position', 'time'), 'gripper': ('pwm', 'time')}
        self.profile_s = {'arm': (2.0, 0.3), 'gripper': (2.0, 0.3)}
        self.joint_names = list(ARM_JOINTS)
        self.upper_rad = JOINT_UPPER_RAD.copy()
        self.ignores_modes = False
        self.silent = False
        self.effort = 50.0
        self.mode_changes: list[str] = []
        self.celsius = [30, 31, 32, 33, 34, 35]
        self.commands: list[tuple[float, np.ndarray]] = []
        self.finger_distances_m: list[float] = []
        self._from = self._to = np.array(INITIAL_RAD)
        self._finger_m = FINGER_OPEN_M
        self._began_s = self.now_s()
        self._states = self.create_publisher(
            JointState, joint_states or f'{namespace}/joint_states', 10)
        self.create_subscription(
            JointGroupCommand, 'commands/joint_group', self._on_group, 10)
        self.create_subscription(
            JointSingleCommand, 'commands/joint_single', self._on_single, 10)
        self.create_service(RobotInfo, 'get_robot_info', self._on_info)
        self.create_service(OperatingModes, 'set_operating_modes', self._on_modes)
        self.create_service(RegisterValues, 'set_motor_registers', self._on_set_registers)
        self.create_service(RegisterValues, 'get_motor_registers', self._on_get_registers)
        self.create_timer(1.0 / JOINT_STATE_HZ, self._publish)

    def now_s(self) -> float:
        """Return the time on the clock that the motors live by."""
        return monotonic()

    def q_rad(self, now_s: float) -> np.ndarray:
        """Return where the joints are: a trapezoid of speed over the profile's time."""
        whole_s, ramp_s = self.profile_s['arm']
        ramp_s = min(ramp_s, whole_s / 2)
        t = min(max(now_s - self._began_s, 0.0), whole_s)
        top = 1.0 / (whole_s - ramp_s)
        if t < ramp_s:
            share = top * t * t / (2 * ramp_s)
        elif t <= whole_s - ramp_s:
            share = top * (t - ramp_s / 2)
        else:
            left = whole_s - t
            share = 1.0 - (top * left * left / (2 * ramp_s) if ramp_s else 0.0)
        return self._from + share * (self._to - self._from)

    def _on_group(self, message: JointGroupCommand) -> None:
        if message.name != 'arm' or len(message.cmd) != 6:
            return  # the driver logs an error and does nothing
        now_s = self.now_s()
        self._from, self._to = self.q_rad(now_s), np.array(message.cmd, dtype=np.float64)
        self._began_s = now_s
        self.commands.append((now_s, self._to))

    def _on_single(self, message: JointSingleCommand) -> None:
        if message.name == 'gripper' and self.modes['gripper'][0] == 'linear_position':
            self._finger_m = message.cmd / 2
            self.finger_distances_m.append(message.cmd)

    def _on_info(self, request: RobotInfo.Request, response: RobotInfo.Response) -> object:
        if request.name in self.modes:
            response.mode, response.profile_type = self.modes[request.name]
        if request.name == 'arm':
            response.joint_names = self.joint_names
            response.joint_lower_limits = JOINT_LOWER_RAD.tolist()
            response.joint_upper_limits = self.upper_rad.tolist()
            response.joint_velocity_limits = [3.14159] * 6
            response.joint_sleep_positions = SLEEP_RAD.tolist()
            response.num_joints = 6
        return response

    def _on_modes(self, request: OperatingModes.Request, response: object) -> object:
        if request.name in self.modes and not self.ignores_modes:
            self.mode_changes.append(request.name)
            self.modes[request.name] = (request.mode, request.profile_type)
            self.profile_s[request.name] = (
                request.profile_velocity / 1e3, request.profile_acceleration / 1e3)
        return response

    def _on_set_registers(self, request: RegisterValues.Request, response: object) -> object:
        if request.name in self.profile_s and request.reg in PROFILE_REGISTERS:
            changed = list(self.profile_s[request.name])
            changed[PROFILE_REGISTERS.index(request.reg)] = request.value / 1e3
            self.profile_s[request.name] = tuple(changed)
        return response

    def _on_get_registers(self, request: RegisterValues.Request, response: object) -> object:
        motors = {'arm': 6, 'gripper': 1}.get(request.name, 0)
        if request.reg == 'Present_Temperature' and request.name == 'arm':
            response.values = self.celsius
        elif request.reg in PROFILE_REGISTERS and motors:
            value_s = self.profile_s[request.name][PROFILE_REGISTERS.index(request.reg)]
            response.values = [round(value_s * 1e3)] * motors
        return response

    def _publish(self) -> None:
        if self.silent:
            return
        message = JointState(name=NAMES)
        message.header.stamp = self.get_clock().now().to_msg()
        fingers = [self._finger_m, -self._finger_m]
        message.position = [*self.q_rad(self.now_s()).tolist(), 0.0, *fingers]
        message.velocity = [0.0] * 9
        message.effort = [self.effort] * 7 + [0.0, 0.0]
        self._states.publish(message)
