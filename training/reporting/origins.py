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

"""Where a report's numbers come from: wall-clock, commands, machines, and rows of other runs."""

from rlrc_training.reporting.cells import KEPT
from rlrc_training.reporting.folder import given_of
from rlrc_training.reporting.found import kept_stage
from rlrc_training.reporting.kept import once
from rlrc_training.reporting.page import Code, Table
from rlrc_training.reporting.read import PipelineResult
from rlrc_training.stages.progress import in_words, wall_clock
from rlrc_training.stages.sources import by_source, sources_of
from rlrc_training.stages.sources import in_words as states_in_words


def played_elsewhere(result: PipelineResult) -> str:
    """Return where the rows were played that another run measured, if there are any."""
    found: dict[str, list[str]] = {}
    for each in result.rows:
        if each.kept:
            found.setdefault(result.kept[each.row.name].played, []).append(each.row.words)
    if not found:
        return ''
    told = '; '.join(f'{", ".join(rows)} on {where}' for where, rows in found.items())
    return f'{KEPT.strip()} Played in another run, from the same dense policy: {told}. '


def timed_apart(result: PipelineResult) -> str:
    """Return which times were taken in other turns than those of this pipeline, if any were."""
    found: dict[str, list[str]] = {}
    for each in result.rows:
        if each.turns and (result.turns is None or each.turns.id != result.turns.id):
            found.setdefault(str(each.turns), []).append(
                f'{each.row.words} {each.timing["of_first"]:.2f}')
    if not found:
        return ''
    if result.turns is None and len(found) == 1:
        return f'Times: {next(iter(found))}, in another run. '
    return ('Not all rows were timed in the same turns, so their milliseconds met different '
            'hours; as a ratio to the dense policy in their own turns: ' + '; '.join(
                f'on {turns}: {", ".join(rows)}' for turns, rows in found.items()) + '. ')


def _given_seconds(stage: dict) -> float | None:
    return next((stage[key] for key in ('train_seconds', 'seconds') if key in stage), None)


def _kept_stages(result: PipelineResult) -> list[dict]:
    """Return the stages that made and measured rows in other runs, each once."""
    own = [kept_stage(record) for record in result.records.values()]
    return [each for each in once(stage for row in result.kept.values() for stage in row.stages)
            if each not in own]


def wall_clock_table(result: PipelineResult) -> Table:
    """Return what every stage took, those of a given policy and of other runs too."""
    rows = []
    for number, stage in enumerate(result.given, 1):
        seconds = _given_seconds(stage)
        rows.append((f'given {number}', stage.get('name', ''),
                     'not told' if seconds is None else in_words(seconds), '', 'given',
                     stage.get('commit', '')))
    rows += [(name, record['verb'], in_words(record['seconds']), str(record['starts']),
             'done' if record['state'] == 'done' else 'not finished', _commits(record))
             for name, record in result.records.items()]
    rows += [(f'kept: {each["name"]}', each['verb'], in_words(each['seconds']),
              str(each['starts']), 'measured in another run', _commits(each))
             for each in _kept_stages(result)]
    own, given = wall_clock(result.records), sum(
        _given_seconds(each) or 0.0 for each in result.given)
    rows.append(('all of the pipeline', '', in_words(own), '', '', ''))
    if given:
        rows.append(('with what was given, each until what it kept', '',
                     in_words(own + given), '', '', ''))
    return Table(('stage', 'verb', 'wall-clock', 'starts', 'state', 'commit'), rows)


def _commits(record: dict) -> str:
    return ', '.join(dict.fromkeys(each.commit for each in sources_of(record)))


def commands(result: PipelineResult) -> Code:
    """Return the plain commands, those of a given policy before the pipeline's own."""
    given = [each['command'] for each in result.given if each.get('command')]
    folders = [result.plan['dense'], *given_of(result.plan).values()]
    lines = [f'# {", ".join(folders)}: given; by their provenance.json:', *given,
             '# and from them:'] if given else []
    own = dict.fromkeys(each['command'] for each in result.plan['stages'])
    kept = dict.fromkeys(each['command'] for each in _kept_stages(result)
                         if each['command'] not in own)
    if kept:
        kept = ['# rows that other runs measured, from the same dense policy:', *kept,
                '# this run:']
    return Code('\n'.join([*lines, *kept, *own]))


def sources_in_words(result: PipelineResult) -> str:
    """Return which code made which rows, if not all of it was the same."""
    found = by_source({**result.records, **{
        f'row {name}': {'sources': row.sources} for name, row in result.kept.items()}})
    if len(found) < 2:
        return ''
    return ('The code that computes was not the same throughout; whoever ran this said by '
            '`--allow-commit` that the difference does not matter: '
            + states_in_words(found) + '.')


def given_in_words(plan: dict) -> str:
    """Return in words what the pipeline was given, as part of a sentence."""
    parts = [f'the dense policy {plan["dense"]}'] if plan.get('dense') else []
    parts += [f'the checkpoint {folder} of {stage}'
              for stage, folder in given_of(plan).items()]
    if plan.get('data'):
        parts.append(f'the demonstrations {", ".join(plan["data"])}')
    return f' Given: {", ".join(parts)}.' if parts else ''


def machines(result: PipelineResult) -> Table:
    """Return the machines and the versions of this pipeline's stages."""
    seen: dict[str, None] = {}
    packages: dict[str, dict[str, None]] = {}
    for record in result.records.values():
        seen[record['machine']] = None
        for name, version in record['packages'].items():
            packages.setdefault(name, {})[version] = None
    kept = dict.fromkeys(result.kept[each.row.name].machine for each in result.rows if each.kept)
    return Table(('', ''), [
        ('machine', '; '.join(seen)), *((f'of rows{KEPT}', '; '.join(kept)),) * bool(kept),
        *((name, ', '.join(versions)) for name, versions in packages.items())])
