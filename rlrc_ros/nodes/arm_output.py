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
The way out to the arm: the publishers that command it, and the stream between two targets.

Everything that leaves for the arm passes one small lock that is held only while a message goes
out, so a hold can never be followed by an older point of the stream, whichever thread sends it.
"""

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rlrc_ros.arm.commands import InterbotixCommands, TrajectoryCommands
from rlrc_ros.arm.safety import JointCommand

if TYPE_CHECKING:
    from rlrc_ros.arm.stream import JointStream

AHEAD_TICKS = 2.0
"""A streamed point is reached this many ticks after it was sent, so that one lost message leaves
no gap; the arm is never told more than this ahead."""


class ArmOutput:
    """Sends joint commands in the words of one backend; safe to use from several threads."""

    def __init__(
        self, node: LifecycleNode, style: TrajectoryCommands | InterbotixCommands,
        stream: 'JointStream | None', *, period_s: float, stream_hz: float,
    ) -> None:
        """Create the publishers; `period_s` is the time that a command has to be reached."""
        self._style, self._stream = style, stream
        self._period_s = period_s
        self._tick_s = AHEAD_TICKS / stream_hz if stream is not None else period_s
        self._lock = Lock()
        self.publishers = [
            node.create_lifecycle_publisher(
                message_type, topic, QoSProfile(depth=1),
                qos_overriding_options=QoSOverridingOptions.with_default_policies())
            for message_type, topic in zip(style.types, style.topics, strict=True)]
        """The arm's, then the gripper's."""

    def send(self, command: JointCommand, stamp_ns: int, measured_rad: np.ndarray | None) -> None:
        """Command a target; with a stream the arm goes there tick by tick from where it is."""
        with self._lock:
            messages = self._style.messages(command, stamp_ns, self._period_s)
            first = 0
            if self._stream is not None and measured_rad is not None:
                self._stream.aim(command.arm_rad, measured_rad)
                first = 1  # the hand is not interpolated
            self._publish(messages, first)

    def hold(self, command: JointCommand | None, stamp_ns: int = 0) -> None:
        """End the stream and send a last command, if there is one, as it is."""
        with self._lock:
            if self._stream is not None:
                self._stream.end(None if command is None else command.arm_rad)
            if command is not None:
                self._publish(self._style.messages(command, stamp_ns, self._period_s), 0)

    def stream_on(self, *, held: bool) -> None:
        """
        Send the next tick of the stream, if it has somewhere to go.

        :param held: whether the arm is held for a reason; the stream then ends where it comes to
            rest; somebody may move the arm before the next target comes
        """
        with self._lock:
            if not self._stream.is_aimed:
                return
            # Only the arm's message is taken.
            point = JointCommand(self._stream.next_rad(), 0.0, np.eye(4))
            self.publishers[0].publish(self._style.messages(point, 0, self._tick_s)[0])
            if held and self._stream.has_arrived:
                self._stream.end()

    def _publish(self, messages: list[object], first: int) -> None:
        for publisher, message in list(zip(self.publishers, messages, strict=True))[first:]:
            publisher.publish(message)
