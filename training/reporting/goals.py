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

"""The project's goals, and what came out of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rlrc_training.intervals import PairedComparison
from rlrc_training.reporting.cells import NOT_MEASURED, OUTDATED, RowResult
from rlrc_training.table_rows import MIN_EPISODES

CHOICE_OF_P = 0.05
MIN_BLOCKS = 5
"""Turns below which a ratio of times has no range worth the name."""


@dataclass(frozen=True)
class Goal:
    """One goal of the project, and what came out."""

    words: str
    came_out: str
    verdict: str
    """`met`, `missed`, `open` (not measured, or not enough to say)."""


def goals(rows: Sequence[RowResult]) -> tuple[Goal, ...]:
    """Return the project's goals with what came out; open where the episodes are too few."""
    by_name = {each.row.name: each for each in rows}
    dense, rlrc, small = (by_name.get(name) for name in ('dense', 'rlrc', 'rlrc-4bit'))
    return (
        _least(dense, 0.85, 'dense policy IND at least 85 %'),
        _within(dense, rlrc, 0.02, 'RLRC within 2 points of dense IND'),
        _above(dense, rlrc, 'RLRC above dense OOD (p < 0.05)'),
        _within(dense, small, 0.05, 'RLRC-4bit within 5 points of dense IND'),
        _smaller(dense, small), _not_slower(rlrc, small))


def _open(words: str, outdated: bool) -> Goal:
    return Goal(words, OUTDATED if outdated else NOT_MEASURED, 'open')


def _played_elsewhere(*rows: RowResult | None) -> bool:
    return any(each is not None and each.outdated for each in rows)


def _least(row: RowResult | None, least: float, words: str) -> Goal:
    if row is None or row.ind is None:
        return _open(words, _played_elsewhere(row))
    if not row.ind.enough:
        return Goal(words, str(row.ind), 'open')
    return Goal(words, str(row.ind), 'met' if row.ind.rate >= least else 'missed')


def difference_in_words(each: PairedComparison) -> str:
    """Return a paired difference with its interval, its p and its episodes."""
    low, high = each.interval_95
    few = '' if each.episodes >= MIN_EPISODES else f'; too few: n={each.episodes}'
    return (f'{100 * each.difference:+.1f} points, 95 % CI {100 * low:+.1f} ... '
            f'{100 * high:+.1f}, McNemar p={each.mcnemar_p:.3g}, n={each.episodes}{few}')


def _within(dense: RowResult | None, row: RowResult | None, points: float, words: str) -> Goal:
    each = row and row.ind_against_dense
    if each is None:
        return _open(words, _played_elsewhere(dense, row))
    verdict = 'met' if each.difference >= -points - 1e-9 else 'missed'
    return Goal(words, difference_in_words(each),
                verdict if each.episodes >= MIN_EPISODES else 'open')


def _above(dense: RowResult | None, row: RowResult | None, words: str) -> Goal:
    each = row and row.ood_against_dense
    if each is None:
        return _open(words, _played_elsewhere(dense, row))
    verdict = 'met' if each.difference > 0 and each.mcnemar_p < CHOICE_OF_P else 'missed'
    return Goal(words, difference_in_words(each),
                verdict if each.episodes >= MIN_EPISODES else 'open')


def _smaller(dense: RowResult | None, small: RowResult | None) -> Goal:
    words = 'weights of RLRC-4bit at least 8x below dense'
    if not (dense and small and dense.file_bytes and small.file_bytes):
        return _open(words, False)
    ratio = dense.file_bytes / small.file_bytes
    return Goal(words, f'{dense.file_bytes / 1e6:.2f} MB → {small.file_bytes / 1e6:.2f} MB, '
                f'{ratio:.1f}x', 'met' if ratio >= 8 else 'missed')


def ratios_by_block(row: RowResult, other: RowResult) -> list[float]:
    """
    Return how many times as long a row takes as another, in each block of turns.

    Each is told against the first row of its own turns. Rows of two groups, which did not fit into
    memory beside each other, or of two runs met different hours: of them every block is set
    against every one.
    """
    ours, theirs = (each.timing.get('of_first_by_block') or () for each in (row, other))
    if (row.turns.id, row.timing['group']) == (other.turns.id, other.timing['group']):
        return [one / another for one, another in zip(ours, theirs)]
    return [one / another for one in ours for another in theirs]


def _undecided(rlrc: RowResult, small: RowResult) -> str:
    """Return why the times of two rows decide nothing, '' where they may."""
    machines = dict.fromkeys(each.turns.machine for each in (rlrc, small))
    other = [f'{each.row.words} in {each.turns.dtype}' for each in (rlrc, small)
             if each.turns.dtype != 'bfloat16']
    threads = dict.fromkeys(each.turns.threads for each in (rlrc, small))
    blocks = [len(each.timing.get('of_first_by_block') or ()) for each in (rlrc, small)]
    if len(machines) > 1:
        return f'timed on two machines: {"; ".join(machines)}'
    if len(threads) > 1:
        return f'timed with {" and ".join(str(each or "all") for each in threads)} threads'
    if other:
        return f'not in bf16: {", ".join(other)}'
    return f'too few blocks: {min(blocks)} of {MIN_BLOCKS}' if min(blocks) < MIN_BLOCKS else ''


def _not_slower(rlrc: RowResult | None, small: RowResult | None) -> Goal:
    words = 'RLRC-4bit not slower than RLRC in bf16 on the same machine'
    if not (rlrc and small and rlrc.timing and small.timing):
        return _open(words, any(each is not None and each.times_outdated
                                for each in (rlrc, small)))
    told = (f'{small.timing["p50_ms"]:.2f} ms against {rlrc.timing["p50_ms"]:.2f} ms in '
            f'{rlrc.turns.dtype}, ')
    if why := _undecided(rlrc, small):
        ratio = small.timing['of_first'] / rlrc.timing['of_first']
        return Goal(words, f'{told}{ratio:.2f} of it; {why}', 'open')
    ratios = ratios_by_block(small, rlrc)
    ratio, low, high = (float(np.percentile(ratios, each)) for each in (50, 10, 90))
    verdict = 'met' if high <= 1.0 else 'missed' if low > 1.0 else 'open'
    return Goal(words, f'{told}{ratio:.2f} of it (80 % of {small.turns.blocks} blocks: {low:.2f} '
                f'... {high:.2f}), n={small.timing["n"]}', verdict)
