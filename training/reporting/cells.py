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
One row of the result as it was measured: cells with their counts, differences, times, sizes.

A cell is never a bare number: it carries its count, its episodes and its 95 % interval, and says
so when it has fewer episodes than MIN_EPISODES. What is not there is None.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rlrc_training.intervals import PairedComparison, rate_with_interval, wilson_interval
from rlrc_training.table_rows import MIN_EPISODES, Row

NOT_MEASURED = 'not measured'
OUTDATED = 'measured on another checkpoint'
KEPT = ' †'
"""Behind the name of a row that another run played."""


@dataclass(frozen=True)
class Cell:
    """Successes of one row on one set."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        """Return the share, 0 ... 1."""
        return self.successes / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval."""
        return wilson_interval(self.successes, self.episodes)

    @property
    def enough(self) -> bool:
        """Tell whether it may stand as a result."""
        return self.episodes >= MIN_EPISODES

    @property
    def caveat(self) -> str:
        """Return what is said behind it where its episodes are too few, or nothing."""
        return '' if self.enough else f'; too few: {self.episodes} of {MIN_EPISODES}'

    def __str__(self) -> str:
        """Say it with its episodes, its interval and, where that is so, that they are few."""
        few = self.caveat and f'{self.caveat} episodes'
        return rate_with_interval(self.successes, self.episodes) + few


@dataclass(frozen=True)
class Turns:
    """In which rows were timed beside each other: what a timing.json says of all of them."""

    id: str
    """Hash of that file."""
    machine: str
    dtype: str
    """What was multiplied in, where not quantised."""
    blocks: int
    steps: int
    """Of a row in a block."""
    commit: str
    busy: float | None = None
    """Load a core at the end."""
    threads: int = 0
    """CPU threads; 0: one for each core."""

    @classmethod
    def of(cls, timing: dict, digest: str) -> 'Turns':
        """Return those of a timing.json with that hash."""
        return cls(digest, timing['machine'], timing['dtype'], timing['config']['blocks'],
                   timing['config']['steps'], timing['commit'], timing['busy'],
                   timing['config'].get('threads', 0))

    @property
    def place(self) -> tuple[str, str, int]:
        """Return what times must have in common to be compared: machine, arithmetic, threads."""
        return self.machine, self.dtype, self.threads

    def __str__(self) -> str:
        """Say where, in what and how long."""
        threads = f', {self.threads} threads' if self.threads else ''
        return (f'{self.machine}, {self.dtype}{threads}, {self.blocks} blocks of {self.steps} '
                f'steps, commit {self.commit}')


@dataclass(frozen=True)
class RowResult:
    """All that is known of one row."""

    row: Row
    ind: Cell | None = None
    ood: Cell | None = None
    ind_at_end: Cell | None = None
    ood_at_end: Cell | None = None
    ind_against_dense: PairedComparison | None = None
    ood_against_dense: PairedComparison | None = None
    timing: dict | None = None
    file_bytes: int | None = None
    parameters: int | None = None
    axes: dict[str, Cell] = field(default_factory=dict)
    outdated: bool = False
    """It was played on another checkpoint than today's, so that there is no cell."""
    times_outdated: bool = False
    """It was timed on another checkpoint than today's, so that there is no timing."""
    checkpoint: Path | None = None
    """Where today's lies."""
    content: str | None = None
    """SHA-256 of the checkpoint that was played (see content_hash)."""
    arithmetic: str | None = None
    """What the policy was multiplied in while its episodes were played."""
    reused: dict | None = None
    """VLA-Cache's `mean_share` of patches over `steps` that were played, where that was noted."""
    turns: Turns | None = None
    """In which its timing was taken."""
    kept: bool = False
    """Another run played it."""
    crashed: int = 0
    """Of the episodes on both sets, how many crashed the simulator and count as failed."""
    shifts: dict[str, Cell] = field(default_factory=dict)
    """The OOD cell by the way in which each episode is away from training, if it mixes several."""

    @property
    def title(self) -> str:
        """Return what it is called, with a mark where another run played it."""
        return self.row.words + (KEPT if self.kept else '')
