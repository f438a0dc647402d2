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

"""What a plan is made from: rows, folders, numbers of episodes, and what earlier runs measured."""

from dataclasses import dataclass, field
from pathlib import Path

from rlrc_training.evaluate import EvaluateConfig
from rlrc_training.reporting.kept import KeptRow, MEASURES
from rlrc_training.stages.presets import SETTINGS, Settings
from rlrc_training.table_rows import Row

RESULTS, AXES, TIMING = MEASURES


@dataclass(frozen=True)
class Order:
    """What a plan is made from."""

    preset: str
    out: Path
    rows: tuple[Row, ...]
    """Those of `kept` too."""
    results: Path = Path('docs/results')
    data: tuple[Path, ...] = ()
    """Demonstrations that are there; none: they are collected."""
    dense: Path | None = None
    """A dense policy that is there; none: it is trained."""
    init: Path | None = None
    """What the dense policy is trained from."""
    given: dict[str, Path] = field(default_factory=dict)
    """Checkpoints of other stages that are there, made from `dense`."""
    episodes: int = 500
    axis_episodes: int = 100
    strips: int = 3
    overrides: dict[str, dict[str, object]] = field(default_factory=dict)
    """Options by stage or group of stages, over the preset's."""
    allow_commit: tuple[str, ...] = ()
    """For the report, too."""
    machine: dict[str, object] = field(default_factory=dict)
    """`device`, `processes`, `threads`, for the verbs that have them."""
    keep: Path | None = None
    """For the report: rows.json of an earlier one."""
    kept: dict[str, KeptRow] = field(default_factory=dict)
    """The rows that it has; what is measured of them again, measures() says."""

    @property
    def settings(self) -> Settings:
        """Return the preset's."""
        return SETTINGS[self.preset]

    @property
    def first_seed(self) -> int:
        """Return the held-out seed that evaluations count from."""
        return int({**self.settings.evaluate, **self.overrides.get('evaluate', {})}.get(
            'first_seed', EvaluateConfig.first_seed))

    def axes_of(self, row: Row) -> tuple[str, ...]:
        """Return the further axes that a row is played on."""
        wanted = self.axis_episodes and row.group in ('dense', 'rlrc')
        return self.settings.axes if wanted else ()

    def measures_of(self, row: Row) -> tuple[str, ...]:
        """Return what is measured of a row, unless it is kept."""
        return MEASURES if self.axes_of(row) else (RESULTS, TIMING)

    def lacks(self, row: Row) -> dict[str, str]:
        """Return what the file of kept rows has not of a row, each with its reason in words."""
        kept = self.kept.get(row.name)
        if kept is None:
            return dict.fromkeys(self.measures_of(row), 'it is not there')
        first = self.first_seed
        found = {RESULTS: kept.lacks(RESULTS, self.settings.sets,
                                     range(first, first + self.episodes)),
                 AXES: kept.lacks(AXES, self.axes_of(row),
                                  range(first, first + self.axis_episodes)),
                 TIMING: '' if kept.timing else 'it has no times'}
        return {what: why for what, why in found.items() if why}
