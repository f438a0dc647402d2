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

Placement follows PutOnPlateInScene25Main of RL4VLA (arXiv 2505.19789): a 6 x 6 grid, 3 cm apart,
on a 15 cm square; every ordered pair of cells more than 7 cm apart holds one (object, plate)
pair, 784 in all; the object's yaw is one of four. Training and evaluation draw from the same
worlds with seeds that never meet: see TRAIN_SEEDS and HELD_OUT_SEEDS.
"""

from dataclasses import dataclass
import zlib

import numpy as np
from rlrc_sim.scene import OBJECTS, RECEPTACLES

GRID_CENTRE_M = (-0.16, 0.0)
"""Centre of the grid on the table, world x and y."""
GRID_CELLS, GRID_STEP_M, MIN_DISTANCE_M = 6, 0.03, 0.07
YAWS_RAD = tuple(np.deg2rad((0.0, 45.0, 90.0, 135.0)))

HELD_OUT_SEEDS = range(0, 100_000)
"""Seeds for evaluation; no training command draws from them."""
TRAIN_SEEDS = range(1_000_000, 100_000_000)
"""Seeds for demonstrations and reinforcement learning."""


@dataclass(frozen=True)
class Placement:
    """Everything that distinguishes one episode from another."""

    object_name: str
    receptacle_name: str
    object_xy_m: tuple[float, float]
    """On the table, world frame."""
    receptacle_xy_m: tuple[float, float]
    object_yaw_rad: float

    @property
    def instruction(self) -> str:
        """Return the sentence that the policy is given."""
        return f'put {self.object_name} on {self.receptacle_name}'


def _cells() -> np.ndarray:
    """Return the grid's cells (36, 2) in world metres."""
    offset = (np.arange(GRID_CELLS) - (GRID_CELLS - 1) / 2) * GRID_STEP_M
    x, y = np.meshgrid(offset + GRID_CENTRE_M[0], offset + GRID_CENTRE_M[1], indexing='ij')
    return np.stack([x.ravel(), y.ravel()], axis=1)


CELLS_M = _cells()
"""(36, 2) world x, y."""
_DISTANCES = np.linalg.norm(CELLS_M[:, None] - CELLS_M[None], axis=-1)
CELL_PAIRS = np.argwhere(_DISTANCES > MIN_DISTANCE_M)
"""(784, 2) ordered (object cell, receptacle cell)."""


def _sample_ind(rng: np.random.Generator) -> Placement:
    object_cell, receptacle_cell = CELL_PAIRS[rng.integers(len(CELL_PAIRS))]
    return Placement(
        object_name=list(OBJECTS)[rng.integers(len(OBJECTS))],
        receptacle_name=list(RECEPTACLES)[rng.integers(len(RECEPTACLES))],
        object_xy_m=tuple(CELLS_M[object_cell].tolist()),
        receptacle_xy_m=tuple(CELLS_M[receptacle_cell].tolist()),
        object_yaw_rad=float(YAWS_RAD[rng.integers(len(YAWS_RAD))]))


EPISODE_SETS = {'ind': _sample_ind}
"""Named families of episodes; `ind`: every object and plate that training shows."""


def placement(episode_set: str, seed: int) -> Placement:
    """
    Return the episode of a set with a seed.

    :raises ValueError: unknown set, or a negative seed
    """
    if episode_set not in EPISODE_SETS:
        raise ValueError(f'episode set {episode_set!r} is not known; '
                         f'there are: {", ".join(EPISODE_SETS)}')
    if seed < 0:
        raise ValueError(f'an episode seed is 0 or larger, got {seed}')
    rng = np.random.default_rng([zlib.crc32(episode_set.encode()), seed])
    return EPISODE_SETS[episode_set](rng)
