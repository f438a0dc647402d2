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

"""The one table of parameters, and that config/vla.yaml is it."""

from pathlib import Path

import pytest
from rlrc_ros.nodes.parameters import as_yaml, defaults, VlaParameters
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'vla.yaml'


def test_the_shipped_file_is_the_table_written_out() -> None:
    """Remedy: python -m rlrc_ros.nodes.parameters > config/vla.yaml."""
    assert CONFIG.read_text(encoding='utf-8') == as_yaml()


def test_the_file_gives_the_defaults_back() -> None:
    """Read as YAML, the file holds every parameter with its default and type."""
    values = yaml.safe_load(as_yaml())['/**/vla_node']['ros__parameters']
    assert values == defaults()
    for name, value in values.items():
        assert type(value) is type(defaults()[name]), name


@pytest.mark.parametrize(('change', 'said'), [
    ({'image_transport': 'theora'}, "image_transport is 'theora'; it can be: raw, compressed"),
    ({'sensor_reliability': 'maybe'}, 'Set sensor_reliability:=reliable'),
    ({'command_style': 'smoke'}, 'joint_trajectory'),
    ({'max_image_age_s': 0.0}, 'max_image_age_s is 0.0; it must be in 0.01 ... 10'),
    ({'max_step_m': float('nan')}, 'max_step_m is nan'),
    ({'camera_topics': 'wrist'}, 'Set camera_topics:=wrist=/wrist/image_raw'),
    ({'camera_topics': 'a=x,a=y'}, "holds 'a=y'"), ({'camera_topics': 'image=x'}, 'is remapped'),
    ({'proprio_layout': 'all'}, 'it can be: xyz_rpy_gripper'),
    ({'lockstep': True, 'command_stamp': 'zero'}, 'Set command_stamp:=image'),
    ({'lockstep': True, 'command_stamp': 'image', 'velocity_scaling': 0.5},
     'Set velocity_scaling:=1.0'),
])
def test_a_wrong_value_is_refused_with_what_to_set(change: dict, said: str) -> None:
    """The error names the value, the valid ones and the next thing to type."""
    with pytest.raises(ValueError) as caught:
        VlaParameters(**change)
    assert said in str(caught.value)


def test_camera_topics_are_pairs() -> None:
    """Spaces and a comma at the end do not matter."""
    assert VlaParameters(camera_topics=' wrist = /w/image , left=l, ').extra_topics() == {
        'wrist': '/w/image', 'left': 'l'}
    assert VlaParameters().extra_topics() == {}


def test_the_gate_gets_the_limits_of_the_parameters() -> None:
    """What a user sets reaches the safety gate, and an empty box is refused there."""
    limits = VlaParameters(max_step_m=0.01, workspace_lower_m=[0.2, 0.0, 0.0]).safety_limits(0.1)
    assert limits.max_step_m == 0.01
    assert limits.workspace_lower_m == (0.2, 0.0, 0.0)
    assert limits.period_s == 0.1
    with pytest.raises(ValueError, match='box is empty'):
        VlaParameters(workspace_lower_m=[0.9, 0.0, 0.0]).safety_limits(0.2)
