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

"""The parameters of sim_bridge: one table, the file that repeats it, and its bounds."""

from dataclasses import asdict
from pathlib import Path

import pytest
from rlrc_sim.bridge_settings import BridgeSettings
import yaml

SIM_YAML = Path(__file__).resolve().parents[2] / 'config' / 'sim.yaml'


def test_the_parameter_file_repeats_the_defaults():
    """config/sim.yaml has every parameter, no other, and the same types and values."""
    written = yaml.safe_load(SIM_YAML.read_text())['/**/sim_bridge']['ros__parameters']
    declared = {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(BridgeSettings()).items()}
    assert written == declared
    assert {name: type(value) for name, value in written.items()} == {
        name: type(value) for name, value in declared.items()}


@pytest.mark.parametrize('wrong', [
    {'mode': 'fast'}, {'first_seed': -1}, {'max_steps': 0}, {'step_timeout_s': 0.0},
    {'real_time_factor': float('nan')}, {'image_height_px': 128},
    {'image_hz': 7.0}, {'joint_state_hz': 30.0},
    {'arm_joint_names': ('waist',) * 6}, {'gripper_joint_names': ('left_finger',)},
    {'record': True, 'episodes': 0},
])
def test_a_wrong_value_is_named(wrong):
    """Every refusal names the parameter, so that a user knows what to set."""
    with pytest.raises(ValueError, match=list(wrong)[0]):
        BridgeSettings(**wrong)


def test_rates_become_whole_numbers_of_slices():
    """Fifty slices a second: an image at 5 Hz every ten, joint states at 50 Hz at each."""
    settings = BridgeSettings(image_hz=5.0, joint_state_hz=50.0)
    assert (settings.slices_per_image, settings.slices_per_joint_state) == (10, 1)
    assert BridgeSettings().image_size_px == (128, 128)
    assert BridgeSettings(image_height_px=96, image_width_px=64).image_size_px == (96, 64)
