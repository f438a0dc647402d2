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

"""A table in two sittings: what a run leaves out, what it measures again, and why."""

from dataclasses import replace
import io
import json
from pathlib import Path
import shutil

from pipeline_folder import altered, IND, make_pipeline_folder, OOD
import pytest
from rich.console import Console
from rlrc_training.content_hash import write_json
from rlrc_training.pipeline import _earlier, _shown, dry_run, pipeline
from rlrc_training.report import report
from rlrc_training.reporting.config import ReportConfig
from rlrc_training.reporting.kept import read_kept
from rlrc_training.stages.config import PipelineConfig
from rlrc_training.stages.plan import make_plan, not_kept, Stage
from rlrc_training.stages.process import run_stage
from rlrc_training.stages.record import Records
from rlrc_training.table_rows import CHAIN
from synthetic_demos import make_demonstrations
from tiny_vla import make_tiny_checkpoint


@pytest.fixture(scope='module')
def given(tmp_path_factory) -> Path:
    """Return a folder with a dense policy, and the rows.json of a run of RLRC's own rows."""
    folder = tmp_path_factory.mktemp('given')
    dense = make_tiny_checkpoint(folder / 'dense')
    make_demonstrations(folder / 'demos')
    first = make_pipeline_folder(folder / 'first' / 'nano', dense=dense)
    report(ReportConfig(first, folder, 'rows', cards=False))
    return folder


@pytest.fixture
def config(given, tmp_path) -> PipelineConfig:
    """Return a further run from that policy, which keeps those rows."""
    return PipelineConfig(
        'tiny', tmp_path / 'run', (given / 'demos',), given / 'dense', rows=('chain',),
        keep=given / 'rows' / 'rows.json', results=tmp_path / 'results')


def names(config: PipelineConfig) -> list[str]:
    """Return the stages of a plan."""
    return [stage.name for stage in make_plan(config.order)]


def with_rows(config: PipelineConfig, change, sets: tuple[str, str] = (IND, OOD)
              ) -> PipelineConfig:
    """Return the same run with another file of rows."""
    path = altered(config.keep, config.folder.parent / 'altered.json',
                   lambda document: change(document['rows']))
    for before, after in zip((IND, OOD), sets):
        path.write_text(path.read_text().replace(f'["{before}",', f'["{after}",'))
    return replace(config, keep=path)


def run_all(config: PipelineConfig) -> tuple[list[str], str]:
    """Run a pipeline with the real verbs; return the stages that were run, and what was said."""
    console, ran = Console(file=io.StringIO(), width=300), []

    def run(stage: Stage, log: Path, tell) -> int:
        ran.append(stage.name)
        return run_stage(stage.verb, stage.arguments)
    pipeline(config, run, console)
    return ran, console.file.getvalue()


# ------------------------------------------------------------------------ what is left out


def test_the_pipeline_makes_no_kept_row_again(config, tmp_path):
    """Neither made nor evaluated, dense not played again, and the report is told of the file."""
    assert names(config) == ['report'] and not not_kept(config.order)
    config = replace(config, rows=('chain', 'wanda-20-sft'))
    stages = make_plan(config.order)
    assert [each.name for each in stages] == [
        'wanda-20', 'wanda-20-sft', 'evaluate-wanda-20-sft', 'timing', 'report']
    assert stages[-1].options['rows'] == config.keep
    assert stages[-2].options['names'] == ('dense', 'wanda-20-sft')
    other = replace(config, dense=make_tiny_checkpoint(tmp_path / 'other', 5))
    with pytest.raises(ValueError, match='come from another dense policy'):
        make_plan(other.order)


def test_a_row_whose_checkpoint_is_made_again_is_played_again(config):
    """RLRC-4bit is missing: what it is made from is no longer what the file's rows were."""
    config = with_rows(config, lambda rows: rows.pop('rlrc-4bit'))
    assert names(config) == [
        'prune', 'recover', 'rl', 'quantize', 'evaluate-pruned', 'evaluate-pruned-sft',
        'evaluate-rlrc', 'evaluate-rlrc-4bit', 'timing', 'report']
    said = not_kept(config.order)
    assert len(said) == 3 and said[-1] == (
        f'row rlrc of {config.keep}: measured again (results, timing), since its checkpoint is '
        'made again (stage rl)')
    assert f'\n# {said[-1]}\n' in dry_run(config)


def test_a_row_of_too_few_episodes_is_not_kept(config):
    """On either set; as many as are wanted do."""
    assert names(replace(config, episodes=400)) == ['report']
    more = replace(config, episodes=501)
    assert {f'evaluate-{name}' for name in CHAIN} < {*names(more)}
    assert any('row dense' in each and f'it has 500 of 501 episodes on {IND} and too few on 1 more'
               in each for each in not_kept(more.order))

    def cut(rows):
        found = rows['dense']['results']['episodes']
        rows['dense']['results']['episodes'] = [each for each in found if each[0] != OOD][:500]
    few = with_rows(config, cut)
    assert names(few) == ['evaluate-dense', 'report']
    assert not_kept(few.order) == [f'row dense of {few.keep}: measured again (results), since '
                                   f'it has 0 of 500 episodes on {OOD}']


def test_other_seeds_than_the_kept_ones_are_played(config):
    """As many episodes of other seeds pair with nothing."""
    moved = replace(config, settings=('evaluate.first_seed=100',))
    assert 'evaluate-dense' in names(moved)
    assert any('it has 400 of 500 episodes' in each for each in not_kept(moved.order))
    assert names(replace(moved, episodes=400)) == ['report']


def test_axes_and_times_that_are_missing_are_measured(config):
    """Of dense they alone; a row that must be made for them is played again as well."""
    nano = replace(with_rows(config, lambda rows: None, ('put25_choice', 'put25_choice_shifted')),
                   preset='nano')
    assert names(replace(nano, axis_episodes=0)) == ['report']
    assert names(replace(nano, rows=('dense',))) == ['axes-dense', 'report']
    assert {'axes-rlrc', 'evaluate-rlrc', 'rl', 'timing'} < {*names(replace(nano, rows=('rlrc',)))}

    def untimed(name):
        return with_rows(config, lambda rows: rows[name].update(timing=None, turns=None))
    assert names(untimed('dense')) == ['timing', 'report']
    config = untimed('pruned')
    assert names(config)[-3:] == ['evaluate-pruned', 'timing', 'report']
    assert make_plan(config.order)[-2].options['names'] == ('dense', 'pruned')
    assert ['it has no times' in each for each in not_kept(config.order)] == [True]


# ------------------------------------------------------------------------------ the doors


def test_rows_of_other_code_are_refused_before_anything_runs(config, given):
    """Named as records are, from --keep and from where the report goes; allowed by name."""
    further = replace(config, rows=('wanda-20',), only='wanda-20')
    for asked in (config, further, replace(config, keep=None, results=given, rows=('pruned',),
                                           settings=('report.name=rows',))):
        with pytest.raises(ValueError, match='code 1.*kept rlrc.*--allow-commit 1$'):
            run_all(asked)
        assert not (config.folder / 'plan.json').exists()
    ran, _ = run_all(replace(config, allow_commit=('1',)))
    assert ran == ['report']
    assert 'RLRC-4bit †' in (config.results / 'run.md').read_text()


def test_rows_where_the_report_goes_are_of_this_policy(config, given):
    """Another one's are refused before anything runs."""
    path = config.results / 'run' / 'rows.json'
    altered(config.keep, path, lambda document: document.update(dense='f' * 64))
    with pytest.raises(ValueError, match='another dense policy .ffffffff.*report.name=NAME'):
        run_all(replace(config, keep=None))
    with pytest.raises(ValueError, match='whether they come from the dense policy'):
        run_all(replace(config, keep=None, dense=None))
    assert not (config.folder / 'plan.json').exists()


def test_a_run_may_keep_the_file_that_it_writes(config):
    """Its report takes over every row, so that none is lost."""
    path = altered(config.keep, config.results / 'run' / 'rows.json', lambda document: None)
    dense = json.loads(path.read_text())['dense']
    before = read_kept(path, dense)
    ran, _ = run_all(replace(config, keep=path, allow_commit=('1',)))
    assert ran == ['report'] and read_kept(path, dense) == before


def test_a_row_that_out_has_played_itself_stays_in_its_plan(config, given, tmp_path):
    """The finished command, typed again with the file that it wrote, is no other run's report."""
    shutil.copytree(given / 'first' / 'nano', tmp_path / 'run')
    for path in (tmp_path / 'run' / 'pipeline').glob('evaluate-*.json'):
        record = json.loads(path.read_text())
        checkpoint = given / 'dense' if path.stem == 'evaluate-dense' else (
            tmp_path / 'run' / 'pruned')
        write_json(path, {**record, 'folders': {'checkpoint': str(checkpoint)}})
    assert [each for each in names(config) if each.startswith('evaluate')] == ['evaluate-dense']
    (tmp_path / 'run' / 'pruned').mkdir()
    assert {f'evaluate-{name}' for name in CHAIN} < {*names(config)}
    assert not config.order.kept


def test_times_and_axes_of_other_code_are_refused_where_they_would_be_shown(config):
    """Also where the row itself is played again, and its axes are not."""
    def axes(rows):
        rows['dense']['axes'] = {**rows['dense']['results']}
        rows['dense']['stages'].append({**rows['dense']['stages'][0], 'name': 'axes-dense'})
    results = config.results / 'run' / 'rows.json'
    asked = replace(config, keep=None, rows=('dense',))
    for change in (axes, lambda rows: None):
        altered(with_rows(config, change).keep, results, lambda document: [
            document['rows'].pop(name) for name in CHAIN if name != 'dense'])
        if change is axes:
            with pytest.raises(ValueError, match='kept dense.*--allow-commit 1$'):
                run_all(asked)
        else:
            assert not _shown(asked.order, read_kept(
                results, json.loads(results.read_text())['dense']))


def test_a_dense_policy_that_will_be_another_is_refused_at_once(config, given):
    """Trained here before, but its options changed since, or it was interrupted."""
    folder = make_pipeline_folder(config.folder, ('dense',))
    records = Records(folder)
    asked = replace(config, keep=None, dense=None, rows=('dense',), data=(folder / 'demos',))
    make_demonstrations(folder / 'demos')
    stage = next(each for each in make_plan(asked.order) if each.name == 'dense')
    records.finish(stage, records.begin(stage, False))
    dense = records.read('dense')['product']
    altered(config.keep, config.results / 'run' / 'rows.json',
            lambda document: document.update(dense=dense))
    assert _earlier(asked.order, make_plan(asked.order), records)
    for change in (lambda: replace(asked, settings=('dense.steps=3',)),
                   lambda: records.begin(stage, True) and asked):
        changed = change()
        with pytest.raises(ValueError, match='cannot be told.*report.name=NAME'):
            run_all(changed)
    assert (folder / 'dense' / 'checkpoint').exists()


def test_options_of_the_report_are_taken_as_they_are_meant(config, given):
    """A name that looks like a number, and a file."""
    asked = replace(config, keep=None, settings=(
        'report.name=2', f'report.rows={given / "rows" / "rows.json"}'))
    report_stage = make_plan(asked.order)[-1].config()
    assert report_stage.name == '2' and report_stage.rows.is_file()


def test_what_is_wrong_with_keep_is_said(config, tmp_path):
    """No such file, no policy, a policy that is not there, a stage that no row needs."""
    with pytest.raises(ValueError, match='there is no file .*none.json'):
        replace(config, keep=tmp_path / 'none.json')
    with pytest.raises(ValueError, match='rows.json wants --dense FOLDER'):
        replace(config, dense=None)
    with pytest.raises(ValueError, match='whether they come from the dense policy'):
        make_plan(replace(config, dense=tmp_path / 'none').order)
    for only, rows in (('evaluate-rlrc', r'\(rlrc\)'), ('rl', 'rlrc, rlrc-4bit')):
        with pytest.raises(ValueError, match=f'only .{only}. .*rows.json keeps .*{rows}.*leave'):
            run_all(replace(config, only=only))
    with pytest.raises(ValueError, match="'weather' is no stage"):
        run_all(replace(config, only='weather'))
