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
The result of a pipeline as one page that opens offline: `rlrc report runs/nano`.

Reads what `rlrc pipeline` wrote (whatever is there so far: what is missing is called so) and
writes OUT/NAME.html, with everything inside it, and its twin OUT/NAME.md with OUT/NAME/: goals,
the table, stage by stage, success against memory and latency, learning curves, axes, episodes as
strips, wall-clock, commands, versions. Writes each measured checkpoint's model card as well.

    rlrc report runs/nano --notes notes.txt     with your own words on what limited success
    rlrc report ablations runs/ablations        another page, of another folder
"""

from importlib import import_module, util
import logging
from pathlib import Path
import sys

from rlrc_ros.vla.checkpoint import write_folder
from rlrc_training.command_line import run_verb
from rlrc_training.intervals import PairedComparison
from rlrc_training.model_card import write_card
from rlrc_training.pipeline_progress import in_words, wall_clock
from rlrc_training.report_charts import (
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
from rlrc_training.report_config import PageConfig, ReportConfig
from rlrc_training.report_page import (
    as_html,
    as_markdown,
    Block,
    Charts,
    Code,
    Heading,
    Paragraph,
    Pictures,
    Table,
)
from rlrc_training.report_read import Cell, PipelineResult, read_pipeline, RowResult
from rlrc_training.table_rows import CHAIN, MIN_EPISODES

log = logging.getLogger('rlrc.report')
FURTHER = {'ablations': ('rlrc_training.report_ablations', 'ablations')}
"""Other pages by sub-name: the module and its function of (folder, out)."""
COLOURS = {'dense': GREY, 'rival': ORANGE, 'stage': '#8f6bb3', 'rlrc': BLUE, 'own': GREEN}
SHADES = (BLUE, ORANGE, GREEN, RED, '#8f6bb3', GREY, '#b58a1b', '#4aa3c7')
SETS = (('IND', BLUE), ('OOD', ORANGE))
NOT_MEASURED = 'not measured'


# ------------------------------------------------------------------------------ table


def short_difference(each: PairedComparison) -> str:
    """Return a paired difference in points as a cell holds it."""
    low, high = (100 * bound for bound in each.interval_95)
    few = '' if each.episodes >= MIN_EPISODES else ': too few'
    return (f'{100 * each.difference:+.1f} ({low:+.1f} ... {high:+.1f}), p={each.mcnemar_p:.2g}, '
            f'n={each.episodes}{few}')


def _said(value: object) -> str:
    return NOT_MEASURED if value is None else str(value)


def _paper(result: RowResult) -> str:
    if result.row.paper is None:
        return '-'
    ind, ood, memory, ms = result.row.paper
    return f'{ind:g} / {ood:g} %' + (f'; {memory:g} GB; {ms:g} ms' if memory else '')


def result_table(result: PipelineResult) -> Table:
    """Return the table of all rows: success beside what it costs."""
    rows = []
    for each in result.rows:
        timing = each.timing
        process = timing and timing['process_bytes']
        rows.append((
            each.row.words, _said(each.ind), _said(each.ood),
            f'{each.file_bytes / 1e6:.2f}' if each.file_bytes else NOT_MEASURED,
            f'{process / 1e6:.0f}' if process else NOT_MEASURED,
            f'{timing["p50_ms"]:.2f} / {timing["p95_ms"]:.2f}' if timing else NOT_MEASURED,
            f'{timing["actions_per_s"]:.1f}' if timing else NOT_MEASURED, _paper(each)))
    return Table(('', 'IND', 'OOD', 'weights, MB', 'process, MB', 'ms, p50 / p95', 'actions/s',
                  'the paper'), rows)


def difference_table(result: PipelineResult) -> Table:
    """Return the rows' paired differences to the dense policy, and success at the end."""
    rows = [(each.row.words, *(
        '-' if each.row.name == 'dense' else NOT_MEASURED if one is None
        else short_difference(one) for one in (each.ind_against_dense,
                                                  each.ood_against_dense)),
        _said(each.ind_at_end), _said(each.ood_at_end),
        f'{each.parameters / 1e6:.2f}' if each.parameters else NOT_MEASURED)
        for each in result.rows]
    return Table(('', 'IND, points against dense', 'OOD, points against dense', 'IND, at the end',
                  'OOD, at the end', 'parameters, M'), rows)


def _below_table(result: PipelineResult) -> str:
    plan, timing = result.plan, result.timing
    words = ('Success at some step of 80 (below: at the last one). IND is '
             f'{plan["ind_set"]}, OOD {plan["ood_set"]}, the same held-out seeds 0 ... '
             f'{plan["episodes"] - 1} for every row; Wilson 95 % intervals; paired difference by '
             f"Newcombe's interval and McNemar's exact test. A cell with fewer than "
             f'{MIN_EPISODES} episodes says so. ')
    if timing:
        config = timing['config']
        words += (f'Times: {timing["machine"]}, {timing["dtype"]} arithmetic where not quantised, '
                  f'rows in turns, {config["blocks"]} blocks of {config["steps"]} steps, load '
                  f'{timing["busy"]} a core at the end. Weights are as stored; process is the '
                  'whole process, its libraries included. ')
    return words + ('The last column is arXiv 2506.17639: OpenVLA-7B, 64 episodes a figure, RTX '
                    '5880 Ada; for orientation, not to compare with.')


# ------------------------------------------------------------------------------ charts


def _bar(cell: Cell | None) -> Bar | None:
    if cell is None:
        return None
    low, high = cell.interval
    words = f'{cell.successes}/{cell.episodes}, {100 * cell.rate:.0f} %'
    words += '' if cell.enough else ': too few'
    return Bar(cell.rate, low, high, words, not cell.enough)


def stage_bars(result: PipelineResult) -> Charts:
    """Return RLRC stage by stage, and below it all rows."""
    def groups(rows: list[RowResult]) -> list:
        return [(each.row.words, (_bar(each.ind), _bar(each.ood))) for each in rows]
    chain = [each for each in result.rows if each.row.name in CHAIN]
    charts = [('stages', bars(groups(chain), SETS, 'Success stage by stage'))]
    others = [each for each in result.rows if each.row.name not in CHAIN]
    if others:
        charts.append(('rivals', bars(groups(others), SETS, 'Success of rivals and own arms')))
    return Charts(charts)


def planes(result: PipelineResult) -> list[Charts]:
    """Return success against memory and against latency, where they were measured."""
    found = []
    for name, label, cost in (
            ('memory', 'weights, MB (log)',
             lambda each: each.file_bytes and each.file_bytes / 1e6),
            ('latency', 'ms an action, p50 (log)',
             lambda each: each.timing and each.timing['p50_ms'])):
        points = [Point(cost(each), each.ind.rate, *each.ind.interval,
                        each.row.words + ('' if each.ind.enough else f' (n={each.ind.episodes})'),
                        COLOURS[each.row.group]) for each in result.rows
                  if each.ind and cost(each)]
        if points:
            words = f'IND success against {name}'
            found.append(Charts([(f'success_{name}', plane(points, label, words))],
                                f'{words}; the dashed line joins the rows that no other beats in '
                                'both.'))
    return found


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
            charts.append((f'curve_{name}', curves(picked, 'environment steps',
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
        returns = [(each['env_steps'], each['charts/episodic_return']) for each in lines
                   if each.get('charts/episodic_return') is not None]
        for key, label, points in (('loss', 'optimiser steps', losses),
                                   ('return', 'environment steps', returns)):
            if points:
                charts.append((f'{key}_{name}', curves(
                    [(key, RED, points)], label, f'{name}: {key} in training', rate=False)))
    if others:
        charts.append(('curve_others', curves(others, 'optimiser steps',
                                              'the other SFT stages, validation', wide=True)))
    return Charts(charts) if charts else None


def axis_bars(result: PipelineResult) -> Charts | None:
    """Return dense, RLRC and RLRC-4bit on every further axis."""
    rows = [each for each in result.rows if each.axes]
    names = list(dict.fromkeys(name for each in rows for name in each.axes))
    if not rows:
        return None
    shades = (GREY, BLUE, GREEN)
    series = [(each.row.words, shades[index % 3]) for index, each in enumerate(rows)]
    groups = [(name.partition('_')[2].replace('_', ' '),
               [_bar(each.axes.get(name)) for each in rows]) for name in names]
    return Charts([('axes', bars(groups, series, 'Success by axis'))])


def strips(result: PipelineResult) -> Pictures | None:
    """Return episodes of equal seeds: dense above, RLRC below."""
    ours, theirs = result.strips['rlrc'], result.strips['dense']
    pictures = []
    for key in theirs:
        for name, of in (('dense', theirs), ('RLRC', ours)):
            if key in of:
                each = of[key]
                verdict = 'success' if each['success_once'] else 'failure'
                pictures.append((
                    f'{name}: “{each["instruction"]}”, {each["episode_set"]} seed {each["seed"]}, '
                    f'{verdict} within {each["steps"]} steps', each['path']))
    return Pictures(pictures) if pictures else None


# ------------------------------------------------------------------------------ the page


def _wall_clock(result: PipelineResult) -> Table:
    rows = [(name, record['verb'], in_words(record['seconds']), str(record['starts']),
             'done' if record['state'] == 'done' else 'not finished', record['commit'])
            for name, record in result.records.items()]
    rows.append(('all', '', in_words(wall_clock(result.records)), '', '', ''))
    return Table(('stage', 'verb', 'wall-clock', 'starts', 'state', 'commit'), rows)


def _machines(result: PipelineResult) -> Table:
    seen: dict[str, None] = {}
    packages: dict[str, dict[str, None]] = {}
    for record in result.records.values():
        seen[record['machine']] = None
        for name, version in record['packages'].items():
            packages.setdefault(name, {})[version] = None
    return Table(('', ''), [('machine', '; '.join(seen)), *(
        (name, ', '.join(versions)) for name, versions in packages.items())])


def page(result: PipelineResult, notes: str = '') -> list[Block]:
    """Return the report's blocks."""
    done = sum(record['state'] == 'done' for record in result.records.values())
    stages = [each for each in result.plan['stages'] if each['verb'] != 'report']
    commits = ', '.join(dict.fromkeys(each['commit'] for each in result.records.values()))
    blocks: list[Block] = [
        Paragraph(f'Preset {result.plan["preset"]}; {done} of {len(stages)} stages done in '
                  f'{in_words(wall_clock(result.records))} of wall-clock; commit '
                  f'{commits or "none yet"}. Made by `{result.plan["command"]}`.'),
        Heading('Goals'),
        Table(('goal', 'what came out', ''),
              [(each.words, each.came_out, each.verdict) for each in result.goals]),
        Paragraph(f'“open”: not measured, or on fewer than {MIN_EPISODES} episodes.', small=True),
        Heading('The table'), result_table(result), Paragraph(_below_table(result), small=True),
        difference_table(result),
        Heading('Stage by stage'), stage_bars(result),
        Paragraph(f'Lines are Wilson 95 % intervals; pale bars have fewer than {MIN_EPISODES} '
                  'episodes.', small=True)]
    if found := planes(result):
        blocks += [Heading('Success against memory and latency'), *found]
    if found := learning(result):
        blocks += [Heading('Learning curves'), found,
                   Paragraph('On validation seeds, which the table never meets.', small=True)]
    if found := axis_bars(result):
        blocks += [Heading('Away from training, one thing at a time'), found]
    if found := strips(result):
        blocks += [Heading('The same seeds, dense above, RLRC below'), found,
                   Paragraph('The first seeds of each set, whatever became of them.', small=True)]
    if notes.strip():
        blocks += [Heading('What limited success'),
                   *(Paragraph(' '.join(each.split())) for each in notes.strip().split('\n\n'))]
    return [*blocks, Heading('Wall-clock of every stage'), _wall_clock(result),
            Heading('Commands'),
            Code('\n'.join(each['command'] for each in result.plan['stages'])),
            Heading('Versions and machine'), _machines(result)]


def report(config: ReportConfig) -> Path:
    """
    Write the page and its twin; return the page's path.

    :raises ValueError: no pipeline's folder, or results that do not belong together
    """
    result = read_pipeline(config.folder, config.allow_commit)
    notes = config.notes or config.folder / 'notes.txt'
    if config.notes and not config.notes.is_file():
        raise ValueError(f'there is no file {config.notes}; leave --notes away, or write it')
    blocks = page(result, notes.read_text(encoding='utf-8') if notes.is_file() else '')
    title = config.title or f'RLRC end to end: {config.stem}'
    config.out.mkdir(parents=True, exist_ok=True)
    twin: list[str] = []
    write_folder(config.out / config.stem,
                 lambda folder: twin.append(as_markdown(title, blocks, folder)))
    twin = [twin[0].replace(f'.{config.stem}.partial/', f'{config.stem}/')]
    for suffix, text in (('html', as_html(title, blocks)), ('md', twin[0])):
        partial = config.out / f'{config.stem}.{suffix}.partial'
        partial.write_text(text, encoding='utf-8')
        partial.replace(config.out / f'{config.stem}.{suffix}')
    if config.cards:
        products = {each['name']: Path(each['product']) for each in result.plan['stages']}
        for each in result.rows:
            folder = products.get(each.row.stage)
            if each.row.name in ('dense', 'rlrc', 'rlrc-4bit') and folder and folder.is_dir():
                write_card(folder, each, result.plan)
    path = config.out / f'{config.stem}.html'
    log.info('done page=%s markdown=%s', path, path.with_suffix('.md'))
    return path


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc report`, or the page that the first word names."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in FURTHER:
        module, function = FURTHER[words[0]]
        if util.find_spec(module) is None:
            print(f'rlrc report: the page {words[0]!r} is not part of this installation',
                  file=sys.stderr)
            return 1
        further = import_module(module)
        return run_verb(f'report {words[0]}', PageConfig,
                        lambda config: getattr(further, function)(config.folder, config.out),
                        words[1:], further.__doc__)
    return run_verb('report', ReportConfig, report, words, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
