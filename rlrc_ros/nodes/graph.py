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

"""Who listens to an arm's commands, as the ROS graph tells it."""

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

ONLOOKERS = ('recorder_node', 'rosbag2_', '_ros2cli', 'foxglove_bridge', 'rqt')
"""How the names of nodes begin that listen to commands and drive no arm."""


def arms_on(node: Node, topic: str) -> list[TopicEndpointInfo]:
    """Return the subscriptions to a topic of whatever may be an arm's driver."""
    return [info for info in node.get_subscriptions_info_by_topic(topic)
            if not info.node_name.startswith(ONLOOKERS)]
