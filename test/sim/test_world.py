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

"""The simulated arm: where it stands, how it obeys, that it repeats."""

import numpy as np
import pytest
from rlrc_ros.arm.limits import INITIAL_RAD, WORKSPACE_UPPER_M
from rlrc_ros.types import Action
from rlrc_sim.expert import expert_action
from rlrc_sim.widowx import camera_matrix
from rlrc_sim.world import World

pytestmark = pytest.mark.sim


@pytest.fixture(scope='module')
def world():
    """Return one world in end-effector control, shared by this file's tests."""
    world = World((64, 64))
    yield world
    world.close()


def _play(world: World, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray, bool]:
    world.reset(seed)
    for _ in range(steps):
        step = world.step(expert_action(world.truth()))
    return world.joint_state().position, step.observation.image, step.success_once


def test_an_episode_begins_in_the_published_pose(world):
    """Joints as the suite gives them, image of the asked size, the task's own instruction."""
    observation = world.reset(0)
    state = world.joint_state()
    np.testing.assert_allclose(state.position[:6], INITIAL_RAD, atol=1e-4)
    np.testing.assert_allclose(state.position[6:], 0.037, atol=1e-4)
    assert observation.image.shape == (64, 64, 3) and observation.image.dtype == np.uint8
    assert observation.instruction == world.instruction == world.placement.instruction


def test_an_episode_repeats_exactly_whatever_was_played_before(world):
    """Joints and picture after a grasp are bit for bit the same the second time."""
    joints, image, _ = _play(world, 4, 25)
    _play(world, 9, 25)
    again, image_again, _ = _play(world, 4, 25)
    np.testing.assert_array_equal(joints, again)
    np.testing.assert_array_equal(image, image_again)


def test_a_quick_reset_begins_where_a_rebuilt_one_does(world):
    """Without rebuilding, the first picture is the same."""
    first = world.reset(4).image
    _play(world, 9, 25)
    np.testing.assert_array_equal(world.reset(4, rebuild=False).image, first)


def test_the_end_effector_follows_a_target_delta(world):
    """Deltas add up on the target: 5 cm forward in base axes is 5 cm forward, once at rest."""
    world.reset(1)
    start = world.truth().ee_position_m
    for step in range(18):
        forward = 0.01 if step < 5 else 0.0
        world.step(Action(np.array([forward, 0.0, 0.0]), np.zeros(3), 1.0))
    np.testing.assert_allclose(
        world.truth().ee_position_m - start, [0.05, 0.0, 0.0], atol=2e-3)


def test_a_target_stops_at_the_faces_of_the_workspace_box(world):
    """Driven up for long, a target does not wind up: the hand stops, and comes down again."""
    world.reset(1)
    for _ in range(30):
        world.step(Action(np.array([0.0, 0.0, 0.03]), np.zeros(3), 1.0))
    top = world.truth().ee_position_m[2]
    assert top == pytest.approx(WORKSPACE_UPPER_M[2], abs=2e-3)
    for _ in range(4):
        world.step(Action(np.array([0.0, 0.0, -0.01]), np.zeros(3), 1.0))
    assert world.truth().ee_position_m[2] < top - 0.02


def test_the_gripper_opens_and_closes(world):
    """1 opens to 37 mm, 0 closes to 15 mm a finger, and 0.5 counts as closed."""
    world.reset(1)
    for gripper, finger_m in ((0.0, 0.015), (1.0, 0.037), (0.5, 0.015)):
        for _ in range(4):
            world.step(Action(np.zeros(3), np.zeros(3), gripper))
        assert world.truth().finger_m == pytest.approx(finger_m, abs=1.5e-3)


def test_the_expert_puts_the_object_on_the_plate_and_leaves_it_there(world):
    """Eight seeds, each solved within 40 steps and still solved at the end."""
    for seed in range(8):
        world.reset(seed)
        for _ in range(40):
            step = world.step(expert_action(world.truth()))
        assert step.success_once and step.success and step.grasped, seed


def test_the_reward_of_a_solved_episode_is_the_suites(world):
    """A grasp 0.1, five steps of holding 0.1, the plate 1.0."""
    world.reset(2)
    total = sum(world.step(expert_action(world.truth())).reward for _ in range(40))
    assert total == pytest.approx(1.2, abs=1e-5)


def test_the_intrinsics_scale_with_the_image():
    """At full size they are the published ones, at half size half of them."""
    full, half = camera_matrix(480, 640), camera_matrix(240, 320)
    np.testing.assert_allclose(full[0, [0, 2]], [623.588, 319.501])
    np.testing.assert_allclose(full[1, [1, 2]], [623.588, 239.545])
    np.testing.assert_allclose(half[:2], full[:2] / 2)


def test_joint_control_reaches_joint_targets():
    """Commanded joints are reached within a milliradian or two of gravity's sag."""
    world = World((64, 64), control='joint')
    world.reset(0)
    target = np.array(INITIAL_RAD) + [0.1, -0.1, 0.1, 0.05, 0.05, -0.2]
    for _ in range(15):
        world.step_joints(target, 0.015)
    np.testing.assert_allclose(world.joint_state().position[:6], target, atol=5e-3)
    assert world.truth().finger_m == pytest.approx(0.015, abs=1.5e-3)
    world.close()


def test_advancing_in_slices_equals_one_step():
    """Ten slices of 20 ms are the 0.2 s of one control step."""
    world = World((64, 64), control='joint')
    target = np.array(INITIAL_RAD) + [0.1, -0.1, 0.1, 0.0, 0.0, 0.0]
    world.reset(0)
    world.step_joints(target, 0.037)
    whole = world.joint_state().position
    world.reset(0)
    world.set_joint_targets(target, 0.037)
    for _ in range(10):
        world.advance(0.02)
    np.testing.assert_allclose(world.joint_state().position, whole, atol=1e-6)
    with pytest.raises(ValueError, match='multiple'):
        world.advance(0.0015)
    world.close()


def test_an_unknown_control_is_refused():
    """The error lists what there is."""
    with pytest.raises(ValueError, match="'ee', 'joint'"):
        World(control='telepathy')
