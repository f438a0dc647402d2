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

"""A table in two sittings: what one run measured stands in another one's report."""

from dataclasses import replace
import json
from pathlib import Path
import re
import shutil

from pipeline_folder import altered, COMMIT, forget, make_pipeline_folder, rewrite
import pytest
from rlrc_training.content_hash import Hashes, write_json
from rlrc_training.publish import publish, PublishConfig
from rlrc_training.report import main, report
from rlrc_training.reporting.cells import OUTDATED
from rlrc_training.reporting.config import ReportConfig
from rlrc_training.reporting.figures import planes, strips
from rlrc_training.reporting.kept import KeptRow, read_kept
from rlrc_training.reporting.read import read_pipeline
from tiny_vla import make_tiny_checkpoint


@pytest.fixture(scope='module')
def dense(tmp_path_factory) -> Path:
    """Return a dense policy."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('given') / 'dense')


@pytest.fixture(scope='module')
def first(dense, tmp_path_factory) -> tuple[Path, Path]:
    """Return a finished pipeline of RLRC's own rows, and the rows.json of its report."""
    folder = make_pipeline_folder(tmp_path_factory.mktemp('first') / 'nano', dense=dense)
    report(ReportConfig(folder, folder / 'report', cards=False))
    return folder, folder / 'report' / 'nano' / 'rows.json'


def kept_in(path: Path) -> dict[str, KeptRow]:
    """Return the rows of a file."""
    return read_kept(path, json.loads(path.read_text())['dense'])


def other_code(row: dict) -> dict:
    """Return a row of a file as if it had been played by other code."""
    return {**row, 'stages': [
        {**stage, 'sources': [{'commit': 'abc', 'code': '2'}]} for stage in row['stages']]}


@pytest.fixture
def second(dense, tmp_path) -> Path:
    """Return another run: a rival, from the same dense policy, which it did not play again."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('magnitude-20',), dense=dense)
    shutil.rmtree(folder / 'evaluation' / 'dense')
    forget(folder, 'evaluate-dense')
    return folder


@pytest.fixture
def chain(first, dense, tmp_path) -> Path:
    """Return another run of the same stages, that made the same RLRC and has not played it."""
    folder = make_pipeline_folder(tmp_path / 'chain' / 'nano', dense=dense)
    forget(folder, 'evaluate-rlrc')
    rewrite(folder, 'timing', lambda each: each.update(busy=0.7))  # other turns
    return folder


def test_rows_outlive_their_checkpoints(first, second):
    """The second page has both runs' rows, cell for cell; its own pair with the kept dense."""
    whole, rows = first
    before = read_pipeline(whole)
    after = read_pipeline(second, kept_in=[rows])
    for each in before.rows:
        kept = after.row(each.row.name)
        assert (kept.ind, kept.ood, kept.ind_at_end, kept.ind_against_dense, kept.content) == (
            each.ind, each.ood, each.ind_at_end, each.ind_against_dense, each.content)
        if each.row.name != 'dense':  # which both timed, and the second run's times stand
            assert kept.file_bytes == each.file_bytes
    rival = after.row('magnitude-20')
    assert rival.ind.episodes == rival.ind_against_dense.episodes == 500
    assert [each.row.name for each in after.rows][:2] == ['dense', 'magnitude-20']
    alone = read_pipeline(second)
    assert alone.row('dense').ind is None and alone.row('magnitude-20').ind_against_dense is None


def test_the_page_tells_what_another_run_measured(first, second, tmp_path):
    """Ratios of other turns, commands and seconds of the kept rows; and it keeps all of them."""
    page = report(ReportConfig(second, tmp_path / 'out', rows=first[1], cards=False))
    twin = page.with_suffix('.md').read_text()
    assert 'Not all rows were timed in the same turns' in twin
    assert 'kept: evaluate-rlrc' in twin and 'measured in another run' in twin
    commands = twin[twin.index('rows that other runs measured'):]
    assert 'rlrc rl --init' in commands and '# this run:' in commands
    again, before = kept_in(tmp_path / 'out' / 'nano' / 'rows.json'), kept_in(first[1])
    assert set(again) == {*before, 'magnitude-20'}
    assert again['rlrc'] == before['rlrc']


def test_a_row_measured_here_goes_over_a_kept_one(first, dense, tmp_path):
    """What this run played is shown, not what the file says of the same row."""
    def fail(document):
        for episode in document['rows']['rlrc']['results']['episodes']:
            episode[2] = episode[3] = False
    rows = altered(first[1], tmp_path / 'rows.json', fail)
    assert read_pipeline(first[0], kept_in=[rows]).row('rlrc').ind.successes > 0
    other = make_pipeline_folder(tmp_path / 'nano', ('magnitude-20',), dense=dense)
    assert read_pipeline(other, kept_in=[rows]).row('rlrc').ind.successes == 0


def test_rows_of_another_policy_or_other_code_are_refused(first, second, tmp_path, capsys):
    """Named, with what to type."""
    document = json.loads(first[1].read_text())
    for change, words in (
            ({'dense': 'f' * 64}, 'come from another dense policy (ffffffff, this one is'),
            ({'format': 'rows-1'}, "format 'rows-1', wanted 'rlrc-rows-2'"),
            ({'rows': {'my-row': document['rows']['rlrc']}}, "has a row 'my-row'; there are:"),
            ({'rows': {'rlrc': other_code(document['rows']['rlrc'])}},
             'results of 2 sources make no table')):
        rows = altered(first[1], tmp_path / 'rows.json', lambda each: each.update(change))
        assert main([str(second), '--out', str(tmp_path / 'out'), '--rows', str(rows)]) == 1
        assert words in capsys.readouterr().err.replace('\n', ' '), words
    assert main([str(second), '--out', str(tmp_path / 'out'), '--allow-commit', '2',
                 '--rows', str(rows)]) == 0
    capsys.readouterr()
    assert main([str(second), '--rows', str(tmp_path / 'none.json')]) == 1
    assert 'there is no file' in capsys.readouterr().err


# ------------------------------------------------------------------- no row is lost, none is old


def test_a_report_loses_no_row_of_the_file_in_its_place(first, second, tmp_path):
    """Rows of an earlier report are shown and written again, named by --rows or not."""
    out = tmp_path / 'out'
    report(ReportConfig(first[0], out, 'nano', cards=False))
    before = kept_in(out / 'nano' / 'rows.json')
    for rows in (None, out / 'nano' / 'rows.json'):
        twin = report(ReportConfig(second, out, 'nano', rows=rows, cards=False)).with_suffix('.md')
        after = kept_in(out / 'nano' / 'rows.json')
        assert set(after) == {*before, 'magnitude-20'} and after['rlrc'] == before['rlrc']
        assert re.search(r'RLRC † \| \d+ % .{1,12}, \d+/500', twin.read_text())


def test_fewer_episodes_of_a_checkpoint_do_not_replace_more(first, dense, tmp_path):
    """A short run under the same name is shown; the file keeps what the long one played."""
    def untimed(document):
        document['rows']['rlrc'].update(timing=None, turns=None)
    rows = altered(first[1], tmp_path / 'out' / 'nano' / 'rows.json', untimed)
    before = kept_in(rows)
    short = make_pipeline_folder(tmp_path / 'nano', episodes=40, dense=dense)
    twin = report(ReportConfig(short, tmp_path / 'out', cards=False)).with_suffix('.md')
    assert re.search(r'\| RLRC \| \d+ % .{1,12}, \d+/40; ', twin.read_text())
    after = kept_in(rows)
    assert {name: row.results for name, row in after.items()} == {
        name: row.results for name, row in before.items()}
    assert after['rlrc'].timing and after['rlrc'].turns, 'which the short run alone measured'
    assert [each['name'] for each in after['rlrc'].stages if each['verb'] == 'timing'] == [
        'timing']
    assert kept_in(altered(rows, rows, lambda document: document['rows'].pop('rlrc')))
    report(ReportConfig(short, tmp_path / 'out', cards=False))
    assert len(kept_in(rows)['rlrc'].results['episodes']) == 80, 'better than none'


def test_two_files_of_rows_are_shown_as_one(first, second, tmp_path):
    """Of a row in both the more that either knows; two checkpoints are not taken for one."""
    def change(document):
        row = document['rows']['rlrc']
        row['axes'] = {**row['results'], 'episodes': [['put25_position', 0, True, True]]}
        row['stages'].append({**row['stages'][0], 'name': 'axes-rlrc', 'verb': 'evaluate'})
        row['results']['episodes'] = row['results']['episodes'][:7]
    there = altered(first[1], tmp_path / 'out' / 'nano' / 'rows.json', change)
    config = ReportConfig(second, tmp_path / 'out', 'nano', rows=first[1], cards=False)
    report(config)
    row, before = kept_in(there)['rlrc'], kept_in(first[1])['rlrc']
    assert row.results == before.results and row.timing == before.timing
    assert row.axes['episodes'] and 'axes-rlrc' in [each['name'] for each in row.stages]

    def other(document):
        document['rows']['rlrc']['content'] = 'f' * 64
    text = altered(first[1], there, other).read_bytes()
    with pytest.raises(ValueError, match='row rlrc was played on one checkpoint in .*--name'):
        report(config)
    assert there.read_bytes() == text


def test_a_report_replaces_nothing_that_no_report_wrote(first, tmp_path):
    """Neither a folder around the pipeline's own, nor another pipeline's."""
    other = make_pipeline_folder(tmp_path / 'runs' / 'other', ('pruned',), measured=False)
    inner = Path(shutil.copytree(first[0], tmp_path / 'runs' / 'nano' / 'inner'))
    for folder, name in ((inner, 'nano'), (inner, 'other'), (other, 'other')):
        with pytest.raises(ValueError, match='would be replaced by the report.*--out or --name'):
            ReportConfig(folder, tmp_path / 'runs', name)


def test_a_report_does_not_replace_rows_of_another_policy(first, tmp_path, capsys):
    """It says what to type, and what is there stays."""
    report(ReportConfig(first[0], tmp_path, 'nano', cards=False))
    before = (tmp_path / 'nano' / 'rows.json').read_bytes()
    other = make_pipeline_folder(tmp_path / 'runs' / 'nano', ('pruned',))
    assert main([str(other), '--out', str(tmp_path)]) == 1
    assert re.search('another dense policy.*another --name.*or delete', capsys.readouterr().err)
    assert (tmp_path / 'nano' / 'rows.json').read_bytes() == before
    assert main([str(other), '--out', str(tmp_path), '--name', 'other', '--no-cards']) == 0


def test_a_kept_row_of_another_checkpoint_than_lies_here_is_no_number(first, chain, tmp_path):
    """No success, no time and no card; its row stays in the file. The same weights have a card."""
    config = ReportConfig(chain, tmp_path / 'out', rows=first[1])
    report(config)
    row = read_pipeline(chain, kept_in=[first[1]]).row('rlrc')
    card = chain / 'rl' / 'checkpoint' / 'README.md'
    assert row.kept and not row.outdated and str(row.ind) in card.read_text()
    card.unlink()
    weights = make_tiny_checkpoint(chain / 'rl' / 'checkpoint', 99)
    path = chain / 'pipeline' / 'rl.json'
    write_json(path, {**json.loads(path.read_text()), 'product': Hashes().of(weights)})
    rewrite(chain, 'timing', lambda each: each['rows'].pop('rlrc'))
    row = read_pipeline(chain, kept_in=[first[1]]).row('rlrc')
    assert row.outdated and row.times_outdated and not (row.ind or row.timing or row.kept)
    assert f'| RLRC | {OUTDATED} |' in report(config).with_suffix('.md').read_text()
    assert not card.exists()
    kept = kept_in(tmp_path / 'out' / 'nano' / 'rows.json')
    assert kept['rlrc'].results == kept_in(first[1])['rlrc'].results


# ------------------------------------------------------------------------- times and axes


def test_times_of_two_runs_decide_only_on_one_machine(first, chain, tmp_path):
    """RLRC's are kept, RLRC-4bit's from here: every block against every one, or open."""
    rewrite(chain, 'timing', lambda each: each['rows'].pop('rlrc'))
    rewrite(chain, 'timing', lambda each: each['rows']['rlrc-4bit'].update(
        of_first_by_block=[0.01, 0.02, 0.03, 0.04, 0.05]))
    rlrc = read_pipeline(chain, kept_in=[first[1]]).row('rlrc')
    small = read_pipeline(chain, kept_in=[first[1]]).row('rlrc-4bit')
    assert rlrc.turns.id != small.turns.id and rlrc.turns.machine == small.turns.machine
    assert rlrc.timing['group'] == small.timing['group'] == 0
    assert read_pipeline(chain, kept_in=[first[1]]).goals[-1].verdict == 'met'
    for change, words in (({'machine': 'another'}, 'timed on two machines: another; a machine'),
                          ({'threads': 1}, 'timed with 1 and all threads'),
                          ({'dtype': 'float32'}, 'not in bf16: RLRC in float32')):
        rows = altered(first[1], tmp_path / 'rows.json',
                       lambda each: each['rows']['rlrc']['turns'].update(change))
        result = read_pipeline(chain, kept_in=[rows])
        assert result.goals[-1].verdict == 'open' and words in result.goals[-1].came_out
    charts = dict(chart for each in planes(result) for chart in each.charts)
    assert [*charts] == ['success_memory', 'success_latency', 'success_latency_2']
    assert ['>RLRC †<' in svg for svg in charts.values()] == [True, False, True]
    assert 'in float32' in ' '.join(each.caption for each in planes(result))


def test_what_was_measured_here_is_kept_beside_what_was_measured_elsewhere(first, second):
    """The dense row was played there and timed here: with both, and with both runs' stages."""
    result = read_pipeline(second, kept_in=[first[1]])
    row, before = result.to_keep['dense'], kept_in(first[1])['dense']
    assert row.results == before.results and row.turns == result.turns != before.turns
    assert row.timing == result.timing['rows']['dense']
    assert [each['name'] for each in row.stages] == ['evaluate-dense', 'timing']
    assert result.row('dense').kept and not result.row('magnitude-20').kept


def test_axes_of_a_file_are_kept_when_the_row_is_played_again(first, tmp_path):
    """The same checkpoint, on more episodes: its axes need no second time."""
    def add(document):
        row = document['rows']['dense']
        row['axes'] = {**row['results'], 'episodes': [['put25_position', 0, True, True]]}
        row['stages'].append({**row['stages'][0], 'name': 'axes-dense'})
    rows = altered(first[1], tmp_path / 'rows.json', add)
    plan = json.loads((first[0] / 'plan.json').read_text())
    shutil.copytree(first[0], tmp_path / 'nano')
    write_json(tmp_path / 'nano' / 'plan.json', {**plan, 'axes': ['put25_position']})
    result = read_pipeline(tmp_path / 'nano', kept_in=[rows])
    assert not result.row('dense').kept and result.row('dense').axes['put25_position'].episodes
    names = [each['name'] for each in result.to_keep['dense'].stages]
    assert sorted(names) == ['axes-dense', 'evaluate-dense', 'timing']
    assert result.to_keep['dense'].axes['episodes'] and not result.to_keep['rlrc'].axes


# -------------------------------------------------------------------------- what the page says


def test_own_rows_are_not_told_as_those_of_another_run(first, tmp_path):
    """Not even where the plan has another command now than the stage was run with."""
    folder = Path(shutil.copytree(first[0], tmp_path / 'nano'))
    path = folder / 'pipeline' / 'rl.json'
    write_json(path, {**json.loads(path.read_text()), 'command': 'rlrc rl --as-it-was-before'})
    twin = report(ReportConfig(folder, tmp_path / 'out', cards=False)).with_suffix('.md')
    assert 'other runs' not in twin.read_text() and '†' not in twin.read_text()
    assert not read_pipeline(folder).kept


def test_the_page_marks_kept_rows_and_says_where_each_stage_was_done(first, second, tmp_path):
    """A mark in tables and charts, a line below; each stage once, with its own commits."""
    def other_timing(document):
        for row in document['rows'].values():
            row['machine'] = 'that machine'
            row['stages'][-1]['sources'] = [{'commit': 'feedfeed', 'code': '1'}]
        document['rows']['rlrc']['ppo_kept'] = 0
    rows = altered(first[1], tmp_path / 'rows.json', other_timing)
    page = report(ReportConfig(second, tmp_path / 'out', rows=rows, cards=False))
    twin, html = page.with_suffix('.md').read_text(), page.read_text()
    assert twin.count('| RLRC-4bit † |') == 2 and '| Magnitude 20 % |' in twin
    assert '>RLRC-4bit †</text>' in html
    assert re.search(rf'† Played in another run, .*RLRC-4bit on that machine, commit {COMMIT}',
                     twin)
    assert twin.count('\n| kept: timing |') == twin.count('\n| timing |') == 1
    assert re.search(r'\| kept: timing \| .* \| feedfeed \|', twin)
    assert re.search(rf'\| kept: evaluate-rlrc \| .* \| {COMMIT} \|', twin)
    assert '| of rows † | that machine |' in twin
    assert 'the rows of RLRC are the policy before it' in twin
    again = kept_in(tmp_path / 'out' / 'nano' / 'rows.json')
    assert (again['rlrc'].ppo_kept, again['pruned'].ppo_kept) == (0, None)


def test_what_a_deleted_checkpoint_told_stays_in_the_file(first, tmp_path):
    """The next report of the folder writes its size and that PPO found nothing better again."""
    folder = Path(shutil.copytree(first[0], tmp_path / 'nano'))
    plan = (folder / 'plan.json').read_text().replace(str(first[0]), str(folder))
    (folder / 'plan.json').write_text(plan)
    write_json(folder / 'rl' / 'checkpoint' / 'provenance.json',
               {'stages': [{'name': 'rl', 'update': 0}]})
    forget(folder, 'timing')
    config = ReportConfig(folder, tmp_path / 'out', cards=False)
    report(config)
    before = kept_in(config.rows_file)['rlrc']
    shutil.rmtree(folder / 'rl' / 'checkpoint')
    twin = report(config).with_suffix('.md').read_text()
    assert 'the rows of RLRC are the policy before it' in twin and '†' not in twin
    assert kept_in(config.rows_file)['rlrc'] == before and before.file_bytes


def test_strips_of_one_row_need_none_of_the_other(first):
    """Dense was not played here: RLRC's pictures are shown all the same."""
    result = read_pipeline(first[0])
    told = strips(replace(result, strips={**result.strips, 'dense': {}})).pictures
    assert len(told) == 1 and told[0][0].startswith('RLRC')


def test_strips_outlive_the_folder_that_drew_them(first, second, tmp_path):
    """The second page shows them, and so does a third, which has the second's file alone."""
    before = strips(read_pipeline(first[0])).pictures
    rows, twins = first[1], []
    for name in ('second', 'third'):
        config = ReportConfig(second, tmp_path / name, rows=rows, cards=False)
        twins.append(report(config).with_suffix('.md').read_text())
        rows = config.rows_file
    assert len(before) == 2
    for words, path, picture in before:
        assert all(f'![{words}](nano/{picture})' in twin for twin in twins)
        assert (rows.parent / picture).read_bytes() == path.read_bytes()
    (rows.parent / before[0][2]).unlink()
    assert [each[0] for each in strips(read_pipeline(second, kept_in=[rows])).pictures] == [
        before[1][0]]


def test_the_page_says_that_code_differed(first, second, tmp_path):
    """Which rows were made by which; nothing where all was made by one."""
    said = 'The code that computes was not the same throughout'
    config = ReportConfig(second, tmp_path / 'one', rows=first[1], cards=False)
    assert said not in report(config).with_suffix('.md').read_text()
    rows = altered(first[1], tmp_path / 'rows.json', lambda each: each['rows'].update(
        rlrc=other_code(each['rows']['rlrc'])))
    config = ReportConfig(second, tmp_path / 'two', rows=rows, allow_commit=('2',), cards=False)
    twin = report(config).with_suffix('.md').read_text()
    assert f'{said}; ' in twin and 'abc (code 2): row rlrc.' in twin


def test_a_kept_row_has_a_card_on_the_hub(first, second, tmp_path):
    """Found by the files' contents; --rows alone says nothing of whose they are."""
    copy = Path(shutil.copytree(first[0] / 'quantize', tmp_path / 'mine'))
    with pytest.raises(ValueError, match='measured no files such as those'):
        publish(PublishConfig(copy, 'me/rlrc', second, dry_run=True))
    publish(PublishConfig(copy, 'me/rlrc', second, first[1], dry_run=True))
    row = read_pipeline(first[0]).row('rlrc-4bit')
    assert str(row.ind) in (copy / 'README.md').read_text()
    with pytest.raises(ValueError, match='wants --results'):
        PublishConfig(copy, 'me/rlrc', rows=first[1])


# --------------------------------------------------------------------------------- the file


@pytest.mark.parametrize('change', [
    lambda each: each.pop('dense'), lambda each: each.update(dense=3),
    lambda each: each.update(rows=[]), lambda each: each['rows'].update(rlrc=None),
    lambda each: each['rows']['rlrc'].pop('results'),
    lambda each: each['rows']['rlrc']['results'].pop('config'),
    lambda each: each['rows']['rlrc']['results'].update(episodes=[['ind', 1, True]]),
    lambda each: each['rows']['rlrc']['results'].update(episodes=[['ind', '1', True, True]]),
    lambda each: each['rows']['rlrc'].update(axes={'episodes': 3}),
    lambda each: each['rows']['rlrc']['turns'].pop('machine'),
    lambda each: each['rows']['rlrc']['turns'].update(weather='fine'),
    lambda each: each['rows']['rlrc'].update(turns=None),
    lambda each: each['rows']['rlrc']['timing'].update(p50_ms='fast'),
    lambda each: each['rows']['rlrc'].update(stages=[]),
    lambda each: each['rows']['rlrc']['stages'][0].pop('sources'),
    lambda each: each['rows']['rlrc']['stages'][0].update(sources=[{'commit': 'a', 'x': 1}]),
    lambda each: each['rows']['rlrc']['strips'].update(x={'seed': 3}),
    lambda each: each['rows']['rlrc'].update(color='red')])
def test_a_file_that_is_none_is_named(first, tmp_path, change):
    """Whatever is wrong with it: one line that names the file and what to do."""
    rows = altered(first[1], tmp_path / 'rows.json', change)
    dense = json.loads(first[1].read_text())['dense']
    with pytest.raises(ValueError, match=r'rows.json is not what .* writes \(.*or delete it'):
        read_kept(rows, dense)
    rows.write_text('{"format"')
    with pytest.raises(ValueError, match=r'rows.json is not what .* writes \(.*or delete it'):
        read_kept(rows, dense)


def test_rows_of_no_known_policy_are_refused(first, dense, tmp_path):
    """A policy that is gone is known by what its readers recorded, and else it is not known."""
    dense = Path(shutil.copytree(dense, tmp_path / 'dense'))
    folder = make_pipeline_folder(tmp_path / 'nano', ('magnitude-20',), dense=dense)
    shutil.rmtree(dense)
    assert read_pipeline(folder, kept_in=[first[1]]).row('rlrc').ind
    for each in (folder / 'pipeline').glob('*.json'):
        forget(folder, each.stem)
    with pytest.raises(ValueError, match='cannot be told.*or delete the file'):
        read_pipeline(folder, kept_in=[first[1]])
