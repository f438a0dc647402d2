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

"""The options of `rlrc report`."""

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Annotated

from rlrc_training.reporting.kept import FILE
import tyro

PICTURES = ('.jpg', '.png', '.svg')
"""What lies beside a page."""


@dataclass(frozen=True)
class ReportConfig:
    """What to render, and where to."""

    folder: Annotated[Path, tyro.conf.Positional] = Path('runs/nano')
    """What `rlrc pipeline --out` made."""
    out: Path = Path('docs/results')
    """Folder for NAME.html, NAME.md and NAME/ with the pictures of the latter."""
    name: str = ''
    """By default the folder's."""
    title: str = ''
    """Of the page; by default it names the folder."""
    notes: Path | None = None
    """Plain text for the page: what limited success, what to try next; blank lines part
    paragraphs. FOLDER/notes.txt by default, where there is one."""
    allow_commit: tuple[str, ...] = ()
    """States of the source whose results may stand beside others: the code's hash as the refusal
    names it, or a commit without edits."""
    rows: Path | None = None
    """rows.json of an earlier report on the same dense policy: what it measured and this folder
    has not is shown too. That of OUT/NAME is read without being named, so that nothing of it is
    lost."""
    cards: bool = True
    """Write README.md, the model card, into the checkpoints of dense, RLRC and RLRC-4bit."""

    def __post_init__(self) -> None:
        if self.name and not re.fullmatch(r'[\w.-]+', self.name):
            raise ValueError(f'name {self.name!r} is part of file names; use letters, digits, '
                             'points and dashes')
        if self.folder.resolve().is_relative_to(self.where.resolve()):
            raise ValueError(f'{self.where} would be replaced by the report, and {self.folder} '
                             'with it; give another --out or --name')
        strange = [each.name for each in sorted(self.where.glob('*'))
                   if each.name != FILE and each.suffix not in PICTURES]
        if strange:
            raise ValueError(f'{self.where} would be replaced by the report, and holds '
                             f'{strange[0]}, which no report wrote; give another --out or --name')

    @property
    def stem(self) -> str:
        """Return what the files are called."""
        return self.name or self.folder.resolve().name

    @property
    def where(self) -> Path:
        """Return the folder beside the page, which a report replaces."""
        return self.out / self.stem

    @property
    def rows_file(self) -> Path:
        """Return the file of measured rows that is written."""
        return self.where / FILE

    @property
    def rows_files(self) -> tuple[Path, ...]:
        """Return the files of measured rows that are shown: the named one, and what is there."""
        there = (self.rows_file,) if self.rows_file.is_file() else ()
        return ((self.rows,) if self.rows else ()) + there


@dataclass(frozen=True)
class PageConfig:
    """Of a further page."""

    folder: Annotated[Path, tyro.conf.Positional]
    """What it is made from."""
    out: Path | None = None
    """Folder for it; FOLDER/report by default."""

    @property
    def where(self) -> Path:
        """Return the folder for it."""
        return self.out or self.folder / 'report'
