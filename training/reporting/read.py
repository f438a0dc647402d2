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
What a pipeline's folder holds, as the report tells it: rows, goals, curves, strips.

Results of different code, or results that are not what their stage wrote, are refused. What is
not there is None and is shown as not measured; what was measured on a checkpoint that has been
made again since is not there either, and is told apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rlrc_training.compare import paired
from rlrc_training.intervals import PairedComparison
from rlrc_training.reporting.cells import Cell, RowResult, Turns
from rlrc_training.reporting.folder import check_commits, PipelineFolder, read_lines
from rlrc_training.reporting.found import (
    Found,
    found_elsewhere,
    found_here,
    ppo_kept,
    stages_by,
    to_keep,
)
from rlrc_training.reporting.goals import Goal, goals
from rlrc_training.reporting.kept import KeptRow, once, read_files, Strip
from rlrc_training.reporting.shifts import by_shift
from rlrc_training.table_rows import ROWS


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
    strips: dict[str, dict[str, Strip]]
    """Row → `SET_SEED` → the episode that is shown."""
    given: tuple[dict, ...] = ()
    """Stages of the checkpoints that were given, as their provenance.json have them."""
    ppo_kept: int | None = None
    """The update of PPO whose policy was kept; 0: the one that it began with."""
    dense: str | None = None
    """Hash of the dense policy's checkpoint."""
    turns: Turns | None = None
    """Of `timing`."""
    kept: dict[str, KeptRow] = field(default_factory=dict)
    """Rows that other runs measured, as far as they are shown."""
    to_keep: dict[str, KeptRow] = field(default_factory=dict)
    """What outlives the checkpoints: of every row that was measured, here or elsewhere."""

    @property
    def missed(self) -> list[str]:
        """Return the goals that were missed."""
        return [each.words for each in self.goals if each.verdict == 'missed']

    def row(self, name: str) -> RowResult | None:
        """Return a row by its name, None if the pipeline has it not."""
        return next((each for each in self.rows if each.row.name == name), None)


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


def _row(plan: dict, name: str, found: Found, dense: dict | None) -> RowResult:
    """Return what is known of a row."""
    document, axes, size = found.results, found.axes, found.timing or found.size
    early = bool(document and document['config']['stop_on_success'])
    other = document if name != 'dense' else None
    ind, ood = plan['ind_set'], plan['ood_set']
    return RowResult(
        ROWS[name], _cell(document, ind), _cell(document, ood),
        None if early else _cell(document, ind, 'success_at_end'),
        None if early else _cell(document, ood, 'success_at_end'),
        _against(dense, other, ind), _against(dense, other, ood), found.timing,
        size and size['file_bytes'], size and size['parameters'],
        {each: cell for each in plan['axes'] if (cell := _cell(axes, each))},
        found.outdated, found.times_outdated, found.checkpoint, found.content,
        document and document.get('arithmetic', 'float32'), document and document.get('reused'),
        found.turns, found.kept,
        sum(each.get('crashed', False) for each in document['episodes']) if document else 0,
        by_shift(document['episodes']) if document else {})


def _curve_of(given: Path) -> list[dict]:
    """Return the learning curve of a given checkpoint: in its folder, or where sft wrote it."""
    return read_lines(given / 'metrics.jsonl') or read_lines(given.parent / 'metrics.jsonl')


def read_pipeline(path: Path, allowed: Sequence[str] = (),
                  kept_in: Sequence[Path] = ()) -> PipelineResult:
    """
    Read all that a pipeline has made so far.

    :param allowed: states of the source whose results may stand beside others
    :param kept_in: rows.json of earlier reports, whose rows stand in where none was measured
    :raises ValueError: no pipeline's folder, results of different code, results that are not
        what their stage wrote, or kept rows of another dense policy
    """
    folder = PipelineFolder(path, allowed)
    timing = folder.results(folder.timed_by(), 'timing.json')
    turns = timing and Turns.of(timing, folder.records[folder.timed_by()]['product'])
    policy = folder.content('dense')
    files = read_files(kept_in, policy)
    here = {name: found_here(folder, name, timing, turns) for name in ROWS
            if name in files or name in folder.plan['rows']}
    every = {name: found_elsewhere(folder, found, files[name]) if name in files else found
             for name, found in here.items()}
    kept = {name: each for name, each in files.items()
            if every[name] != here[name] and not every[name].outdated}
    check_commits({**folder.records, **{
        f'kept {name}': {'sources': each.sources}
        for name, each in kept.items()}}, allowed)
    dense = every['dense'].results
    rows = tuple(_row(folder.plan, name, found, dense) for name, found in every.items())
    curves = {name: lines for name, out in folder.outs.items()
              if (lines := read_lines(out / 'metrics.jsonl'))}
    given = folder.given_products()
    curves = {name: lines for name, each in given.items()
              if (lines := _curve_of(each))} | curves
    strips = {name: every[name].strips if name in every else {} for name in ('dense', 'rlrc')}
    written = {name: row for name, found in here.items()
               if (row := to_keep(folder, name, found, files.get(name)))}
    update = next((written[name].ppo_kept for name in ('rlrc', 'rlrc-4bit') if name in written),
                  None)
    return PipelineResult(path, folder.plan, folder.records, rows, goals(rows), timing, curves,
                          strips, tuple(once(
                              stage for each in given.values() for stage in stages_by(each))),
                          ppo_kept(folder) if update is None else update, policy, turns,
                          kept, written)
