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
What an episode is: things, places, pose, picture and sentence, all in one frozen Placement.

The grid is the one of PutOnPlateInScene25Main of RL4VLA (arXiv 2505.19789): 6 x 6 cells, 3 cm
apart, on a 15 cm square; every ordered pair of cells more than 7 cm apart holds one (object,
plate) pair, 784 in all; the object's yaw is one of four. Metres and radians, world frame.
"""

from dataclasses import dataclass, replace

import numpy as np

GRID_CENTRE_M = (-0.16, 0.0)
"""Centre of the grid on the table, world x and y."""
GRID_CELLS, GRID_STEP_M, MIN_DISTANCE_M = 6, 0.03, 0.07
YAWS_RAD = tuple(np.deg2rad((0.0, 45.0, 90.0, 135.0)))


@dataclass(frozen=True)
class Extra:
    """Something more on the table, that the instruction does not name."""

    name: str
    xy_m: tuple[float, float]
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class Placement:
    """Everything that distinguishes one episode from another."""

    object_name: str
    receptacle_name: str
    object_xy_m: tuple[float, float]
    """On the table, world frame."""
    receptacle_xy_m: tuple[float, float]
    object_yaw_rad: float
    suite: str = 'small'
    """Which things and which arm: one of SUITES."""
    template: str = 'put {object} on {receptacle}'
    """The sentence; RL4VLA's wording unless the set paraphrases."""
    table: int = 0
    """Which table look."""
    texture: int | None = None
    """Which texture is blended over the picture; None: none."""
    texture_share: float = 0.0
    """Its share of the colour, 0 ... 1."""
    texture_everywhere: bool = False
    """Over the whole picture, not only over arm and things."""
    extras: tuple[Extra, ...] = ()
    joint_offset_rad: tuple[float, ...] = (0.0,) * 6
    """Added to the arm's first joints."""
    moved_xy_m: tuple[float, float] | None = None
    """Where the object is put when step 5 begins; None: it is left alone."""
    shift: str = ''
    """In which way it is away from `choice`, by the name of that way's set; empty: not told."""

    @property
    def instruction(self) -> str:
        """Return the sentence that the policy is given."""
        return self.template.format(object=self.object_name, receptacle=self.receptacle_name)

    def retold(self, object_name: str, receptacle_name: str) -> 'Placement':
        """Return the same table under another sentence about what stands on it."""
        spots = {self.object_name: Extra(self.object_name, self.object_xy_m, self.object_yaw_rad),
                 self.receptacle_name: Extra(self.receptacle_name, self.receptacle_xy_m),
                 **{each.name: each for each in self.extras}}
        named, place = spots.pop(object_name), spots.pop(receptacle_name)
        return replace(
            self, object_name=object_name, object_xy_m=named.xy_m, object_yaw_rad=named.yaw_rad,
            receptacle_name=receptacle_name, receptacle_xy_m=place.xy_m,
            extras=tuple(spots.values()))


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
