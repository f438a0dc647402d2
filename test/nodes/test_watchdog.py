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

"""What the watchdog sees in a real ROS graph: drivers that go, come back, or only seem to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from types import SimpleNamespace

from nodes.test_pilot import Play
from nodes.vla_rig import DOMAIN, wait_for
import pytest
import rclpy
from rclpy.node import Node
from rlrc_ros.arm.safety import Rejection
from rlrc_ros.nodes.parameters import VlaParameters
from rlrc_ros.nodes.watchdog import Watchdog, XS_DRIVER
from rlrc_ros.types import StopReason
from std_msgs.msg import String

COUNT = count()
"""Each graph has a topic of its own: nodes of an earlier one may linger."""


class Watched:
    """A watchdog over a real node's graph, and drivers that come and go in it."""

    def __init__(self, context: rclpy.Context, **parameters: object) -> None:
        self._context = context
        self.topic = f'/watched{next(COUNT)}/commands/joint_group'
        self.node = Node('vla_node', context=context)
        self.pilot = Play().pilot
        output = SimpleNamespace(publishers=[self.node.create_publisher(String, self.topic, 1)],
                                 hold=lambda command: None)
        self._others: list[Node] = []  # kept: one that is collected has gone
        self._watchdog = Watchdog(
            self.node, self.pilot, output, VlaParameters(
                command_style='interbotix', **parameters),
            lambda: None, lambda reason, detail: None)

    def start(self, name: str) -> Callable[[], None]:
        """Start a node that listens to commands; return what ends it."""
        before = self.heard()
        node = Node(name, context=self._context)
        self._others.append(node)
        node.create_subscription(String, self.topic, lambda message: None, 1)
        wait_for(lambda: self.heard() == before + 1)

        def end() -> None:
            there = self.heard()
            self._others.remove(node)
            node.destroy_node()
            wait_for(lambda: self.heard() == there - 1)
        return end

    def rival(self) -> None:
        """Start a node that commands the arm too."""
        self._others.append(Node('rival', context=self._context))
        self._others[-1].create_publisher(String, self.topic, 1)
        wait_for(lambda: self.node.count_publishers(self.topic) == 2)

    def heard(self) -> int:
        """Return how many listen."""
        return self.node.count_subscribers(self.topic)

    def look(self) -> Rejection | None:
        """Let the watchdog look at the graph once; return what it has against driving."""
        self._watchdog._graph_seen_s = 0.0
        self._watchdog.feed(monotonic())
        self._watchdog.watch()
        return self.pilot.obstacle


@contextmanager
def watched(**parameters: object) -> Iterator[Watched]:
    """Watch in a context of its own."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    try:
        yield Watched(context, **parameters)
    finally:
        rclpy.shutdown(context=context)


@pytest.mark.parametrize('state', ['active', 'inactive', 'dry run', 'somebody looks on', 'killed'])
def test_a_driver_that_was_restarted_is_noticed_whatever_happens_meanwhile(state: str) -> None:
    """Its successor listens as it did, but has another profile: the arm is held for good."""
    with watched() as there:
        end = there.start(XS_DRIVER)
        if state == 'somebody looks on':
            there.start('_ros2cli_77')
        assert there.look() is None
        there.pilot.active = state != 'inactive'
        there.pilot.dry_run = state == 'dry run'
        if state == 'killed':  # it stays in the graph until its lease is over
            there.start(XS_DRIVER)
        else:
            end()
            there.look()
            there.start(XS_DRIVER)
        found = there.look()
        there.pilot.active, there.pilot.dry_run = True, False
        assert found.reason is there.look().reason is StopReason.DRIVER_GONE
        assert 'clean up and configure' in found.detail


def test_onlookers_come_and_go_and_are_no_drivers() -> None:
    """A driver stays the same driver beside them; alone they do not count as one."""
    with watched() as there:
        end = there.start(XS_DRIVER)
        for name in ('_ros2cli_77', 'foxglove_bridge', 'recorder_node'):
            away = there.start(name)
            assert there.look() is None
            away()
            assert there.look() is None
        end()
        there.start('_ros2cli_78')
        assert there.look().reason is StopReason.DRIVER_GONE


def test_another_commander_is_known_before_the_node_is_active() -> None:
    """The first answer of a quick policy comes sooner than the next look at the graph."""
    with watched() as there:
        there.start(XS_DRIVER)
        there.pilot.active = False
        assert there.look() is None
        there.rival()
        assert there.look().reason is StopReason.OTHER_COMMANDER


def test_another_commander_is_seen() -> None:
    """By its publisher; `exclusive: false` allows it."""
    with watched() as strict:
        strict.start(XS_DRIVER)
        strict.rival()
        assert strict.look().reason is StopReason.OTHER_COMMANDER
    with watched(exclusive=False) as lenient:
        lenient.start(XS_DRIVER)
        assert lenient.look() is None
