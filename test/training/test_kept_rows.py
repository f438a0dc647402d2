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

"""A table in two sittings: what one run measured, another one shows and leaves out."""

import json
from pathlib import Path
import shutil

from pipeline_folder import make_pipeline_folder
import pytest
from rlrc_training.report import main, report
from rlrc_training.reporting.config import ReportConfig
from rlrc_training.reporting.kept import read_kept
from rlrc_training.reporting.read import read_pipeline
from rlrc_training.stages.config import PipelineConfig
from rlrc_training.stages.plan import make_plan
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


@pytest.fixture
def second(dense, tmp_path) -> Path:
    """Return another run: a rival, from the same dense policy, which it did not play again."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('magnitude-20',), dense=dense)
    shutil.rmtree(folder / 'evaluation' / 'dense')
    (folder / 'pipeline' / 'evaluate-dense.json').unlink()
    return folder


def test_rows_outlive_their_checkpoints(first, second):
    """The second page has both runs' rows, cell for cell; its own pair with the kept dense."""
    whole, rows = first
    before = read_pipeline(whole)
    after = read_pipeline(second, kept_in=rows)
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
    again = read_kept(tmp_path / 'out' / 'nano' / 'rows.json')
    assert set(again) == {*read_kept(first[1]), 'magnitude-20'}
    assert again['rlrc'].results['episodes'] == read_kept(first[1])['rlrc'].results['episodes']


def test_a_row_measured_here_goes_over_a_kept_one(first, dense, tmp_path):
    """What this run played is shown, not what the file says of the same row."""
    document = json.loads(first[1].read_text())
    for episode in document['rows']['rlrc']['results']['episodes']:
        episode[2] = episode[3] = False
    altered = tmp_path / 'rows.json'
    altered.write_text(json.dumps(document))
    assert read_pipeline(first[0], kept_in=altered).row('rlrc').ind.successes > 0
    other = make_pipeline_folder(tmp_path / 'nano', ('magnitude-20',), dense=dense)
    assert read_pipeline(other, kept_in=altered).row('rlrc').ind.successes == 0


def test_rows_of_another_policy_or_other_code_are_refused(first, second, tmp_path, capsys):
    """Named, with what to type."""
    document = json.loads(first[1].read_text())
    for change, words in (
            ({'dense': 'f' * 64}, 'come from another dense policy (ffffffff, this one is'),
            ({'format': 'rows-2'}, "format 'rows-2', wanted 'rlrc-rows-1'"),
            ({'rows': {'my-row': document['rows']['rlrc']}}, "has a row 'my-row'; there are:"),
            ({'rows': {'rlrc': {**document['rows']['rlrc'], 'sources': [
                {'commit': 'abc', 'code': '2'}]}}}, 'results of 2 sources make no table')):
        altered = tmp_path / 'rows.json'
        altered.write_text(json.dumps({**document, **change}))
        assert main([str(second), '--out', str(tmp_path / 'out'), '--rows', str(altered)]) == 1
        assert words in capsys.readouterr().err.replace('\n', ' '), words
    assert main([str(second), '--out', str(tmp_path / 'out'), '--allow-commit', '2',
                 '--rows', str(altered)]) == 0
    capsys.readouterr()
    assert main([str(second), '--rows', str(tmp_path / 'none.json')]) == 1
    assert 'there is no file' in capsys.readouterr().err


def test_the_pipeline_makes_no_kept_row_again(first, dense, tmp_path):
    """Neither made nor evaluated, dense not played again, and the report is told of the file."""
    plain = {'preset': 'tiny', 'out': tmp_path / 'run', 'dense': dense,
             'data': (first[0] / 'demos',), 'rows': ('chain', 'wanda-20-sft')}
    config = PipelineConfig(**plain, keep=first[1])
    stages = make_plan(config.order)
    assert [each.name for each in stages] == [
        'wanda-20', 'wanda-20-sft', 'evaluate-wanda-20-sft', 'timing', 'report']
    assert stages[-1].options['rows'] == config.keep
    assert stages[-2].options['names'] == ('dense', 'wanda-20-sft')
    with pytest.raises(ValueError, match='keep .* wants --dense'):
        PipelineConfig(**{**plain, 'dense': None}, keep=first[1])
    other = PipelineConfig(**{**plain, 'dense': make_tiny_checkpoint(tmp_path / 'other', 5)},
                           keep=first[1])
    with pytest.raises(ValueError, match='come from another dense policy'):
        make_plan(other.order)
