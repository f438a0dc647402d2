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
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from rlrc_ros.nodes.parameters import VlaParameters
from rlrc_sim.bridge_settings import BridgeSettings

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'vla.launch.py'


def nodes_in_text() -> dict[str, set[str]]:
    """Return the parameters that the launch file gives to each executable."""
    found = {}
    for call in ast.walk(ast.parse(LAUNCH_FILE.read_text(encoding='utf-8'))):
        if not isinstance(call, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if 'parameters' in given:  # RViz has none
            names = set()
            for overrides in ast.walk(given['parameters']):
                if isinstance(overrides, ast.Dict):
                    names |= {key.value for key in overrides.keys}
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


def test_the_arguments_build_two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a checkpoint the description gives both nodes; a wrong argument says what is right."""
    pytest.importorskip('launch_ros')
    from launch import LaunchContext
    make_tiny_checkpoint = pytest.importorskip('tiny_vla').make_tiny_checkpoint
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
