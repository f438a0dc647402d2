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
Which worlds there are: an episode is a pure function of (set, seed).

`ind` is the small task, six objects and four plates; `put25_*` and `official_*` are the axes of
PutOnPlate25 (rlrc_sim.axes), with things made here and with RL4VLA's assets. Training and
evaluation draw from the same worlds with seeds that never meet: see TRAIN_SEEDS and
HELD_OUT_SEEDS.
"""

from collections.abc import Callable
import zlib

import numpy as np
from rlrc_sim import axes
from rlrc_sim.placements import CELL_PAIRS, CELLS_M, Placement, YAWS_RAD
from rlrc_sim.scene import OBJECTS, RECEPTACLES

HELD_OUT_SEEDS = range(0, 100_000)
"""Seeds for evaluation; no training command draws from them."""
TRAIN_SEEDS = range(1_000_000, 100_000_000)
"""Seeds for demonstrations and reinforcement learning."""


def _sample_ind(rng: np.random.Generator) -> Placement:
    object_cell, receptacle_cell = CELL_PAIRS[rng.integers(len(CELL_PAIRS))]
    return Placement(
        object_name=list(OBJECTS)[rng.integers(len(OBJECTS))],
        receptacle_name=list(RECEPTACLES)[rng.integers(len(RECEPTACLES))],
        object_xy_m=tuple(CELLS_M[object_cell].tolist()),
        receptacle_xy_m=tuple(CELLS_M[receptacle_cell].tolist()),
        object_yaw_rad=float(YAWS_RAD[rng.integers(len(YAWS_RAD))]))


EPISODE_SETS: dict[str, Callable[[np.random.Generator], Placement]] = {
    'ind': _sample_ind, **axes.SAMPLERS}
"""Named families of episodes. `ind`: the small task, every object and plate that its training
shows; the others: rlrc_sim.axes."""


EPISODES_IN = {axes.BRIDGE_SET: 24}
"""How many different episodes a set has, where there are few: ManiSkill's own task knows 12 pairs
of places and 2 ways to turn the carrot, and seeds beyond that would repeat them."""


def set_sampler_name(episode_set: str) -> str:
    """Return what seeds a set's draws: a built-in set and its official twin place alike."""
    return episode_set.replace('official_', 'put25_')


def check_episode_set(episode_set: str) -> None:
    """Raise ValueError, listing the sets that there are, for an unknown one."""
    if episode_set not in EPISODE_SETS:
        raise ValueError(f'episode set {episode_set!r} is not known; '
                         f'there are: {", ".join(EPISODE_SETS)}')


def check_ready(episode_set: str) -> None:
    """
    Raise ValueError, saying what to fetch, if a set's assets are not all there.

    :raises ValueError: unknown set, or assets missing
    """
    check_episode_set(episode_set)
    if episode_set.startswith(('official_', 'bridge_')):
        from rlrc_sim import assets  # touches no disk before it is asked for
        assets.check(episode_set)


def object_of(episode_set: str, seed: int, instruction: str) -> str:
    """Return what an episode is about: its object, or the whole sentence (LIBERO)."""
    if episode_set in EPISODE_SETS:
        return placement(episode_set, seed).object_name
    return instruction


def placement(episode_set: str, seed: int) -> Placement:
    """
    Return the episode of a set with a seed.

    :raises ValueError: unknown set, or a negative seed
    """
    check_episode_set(episode_set)
    if seed < 0:
        raise ValueError(f'an episode seed is 0 or larger, got {seed}')
    rng = np.random.default_rng([zlib.crc32(set_sampler_name(episode_set).encode()), seed])
    return EPISODE_SETS[episode_set](rng)
