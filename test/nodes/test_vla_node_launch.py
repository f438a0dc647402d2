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

"""The launch file: checked as text everywhere, built for real where launch_ros is."""

import ast
from dataclasses import fields
from importlib.util import find_spec, module_from_spec, spec_from_file_location
import json
from pathlib import Path
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from rlrc_ros.nodes.parameters import VlaParameters
from rlrc_ros.paths import config_file
from rlrc_ros.vla.checkpoint import inspect
from rlrc_sim.bridge_settings import BridgeSettings
from tiny_vla import make_tiny_checkpoint

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'vla.launch.py'
LAUNCH_IS_MISSING = find_spec('launch_ros') is None
without_launch = pytest.mark.skipif(
    not LAUNCH_IS_MISSING, reason='launch_ros is here: the real one is tested below')


def nodes_in_text() -> dict[str, set[str]]:
    """Return the parameters that the launch file gives to each executable."""
    found = {}
    for call in ast.walk(ast.parse(LAUNCH_FILE.read_text(encoding='utf-8'))):
        if not isinstance(call, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if 'parameters' in given and given['package'].value == 'rlrc_ros':
            names = set()
            for overrides in ast.walk(given['parameters']):
                if isinstance(overrides, ast.Dict):
                    names |= {key.value for key in overrides.keys if key is not None}
            found[given['executable'].value] = names
    return found


def test_every_parameter_that_is_set_exists() -> None:
    """A parameter renamed in a node but not in the launch file is found without launch_ros."""
    known = {
        'vla_node': {field.name for field in fields(VlaParameters)} | {'use_sim_time'},
        'sim_bridge': {field.name for field in fields(BridgeSettings)}}
    found = nodes_in_text()
    assert set(found) == set(known)
    for executable, names in found.items():
        assert names
        assert names <= known[executable]


class Recorded:
    """What a launch file made: its class's name and what it was given; it does nothing."""

    def __init__(self, *given: object, **named: object) -> None:
        self.given, self.named = given, named

    def perform(self, context: SimpleNamespace) -> str:
        """Return a launch argument's value (LaunchConfiguration)."""
        return context.launch_configurations[self.given[0]]


def recorder_of(kind: str) -> type[Recorded]:
    """Return a class of this name that records; a module's own attributes are none."""
    if kind.startswith('__'):
        raise AttributeError(kind)
    return type(kind, (Recorded,), {})


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the launch file as a module; where there is no launch, beside what records it."""
    if LAUNCH_IS_MISSING:
        for name in ('launch', 'launch.actions', 'launch.events', 'launch.substitutions',
                     'launch_ros', 'launch_ros.actions', 'launch_ros.event_handlers',
                     'launch_ros.events', 'launch_ros.events.lifecycle',
                     'launch_ros.parameter_descriptions'):
            stand_in = ModuleType(name)
            stand_in.__getattr__ = recorder_of
            monkeypatch.setitem(sys.modules, name, stand_in)
    spec = spec_from_file_location('vla_launch', LAUNCH_FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(module: ModuleType, **given: str) -> dict[str, Recorded]:
    """Return the nodes that the arguments start, by executable."""
    values = {name: default for name, default, _ in module.ARGUMENTS} | given
    context = SimpleNamespace(launch_configurations=values, argv=[
        f'{name}:={value}' for name, value in given.items()])
    return {action.named['executable']: action for action in module.start_nodes(context)
            if isinstance(action, Recorded) and 'executable' in action.named}


def parameters_of(node: Recorded) -> dict[str, object]:
    """Return the parameters given beside files, text unpacked."""
    return {name: value.given[0] if isinstance(value, Recorded) else value
            for name, value in node.named['parameters'][-1].items()}


@without_launch
def test_each_arm_gets_its_nodes_topics_and_caution(launch_file: ModuleType) -> None:
    """Simulation drives at once and in lockstep; hardware begins with a dry run, on its topics."""
    nodes = started(launch_file, rviz='true')
    assert set(nodes) == {'sim_bridge', 'vla_node', 'rviz2', 'robot_state_publisher'}
    given = parameters_of(nodes['vla_node'])
    assert given['dry_run'] is False
    assert given['lockstep'] is given['use_sim_time'] is True
    assert (given['command_stamp'], given['base_frame']) == ('image', 'base_link')
    assert nodes['vla_node'].named['remappings'] == []

    nodes = started(launch_file, arm='ros2_control', image='/camera/image', rviz='true')
    assert set(nodes) == {'vla_node', 'rviz2'}
    given = parameters_of(nodes['vla_node'])
    assert given['dry_run'] is True
    assert given['lockstep'] is given['use_sim_time'] is False
    assert (given['command_stamp'], given['command_style']) == ('zero', 'joint_trajectory')
    assert dict(nodes['vla_node'].named['remappings']) == {
        'image': '/camera/image', 'joint_states': 'wx250s/joint_states',
        'arm_controller/joint_trajectory': 'wx250s/arm_controller/joint_trajectory',
        'gripper_controller/joint_trajectory': 'wx250s/gripper_controller/joint_trajectory'}
    assert nodes['rviz2'].named['arguments'][-1] == 'wx250s/base_link'

    nodes = started(launch_file, arm='interbotix', robot_name='left', dry_run='false')
    given = parameters_of(nodes['vla_node'])
    assert (given['dry_run'], given['command_style']) == (False, 'interbotix')
    assert (given['robot_name'], given['base_frame']) == ('left', 'left/base_link')
    assert dict(nodes['vla_node'].named['remappings']) == {'joint_states': 'left/joint_states'}
    assert VlaParameters(**{name: value for name, value in given.items()
                            if name in {field.name for field in fields(VlaParameters)}})


@without_launch
def test_the_worlds_are_the_checkpoints_own(
    launch_file: ModuleType, tmp_path: Path,
) -> None:
    """What the checkpoint was trained on, unless the user or a parameter file says otherwise."""
    checkpoint = make_tiny_checkpoint(tmp_path / 'tiny')
    (checkpoint / 'provenance.json').write_text(json.dumps({'stages': [
        {'name': 'sft', 'config': {'episode_set': 'put25_choice'}}, {'name': 'prune'}]}))

    def worlds(**given: str) -> object:
        nodes = started(launch_file, checkpoint=str(checkpoint), **given)
        settings = BridgeSettings(**parameters_of(nodes['sim_bridge']))
        assert settings.image_size_px == inspect(checkpoint).image_size_px == (64, 64)
        return settings.episode_set

    mine = tmp_path / 'mine.yaml'
    mine.write_text('/**/sim_bridge:\n  ros__parameters: {episode_set: put25_ood}\n')
    assert worlds() == 'put25_choice'
    assert worlds(episode_set='ood') == 'ood'
    assert worlds(sim_params_file=str(mine)) == 'put25_ood'
    assert worlds(sim_params_file=str(mine), episode_set='ood') == 'ood'
    assert worlds(sim_params_file=str(config_file('sim.yaml'))) == 'put25_choice'


@without_launch
def test_a_parameter_file_counts_where_no_argument_says_otherwise(
    launch_file: ModuleType, tmp_path: Path,
) -> None:
    """A checkpoint, sentence or namespace in a file is used; what keeps the arm still is not."""
    checkpoint, mine = make_tiny_checkpoint(tmp_path / 'tiny'), tmp_path / 'mine.yaml'
    mine.write_text(
        '/**/vla_node:\n  ros__parameters:\n'
        f'    checkpoint: {checkpoint}\n    instruction: put can on plate\n'
        '    robot_name: left\n    dry_run: false\n    max_step_m: 0.03\n')
    node = started(launch_file, arm='ros2_control', params_file=str(mine))['vla_node']
    given = parameters_of(node)
    assert (given['checkpoint'], given['instruction']) == (str(checkpoint), 'put can on plate')
    assert (given['robot_name'], given['base_frame']) == ('left', 'left/base_link')
    assert dict(node.named['remappings'])['joint_states'] == 'left/joint_states'
    assert given['dry_run'] is True
    assert node.named['parameters'][:-1] == [str(config_file('vla.yaml')), str(mine)]

    node = started(launch_file, params_file=str(mine), instruction='put carrot on plate')[
        'vla_node']
    assert parameters_of(node)['instruction'] == 'put carrot on plate'
    assert node.named['parameters'][:-1] == [
        str(config_file('vla.yaml')), str(config_file('vla_sim.yaml')), str(mine)]

    whole = tmp_path / 'whole.yaml'
    whole.write_text(config_file('vla.yaml').read_text())
    node = started(launch_file, arm='interbotix', params_file=str(whole))['vla_node']
    assert parameters_of(node)['base_frame'] == 'wx250s/base_link'


@without_launch
def test_the_mode_in_a_file_is_both_nodes_mode(launch_file: ModuleType, tmp_path: Path) -> None:
    """A simulation in real time beside a node in lockstep would wait for ever."""
    mine = tmp_path / 'mine.yaml'
    mine.write_text('sim_bridge:\n  ros__parameters: {mode: real_time}\n')
    nodes = started(launch_file, sim_params_file=str(mine))
    assert parameters_of(nodes['sim_bridge'])['mode'] == 'real_time'
    assert parameters_of(nodes['vla_node'])['lockstep'] is False


@without_launch
@pytest.mark.parametrize(('given', 'said'), [
    ({'arm': 'panda'}, "arm is 'panda'; it can be: sim, ros2_control, interbotix"),
    ({'dry_run': 'maybe'}, "dry_run is 'maybe'; it can be: true, false"),
    ({'mode': 'turbo'}, 'Set mode:=lockstep'),
    ({'dry_run': 'true'}, 'set mode:=real_time'),
    ({'deadman': 'true'}, "'deadman' is a parameter of vla_node.*deadman: true  into a file"),
    ({'velocity_scaling': '0.3'}, 'params_file:=FILE')])
def test_a_wrong_argument_is_refused_with_what_to_set(
    launch_file: ModuleType, given: dict[str, str], said: str,
) -> None:
    """The error names the value, the valid ones and the next thing to type."""
    with pytest.raises(ValueError, match=said):
        started(launch_file, **given)


@without_launch
def test_the_simulation_waits_as_long_as_it_takes_to_load(
    launch_file: ModuleType, tmp_path: Path,
) -> None:
    """A large checkpoint, or a hand at `ros2 lifecycle`, is not given up on; a file can say so."""
    mine = tmp_path / 'mine.yaml'
    mine.write_text('sim_bridge:\n  ros__parameters: {start_timeout_s: 5.0}\n')
    *files, _ = started(launch_file, sim_params_file=str(mine))['sim_bridge'].named['parameters']
    assert files == [str(config_file('sim.yaml')), {'start_timeout_s': 86_400.0}, str(mine)]
    assert BridgeSettings(**files[1]).start_timeout_s == 86_400.0


@without_launch
def test_the_node_is_brought_up_once(launch_file: ModuleType) -> None:
    """Configured again by hand, later, the arm stays still; what failed ends the launch."""
    node = object()
    (handler,) = launch_file.bring_up(node)
    when = handler.given[0].named
    assert when['handle_once'] is True and when['start_state'] == 'configuring'
    act = when['entities'][0].named['function']

    def after(state: str) -> list[str]:
        event = SimpleNamespace(goal_state=state)
        return [type(each).__name__ for each in act(SimpleNamespace(
            locals=SimpleNamespace(event=event)))]
    assert after('inactive') == ['EmitEvent']
    assert after('unconfigured') == after('errorprocessing') == ['LogInfo', 'Shutdown']


def test_the_launch_file_runs_in_a_python_without_torch() -> None:
    """`ros2` runs it with the system's Python, and what it imports must be there."""
    script = f"""
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace
for name in ('torch', 'transformers', 'tokenizers', 'safetensors', 'mani_skill', 'sapien', 'cv2',
             'psutil', 'pinocchio', 'tyro', 'rich'):
    sys.modules[name] = None
class Anything:
    def __init__(self, *given, **named): self.given = given
    def perform(self, context): return context.launch_configurations[self.given[0]]
for name in ('launch', 'launch.actions', 'launch.events', 'launch.substitutions', 'launch_ros',
             'launch_ros.actions', 'launch_ros.event_handlers', 'launch_ros.events',
             'launch_ros.events.lifecycle', 'launch_ros.parameter_descriptions', 'lifecycle_msgs',
             'lifecycle_msgs.msg'):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__getattr__ = lambda kind: Anything
Anything.TRANSITION_CONFIGURE = Anything.TRANSITION_ACTIVATE = 1
spec = spec_from_file_location('vla_launch', {str(LAUNCH_FILE)!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
module.generate_launch_description()
for arm in module.ARMS:
    given = {{name: default for name, default, _ in module.ARGUMENTS}} | dict(arm=arm, rviz='true')
    assert module.start_nodes(SimpleNamespace(launch_configurations=given, argv=[]))
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


def test_the_arguments_build_two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a checkpoint the description gives both nodes; a wrong argument says what is right."""
    pytest.importorskip('launch_ros')
    from launch import LaunchContext
    spec = spec_from_file_location('vla_launch', LAUNCH_FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    for name, default, _ in module.ARGUMENTS:
        context.launch_configurations[name] = default
    context.launch_configurations['checkpoint'] = str(make_tiny_checkpoint(tmp_path / 'tiny'))
    executables = [action.node_executable for action in module.start_nodes(context)
                   if hasattr(action, 'node_executable')]
    assert executables == ['sim_bridge', 'vla_node']
    context.launch_configurations['arm'] = 'interbotix'
    executables = [action.node_executable for action in module.start_nodes(context)
                   if hasattr(action, 'node_executable')]
    assert executables == ['vla_node']
    context.launch_configurations['arm'] = 'panda'
    with pytest.raises(ValueError, match="arm is 'panda'; it can be: sim, ros2_control, interb"):
        module.start_nodes(context)
