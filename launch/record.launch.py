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
Record episodes to MCAP bags beside a running vla_node.

    ros2 launch rlrc_ros record.launch.py folder:=runs/episodes
    ros2 service call /recorder_node/start std_srvs/srv/Trigger
    ros2 service call /recorder_node/finish std_srvs/srv/SetBool '{data: true}'
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = (
    ('folder', 'runs/episodes', 'Where the bags go, one for each episode.'),
    ('image', 'image', 'Topic of the camera image.'),
    ('joint_states', 'joint_states', 'Topic of the joint states.'),
    ('image_transport', 'raw', 'raw or compressed.'),
    ('namespace', '', 'Namespace of vla_node and its topics.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
)
"""Name, default and meaning of every launch argument."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the recorder."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in ARGUMENTS]
    recorder = Node(
        package='rlrc_ros', executable='recorder_node', name='recorder_node',
        namespace=LaunchConfiguration('namespace'), output='screen',
        parameters=[{'folder': LaunchConfiguration('folder'),
                     'image_transport': LaunchConfiguration('image_transport')}],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in ('image', 'joint_states')],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')])
    return LaunchDescription([*arguments, recorder])
