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
sim_bridge: the simulated arm, offered to ROS 2 with the topics of a real one.

It publishes `image` (rgb8), `joint_states` (the real driver's names), `instruction`, `episode`
(a counter) and `/clock`; it takes `arm_controller/joint_trajectory` and
`gripper_controller/joint_trajectory`; `~/reset` begins the next episode, `~/episode_result` and
`~/summary` carry results as JSON. Stamps are simulated time; who commands the arm runs with
`use_sim_time` and puts the stamp of the image that a command answers into its header.

Two threads, and why: the simulation runs in the main thread, because physics and rendering block
for as long as they like; an executor's thread serves topics and services meanwhile, so that a
command or ~/reset never waits for a picture. They meet in the CommandInbox.

    python -m rlrc_sim.bridge_node --ros-args --params-file config/sim.yaml -p mode:=real_time

What differs from a real arm: the `gripper` motor's angle is not simulated and reads 0 (take the
fingers); efforts are left empty. `right_finger` is negative, as the real driver counts it.
"""

import array
from collections.abc import Callable
from dataclasses import fields
import json
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from rlrc_sim.bridge_commands import (
    arm_target,
    BadTrajectory,
    CommandInbox,
    finger_target,
    ResetRequested,
    ShutdownRequested,
)
from rlrc_sim.bridge_contracts import EpisodeResult, NobodyAnswers
from rlrc_sim.bridge_episode import CLOCK_START_NS
from rlrc_sim.bridge_series import Series
from rlrc_sim.bridge_settings import BridgeSettings
from rlrc_sim.video import Film
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String, UInt32
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

if TYPE_CHECKING:
    from rlrc_sim.world import JointState as SimulatedJoints

ARM_COMMAND_TOPIC = 'arm_controller/joint_trajectory'
GRIPPER_COMMAND_TOPIC = 'gripper_controller/joint_trajectory'
GRIPPER_MOTOR = 'gripper'
CAMERA_FRAME = 'camera_optical_frame'
LATEST = QoSProfile(depth=1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RESULTS = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""All reliable (rclpy's default). What is latched reaches a node that starts later."""
ACKNOWLEDGE_S = 1.0
SAY_AGAIN_S = 5.0


def declare_settings(node: Node) -> BridgeSettings:
    """
    Declare one read-only parameter for each field of BridgeSettings and return their values.

    :raises rclpy.exceptions.ParameterException: a value of another type, or outside its range
    :raises ValueError: values that do not fit together
    """
    values = {}
    for parameter in fields(BridgeSettings):
        default, bounds = parameter.default, parameter.metadata
        descriptor = ParameterDescriptor(description=bounds['description'], read_only=True)
        if 'low' in bounds and isinstance(default, float):
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(bounds['low']), to_value=float(bounds['high']))]
        elif 'low' in bounds:
            descriptor.integer_range = [IntegerRange(
                from_value=int(bounds['low']), to_value=int(bounds['high']), step=1)]
        several = isinstance(default, tuple)
        value = node.declare_parameter(
            parameter.name, list(default) if several else default, descriptor).value
        values[parameter.name] = tuple(value) if several else value
    return BridgeSettings(**values)


class SimBridge(Node):
    """The topics and services; the episodes themselves run in EpisodeRunner."""

    def __init__(self, inbox: CommandInbox, **node_options):
        super().__init__('sim_bridge', **node_options)
        self.settings = declare_settings(self)
        self.inbox = inbox
        self._image = self.create_publisher(Image, 'image', LATEST)
        self._joints = self.create_publisher(JointState, 'joint_states', QoSProfile(depth=10))
        self._clock_out = self.create_publisher(ClockMessage, '/clock', LATEST)
        self._instruction = self.create_publisher(String, 'instruction', LATCHED)
        self._episode = self.create_publisher(UInt32, 'episode', LATCHED)
        self._result = self.create_publisher(String, '~/episode_result', RESULTS)
        self._summary = self.create_publisher(String, '~/summary', LATCHED)
        self._arm_in = self.create_subscription(
            JointTrajectory, ARM_COMMAND_TOPIC, self._on_arm, LATEST)
        self._gripper_in = self.create_subscription(
            JointTrajectory, GRIPPER_COMMAND_TOPIC, self._on_gripper, LATEST)
        self._now_lock = threading.Lock()
        self._now_ns = CLOCK_START_NS
        self._joints_now: JointState | None = None
        self._rejections: dict[str, float] = {}
        if self.settings.is_lockstep:
            # Time stands still between steps, yet a driver's joint states keep coming: who
            # watches their arrival must not take a slow answer for a dead arm.
            self.create_timer(1.0 / self.settings.joint_state_hz, self._repeat_joints,
                              clock=Clock(clock_type=ClockType.STEADY_TIME))

    # ------------------------------------------------------- executor's thread

    def _on_arm(self, message: JointTrajectory) -> None:
        try:
            arm_rad = arm_target(message, self.settings.arm_joint_names)
        except BadTrajectory as error:
            self._reject(ARM_COMMAND_TOPIC, error)
        else:
            self.inbox.put_arm(Time.from_msg(message.header.stamp).nanoseconds, arm_rad)

    def _on_gripper(self, message: JointTrajectory) -> None:
        try:
            finger_m = finger_target(message, self.settings.gripper_joint_names)
        except BadTrajectory as error:
            self._reject(GRIPPER_COMMAND_TOPIC, error)
        else:
            self.inbox.put_gripper(Time.from_msg(message.header.stamp).nanoseconds, finger_m)

    def _reject(self, topic: str, error: BadTrajectory) -> None:
        """Count a trajectory that is not followed; say why, now and then."""
        self.inbox.rejected += 1
        now_s = time.monotonic()
        if now_s - self._rejections.get(topic, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._rejections[topic] = now_s
            self.get_logger().warning(
                f'trajectory ignored topic={topic} rejected_so_far={self.inbox.rejected}: {error}')

    def _on_reset(self, _, response: Trigger.Response) -> Trigger.Response:
        self.inbox.request_reset()
        response.success, response.message = True, 'the next episode begins'
        return response

    def _repeat_joints(self) -> None:
        with self._now_lock:
            self._clock_out.publish(ClockMessage(clock=self._stamp(self._now_ns)))
            if self._joints_now is not None:
                self._joints.publish(self._joints_now)

    # ----------------------------------------------------- simulation's thread

    @staticmethod
    def _stamp(stamp_ns: int):
        return Time(nanoseconds=stamp_ns).to_msg()

    def publish_clock(self, stamp_ns: int) -> None:
        """Publish the simulated time."""
        with self._now_lock:
            self._now_ns = stamp_ns
            self._clock_out.publish(ClockMessage(clock=self._stamp(stamp_ns)))

    def publish_joint_state(self, stamp_ns: int, joints: 'SimulatedJoints') -> None:
        """Publish the joints as the real driver does: nine names, right_finger negative."""
        def as_driver(values: np.ndarray) -> array.array:
            return array.array('d', [*values[:6], 0.0, values[6], -values[7]])
        message = JointState()
        message.header.stamp = self._stamp(stamp_ns)
        message.name = [*self.settings.arm_joint_names, GRIPPER_MOTOR,
                        *self.settings.gripper_joint_names]
        message.position = as_driver(joints.position)
        message.velocity = as_driver(joints.velocity)
        with self._now_lock:
            self._joints_now = message
            self._joints.publish(message)

    def publish_image(self, stamp_ns: int, image: np.ndarray) -> None:
        """Publish a camera image, uint8 (H, W, 3), as rgb8."""
        message = Image(height=image.shape[0], width=image.shape[1], encoding='rgb8',
                        step=3 * image.shape[1], is_bigendian=0)
        message.header.stamp = self._stamp(stamp_ns)
        message.header.frame_id = CAMERA_FRAME
        # Bytes are copied as they are; an ndarray would be converted number by number.
        message.data = image.tobytes()
        self._image.publish(message)

    def announce(self, episode_id: int, instruction: str) -> None:
        """
        Publish the episode's number and instruction; return when both have arrived.

        DDS keeps order within a topic only, and an image must not overtake its instruction.
        """
        self._episode.publish(UInt32(data=episode_id))
        self._instruction.publish(String(data=instruction))
        for publisher in (self._episode, self._instruction):
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))

    def warn(self, text: str) -> None:
        """Log a warning."""
        self.get_logger().warning(text)

    def publish_result(self, result: EpisodeResult) -> None:
        """Publish and log one episode's result."""
        self._result.publish(String(data=result.to_json()))
        self.get_logger().info(
            f'episode={result.episode} seed={result.seed} success_once={result.success_once} '
            f'steps={result.steps} ended_by={result.ended_by} control_hz={result.control_hz:.1f} '
            f'instruction={result.instruction!r}')

    def publish_summary(self, summary: dict) -> None:
        """Publish and log what all episodes came to; return when it has arrived."""
        self._summary.publish(String(data=json.dumps(summary)))
        self.get_logger().info(
            'done ' + ' '.join(f'{key}={value}' for key, value in summary.items()))
        for publisher in (self._result, self._summary):
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))

    def wait_for_start(self) -> None:
        """
        Offer ~/reset, then wait for it, or with autostart until somebody commands this arm.

        The service appears only now, so that its presence says that the simulation is ready.

        :raises NobodyAnswers: nothing within start_timeout_s
        :raises ShutdownRequested: the process shall end
        """
        self.create_service(Trigger, '~/reset', self._on_reset)
        timeout_s = self.settings.start_timeout_s
        deadline = time.monotonic() + timeout_s
        if not self.settings.autostart:
            self.get_logger().info('ready; waiting for ~/reset')
            if not self.inbox.wait_for_reset(timeout_s):
                raise NobodyAnswers(f'~/reset has not been called within start_timeout_s '
                                    f'{timeout_s:g} s; call it, or set autostart:=true')
            return
        self.get_logger().info(f'ready; waiting for a publisher of {ARM_COMMAND_TOPIC}')
        while not self._is_matched():
            if time.monotonic() > deadline:
                raise NobodyAnswers(
                    f'nobody publishes {self._arm_in.topic_name} and '
                    f'{self._gripper_in.topic_name} within start_timeout_s {timeout_s:g} s; start '
                    f'and configure vla_node in the same ROS_DOMAIN_ID and namespace')
            try:
                self.inbox.pause(0.05)
            except ResetRequested:
                return

    def _is_matched(self) -> bool:
        return (self._arm_in.get_publisher_count() > 0
                and self._gripper_in.get_publisher_count() > 0
                and self._image.get_subscription_count() > 0)


def simulate(node: SimBridge) -> int:
    """
    Make the world and run episodes until the process shall end; return the exit code.

    :raises ShutdownRequested: the process shall end
    """
    # Here, not at the top: it takes seconds and loads the simulator, which a program that only
    # talks to this node through Conductor does not need.
    from rlrc_sim.suites import placement
    from rlrc_sim.world import World
    settings, log = node.settings, node.get_logger()
    try:
        placement(settings.episode_set, settings.first_seed)
    except ValueError as error:
        log.error(f'episode_set: {error}')
        return 2
    world = World(settings.image_size_px, control='joint')
    series = Series(world, node, node.inbox, settings)
    try:
        node.wait_for_start()
        while True:
            if settings.record:
                with Film(settings.record_path) as film:
                    series.run(film)
                log.info(f'film mp4={film.mp4} gif={film.gif}')
            else:
                series.run()
            if settings.exit_when_done:
                return 0
            log.info('waiting; ~/reset runs the same episodes again')
            while not node.inbox.wait_for_reset(3600.0):
                pass
    except NobodyAnswers as error:
        log.error(str(error))
        return 1
    finally:
        world.close()


def main(argv: list[str] | None = None) -> int:
    """
    Run sim_bridge as a process.

    :return: 0 done, or asked to end; 1 nobody answers; 2 a parameter or file that cannot be
    """
    inbox = CommandInbox()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, inbox.request_shutdown)
    try:
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        node = SimBridge(inbox)
    except (ParameterException, RuntimeError, ValueError) as error:  # RuntimeError: rcl's own
        print(f'sim_bridge: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[BaseException] = []
    thread = threading.Thread(target=_spin, args=(executor, inbox, failures), name='executor',
                              daemon=True)
    thread.start()
    try:
        return simulate(node)
    except ShutdownRequested:
        if failures:
            raise failures[0] from None
        node.get_logger().info('asked to end')
        return 0
    finally:
        # A second Ctrl-C (launch forwards the terminal's) must not interrupt the clean-up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        executor.shutdown()
        thread.join(timeout=5.0)
        node.destroy_node()
        rclpy.try_shutdown()


def _spin(executor: SingleThreadedExecutor, inbox: CommandInbox,
          failures: list[BaseException]) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    except BaseException as error:  # raised again in the main thread, which must not go on deaf
        failures.append(error)
    finally:
        inbox.request_shutdown()


class TransitionFailed(Exception):
    """A lifecycle node did not change its state; the text says which and what it said."""


class Conductor:
    """
    Bring vla_node up and hear what both nodes say, for a program that has started them.

    What `ros2 lifecycle set` and `ros2 topic echo` do, for a machine without ros2cli. It spins
    only inside its own methods and so needs no thread. Use it as a context manager.

    :param domain_id: the ROS domain of the two nodes
    """

    def __init__(self, domain_id: int):
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id, args=[],
                   signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node('conductor', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._configure_or_activate = self._node.create_client(
            ChangeState, '/vla_node/change_state')
        self._reset = self._node.create_client(Trigger, '/sim_bridge/reset')
        self.results: list[dict] = []
        """Each episode's result, as EpisodeResult.to_json wrote it."""
        self.summary: dict | None = None
        """The run's summary; None until the last episode is over."""
        self.status: dict = {}
        """vla_node's newest ~/status."""
        self.diagnostics: dict[str, str] = {}
        """vla_node's newest diagnostics, key to text."""
        for topic, qos, take in (
                ('/sim_bridge/episode_result', RESULTS,
                 lambda text: self.results.append(json.loads(text.data))),
                ('/sim_bridge/summary', LATCHED,
                 lambda text: setattr(self, 'summary', json.loads(text.data))),
                ('/vla_node/status', LATCHED,
                 lambda text: setattr(self, 'status', json.loads(text.data)))):
            self._node.create_subscription(String, topic, take, qos)
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=10))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if 'vla_node' in status.name:
                self.diagnostics.update({pair.key: pair.value for pair in status.values})

    def listen(self, seconds: float) -> None:
        """Take in what arrives within the next seconds."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def bring_up(self, timeout_s: float, check: Callable[[], None]) -> None:
        """
        Configure and activate vla_node.

        :param timeout_s: for each of the two; loading weights is part of configuring
        :param check: called a few times a second; raises to give up
        :raises TransitionFailed: refused, or not done in time
        """
        for name, transition in (('configure', Transition.TRANSITION_CONFIGURE),
                                 ('activate', Transition.TRANSITION_ACTIVATE)):
            request = ChangeState.Request(transition=Transition(id=transition))
            answer = self._call(self._configure_or_activate, request, timeout_s, check)
            if answer is None:
                raise TransitionFailed(f'vla_node did not {name} within {timeout_s:g} s')
            if not answer.success:
                self.listen(0.5)
                reason = self.status.get('detail') or self.status.get('reason') or 'see its log'
                raise TransitionFailed(f'vla_node refused to {name}: {reason}')

    def begin_episodes(self, timeout_s: float, check: Callable[[], None]) -> None:
        """
        Call sim_bridge's ~/reset, which begins the first episode; check as in bring_up.

        :raises TransitionFailed: no answer in time
        """
        if self._call(self._reset, Trigger.Request(), timeout_s, check) is None:
            raise TransitionFailed(f'sim_bridge did not answer ~/reset within {timeout_s:g} s')

    def _call(self, client, request, timeout_s: float, check: Callable[[], None]):
        deadline = time.monotonic() + timeout_s
        while not client.service_is_ready():
            check()
            self.listen(0.1)
            if time.monotonic() > deadline:
                return None
        future = client.call_async(request)
        while not future.done() and time.monotonic() < deadline:
            check()
            self.listen(0.1)
        return future.result() if future.done() else None

    def __enter__(self) -> 'Conductor':
        return self

    def __exit__(self, *_) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
