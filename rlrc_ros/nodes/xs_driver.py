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
What vla_node settles with Interbotix' xs_sdk driver before it drives: who it is, and its profile.

The driver's default profile takes 2 s for every move, so an arm that gets a target five times a
second crawls; and it never says that a request failed: an unknown name answers an empty response.
So the answer to get_robot_info is compared with the arm's own numbers, and what was set is read
back. Changing a mode switches the motors' torque off for a moment, and a raised arm sags: what is
in its mode already gets the profile alone, through its registers. Milliseconds towards the driver,
degrees Celsius of the motors, radians and metres otherwise.
"""

from threading import Event

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rlrc_ros.arm.commands import INTERBOTIX_ARM, INTERBOTIX_GRIPPER, interbotix_interfaces
from rlrc_ros.arm.limits import ARM_JOINTS, JOINT_LOWER_RAD, JOINT_UPPER_RAD
from rlrc_ros.nodes.doors import DoorError

ANSWER_S = 3.0
"""How long the driver may take for one answer; changing the mode of six motors takes 0.3 s."""
LIMIT_TOLERANCE_RAD = 0.02
ACCELERATION_SHARE = 0.4
"""Of the profile's time: 100 of 250 ms, as BridgeData's controller shares it out."""
ARM_MODE, GRIPPER_MODE, PROFILE = 'position', 'linear_position', 'time'
PROFILE_REGISTERS = ('Profile_Velocity', 'Profile_Acceleration')
"""With a time profile these are the whole move and its ramp, in milliseconds."""
TEMPERATURE_PERIOD_S = 10.0
"""Seldom: the driver reads each motor over the bus that also carries joint states."""
HOT_CELSIUS = 65
"""X-series motors end themselves at 72 or 80 degrees, by model (their Temperature_Limit)."""


class XsDriver:
    """The configure-time dialogue; nothing here is used while the arm is driven."""

    def __init__(self, node: Node, robot_name: str) -> None:
        """Speak for `node` to the driver in the namespace `robot_name`."""
        self._node, self._robot_name = node, robot_name
        self._services = interbotix_interfaces().srv
        self._group = MutuallyExclusiveCallbackGroup()

    def check(self) -> None:
        """
        Compare the driver's arm with ours and change nothing.

        :raises DoorError: the driver is absent or drives another arm
        """
        self._compare(self._info(INTERBOTIX_ARM))

    def prepare(self, profile_s: float) -> None:
        """
        Compare the driver's arm with ours and give it a profile of `profile_s` per move.

        :raises DoorError: see check(); or the driver did not take the mode or the profile
        """
        self.check()
        profile_ms = round(profile_s * 1e3)
        for cmd_type, name, mode in (
                ('group', INTERBOTIX_ARM, ARM_MODE), ('single', INTERBOTIX_GRIPPER, GRIPPER_MODE)):
            self._settle(cmd_type, name, mode, (profile_ms, round(
                profile_ms * ACCELERATION_SHARE)))

    def profile_ms(self) -> tuple[str, str, list[int]]:
        """Return the arm's mode, its profile type, and each motor's time for a move."""
        info = self._info(INTERBOTIX_ARM)
        return info.mode, info.profile_type, self._read(
            'group', INTERBOTIX_ARM, PROFILE_REGISTERS[0])

    def _settle(self, cmd_type: str, name: str, mode: str, profile_ms: tuple[int, int]) -> None:
        info = self._info(name, cmd_type)
        if (info.mode, info.profile_type) == (mode, PROFILE):
            for register, value in zip(PROFILE_REGISTERS, profile_ms, strict=True):
                self._ask(self._services.RegisterValues, 'set_motor_registers',
                          cmd_type=cmd_type, name=name, reg=register, value=value)
        else:
            self._node.get_logger().warning(
                f"changing the mode of {name} from '{info.mode}', '{info.profile_type}' to "
                f"'{mode}', '{PROFILE}': its torque is off for a moment")
            self._ask(self._services.OperatingModes, 'set_operating_modes', cmd_type=cmd_type,
                      name=name, mode=mode, profile_type=PROFILE, profile_velocity=profile_ms[0],
                      profile_acceleration=profile_ms[1])
            info = self._info(name, cmd_type)
        if (info.mode, info.profile_type) != (mode, PROFILE):
            raise DoorError(
                f"the driver's {name} is in mode '{info.mode}' with profile "
                f"'{info.profile_type}' after asking for '{mode}' and '{PROFILE}'. See the "
                "driver's log; reboot the motors with its service reboot_motors")
        for register, value in zip(PROFILE_REGISTERS, profile_ms, strict=True):
            found = self._read(cmd_type, name, register)
            if any(each != value for each in found) or not found:
                raise DoorError(
                    f"the driver's {name} has {register} {found} after asking for {value} ms. See "
                    "the driver's log; reboot the motors with its service reboot_motors")

    def _read(self, cmd_type: str, name: str, register: str) -> list[int]:
        return list(self._ask(self._services.RegisterValues, 'get_motor_registers',
                              cmd_type=cmd_type, name=name, reg=register).values)

    def _info(self, name: str, cmd_type: str = 'group') -> object:
        return self._ask(
            self._services.RobotInfo, 'get_robot_info', cmd_type=cmd_type, name=name)

    def _compare(self, info: object) -> None:
        if tuple(info.joint_names) != ARM_JOINTS:
            raise DoorError(
                f'the driver /{self._robot_name} has the joints {list(info.joint_names)}; a '
                f'WidowX-250S has {list(ARM_JOINTS)}. Start it with robot_model:=wx250s, or set '
                'robot_name to the namespace of the right one')
        for ours, theirs, which in (
                (JOINT_LOWER_RAD, info.joint_lower_limits, 'lower'),
                (JOINT_UPPER_RAD, info.joint_upper_limits, 'upper')):
            for joint, limit, said in zip(ARM_JOINTS, ours, theirs, strict=True):
                if not abs(limit - said) <= LIMIT_TOLERANCE_RAD:
                    raise DoorError(
                        f"{joint}'s {which} limit is {said:.3f} rad to the driver and "
                        f'{limit:.3f} to vla_node: not the same arm. Start the driver with '
                        'robot_model:=wx250s')

    def _ask(self, service: type, service_name: str, /, **fields: object) -> object:
        topic = f'{self._robot_name}/{service_name}'
        client = self._node.create_client(service, topic, callback_group=self._group)
        try:
            answered = Event()
            if client.wait_for_service(ANSWER_S):
                future = client.call_async(service.Request(**fields))
                future.add_done_callback(lambda _: answered.set())
                if answered.wait(ANSWER_S):
                    return future.result()
            raise DoorError(
                f'{client.srv_name} does not answer within {ANSWER_S:g} s. Start the driver: ros2 '
                'launch interbotix_xsarm_control xsarm_control.launch.py robot_model:=wx250s')
        finally:
            self._node.destroy_client(client)


class MotorTemperatures:
    """What the driver says of its motors' temperatures, asked now and then without waiting."""

    def __init__(self, node: Node, robot_name: str) -> None:
        """Begin to ask; the answers lie in `celsius`."""
        services = interbotix_interfaces().srv
        group = MutuallyExclusiveCallbackGroup()
        self.celsius: dict[str, int] = {}
        """By joint; empty until the driver has answered."""
        self._node = node
        self._request = services.RegisterValues.Request(
            cmd_type='group', name=INTERBOTIX_ARM, reg='Present_Temperature')
        self._client = node.create_client(
            services.RegisterValues, f'{robot_name}/get_motor_registers', callback_group=group)
        self._timer = node.create_timer(TEMPERATURE_PERIOD_S, self._ask, callback_group=group)
        self._ask()

    def end(self) -> None:
        """Ask no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._client)

    def _ask(self) -> None:
        if self._client.service_is_ready():
            self._client.call_async(self._request).add_done_callback(self._take)

    def _take(self, future: object) -> None:
        values = list(future.result().values)
        if len(values) == len(ARM_JOINTS):  # an empty answer says that it failed
            self.celsius = dict(zip(ARM_JOINTS, values, strict=True))
