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

"""Which episodes there are."""

import numpy as np
import pytest
from rlrc_sim.scene import OBJECTS, RECEPTACLES
from rlrc_sim.suites import CELL_PAIRS, CELLS_M, HELD_OUT_SEEDS, placement, TRAIN_SEEDS


def test_the_grid_has_the_published_number_of_pairs():
    """36 cells, 784 ordered pairs more than 7 cm apart."""
    assert CELLS_M.shape == (36, 2)
    assert len(CELL_PAIRS) == 784


def test_an_episode_is_a_function_of_its_seed():
    """The same seed gives the same episode, the next one another."""
    assert placement('ind', 17) == placement('ind', 17)
    assert len({placement('ind', seed) for seed in range(50)}) > 45


def test_every_object_and_plate_turns_up():
    """At least six kinds of objects and four plates, all within a few hundred seeds."""
    seen = [placement('ind', seed) for seed in range(300)]
    assert {each.object_name for each in seen} == set(OBJECTS) and len(OBJECTS) >= 6
    assert {each.receptacle_name for each in seen} == set(RECEPTACLES) and len(RECEPTACLES) >= 4


def test_object_and_plate_never_start_together():
    """They are more than 7 cm apart, within the 15 cm square."""
    for seed in range(200):
        each = placement('ind', seed)
        gap = np.subtract(each.object_xy_m, each.receptacle_xy_m)
        assert np.linalg.norm(gap) > 0.07
        assert np.abs(np.subtract(each.object_xy_m, (-0.16, 0.0))).max() <= 0.075 + 1e-9


def test_the_instruction_names_what_is_on_the_table():
    """`put {object} on {receptacle}`."""
    each = placement('ind', 3)
    assert each.instruction == f'put {each.object_name} on {each.receptacle_name}'


def test_training_and_evaluation_seeds_do_not_meet():
    """No held-out seed is a training seed."""
    assert HELD_OUT_SEEDS.stop <= TRAIN_SEEDS.start


@pytest.mark.parametrize(('name', 'seed', 'words'), [
    ('moon', 0, "'moon' is not known; there are: ind"), ('ind', -1, 'got -1')])
def test_an_unknown_set_or_a_negative_seed_is_refused(name, seed, words):
    """The error names the value and the valid ones."""
    with pytest.raises(ValueError, match=words):
        placement(name, seed)
