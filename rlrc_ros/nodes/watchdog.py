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
Looks after the control loop and the ROS graph, from a callback group and a thread of its own.

When the loop has not run for `max_control_gap_s`, something hangs, perhaps while it keeps the
node's lock: so the watchdog takes no lock that the loop takes, and only reads the pilot. It sends
one hold and says so; when the loop runs again it begins at the measured pose.
"""

from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from types import MappingProxyType

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rlrc_ros.arm.safety import Rejection
from rlrc_ros.nodes.arm_output import ArmOutput
from rlrc_ros.nodes.graph import arms_on
from rlrc_ros.nodes.parameters import VlaParameters
from rlrc_ros.nodes.pilot import Pilot
from rlrc_ros.nodes.senses import Now
from rlrc_ros.types import StopReason

GRAPH_PERIOD_S = 0.1
XS_DRIVER = 'xs_sdk'
"""Interbotix' driver, by the name of its node."""


def drivers_on(node: Node, topics: Iterable[str]) -> dict[str, set[bytes]]:
    """Return which of Interbotix' drivers listen to topics, by their endpoints' identifiers."""
    found = {topic: {bytes(info.endpoint_gid) for info in arms_on(node, topic)
                     if info.node_name == XS_DRIVER} for topic in topics}
    return {topic: there for topic, there in found.items() if there}


class Watchdog:
    """One for each configuration of the node."""

    period_s = 0.02
    """How often `watch` is to be called."""

    def __init__(
        self, node: LifecycleNode, pilot: Pilot, output: ArmOutput, parameters: VlaParameters,
        now: Callable[[], Now], alarm: Callable[[StopReason, str], None],
        drivers: Mapping[str, set[bytes]] = MappingProxyType({}),
    ) -> None:
        """
        Begin to watch.

        :param alarm: called with what to publish, from the watchdog's thread
        :param drivers: see drivers_on(), of when the driver was settled; topics that are not
            there are taken as they are first seen
        """
        self._node, self._pilot, self._output = node, pilot, output
        self._parameters, self._now, self._alarm = parameters, now, alarm
        self._fed_s, self._graph_seen_s = monotonic(), 0.0
        self._alarmed = False
        self._drivers = dict(drivers)
        self._forgotten: Rejection | None = None

    @property
    def alarmed(self) -> bool:
        """Whether the loop has been found standing since it was last fed."""
        return self._alarmed

    def feed(self, steady_s: float) -> bool:
        """Note that the control loop runs; return whether it had stood until now."""
        self._fed_s = steady_s
        had_stood, self._alarmed = self._alarmed, False
        return had_stood

    def watch(self) -> None:
        """Hold the arm where the loop stands; note what the graph has against driving."""
        now_s, pilot = monotonic(), self._pilot
        if pilot.active:
            self._look_at_loop(now_s)
        if now_s - self._graph_seen_s < GRAPH_PERIOD_S or self._alarmed:
            return
        self._graph_seen_s = now_s
        self._forgotten = self._forgotten or self._look_at_driver()
        if self._forgotten is not None:
            pilot.obstacle = self._forgotten
        elif self._parameters.exclusive and not self._parameters.lockstep:
            # Before activation too: the first answer comes sooner than the next look.
            pilot.obstacle = self._look_at_graph()

    def _look_at_loop(self, now_s: float) -> None:
        gap_s, most_s = now_s - self._fed_s, self._parameters.max_control_gap_s
        if gap_s > most_s and not self._alarmed:
            self._alarmed, pilot = True, self._pilot
            moving = pilot.has_commanded and not pilot.dry_run
            self._output.hold(pilot.hold(self._now(), with_pose=False) if moving else None)
            self._alarm(StopReason.WATCHDOG, f'the control loop has not run for {gap_s:.2f} s; '
                        f'at most {most_s:g} s')

    def _look_at_driver(self) -> Rejection | None:
        """
        Return what to say of an Interbotix driver that is not the one that was configured.

        It has forgotten its profile: its moves take 2 s and its gripper takes a duty cycle for a
        width. One that was killed stays in the graph for some 20 s, beside the new one.
        """
        if self._parameters.command_style != 'interbotix':
            return None
        for publisher in self._output.publishers:
            topic = publisher.topic_name
            there = drivers_on(self._node, [topic]).get(topic, set())
            if there and there != self._drivers.setdefault(topic, there) or (
                    not there and topic in self._drivers):
                return Rejection(
                    StopReason.DRIVER_GONE, f'the driver that listened to {topic} has gone or was '
                    'started anew: start it, then clean up and configure vla_node')
        return None

    def _look_at_graph(self) -> Rejection | None:
        for publisher in self._output.publishers:
            topic = publisher.topic_name
            others = self._node.count_publishers(topic) - 1
            if others > 0:
                return Rejection(
                    StopReason.OTHER_COMMANDER, f'{others} other publisher(s) on {topic}. End '
                    'them, or set exclusive:=false')
            if not arms_on(self._node, topic) and not self._pilot.dry_run:
                return Rejection(
                    StopReason.DRIVER_GONE, f'nobody listens to {topic}: the driver of the arm '
                    'is not there; start it')
        return None
