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
Start the simulated arm and vla_node, and bring vla_node up.

    ros2 launch rlrc_ros vla.launch.py
    ros2 launch rlrc_ros vla.launch.py checkpoint:=runs/sft/best mode:=real_time
    ros2 launch rlrc_ros vla.launch.py --show-args

Without arguments: the simulation, driven by the checkpoint that came with the package. The launch
ends when either process ends, and says why when vla_node cannot be configured.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition
from rlrc_ros.paths import config_file, shipped_checkpoint
from rlrc_ros.vla.checkpoint import inspect

ARMS = ('sim',)
MODES = ('lockstep', 'real_time')
BOOLEANS = {'true': True, 'false': False}

ARGUMENTS = (
    ('arm', 'sim', 'Which arm to drive: sim, the simulated WidowX-250S.'),
    ('mode', 'lockstep', 'lockstep: the simulation waits for each command, so a run repeats. '
     'real_time: time passes as it does for a real arm.'),
    ('checkpoint', '', 'Folder of the checkpoint that drives the arm; empty: the shipped one.'),
    ('instruction', '', 'What to do in every episode; empty: what each task asks for.'),
    ('dry_run', 'false', 'true: compute every command, send none.'),
    ('use_sim_time', 'true', 'true: follow /clock, which the simulation publishes.'),
    ('namespace', '', 'Namespace of both nodes and all their topics.'),
    ('params_file', '', 'Parameter file of vla_node; empty: the shipped vla.yaml.'),
    ('sim_params_file', '', 'Parameter file of sim_bridge; empty: the shipped sim.yaml.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
    ('autostart', 'true', 'false: leave vla_node unconfigured, for `ros2 lifecycle set`.'),
)
"""Name, default and meaning of every launch argument."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, and the nodes made from their values."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in ARGUMENTS]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list:
    """Check the arguments and return the two nodes, with what brings vla_node up."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    one_of('arm', given['arm'], ARMS)
    lockstep = one_of('mode', given['mode'], MODES) == 'lockstep'
    summary = inspect(given['checkpoint'] or shipped_checkpoint())
    height_px, width_px = summary.image_size_px
    sim_bridge = Node(
        package='rlrc_ros', executable='sim_bridge', name='sim_bridge',
        namespace=given['namespace'], output='screen', on_exit=Shutdown(),
        parameters=[given['sim_params_file'] or str(config_file('sim.yaml')), {
            'mode': given['mode'], 'image_height_px': height_px, 'image_width_px': width_px,
            'instruction': ParameterValue(given['instruction'], value_type=str)}],
        arguments=['--ros-args', '--log-level', given['log_level']])
    vla_node = LifecycleNode(
        package='rlrc_ros', executable='vla_node', name='vla_node',
        namespace=given['namespace'], output='screen', on_exit=Shutdown(),
        parameters=[given['params_file'] or str(config_file('vla.yaml')), {
            'checkpoint': ParameterValue(str(summary.folder), value_type=str),
            'instruction': ParameterValue(given['instruction'], value_type=str),
            'dry_run': boolean('dry_run', given), 'lockstep': lockstep,
            'use_sim_time': boolean('use_sim_time', given)}],
        arguments=['--ros-args', '--log-level', given['log_level']])
    return [
        *(bring_up(vla_node) if boolean('autostart', given) else []), sim_bridge, vla_node,
        *([change_state(vla_node, Transition.TRANSITION_CONFIGURE)]
          if boolean('autostart', given) else [])]


def bring_up(node: LifecycleNode) -> list[RegisterEventHandler]:
    """Return handlers that activate the configured node, or end the launch where that failed."""
    return [
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
            entities=[change_state(node, Transition.TRANSITION_ACTIVATE)])),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='unconfigured',
            entities=[
                LogInfo(msg='vla_node could not be configured; its last error line says why'),
                Shutdown(reason='vla_node could not be configured')])),
    ]


def change_state(node: LifecycleNode, transition_id: int) -> EmitEvent:
    """Return the action that asks the node for a lifecycle transition."""
    return EmitEvent(event=ChangeState(
        lifecycle_node_matcher=matches_action(node), transition_id=transition_id))


def boolean(name: str, given: dict[str, str]) -> bool:
    """Return a true/false argument; raises ValueError on anything else."""
    return BOOLEANS[one_of(name, given[name].lower(), tuple(BOOLEANS))]


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return the value where it is one of the choices; raises ValueError that names them."""
    if value not in choices:
        raise ValueError(
            f"{name} is '{value}'; it can be: {', '.join(choices)}. Set {name}:={choices[0]}")
    return value
