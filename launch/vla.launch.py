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
Start vla_node and the arm it drives, and bring vla_node up.

    ros2 launch rlrc_ros vla.launch.py                                     # the simulated arm
    ros2 launch rlrc_ros vla.launch.py arm:=ros2_control image:=/camera/camera/color/image_raw
    ros2 launch rlrc_ros vla.launch.py arm:=interbotix dry_run:=false
    ros2 launch rlrc_ros vla.launch.py --show-args

Without arguments: the simulation, driven by the checkpoint that came with the package. On hardware
nothing is sent until `dry_run:=false` says so, and the driver is started by its own launch file.
The launch ends when a node ends, and says why when vla_node cannot be configured.

What an argument says counts most, then params_file and sim_params_file, then the shipped files.
Whether commands are sent, and what follows from `arm` and `mode` (lockstep, use_sim_time,
command_style, command_stamp), is never taken from a file.

`ros2` runs this file with the system's Python, which need not hold torch: here a checkpoint is
looked at, and the nodes, which have an interpreter of their own, open it.
"""

from importlib.resources import files

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
from rlrc_ros.checkpoint_view import view_of
from rlrc_ros.parameter_file import parameters_in
from rlrc_ros.paths import config_file, shipped_checkpoint

ARMS = ('sim', 'ros2_control', 'interbotix')
MODES = ('lockstep', 'real_time')
BOOLEANS = {'true': True, 'false': False}

ARGUMENTS = (
    ('arm', 'sim', 'sim: the simulated WidowX-250S. ros2_control: joint trajectories to '
     'arm_controller and gripper_controller. interbotix: the xs_sdk driver.'),
    ('mode', '', 'sim only. lockstep: the simulation waits for each command, so a run repeats. '
     'real_time: time passes as it does for a real arm. Empty: lockstep.'),
    ('episode_set', '', 'sim only. Family of worlds; empty: the one that the checkpoint was '
     'trained on.'),
    ('checkpoint', '', 'Folder of the checkpoint that drives the arm; empty: the shipped one.'),
    ('instruction', '', 'What to do; empty: what each simulated task asks for, and on hardware '
     'nothing until the topic `instruction` says something.'),
    ('dry_run', '', 'true: compute every command, send none; in simulation with mode:=real_time '
     'only. Empty: true on hardware, false in simulation.'),
    ('image', 'image', 'Topic of the camera image.'),
    ('joint_states', '', "Topic of the joint states; empty: the arm's usual one."),
    ('robot_name', '', 'Namespace of the driver and of its controllers (hardware); empty: '
     'wx250s.'),
    ('base_frame', '', "Frame of the arm's base; empty: ROBOT_NAME/base_link, as Interbotix names "
     'it, on hardware, and base_link in simulation.'),
    ('use_sim_time', '', 'true: follow /clock. Empty: true with arm:=sim, else false.'),
    ('namespace', '', "Namespace of our nodes and all their topics; the driver's are looked for "
     'in it too (NAMESPACE/ROBOT_NAME/joint_states).'),
    ('params_file', '', 'Parameter file of vla_node with what shall differ from the shipped '
     'vla.yaml and, with arm:=sim, vla_sim.yaml.'),
    ('sim_params_file', '', 'Likewise of sim_bridge and sim.yaml.'),
    ('log_level', 'info', 'debug, info, warn, error or fatal.'),
    ('autostart', 'true', 'false: leave vla_node unconfigured, for `ros2 lifecycle set`.'),
    ('rviz', 'false', 'true: show camera, arm and the target that is commanded, in RViz.'),
)
"""Name, default and meaning of every launch argument."""
FROM_VLA_FILE = {'checkpoint': '', 'instruction': '', 'robot_name': 'wx250s', 'base_frame': ''}
FROM_SIM_FILE = {'mode': MODES[0], 'episode_set': ''}
"""What this file has to know, though it may stand in a parameter file only; and its default."""
PATIENT = {'start_timeout_s': 86_400.0}
"""Of sim_bridge: a checkpoint may load for long, or somebody bring vla_node up by hand."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, and the nodes made from their values."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, default, meaning in ARGUMENTS]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list:
    """Check the arguments and return the nodes, with what brings vla_node up."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    refuse_parameters(context.argv)
    arm = one_of('arm', given['arm'], ARMS)
    simulated = arm == 'sim'
    take_from_files(given)
    lockstep = one_of('mode', given['mode'], MODES) == 'lockstep' and simulated
    given['dry_run'] = given['dry_run'] or str(not simulated)
    given['use_sim_time'] = given['use_sim_time'] or str(simulated)
    given['base_frame'] = given['base_frame'] or (
        'base_link' if simulated else f'{given["robot_name"]}/base_link')
    checkpoint = given['checkpoint'] or str(shipped_checkpoint())
    view = view_of(checkpoint)
    if lockstep and boolean('dry_run', given):
        raise ValueError("dry_run is 'true', which sends no command, and mode is 'lockstep', in "
                         'which the simulation waits for each; set mode:=real_time')
    vla_node = LifecycleNode(
        package='rlrc_ros', executable='vla_node', name='vla_node',
        namespace=given['namespace'], output='screen', on_exit=Shutdown(),
        parameters=[*parameter_files(
            ['vla.yaml'] + ['vla_sim.yaml'] * simulated, given['params_file']), {
            'checkpoint': ParameterValue(checkpoint, value_type=str),
            'instruction': ParameterValue(given['instruction'], value_type=str),
            'command_style': 'interbotix' if arm == 'interbotix' else 'joint_trajectory',
            'command_stamp': 'image' if simulated else 'zero',
            'robot_name': ParameterValue(given['robot_name'], value_type=str),
            'base_frame': ParameterValue(given['base_frame'], value_type=str),
            'dry_run': boolean('dry_run', given), 'lockstep': lockstep,
            'use_sim_time': boolean('use_sim_time', given)}],
        remappings=remappings(arm, given),
        arguments=['--ros-args', '--log-level', given['log_level']])
    nodes = [vla_node]
    if simulated:
        nodes.insert(0, Node(
            package='rlrc_ros', executable='sim_bridge', name='sim_bridge',
            namespace=given['namespace'], output='screen', on_exit=Shutdown(),
            parameters=[*parameter_files(['sim.yaml'], given['sim_params_file'], PATIENT), {
                'mode': given['mode'], 'image_height_px': view.side_px,
                'image_width_px': view.side_px,
                'instruction': ParameterValue(given['sim_instruction'], value_type=str),
                'episode_set': given['episode_set'] or view.episode_set}],
            arguments=['--ros-args', '--log-level', given['log_level']]))
    if boolean('rviz', given):
        nodes += views(arm, given)
    autostart = boolean('autostart', given)
    return [
        *(bring_up(vla_node) if autostart else []), *nodes,
        *([change_state(vla_node, Transition.TRANSITION_CONFIGURE)] if autostart else [])]


def refuse_parameters(typed: list[str]) -> None:
    """
    Refuse what `ros2 launch` would pass over in silence, `deadman:=true` for one.

    :param typed: the command line's NAME:=VALUE
    :raises ValueError: one is a parameter of vla_node and no argument of this file
    """
    parameters = parameters_in(config_file('vla.yaml'), 'vla_node')
    for each in typed:
        name, _, value = each.partition(':=')
        if name in parameters and name not in {argument for argument, *_ in ARGUMENTS}:
            raise ValueError(
                f"{name}:={value} would do nothing: '{name}' is a parameter of vla_node and no "
                f'argument of vla.launch.py. Write  {name}: {value}  into a file as '
                'config/vla.yaml is one, and give params_file:=FILE')


def take_from_files(given: dict[str, str]) -> None:
    """Fill in what no argument says from the user's parameter files, then from the defaults."""
    namespace = given['namespace']
    vla = changes_in(given['params_file'], 'vla.yaml', 'vla_node', namespace)
    sim = changes_in(given['sim_params_file'], 'sim.yaml', 'sim_bridge', namespace)
    given['sim_instruction'] = given['instruction'] or str(sim.get('instruction', ''))
    for name, default in FROM_VLA_FILE.items():
        given[name] = given[name] or str(vla.get(name) or default)
    for name, default in FROM_SIM_FILE.items():
        given[name] = given[name] or str(sim.get(name) or default)


def changes_in(file: str, shipped: str, node: str, namespace: str) -> dict[str, object]:
    """Return what a user's parameter file says otherwise than the shipped one does."""
    if not file:
        return {}
    defaults = parameters_in(config_file(shipped), node, namespace)
    return {name: value for name, value in parameters_in(file, node, namespace).items()
            if value != defaults.get(name)}


def parameter_files(shipped: list[str], given: str, ours: dict | None = None) -> list[str | dict]:
    """Return parameters in the order in which they are read: the last one counts."""
    return [*(str(config_file(name)) for name in shipped), *([ours] if ours else []),
            *([given] if given else [])]


def views(arm: str, given: dict[str, str]) -> list[Node]:
    """Return RViz, and in simulation what tells it the arm's shape and joints."""
    use_sim_time = {'use_sim_time': boolean('use_sim_time', given)}
    driver = '' if arm == 'sim' else f'{given["robot_name"]}/'
    rviz = Node(
        package='rviz2', executable='rviz2', name='rviz', namespace=given['namespace'],
        arguments=['-d', str(config_file('vla.rviz')), '-f', given['base_frame']],
        remappings=[(name, to) for name, to in (
            ('image', given['image']), ('robot_description', f'{driver}robot_description'))
            if name != to],
        parameters=[use_sim_time])
    if arm != 'sim':
        return [rviz]  # the driver's launch file starts robot_state_publisher
    urdf = files('rlrc_ros.arm').joinpath('urdf', 'wx250s.urdf').read_text(encoding='utf-8')
    return [rviz, Node(
        package='robot_state_publisher', executable='robot_state_publisher',
        namespace=given['namespace'], parameters=[
            use_sim_time, {'robot_description': ParameterValue(urdf, value_type=str)}])]


def remappings(arm: str, given: dict[str, str]) -> list[tuple[str, str]]:
    """Return vla_node's remappings: the camera's topic, and the driver's namespace on hardware."""
    found = [] if given['image'] == 'image' else [('image', given['image'])]
    joint_states = given['joint_states']
    if arm != 'sim':
        joint_states = joint_states or f'{given["robot_name"]}/joint_states'
    if arm == 'ros2_control':
        found += [(f'{part}_controller/joint_trajectory',
                   f'{given["robot_name"]}/{part}_controller/joint_trajectory')
                  for part in ('arm', 'gripper')]
    return [*found, *([('joint_states', joint_states)] if joint_states else [])]


def bring_up(node: LifecycleNode) -> list[RegisterEventHandler]:
    """
    Return what activates the node once it is configured, or ends the launch where that failed.

    It acts once: an arm must not begin to move because somebody configured the node again.
    """
    def act(context: LaunchContext) -> list:
        if context.locals.event.goal_state == 'inactive':
            return [change_state(node, Transition.TRANSITION_ACTIVATE)]
        return [LogInfo(msg='vla_node could not be configured; its last error line says why'),
                Shutdown(reason='vla_node could not be configured')]
    return [RegisterEventHandler(OnStateTransition(
        target_lifecycle_node=node, start_state='configuring', handle_once=True,
        entities=[OpaqueFunction(function=act)]))]


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
