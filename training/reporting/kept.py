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

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
import json
import os
from pathlib import Path

from rlrc_training.reporting.cells import Turns
from rlrc_training.stages.sources import sources_of
from rlrc_training.table_rows import ROWS

FILE, FORMAT = 'rows.json', 'rlrc-rows-2'
MEASURES = ('results', 'axes', 'timing')
"""What is measured of a row, by evaluate-NAME, axes-NAME and the timing."""
EPISODE = ('episode_set', 'seed', 'success_once', 'success_at_end')
"""What is kept of an episode, in this order."""
NUMBER = int | float
RESULTS = {'episodes': [(str, int, bool, bool)], 'config': {'stop_on_success': bool},
           'arithmetic?': str, 'reused?': {'mean_share': NUMBER, 'steps': int}}
ROW = {
    'content': str, 'results': RESULTS, 'axes?': RESULTS, 'machine': str,
    'stages': [{'name': str, 'verb': str, 'command': str, 'seconds': NUMBER, 'starts': int,
                'sources': [{'commit': str, 'code?': str}]}],
    'file_bytes?': int, 'parameters?': int, 'ppo_kept?': int,
    'strips?': {},
    'timing?': {'p50_ms': NUMBER, 'p95_ms': NUMBER, 'actions_per_s': NUMBER, 'n': int,
                'of_first': NUMBER, 'of_first_by_block?': [NUMBER], 'group': int,
                'file_bytes': int, 'parameters': int, 'process_bytes?': int,
                'forced_reuse?': NUMBER},
    'turns?': {'id': str, 'machine': str, 'dtype': str, 'blocks': int, 'steps': int,
               'busy?': NUMBER, 'commit': str, 'threads?': int}}
"""What a row holds; a name that ends in ? may be missing."""


@dataclass(frozen=True)
class Strip:
    """An episode that is shown as a row of pictures, as strips.json tells of it."""

    episode_set: str
    seed: int
    instruction: str
    steps: int
    success_once: bool
    path: Path = field(compare=False)
    """The picture."""


STRIP = {each.name: each.type for each in fields(Strip) if each.name != 'path'}
"""What is kept of it; the picture lies beside the file, see picture()."""


@dataclass(frozen=True)
class KeptRow:
    """One row as it was measured elsewhere."""

    name: str
    content: str
    """Hash of the checkpoint that was played."""
    results: dict
    """As `rlrc evaluate` writes it: `episodes`, `config`, `arithmetic`, `reused`."""
    machine: str
    """On which it was played."""
    stages: list[dict]
    """How it was made and measured: name, verb, command, seconds, starts, and `sources`, the
    states of the source that the stage worked under."""
    file_bytes: int | None = None
    parameters: int | None = None
    axes: dict | None = None
    """As `results`, on the further axes."""
    timing: dict | None = None
    """Its entry in timing.json."""
    turns: Turns | None = None
    """In which that was taken."""
    ppo_kept: int | None = None
    """Where PPO had a part in it: the update whose policy was kept."""
    strips: dict[str, Strip] = field(default_factory=dict)
    """By `SET_SEED`; none of those whose picture is gone."""

    @property
    def sources(self) -> list[dict]:
        """Return the states of the source that it was made and measured under, each once."""
        return once(source for stage in self.stages for source in stage['sources'])

    @property
    def played(self) -> str:
        """Say on which machine and by which code it was played."""
        last = next(each for each in self.stages if each['name'] == f'evaluate-{self.name}')
        return f'{self.machine}, commit {", ".join(each["commit"] for each in last["sources"])}'

    def lacks(self, which: str, sets: Sequence[str], seeds: range) -> str:
        """
        Return in words how far it was played on fewer seeds than wanted; '' where it was not.

        :param which: `results` or `axes`
        """
        played = Counter(each['episode_set'] for each in (getattr(self, which) or {}).get(
            'episodes', ()) if each['seed'] in seeds)
        few = [f'it has {played[name]} of {len(seeds)} episodes on {name}' for name in sets
               if played[name] < len(seeds)]
        more = f' and too few on {len(few) - 1} more' if len(few) > 1 else ''
        return few[0] + more if few else ''

    def stages_for(self, measures: Container[str]) -> list[dict]:
        """Return the stages that made it, and those that took these of MEASURES."""
        return [each for each in self.stages if _measure(each) in ('', *measures)]

    def merged(self, other: 'KeptRow') -> 'KeptRow':
        """
        Return what both know of the one checkpoint that both measured.

        Of episodes those of the one that has more; of times, and of what is equal, its own.
        """
        taken = {each for each in ('results', 'axes')
                 if _count(getattr(other, each)) > _count(getattr(self, each))}
        taken |= {'timing'} if other.timing and not self.timing else set()
        chosen = {each: getattr(other, each) for each in taken}
        if 'timing' in taken:
            chosen['turns'] = other.turns
        if 'results' in taken:
            chosen |= {'machine': other.machine, 'strips': other.strips}
        elif not self.strips:
            chosen['strips'] = other.strips
        for each in ('file_bytes', 'parameters', 'ppo_kept'):
            if getattr(self, each) is None:
                chosen[each] = getattr(other, each)
        # What nobody reads any more needs no stage that took it.
        return replace(self, **chosen, stages=once([
            *(other.stages_for(taken) if taken else ()), *self.stages_for({*MEASURES} - taken)]))


def read_kept(path: Path, dense: str | None) -> dict[str, KeptRow]:
    """
    Return the rows that a file keeps.

    :param dense: hash of this run's dense policy; rows that come from another one are refused,
        and so is any row where it is not known
    :raises ValueError: no such file, not what write_kept() writes, or rows of another policy
    """
    check_there(path)
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        _check(document, {'format': str}, 'the file')
        if document['format'] != FORMAT:
            raise ValueError(f'format {document["format"]!r}, wanted {FORMAT!r}')
        _check(document, {'dense': str, 'rows': {}}, 'the file')
        kept = {name: _row(name, each, path.parent) for name, each in document['rows'].items()}
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path} is not what `rlrc report` writes ({error}); write it anew by '
                         '`rlrc report` on the folder that measured the rows, give another file, '
                         'or delete it') from error
    instead = 'give another --name (in a pipeline: --set report.name=NAME), or delete the file'
    if kept and dense is None:
        raise ValueError(f'{path} has rows, and whether they come from the dense policy of this '
                         'run cannot be told: it is not there, and no stage has recorded it. Put '
                         f'it there, {instead}')
    if kept and document['dense'] != dense:
        raise ValueError(
            f'the rows of {path} come from another dense policy ({document["dense"][:8]}, this '
            f'one is {dense[:8]}) and make no table with it; give that policy by --dense, '
            + instead)
    return kept


def read_files(paths: Iterable[Path], dense: str | None) -> dict[str, KeptRow]:
    """
    Return the rows of several files, as read_kept(); of two of a name what both know.

    :raises ValueError: two of a name that played two checkpoints
    """
    kept: dict[str, KeptRow] = {}
    for path in paths:
        for name, row in read_kept(path, dense).items():
            if name in kept and kept[name].content != row.content:
                raise ValueError(
                    f'row {name} was played on one checkpoint in {path} and on another in a file '
                    'of rows that was named; one report shows one of them: leave --keep or '
                    '--rows away, or give another --name (in a pipeline: --set report.name=NAME)')
            kept[name] = kept[name].merged(row) if name in kept else row
    return kept


def check_there(path: Path) -> None:
    """Raise ValueError if a file of rows that was named is not there."""
    if not path.is_file():
        raise ValueError(f'there is no file {path}; name the rows.json beside an earlier report, '
                         'or leave that option away')


def write_kept(path: Path, dense: str | None, rows: Mapping[str, KeptRow]) -> None:
    """Write rows whole or not at all; none are written without the dense policy's hash."""
    if dense is None or not rows:
        return
    lines = [f'{json.dumps(name)}: {json.dumps(_packed_row(rows[name]))}'
             for name in ROWS if name in rows]  # one a line: a difference names its row
    head = json.dumps({'format': FORMAT, 'dense': dense, 'episode': EPISODE})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(f'{head[:-1]}, "rows": {{\n' + ',\n'.join(lines) + '\n}}\n',
                       encoding='utf-8')
    os.replace(partial, path)


def picture(row: str, key: str) -> str:
    """Return what the picture of a row's episode `SET_SEED` is called beside a report."""
    return f'{row}_{key}.jpg'


def _count(results: dict | None) -> int:
    return len(results['episodes']) if results else 0


def _measure(stage: dict) -> str:
    """Return which of MEASURES a stage took of a row, '' where it made the checkpoint."""
    if stage['verb'] == 'evaluate':
        return 'axes' if stage['name'].startswith('axes-') else 'results'
    return 'timing' if stage['verb'] == 'timing' else ''


def once(values: Iterable[dict]) -> list[dict]:
    """Return values without those that were there before."""
    found: list[dict] = []
    for each in values:
        if each not in found:
            found.append(each)
    return found


def _check(value: object, shape: object, where: str) -> None:
    """Raise ValueError where a value has not the shape: a type, [of each], (of all), or names."""
    kind = {dict: dict, list: list, tuple: list}.get(type(shape), shape)
    if not isinstance(value, kind):
        raise ValueError(f'{where} is {value!r:.60}')
    if isinstance(shape, dict):
        for key, inner in shape.items():
            name = key.removesuffix('?')
            if value.get(name) is not None:
                _check(value[name], inner, f'{name} of {where}')
            elif name == key:
                raise ValueError(f'{where} has no {name}')
    elif isinstance(shape, tuple) and len(value) != len(shape):
        raise ValueError(f'{where} is {value!r:.60}, wanted {len(shape)} values')
    elif isinstance(shape, (list, tuple)):
        for index, each in enumerate(value):
            _check(each, shape[index if isinstance(shape, tuple) else 0], f'a part of {where}')


def _row(name: str, each: object, beside: Path) -> KeptRow:
    if name not in ROWS:
        raise ValueError(f'it has a row {name!r}; there are: {", ".join(ROWS)}')
    _check(each, ROW, f'row {name}')
    if strange := each.keys() - {key.removesuffix('?') for key in ROW}:
        raise ValueError(f'row {name} has a {min(strange)!r}, which nothing knows')
    if f'evaluate-{name}' not in [stage['name'] for stage in each['stages']]:
        raise ValueError(f'row {name} has no stage evaluate-{name}')
    for stage in each['stages']:
        sources_of(stage)
    strips = each.get('strips') or {}
    for key, strip in strips.items():
        _check(strip, STRIP, f'strip {key} of row {name}')
    if bool(each.get('timing')) is not bool(each.get('turns')):
        raise ValueError(f'row {name} has one of timing and turns, wanted both or neither')
    return KeptRow(name=name, **{
        **each, 'turns': each.get('turns') and Turns(**each['turns']),
        **{key: _unpacked(each.get(key)) for key in ('results', 'axes')},
        'strips': {key: Strip(**strip, path=path) for key, strip in strips.items()
                   if (path := beside / picture(name, key)).is_file()}})


def _packed_row(row: KeptRow) -> dict:
    return {**{key: value for key, value in vars(row).items() if key != 'name'},
            'results': _packed(row.results), 'axes': _packed(row.axes),
            'turns': row.turns and asdict(row.turns),
            'strips': {key: {each: getattr(strip, each) for each in STRIP}
                       for key, strip in row.strips.items()} or None}


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
