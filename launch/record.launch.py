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

    ros2 launch rlrc_ros record.launch.py folder:=runs/episodes                   # the simulation
    ros2 launch rlrc_ros record.launch.py robot_name:=wx250s image:=/camera/camera/color/image_raw
    ros2 service call /recorder_node/start std_srvs/srv/Trigger
    ros2 service call /recorder_node/finish std_srvs/srv/SetBool '{data: true}'
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = (
    ('folder', 'runs/episodes', 'Where the bags go, one for each episode.'),
    ('robot_name', '', 'Namespace of the driver on hardware (wx250s); empty: the simulation.'),
    ('image', 'image', 'Topic of the camera image.'),
    ('joint_states', '', "Topic of the joint states; empty: the arm's usual one."),
    ('image_transport', 'raw', 'raw or compressed.'),
    ('namespace', '', 'Namespace of vla_node and its topics.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
)
"""Name, default and meaning of every launch argument."""
COMMANDS = ('arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory',
            'commands/joint_group', 'commands/joint_single')
"""Of ros2_control and of Interbotix."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the recorder made from their values."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in ARGUMENTS]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_recorder)])


def start_recorder(context: LaunchContext) -> list[Node]:
    """Return the recorder with the topics of this arm."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    driver = f'{given["robot_name"]}/' if given['robot_name'] else ''
    topics = {'image': given['image'],
              'joint_states': given['joint_states'] or f'{driver}joint_states',
              **{topic: f'{driver}{topic}' for topic in COMMANDS}}
    return [Node(
        package='rlrc_ros', executable='recorder_node', name='recorder_node',
        namespace=given['namespace'], output='screen',
        parameters=[{'folder': ParameterValue(given['folder'], value_type=str),
                     'image_transport': given['image_transport']}],
        remappings=[(topic, to) for topic, to in topics.items() if to != topic],
        arguments=['--ros-args', '--log-level', given['log_level']])]
