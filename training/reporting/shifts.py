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

from rlrc_sim.axes import CHOICE_AXES
from rlrc_sim.suites import placement
from rlrc_training.reporting.cells import Cell

MIXED = 'put25_choice_shifted'
SHIFTS = tuple(each.removeprefix('put25_choice_') for each in CHOICE_AXES)


def by_shift(episodes: Iterable[dict]) -> dict[str, Cell]:
    """Return success (once) in the mixed set's episodes by shift, in the order of SHIFTS."""
    found: dict[str, list[bool]] = {name: [] for name in SHIFTS}
    for each in episodes:
        if each['episode_set'] == MIXED:
            found[placement(MIXED, each['seed']).shift].append(each['success_once'])
    return {name: Cell(sum(those), len(those)) for name, those in found.items() if those}
