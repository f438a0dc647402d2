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
A real vla_node over DDS with a bench on the other side: camera, joints, operator, ears.

The node runs with a policy of the test's own, so that it can be made to fail; everything else is
the real thing. Both sides have their own ROS context and executor thread. Waiting is always for a
condition, never for a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
import gc
import itertools
import json
import os
from threading import Event, RLock, Thread
from time import monotonic, sleep

import cv2
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import rclpy
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rlrc_ros.arm.limits import ARM_JOINTS, INITIAL_RAD
from rlrc_ros.nodes.lifetime import spin_until
from rlrc_ros.nodes.vla_node import EXECUTOR_THREADS, VlaNode
from rlrc_ros.types import Action, ActionChunk, Observation
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt32
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
DOMAIN = 1 + os.getpid() % 100
PATIENCE_S = 60.0
COUNT = itertools.count(1)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE_PX = (32, 32)


def small_step(x_m: float = 0.002) -> ActionChunk:
    """Return a chunk of one small, always allowed move along x with the hand open."""
    return ActionChunk((Action(np.array([x_m, 0.0, 0.0]), np.zeros(3), 1.0),))


@dataclass(frozen=True)
class Summary:
    """What the node reads of a checkpoint's summary."""

    image_size_px: tuple[int, int] = SIZE_PX
    cameras: tuple[str, ...] = ('image',)
    reads_proprio: bool = False
    action_horizon: int = 1
    control_hz: float = 5.0
    parameters: int = 0
    unnorm_keys: tuple[str, ...] = ('scripted',)
    proprio_dim: int = 0
    proprio_layout: str = ''


PATIENT = {'max_image_age_s': 0.8, 'max_joint_state_age_s': 0.5, 'max_inference_s': 2.0,
           'max_frozen_image_s': 0.0, 'max_control_gap_s': 1.0}
"""Parameters of the node: two busy cores leave gaps that no driver does, and the pictures here
have no noise."""


class ScriptedPolicy:
    """Answers by a function that a test may exchange at any time."""

    def __init__(self, answer: Callable[[Observation], ActionChunk] | None = None) -> None:
        self.answer = answer or (lambda observation: small_step())
        self.seen: list[Observation] = []

    def warm_up(self) -> None:
        """Nothing to warm."""

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> ActionChunk:
        """Note the observation and answer it."""
        self.seen.append(observation)
        return self.answer(observation)


class VlaRig:
    """The node under test and the bench; a context manager that ends both."""

    def __init__(
        self, policy: ScriptedPolicy, summary: object = None, *, checkpoint: str = 'scripted',
        real_checkpoint: bool = False, image_type: type = Image, **parameters: object,
    ) -> None:
        self.policy = policy
        values = {'checkpoint': checkpoint, 'instruction': 'put carrot on plate',
                  'command_stamp': 'image', **PATIENT, **parameters}
        doors = {} if real_checkpoint else {
            'open_policy': lambda folder, device, **choice: policy,
            'inspect_checkpoint': lambda folder: summary or Summary()}
        self._contexts = [rclpy.Context(), rclpy.Context()]
        for context in self._contexts:
            rclpy.init(context=context, domain_id=DOMAIN, args=[])
        # A namespace of its own: nothing that an earlier test left behind is met again.
        namespace = f'/rig{next(COUNT)}'
        self.node = VlaNode(
            context=self._contexts[0], namespace=namespace, parameter_overrides=[
                Parameter(name, value=value) for name, value in values.items()], **doors)
        self.bench = Bench(self._contexts[1], namespace, image_type)
        self._executors = [
            MultiThreadedExecutor(EXECUTOR_THREADS, context=self._contexts[0]),
            SingleThreadedExecutor(context=self._contexts[1])]
        self._threads, self._overs = [], [Event(), Event()]
        self._failures: list[Exception] = []
        for executor, node, over in zip(
                self._executors, (self.node, self.bench), self._overs, strict=True):
            executor.add_node(node)
            self._threads.append(Thread(
                target=spin_until, args=(executor, over, self._failures), daemon=True))
            self._threads[-1].start()

    def __enter__(self) -> 'VlaRig':
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        self.bench.rest()
        self.node.end()
        for over in self._overs:
            over.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        for executor in self._executors:
            executor.shutdown(timeout_sec=2.0)
        for node, context in zip((self.node, self.bench), self._contexts, strict=True):
            node.destroy_node()
            context.try_shutdown()
        # The lifecycle services belong to the node's state machine and live until it is collected.
        del node, self.node
        self._executors.clear()
        gc.collect()
        if self._failures and error_type is None:
            raise self._failures[0]

    def configure(self) -> bool:
        """Ask the node to configure; return whether it did."""
        return self.bench.change_state(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> bool:
        """Ask the node to activate; return whether it did."""
        return self.bench.change_state(Transition.TRANSITION_ACTIVATE)

    def deactivate(self) -> bool:
        """Ask the node to deactivate; return whether it did."""
        return self.bench.change_state(Transition.TRANSITION_DEACTIVATE)

    def clean_up(self) -> bool:
        """Ask the node to clean up; return whether it did."""
        return self.bench.change_state(Transition.TRANSITION_CLEANUP)

    def drive(self, *, lockstep: bool = False) -> 'VlaRig':
        """Configure, wait for matched topics, feed camera and joints, activate."""
        assert self.configure()
        self.bench.wait_matched()
        if not lockstep:
            self.bench.feed()
        assert self.activate()
        return self


class Bench(Node):
    """The other side: publishes what a robot would, keeps what the node says."""

    def __init__(
        self, context: rclpy.Context, namespace: str, image_type: type = Image,
    ) -> None:
        super().__init__('bench', context=context, namespace=namespace)
        self.lock = RLock()
        self.over, self.feeding = Event(), Event()
        self._feeder: Thread | None = None
        self.camera_on = self.joints_on = True
        self.wrist_on = self.wrist_noisy = False
        self.encoding, self.size_px = 'rgb8', SIZE_PX
        self.noisy = self.truncated = self.follows = False
        self.image_delay_ns = self.clock_offset_ns = 0
        self.effort = 0.0
        self.pressed: bool | None = None
        self.shown = 0
        self.joint_names = [*ARM_JOINTS, 'gripper', 'left_finger', 'right_finger']
        self.q_rad = np.array(INITIAL_RAD)
        self.arm_commands: list[JointTrajectory] = []
        self.arrived_s: list[float] = []
        self.gripper_commands: list[JointTrajectory] = []
        self.actions: list[list[float]] = []
        self.statuses: list[dict] = []
        self.image_type = image_type
        self.images = self.create_publisher(image_type, 'image', 1)
        self.joints = self.create_publisher(JointState, 'joint_states', 10)
        self.wrist_images = self.create_publisher(image_type, 'wrist/image', 1)
        self.instructions = self.create_publisher(String, 'instruction', LATCHED)
        self.episodes = self.create_publisher(UInt32, 'episode', LATCHED)
        self.deadman = self.create_publisher(Bool, 'deadman', 1)
        self.ears = []
        for message_type, topic, take, qos in (
                (JointTrajectory, 'arm_controller/joint_trajectory',
                 self._on_arm, 10),
                (JointTrajectory, 'gripper_controller/joint_trajectory',
                 self.gripper_commands.append, 10),
                (Float64MultiArray, 'vla_node/action',
                 lambda message: self.actions.append(list(message.data)), 10),
                (String, 'vla_node/status',
                 lambda message: self.statuses.append(json.loads(message.data)),
                 QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL))):
            self.ears.append(self.create_subscription(message_type, topic, take, qos))
        self._state_client = self.create_client(ChangeState, 'vla_node/change_state')
        self._triggers = {
            name: self.create_client(Trigger, f'vla_node/{name}')
            for name in ('stop', 'reset_stop')}
        self._dry_run = self.create_client(SetBool, 'vla_node/dry_run')

    def change_state(self, transition: int) -> bool:
        """Ask for a lifecycle transition; return what the node answers."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(self._state_client, request).success

    def trigger(self, name: str) -> None:
        """Call ~/stop or ~/reset_stop."""
        assert self.call(self._triggers[name], Trigger.Request()).success

    def set_dry_run(self, value: bool) -> None:
        """Call ~/dry_run."""
        assert self.ask_dry_run(value).success

    def ask_dry_run(self, value: bool) -> SetBool.Response:
        """Call ~/dry_run and return its answer."""
        return self.call(self._dry_run, SetBool.Request(data=value))

    def call(self, client: object, request: object) -> object:
        """Call a service and wait for its answer."""
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(request)
        wait_for(future.done)
        return future.result()

    def wait_matched(self) -> None:
        """Wait until the node hears us and we hear the node."""
        wait_for(lambda: all(
            publisher.get_subscription_count() > 0
            for publisher in (self.images, self.joints, self.instructions, self.episodes)))
        wait_for(lambda: all(
            self.count_publishers(topic) > 0 for topic in (
                'arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory')))

    def feed(self) -> None:
        """Publish joints at 50 Hz and images at 25 Hz on a thread, as long as they are on."""
        self.feeding.set()
        self._feeder = Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def rest(self) -> None:
        """Stop publishing; return when nothing more will be."""
        self.feeding.clear()
        self.over.set()
        if self._feeder is not None:
            self._feeder.join(timeout=2.0)

    def _feed(self) -> None:
        tick = 0
        while self.feeding.is_set() and not self.over.wait(0.02):
            stamp_ns = self.get_clock().now().nanoseconds + self.clock_offset_ns
            tick += 1
            if self.pressed is not None:
                self.deadman.publish(Bool(data=self.pressed))
            if self.joints_on:
                self.show_joints(stamp_ns)
            if self.camera_on and tick % 2 == 0:
                if self.wrist_on:
                    self.show_wrist(stamp_ns, shade=tick // 2 * self.wrist_noisy % 256)
                self.show_image(stamp_ns - self.image_delay_ns)

    def _on_arm(self, message: JointTrajectory) -> None:
        self.arm_commands.append(message)
        self.arrived_s.append(monotonic())
        if self.follows:
            self.q_rad = np.array(message.points[0].positions)

    def go_deaf(self) -> None:
        """Stop listening to commands and showing joints, as a driver that ended."""
        self.joints_on = False
        for subscription in self.ears[:2]:
            self.destroy_subscription(subscription)

    def listen_again(self) -> None:
        """Come back after `go_deaf`."""
        self.ears[0] = self.create_subscription(
            JointTrajectory, 'arm_controller/joint_trajectory', self._on_arm, 10)
        self.ears[1] = self.create_subscription(
            JointTrajectory, 'gripper_controller/joint_trajectory',
            self.gripper_commands.append, 10)
        self.joints_on = True

    def show_joints(self, stamp_ns: int) -> None:
        """Publish the joints once."""
        message = JointState(name=list(self.joint_names))
        message.header.stamp = _stamp(stamp_ns)
        message.position = [*self.q_rad.tolist(), 0.0, 0.03, -0.03][:len(self.joint_names)]
        if self.effort:
            message.effort = [self.effort] * len(self.joint_names)
        self.joints.publish(message)

    def show_image(self, stamp_ns: int, shade: int = 0) -> None:
        """Publish an image of one shade once; where `noisy`, each time another."""
        self.shown += self.noisy
        self.images.publish(self._picture(stamp_ns, (shade + self.shown) % 256))

    def show_wrist(self, stamp_ns: int, shade: int = 0) -> None:
        """Publish a second camera's image of one shade once."""
        self.wrist_images.publish(self._picture(stamp_ns, shade))

    def _picture(self, stamp_ns: int, shade: int) -> Image | CompressedImage:
        height, width = self.size_px
        if self.image_type is CompressedImage:
            picture = cv2.imencode('.png', np.full((height, width, 3), shade, np.uint8))[1]
            message = CompressedImage(format='png', data=picture.tobytes())
        else:
            pixels = bytes([shade]) * (height * width * 3 - 100 * self.truncated)
            message = Image(height=height, width=width, step=width * 3, encoding=self.encoding,
                            data=pixels)
        message.header.stamp = _stamp(stamp_ns)
        return message

    def begin_episode(self, number: int) -> None:
        """Announce an episode and wait until the node knows."""
        self.episodes.publish(UInt32(data=number))
        self.wait_status('episode', number)

    def say(self, instruction: str) -> None:
        """Publish an instruction."""
        self.instructions.publish(String(data=instruction))

    def wait_reason(self, reason: str) -> dict:
        """Wait until the node's newest status has this reason and return that status."""
        return self.wait_status('reason', reason)

    def wait_status(self, key: str, value: object) -> dict:
        """Wait until the node's newest status says `value` for `key` and return that status."""
        wait_for(lambda: self.statuses and self.statuses[-1][key] == value,
                 lambda: f'{key} {value!r} in {self.statuses[-1:]}')
        return self.statuses[-1]

    def wait_more(self, messages: list, count: int = 1) -> None:
        """Wait until `count` further messages have come."""
        wanted = len(messages) + count
        wait_for(lambda: len(messages) >= wanted, lambda: f'{wanted} messages')


def wait_for(
    condition: Callable[[], object], what: Callable[[], str] = lambda: 'the condition',
) -> None:
    """Return as soon as the condition holds; fail after PATIENCE_S."""
    deadline_s = monotonic() + PATIENCE_S
    while not condition():
        if monotonic() > deadline_s:
            raise AssertionError(f'waited {PATIENCE_S:g} s in vain for {what()}')
        sleep(0.005)


def stamp_ns(message: object) -> int:
    """Return a message's header stamp in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _stamp(value_ns: int) -> object:
    return rclpy.time.Time(nanoseconds=value_ns).to_msg()
