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
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rlrc_ros.vla.checkpoint import CheckpointError, inspect
from rlrc_training.compare import paired
from rlrc_training.intervals import PairedComparison
from rlrc_training.reporting.cells import Cell, RowResult
from rlrc_training.reporting.folder import check_commits, PipelineFolder, read_json, read_lines
from rlrc_training.reporting.goals import Goal, goals
from rlrc_training.reporting.kept import KeptRow, read_kept
from rlrc_training.stages.sources import sources_of
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
    strips: dict[str, dict[str, dict]]
    """Row → `SET_SEED` → what strips.json says, with the picture's `path`."""
    given: tuple[dict, ...] = ()
    """Stages of a dense policy that was given, as its provenance.json has them."""
    ppo_kept: int | None = None
    """The update of PPO whose policy was kept; 0: the one that it began with."""
    dense: str | None = None
    """Hash of the dense policy's checkpoint."""
    kept: dict[str, KeptRow] = field(default_factory=dict)
    """What outlives the checkpoints, of every measured row; those of other runs included."""

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


def _row(plan: dict, name: str, found: '_Found', dense: dict | None) -> RowResult:
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
        found.turns)


@dataclass(frozen=True)
class _Found:
    """What lies there of a row, of today's checkpoint."""

    results: dict | None = None
    axes: dict | None = None
    timing: dict | None = None
    size: dict | None = None
    outdated: bool = False
    times_outdated: bool = False
    checkpoint: Path | None = None
    content: str | None = None
    turns: dict | None = None
    """Of its timing, where that is not this pipeline's."""


def _found_here(folder: PipelineFolder, name: str, timing: dict | None) -> _Found:
    stage, checkpoint = f'evaluate-{name}', folder.product(ROWS[name].stage)
    outdated, times_outdated = folder.outdated(stage), folder.times_outdated(name)
    document = None if outdated else folder.results(stage, 'results.json')
    axes = (None if folder.outdated(f'axes-{name}')
            else folder.results(f'axes-{name}', 'results.json'))
    measured = timing['rows'].get(name) if timing and not times_outdated else None
    return _Found(document, axes, measured, _size(checkpoint), outdated, times_outdated,
                  checkpoint, document and folder.played(name))


def _found_elsewhere(here: _Found, kept: KeptRow) -> _Found:
    """Return what another run measured, with this one's checkpoint and times where it has them."""
    number = kept.turns and f'kept {kept.turns["machine"]} {kept.turns["commit"]}'
    timing = kept.timing and {**kept.timing, 'group': number}
    size = kept.file_bytes and {'file_bytes': kept.file_bytes, 'parameters': kept.parameters}
    return _Found(
        kept.results, here.axes or kept.axes, here.timing or timing, here.size or size,
        checkpoint=here.checkpoint, content=kept.content,
        turns=None if here.timing else kept.turns)


def _to_keep(folder: PipelineFolder, name: str, found: _Found, timing: dict | None) -> KeptRow:
    """Return what outlives the checkpoints of a row that was measured here."""
    stages = folder.stages_of(name)
    evaluated = folder.records[f'evaluate-{name}']
    return KeptRow(
        name, found.content, found.results,
        [asdict(each) for each in dict.fromkeys(
            each for stage in stages for each in sources_of(folder.records[stage]))],
        evaluated['machine'], [{
            'name': each, **{key: folder.records[each][key] for key in (
                'verb', 'command', 'seconds', 'starts')}} for each in stages],
        *((found.size or {}).get(key) for key in ('file_bytes', 'parameters')),
        found.axes, found.timing, found.timing and {
            key: timing[key] for key in ('machine', 'dtype', 'busy', 'config', 'commit')})


def read_pipeline(path: Path, allowed: Sequence[str] = (),
                  kept_in: Path | None = None) -> PipelineResult:
    """
    Read all that a pipeline has made so far.

    :param allowed: states of the source whose results may stand beside others
    :param kept_in: rows.json of an earlier report, whose rows stand in where none was measured
    :raises ValueError: no pipeline's folder, results of different code, results that are not
        what their stage wrote, or kept rows of another dense policy
    """
    folder = PipelineFolder(path, allowed)
    timing = folder.results(folder.timed_by(), 'timing.json')
    policy = folder.content('dense')
    here = {name: _found_here(folder, name, timing) for name in folder.plan['rows']}
    kept = read_kept(kept_in, policy) if kept_in else {}
    kept = {name: each for name, each in kept.items()
            if (found := here.get(name)) is None or not (found.results or found.outdated)}
    check_commits({**folder.records, **{
        f'kept {name}': vars(each) for name, each in kept.items()}}, allowed)
    every = {name: _found_elsewhere(here.get(name, _Found()), kept[name])
             if name in kept else here[name] for name in ROWS if name in {**here, **kept}}
    dense = every['dense'].results
    rows = tuple(_row(folder.plan, name, found, dense) for name, found in every.items())
    curves = {name: lines for name, out in folder.outs.items()
              if (lines := read_lines(out / 'metrics.jsonl'))}
    given = folder.given_policy()
    if given is not None and (lines := read_lines(given.parent / 'metrics.jsonl')):
        curves = {'dense': lines, **curves}
    strips = {}
    for name in ('dense', 'rlrc'):
        where = path / 'evaluation' / name / 'strips'
        told = {} if folder.outdated(f'evaluate-{name}') else read_json(where / 'strips.json', {})
        strips[name] = {key: {**each, 'path': where / f'{key}.jpg'}
                        for key, each in told.items() if (where / f'{key}.jpg').exists()}
    to_keep = {name: _to_keep(folder, name, found, timing)
               for name, found in here.items() if found.results}
    return PipelineResult(path, folder.plan, folder.records, rows, goals(rows, timing), timing,
                          curves, strips, _stages(given), _ppo_kept(folder), policy,
                          {**kept, **to_keep})


def _size(folder: Path | None) -> dict | None:
    try:
        summary = inspect(folder) if folder else None
    except CheckpointError:
        return None
    return summary and {'file_bytes': summary.weight_bytes, 'parameters': summary.parameters}


def _ppo_kept(folder: PipelineFolder) -> int | None:
    """Return which update's policy the stage rl has kept so far."""
    made = _stages(folder.outs['rl'] / 'checkpoint') if 'rl' in folder.outs else ()
    return made[-1].get('update') if made else None


def _stages(folder: Path | None) -> tuple[dict, ...]:
    """Return how a checkpoint was made, by its own provenance."""
    try:
        return tuple(inspect(folder).provenance.get('stages', ())) if folder else ()
    except CheckpointError:
        return ()
