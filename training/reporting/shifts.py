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

"""Success on a set of mixed shifts, by the way in which an episode is away from training."""

from collections.abc import Iterable

import numpy as np
from rlrc_sim.axes import CHOICE_AXES, CHOICE_CELLS_M, UNSEEN_TABLES
from rlrc_sim.placements import Placement
from rlrc_sim.suites import placement
from rlrc_training.reporting.cells import Cell

MIXED = 'put25_choice_shifted'
SHIFTS = tuple(each.removeprefix('put25_choice_') for each in CHOICE_AXES)


def shift_of(drawn: Placement) -> str:
    """Return which of SHIFTS an episode of the mixed set shows, read off what it places."""
    if drawn.table in UNSEEN_TABLES:
        return 'unseen_table'
    if drawn.texture is not None:
        strength = 'weak' if drawn.texture_share < 0.4 else 'strong'
        return f'{"whole" if drawn.texture_everywhere else "texture"}_{strength}'
    if drawn.template != Placement.template:
        return 'paraphrase'
    if any(drawn.joint_offset_rad):
        return 'initial_pose'
    if drawn.moved_xy_m is not None:
        return 'object_moved'
    nearest_m = np.linalg.norm(CHOICE_CELLS_M - drawn.object_xy_m, axis=1).min()
    return 'position' if nearest_m > 1e-3 else ''


def by_shift(episodes: Iterable[dict]) -> dict[str, Cell]:
    """Return success (once) in the mixed set's episodes by shift, in the order of SHIFTS."""
    found: dict[str, list[bool]] = {name: [] for name in SHIFTS}
    for each in episodes:
        if each['episode_set'] == MIXED:
            found[shift_of(placement(MIXED, each['seed']))].append(each['success_once'])
    return {name: Cell(sum(those), len(those)) for name, those in found.items() if those}
