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
Measured rows as one small file, NAME/rows.json beside a report: what outlives the checkpoints.

A table of twenty rows takes longer than most machines are to be had, and its checkpoints are too
many to carry along. So a report writes what every row measured, episode by episode, with the hash
of the dense policy that all of them come from; a later run of the pipeline from that same policy
leaves such rows out (`--keep`), and its report shows them beside its own. Times are those of the
row's own turns, in which the dense policy took part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path

from rlrc_training.table_rows import ROWS

FILE, FORMAT = 'rows.json', 'rlrc-rows-1'
EPISODE = ('episode_set', 'seed', 'success_once', 'success_at_end')
"""What is kept of an episode, in this order."""


@dataclass(frozen=True)
class KeptRow:
    """One row as it was measured elsewhere."""

    name: str
    content: str
    """Hash of the checkpoint that was played."""
    results: dict
    """As `rlrc evaluate` writes it: `episodes`, `config`, `arithmetic`, `reused`."""
    sources: list[dict]
    """States of the source that it was made and measured under."""
    machine: str
    stages: list[dict]
    """How it was made and measured: name, verb, command, seconds, starts."""
    file_bytes: int | None = None
    parameters: int | None = None
    axes: dict | None = None
    """As `results`, on the further axes."""
    timing: dict | None = None
    """Its entry in timing.json."""
    turns: dict | None = None
    """Of that timing: `machine`, `dtype`, `busy`, `config`."""


def read_kept(path: Path, dense: str | None = None) -> dict[str, KeptRow]:
    """
    Return the rows that a file keeps, none where there is no file.

    :param dense: hash of the dense policy; rows that come from another one are refused
    :raises ValueError: not such a file, or rows of another dense policy
    """
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
        if document['format'] != FORMAT:
            raise ValueError(f'format {document["format"]!r}, wanted {FORMAT!r}')
        kept = {name: KeptRow(name=name, **{
            key: _unpacked(value) if key in ('results', 'axes') else value
            for key, value in each.items()}) for name, each in document['rows'].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not what `rlrc report` writes ({error}); give another file, '
                         'or delete it') from error
    if strange := set(kept) - set(ROWS):
        raise ValueError(f'{path} has a row {min(strange)!r}; there are: {", ".join(ROWS)}')
    if dense is not None and kept and document['dense'] != dense:
        raise ValueError(
            f'the rows of {path} come from another dense policy ({document["dense"][:8]}, this '
            f'one is {dense[:8]}) and make no table with it; give that policy by --dense, another '
            '--name, or delete the file')
    return kept


def write_kept(path: Path, dense: str | None, rows: Mapping[str, KeptRow]) -> None:
    """Write rows whole or not at all; none are written without the dense policy's hash."""
    if dense is None or not rows:
        return
    lines = [f'{json.dumps(name)}: ' + json.dumps(
        {key: _packed(value) if key in ('results', 'axes') else value
         for key, value in vars(rows[name]).items() if key != 'name'})
        for name in ROWS if name in rows]  # one a line: a difference names its row
    head = json.dumps({'format': FORMAT, 'dense': dense, 'episode': EPISODE})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(f'{head[:-1]}, "rows": {{\n' + ',\n'.join(lines) + '\n}}\n')
    os.replace(partial, path)


def _packed(results: dict | None) -> dict | None:
    """Return an evaluation with its episodes as lists of what counts."""
    if results is None:
        return None
    chosen = {key: results[key] for key in ('arithmetic', 'reused') if key in results}
    return {**chosen, 'config': {'stop_on_success': results['config']['stop_on_success']},
            'episodes': [[each[key] for key in EPISODE] for each in results['episodes']]}


def _unpacked(results: dict | None) -> dict | None:
    if results is None:
        return None
    return {**results, 'checkpoint': 'a kept row', 'episodes': [
        dict(zip(EPISODE, each, strict=True)) for each in results['episodes']]}
