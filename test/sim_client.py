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
A scripted client of sim_bridge for the tests: starts the real node, commands it over real DDS.

Nothing here sleeps for a fixed time: every wait is for an event, with a limit that only a broken
bridge reaches.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
import json
import os
from pathlib import Path
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from rlrc_ros.arm.limits import ARM_JOINTS
from rlrc_training.node_process import NodeProcess
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String, UInt32
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

LIMIT_S = 60.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RESULTS = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def own_domain(offset: int = 0) -> int:
    """Return a ROS domain (1 ... 100) that other test processes, and other files, hardly share."""
    return 1 + (os.getpid() + 11 + 37 * offset) % 100


@contextmanager
def sim_bridge(folder: Path, domain: int, **parameters):
    """Run sim_bridge as a process; it is ended, or killed, at the end of the block."""
    listed = [text for name, value in parameters.items()
              for text in ('-p', f'{name}:={json.dumps(value)}')]
    bridge = NodeProcess(
        'sim_bridge', 'rlrc_sim.bridge_node', listed, folder / 'sim_bridge.log',
        {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    try:
        yield bridge
    finally:
        bridge.stop()


def stamp_ns(message) -> int:
    """Return a message's stamp in nanoseconds."""
    return Time.from_msg(message.header.stamp).nanoseconds


def trajectory(names: Sequence[str], positions: Sequence[float], stamp: int) -> JointTrajectory:
    """Return a trajectory of one point."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    point = JointTrajectoryPoint(positions=[float(position) for position in positions])
    point.time_from_start.nanosec = 200_000_000
    message.points = [point]
    return message


class ScriptedClient:
    """
    Hear what sim_bridge says and command it.

    :param alive: called while waiting; raises when the bridge has died
    """

    def __init__(self, domain: int, alive: Callable[[], None]):
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        self._alive = alive
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain, args=[],
                   signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('scripted_client', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.images: list[Image] = []
        self.joints: list[JointState] = []
        self.episodes: list[int] = []
        self.instructions: list[str] = []
        self.results: list[dict] = []
        self.summaries: list[dict] = []
        for kind, topic, qos, take in (
                (Image, 'image', QoSProfile(depth=1), self.images.append),
                (JointState, 'joint_states', QoSProfile(depth=10), self.joints.append),
                (UInt32, 'episode', LATCHED, lambda m: self.episodes.append(m.data)),
                (String, 'instruction', LATCHED, lambda m: self.instructions.append(m.data)),
                (String, 'sim_bridge/episode_result', RESULTS,
                 lambda m: self.results.append(json.loads(m.data))),
                (String, 'sim_bridge/summary', LATCHED,
                 lambda m: self.summaries.append(json.loads(m.data)))):
            self.node.create_subscription(kind, topic, take, qos)
        self.arm = self.node.create_publisher(
            JointTrajectory, 'arm_controller/joint_trajectory', QoSProfile(depth=1))
        self.gripper = self.node.create_publisher(
            JointTrajectory, 'gripper_controller/joint_trajectory', QoSProfile(depth=1))
        self._reset = self.node.create_client(Trigger, 'sim_bridge/reset')

    def until(self, happened: Callable[[], object], what: str, limit_s: float = LIMIT_S):
        """Spin until happened() is true and return its value; fail after the limit."""
        deadline = time.monotonic() + limit_s
        while not (value := happened()):
            self._alive()
            assert time.monotonic() < deadline, f'no {what} within {limit_s} s'
            self._executor.spin_once(timeout_sec=0.1)
        return value

    def reset(self) -> None:
        """Call ~/reset, once both sides see each other's topics."""
        self.until(self._reset.service_is_ready, 'reset service')
        for publisher in (self.arm, self.gripper):
            self.until(publisher.get_subscription_count, 'subscriber of commands')
        for topic in ('image', 'joint_states', 'episode', 'instruction'):
            self.until(lambda topic=topic: self.node.count_publishers(topic), topic)
        future = self._reset.call_async(Trigger.Request())
        self.until(future.done, 'answer to reset')
        assert future.result().success

    def image_after(self, stamp: int) -> Image:
        """Wait for an image stamped later than this."""
        return self.until(lambda: next(
            (image for image in self.images if stamp_ns(image) > stamp), None), 'image')

    def joints_at(self, stamp: int) -> JointState:
        """Wait for the joint state with exactly this stamp."""
        return self.until(lambda: next(
            (joints for joints in self.joints if stamp_ns(joints) == stamp), None),
            'joint state with the stamp of its image')

    def command(self, stamp: int, arm_rad: Sequence[float], finger_m: float,
                order: Sequence[int] = range(6)) -> None:
        """Command arm and gripper for the image with this stamp; joints listed in any order."""
        self.arm.publish(trajectory(
            [ARM_JOINTS[i] for i in order], [arm_rad[i] for i in order], stamp))
        self.gripper.publish(trajectory(['left_finger'], [finger_m], stamp))

    def play(self, targets: Sequence[tuple[np.ndarray, float]],
             order: Sequence[int] = range(6)) -> tuple[list[np.ndarray], dict]:
        """
        Begin an episode and answer its images with these targets, one after another.

        :return: the joints' positions (9,) at each image, the first before the first command; and
            the episode's result
        """
        told, newest = len(self.results), max([stamp_ns(i) for i in self.images], default=0)
        self.reset()
        seen = []
        for arm_rad, finger_m in targets:
            newest = stamp_ns(self.image_after(newest))
            seen.append(np.array(self.joints_at(newest).position))
            self.command(newest, arm_rad, finger_m, order)
        result = self.until(lambda: self.results[told:], 'episode result')[0]
        return seen, result

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
