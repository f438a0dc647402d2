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


"""The page says what there is, and nothing else."""

from dataclasses import replace
import json
from pathlib import Path
import re
import shutil
import xml.etree.ElementTree as ElementTree

from pipeline_folder import (
    COMMIT,
    make_pipeline_folder,
    make_plan_file,
    OOD,
    rewrite,
    write_results,
)
import pytest
from rlrc_ros.vla.inspection import inspect
from rlrc_sim.suites import placement
from rlrc_training.content_hash import write_json
from rlrc_training.intervals import compare_paired
from rlrc_training.report import _below_table, main, report
from rlrc_training.reporting.cells import Cell, OUTDATED, RowResult, Turns
from rlrc_training.reporting.charts import Bar, bars, curves, plane, Point
from rlrc_training.reporting.config import ReportConfig
from rlrc_training.reporting.goals import goals, ratios_by_block
from rlrc_training.reporting.read import read_pipeline
from rlrc_training.reporting.shifts import MIXED, SHIFTS
from rlrc_training.stages.record import Records
from rlrc_training.table_rows import ROWS
from tiny_vla import make_tiny_checkpoint

TURNS = Turns('1', 'a machine', 'bfloat16', 5, 40, COMMIT)


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """Return a pipeline's folder with 500 episodes a cell."""
    return make_pipeline_folder(tmp_path_factory.mktemp('pipeline') / 'nano')


def test_the_page_stands_alone_and_its_twin_finds_its_pictures(finished, tmp_path):
    """Table, goals, charts, strips, commands; nothing is fetched; the twin's links exist."""
    page = report(ReportConfig(finished, tmp_path, notes=None))
    html, twin = page.read_text(), page.with_suffix('.md').read_text()
    outside = re.findall(r'(?:src|href)="(?!data:)[^"]*|url\(|<script|@import', html)
    assert not outside and 'https' not in html.replace('http://www.w3.org/2000/svg', '')
    for words in ('RLRC-4bit', 'LLM-Pruner 90 % + SFT', 'within 2 points', 'McNemar p=',
                  'rlrc prune', 'put carrot on plate', 'torch', COMMIT):
        assert words in html and words in twin, words
    assert 'recover: SFT' in html and 'rl: PPO' in html
    assert html.count('data:image/jpeg') == 2
    assert html.index('dense: “put carrot') < html.index('RLRC: “put carrot')
    linked = re.findall(r'\]\(([^)]+)\)', twin)
    assert len(linked) > 8 and all((tmp_path / each).is_file() for each in linked)
    for svg in re.findall(r'<svg.*?</svg>', html, re.DOTALL):
        ElementTree.fromstring(svg)
    assert not list(tmp_path.glob('.*')) and not list(tmp_path.glob('*.partial'))


def test_the_report_writes_the_cards_of_what_it_measured(finished, tmp_path):
    """RLRC-4bit's card has its success with episodes, and the hub's front matter."""
    report(ReportConfig(finished, tmp_path))
    card = (finished / 'quantize' / 'README.md').read_text()
    assert card.startswith('---\nlicense: apache-2.0') and 'success_rate' in card
    result = read_pipeline(finished).row('rlrc-4bit')
    assert str(result.ind) in card and result.ind.enough


def test_a_ppo_that_found_nothing_better_is_told(finished, tmp_path):
    """Its rows are then the policy before it, which nobody could see from the numbers."""
    kept = finished / 'rl' / 'checkpoint' / 'provenance.json'
    before = kept.read_text()
    words = 'the rows of RLRC are the policy before it'
    try:
        for update, told in ((0, True), (20, False)):
            write_json(kept, {'stages': [{'name': 'rl', 'update': update}]})
            html = report(ReportConfig(finished, tmp_path / '2', cards=False)).read_text()
            assert (words in html) is told
    finally:
        kept.write_text(before)


def test_rows_in_different_arithmetic_and_times_in_groups_are_told(finished):
    """Neither is undone by pairing seeds or by taking turns."""
    result = read_pipeline(finished)
    plain = ' '.join(_below_table(result).split())
    assert 'different arithmetic' not in plain and 'fit into memory' not in plain
    rows = (replace(result.rows[0], arithmetic='bfloat16'), *result.rows[1:])
    timing = {**result.timing, 'rows': {
        name: {**each, 'group': number} for number, (name, each) in enumerate(
            result.timing['rows'].items())}}
    told = _below_table(replace(result, rows=rows, timing=timing))
    assert f'bfloat16 (as {rows[0].row.words})' in told
    assert 'Not all rows fit into memory together' in told


def test_nothing_measured_is_called_so(tmp_path):
    """A pipeline that has just begun: a page without a single rate."""
    folder = make_pipeline_folder(tmp_path / 'new', measured=False)
    html = report(ReportConfig(folder, tmp_path / 'out')).read_text()
    assert 'not measured' in html and not re.search(r'\d+/\d+ \(', html)
    assert all(goal.verdict == 'open' for goal in read_pipeline(folder).goals)


def test_a_cell_with_too_few_episodes_is_shown_as_such(tmp_path):
    """In the table, in the chart and in the goals; no rate stands alone."""
    folder = make_pipeline_folder(tmp_path / 'few', episodes=40)
    html = report(ReportConfig(folder, tmp_path / 'out', cards=True)).read_text()
    cells = re.findall(r'<td>(\d+(?: %|/\d+) \([^<]*)</td>', html)
    rates = [part for cell in cells for part in cell.split(' / ')]
    assert len(rates) > 10 and all('too few: 40 of 500' in each for each in rates)
    assert 'opacity="0.35"' in html and 'opacity="1.0"' not in html
    assert {goal.verdict for goal in read_pipeline(folder).goals[:4]} == {'open'}
    assert 'success_rate' not in (folder / 'quantize' / 'README.md').read_text()


def test_results_of_other_code_are_refused(finished, tmp_path, capsys):
    """Named with the stages that they belong to; --allow-commit lets them in."""
    path = finished / 'pipeline' / 'rl.json'
    before = path.read_text()
    record = json.loads(before)
    write_json(path, {**record, 'sources': [
        *record['sources'], {'commit': 'fedcba987654', 'code': 'c0de'}]})
    try:
        assert main([str(finished), '--out', str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert 'fedcba987654 (code c0de): rl' in said and '--allow-commit c0de' in said
        assert not list(tmp_path.iterdir())
        assert main([str(finished), '--out', str(tmp_path), '--no-cards', '--allow-commit',
                     'c0de']) == 0
        assert f'{COMMIT}, fedcba987654' in (tmp_path / 'nano.md').read_text()
        write_json(path, {**record, 'sources': [{'commit': 'another', 'code': '1'}]})
        read_pipeline(finished)
        old = {key: value for key, value in record.items() if key != 'sources'}
        write_json(path, {**old, 'commit': 'another'})
        with pytest.raises(ValueError, match='another: rl'):
            read_pipeline(finished)
    finally:
        path.write_text(before)


def test_results_that_their_stage_did_not_write_are_refused(finished):
    """A results.json put in by hand is not shown."""
    path = finished / 'evaluation' / 'rlrc' / 'results.json'
    before = path.read_text()
    path.write_text(before.replace('false', 'true'))
    try:
        with pytest.raises(ValueError, match='not what stage evaluate-rlrc wrote'):
            read_pipeline(finished)
    finally:
        path.write_text(before)


def test_the_caption_says_what_rows_of_different_length_played(tmp_path):
    """Dense 500, the pruned row 40: no seeds are claimed that a row did not play."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('pruned',))
    stage = next(each for each in make_plan_file(folder, ('pruned',), 500)
                 if each.name == 'evaluate-pruned')
    write_results(stage, 0.5, range(40), 3)
    path = folder / 'pipeline' / 'evaluate-pruned.json'
    write_json(path, {**json.loads(path.read_text()),
                      'product': Records(folder).hashes.of_product(stage)})
    twin = report(ReportConfig(folder, tmp_path / 'out')).with_suffix('.md').read_text()
    assert '/500 |' in twin and '/40; too few: 40 of 500' in twin and '499' not in twin
    assert 'the first so many of the same held-out seeds' in twin and 'n=40: too few' in twin


@pytest.mark.parametrize('name', SHIFTS)
def test_an_episode_says_its_kind_of_shift(name):
    """Of each set of one shift it is that one; of the set that they are away from, none."""
    assert {placement(f'put25_choice_{name}', seed).shift for seed in range(50)} == {name}
    assert {placement('put25_choice', seed).shift for seed in range(50)} == {''}


def test_a_mixed_set_is_taken_apart(tmp_path):
    """A bar for each kind of shift and row, with its own count; they add up to the OOD cell."""
    folder = make_pipeline_folder(tmp_path / 'nano', episodes=90)
    assert 'by what differs' not in report(ReportConfig(folder, tmp_path / 'none')).read_text()

    def mixed(document: dict) -> None:
        for each in document['episodes']:
            if each['episode_set'] == OOD:
                each['episode_set'] = MIXED
    for name in ('dense', 'rlrc', 'rlrc-4bit'):
        rewrite(folder, f'evaluate-{name}', mixed)
    plan = json.loads((folder / 'plan.json').read_text())
    write_json(folder / 'plan.json', {**plan, 'ood_set': MIXED})
    for row in read_pipeline(folder).rows:
        cells = row.shifts.values()
        if row.row.group in ('dense', 'rlrc'):
            assert tuple(row.shifts) == SHIFTS
            assert (sum(each.successes for each in cells), sum(each.episodes for each in cells)
                    ) == (row.ood.successes, row.ood.episodes) and row.ood.episodes == 90
        else:
            assert not row.shifts
    html = report(ReportConfig(folder, tmp_path / 'out')).read_text()
    assert 'OOD, by what differs from training' in html and 'texture strong' in html


def test_what_was_measured_on_another_checkpoint_is_no_number(tmp_path):
    """RL was done again: RLRC and what is quantised from it are told so, in every place."""
    folder = make_pipeline_folder(tmp_path / 'nano')
    before = read_pipeline(folder)
    make_tiny_checkpoint(folder / 'rl' / 'checkpoint', 99)
    path = folder / 'pipeline' / 'rl.json'
    record = json.loads(path.read_text())
    write_json(path, {**record, 'product': Records(folder).hashes.of(
        folder / 'rl' / 'checkpoint')})
    result = read_pipeline(folder)
    for name in ('rlrc', 'rlrc-4bit'):
        row = result.row(name)
        assert row.outdated and row.times_outdated and not row.timing and row.file_bytes
        assert not (row.ind or row.ood_at_end or row.ind_against_dense)
    assert result.rows[:4] == before.rows[:4] and not result.strips['rlrc']
    assert [each.came_out for each in result.goals if each.came_out == OUTDATED] == [OUTDATED] * 4
    html = report(ReportConfig(folder, tmp_path / 'out')).read_text()
    table = html[html.index('<h2>The table'):html.index('<h2>Stage by stage')]
    assert re.search(f'<td>RLRC-4bit</td><td>{OUTDATED}</td><td>{OUTDATED}</td><td>\\d', table)
    assert table.count(OUTDATED) == 2 * (5 + 4) and html.count(OUTDATED) > 18 + 4, 'charts too'
    assert (folder / 'dense' / 'checkpoint' / 'README.md').exists()
    assert not (folder / 'rl' / 'checkpoint' / 'README.md').exists()
    assert not (folder / 'quantize' / 'README.md').exists()


def test_a_checkpoint_that_is_being_made_again_has_no_number_yet(tmp_path):
    """Dense training was begun again: every row but what is new is outdated; a copy is not."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('pruned',))
    path = folder / 'pipeline' / 'dense.json'
    write_json(path, {**json.loads(path.read_text()), 'state': 'begun'})
    assert [each.outdated for each in read_pipeline(folder).rows] == [True, True]
    write_json(path, {**json.loads(path.read_text()), 'state': 'done'})
    assert [each.outdated for each in read_pipeline(folder).rows] == [False, False]
    shutil.rmtree(folder / 'dense' / 'checkpoint')
    rows = read_pipeline(folder).rows
    assert [each.outdated for each in rows] == [False, False], 'deleted to save room'
    assert rows[0].ind.enough


def test_episodes_that_crashed_are_counted_below_the_table(tmp_path):
    """Nothing where there are none; otherwise how many of which row."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('pruned',))
    words = 'the simulator crashed'
    assert words not in report(ReportConfig(folder, tmp_path / '1', cards=False)).read_text()

    def crash(document: dict) -> None:
        for episode in document['episodes'][1:3]:
            episode['crashed'] = True
    rewrite(folder, 'evaluate-pruned', crash)
    assert f'{words} time and again count as failed: LLM-Pruner 90 % 2.' in report(
        ReportConfig(folder, tmp_path / '2', cards=False)).read_text()


def test_a_dense_policy_that_was_given_is_told_of_too(tmp_path):
    """Its commands and seconds stage by stage, its size before timing, its curve and its card."""
    dense = make_tiny_checkpoint(tmp_path / 'own' / 'checkpoint')
    write_json(dense / 'provenance.json', {'stages': [
        {'name': 'sft', 'command': 'rlrc sft --data a', 'train_seconds': 1200, 'commit': 'abc'},
        {'name': 'sft', 'command': 'rlrc sft --data a b', 'train_seconds': 600},
        {'name': 'rl', 'command': 'rlrc rl --init c'}]})
    (tmp_path / 'own' / 'metrics.jsonl').write_text(''.join(
        json.dumps({'step': step, 'success_once': 0.5, 'loss': 1.0}) + '\n' for step in (1, 2)))
    folder = make_pipeline_folder(tmp_path / 'nano', ('pruned',), dense=dense)
    (folder / 'pipeline' / 'timing.json').unlink()
    page = report(ReportConfig(folder, tmp_path / 'out')).with_suffix('.md').read_text()
    row = read_pipeline(folder).row('dense')
    assert row.timing is None and row.file_bytes == inspect(dense).weight_bytes
    assert page.index('rlrc sft --data a\nrlrc sft --data a b\nrlrc rl') < page.index('rlrc prune')
    for words in ('| given 1 | sft | 20 min |  | given | abc |',
                  '| given 2 | sft | 10 min |', '| given 3 | rl | not told |',
                  'with what was given, each until', 'curve_dense.svg',
                  f'Given: the dense policy {dense}, the demonstrations'):
        assert words in page, words
    assert str(row.ind) in (dense / 'README.md').read_text()


def test_the_table_says_how_vla_cache_was_played_and_how_it_was_timed(tmp_path, finished):
    """Two different ways: both figures where they are known; nothing where it is no row."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('vla-cache',))
    words = 'VLA-Cache plays with its own thresholds, but is timed at its published reuse'
    assert words in report(ReportConfig(folder, tmp_path / 'out')).read_text()
    assert words not in report(ReportConfig(finished, tmp_path / '2', cards=False)).read_text()
    for stage, path, change in (
            ('evaluate-vla-cache', folder / 'evaluation' / 'vla-cache' / 'results.json',
             lambda each: each.update(reused={'mean_share': 0.123, 'steps': 77})),
            ('timing', folder / 'timing' / 'timing.json',
             lambda each: each['rows']['vla-cache'].update(forced_reuse=80 / 256))):
        document = json.loads(path.read_text())
        change(document)
        write_json(path, document)
        record = folder / 'pipeline' / f'{stage}.json'
        write_json(record, {**json.loads(record.read_text()),
                            'product': Records(folder).hashes.of(path.parent, path.name)})
    page = report(ReportConfig(folder, tmp_path / 'out')).read_text()
    assert '(12 % of the patches over 77 steps), but is timed' in page
    assert 'at its published reuse (31 %), whatever' in page


def test_the_first_times_stand_until_all_rows_are_timed(tmp_path):
    """RLRC's own rows are timed early; the whole table's turns replace them while they hold."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('pruned', 'int8'))
    timed = {each.row.name for each in read_pipeline(folder).rows if each.timing}
    assert timed == {'dense', 'pruned', 'int8'}
    record = folder / 'pipeline' / 'timing.json'
    whole = record.read_text()
    record.unlink()
    timed = {each.row.name for each in read_pipeline(folder).rows if each.timing}
    assert timed == {'dense', 'pruned'}
    record.write_text(whole)
    make_tiny_checkpoint(folder / 'int8', 99)
    rows = {each.row.name: each for each in read_pipeline(folder).rows}
    assert rows['pruned'].timing and not rows['int8'].timing
    make_tiny_checkpoint(folder / 'prune', 99)
    rows = {each.row.name: each for each in read_pipeline(folder).rows}
    assert rows['dense'].timing and not rows['pruned'].timing and rows['pruned'].times_outdated


@pytest.mark.parametrize('notes', [None, ' \n', 'Too few steps.\n\nTry more.'])
def test_a_goal_that_was_missed_is_never_passed_over(tmp_path, finished, caplog, notes):
    """Without a word on why, the page says that, and the command warns."""
    path = tmp_path / 'notes.txt'
    if notes is not None:
        path.write_text(notes)
    twin = report(ReportConfig(finished, tmp_path / 'out', cards=False,
                               notes=path if notes is not None else None)).with_suffix('.md')
    missed = [each.words for each in read_pipeline(finished).goals if each.verdict == 'missed']
    section = twin.read_text().partition('## What limited success')[2].partition('##')[0]
    if notes and notes.strip():
        assert 'Try more.' in section and 'nobody' not in section and not caplog.records
        return
    assert missed and f'Missed: {"; ".join(missed)}; nobody has written yet' in section
    told = [each.getMessage() for each in caplog.records if each.levelname == 'WARNING']
    assert len(told) == 1 and missed[0] in told[0] and 'notes.txt' in told[0]


@pytest.mark.parametrize(('arguments', 'words'), [
    (['nowhere'], 'no plan.json; run `rlrc pipeline'),
    (['{}', '--notes', 'no.txt'], 'there is no file no.txt')])
def test_what_is_no_pipeline_is_refused(finished, tmp_path, capsys, arguments, words):
    """In one line that says what to type."""
    assert main([each.format(finished) for each in arguments] + ['--out', str(tmp_path)]) == 1
    assert words in capsys.readouterr().err


def test_a_report_does_not_replace_the_pipeline(finished):
    """NAME is the folder's own by default, so that OUT must not be where that lies."""
    with pytest.raises(ValueError, match='would be replaced.* give another --out or --name'):
        ReportConfig(finished, finished.parent)


def _paired(only_first: int, only_second: int, both: int = 400, neither: int = 100):
    first = [True] * (only_first + both) + [False] * (only_second + neither)
    second = [False] * only_first + [True] * (both + only_second) + [False] * neither
    return compare_paired(first, second)


def test_goals_are_met_missed_or_open():
    """Two points below is still within two; OOD counts only with p below 0.05; 8x; not slower."""
    def verdicts(ind, ood, small_bytes, ratio, timing=True):
        whole, small = ({'of_first': each, 'p50_ms': each, 'n': 200, 'group': 0,
                         'of_first_by_block': [each] * 5} if timing else None
                        for each in (1.0, ratio))
        rows = (RowResult(ROWS['dense'], Cell(460, 500), Cell(300, 500), file_bytes=8_000),
                RowResult(ROWS['rlrc'], ind_against_dense=ind, ood_against_dense=ood,
                          timing=whole, turns=TURNS),
                RowResult(ROWS['rlrc-4bit'], ind_against_dense=ind, file_bytes=small_bytes,
                          timing=small, turns=TURNS))
        return [goal.verdict for goal in goals(rows)]
    met = verdicts(_paired(10, 0, 390), _paired(0, 40), 1_000, 0.9)
    assert met == ['met'] * 6
    missed = verdicts(_paired(30, 0, 400), _paired(4, 8), 1_001, 1.1)
    assert missed == ['met', 'missed', 'missed', 'missed', 'missed', 'missed']
    assert verdicts(None, None, None, 1.0, False)[1:] == ['open'] * 5


@pytest.mark.parametrize(('blocks', 'change', 'verdict', 'words'), [
    ([0.8, 0.9, 0.85, 0.8, 0.9], {}, 'met', '0.85 of it (80 % of 5 blocks: 0.80 ... 0.90), n=200'),
    ([1.1] * 5, {}, 'missed', '1.10 ... 1.10'), ([0.8, 0.9, 1.2, 0.9, 1.3], {}, 'open', '0.90 of'),
    ([0.8] * 5, {'dtype': 'float32'}, 'open', 'not in bf16: RLRC-4bit in float32'),
    ([0.8] * 5, {'machine': 'another'}, 'open', 'timed on two machines: a machine; another'),
    ([0.8] * 2, {}, 'open', 'too few blocks: 2 of 5')])
def test_not_slower_is_told_by_its_range_over_blocks(blocks, change, verdict, words):
    """In bf16, on one machine; a ratio above 1 in some blocks and below in others decides none."""
    whole, small = ({'p50_ms': 10.0, 'n': 200, 'group': 0, 'of_first': each[0],
                     'of_first_by_block': each} for each in ([1.0] * 5, blocks))
    rows = (RowResult(ROWS['rlrc'], timing=whole, turns=TURNS),
            RowResult(ROWS['rlrc-4bit'], timing=small, turns=replace(TURNS, **change)))
    goal = goals(rows)[-1]
    assert goal.verdict == verdict and words in goal.came_out and 'in bf16' in goal.words


@pytest.mark.parametrize(('group', 'turns'), [(1, '1'), (0, '2'), (1, '2')])
def test_rows_of_other_turns_are_compared_through_the_first_of_both(group, turns):
    """Blocks of two groups, or of two runs, are no pairs: every one is set against every one."""
    one, same, other = (
        RowResult(ROWS['rlrc'], timing={'group': each, 'of_first_by_block': blocks},
                  turns=replace(TURNS, id=name))
        for each, name, blocks in ((0, '1', [2.0, 4.0]), (0, '1', [1.0, 4.0]),
                                   (group, turns, [1.0, 4.0])))
    assert ratios_by_block(one, same) == [2.0, 1.0]
    assert ratios_by_block(one, other) == [2.0, 0.5, 4.0, 1.0]


def test_charts_place_what_they_are_given():
    """A bar as long as its rate, a missing one in words, labels that do not lie on each other."""
    svg = bars([('a & b', [Bar(0.5, 0.4, 0.6, '50/100'), 'not measured'])],
               [('IND', '#111'), ('OOD', '#222')], 'bars')
    assert 'not measured' in svg and 'a &amp; b' in svg
    widths = [float(each) for each in re.findall(r'width="([\d.]+)" height="15"', svg)]
    assert widths == [pytest.approx(0.5 * (860 - 190 - 250))]
    points = [Point(10.0, 0.5, 0.4, 0.6, f'label {index}', '#111') for index in range(4)]
    root = ElementTree.fromstring(plane(points, 'MB', 'plane'))
    places = [(float(each.get('x')), float(each.get('y'))) for each in root
              if (each.text or '').startswith('label')]
    assert len(places) == 4
    assert all(a[0] != b[0] or abs(a[1] - b[1]) >= 11
               for index, a in enumerate(places) for b in places[index + 1:])
    assert curves([('loss', '#111', [(0, 3.0), (100, 1.0)])], 'steps', 'loss', rate=False)


@pytest.mark.parametrize(('low', 'high', 'ticks'), [
    (23.2, 96.4, ['30', '40', '50', '70', '100']), (1.85, 14.8, ['2', '5', '10']),
    (28.0, 31.0, None)])
def test_a_log_axis_has_ticks_wherever_its_points_lie(low, high, ticks):
    """Round ones, on both sides of the middle."""
    root = ElementTree.fromstring(plane(
        [Point(each, 0.5, 0.4, 0.6, 'label', '#111') for each in (low, high)], 'ms', 'plane'))
    found = [each.text for each in root if re.fullmatch(r'[\d.]+', each.text or '')]
    assert found == ticks if ticks else len(found) > 2


def test_a_further_page_is_named_or_called_missing(tmp_path, capsys, monkeypatch):
    """`rlrc report NAME` leads to another module; one that is not there is said."""
    assert main(['ablations', str(tmp_path)]) == 1
    assert 'rlrc report ablations: no run named' in capsys.readouterr().err
    monkeypatch.setitem(__import__('rlrc_training.report', fromlist=['FURTHER']).FURTHER,
                        'weather', ('rlrc_training.no_such_page', 'weather'))
    assert main(['weather', 'folder']) == 1
    assert "'weather' is not part of this installation" in capsys.readouterr().err
