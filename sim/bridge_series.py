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

"""
The episodes of one run of sim_bridge, one after another: which seeds, what they came to.

Plain Python; the topics are behind `ArmTopics`.
"""

from collections.abc import Iterator
import sys
import time
from typing import TYPE_CHECKING

from rlrc_sim.bridge_commands import CommandInbox
from rlrc_sim.bridge_contracts import ArmTopics
from rlrc_sim.bridge_episode import EpisodeRunner
from rlrc_sim.bridge_settings import BridgeSettings
from rlrc_sim.video import Film, FilmedEpisode

if TYPE_CHECKING:  # the simulator takes seconds to import, and who only listens needs none
    from rlrc_sim.world import World

SEARCHED_SEEDS = 100
"""How far to look for an instruction that has not been given yet."""


class Series:
    """
    Run the episodes that the settings ask for, as often as asked.

    One object for the life of the node: episode numbers and stamps never repeat.

    :param world: made with control='joint'
    """

    def __init__(self, world: 'World', topics: ArmTopics, inbox: CommandInbox,
                 settings: BridgeSettings):
        self._world, self._topics, self._settings = world, topics, settings
        self._runner = EpisodeRunner(world, topics, inbox, settings)

    def run(self, film: Film | None = None) -> None:
        """
        Run the episodes; publish each result, then the summary.

        `broken_off` of `episodes` were ended by ~/reset before they could succeed.

        :param film: gets every episode, when given
        :raises NobodyAnswers: not one command has come
        :raises ShutdownRequested: the process shall end
        """
        began_s = time.monotonic()
        count, successes, steps, broken_off = 0, 0, 0, 0
        for count, seed in enumerate(seeds(self._settings, self._world), start=1):
            result, frames = self._runner.run(count, seed)
            self._topics.publish_result(result)
            successes, steps = successes + result.success_once, steps + result.steps
            broken_off += result.ended_by == 'reset' and not result.success_once
            if film is not None:
                film.add(FilmedEpisode(frames, result.instruction, result.success_once,
                                       f'{count}/{self._settings.episodes}'))
        self._topics.publish_summary({
            'mode': self._settings.mode, 'episodes': count, 'success_once': successes,
            'broken_off': broken_off, 'steps': steps,
            'wall_s': round(time.monotonic() - began_s, 3)})


def seeds(settings: BridgeSettings, world: 'World') -> Iterator[int]:
    """
    Yield the run's seeds.

    With `distinct_instructions` a seed is skipped when its instruction was given already, judged
    by the instruction alone; when SEARCHED_SEEDS in a row bring no new one, the first is taken.
    """
    given: set[str] = set()
    seed, left = settings.first_seed, settings.episodes or sys.maxsize
    while left > 0:
        if settings.distinct_instructions:
            seed = _next_new(settings, world, seed, given)
        yield seed
        seed, left = seed + 1, left - 1


def _next_new(settings: BridgeSettings, world: 'World', seed: int, given: set[str]) -> int:
    for candidate in range(seed, seed + SEARCHED_SEEDS):
        world.reset(candidate, settings.episode_set)
        if world.instruction not in given:
            given.add(world.instruction)
            return candidate
    return seed
