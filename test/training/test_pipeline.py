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


"""A pipeline skips what is done, goes on with what was interrupted, redoes what changed."""

from dataclasses import replace
import io
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import time

from pipeline_folder import write_results
import pytest
from rich.console import Console
from rlrc_ros.vla.checkpoint import inspect
from rlrc_ros.vla.config import QuantizationConfig
from rlrc_training import rl, sft
from rlrc_training.content_hash import write_json
from rlrc_training.pipeline import check_given, dry_run, main, pipeline, StageFailed
from rlrc_training.stages.config import PipelineConfig
from rlrc_training.stages.plan import HOW_FAST, make_plan, Stage
from rlrc_training.stages.presets import SETTINGS
from rlrc_training.stages.process import run_stage
from rlrc_training.stages.progress import in_words, left_in_words, Outlook, share_done
from rlrc_training.stages.record import Records, Stopwatch
from rlrc_training.stages.run import in_child
from rlrc_training.stages.sources import Source
from rlrc_training.table_rows import CHAIN, choose_rows, ROWS
from synthetic_demos import make_demonstrations
from tiny_vla import make_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path) -> PipelineConfig:
    """Return a tiny pipeline with a dense policy and demonstrations given."""
    return PipelineConfig(
        'tiny', tmp_path / 'out', (make_demonstrations(tmp_path / 'demos'),),
        make_tiny_checkpoint(tmp_path / 'dense'), rows=('pruned',), only='prune',
        results=tmp_path / 'results')


def here(stage, log, tell) -> int:
    """Run a stage's real verb in this process, which has imported everything already."""
    tell()
    return run_stage(stage.verb, stage.arguments)


def said(config: PipelineConfig, run=here) -> str:
    """Run a pipeline; return what it printed."""
    console = Console(file=io.StringIO(), width=200)
    pipeline(config, run, console)
    return console.file.getvalue()


# ---------------------------------------------------------------------------- the plan


@pytest.mark.parametrize('preset', SETTINGS)
def test_every_stage_finds_its_inputs_before_it(preset, tmp_path):
    """All rows of every size: each input is given or was made by an earlier stage."""
    config = PipelineConfig(preset, tmp_path, init=Path('official') if '7b' in preset else None)
    made = {Path('official')}
    stages = make_plan(config.order)
    for stage in stages:
        assert {*stage.inputs.values()} <= made, stage.name
        made.add(stage.product)
    assert [each.verb for each in stages[-2:]] == ['timing', 'report']
    assert {f'evaluate-{name}' for name in ROWS} <= {each.name for each in stages}
    if preset == 'nano':
        timing = stages[-2].config()
        assert (timing.bench().arithmetic, timing.blocks) == ('bfloat16', 12)
    assert len({each.out for each in stages}) == len(stages)


def test_the_chain_is_the_papers_order(tmp_path):
    """Collect, dense SFT, prune, SFT, RL, quantise: each reads what the one before wrote."""
    stages = {each.name: each for each in make_plan(
        PipelineConfig('nano', tmp_path, rows=('rlrc-4bit',)).order)}
    order = ['collect', 'dense', 'prune', 'recover', 'rl', 'quantize', 'evaluate-rlrc-4bit']
    assert [name for name in stages if name in order] == order
    for before, after in zip(order, order[1:]):
        assert stages[before].product in stages[after].inputs.values()


def test_the_dense_policy_learns_from_where_it_got_to(tmp_path):
    """Expert data → first training → DAgger → second, which goes on; later stages read it all."""
    stages = {each.name: each for each in make_plan(
        PipelineConfig('nano', tmp_path, rows=('rlrc-4bit',)).order)}
    expert = (stages['collect'].product, stages['scatter'].product)
    assert stages['dense-first'].config().data == expert
    assert stages['dagger'].config().policy == stages['dense-first'].product
    again = stages['dense'].config()
    assert again.init == stages['dense-first'].product
    assert again.data == (*expert, stages['dagger'].product) == stages['rl'].config().data
    assert stages['dense-first'].config().steps > again.steps
    given = [each.name for each in make_plan(
        PipelineConfig('nano', tmp_path, rows=('rlrc-4bit',), data=(tmp_path,)).order)]
    assert 'dense' in given and not {'dagger', 'dense-first', 'scatter'} & {*given}


def test_the_rows_that_matter_most_come_first(tmp_path):
    """RLRC's own rows are made, played and timed before the first rival; axes come last."""
    stages = [each.name for each in make_plan(PipelineConfig('nano', tmp_path).order)]
    first_rival = stages.index('int8')
    assert {f'evaluate-{name}' for name in CHAIN} | {'quantize', 'timing-chain'} <= {
        *stages[:first_rival]}
    assert not {f'evaluate-{name}' for name in ROWS if name not in CHAIN} & {*stages[:first_rival]}
    assert stages[-5:] == ['axes-dense', 'axes-rlrc', 'axes-rlrc-4bit', 'timing', 'report']
    chain = [each.name for each in make_plan(PipelineConfig('nano', tmp_path,
                                                            rows=('chain',)).order)]
    assert 'timing-chain' not in chain and 'timing' in chain, 'once is enough'


def test_nano_keeps_what_the_table_counts_and_trains_in_bf16(tmp_path):
    """PPO is rewarded for, kept by and judged by success at some step."""
    stages = {each.name: each.config() for each in make_plan(
        PipelineConfig('nano', tmp_path).order)}
    assert stages['rl'].best_by == 'success_once' and stages['rl'].end_on_success
    assert {stages[name].precision for name in ('dense', 'recover', 'wanda-20-sft')} == {'bf16'}


@pytest.mark.parametrize('name', ['nano', 'small', 'openvla-7b'])
def test_recipes_are_what_the_pipeline_would_run(name, monkeypatch):
    """recipes/NAME.sh is the dry run, letter for letter, and a shell reads it."""
    if not (ROOT / 'recipes').is_dir():
        pytest.skip('needs the source tree, not an installation')
    init = Path('openvla-7b') if name == 'openvla-7b' else None
    recipe = ROOT / 'recipes' / f'{name}.sh'
    assert recipe.read_text() == dry_run(PipelineConfig(name, init=init)), (
        f'type: rlrc pipeline {name} {"--init openvla-7b " if init else ""}--dry-run > {recipe}')
    subprocess.run(['sh', '-n', recipe], check=True)


def test_a_dry_run_prints_commands_and_does_nothing(tmp_path, capsys):
    """Folders that are not there do not matter; options of --set are in their stage's command."""
    assert main(['tiny', '--out', str(tmp_path / 'out'), '--dense', 'no/dense', '--data', 'a', 'b',
                 '--rows', 'chain', '--set', 'rl.gamma=0.9', 'prune.ratio=0.4', '--dry-run']) == 0
    printed = capsys.readouterr().out
    assert 'rlrc prune no/dense --data a b' in printed and '--ratio 0.4' in printed
    assert re.search(r'rlrc rl .*--gamma 0.9', printed) and 'rlrc collect' not in printed
    assert not (tmp_path / 'out').exists()


def test_rows_are_chosen_by_name_or_group():
    """The dense row is always there; the table's order stays."""
    assert [row.name for row in choose_rows(('chain',))] == list(CHAIN)
    assert [row.name for row in choose_rows(('rlrc', 'int4'))] == ['dense', 'int4', 'rlrc']
    assert len(choose_rows(('all',))) == len(ROWS) >= 20


# ---------------------------------------------------------------------- skip, go on, redo


@pytest.mark.parametrize('verb', [sft, rl])
def test_what_a_verb_lets_change_redoes_no_stage(verb):
    """It goes on with a folder under other values of these, so they are no part of the result."""
    assert set(verb.MAY_CHANGE) <= set(HOW_FAST)


def test_demonstrations_that_are_there_in_greater_number_are_collected_anew(config):
    """A folder does not shrink: what is trained on would not be what the record says."""
    def asked(count: int) -> Stage:
        return next(each for each in make_plan(replace(
            config, data=(), settings=(f'collect.episodes={count}',)).order)
            if each.name == 'collect')

    stage, records = asked(2), Records(config.out)
    stage.out.mkdir(parents=True)
    (stage.out / 'episode_1.safetensors').write_bytes(b'1')
    records.finish(stage, records.begin(stage, goes_on=False))
    assert records.decide(stage).act == 'skip'
    assert records.decide(asked(3)).act == 'go on'
    assert records.decide(asked(1)).act == 'redo'


def test_what_is_done_is_skipped_and_what_changed_is_redone_with_its_reason(config):
    """The same again: skipped. Options, inputs or the product changed: done again, and why."""
    assert 'prune                  begins' in said(config)
    assert 'there already' in said(config)
    plan = json.loads((config.folder / 'plan.json').read_text())
    assert (plan['dense'], plan['data']) == (str(config.dense), [str(config.data[0])])
    assert plan['stages'][0]['inputs'] == {'data': plan['data'][0], 'checkpoint': plan['dense']}
    folder = config.folder / 'prune'
    assert inspect(folder).provenance['stages'][-1]['command'].startswith('rlrc prune ')

    text = said(replace(config, settings=('prune.ratio=0.25',)))
    assert 'done again: its options changed: ratio 0.5 → 0.25' in text
    assert (config.folder / 'outdated' / 'prune' / 'config.json').is_file()
    assert 'options changed: ratio 0.25 → 0.5' in said(config)

    make_tiny_checkpoint(config.dense, seed=1)
    assert re.search(rf'done again: its input checkpoint {config.dense} changed: \w+ → \w+',
                     said(config))
    (folder / 'config.json').write_text('{}')
    assert 'prune is not what the stage wrote' in said(config)
    (folder / 'provenance.json').write_text('{}')
    (folder / 'README.md').write_text('a card')
    assert 'there already' in said(config), 'what only tells of a checkpoint does not count'


def test_what_decides_how_fast_is_no_change_but_to_what_measures_time(config):
    """Another device or number of threads: prune stays done, times are taken again."""
    said(config)
    assert 'there already' in said(replace(config, device='cpu'))
    records = Records(config.folder)
    timings = [make_plan(replace(config, threads=threads).order)[-2] for threads in (1, 2)]
    for timing in timings:
        write_json(timing.out / 'timing.json', {})
        if timing is timings[0]:
            records.finish(timing, records.begin(timing, goes_on=False))
    assert [records.decide(each).act for each in timings] == ['skip', 'redo']


def test_an_option_that_came_later_had_its_default(config):
    """A record of an earlier version is no reason to begin again."""
    said(config)
    path = config.folder / 'pipeline' / 'prune.json'
    record = json.loads(path.read_text())
    del record['options']['keep_layers']
    write_json(path, record)
    assert 'there already' in said(config)
    write_json(path, {**record, 'options': {**record['options'], 'keep_layers': 1}})
    assert 'options changed: keep_layers 1 → 0' in said(config)


def test_a_whole_folder_without_a_record_is_not_trusted(config):
    """Somebody's folder in the place of a stage's is set aside, not used and not deleted."""
    make_tiny_checkpoint(config.folder / 'prune')
    assert 'no record says how it was made' in said(config)
    assert (config.folder / 'outdated' / 'prune').is_dir()


def test_another_spelling_of_a_folder_is_the_same_run(config, tmp_path, monkeypatch):
    """What goes on is the verb's own run: it compares its options letter by letter."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'link').symlink_to(tmp_path)
    commands = set()
    for start in (Path(), Path('.', 'demos', '..'), tmp_path, tmp_path / 'link',
                  tmp_path / 'out' / '..', Path('..', tmp_path.name)):
        asked = PipelineConfig(
            'tiny', start / 'out', (start / 'demos',), start / 'dense', rows=('rlrc',),
            settings=(f'rl.init={start / "dense"}', f'recover.data=["{start / "demos"}"]'),
            results=start / 'results')
        commands.add('\n'.join(each.command for each in make_plan(asked.order)))
    assert len(commands) == 1, 'one spelling'
    assert str(tmp_path) not in commands.pop(), 'relative where it can be'
    (tmp_path / 'big').symlink_to('/elsewhere')
    assert PipelineConfig('tiny', tmp_path / 'big').out == Path('big')
    away = PipelineConfig('tiny', Path('/elsewhere/x/../out'), init=Path('/elsewhere/official'))
    assert (away.out, away.init) == (Path('/elsewhere/out'), Path('/elsewhere/official'))


@pytest.mark.slow
def test_an_interrupted_training_goes_on(config, tmp_path):
    """Ctrl-C in the middle of sft: its process ends, and the same command ends the training."""
    settings = ('dense.steps=200', 'dense.save_every=50', 'dense.batch_size=2')
    config = replace(config, dense=None, only='dense', rows=('dense',), settings=settings)
    state = config.folder / 'dense' / 'state' / 'progress.json'
    shares = []

    def interrupt() -> None:
        stage = make_plan(config.order)[0]
        if state.exists():
            shares.append(share_done(stage))
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        said(config, lambda stage, log, tell: in_child(stage, log, interrupt))
    assert 0 < shares[0] < 1
    record = json.loads((config.folder / 'pipeline' / 'dense.json').read_text())
    assert record['state'] == 'begun' and record['seconds'] > 0
    log = (config.folder / 'pipeline' / 'dense.log').read_text()
    step = json.loads(state.read_text())['step']
    assert 'Traceback' not in log, log
    text = said(config)
    assert 'goes on: it was interrupted' in text
    record = json.loads((config.folder / 'pipeline' / 'dense.json').read_text())
    assert (record['state'], record['starts']) == ('done', 2)
    assert json.loads(state.read_text())['step'] == 200 > step
    assert 'there already' in said(config)


def test_an_interrupted_prune_begins_anew(config):
    """It writes its folder whole or not at all, so there is nothing to go on with."""
    def killed(stage, log, tell) -> int:
        here(stage, log, tell)
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        said(config, killed)
    assert 'done again: it was interrupted' in said(config)


def test_a_kill_loses_a_minute_of_seconds_at_most(config, monkeypatch):
    """They are noted while the stage runs; what goes on adds to them."""
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr('rlrc_training.stages.record.time.monotonic', lambda: next(clock))
    path = config.folder / 'pipeline' / 'evaluate-pruned.json'
    records = Records(config.folder)
    stage = next(each for each in make_plan(config.order) if each.name == 'evaluate-pruned')
    seen = []
    stopwatch = Stopwatch(records, records.begin(stage, goes_on=False))
    for _ in range(8):
        stopwatch.tick()
        seen.append(json.loads(path.read_text())['seconds'])
    assert seen[1] == 0.0 and seen[2] > 0.0 and seen[-1] >= 150.0
    assert json.loads(path.read_text())['state'] == 'begun'
    stopwatch = Stopwatch(records, records.begin(stage, goes_on=True))
    stopwatch.note()
    assert json.loads(path.read_text())['seconds'] == seen[-1] + 25.0


def test_seconds_are_noted_from_where_progress_is_told(config, monkeypatch):
    """A stage that is at work has some in its record, so wall-clock survives kill -9."""
    monkeypatch.setattr('rlrc_training.stages.record.NOTE_EVERY_S', 0.0)
    path = config.folder / 'pipeline' / 'prune.json'

    def killed(stage, log, tell) -> int:
        time.sleep(0.11)
        tell()
        assert json.loads(path.read_text())['seconds'] >= 0.1
        return here(stage, log, tell)
    said(config, killed)


def test_results_of_other_code_are_refused(config):
    """Named with their stages; --allow-commit takes them; a commit of documents is no other."""
    said(config)
    path = config.folder / 'pipeline' / 'prune.json'
    record = json.loads(path.read_text())
    source = record['sources'][0]
    write_json(path, {**record, 'sources': [{**source, 'commit': 'fedcba987654'}]})
    assert 'there already' in said(config), 'documents were committed, the code is the same'
    write_json(path, {**record, 'sources': [source, {'commit': 'fedcba987654+', 'code': '77'}]})
    with pytest.raises(ValueError, match=r'fedcba987654\+ .code 77.: prune.*--allow-commit 77'):
        said(config)
    allowed = replace(config, allow_commit=('77',))
    assert 'there already' in said(allowed)
    assert make_plan(allowed.order)[-1].command.endswith(
        f'--allow-commit 77 --out {config.results}'), 'the report takes them too'
    del record['sources']
    write_json(path, {**record, 'commit': 'fedcba987654'})
    with pytest.raises(ValueError, match='other code .fedcba987654: prune'):
        said(config)
    assert 'there already' in said(replace(config, allow_commit=('fedcba987654',)))


def test_a_stage_that_goes_on_remembers_all_code_that_it_worked_under(config):
    """Half an evaluation by one, half by another is told as both, and needs both allowed."""
    records = Records(config.folder)
    stage = make_plan(config.order)[1]
    records.begin(stage, goes_on=False)
    first = records.source
    records.source = replace(first, commit='b', code='2')
    record = records.begin(stage, goes_on=True)
    assert [each['code'] for each in record['sources']] == [first.code, '2']
    assert records.begin(stage, goes_on=True)['sources'] == record['sources']
    with pytest.raises(ValueError, match=f'code {first.code}.: {stage.name}'):
        records.check_commits([stage])
    records.check_commits([stage], (first.code,))
    assert len(records.begin(stage, goes_on=False)['sources']) == 1, 'done again is done anew'


def test_code_that_changes_while_the_pipeline_runs_ends_it(config, monkeypatch):
    """The next stage would be made by other code; what to type is said, nothing is begun."""
    monkeypatch.setattr('rlrc_training.stages.record.source_now', iter(
        (Source('a', '1'), Source('a+', '2'))).__next__)
    with pytest.raises(ValueError, match=r'a .code 1. → a\+ .code 2.*--allow-commit 1'):
        said(config)
    assert not (config.folder / 'pipeline' / 'prune.json').exists()


def test_a_stage_that_fails_ends_the_pipeline_with_its_last_words(config):
    """The verb's own line is in the error; what it needs is done, so the same command goes on."""
    long = replace(config, settings=('prune.samples=100000',), dense=config.dense)
    for path in config.data[0].glob('episode_*'):
        path.write_bytes(b'broken')
    with pytest.raises(StageFailed, match='prune ended with status 1') as error:
        pipeline(long, lambda stage, log, tell: (log.write_text('rlrc prune: told\n'),
                                                 here(stage, log, tell))[1], Console(quiet=True))
    assert 'rlrc prune: told' in str(error.value) and 'same command again' in str(error.value)
    assert not (config.folder / 'prune').exists()


def test_only_one_stage_wants_what_it_reads(config):
    """--only names the stage that is missing."""
    with pytest.raises(ValueError, match='needs stage prune, which is not done'):
        said(replace(config, only='evaluate-pruned'))
    with pytest.raises(ValueError, match="'polish' is no stage; there are: prune"):
        said(replace(config, only='polish'))


def test_two_pipelines_in_one_folder_are_refused(config):
    """The second names the first's process."""
    def second(stage, log, tell) -> int:
        with pytest.raises(ValueError, match=f'at work in .* .process {os.getpid()}'):
            said(config)
        return here(stage, log, tell)
    said(config, second)


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(('change', 'words'), [
    ({'preset': 'giant'}, "'giant' is not known; there are: nano"),
    ({'rows': ('best',)}, "row 'best' is not known; there are: all, chain, dense"),
    ({'episodes': 0}, 'at least 1'), ({'axis_episodes': -1}, 'at least'),
    ({'preset': 'openvla-7b', 'dense': None}, 'give --init FOLDER'),
    ({'given': ('polish=x',)}, "'polish=x' is not STAGE=DIR; the stages are: int8, nf4"),
    ({'given': ('rl',)}, "'rl' is not STAGE"), ({'given': ('dense=x',)}, 'is --dense x'),
    ({'given': ('rl=x',), 'dense': None}, 'given rl=x wants --dense FOLDER'),
    ({'settings': ('ratio=3',)}, 'not STAGE.OPTION=VALUE, for example')])
def test_a_wrong_option_is_refused(config, change, words):
    """By its name, with what is valid."""
    with pytest.raises(ValueError, match=re.escape(words)):
        replace(config, **change)


@pytest.mark.parametrize(('setting', 'words'), [
    ('prune.taste=1', "stage prune: prune has no option 'taste'; it has: checkpoint"),
    ('prune.ratio=1.5', 'stage prune: ratio 1.5 would leave'),
    ('polish.ratio=0.5', "'polish', which is no stage; there are: "),
    ('prune.ratio_of=decoder', None), ('prune.layers=[1,9]', 'not a range of a decoder with 2')])
def test_what_a_verb_would_refuse_hours_later_is_refused_at_once(config, setting, words):
    """Options, and ratios that the decoder does not have, before the first stage."""
    config = replace(config, settings=(setting, *(
        ('prune.layers=[1,2]', 'prune.ratio=0.9') if words is None else ())))
    with pytest.raises(ValueError, match=re.escape(words or 'is not in layers')):
        said(config)
    assert not (config.folder / 'prune').exists()


def test_several_sentences_and_chunks_of_actions_are_refused_at_once(config):
    """What the presets ask by default a chunked policy cannot answer; what to type is said."""
    config = replace(config, rows=('rlrc',), only='')
    for settings, words in ((('recover.action_horizon=4',), '4 actions at once'),
                            ((), 'demos hold none')):
        with pytest.raises(ValueError, match=f'stage recover: sentences 2 .*{words}.*'
                                             '--set recover.sentences=1'):
            said(replace(config, settings=('recover.sentences=2', *settings)))
    chunks = replace(config, dense=None, settings=(
        'recover.sentences=2', 'dense.decoding=parallel', 'dense.action_horizon=8'))
    with pytest.raises(ValueError, match='stage recover: .*8 actions at once'):
        said(chunks)
    assert not (config.folder / 'prune').exists()


def test_groups_that_do_not_fit_are_refused_before_the_training(config):
    """In the dense policy's shape before the first stage; in the pruned one's once it is there."""
    wide = ('int4.group_size=256',)
    with pytest.raises(ValueError, match='stage int4 would fail: group_size 256 does not divide'):
        said(replace(config, rows=('int4',), settings=wide, only='int4'))
    assert not (config.folder / 'int4').exists()
    with pytest.raises(ValueError, match='stage quantize would fail: group_size 256 does not'):
        said(replace(config, rows=('rlrc-4bit',), settings=wide, only=''))
    assert (config.folder / 'prune').exists() and not (config.folder / 'recover').exists()


def test_a_dense_policy_that_is_none_is_refused(config, tmp_path):
    """Pruned or quantised folders and empty demonstrations, before anything runs."""
    said(config)
    for folder, words in ((config.folder / 'prune', 'pruned already'),
                          (make_tiny_checkpoint(tmp_path / 'int4', quantization=QuantizationConfig(
                              group_size=32)), 'quantised already')):
        asked = replace(config, dense=folder)
        with pytest.raises(ValueError, match=words):
            check_given(asked, make_plan(asked.order))
    with pytest.raises(ValueError, match='no demonstrations in'):
        said(replace(config, data=(tmp_path,)))


def test_a_checkpoint_that_is_given_is_measured_and_not_made(config, tmp_path):
    """No stage makes it, what goes on from it reads it, and its shape is looked at first."""
    said(config)
    pruned = Path(shutil.copytree(config.folder / 'prune', tmp_path / 'mine'))
    asked = replace(config, out=tmp_path / 'other', given=(f'prune={pruned}',),
                    only='evaluate-pruned')

    def played(stage, log, tell) -> int:
        write_results(stage, 0.5, range(20), 0)
        return 0
    said(asked, played)
    said(replace(asked, only='report'))
    assert 'prune' not in [each.name for each in make_plan(asked.order)]
    assert not (asked.folder / 'prune').exists()
    record = json.loads((asked.folder / 'pipeline' / 'evaluate-pruned.json').read_text())
    assert record['folders']['checkpoint'] == str(pruned)
    page = (asked.results / 'other.md').read_text()
    assert f'Given: the dense policy {config.dense}, the checkpoint {pruned} of prune' in page
    assert re.findall(r'\| given (\d) ', page) == ['1', '2'], 'dense and prune, each once'
    assert len(inspect(pruned).provenance['stages']) == 2
    recovered = {each.name: each for each in make_plan(replace(asked, rows=('rlrc',)).order)}
    assert recovered['recover'].inputs['init'] == pruned and 'prune' not in recovered
    with pytest.raises(ValueError, match='stage quantize would fail: group_size 256 does not'):
        said(replace(asked, rows=('rlrc-4bit',), only='',
                     settings=('int4.group_size=256',)))


def test_a_given_checkpoint_of_another_dense_policy_is_refused(config, tmp_path):
    """By its provenance; so is a folder that is none, or that nothing was done to."""
    said(config)
    other = make_tiny_checkpoint(tmp_path / 'other_dense')
    (other / 'provenance.json').write_text(json.dumps({'stages': [{'name': 'sft', 'seed': 3}]}))
    for dense, folder, words in ((other, config.folder / 'prune', 'does not go on from'),
                                 (config.dense, config.dense, 'does not go on from'),
                                 (config.dense, tmp_path / 'none', 'no checkpoint folder')):
        asked = replace(config, dense=dense, given=(f'prune={folder}',))
        with pytest.raises(ValueError, match=words):
            check_given(asked, make_plan(asked.order))


def test_a_record_that_is_cut_short_is_named(config):
    """A disk that was full: the file to delete is said."""
    said(config)
    (config.folder / 'pipeline' / 'prune.json').write_text('{"state"')
    with pytest.raises(ValueError, match='prune.json is not the record of a stage.*delete it'):
        said(config)


# ---------------------------------------------------------------------- time that is left


def test_time_left_adds_up_what_is_known_and_counts_what_is_not(config):
    """A running stage by its own rate, waiting ones by their verb's, new kinds by number."""
    config = replace(config, dense=None, rows=('chain',))
    stages = {each.name: each for each in make_plan(config.order)}
    outlook = Outlook()
    dense, recover, rl = (stages[name] for name in ('dense', 'recover', 'rl'))
    assert outlook.left([recover, rl]) == (0.0, 2)
    outlook.learn(dense, 40.0)  # 4 steps
    assert outlook.left([recover, rl]) == (pytest.approx(20.0), 1)  # 2 steps
    assert outlook.left([rl], recover, 30.0, 0.75, 0.5) == (pytest.approx(30.0), 1)
    assert left_in_words((5400.0, 1)) == ('at least 1 h 30 min left, and 1 stage of a kind not '
                                          'timed yet')
    assert left_in_words((30.0, 0)) == 'about 30 s left' and in_words(600) == '10 min'


def test_the_share_that_is_done_is_read_from_what_a_verb_writes(config):
    """Episodes, saved steps, environment steps and a journal's lines; None where nothing tells."""
    stages = {each.name: each for each in make_plan(replace(
        config, data=(), dense=None, rows=('rlrc',), episodes=5).order)}
    for name, file, text in (
            ('collect', 'episode_1.safetensors', 'x'), ('dense', 'state/progress.json',
                                                        '{"step": 2}'),
            ('rl', 'metrics.jsonl', '{"env_steps": 2}\n{"env_st'),
            ('evaluate-dense', 'episodes.jsonl', '{}\n{}\n{}\n{}\n{}\n')):
        path = stages[name].out / file
        assert share_done(stages[name]) == 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert share_done(stages[name]) == 0.5, name
    assert share_done(stages['prune']) is None


def test_a_killed_pipeline_takes_its_stage_with_it(tmp_path):
    """Kill -9 of the parent: the kernel ends the stage, so that none runs twice."""
    script = ('import os, subprocess, sys, time\n'
              'child = subprocess.Popen([sys.executable, "-c", "from rlrc_training.stages.process '
              'import end_with_parent; import time; end_with_parent(); print(1, flush=True); '
              'time.sleep(60)"])\nprint(child.pid, flush=True)\ntime.sleep(60)\n')
    parent = subprocess.Popen([os.sys.executable, '-c', script], stdout=subprocess.PIPE, text=True)
    try:
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        child = int(next(each for each in lines if each != '1'))
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while Path(f'/proc/{child}').exists() and 'Z' not in Path(
                f'/proc/{child}/stat').read_text().rpartition(')')[2].split()[0]:
            assert time.monotonic() < deadline, 'the stage outlived its pipeline'
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.stdout.close()


# ---------------------------------------------------------------------------- end to end


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes one after the other
def test_a_whole_tiny_pipeline(tmp_path):
    """Dense SFT, prune, SFT, RL, quantise, evaluate, time, report: every stage's real verb."""
    demos = make_demonstrations(tmp_path / 'demos')
    config = PipelineConfig('tiny', tmp_path / 'out', (demos,), rows=('rlrc-4bit',), episodes=1,
                            strips=1, results=tmp_path / 'results')
    text = said(config)
    assert '9/9' in text and 'report' in text
    html = (tmp_path / 'results' / 'out.html').read_text()
    times = json.loads((config.folder / 'timing' / 'timing.json').read_text())['rows']['rlrc-4bit']
    assert times['of_first_by_block'] == [times['of_first']], 'one block'
    assert 'too few: 1 of 500' in html and 'data:image/jpeg' in html and 'RLRC-4bit' in html
    stages = [each['name'] for each in inspect(
        config.folder / 'quantize').provenance['stages']]
    assert stages == ['sft', 'prune', 'sft', 'rl', 'quantize']
    assert (config.folder / 'quantize' / 'README.md').is_file()
    again = said(config)
    assert again.count('there already') == 8 and 'begins' not in again
    assert Records(config.folder).read('rl')['state'] == 'done'
