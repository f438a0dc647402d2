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
Show whether ROS 2 works here: one node sends another an image and a joint trajectory over DDS.

Each node has a context, hence a DDS participant, of its own, so that they must discover each other
as two processes do. Run as a process, python -m rlrc_ros.nodes.dds_probe, under the caller's own
domain, discovery and RMW settings, since these are what goes wrong. Prints one line: what was
found, or what failed; exit status 0 or 1.
"""

import os
import sys
import time

DISCOVERY_TIMEOUT_S = 20.0  # normally well below 3 s, even on loaded machines
IMAGE_SIZE_PX = 16


def exchange_messages() -> str:
    """
    Return distribution, RMW and domain after both messages came back.

    Raises ImportError if rclpy or a message package is missing, RuntimeError if a message is lost.
    """
    import rclpy  # here, so that a missing package becomes a line and no traceback
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.utilities import get_rmw_implementation_identifier
    from sensor_msgs.msg import Image
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    image = Image(height=IMAGE_SIZE_PX, width=IMAGE_SIZE_PX, encoding='rgb8',
                  step=3 * IMAGE_SIZE_PX, data=bytes(3 * IMAGE_SIZE_PX * IMAGE_SIZE_PX))
    trajectory = JointTrajectory(joint_names=['waist'],
                                 points=[JointTrajectoryPoint(positions=[0.5])])
    sent = {Image: image, JointTrajectory: trajectory}
    received = {}
    name = f'rlrc_doctor_{os.getpid()}'
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)

    contexts = [rclpy.Context(), rclpy.Context()]
    try:
        for context in contexts:
            context.init(args=[])
        sender, receiver = (rclpy.create_node(f'{name}_{role}', context=context)
                            for role, context in zip(('sender', 'receiver'), contexts))
        executor = SingleThreadedExecutor(context=contexts[1])
        executor.add_node(receiver)
        publishers = {}
        for kind in sent:
            topic = f'{name}/{kind.__name__.lower()}'
            publishers[kind] = sender.create_publisher(kind, topic, qos)
            receiver.create_subscription(
                kind, topic, lambda message, kind=kind: received.update({kind: message}), qos)

        deadline = time.monotonic() + DISCOVERY_TIMEOUT_S
        while received != sent:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f'a message did not reach its receiver within {DISCOVERY_TIMEOUT_S:.0f} s '
                    f'({get_rmw_implementation_identifier()}, {settings()}); check the network '
                    f'interface and firewall, or try ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST')
            for kind, publisher in publishers.items():
                if publisher.get_subscription_count():
                    publisher.publish(sent[kind])
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
        return (f'{os.environ.get("ROS_DISTRO", "jazzy wheels")}, '
                f'{get_rmw_implementation_identifier()}, {settings()}: messages come through')
    finally:
        for context in contexts:
            context.try_shutdown()


def settings() -> str:
    """Return the settings that decide which nodes see each other."""
    return (f'ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")}, discovery '
            f'{os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")}')


def main() -> int:
    """Print what was found or what failed; return 0 if both messages came back."""
    try:
        print(exchange_messages())
    except (ImportError, OSError, RuntimeError) as error:
        print(f'{type(error).__name__}: {error}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
