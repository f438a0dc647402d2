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

"""The options of `rlrc pipeline`; docs/pipeline.md says which to take for what."""

from dataclasses import dataclass
from functools import lru_cache
import json
import os
from pathlib import Path
from typing import Annotated

from rlrc_training.content_hash import DONE, Hashes, RECORDS
from rlrc_training.reporting.folder import read_json
from rlrc_training.reporting.kept import check_there, KeptRow, read_kept
from rlrc_training.stages.order import Order
from rlrc_training.stages.plan import INPUTS
from rlrc_training.stages.presets import SETTINGS
from rlrc_training.table_rows import choose_rows, ROWS
import tyro

PATHS = (*INPUTS, 'warm_start', 'token_ids', 'rows', 'notes')
"""Options of the verbs that are folders or files."""


def usual(path: Path) -> Path:
    """
    Return a path in the one spelling that the verbs are given.

    They refuse to go on under another one. Below the working folder it is relative, so that
    provenance names no folders of this machine; a link to elsewhere keeps its name.
    """
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    for each in (Path(os.path.realpath(path)), whole):
        if each.is_relative_to(here):
            return each.relative_to(here)
    return whole


@lru_cache
def _content(checkpoint: Path) -> str | None:
    """Return the hash of a checkpoint; 15 GB are read once."""
    return Hashes().of(checkpoint)


@dataclass(frozen=True)
class PipelineConfig:
    """Which size, on what, and which rows of the table."""

    preset: Annotated[str, tyro.conf.Positional] = 'nano'
    """`nano`: two CPU cores; `small`: 48 M parameters, one GPU; `openvla-7b`: an official folder,
    given by --init, on a GPU with 80 GB; `tiny`: minutes, to see that everything works."""
    out: Path | None = None
    """Folder for everything; runs/PRESET by default."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = ()
    """Demonstrations that you have; none: they are collected."""
    dense: Path | None = None
    """Dense policy that you have; none: it is trained."""
    init: Path | None = None
    """Checkpoint that the dense policy is trained from."""
    given: Annotated[tuple[str, ...], tyro.conf.arg(metavar='STAGE=DIR ...')] = ()
    """Checkpoints of other stages that you have, made from --dense: rl=DIR quantize=DIR, for
    example. They are measured, not made again."""
    rows: tuple[str, ...] = ('all',)
    """Rows of the table: `all`, `chain` (RLRC's own stages), or their names."""
    keep: Path | None = None
    """rows.json beside an earlier report: rows that it has measured, from this --dense and on
    as many episodes, are not made and measured again, and the new report shows them. It may be
    the one that this report writes."""
    episodes: int = 500
    """Paired seeds of each cell."""
    axis_episodes: int = 100
    """Seeds of each further axis, for the dense policy, RLRC and RLRC-4bit; 0: none."""
    strips: int = 3
    """Seeds of each set that the report shows as pictures."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(
        name='set', metavar='STAGE.OPTION=VALUE ...')] = ()
    """Options of stages, or of groups of them, in the place of the preset's."""
    only: str = ''
    """Do this stage alone (or all of one verb), if what it needs is there."""
    dry_run: bool = False
    """Print the plain commands and do nothing."""
    allow_commit: tuple[str, ...] = ()
    """Other states of the source whose results may be used and gone on with: the code's hash as
    the refusal names it, or a commit without edits. Documents, tests and reports are not code."""
    results: Path = Path('docs/results')
    """Folder for the report."""
    device: str = 'auto'
    """Of every stage: `auto`, `cpu` or `cuda`."""
    processes: int = 0
    """Of every stage that simulates; 0: its own default."""
    threads: int = 0
    """CPU threads of torch in every stage that has --threads; 0: its own default. For the others,
    OMP_NUM_THREADS."""

    def __post_init__(self) -> None:
        if self.preset not in SETTINGS:
            raise ValueError(f'preset {self.preset!r} is not known; there are: '
                             f'{", ".join(SETTINGS)}')
        choose_rows(self.rows)
        if self.keep is not None:
            check_there(self.keep)
            if self.dense is None:
                raise ValueError(f'keep {self.keep} wants --dense FOLDER, the policy that its '
                                 'rows were made from')
        if self.episodes < 1 or min(self.axis_episodes, self.strips, self.processes,
                                    self.threads) < 0:
            raise ValueError(
                'episodes is at least 1, axis_episodes, strips, processes and threads at least '
                f'0; got {self.episodes}, {self.axis_episodes}, {self.strips}, '
                f'{self.processes}, {self.threads}')
        if self.preset == 'openvla-7b' and not (self.init or self.dense):
            raise ValueError('preset openvla-7b starts from weights that you have: give --init '
                             'FOLDER (an official OpenVLA), or --dense FOLDER (fine-tuned)')
        self.overrides, self.products  # made here for their own bounds
        if self.given and self.dense is None:
            raise ValueError(f'given {self.given[0]} wants --dense FOLDER, the policy that it was '
                             'made from')
        for name in ('out', 'dense', 'init', 'results', 'keep'):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, usual(getattr(self, name)))
        object.__setattr__(self, 'data', tuple(map(usual, self.data)))

    @property
    def overrides(self) -> dict[str, dict[str, object]]:
        """Return --set's options by stage."""
        found: dict[str, dict[str, object]] = {}
        for each in self.settings:
            where, equals, value = each.partition('=')
            stage, point, option = where.rpartition('.')
            if not (equals and point and option):
                raise ValueError(f'--set {each!r} is not STAGE.OPTION=VALUE, for example '
                                 'prune.ratio=0.8')
            option = option.replace('-', '_')
            try:
                parsed = json.loads({'True': 'true', 'False': 'false', 'None': 'null'}.get(
                    value, value))
            except ValueError:
                parsed = value
            if isinstance(parsed, list):
                parsed = tuple(usual(Path(each)) if option in PATHS else each for each in parsed)
            elif option in PATHS and isinstance(parsed, str):
                parsed = usual(Path(parsed))
            found.setdefault(stage, {})[option] = parsed
        return found

    @property
    def products(self) -> dict[str, Path]:
        """Return the given checkpoints by the stage that makes their like."""
        names = list(dict.fromkeys(row.stage for row in ROWS.values() if row.stage != 'dense'))
        found = {}
        for each in self.given:
            stage, equals, folder = each.partition('=')
            if stage == 'dense':
                raise ValueError(f'given {each!r}: the dense policy is --dense {folder}')
            if not (equals and folder) or stage not in names:
                raise ValueError(f'given {each!r} is not STAGE=DIR; the stages are: '
                                 f'{", ".join(names)}')
            found[stage] = usual(Path(folder))
        return found

    @property
    def folder(self) -> Path:
        """Return where everything lies."""
        return self.out or Path('runs') / self.preset

    def _has_played(self, row: KeptRow) -> bool:
        """Tell whether OUT played a row itself, on what lies there: its stages are skipped."""
        record = read_json(self.folder / RECORDS / f'evaluate-{row.name}.json', {})
        checkpoint = record.get('folders', {}).get('checkpoint')
        return (record.get('state') == DONE and record['inputs'].get('checkpoint') == row.content
                and checkpoint is not None and Path(checkpoint).is_dir())

    @property
    def order(self) -> Order:
        """Return what the plan is made from."""
        kept = read_kept(self.keep, _content(self.dense)) if self.keep else {}
        kept = {name: row for name, row in kept.items() if not self._has_played(row)}
        return Order(
            self.preset, self.folder, choose_rows(self.rows), self.results, self.data, self.dense,
            self.init, self.products, self.episodes, self.axis_episodes, self.strips,
            self.overrides, self.allow_commit, {
                'device': self.device, 'processes': self.processes, 'threads': self.threads},
            self.keep, kept)
