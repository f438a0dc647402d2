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
Finished evaluations side by side: the table of the RLRC paper, and who is better on equal seeds.

Each argument is a folder that `rlrc evaluate` wrote, or its results.json. A row is one evaluation
on one suite: seen and unseen worlds (Vision, Semantics and Execution where they were played),
memory, milliseconds, actions a second. The first is what the others are compared with, episode by
episode: the paired difference of success_once with its 95 % interval, and McNemar's test.
"""

from collections.abc import Sequence
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rlrc_sim.axes import group_of
from rlrc_training.intervals import compare_paired, PairedComparison, rate_with_interval


def read_results(path: Path) -> dict:
    """
    Return a finished evaluation.

    :raises ValueError: no results.json there, or not one that `rlrc evaluate` wrote
    """
    file = path / 'results.json' if path.is_dir() else path
    if not file.exists():
        raise ValueError(f'{file} is not there; run `rlrc evaluate CHECKPOINT --out {path}` first')
    try:
        document = json.loads(file.read_text())
        for episode in document['episodes']:
            episode['episode_set'], episode['seed'], episode['success_once']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{file} is not what `rlrc evaluate` writes ({error!r})') from error
    return document


def paired(first: dict, second: dict) -> PairedComparison:
    """
    Compare two evaluations on the episodes that both played.

    :raises ValueError: none in common
    """
    ours, theirs = ({(each['episode_set'], each['seed']): each['success_once']
                     for each in document['episodes']} for document in (first, second))
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise ValueError(f"{first['checkpoint']} and {second['checkpoint']} have no episode in "
                         'common; evaluate both with the same --set and --first-seed')
    return compare_paired([ours[task] for task in common], [theirs[task] for task in common])


GROUPS = ('IND', 'Vision', 'Semantics', 'Execution', 'OOD', 'Choice', 'Choice shifted',
          'Choice Vision', 'Choice Semantics', 'Choice Execution', 'Choice OOD', 'Official',
          'LIBERO')
ALWAYS = ('IND', 'OOD')
"""The columns of the RLRC paper's table; another appears where something of its was played."""


def suite_of(episode_set: str) -> str:
    """Return which suite a set belongs to: equal axes of two suites are different worlds."""
    name = episode_set.split('_')[0]
    return 'small task' if name == 'ind' else name


def _rate(episodes: list[dict], group: str) -> str:
    chosen = [each['success_once'] for each in episodes
              if group_of(each['episode_set']) == group]
    return rate_with_interval(sum(chosen), len(chosen)) if chosen else '-'


def _rows(path: Path, document: dict, groups: list[str], several: bool) -> list[list[str]]:
    """Return a row for each suite that an evaluation played."""
    alone = document.get('alone')
    cost = ['-'] * 3 if not alone else [
        f"{alone['memory_bytes'] / 1e6:.1f} MB ({alone['memory_is']})",
        f"{alone['single_ms']['p50']:.1f}", f"{alone['actions_per_s']:.1f}"]
    rows = []
    for suite in dict.fromkeys(suite_of(each['episode_set']) for each in document['episodes']):
        episodes = [each for each in document['episodes']
                    if suite_of(each['episode_set']) == suite]
        rows.append([f'{path}, {suite}' if several else str(path),
                     *(_rate(episodes, group) for group in groups), *cost,
                     document.get('machine', '-')])
    return rows


def print_comparison(paths: Sequence[Path]) -> None:
    """
    Print one row for each evaluation and suite, then each against the first.

    :raises ValueError: fewer than two, or one that cannot be read or paired
    """
    if len(paths) < 2:
        raise ValueError(f'--compare needs two or more folders, got {len(paths)}')
    documents = [read_results(path) for path in paths]
    comparisons = [paired(documents[0], other) for other in documents[1:]]
    sets = {each['episode_set'] for document in documents for each in document['episodes']}
    played = {group_of(each) for each in sets}
    groups = [group for group in GROUPS if group in played or group in ALWAYS]
    several = len({suite_of(each) for each in sets}) > 1
    table = Table(title='success_once with 95 % intervals; memory, ms and actions/s of one policy '
                        'with one observation')
    for heading in ('', *groups, 'memory', 'ms', 'actions/s', 'machine'):
        table.add_column(heading)
    for path, document in zip(paths, documents):
        for row in _rows(path, document, groups, several):
            table.add_row(*row)
    Console().print(table)
    for path, document in zip(paths, documents):
        if document.get('not_the_originals'):
            Console().print(f"{path}: {len(document['not_the_originals'])} of LIBERO's files are "
                            'not the originals; not for comparison with published numbers')
    for path, each in zip(paths[1:], comparisons):
        low, high = each.interval_95
        Console().print(
            f'{path} against {paths[0]}, n={each.episodes} equal episodes: '
            f'{100 * each.difference:+.1f} points, '
            f'95 % CI {100 * low:+.1f} ... {100 * high:+.1f}; '
            f'only the first {each.only_first}, only the second {each.only_second}; '
            f'McNemar p={each.mcnemar_p:.3g}')
