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

"""What a launch file reads of a user's parameter file."""

from pathlib import Path

import pytest
from rlrc_ros.parameter_file import parameters_in
from rlrc_ros.paths import config_file


@pytest.mark.parametrize(('key', 'namespace'), [
    ('/**/vla_node', ''), ('/**', ''), ('vla_node', ''), ('/vla_node', '/'), ('/*', ''),
    ('/left/vla_node', 'left'), ('/**/vla_node', '/left/arm'), ('/**', 'left'),
    ('/*/vla_node', 'left')])
def test_a_nodes_parameters_are_found_under_every_name_that_ros_takes(
    key: str, namespace: str, tmp_path: Path,
) -> None:
    """By its name, by a wildcard, with a namespace; another node's are left alone."""
    file = tmp_path / 'mine.yaml'
    file.write_text(f'{key}:\n  ros__parameters: {{max_step_m: 0.03}}\n'
                    'sim_bridge:\n  ros__parameters: {mode: real_time}\n')
    assert parameters_in(file, 'vla_node', namespace) == {'max_step_m': 0.03}


@pytest.mark.parametrize(('key', 'namespace'), [
    ('vla_node', 'left'), ('/left/vla_node', ''), ('/*/vla_node', ''), ('/left/vla_node', 'a/b')])
def test_parameters_that_the_node_would_not_read_are_refused(
    key: str, namespace: str, tmp_path: Path,
) -> None:
    """A speed that is written for another namespace must not be lost in silence."""
    file = tmp_path / 'mine.yaml'
    file.write_text(f'{key}:\n  ros__parameters: {{velocity_scaling: 0.3}}\n')
    with pytest.raises(ValueError, match=r'write /\*\*/vla_node: there'):
        parameters_in(file, 'vla_node', namespace)
    assert parameters_in(file, 'sim_bridge', namespace) == {}


def test_namespaces_may_be_nested_and_the_later_value_counts(tmp_path: Path) -> None:
    """As rcl reads them."""
    file = tmp_path / 'mine.yaml'
    file.write_text('left:\n  vla_node:\n    ros__parameters: {checkpoint: a, runtime: fast}\n'
                    '/**:\n  ros__parameters: {checkpoint: b}\n')
    assert parameters_in(file, 'vla_node', 'left') == {'checkpoint': 'b', 'runtime': 'fast'}
    assert parameters_in(file, 'sim_bridge') == {'checkpoint': 'b'}


def test_the_shipped_files_are_read() -> None:
    """Each names its own node."""
    assert parameters_in(config_file('vla.yaml'), 'vla_node')['robot_name'] == 'wx250s'
    assert parameters_in(config_file('sim.yaml'), 'sim_bridge')['mode'] == 'lockstep'
    assert parameters_in(config_file('sim.yaml'), 'vla_node') == {}


@pytest.mark.parametrize(('text', 'said'), [
    ('max_step_m: 0.03\n', 'holds no parameters'), ('a: [', 'is no YAML'), ('', 'no parameters')])
def test_what_is_no_parameter_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """The error names the file and what one looks like."""
    file = tmp_path / 'mine.yaml'
    file.write_text(text)
    with pytest.raises(ValueError, match=said):
        parameters_in(file, 'vla_node')
    with pytest.raises(FileNotFoundError, match='missing.yaml is not there'):
        parameters_in(tmp_path / 'missing.yaml', 'vla_node')
