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

"""The axes of PutOnPlate25, without a simulator: what each set varies and what it leaves alone."""

from collections import Counter

import numpy as np
import pytest
from rlrc_ros.arm.limits import INITIAL_RAD
from rlrc_ros.types import Action
from rlrc_sim.axes import (
    AXES,
    CHOICE_AXES,
    CHOICE_CELLS_M,
    CHOICE_OBJECTS,
    NEW_YAWS_RAD,
    PARAPHRASES,
    RING_M,
)
from rlrc_sim.expert import expert_action
from rlrc_sim.objects_25 import OBJECTS_25, SEEN_OBJECTS, UNSEEN_OBJECTS
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.suites import CELL_PAIRS, CELLS_M, EPISODE_SETS, placement
from rlrc_sim.table_looks import composed, LOOKS, table_picture
from rlrc_sim.world import World

SMALL_17 = ('put zucchini on red plate', (-0.235, -0.045, -0.085, 0.075, 0.0))


def _some(episode_set: str, count: int = 300) -> list:
    return [placement(episode_set, seed) for seed in range(count)]


def test_the_suite_has_the_published_counts():
    """25 objects (16 seen), 17 receptacles, 21 tables, 16 paraphrases, one axis for each set."""
    assert len(OBJECTS_25) == 25 and len(SEEN_OBJECTS) == 16 and len(UNSEEN_OBJECTS) == 9
    assert len(RECEPTACLES_25) == 17 and len(LOOKS) == 21 and len(set(PARAPHRASES)) == 16
    assert set(AXES) == set(EPISODE_SETS)


def test_the_small_task_is_what_it_was():
    """The set that `checkpoints/nano` learned keeps its episodes: one, number by number."""
    each = placement('ind', 17)
    assert each.suite == 'small' and each.instruction == SMALL_17[0]
    np.testing.assert_allclose(
        [*each.object_xy_m, *each.receptacle_xy_m, each.object_yaw_rad], SMALL_17[1])


def test_in_distribution_shows_seen_things_only():
    """All 16 objects and 16 tables, the plate, cells of the grid, nothing else changed."""
    drawn = _some('put25_ind')
    assert {each.object_name for each in drawn} == set(SEEN_OBJECTS)
    assert {each.table for each in drawn} == set(range(16))
    assert {each.receptacle_name for each in drawn} == {'plate'}
    pairs = {tuple(pair) for pair in CELL_PAIRS.tolist()}
    for each in drawn:
        cells = [int(np.linalg.norm(CELLS_M - xy, axis=1).argmin())
                 for xy in (each.object_xy_m, each.receptacle_xy_m)]
        assert tuple(cells) in pairs
        assert each.texture is None and not each.extras and each.moved_xy_m is None


@pytest.mark.parametrize(('axis', 'check'), [
    ('unseen_table', lambda each: each.table >= 16),
    ('texture_weak', lambda each: each.texture_share == 0.3 and not each.texture_everywhere),
    ('texture_strong', lambda each: each.texture_share == 0.5 and not each.texture_everywhere),
    ('whole_weak', lambda each: each.texture_share == 0.3 and each.texture_everywhere),
    ('whole_strong', lambda each: each.texture_share == 0.5 and each.texture_everywhere),
    ('unseen_object', lambda each: each.object_name in UNSEEN_OBJECTS and each.table < 16),
    ('unseen_receptacle', lambda each: each.receptacle_name != 'plate'),
    ('paraphrase', lambda each: each.template in PARAPHRASES),
    ('second_object', lambda each: each.extras[0].name in SEEN_OBJECTS
        and each.extras[0].name != each.object_name),
    ('second_receptacle', lambda each: each.extras[0].name in RECEPTACLES_25
        and each.extras[0].name != each.receptacle_name),
    ('position', lambda each: np.abs(np.add(each.object_xy_m, (0.16, 0))).max() > 0.0749
        and each.object_yaw_rad not in np.deg2rad((0, 45, 90, 135))),
    ('initial_pose', lambda each: 0 < np.abs(each.joint_offset_rad[:5]).max() <= 0.15
        and abs(each.joint_offset_rad[5]) <= 0.6),
    ('object_moved', lambda each: each.moved_xy_m != each.object_xy_m
        and np.linalg.norm(np.subtract(each.moved_xy_m, each.receptacle_xy_m)) > 0.07),
    ('ood', lambda each: each.object_name in UNSEEN_OBJECTS and each.table >= 16)])
def test_an_axis_varies_what_it_names(axis, check):
    """Each of 100 episodes shows it; object and plate never start within 7 cm."""
    for each in _some(f'put25_{axis}', 100):
        assert check(each), each
        assert np.linalg.norm(np.subtract(each.object_xy_m, each.receptacle_xy_m)) > 0.07


def _differs(each) -> set[str]:
    """Say in which ways an episode of `choice` is away from it."""
    spots = [each.object_xy_m, each.receptacle_xy_m, *(extra.xy_m for extra in each.extras)]
    on_cells = np.linalg.norm(np.array(spots)[:, None] - CHOICE_CELLS_M[None], axis=-1).min(1)
    found = {'unseen_table'} if each.table >= 16 else set()
    if each.texture is not None:
        found.add(('whole_' if each.texture_everywhere else 'texture_')
                  + {0.3: 'weak', 0.5: 'strong'}[each.texture_share])
    if each.template != 'put {object} on {receptacle}':
        found.add('paraphrase')
    if on_cells.max() > 1e-6:
        assert on_cells.min() > 0.02 and each.object_yaw_rad in NEW_YAWS_RAD
        found.add('position')
    if any(each.joint_offset_rad):
        found.add('initial_pose')
    if each.moved_xy_m is not None:
        assert np.linalg.norm(np.subtract(spots, each.moved_xy_m), axis=1).min() > 0.085
        found.add('object_moved')
    return found


def test_what_is_shifted_is_one_thing_of_choice_at_a_time():
    """Each set the one that it names; the mixed set all of them, about as often each."""
    assert all(_differs(each) == set() for each in _some('put25_choice', 100))
    names = [each.removeprefix('put25_choice_') for each in CHOICE_AXES]
    for name in names:
        drawn = _some(f'put25_choice_{name}', 100)
        assert all(_differs(each) == {name} for each in drawn)
        assert {each.object_name for each in drawn} == set(CHOICE_OBJECTS)
    drawn = _some('put25_choice_shifted', 900)
    mixed = [_differs(each) for each in drawn]
    assert mixed == [{each.shift} for each in drawn]
    assert all(len(each) == 1 for each in mixed)
    counted = Counter(name for each in mixed for name in each)
    assert set(counted) == set(names) and min(counted.values()) > 70


def test_the_official_twin_places_alike():
    """Same axis and seed: the same episode, but for whose things are shown."""
    ours, theirs = placement('put25_ood', 5), placement('official_ood', 5)
    assert theirs.suite == 'official' and ours.suite == 'put25'
    assert (ours.instruction, ours.object_xy_m, ours.table) == (
        theirs.instruction, theirs.object_xy_m, theirs.table)


def test_the_ring_lies_outside_the_square():
    """28 places, 10 cm from the centre along one axis."""
    assert RING_M.shape == (28, 2)
    np.testing.assert_allclose(np.abs(RING_M - (-0.16, 0.0)).max(axis=1), 0.10)


def test_every_table_looks_different():
    """21 pictures of the right size, no two alike."""
    pictures = [table_picture(look, 24, 32) for look in range(21)]
    assert all(each.shape == (24, 32, 3) and each.dtype == np.uint8 for each in pictures)
    assert len({each.tobytes() for each in pictures}) == 21


def test_a_texture_covers_what_its_axis_says():
    """Over arm and things it leaves the table; everywhere it does not; 0 shares change nothing."""
    image, background = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 50, np.uint8)
    texture, things = np.full((2, 2, 3), 200, np.uint8), np.array([[True, False]] * 2)
    some = composed(image, things, background, texture, 0.5)[..., 0]
    every = composed(image, things, background, texture, 0.5, everywhere=True)[..., 0]
    np.testing.assert_array_equal(some, [[150, 50]] * 2)
    np.testing.assert_array_equal(every, [[150, 125]] * 2)
    np.testing.assert_array_equal(composed(image, things, background)[..., 0], [[100, 50]] * 2)


@pytest.mark.sim
def test_worlds_of_the_suite_show_what_their_axis_says():
    """
    One world, five episodes: it repeats, an object jumps at step 5, the expert finds a new pose.

    The small task comes back in the same world as it was.
    """
    still = Action(np.zeros(3), np.zeros(3), 1.0)
    world = World((48, 64), episode_set='put25_object_moved')
    first = world.reset(3, 'put25_object_moved').image
    chosen = world.placement
    base = world.truth().object_position_m
    for _ in range(5):
        world.step(still)
    np.testing.assert_allclose(world.truth().object_position_m, base, atol=2e-3)
    world.step(still)
    jump = (world.truth().object_position_m - base)[:2]
    expected = np.subtract(chosen.moved_xy_m, chosen.object_xy_m)
    np.testing.assert_allclose(np.linalg.norm(jump), np.linalg.norm(expected), atol=5e-3)

    world.reset(1, 'put25_initial_pose')
    np.testing.assert_allclose(world.joint_state().position[:6] - INITIAL_RAD,
                               world.placement.joint_offset_rad, atol=1e-4)
    for _ in range(45):
        step = world.step(expert_action(world.truth()))
    assert step.grasped and step.success
    np.testing.assert_array_equal(world.reset(3, 'put25_object_moved').image, first)
    assert world.reset(17, 'ind').instruction == SMALL_17[0]
    world.close()
