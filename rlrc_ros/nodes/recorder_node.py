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
recorder_node: one episode, one bag (MCAP), everything raw; decide later what to learn from it.

`~/start` begins an episode, `~/finish` (std_srvs/SetBool: true for a success) ends it and writes
the result; `rlrc import-bags` makes `rlrc sft` data of the folder. Messages are taken as
serialised bytes and written by a thread of their own, so that neither decoding nor a slow disk is
ever in the way of the arm; a full queue drops messages, counts them, and says so in the result.
Images and joint states are asked for reliably, as vla_node asks for them, and best effort where a
publisher offers no more. A bag is written under a name that begins with a dot and renamed when it
is complete.

    python -m rlrc_ros.nodes.recorder_node --ros-args -p folder:=runs/episodes
"""

from collections.abc import Callable
from datetime import datetime, timezone
import json
from pathlib import Path
from queue import Full, Queue
import sys
from threading import Lock, Thread
import time

from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rlrc_ros.arm.commands import interbotix_interfaces
from rlrc_ros.nodes.lifetime import begin
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String, UInt32
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

try:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import get_types_from_msg, get_typestore, Stores
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'recorder_node needs the Python package rosbags. Type:  pip install rosbags',
        name='rosbags') from error

RESULT_TOPIC = 'episode_result'
LATCHED_TOPICS = ('instruction', 'episode', 'vla_node/status')
"""What was said before an episode begins belongs to it."""
QUEUE_LENGTH = 1000
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMANDS = {'JointGroupCommand': ('commands/joint_group', 'string name\nfloat32[] cmd'),
            'JointSingleCommand': ('commands/joint_single', 'string name\nfloat32 cmd')}
"""Interbotix' messages, their topics and their definitions, which no store of types knows."""
IMAGE_TYPES = {'raw': Image, 'compressed': CompressedImage}


class Bag:
    """One episode on disk; `put` never waits."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Open a bag that becomes `path` when it is closed."""
        self.path, self.dropped, self.written = path, 0, 0
        self._partial = path.with_name(f'.{path.name}.partial')
        self._types = get_typestore(Stores.ROS2_JAZZY)
        for name, (_, definition) in COMMANDS.items():
            self._types.register(get_types_from_msg(
                definition, f'interbotix_xs_msgs/msg/{name}'))
        self._writer = Writer(
            self._partial, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, object] = {}
        self._warn = warn
        self._queue: Queue[tuple[str, str, int, bytes] | None] = Queue(QUEUE_LENGTH)
        self._thread = Thread(target=self._write, name='bag', daemon=True)
        self._thread.start()

    def put(self, topic: str, type_name: str, stamp_ns: int, serialized: bytes) -> None:
        """Queue one message; count it as dropped where the disk is too slow."""
        try:
            self._queue.put_nowait((topic, type_name, stamp_ns, serialized))
        except Full:
            self.dropped += 1

    def close(self, result: dict) -> None:
        """Write the result, end the bag and give it its name."""
        result |= {'dropped_messages': self.dropped}
        stamp_ns = time.time_ns()
        self._queue.put((RESULT_TOPIC, 'std_msgs/msg/String', stamp_ns,
                         bytes(serialize_message(String(data=json.dumps(result))))))
        self._queue.put(None)
        self._thread.join()
        self._writer.close()
        self._partial.rename(self.path)

    def _write(self) -> None:
        while (entry := self._queue.get()) is not None:
            topic, type_name, stamp_ns, serialized = entry
            try:
                if topic not in self._connections:
                    self._connections[topic] = self._writer.add_connection(
                        topic, type_name, typestore=self._types)
                self._writer.write(self._connections[topic], stamp_ns, serialized)
                self.written += 1
            except OSError as error:  # a full disk must not end the process beside the arm
                self.dropped += 1
                if self.dropped == 1:
                    self._warn(f'the bag cannot be written: {error}')


def _interbotix_types() -> tuple[type, ...]:
    """Return the types of Interbotix' commands; none where its messages are not installed."""
    try:
        messages = interbotix_interfaces().msg
    except ModuleNotFoundError:
        return ()
    return messages.JointGroupCommand, messages.JointSingleCommand


class RecorderNode(Node):
    """Subscribes to what an episode consists of; writes while one is being recorded."""

    def __init__(self, **node_options: object) -> None:
        """Declare parameters, subscribe and offer the services."""
        super().__init__('recorder_node', **node_options)
        self._folder = Path(str(self.declare_parameter('folder', 'runs/episodes').value))
        transport = str(self.declare_parameter('image_transport', 'raw').value)
        if transport not in IMAGE_TYPES:
            raise ValueError(f"image_transport is '{transport}'; it can be: raw, compressed")
        self._lock = Lock()
        self._bag: Bag | None = None
        self._latched: dict[str, tuple[str, bytes]] = {}
        self._heard: set[str] = set()
        self._best_effort: set[str] = set()
        for message_type, topic in (
                (IMAGE_TYPES[transport], 'image'), (JointState, 'joint_states')):
            self._subscribe_sensor(message_type, topic)
        for message_type, topic, qos in (
                (String, 'instruction', LATCHED), (UInt32, 'episode', LATCHED),
                # `ros2 topic pub` is volatile, which a latched subscription does not match.
                (String, 'instruction', RELIABLE),
                (Float64MultiArray, 'vla_node/action', 10),
                (Float64MultiArray, 'vla_node/timing', 10),
                (PoseStamped, 'vla_node/target_pose', 10), (String, 'vla_node/status', LATCHED),
                (JointTrajectory, 'arm_controller/joint_trajectory', 10),
                (JointTrajectory, 'gripper_controller/joint_trajectory', 10),
                *((message_type, COMMANDS[message_type.__name__][0], 10)
                  for message_type in _interbotix_types())):
            self.create_subscription(
                message_type, topic, self._take(topic, message_type), qos, raw=True)
        self.create_service(Trigger, '~/start', self._on_start)
        self.create_service(SetBool, '~/finish', self._on_finish)
        self.get_logger().info(f'ready; ~/start begins an episode in {self._folder}')

    def _subscribe_sensor(self, message_type: type, topic: str) -> None:
        """Ask for every message; where a publisher does not offer that, for what arrives."""
        take = self._take(topic, message_type)

        def take_reliable(serialized: bytes) -> None:
            if topic not in self._best_effort:  # or it comes twice
                take(serialized)

        def fall_back(_: QoSRequestedIncompatibleQoSInfo) -> None:
            if topic not in self._best_effort:
                self._best_effort.add(topic)
                self.create_subscription(message_type, topic, take, BEST_EFFORT, raw=True)
                self.get_logger().warning(
                    f'{self.resolve_topic_name(topic)} is published best effort: what gets lost '
                    'on the way will be missing from the bag')
        self.create_subscription(
            message_type, topic, take_reliable, RELIABLE, raw=True,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=fall_back))

    def _take(self, topic: str, message_type: type) -> Callable[[bytes], None]:
        package, name = message_type.__module__.partition('.')[0], message_type.__name__
        type_name, latched = f'{package}/msg/{name}', topic in LATCHED_TOPICS

        def take(serialized: bytes) -> None:
            with self._lock:
                self._heard.add(topic)
                if latched:
                    if self._latched.get(topic) == (type_name, serialized):
                        return  # heard by both subscriptions, or said again
                    self._latched[topic] = (type_name, serialized)
                if self._bag is not None:
                    self._bag.put(topic, type_name, time.time_ns(), serialized)
        return take

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            if self._bag is not None:
                response.message = 'an episode is being recorded; call ~/finish first'
                return response
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                now = datetime.now(timezone.utc)
                self._bag = Bag(self._folder / f'episode_{now:%Y%m%d_%H%M%S_%f}',
                                self.get_logger().error)
            except OSError as error:
                response.message = f'cannot write to {self._folder}: {error}'
                return response
            for topic, (type_name, serialized) in self._latched.items():
                self._bag.put(topic, type_name, time.time_ns(), serialized)
            response.success, response.message = True, str(self._bag.path)
            silent = [topic for topic in ('image', 'joint_states', 'vla_node/action')
                      if topic not in self._heard]
        if silent:
            names = ', '.join(self.resolve_topic_name(topic) for topic in silent)
            response.message += f' (nothing has been heard yet on {names}; remap them)'
            self.get_logger().warning(f'nothing has been heard yet on {names}')
        self.get_logger().info(f'recording bag={response.message}')
        return response

    def _on_finish(self, request: SetBool.Request, response: SetBool.Response) -> object:
        response.success, response.message = self.finish({'success': request.data})
        return response

    def finish(self, result: dict) -> tuple[bool, str]:
        """End the episode that is being recorded; return whether there was one, and its bag."""
        with self._lock:
            bag, self._bag = self._bag, None
        if bag is None:
            return False, 'no episode is being recorded; call ~/start first'
        try:
            bag.close(result)
        except OSError as error:
            return False, f'{bag.path} cannot be completed: {error}'
        self.get_logger().info(
            f'recorded bag={bag.path} messages={bag.written} dropped={bag.dropped} '
            + ' '.join(f'{key}={value}' for key, value in result.items()))
        return True, str(bag.path)


def main(argv: list[str] | None = None) -> int:
    """Run recorder_node until SIGINT or SIGTERM; an open episode is closed without a result."""
    ended = begin(argv)
    try:
        node = RecorderNode()
    except ValueError as error:
        print(f'recorder_node: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        pass
    finally:  # also after an error: what was recorded is whole
        node.finish({'success': None})
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
