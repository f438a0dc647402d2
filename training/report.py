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

Reads what `rlrc pipeline` wrote (whatever is there so far: what is missing is called so, and so is
what was measured on a checkpoint that has been made again since) and
writes OUT/NAME.html, with everything inside it, and its twin OUT/NAME.md with OUT/NAME/ (pictures,
and rows.json, what every row measured, which a later report takes by --rows; rows of the one that
is there already stay): goals,
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
from rlrc_training.reporting.cells import Cell, NOT_MEASURED, OUTDATED, RowResult
from rlrc_training.reporting.config import PageConfig, ReportConfig
from rlrc_training.reporting.figures import (
    axis_bars,
    learning,
    planes,
    shift_bars,
    stage_bars,
    strips,
)
from rlrc_training.reporting.kept import write_kept
from rlrc_training.reporting.origins import (
    commands,
    given_in_words,
    machines,
    played_elsewhere,
    sources_in_words,
    timed_apart,
    wall_clock_table,
)
from rlrc_training.reporting.page import as_html, as_markdown, Block, Heading, Paragraph, Table
from rlrc_training.reporting.read import PipelineResult, read_pipeline
from rlrc_training.stages.presets import SETTINGS
from rlrc_training.stages.progress import in_words, wall_clock
from rlrc_training.stages.sources import sources_of
from rlrc_training.table_rows import MIN_EPISODES

log = logging.getLogger('rlrc.report')
FURTHER = {'ablations': ('rlrc_training.reporting.ablations', 'ablations')}
"""Other pages by sub-name: the module and its function of (folder, out)."""


# ------------------------------------------------------------------------------ table


def short_difference(each: PairedComparison) -> str:
    """Return a paired difference in points as a cell holds it."""
    low, high = (100 * bound for bound in each.interval_95)
    few = '' if each.episodes >= MIN_EPISODES else f', n={each.episodes}: too few'
    return (f'{100 * each.difference:+.1f} ({low:+.1f} ... {high:+.1f}), '
            f'p={each.mcnemar_p:.2g}{few}')


def short_rate(cell: Cell) -> str:
    """Return a rate as a cell of a wide table holds it: `88 % (85-91), 442/500`."""
    low, high = (100 * bound for bound in cell.interval)
    return (f'{100 * cell.rate:.0f} % ({low:.0f}-{high:.0f}), '
            f'{cell.successes}/{cell.episodes}{cell.caveat}')


def _said(value: object, outdated: bool) -> str:
    return (OUTDATED if outdated else NOT_MEASURED) if value is None else str(value)


def _paper(result: RowResult) -> str:
    if result.row.paper is None:
        return '-'
    ind, ood, memory, ms = result.row.paper
    return f'{ind:.0f} / {ood:.0f} %' + (f', {memory:.1f} GB, {ms:.0f} ms' if memory else '')


def result_table(result: PipelineResult) -> Table:
    """Return the table of all rows: success beside what it costs."""
    rows = []
    for each in result.rows:
        timing = each.timing
        process = timing and timing.get('process_bytes')
        rows.append((
            each.title,
            *(_said(one and short_rate(one), each.outdated) for one in (each.ind, each.ood)),
            f'{each.file_bytes / 1e6:.2f}' if each.file_bytes else NOT_MEASURED, *(
                _said(value, each.times_outdated) for value in (
                    f'{process / 1e6:.0f}' if process else None,
                    f'{timing["p50_ms"]:.2f} / {timing["p95_ms"]:.2f}' if timing else None,
                    f'{timing["actions_per_s"]:.1f}' if timing else None)), _paper(each)))
    return Table(('', 'IND', 'OOD', 'weights, MB', 'process, MB', 'ms, p50 / p95', 'actions/s',
                  'the paper'), rows)


def difference_table(result: PipelineResult) -> Table:
    """Return the rows' paired differences to the dense policy, and success at the end."""
    dense, rows = result.row('dense'), []
    for each in result.rows:
        outdated = each.outdated or bool(dense and dense.outdated)
        rows.append((each.title, *(
            '-' if each.row.name == 'dense' else _said(one and short_difference(one), outdated)
            for one in (each.ind_against_dense, each.ood_against_dense)),
            *(_said(one and short_rate(one), each.outdated)
              for one in (each.ind_at_end, each.ood_at_end)),
            f'{each.parameters / 1e6:.2f}' if each.parameters else NOT_MEASURED))
    return Table(('', 'IND, points against dense', 'OOD, points against dense', 'IND, at the end',
                  'OOD, at the end', 'parameters, M'), rows)


def _reuse(result: PipelineResult) -> str:
    """Return how VLA-Cache was played and how it was timed, where it is in the table."""
    row = next((each for each in result.rows if each.row.runtime == 'vla-cache'), None)
    if row is None:
        return ''
    forced = row.timing and row.timing.get('forced_reuse')
    played = '' if not row.reused else (f' ({100 * row.reused["mean_share"]:.0f} % of the patches '
                                        f'over {row.reused["steps"]} steps)')
    timed = f' ({100 * forced:.0f} %)' if forced else ''
    return (f'{row.row.words} plays with its own thresholds{played}, but is timed at its '
            f'published reuse{timed}, whatever the images show. ')


def _filled(result: PipelineResult) -> str:
    """Return which zeros adapters have filled again, where such a row is in the table."""
    rows = [each.row.words for each in result.rows
            if each.row.name in ('magnitude-20-sft', 'wanda-20-sft')]
    if not rows or not SETTINGS[result.plan['preset']].recover.get('lora_rank'):
        return ''
    return (f'Adapters, once merged, fill the zeros again: {" and ".join(rows)} '
            f'{"is" if len(rows) == 1 else "are"} dense in the weights. ')


def _below_table(result: PipelineResult) -> str:
    plan, timing = result.plan, result.timing
    words = ('Success at some step of 80 (below: at the last one). IND is '
             f'{plan["ind_set"]}, OOD {plan["ood_set"]}. '
             "In brackets Wilson's 95 % interval; behind it of how many episodes, the first so "
             'many of the same held-out seeds. Paired difference, on the seeds that both played, '
             "by Newcombe's interval and McNemar's exact test. A cell with fewer than "
             f'{MIN_EPISODES} episodes says so. ')
    if timing:
        config = timing['config']
        words += (f'Times: {timing["machine"]}, {timing["dtype"]} arithmetic where not quantised, '
                  f'rows in turns, {config["blocks"]} blocks of {config["steps"]} steps, load '
                  f'{timing["busy"]} a core at the end. Weights are as stored; process is the '
                  'whole process, its libraries included. ')
        if len({each['group'] for each in timing['rows'].values()}) > 1:
            words += ('Not all rows fit into memory together, so that milliseconds of different '
                      'groups were taken at different times. As a ratio to the first row, which '
                      'is in every group: ' + ', '.join(
                          f'{name} {each["of_first"]:.2f}'
                          for name, each in timing['rows'].items()) + '. ')
    if crashed := [f'{each.row.words} {each.crashed}' for each in result.rows if each.crashed]:
        words += ('Episodes in which the simulator crashed time and again count as failed: '
                  f'{", ".join(crashed)}. ')
    words += played_elsewhere(result) + timed_apart(result) + _reuse(result)
    words += _filled(result)
    played = {each.arithmetic: each.row.words for each in result.rows if each.arithmetic}
    if len(played) > 1:
        words += ('Rows were played in different arithmetic, which pairing by seed does not undo: '
                  f'{", ".join(f"{name} (as {row})" for name, row in played.items())}. ')
    if result.ppo_kept == 0:
        words += ('PPO found nothing better, on its validation seeds, than what it began with: '
                  'the rows of RLRC are the policy before it. ')
    return words + ('The last column is arXiv 2506.17639: OpenVLA-7B, 64 episodes a figure, RTX '
                    '5880 Ada; for orientation, not to compare with.')


# ------------------------------------------------------------------------------ the page


def page(result: PipelineResult, notes: str = '') -> list[Block]:
    """Return the report's blocks."""
    done = sum(record['state'] == 'done' for record in result.records.values())
    stages = [each for each in result.plan['stages'] if each['verb'] != 'report']
    commits = ', '.join(dict.fromkeys(
        each.commit for record in result.records.values() for each in sources_of(record)))
    blocks: list[Block] = [
        Paragraph(f'Preset {result.plan["preset"]}; {done} of {len(stages)} stages done in '
                  f'{in_words(wall_clock(result.records))} of wall-clock; commit '
                  f'{commits or "none yet"}. Made by `{result.plan["command"]}`.'
                  + given_in_words(result.plan)),
        Heading('Goals'),
        Table(('goal', 'what came out', ''),
              [(each.words, each.came_out, each.verdict) for each in result.goals]),
        Paragraph(f'“open”: not measured, on fewer than {MIN_EPISODES} episodes, or times whose '
                  'ratio is on both sides of 1 from block to block.', small=True),
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
    if apart := [each for each in (shift_bars(result), axis_bars(result)) if each]:
        blocks += [Heading('Away from training, one thing at a time'), *apart]
        if result.row('rlrc') and result.row('rlrc').shifts:
            blocks += [Paragraph('The OOD cells of the table, taken apart; parts of a cell have '
                                 f'fewer than {MIN_EPISODES} episodes each.', small=True)]
    if found := strips(result):
        blocks += [Heading('The same seeds, dense above, RLRC below'), found,
                   Paragraph('The first seeds of each set, whatever became of them.', small=True)]
    if notes.strip() or result.missed:
        told = notes.strip().split('\n\n') if notes.strip() else [
            f'Missed: {"; ".join(result.missed)}; nobody has written yet what limited it.']
        blocks += [Heading('What limited success'),
                   *(Paragraph(' '.join(each.split())) for each in told)]
    return [*blocks, Heading('Wall-clock of every stage'), wall_clock_table(result),
            Heading('Commands'), commands(result),
            Paragraph('Each as it was typed, under the state of the source that it names or that '
                      'is told below; later ones may have other options.', small=True),
            Heading('Versions and machine'), machines(result),
            *((Paragraph(told, small=True),) if (told := sources_in_words(result)) else ())]


def report(config: ReportConfig) -> Path:
    """
    Write the page and its twin; return the page's path.

    :raises ValueError: no pipeline's folder, or results that do not belong together
    """
    result = read_pipeline(config.folder, config.allow_commit, config.rows_files)
    notes = config.notes or config.folder / 'notes.txt'
    if config.notes and not config.notes.is_file():
        raise ValueError(f'there is no file {config.notes}; leave --notes away, or write it')
    words = notes.read_text(encoding='utf-8') if notes.is_file() else ''
    if result.missed and not words.strip():
        log.warning('missed, and the page does not say why: %s; write that into %s and run rlrc '
                    'report again', '; '.join(result.missed), notes)
    blocks = page(result, words)
    title = config.title or f'RLRC end to end: {config.stem}'
    config.out.mkdir(parents=True, exist_ok=True)
    twin: list[str] = []

    def beside(folder: Path) -> None:
        twin.append(as_markdown(title, blocks, folder))
        write_kept(folder / config.rows_file.name, result.dense, result.to_keep)
    write_folder(config.where, beside)
    twin = [twin[0].replace(f'.{config.stem}.partial/', f'{config.stem}/')]
    for suffix, text in (('html', as_html(title, blocks)), ('md', twin[0])):
        partial = config.out / f'{config.stem}.{suffix}.partial'
        partial.write_text(text, encoding='utf-8')
        partial.replace(config.out / f'{config.stem}.{suffix}')
    for each in result.rows if config.cards else ():
        if (each.row.name in ('dense', 'rlrc', 'rlrc-4bit') and not each.outdated
                and each.checkpoint and each.checkpoint.is_dir()):
            write_card(each.checkpoint, each, result.plan)
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
                        lambda config: getattr(further, function)(config.folder, config.where),
                        words[1:], further.__doc__)
    return run_verb('report', ReportConfig, report, words, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
