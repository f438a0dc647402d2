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
What vla_node says of itself: ~/status, /diagnostics and its log.

A reason is published and logged when it changes; ~/status also comes once a second with fresh
rates, so that who listens sees that the node is alive. `~/status` is a JSON object in a
std_msgs/String: state, reason, detail, instruction, stopped, dry_run, episode, rates.
"""

from collections.abc import Callable
import json
from threading import RLock
from time import monotonic

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlrc_ros.nodes.timings import Timings
from rlrc_ros.types import StopReason
from std_msgs.msg import String

STATUS_QOS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LOG_AGAIN_S = 2.0
"""A reason that comes back sooner is published, but not logged again."""
QUIET_REASONS = (StopReason.NONE, StopReason.NOT_ACTIVE)
"""Reasons that are nothing to warn about."""
WAITING_REASONS = (StopReason.NO_INSTRUCTION, StopReason.NO_IMAGE, StopReason.NO_JOINT_STATE)
"""Reasons that every start passes through."""


class Reporter:
    """Publishes the state and the reason of a node, from any of its threads."""

    def __init__(
        self, node: Node, lock: RLock, about: Callable[[], dict[str, object]],
        counted: Callable[[], dict[str, object]], warnings: Callable[[], list[str]] = list,
    ) -> None:
        """
        Speak for `node`; `about` gives further fields of ~/status, `counted` of diagnostics.

        `warnings` are sentences that make the diagnostics a warning, though nothing is held.

        `lock` is the node's own: with a second one, a report that asks the node and a node that
        reports would wait for each other.
        """
        self.state = 'unconfigured'
        self.timings = Timings()
        self._node = node
        self._about, self._counted, self._warnings = about, counted, warnings
        self._lock = lock
        self._reason, self._detail = StopReason.NOT_ACTIVE, 'configure and activate the node'
        self._logged_s: dict[StopReason, float] = {}
        self._status_out = node.create_publisher(String, '~/status', STATUS_QOS)
        self._diagnostics_out = node.create_publisher(
            DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        self.publish_status()

    def enter(self, state: str, detail: str = '') -> None:
        """Tell that the node is in another lifecycle state."""
        with self._lock:
            self.state = state
            if state == 'active':
                self.publish_status()  # the first control tick says the reason
            else:
                self._change(StopReason.NOT_ACTIVE, detail)
                self._log(StopReason.NOT_ACTIVE, detail)

    def fail(self, detail: str) -> None:
        """Tell that a transition failed, and why."""
        with self._lock:
            self._change(StopReason.NOT_ACTIVE, detail)
            self._node.get_logger().error(detail)

    def say(self, reason: StopReason, detail: str) -> None:
        """Tell why the arm is held, or that it is not; at once where that is another reason."""
        with self._lock:
            if reason is self._reason:
                self._detail = detail  # published with the next report
                return
            self._change(reason, detail)
            now_s = monotonic()
            # A policy at the edge of the box would fill the log at its own rate.
            if now_s - self._logged_s.get(reason, -LOG_AGAIN_S) >= LOG_AGAIN_S:
                self._logged_s[reason] = now_s
                self._log(reason, detail)

    def alarm(self, reason: StopReason, detail: str) -> None:
        """Tell a reason without the node's lock: whoever holds that may be what hangs."""
        self._reason, self._detail = reason, detail
        self._status_out.publish(String(data=json.dumps(
            {'state': self.state, 'reason': reason.value, 'detail': detail})))
        self._log(reason, detail)

    def publish_status(self) -> None:
        """Publish ~/status as it is now."""
        with self._lock:
            self._status_out.publish(String(data=json.dumps({
                'state': self.state, 'reason': self._reason.value, 'detail': self._detail,
                **self._about(), 'rates': self.timings.summary(monotonic())})))

    def publish_all(self) -> None:
        """Publish ~/status and /diagnostics."""
        self.publish_status()
        with self._lock:
            held = self._reason not in QUIET_REASONS
            values = {'reason': self._reason.value, **self.timings.summary(monotonic()),
                      **self._counted()}
            said = [f'{self._reason.value}: {self._detail}'] * held + self._warnings()
            status = DiagnosticStatus(
                level=DiagnosticStatus.WARN if said else DiagnosticStatus.OK,
                name=f'{self._node.get_name()}: policy', hardware_id='wx250s',
                message='; '.join(said) or self.state,
                values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics_out.publish(message)

    def _change(self, reason: StopReason, detail: str) -> None:
        self._reason, self._detail = reason, detail
        self.publish_status()

    def _log(self, reason: StopReason, detail: str) -> None:
        logger = self._node.get_logger()
        if reason in QUIET_REASONS:
            logger.info(f'state={self.state} reason={reason.value}')
        elif reason in WAITING_REASONS:
            logger.info(f'waiting reason={reason.value}: {detail}')
        else:
            logger.warning(f'holding reason={reason.value}: {detail}')
