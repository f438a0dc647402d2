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

"""Scattered states: what is shown, what the simulator tells of it and what the expert answers."""

from collections import Counter

import numpy as np
import pytest
from rlrc_ros.arm.limits import FINGER_OPEN_M, INITIAL_RAD
from rlrc_sim.axes import CHOICE_CELLS_M, CHOICE_RECEPTACLES
from rlrc_sim.expert import DEFAULT_FUNNEL, expert_action
from rlrc_sim.scatter import MOMENTS, scattered
from rlrc_sim.world import Arrangement, World
from scipy.spatial.transform import Rotation

pytestmark = pytest.mark.sim
SET, SEED = 'put25_choice', 1_000_003


@pytest.fixture(scope='module')
def world():
    """Return one world for this file."""
    made = World((64, 64), episode_set=SET)
    yield made
    made.close()


@pytest.fixture(scope='module')
def states(world):
    """Return a hundred and twenty states of one episode's things."""
    return list(scattered(world, SEED, SET, 120))


def test_the_arrangement_that_a_reset_made_looks_like_the_reset(world):
    """Poses, arm, fingers and table, put back by hand, give the picture and the truth again."""
    played = world.reset(SEED, SET)
    before, lying = world.truth(), world.resting()
    world.step(expert_action(before))
    world.arrange(Arrangement(world.placement, lying, np.array(INITIAL_RAD), FINGER_OPEN_M))
    difference = np.abs(world.look().image.astype(int) - played.image.astype(int))
    assert difference.max() <= 1
    for name in ('ee_position_m', 'object_position_m', 'plate_position_m'):
        np.testing.assert_allclose(
            getattr(world.truth(), name), getattr(before, name), atol=1e-5, err_msg=name)


def test_things_stand_where_the_set_puts_things(states, world):
    """Nothing moved by the arm is off the set's cells, and hardly a scene is like another."""
    base = world.in_world(np.eye(4))
    plates = np.stack([(base @ np.append(each.truth.plate_position_m, 1.0))[:2]
                       for each in states])
    gaps = np.linalg.norm(plates[:, None] - CHOICE_CELLS_M[None], axis=-1).min(axis=1)
    assert gaps.max() < 1e-4
    assert len(np.unique(plates.round(3), axis=0)) > 30
    tables = {each.observation.image[-2:, :, :].tobytes() for each in states}
    assert len(tables) > 40


def test_every_moment_comes_about_as_often_as_it_says(states):
    """Counts lie within four standard deviations."""
    counts = Counter(each.moment for each in states)
    for name, share in MOMENTS.items():
        spread = np.sqrt(len(states) * share * (1 - share))
        assert abs(counts[name] - len(states) * share) < 4 * spread, (name, counts)


def test_a_held_thing_is_in_the_hand_and_the_expert_carries_it(states):
    """It is near the fingers; the hand stays closed until it is over the plate."""
    held = [each.truth for each in states if each.moment == 'holding']
    assert all(truth.is_grasped and not truth.on_plate for truth in held)
    for truth in held:
        assert np.linalg.norm(truth.object_position_m - truth.ee_position_m) < 0.05
        away = np.linalg.norm(truth.object_position_m[:2] - truth.plate_position_m[:2])
        action = expert_action(truth)
        assert truth.finger_m < FINGER_OPEN_M
        if away > DEFAULT_FUNNEL.release_m:
            assert action.gripper == 0.0
    assert {expert_action(truth).gripper for truth in held} == {0.0, 1.0}


def test_a_free_hand_goes_to_the_thing_that_the_words_name(states):
    """Far from it the expert's movement shortens the way to the named object, never to another."""
    for each in states:
        if each.moment in ('first', 'way'):
            way = (each.truth.grip_m - each.truth.ee_position_m)[:2]
            if np.linalg.norm(way) > 0.03:
                assert expert_action(each.truth).delta_xyz_m[:2] @ way > 0
    closing = [action for each in states if not each.truth.is_grasped
               and (action := expert_action(each.truth)).gripper == 0.0]
    # A picture hardly tells fingers that hold from fingers that close: only physics shows those,
    # for a step, and none of the two answers is to wait.
    assert all(each.truth.finger_m == pytest.approx(FINGER_OPEN_M) for each in states
               if each.moment == 'near')
    assert closing and {action.delta_xyz_m[2] for action in closing} == {
        DEFAULT_FUNNEL.closing_rise_m}


def test_a_hand_astray_is_turned_back_not_closed(states):
    """Turned wrongly or beside the object; fingers that are closed are not in it."""
    astray = [each.truth for each in states if each.moment == 'astray']
    yaws = [abs(expert_action(truth).delta_rpy_rad[2]) for truth in astray]
    assert np.mean(np.array(yaws) > 0.1) > 0.4, 'most are turned by far more than a player is'
    assert np.mean([expert_action(truth).gripper == 1.0 for truth in astray]) > 0.8
    assert not any(truth.is_grasped for truth in astray)
    low = 0
    for truth in astray:
        if truth.ee_position_m[2] > truth.object_position_m[2] + truth.object_height_m / 2 + 0.015:
            continue
        low += 1
        hand = Rotation.from_quat(truth.ee_wxyz, scalar_first=True).as_matrix()
        for side in (-1, 1):  # neither fingertip is inside the thing's own width
            tip = truth.ee_position_m + side * truth.finger_m * hand[:, 1] - truth.grip_m
            if truth.grip_long_axis is not None:
                tip = tip - (tip @ truth.grip_long_axis) * truth.grip_long_axis
            assert np.linalg.norm(tip[:2]) > truth.grip_width_m / 2 - 0.004
    assert low


def test_a_released_thing_lies_over_the_plate_and_the_hand_rises(states):
    """The simulator is told that it is done."""
    done = [each.truth for each in states if each.moment == 'released']
    assert done
    for truth in done:
        assert truth.on_plate and not truth.is_grasped
        assert np.linalg.norm(truth.object_position_m[:2] - truth.plate_position_m[:2]) < 0.06
        assert expert_action(truth).gripper == 1.0
    assert max(expert_action(truth).delta_xyz_m[2] for truth in done) > 0.005


def test_the_same_seed_scatters_alike(world, states):
    """To the pixel."""
    again = list(scattered(world, SEED, SET, 3))
    for one, other in zip(again, states):
        assert one.moment == other.moment
        np.testing.assert_array_equal(one.observation.image, other.observation.image)


def test_a_set_that_cannot_be_arranged_is_refused(world):
    """The small task keeps everything on a shelf."""
    with pytest.raises(ValueError, match="'ind' cannot be scattered"):
        next(scattered(world, SEED, 'ind', 1))


def test_other_sentences_see_the_same_moment(states, world):
    """Free fingers may be told all four; a full hand the other receptacle; what is done, none."""
    wanted = {'first': 3, 'way': 3, 'near': 3, 'astray': 3, 'holding': 1, 'released': 0}
    objects = [world.placement.object_name, world.placement.extras[0].name]
    receptacles = [world.placement.receptacle_name, world.placement.extras[1].name]
    for state in states:
        assert len(state.others) == wanted[state.moment], state.moment
        for thing in objects:
            for place in receptacles:
                truth = state.others.get(f'put {thing} on {place}')
                if truth is None:
                    continue
                np.testing.assert_array_equal(truth.ee_position_m, state.truth.ee_position_m)
                np.testing.assert_allclose(
                    truth.plate_position_m, state.things_m[place], atol=1e-6)
                # The middle of its box, not of its frame: a carrot's are 1 cm apart.
                assert np.linalg.norm(
                    truth.object_position_m - state.things_m[thing]) < 0.03, thing


def test_what_is_told_decides_where_the_expert_goes(states):
    """From the first pose every sentence leads to its own object; held, to its own receptacle."""
    for state in states:
        if state.moment not in ('first', 'holding'):
            continue
        for truth in (state.truth, *state.others.values()):
            goal = (truth.plate_position_m if truth.is_grasped
                    else truth.grip_m)[:2] - truth.ee_position_m[:2]
            step = expert_action(truth).delta_xyz_m[:2]
            if np.linalg.norm(goal) > 0.05:
                assert step @ goal > 0.5 * np.linalg.norm(step) * np.linalg.norm(goal)


def test_asking_for_others_leaves_the_episode_as_it_is(world):
    """Sentence and truth are the episode's own again, also if the asking is given up half-way."""
    world.reset(SEED, SET)
    sentence, truth = world.instruction, world.truth()
    asked = world.truth_of_others()
    next(asked)
    assert world.instruction != sentence
    asked.close()
    assert world.instruction == sentence
    np.testing.assert_array_equal(world.truth().object_position_m, truth.object_position_m)


def _played(world, seed, told, frames):
    """Let the expert do what another sentence says; yield its truth and what others see."""
    first = world.reset(seed, SET)
    assert first.instruction != told
    for _ in range(frames):
        others = dict(world.truth_of_others())
        if told not in others:
            return
        yield others
        world.step(expert_action(others[told]))


def test_a_held_thing_that_was_not_named_is_carried_by_its_own_sentences(world):
    """A policy that took the wrong thing is not told to close its hand around it once more."""
    world.reset(SEED, SET)
    wrong = world.placement.extras[0].name
    told = f'put {wrong} on {world.placement.receptacle_name}'
    carried = 0
    for others in _played(world, SEED, told, 60):
        if not others[told].is_grasped:
            assert not any(truth.is_grasped for truth in others.values())
            continue
        assert set(others) == {f'put {wrong} on {place}' for place in (
            world.placement.receptacle_name, world.placement.extras[1].name)}
        assert all(truth.is_grasped for truth in others.values())
        assert not world.truth().is_grasped  # the named one still lies there
        away = others[told].object_position_m[:2] - others[told].plate_position_m[:2]
        if np.linalg.norm(away) > 0.05:
            assert np.linalg.norm(expert_action(others[told]).delta_xyz_m) > 0.005
            carried += 1
    assert carried >= 3
    for _ in range(5):  # let go, retreat: it lies there, and nobody asks for it again
        world.step(expert_action(world.truth()))
    asked = dict(world.truth_of_others())
    assert asked and not any(f'put {wrong} on' in sentence for sentence in asked)


def test_asking_moves_no_counter_of_the_judge(world):
    """Reward and streak of a played episode are the same with and without the question."""
    rewards = []
    for ask in (False, True):
        world.reset(SEED, SET)
        rewards.append([])
        for _ in range(40):
            if ask:
                list(world.truth_of_others())
            rewards[-1].append(world.step(expert_action(world.truth())).reward)
    assert rewards[0] == rewards[1] and sum(rewards[0]) > 1.0


def test_what_is_long_is_turned_as_the_fingers_close_across_it(states, world):
    """Of every object that a sentence names its grip's axis; of what lies flat and round none."""
    told = 0
    for state in states:
        for sentence, truth in {world.instruction: state.truth, **state.others}.items():
            thing = sentence.removeprefix('put ').split(' on ')[0]
            if truth.grip_long_axis is None:
                assert np.isnan(state.things_rad[thing])
                continue
            x, y = truth.grip_long_axis[:2]
            assert np.sin(state.things_rad[thing] - np.arctan2(y, x)) == pytest.approx(0, abs=1e-6)
            told += 1
        assert np.isnan([state.things_rad[place] for place in state.things_rad
                         if place in CHOICE_RECEPTACLES]).all()
    assert told > 100, 'this episode has a long thing'
