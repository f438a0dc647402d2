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
What a pipeline's folder holds, as the report tells it: cells, paired differences, goals.

A cell is never a bare number: it carries its count, its episodes and its 95 % interval, and says
so when it has fewer episodes than MIN_EPISODES. Results of different code, or results that are
not what their stage wrote, are refused. What is not there is None and is shown as not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path

from rlrc_ros.vla.checkpoint import CheckpointError, inspect
from rlrc_training.compare import paired
from rlrc_training.content_hash import DONE, Hashes, MEMORY, RECORDS
from rlrc_training.intervals import PairedComparison, rate_with_interval, wilson_interval
from rlrc_training.stages.sources import by_source, in_words
from rlrc_training.table_rows import MIN_EPISODES, Row, ROWS

CHOICE_OF_P = 0.05


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

    def __str__(self) -> str:
        """Say it with its episodes, its interval and, where that is so, that they are few."""
        few = '' if self.enough else f'; too few: {self.episodes} of {MIN_EPISODES} episodes'
        return rate_with_interval(self.successes, self.episodes) + few


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


@dataclass(frozen=True)
class Goal:
    """One goal of the project, and what came out."""

    words: str
    came_out: str
    verdict: str
    """`met`, `missed`, `open` (not measured, or too few episodes to say)."""


@dataclass(frozen=True)
class PipelineResult:
    """A pipeline's folder, read."""

    folder: Path
    plan: dict
    records: dict[str, dict]
    rows: tuple[RowResult, ...]
    goals: tuple[Goal, ...]
    timing: dict | None
    curves: dict[str, list[dict]]
    """metrics.jsonl of each trained stage."""
    strips: dict[str, dict[str, dict]]
    """Row → `SET_SEED` → what strips.json says, with the picture's `path`."""

    def row(self, name: str) -> RowResult | None:
        """Return a row by its name, None if the pipeline has it not."""
        return next((each for each in self.rows if each.row.name == name), None)


def _json(path: Path, default: object = None) -> object:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ValueError(f'{path} is not readable JSON ({error}); run the stage that wrote it '
                         'again') from error


def _lines(path: Path) -> list[dict]:
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # a line that a kill cut short
    return found


def _cell(document: dict | None, episode_set: str, key: str = 'success_once') -> Cell | None:
    chosen = [each[key] for each in document['episodes']
              if each['episode_set'] == episode_set] if document else []
    return Cell(sum(chosen), len(chosen)) if chosen else None


def _only(document: dict, episode_set: str) -> dict:
    return {**document, 'episodes': [each for each in document['episodes']
                                     if each['episode_set'] == episode_set]}


def _against(first: dict | None, second: dict | None, episode_set: str) -> PairedComparison | None:
    if first is None or second is None:
        return None
    ours, theirs = _only(first, episode_set), _only(second, episode_set)
    try:
        return paired(ours, theirs)
    except ValueError:  # no seed in common
        return None


def check_commits(records: dict[str, dict], allowed: Sequence[str]) -> None:
    """Raise ValueError if results of different code stand beside each other, naming them."""
    found = by_source(records)
    strange = [each for each in found if not each[0].is_named(allowed)]
    if len(strange) > 1:
        fewest = sorted(strange, key=lambda each: len(each[1]))[:-1]
        raise ValueError(f'results of {len(found)} sources make no table ({in_words(found)}). Do '
                         'them again with one, or if the difference does not matter, name it: '
                         + ' '.join(['--allow-commit', *(each.name for each, _ in fewest)]))


def read_pipeline(folder: Path, allowed: Sequence[str] = ()) -> PipelineResult:
    """
    Read all that a pipeline has made so far.

    :param allowed: states of the source whose results may stand beside others
    :raises ValueError: no pipeline's folder, results of different code, or results that are not
        what their stage wrote
    """
    plan = _json(folder / 'plan.json')
    if plan is None:
        raise ValueError(f'{folder} has no plan.json; run `rlrc pipeline nano --out {folder}`')
    records = {}
    for stage in plan['stages']:
        record = _json(folder / RECORDS / f'{stage["name"]}.json')
        if record is not None:
            records[stage['name']] = record
    check_commits(records, allowed)
    hashes = Hashes(folder / RECORDS / MEMORY)

    def results(name: str, out: Path, file: str) -> dict | None:
        record = records.get(name)
        if record is None or record['state'] != DONE or not (out / file).exists():
            return None
        if hashes.of(out, file) != record['product']:
            raise ValueError(f'{out / file} is not what stage {name} wrote; run `rlrc pipeline` '
                             'again, which does that stage again')
        return _json(out / file)

    products = {stage['name']: Path(stage['product']) for stage in plan['stages']}
    outs = {stage['name']: Path(stage['out']) for stage in plan['stages']}
    timing = results('timing', outs['timing'], 'timing.json')
    dense = results('evaluate-dense', outs['evaluate-dense'], 'results.json')
    rows, ind, ood = [], plan['ind_set'], plan['ood_set']
    for name in plan['rows']:
        row, stage = ROWS[name], f'evaluate-{name}'
        document = results(stage, outs[stage], 'results.json')
        early = bool(document and document['config']['stop_on_success'])
        axes = (results(f'axes-{name}', outs[f'axes-{name}'], 'results.json')
                if f'axes-{name}' in outs else None)
        measured = timing['rows'].get(name) if timing else None
        size = measured or _size(products.get(row.stage))
        other = document if name != 'dense' else None
        rows.append(RowResult(
            row, _cell(document, ind), _cell(document, ood),
            None if early else _cell(document, ind, 'success_at_end'),
            None if early else _cell(document, ood, 'success_at_end'),
            _against(dense, other, ind), _against(dense, other, ood), measured,
            size and size['file_bytes'], size and size['parameters'],
            {each: cell for each in plan['axes'] if (cell := _cell(axes, each))}))
    curves = {name: _lines(outs[name] / 'metrics.jsonl') for name in outs
              if (outs[name] / 'metrics.jsonl').exists()}
    strips = {}
    for name in ('dense', 'rlrc'):
        where = folder / 'evaluation' / name / 'strips'
        strips[name] = {key: {**each, 'path': where / f'{key}.jpg'}
                        for key, each in _json(where / 'strips.json', {}).items()
                        if (where / f'{key}.jpg').exists()}
    return PipelineResult(folder, plan, records, tuple(rows), goals(rows, timing), timing, curves,
                          strips)


def _size(folder: Path | None) -> dict | None:
    try:
        summary = inspect(folder) if folder else None
    except CheckpointError:
        return None
    return summary and {'file_bytes': summary.weight_bytes, 'parameters': summary.parameters}


# ------------------------------------------------------------------------------ goals


def goals(rows: Sequence[RowResult], timing: dict | None) -> tuple[Goal, ...]:
    """Return the project's goals with what came out; open where the episodes are too few."""
    by_name = {each.row.name: each for each in rows}
    dense, rlrc, small = (by_name.get(name) for name in ('dense', 'rlrc', 'rlrc-4bit'))
    return (
        _least(dense and dense.ind, 0.85, 'dense policy IND at least 85 %'),
        _within(rlrc and rlrc.ind_against_dense, 0.02, 'RLRC within 2 points of dense IND'),
        _above(rlrc and rlrc.ood_against_dense, 'RLRC above dense OOD (p < 0.05)'),
        _within(small and small.ind_against_dense, 0.05,
                'RLRC-4bit within 5 points of dense IND'),
        _smaller(dense, small), _not_slower(timing))


def _least(cell: Cell | None, least: float, words: str) -> Goal:
    if cell is None:
        return Goal(words, 'not measured', 'open')
    if not cell.enough:
        return Goal(words, str(cell), 'open')
    return Goal(words, str(cell), 'met' if cell.rate >= least else 'missed')


def difference_in_words(each: PairedComparison) -> str:
    """Return a paired difference with its interval, its p and its episodes."""
    low, high = each.interval_95
    few = '' if each.episodes >= MIN_EPISODES else f'; too few: n={each.episodes}'
    return (f'{100 * each.difference:+.1f} points, 95 % CI {100 * low:+.1f} ... '
            f'{100 * high:+.1f}, McNemar p={each.mcnemar_p:.3g}, n={each.episodes}{few}')


def _within(each: PairedComparison | None, points: float, words: str) -> Goal:
    if each is None:
        return Goal(words, 'not measured', 'open')
    verdict = 'met' if each.difference >= -points - 1e-9 else 'missed'
    return Goal(words, difference_in_words(each),
                verdict if each.episodes >= MIN_EPISODES else 'open')


def _above(each: PairedComparison | None, words: str) -> Goal:
    if each is None:
        return Goal(words, 'not measured', 'open')
    verdict = 'met' if each.difference > 0 and each.mcnemar_p < CHOICE_OF_P else 'missed'
    return Goal(words, difference_in_words(each),
                verdict if each.episodes >= MIN_EPISODES else 'open')


def _smaller(dense: RowResult | None, small: RowResult | None) -> Goal:
    words = 'weights of RLRC-4bit at least 8x below dense'
    if not (dense and small and dense.file_bytes and small.file_bytes):
        return Goal(words, 'not measured', 'open')
    ratio = dense.file_bytes / small.file_bytes
    return Goal(words, f'{dense.file_bytes / 1e6:.2f} MB → {small.file_bytes / 1e6:.2f} MB, '
                f'{ratio:.1f}x', 'met' if ratio >= 8 else 'missed')


def _not_slower(timing: dict | None) -> Goal:
    words = 'RLRC-4bit not slower than RLRC on the same machine'
    rows = timing['rows'] if timing else {}
    if not {'rlrc', 'rlrc-4bit'} <= set(rows):
        return Goal(words, 'not measured', 'open')
    small, whole = rows['rlrc-4bit'], rows['rlrc']
    # Each against the first row of its own turns: groups may have met different hours.
    ratio = small['of_first'] / whole['of_first']
    return Goal(words, f'{small["p50_ms"]:.2f} ms against {whole["p50_ms"]:.2f} ms ({ratio:.2f} of'
                f' it in the same turns, {timing["dtype"]}, n={small["n"]})',
                'met' if ratio <= 1.0 else 'missed')
