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

"""The charts and pictures of `rlrc report`, made from what a pipeline measured."""

from collections.abc import Callable, Sequence

from rlrc_training.reporting.cells import Cell, NOT_MEASURED, OUTDATED, RowResult
from rlrc_training.reporting.charts import (
    Bar,
    bars,
    BLUE,
    curves,
    GREEN,
    GREY,
    ORANGE,
    plane,
    Point,
    RED,
)
from rlrc_training.reporting.kept import picture
from rlrc_training.reporting.page import Charts, Pictures
from rlrc_training.reporting.read import PipelineResult
from rlrc_training.table_rows import CHAIN

COLOURS = {'dense': GREY, 'rival': ORANGE, 'stage': '#8f6bb3', 'rlrc': BLUE, 'own': GREEN}
SHADES = (BLUE, ORANGE, GREEN, RED, '#8f6bb3', GREY, '#b58a1b', '#4aa3c7')
SETS = (('IND', BLUE), ('OOD', ORANGE))


def _bar(cell: Cell | None, outdated: bool = False) -> Bar | str:
    if cell is None:
        return OUTDATED if outdated else NOT_MEASURED
    low, high = cell.interval
    words = f'{cell.successes}/{cell.episodes}, {100 * cell.rate:.0f} %'
    words += '' if cell.enough else ': too few'
    return Bar(cell.rate, low, high, words, not cell.enough)


def stage_bars(result: PipelineResult) -> Charts:
    """Return RLRC stage by stage, and below it all rows."""
    def groups(rows: list[RowResult]) -> list:
        return [(each.title, tuple(
            _bar(cell, each.outdated) for cell in (each.ind, each.ood))) for each in rows]
    chain = [each for each in result.rows if each.row.name in CHAIN]
    charts = [('stages', bars(groups(chain), SETS, 'Success stage by stage'))]
    others = [each for each in result.rows if each.row.name not in CHAIN]
    if others:
        charts.append(('rivals', bars(groups(others), SETS, 'Success of rivals and own arms')))
    return Charts(charts)


def planes(result: PipelineResult) -> list[Charts]:
    """Return success against memory and against latency, of each machine, where measured."""
    found = _plane(result.rows, 'memory', '', 'weights, MB (log)',
                   lambda each: each.file_bytes and each.file_bytes / 1e6)
    where = dict.fromkeys(each.turns.place for each in result.rows if each.ind and each.turns)
    for number, place in enumerate(where, 1):
        rows = [each for each in result.rows if each.turns and each.turns.place == place]
        machine, dtype, threads = place
        words = (f' Timed on {machine} in {dtype}' + f' with {threads} threads' * bool(threads)
                 if len(where) > 1 else '')
        if len({each.turns.id for each in rows}) > 1:
            words = (words or ' Timed') + ', not all in the same turns'
        found += _plane(rows, 'latency' + (f'_{number}' if number > 1 else ''),
                        words + '.' * bool(words), 'ms an action, p50 (log)',
                        lambda each: each.timing['p50_ms'])
    return found


def _plane(rows: Sequence[RowResult], name: str, further: str, label: str,
           cost: Callable[[RowResult], float | None]) -> list[Charts]:
    points = [Point(cost(each), each.ind.rate, *each.ind.interval,
                    each.title + ('' if each.ind.enough else f' (n={each.ind.episodes})'),
                    COLOURS[each.row.group]) for each in rows if each.ind and cost(each)]
    words = f'IND success against {name.partition("_")[0]}'
    return [Charts([(f'success_{name}', plane(points, label, words))],
                   f'{words}; the dashed line joins the rows that no other beats in both.'
                   + further)] if points else []


def learning(result: PipelineResult) -> Charts | None:
    """Return the curves of RLRC's own stages, and those of all others in one chart."""
    charts, others = [], []
    for name, lines in result.curves.items():
        if name not in ('dense', 'recover', 'rl'):
            points = [(each['step'], each['success_once']) for each in lines
                      if each.get('success_once') is not None]
            if points:
                others.append((name.removesuffix('-sft'), SHADES[len(others) % len(SHADES)],
                               points))
            continue
        if any('eval' in each for each in lines):
            picked = [(key, colour, [(each['env_steps'], each['eval'][key]) for each in lines
                                     if key in each.get('eval', {})])
                      for key, colour in (('success_once', BLUE), ('success_at_end', GREEN))]
            charts.append((f'curve_{name}', curves(
                [each for each in picked if each[2]], 'environment steps',
                f'{name}: PPO, validation')))
        else:
            points = [(each['step'], each['success_once']) for each in lines
                      if each.get('success_once') is not None]
            if points:
                charts.append((f'curve_{name}', curves(
                    [('success_once', BLUE, points)], 'optimiser steps',
                    f'{name}: SFT, validation')))
        losses = [(each['step'], each['loss']) for each in lines
                  if each.get('loss') is not None and 'step' in each]
        # Not the return of what has ended: in a rollout that is cut off only successes end.
        drawn = [(each['env_steps'], each['charts/first_success']) for each in lines
                 if each.get('charts/first_success') is not None]
        if losses:
            charts.append((f'loss_{name}', curves(
                [('loss', RED, losses)], 'optimiser steps', f'{name}: loss in training',
                rate=False)))
        if drawn:
            charts.append((f'drawn_{name}', curves(
                [('success within a rollout', RED, drawn)], 'environment steps',
                f'{name}: PPO, in training, actions drawn')))
    if others:
        charts.append(('curve_others', curves(others, 'optimiser steps',
                                              'the other SFT stages, validation', wide=True)))
    return Charts(charts) if charts else None


def axis_bars(result: PipelineResult) -> Charts | None:
    """Return dense, RLRC and RLRC-4bit on every further axis."""
    return _bars_by_name({each.title: each.axes for each in result.rows}, 'axes',
                         'Success by axis', lambda name: name.partition('_')[2])


def shift_bars(result: PipelineResult) -> Charts | None:
    """Return the OOD cells of dense, RLRC and RLRC-4bit, taken apart by the kind of shift."""
    rows = [each for each in result.rows if each.row.group in ('dense', 'rlrc')]
    return _bars_by_name({each.title: each.shifts for each in rows}, 'shifts',
                         'OOD, by what differs from training', str)


def _bars_by_name(cells: dict[str, dict[str, Cell]], chart: str, title: str,
                  short: Callable[[str], str]) -> Charts | None:
    """Return a group of bars a name, one of them for each row that has any; None: none has."""
    rows = {row: those for row, those in cells.items() if those}
    if not rows:
        return None
    names = list(dict.fromkeys(name for those in rows.values() for name in those))
    shades = (GREY, BLUE, GREEN)
    series = [(row, shades[index % 3]) for index, row in enumerate(rows)]
    groups = [(short(name).replace('_', ' '), [_bar(those.get(name)) for those in rows.values()])
              for name in names]
    return Charts([(chart, bars(groups, series, title))])


def strips(result: PipelineResult) -> Pictures | None:
    """Return episodes of equal seeds: dense above, RLRC below."""
    ours, theirs = result.strips['rlrc'], result.strips['dense']
    pictures = []
    told = theirs | ours
    for key in sorted(told, key=lambda key: (told[key].episode_set, told[key].seed)):
        for row, name, of in (('dense', 'dense', theirs), ('rlrc', 'RLRC', ours)):
            if (each := of.get(key)) is not None:
                verdict = 'success' if each.success_once else 'failure'
                pictures.append((
                    f'{name}: “{each.instruction}”, {each.episode_set} seed {each.seed}, '
                    f'{verdict} within {each.steps} steps', each.path, picture(row, key)))
    return Pictures(pictures) if pictures else None
