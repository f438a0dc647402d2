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
vla_node: camera image and instruction in, joint commands out.

A lifecycle node. Configuring checks the parameters, the checkpoint and the topics, then loads the
weights and warms the policy up; activating opens the gate to the arm. Callbacks only translate
messages: what is known lives in `Senses`, what is decided in `Pilot`, both plain Python.

Two clocks that never wait for each other: the control step and the inference worker's thread. They
meet in `InferenceSlot`. The control step never blocks; a timer on the steady clock runs it, and an
image or an answer that arrives runs it at once, on the thread that brought it: waking another one
through the executor costs a millisecond or two each time.

    python -m rlrc_ros.nodes.vla_node --ros-args --params-file config/vla.yaml \
        -p checkpoint:=checkpoints/nano
"""

from collections.abc import Callable
import sys
from threading import RLock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rlrc_ros.arm.commands import command_style
from rlrc_ros.arm.safety import Rejection, SafetyGate
from rlrc_ros.nodes.arm_output import AHEAD_TICKS, ArmOutput
from rlrc_ros.nodes.doors import (
    check_checkpoint,
    check_topics,
    declare_parameters,
    guard_transitions,
    parameter_guard,
    read_parameters,
)
from rlrc_ros.nodes.image_message import decode, ImageError
from rlrc_ros.nodes.lifetime import begin, InvalidHandle, JOIN_S, spin_until
from rlrc_ros.nodes.motion_markers import intended_motion
from rlrc_ros.nodes.outcome_messages import labelled, target_pose
from rlrc_ros.nodes.parameters import VlaParameters
from rlrc_ros.nodes.pauses import CollectorPauses
from rlrc_ros.nodes.pilot import Outcome, Pilot
from rlrc_ros.nodes.reports import Reporter
from rlrc_ros.nodes.senses import Frame, Guards, Now, Senses
from rlrc_ros.nodes.slot import ActingPolicy, InferenceWorker
from rlrc_ros.nodes.timings import Timings
from rlrc_ros.nodes.watchdog import drivers_on, Watchdog
from rlrc_ros.nodes.xs_driver import HOT_CELSIUS, MotorTemperatures, XsDriver
from rlrc_ros.types import StopReason
from rlrc_ros.vla.checkpoint import CheckpointSummary, inspect
from rlrc_ros.vla.policy import Policy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt32
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

if TYPE_CHECKING:
    from rlrc_ros.arm.stream import JointStream

IMAGE_TYPES = {'raw': Image, 'compressed': CompressedImage}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
COMMAND_QOS = QoSProfile(depth=1)
UNSETTLED = (
    'a dry run leaves the driver its modes and its profile, in which the arm would crawl: launch '
    'again with dry_run:=false, the arm at rest: changing a mode switches torque off for a moment')
REPORT_PERIOD_S = 1.0
SWITCH_INTERVAL_S = 1e-4
EXECUTOR_THREADS = 8
"""One for each callback group (default, control, sensors, services, watchdog, reports, stream) and
one over: all that wait for the node's lock may wait at once, and the watchdog still runs."""


class VlaNode(LifecycleNode):
    """The node; `open_policy` and `inspect_checkpoint` can be replaced by a test's own."""

    owns_process = False
    """True: nothing else lives in this process, and what configuring has made is kept out of
    garbage collection. A full one walks through all that torch and transformers have made, with
    the interpreter's lock held: the arm's stream stood still for most of a second."""

    def __init__(
        self, *, open_policy: Callable[..., ActingPolicy] = Policy.open,
        inspect_checkpoint: Callable[[str], CheckpointSummary] = inspect, **node_options,
    ) -> None:
        """Declare parameters and services; nothing is loaded before the node is configured."""
        super().__init__('vla_node', **node_options)
        self._open_policy = open_policy
        self._inspect_checkpoint = inspect_checkpoint
        self._lock = RLock()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._control_group = MutuallyExclusiveCallbackGroup()
        self._sensor_group = MutuallyExclusiveCallbackGroup()
        self._service_group = MutuallyExclusiveCallbackGroup()
        self._watch_group = MutuallyExclusiveCallbackGroup()
        self._output: ArmOutput | None = None
        self._temperatures: MotorTemperatures | None = None
        self._watchdog: Watchdog | None = None
        self._latched: Rejection | None = None
        self._failure: Exception | None = None
        self._sent_s = 0.0
        self._stopped = False
        self._dry_run = False
        self._settled = True
        self._episode: int | None = None
        self._pilot: Pilot | None = None
        self._worker: InferenceWorker | None = None
        self._pauses = CollectorPauses()
        self._summary: CheckpointSummary | None = None
        self._configured_entities: list[Callable[[], object]] = []
        declare_parameters(self)
        self._reporter = Reporter(self, self._lock, self._about, self._counted, self._warnings)
        self.add_on_set_parameters_callback(parameter_guard(lambda: self._reporter.state))
        guard_transitions(self)
        self._action_out = self.create_publisher(Float64MultiArray, '~/action', COMMAND_QOS)
        self._target_out = self.create_publisher(PoseStamped, '~/target_pose', COMMAND_QOS)
        self._motion_out = self.create_publisher(MarkerArray, '~/intended_motion', COMMAND_QOS)
        self._timing_out = self.create_publisher(Float64MultiArray, '~/timing', COMMAND_QOS)
        for service, name, callback in (
                (Trigger, '~/stop', self._on_stop), (Trigger, '~/reset_stop', self._on_reset_stop),
                (SetBool, '~/dry_run', self._on_dry_run)):
            self.create_service(service, name, callback, callback_group=self._service_group)
        self.create_timer(
            REPORT_PERIOD_S, self._reporter.publish_all,
            callback_group=MutuallyExclusiveCallbackGroup(), clock=self._steady)
        self._wake = self.create_guard_condition(self._control, self._control_group)

    # Lifecycle -----------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check everything that can be checked cheaply, then load and warm up the policy."""
        try:
            self._configure()
        except Exception as error:  # whatever it is: the node stays, unconfigured, and says why
            self._release_resources()
            self._reporter.fail(f'configure failed: {error}')
            return TransitionCallbackReturn.FAILURE
        if self.owns_process:
            self._pauses.begin()
        self._reporter.enter('inactive', 'activate the node to let the policy drive')
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the gate; the first target is the measured pose."""
        super().on_activate(state)
        with self._lock:
            self._watchdog.feed(monotonic())
            self._pilot.activate(active=True)
            self._worker.slot.forget()
        self._reporter.enter('active')
        self._wake.trigger()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold the arm where it is and close the gate."""
        self.hold_arm()
        self._reporter.enter('inactive', 'activate the node to let the policy drive')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let policy and topics go."""
        self._release_resources()
        self._reporter.enter('unconfigured', 'configure and activate the node')
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold the arm, then let everything go."""
        self.hold_arm()
        self._release_resources()
        self._reporter.enter('finalized', 'the node was shut down; start it again')
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give a transition that broke half-way a clean place to start from."""
        return self.on_cleanup(state)

    def hold_arm(self) -> None:
        """Tell the arm to stay where it is and send nothing after it, from any thread."""
        with self._lock:
            if self._pilot is not None and self._pilot.active:
                self._hold(self._pilot.release(self._now()))

    def _hold(self, outcome: Outcome) -> None:
        """Send a last command, if there is one, and see that it has arrived."""
        self._output.hold(None if outcome.dry_run else outcome.command, self._stamp(outcome))
        for publisher in self._output.publishers:
            publisher.wait_for_all_acked(Duration(seconds=0.2))

    def end(self) -> None:
        """Hold the arm and let everything go, before the process ends."""
        self.hold_arm()
        self._release_resources()

    def _configure(self) -> None:
        parameters = read_parameters(self)
        summary = self._inspect_checkpoint(parameters.checkpoint)
        check_checkpoint(summary, parameters)
        image_type = IMAGE_TYPES[parameters.image_transport]
        extra_topics = parameters.extra_topics()
        check_topics(self, {'image': image_type, 'joint_states': JointState,
                            **dict.fromkeys(extra_topics.values(), image_type)})
        period_s = 1.0 / (summary.control_hz * parameters.velocity_scaling)
        gate = SafetyGate(parameters.safety_limits(period_s))
        senses = Senses(parameters.max_image_age_s, parameters.max_joint_state_age_s,
                        lockstep=parameters.lockstep, extra_cameras=summary.cameras[1:],
                        guards=Guards(
                            parameters.max_frozen_image_s, tuple(parameters.max_effort),
                            parameters.max_joint_jump_rad,
                            parameters.max_deadman_age_s if parameters.deadman else None))
        layout = parameters.proprio_layout or summary.proprio_layout
        choice = {'unnorm_key': parameters.unnorm_key} if parameters.unnorm_key else {}
        commands = command_style(parameters.command_style, parameters.robot_name)
        stream = joint_stream(parameters)
        self._output = ArmOutput(self, commands, stream, period_s=period_s,
                                 stream_hz=parameters.stream_hz)
        for publisher in self._output.publishers:
            self._configured_entities.append(
                lambda publisher=publisher: self.destroy_lifecycle_publisher(publisher))
        self._temperatures = None
        dry_run = self._dry_run or parameters.dry_run
        self._settled = parameters.command_style != 'interbotix' or not dry_run
        if parameters.command_style == 'interbotix':
            driver = XsDriver(self, parameters.robot_name)
            if dry_run:
                driver.check()  # setting a mode switches torque: nothing is sent
            else:
                driver.prepare(AHEAD_TICKS / parameters.stream_hz if stream is not None
                               else 1.25 * period_s)
            self._temperatures = MotorTemperatures(self, parameters.robot_name)
            self._configured_entities.append(self._temperatures.end)
        # A driver that is started anew while the policy loads is not the one that was settled.
        drivers = drivers_on(self, [each.topic_name for each in self._output.publishers])
        self.get_logger().info(
            f'loading checkpoint={parameters.checkpoint} parameters={summary.parameters} '
            f'image_px={summary.image_size_px} action_horizon={summary.action_horizon} '
            f'control_hz={summary.control_hz:g}')
        self._worker = InferenceWorker(
            lambda: self._open_policy(parameters.checkpoint, parameters.device,
                                      runtime=parameters.runtime, **choice),
            self._on_answer)
        self._worker.wait_until_open()
        self._settings, self._summary = parameters, summary
        self._reporter.timings = Timings()
        senses.latch(self._latched)
        with self._lock:
            self._dry_run = dry_run or self._dry_run  # ~/dry_run may have come while it loaded
            self._pilot = Pilot(
                senses, gate, action_horizon=summary.action_horizon,
                lockstep=parameters.lockstep, max_inference_s=parameters.max_inference_s,
                proprio_layout=layout if summary.reads_proprio else '')
            self._pilot.stopped, self._pilot.dry_run = self._stopped, self._dry_run
            self._pilot.hear(parameters.instruction)
            self._watchdog = Watchdog(self, self._pilot, self._output, parameters, self._now,
                                      self._reporter.alarm, drivers)
        # After the pilot: a latched instruction comes once, at once, and must find it.
        self._open_topics(image_type)

    def _open_topics(self, image_type: type) -> None:
        parameters = self._settings
        reliability = ReliabilityPolicy[parameters.sensor_reliability.upper()]
        sensors = {'image', 'joint_states', *parameters.extra_topics().values()}
        # In the order in which they must be served: episode and instruction before the image.
        for message_type, topic, callback, qos in (
                (UInt32, 'episode', self._on_episode, LATCHED),
                (String, 'instruction', self._on_instruction, LATCHED),
                # `ros2 topic pub` is volatile, which a latched subscription does not match.
                (String, 'instruction', self._on_instruction, QoSProfile(depth=1)),
                (Bool, 'deadman', self._on_deadman, QoSProfile(depth=1)),
                (JointState, 'joint_states', self._on_joint_state,
                 QoSProfile(depth=10, reliability=reliability)),
                *((image_type, topic, self._on_extra_image(camera),
                   QoSProfile(depth=1, reliability=reliability))
                  for camera, topic in parameters.extra_topics().items()),
                (image_type, 'image', self._on_image,
                 QoSProfile(depth=1, reliability=reliability))):
            subscription = self.create_subscription(
                message_type, topic, callback, qos, callback_group=self._sensor_group,
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=self._tell_incompatible(topic)),
                qos_overriding_options=(QoSOverridingOptions.with_default_policies()
                                        if topic in sensors else None))
            self._configured_entities.append(
                lambda subscription=subscription: self.destroy_subscription(subscription))
        timers = [(1.0 / parameters.tick_hz, self._control, self._control_group),
                  (Watchdog.period_s, self._watchdog.watch, self._watch_group)]
        if parameters.stream_hz:
            timers.append((1.0 / parameters.stream_hz, self._stream_on, None))
        for period_s, callback, group in timers:
            timer = self.create_timer(
                period_s, callback, clock=self._steady,
                callback_group=group or MutuallyExclusiveCallbackGroup())
            self._configured_entities.append(lambda timer=timer: self.destroy_timer(timer))

    def _release_resources(self) -> None:
        self._pauses.end()
        with self._lock:
            if self._pilot is not None:
                self._latched = self._pilot.senses.latched
            self._pilot, worker, self._worker = None, self._worker, None
            entities, self._configured_entities = self._configured_entities, []
        for destroy in entities:
            destroy()
        if worker is not None and not worker.close():
            self.get_logger().warning(
                'the policy does not return; its thread is left behind, its answers are dropped')

    # Messages in ---------------------------------------------------------------------------

    def _on_image(self, message: Image | CompressedImage) -> None:
        arrived_s, stamp_ns = monotonic(), _to_ns(message.header.stamp)
        try:
            frame = Frame(decode(message, self._summary.image_size_px), stamp_ns, arrived_s)
        except ImageError as error:
            detail = str(error)
            self._sense(lambda senses: senses.see_invalid(detail, stamp_ns, arrived_s))
        else:
            self._sense(lambda senses: senses.see(frame))
        self._reporter.timings.count('images', arrived_s)
        self._control()

    def _on_extra_image(
        self, camera: str,
    ) -> Callable[[Image | CompressedImage], None]:
        def on_image(message: Image | CompressedImage) -> None:
            try:
                frame = Frame(decode(message, self._summary.image_size_px),
                              _to_ns(message.header.stamp), monotonic())
            except ImageError as error:
                detail = str(error)
                self._sense(lambda senses: senses.see_extra_invalid(camera, detail))
            else:
                self._sense(lambda senses: senses.see_extra(camera, frame))
            self._wake.trigger()
        return on_image

    def _on_joint_state(self, message: JointState) -> None:
        arrived_s = monotonic()
        self._sense(lambda senses: senses.feel(
            message.name, message.position, _to_ns(message.header.stamp), arrived_s,
            message.effort))
        self._reporter.timings.count('joint_states', arrived_s)

    def _on_instruction(self, message: String) -> None:
        with self._lock:
            if self._pilot is not None:
                self._pilot.hear(message.data)
        self._wake.trigger()

    def _on_deadman(self, message: Bool) -> None:
        arrived_s = monotonic()
        self._sense(lambda senses: senses.press(message.data, arrived_s))
        self._wake.trigger()

    def _on_episode(self, message: UInt32) -> None:
        with self._lock:
            if self._pilot is not None and message.data != self._episode:
                self._episode = message.data
                self._pilot.begin_episode()
                self._worker.slot.forget()

    def _sense(self, take: Callable[[Senses], None]) -> None:
        with self._lock:
            if self._pilot is not None:
                take(self._pilot.senses)

    def _tell_incompatible(
        self, topic: str,
    ) -> Callable[[QoSRequestedIncompatibleQoSInfo], None]:
        def tell(event: QoSRequestedIncompatibleQoSInfo) -> None:
            if topic not in ('episode', 'instruction'):
                remedy = ('Publish it reliably' if topic == 'deadman'
                          else 'Set sensor_reliability:=best_effort')
                self.get_logger().warning(
                    f'a publisher of {topic} offers best effort, this node asks for reliable: '
                    f'nothing will arrive. {remedy}')
        return tell

    # Services ------------------------------------------------------------------------------

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._latch(stopped=True)
        response.success, response.message = True, 'stopped until ~/reset_stop is called'
        return response

    def _on_reset_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        latched = self._pilot is not None and self._pilot.senses.latched
        response.message = (
            'the stop is released' if self._stopped or latched else 'there was no stop')
        self._latch(stopped=False)
        response.success = True
        return response

    def _on_dry_run(self, request: SetBool.Request, response: SetBool.Response) -> object:
        with self._lock:
            if self._pilot is not None:
                if not (request.data or self._settled):
                    response.message = UNSETTLED
                    return response
                now = self._now()
                if request.data and not self._dry_run:
                    # The last that is sent: with a stream the arm is on its way.
                    self._output.hold(
                        self._pilot.hold(now) if self._pilot.has_commanded else None)
                self._pilot.set_dry_run(dry_run=request.data)
            self._dry_run = request.data
        self._reporter.publish_status()
        response.success = True
        response.message = 'commands are not sent' if request.data else 'commands are sent'
        return response

    def _latch(self, *, stopped: bool) -> None:
        with self._lock:
            self._stopped = stopped
            self._latched = self._latched if stopped else None
            if self._pilot is not None:
                self._pilot.stop(stopped=stopped)
        self._reporter.publish_status()
        self._wake.trigger()

    # Control -------------------------------------------------------------------------------

    def _on_answer(self) -> None:
        """Go on with an answer, on the worker's thread; an error is the executor's to raise."""
        try:
            self._control()
        except InvalidHandle:
            pass  # a policy that hung answers after the node has gone
        except Exception as error:
            self._failure = error
            self._wake.trigger()

    def _control(self) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._pilot is None:
                return
            now = self._now()
            if self._watchdog.feed(now.steady_s):
                self._pilot.restart()
            answer = self._worker.slot.take_answer()
            if answer is not None:
                self._reporter.timings.count('answers', now.steady_s)
                self._reporter.timings.measure('inference', answer.inference_s)
            outcome = self._pilot.tick(now, answer)
            if outcome.action is not None:
                self._reporter.timings.measure('gate', monotonic() - now.steady_s)
            if self._watchdog.alarmed:
                return  # it took so long that the arm is held: what was decided is out of date
            if outcome.question is not None:
                self._worker.slot.ask(outcome.question)
            self._send(outcome, now)
            if answer is not None and outcome.image_age_s is not None:
                self._tell_timing(outcome, answer.inference_s)
            if self._reporter.state == 'active':
                self._reporter.say(outcome.reason, outcome.detail)

    def _send(self, outcome: Outcome, now: Now) -> None:
        """Send the command, and then what is for eyes and bags."""
        joints, command = self._pilot.senses.joints, outcome.command
        if command is not None and not outcome.dry_run:
            self._output.send(command, self._stamp(outcome),
                              None if joints is None else joints.arm_rad)
            self._reporter.timings.count(
                'steps' if outcome.reason is StopReason.NONE else 'holds', now.steady_s)
        self._sent_s = monotonic()
        if outcome.image_age_s is not None:
            self._reporter.timings.measure('image_age', outcome.image_age_s)
        if outcome.action is not None:
            self._action_out.publish(labelled(outcome))
            if joints is not None and self._motion_out.get_subscription_count():
                self._motion_out.publish(intended_motion(
                    outcome, self._pilot.pose_of(joints.arm_rad), self._settings.base_frame))
        if command is not None:
            self._target_out.publish(target_pose(
                command, outcome.stamp_ns, self._settings.base_frame))

    def _stamp(self, outcome: Outcome) -> int:
        return outcome.stamp_ns if self._settings.command_stamp == 'image' else 0

    def _tell_timing(self, outcome: Outcome, inference_s: float) -> None:
        """Publish image age, inference and the node's own share of this step, in seconds."""
        overhead_s = self._sent_s - outcome.image_arrived_s - inference_s
        self._reporter.timings.measure('overhead', overhead_s)
        self._timing_out.publish(Float64MultiArray(
            data=[outcome.image_age_s, inference_s, overhead_s]))

    def _stream_on(self) -> None:
        pilot = self._pilot
        if pilot is not None:
            self._output.stream_on(held=pilot.is_held)

    def _now(self) -> Now:
        return Now(self.get_clock().now().nanoseconds, monotonic())

    # Reports -------------------------------------------------------------------------------

    def _about(self) -> dict[str, object]:
        with self._lock:
            instruction = self._pilot.senses.instruction if self._pilot is not None else ''
            return {'instruction': instruction, 'stopped': self._stopped,
                    'dry_run': self._dry_run, 'episode': self._episode}

    def _counted(self) -> dict[str, object]:
        with self._lock:
            if self._pilot is None:
                return {}
            now, senses = self._now(), self._pilot.senses
            celsius = self._temperatures.celsius if self._temperatures is not None else {}
            return {'checkpoint': self._settings.checkpoint, **senses.ages_s(now),
                    'missed_deadlines': self._pilot.missed_deadlines,
                    'clamped_to_workspace': self._pilot.clamped_steps,
                    'gc_pauses': self._pauses.count,
                    'gc_pause_max_ms': round(self._pauses.longest_s * 1e3, 2),
                    'gc_pause_cpu_max_ms': round(self._pauses.longest_cpu_s * 1e3, 2),
                    **{f'motor_celsius_{joint}': value for joint, value in celsius.items()},
                    **{f'refused_{reason.value}': count
                       for reason, count in self._pilot.refusals.items()}}

    def _warnings(self) -> list[str]:
        if self._temperatures is None:
            return []
        return [f'motor {joint} has {value} degrees Celsius; let it rest above {HOT_CELSIUS}'
                for joint, value in self._temperatures.celsius.items() if value >= HOT_CELSIUS]


def joint_stream(parameters: VlaParameters) -> 'JointStream | None':
    """Return the stream towards the targets, None where the arm takes them as they are."""
    if not parameters.stream_hz:
        return None
    from rlrc_ros.arm.stream import JointStream  # ruckig: only where it is asked for
    return JointStream(
        parameters.stream_hz, parameters.velocity_scaling * parameters.max_joint_speed_rad_s,
        parameters.max_joint_acceleration_rad_s2, parameters.max_joint_jerk_rad_s3)


def _to_ns(stamp: object) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def main(
    argv: list[str] | None = None, make_node: Callable[[], VlaNode] = VlaNode,
) -> int:
    """Run vla_node until SIGINT or SIGTERM; the arm is held before the process ends."""
    # The policy's thread gives the interpreter up in each of its many small operations, and by
    # default waits up to 5 ms to get it back from the executor's threads.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    ended = begin(argv)
    try:
        node = make_node()
    except (ParameterException, ValueError) as error:
        print(f'vla_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    node.owns_process = True
    executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
    executor.add_node(node)
    failures: list[Exception] = []
    spinning = Thread(target=spin_until, args=(executor, ended, failures), daemon=True)
    spinning.start()
    ended.wait()
    node.end()
    spinning.join(timeout=JOIN_S)
    # rclpy's own shutdown does not wait for callbacks that still run, which then find their
    # handles destroyed. None of ours blocks, now that the topics are gone.
    executor._executor.shutdown(wait=True)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    if failures:
        raise failures[0]
    return 0


if __name__ == '__main__':
    sys.exit(main())
