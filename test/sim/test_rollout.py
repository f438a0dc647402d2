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

"""Many worlds at once give what one world gives, and a dead one is noticed."""

from dataclasses import replace
import os
import signal
import subprocess
import sys

from deadly_action import Deadly
import numpy as np
import pytest
from rlrc_ros.types import Action, ActionChunk
from rlrc_sim import rollout
from rlrc_sim.rollout import play, WorldDiedError, WorldPool
from rlrc_sim.world import World

pytestmark = pytest.mark.sim
LOWER = Action(np.array([0.0, 0.0, -0.02]), np.zeros(3), 1.0)


def test_results_do_not_depend_on_the_number_of_processes_or_on_chunks():
    """
    Three seeds in two processes end as they end in one world of this process.

    Chunks of four are executed to their end: six steps take two questions, with equal results.
    """
    asked = []

    def chunks(seen: list) -> list[ActionChunk]:
        asked.extend(seen)
        return [ActionChunk((LOWER,) * 4) for _ in seen]

    with WorldPool(2, (32, 32)) as pool:
        results = sorted(play(pool, lambda seen: [LOWER] * len(seen), [3, 4, 5], max_steps=6,
                              keep_frames=True), key=lambda result: result.seed)
        chunked = sorted(play(pool, chunks, [3, 4, 5], max_steps=6, keep_frames=True),
                         key=lambda result: result.seed)
    assert chunked == results
    assert len(asked) == 6
    for one, other in zip(chunked, results, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
    world = World((32, 32))
    for result in results:
        image = world.reset(result.seed).image
        np.testing.assert_array_equal(result.frames[0], image)
        for _ in range(6):
            step = world.step(LOWER)
        np.testing.assert_array_equal(result.frames[-1], step.observation.image)
        assert (result.steps, result.instruction) == (6, world.instruction)
        assert result.success_once == step.success_once
    world.close()


def test_a_world_that_dies_is_reported():
    """A killed process raises WorldDiedError instead of hanging."""
    with WorldPool(1, (32, 32)) as pool:
        pool.send(0, 'reset', 1)
        pool.receive(0)
        os.kill(pool._processes[0].pid, signal.SIGKILL)
        with pytest.raises(WorldDiedError, match='exit code -9.*rlrc doctor'):
            pool.send(0, 'step', LOWER)
            pool.receive(0)


def test_episodes_whose_process_dies_are_played_again(monkeypatch):
    """
    Two of three worlds die together: four episodes arrive, once each, as if undisturbed.

    The third world's process is left alone. A process that dies too often ends the run.
    """
    acted = []

    def lower(seen: list) -> list[Action]:
        acted.append(len(seen))
        return [LOWER] * len(seen)

    def kill_at(call: int):
        def policy(seen: list) -> list[Action]:
            if len(acted) == call:
                os.kill(pool._processes[0].pid, signal.SIGKILL)
            return lower(seen)
        return policy

    seeds = [3, ('ind', 4), 5, 6]
    with WorldPool(3, (32, 32), processes=2) as pool:
        assert list(pool._worlds_of(0)) == [0, 2]
        before = [process.pid for process in pool._processes]
        results = list(play(pool, kill_at(3), seeds, max_steps=4, keep_frames=True))
        after = [process.pid for process in pool._processes]
        assert before[0] != after[0] and before[1] == after[1]
        disturbed = sum(acted)
        again = list(play(pool, lower, seeds, max_steps=4, keep_frames=True))
        monkeypatch.setattr(rollout, 'MAX_DEATHS_AN_EPISODE', 1)
        with pytest.raises(WorldDiedError, match='exit code -9'):
            list(play(pool, kill_at(len(acted)), [3], max_steps=4))
    assert sorted(result.seed for result in results) == [3, 4, 5, 6]
    assert disturbed > 16
    for one, other in zip(*(sorted(each, key=lambda result: result.seed)
                            for each in (results, again)), strict=True):
        assert one == other and len(one.frames) == 5
        np.testing.assert_array_equal(one.frames, other.frames)


def test_an_episode_that_always_ends_its_process_has_failed(monkeypatch):
    """The one that was being stepped, not its neighbours; one after the other ends the run."""
    seeds = [3, 4, 5, 6, 7]

    def lower(seen: list) -> list[Action]:
        return [LOWER] * len(seen)

    with WorldPool(3, (32, 32), processes=1) as pool:
        alone = {each.seed: each for each in play(pool, lower, seeds, max_steps=4)}
        doomed = alone.pop(5)
        assert doomed.instruction not in [each.instruction for each in alone.values()]

        def third_step_is_deadly(seen: list) -> list[Action]:
            return [Deadly() if each.instruction == doomed.instruction and each.stamp_s > 0.3
                    else LOWER for each in seen]
        found = {each.seed: each for each in play(pool, third_step_is_deadly, seeds, max_steps=4)}
        crashed = found.pop(5)
        assert crashed == replace(doomed, crashed=True, steps=2, grasped=False)
        assert not crashed.success_once and not crashed.success_at_end
        assert found == alone, 'its neighbours in the process began anew'
        monkeypatch.setattr(rollout, 'MAX_CRASHES_IN_SUCCESSION', 1)
        with pytest.raises(WorldDiedError, match='exit code -9'):
            list(play(pool, third_step_is_deadly, [5], max_steps=4))


def test_worlds_are_served_together():
    """The policy is asked about two at a time, but for the last one; the episodes are the same."""
    asked = []

    def policy(seen: list) -> list[Action]:
        asked.append(len(seen))
        return [LOWER] * len(seen)

    with WorldPool(3, (32, 32), processes=1) as pool:
        together = list(play(pool, policy, [3, 4, 5, 6, 7], max_steps=4, together=2))
        alone = list(play(pool, lambda seen: [LOWER] * len(seen), [3, 4, 5, 6, 7], max_steps=4))
    assert sum(asked) == 20 and set(asked) <= {1, 2, 3}
    assert asked.count(1) + asked.count(3) <= 4, 'odd only where no other world plays'
    assert sorted(together, key=lambda each: each.seed) == sorted(
        alone, key=lambda each: each.seed)


def test_an_error_in_a_world_carries_its_traceback():
    """What was wrong arrives in the parent."""
    with WorldPool(1, (32, 32)) as pool:
        pool.send(0, 'reset', 1, 'moon')
        with pytest.raises(WorldDiedError, match="'moon' is not known"):
            pool.receive(0)


def test_an_empty_pool_is_refused():
    """At least one world."""
    with pytest.raises(ValueError, match='got 0'):
        WorldPool(0)


def test_a_process_that_simulates_has_one_thread_and_little_to_collect():
    """What the imports brought is set aside: a collection visits what came since."""
    script = """
import gc
from rlrc_sim.rollout import prepare_process
import torch
torch.set_num_threads(2)
before = len(gc.get_objects())
prepare_process()
print(torch.get_num_threads(), len(gc.get_objects()) < before / 10)
"""
    told = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                          check=True)
    assert told.stdout.split() == ['1', 'True']
