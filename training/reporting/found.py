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
What lies in a pipeline's folder of one row, what another run kept of it, and what is kept of both.

A row that was measured here goes over a kept one. A kept one stands only while the checkpoint that
was played is the one that lies here, where one does.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rlrc_ros.vla.checkpoint import CheckpointError, inspect
from rlrc_training.reporting.cells import Turns
from rlrc_training.reporting.folder import PipelineFolder
from rlrc_training.reporting.kept import KeptRow, MEASURES, Strip
from rlrc_training.stages.sources import sources_of
from rlrc_training.table_rows import ROWS


@dataclass(frozen=True)
class Found:
    """What is known of a row, of today's checkpoint."""

    results: dict | None = None
    axes: dict | None = None
    timing: dict | None = None
    turns: Turns | None = None
    """In which the timing was taken."""
    size: dict | None = None
    outdated: bool = False
    times_outdated: bool = False
    checkpoint: Path | None = None
    content: str | None = None
    kept: bool = False
    """Another run played it."""
    strips: dict[str, Strip] = field(default_factory=dict)
    """Its episodes that are shown, by `SET_SEED`."""


def found_here(folder: PipelineFolder, name: str, timing: dict | None,
               turns: Turns | None) -> Found:
    """
    Return what was measured of a row in a folder.

    :param timing: the folder's timing.json, and its turns
    """
    stage, checkpoint = f'evaluate-{name}', folder.product(ROWS[name].stage)
    outdated, times_outdated = folder.outdated(stage), folder.times_outdated(name)
    document = None if outdated else folder.results(stage, 'results.json')
    axes = (None if folder.outdated(f'axes-{name}')
            else folder.results(f'axes-{name}', 'results.json'))
    measured = timing['rows'].get(name) if timing and not times_outdated else None
    return Found(document, axes, measured, measured and turns, _size(checkpoint), outdated,
                 times_outdated, checkpoint, document and folder.played(name),
                 strips={} if outdated else folder.strips(name))


def found_elsewhere(folder: PipelineFolder, here: Found, kept: KeptRow) -> Found:
    """Return what was measured here, and of the same checkpoint what only another run has."""
    missing = [each for each in MEASURES if not getattr(here, each) and getattr(kept, each)]
    if not missing or (here.results and here.content != kept.content):
        return here
    if folder.made_anew(ROWS[kept.name].stage, kept.content):
        return replace(here, outdated=True,
                       times_outdated=here.times_outdated or 'timing' in missing)
    size = kept.file_bytes and {'file_bytes': kept.file_bytes, 'parameters': kept.parameters}
    timing, turns = ((kept.timing, kept.turns) if 'timing' in missing
                     else (here.timing, here.turns))
    return Found(here.results or kept.results, here.axes or kept.axes, timing, turns,
                 here.size or size, times_outdated=here.times_outdated and not timing,
                 checkpoint=here.checkpoint, content=kept.content, kept='results' in missing,
                 strips=here.strips or kept.strips)


def to_keep(folder: PipelineFolder, name: str, here: Found, kept: KeptRow | None
            ) -> KeptRow | None:
    """
    Return what outlives the checkpoints of a row; None: nothing was measured.

    :param here: what this folder measured of it; what others measured on the same checkpoint
        stands beside that, on another one goes
    """
    other = kept and (here.content != kept.content if here.results
                      else folder.made_anew(ROWS[name].stage, kept.content))
    if not here.results and (other or not kept or not (here.axes or here.timing)):
        return kept
    if other:
        kept = None
    verbs = {'evaluate': here.results, 'axes': here.axes}
    stages = [kept_stage(folder.records[each]) for each in (
        *folder.stages_of(f'{verb}-{name}' for verb, measured in verbs.items() if measured),
        *([folder.timed_by()] if here.timing else ()))]
    update = ppo_kept(folder) if ROWS[name].group == 'rlrc' else None
    size = here.size or here.timing or {}
    if here.results:
        machine = folder.records[f'evaluate-{name}']['machine']
        ours = KeptRow(name, here.content, here.results, machine, stages)
    else:
        ours = replace(kept, stages=[*kept.stages_for(('results',)), *stages])
    ours = replace(ours, file_bytes=size.get('file_bytes'), parameters=size.get('parameters'),
                   axes=here.axes, timing=here.timing, turns=here.turns, ppo_kept=update,
                   strips=here.strips)
    return ours.merged(kept) if kept else ours


def kept_stage(record: dict) -> dict:
    """Return what is kept of a stage's record."""
    return {'name': record['stage'],
            **{key: record[key] for key in ('verb', 'command', 'seconds', 'starts')},
            'sources': [asdict(each) for each in sources_of(record)]}


def ppo_kept(folder: PipelineFolder) -> int | None:
    """Return the update of PPO whose policy lies there; 0: the one that it began with."""
    made = stages_by(folder.product('rl'))
    return made[-1].get('update') if made else None


def stages_by(folder: Path | None) -> tuple[dict, ...]:
    """Return how a checkpoint was made, by its own provenance."""
    try:
        return tuple(inspect(folder).provenance.get('stages', ())) if folder else ()
    except CheckpointError:
        return ()


def _size(folder: Path | None) -> dict | None:
    try:
        summary = inspect(folder) if folder else None
    except CheckpointError:
        return None
    return summary and {'file_bytes': summary.weight_bytes, 'parameters': summary.parameters}
