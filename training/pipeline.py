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
RLRC end to end, and every row of the result table: `rlrc pipeline nano`.

Collects demonstrations, trains the dense policy, prunes it, recovers it by SFT and PPO, quantises
it, does the same for the rivals, evaluates all of them on the same held-out seeds, times them in
turns and writes the report. Each stage is the plain verb in a process of its own (`--dry-run`
prints the commands; recipes/ holds them). Interrupt it anywhere and type the same command again:
what is done with the same options and inputs is skipped, what was interrupted goes on, what
changed is done again and why is said. Everything lies in OUT:

    STAGE/                    a verb's folder          evaluation/ROW/    results.json
    pipeline/STAGE.json, .log options, hashes, seconds outdated/STAGE/    what was done again

    rlrc pipeline nano --dense runs/dense/checkpoint --data runs/demos     with what you have
    rlrc pipeline nano --dense DIR --given rl=DIR quantize=DIR             measures these
    rlrc pipeline nano --rows chain --episodes 100        RLRC's own rows alone, fewer episodes
    rlrc pipeline nano --set rl.total_timesteps=200000 quantize.vision=int8
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
import signal
import sys

from rich.console import Console
from rlrc_ros.vla.checkpoint import CheckpointSummary, inspect, refuse_quantized
from rlrc_ros.vla.config import ConfigError, VlaConfig
from rlrc_sim.suites import check_ready
from rlrc_training.byte_table import check_group_size
from rlrc_training.command_line import run_verb
from rlrc_training.content_hash import write_json
from rlrc_training.data import DemonstrationError, episode_paths
from rlrc_training.frames import check_others, check_sentences
from rlrc_training.presets import preset
from rlrc_training.prune import check_stage
from rlrc_training.pruning.plan import make_plan as plan_pruning
from rlrc_training.reporting.kept import KeptRow, MEASURES, read_files
from rlrc_training.stages.config import PipelineConfig
from rlrc_training.stages.order import Order
from rlrc_training.stages.plan import make_plan, measures, not_kept, Stage
from rlrc_training.stages.presets import SETTINGS
from rlrc_training.stages.record import LOGS, Records, Stopwatch
from rlrc_training.stages.run import alone_in, in_child, last_lines, Run
from rlrc_training.stages.view import View


class StageFailed(ValueError):
    """A stage ended with an error; the message carries its last lines."""


# ------------------------------------------------------------------------ the doors


def check_given(config: PipelineConfig, stages: list[Stage]) -> None:
    """
    Refuse what would fail hours later.

    :raises ValueError: folders, assets or packages that are missing, a policy that cannot be
        pruned, a ratio that its decoder does not have
    """
    for folder in config.data:
        episode_paths(folder)
    vla, horizon, given = None, 0, {}
    if config.dense is not None:
        summary = refuse_quantized(inspect(config.dense), 'the pipeline')
        check_stage(summary)
        vla = summary.config
        given = {stage: inspect(folder) for stage, folder in config.products.items()}
        check_descent(summary, given)
    elif config.init is not None:
        vla = refuse_quantized(inspect(config.init), 'the pipeline').config
    for stage in stages:
        asked = stage.config()
        if stage.name == 'dense' and vla is None:
            vla = preset(asked.preset)[0]
        if stage.verb == 'sft' and vla is not None:
            horizon = asked.action_horizon or horizon or vla.action.horizon  # the next begin so
            try:
                check_sentences(asked.sentences, horizon)
                if config.data:
                    check_others(asked.sentences, config.data)
            except DemonstrationError as error:
                raise ValueError(f'stage {stage.name}: {error}. Here: --set '
                                 f'{stage.name}.sentences=1') from error
        if stage.verb == 'prune' and vla is not None:
            plan_pruning(vla.decoder, asked)
        for name in asked.sets if stage.verb == 'evaluate' else ():
            check_ready(name)
        if stage.verb == 'quantize' and {'nf4', 'llm.int8'} & {
                asked.decoder, asked.head, asked.vision, asked.projector}:
            from rlrc_ros.vla import bitsandbytes_ops  # noqa: F401  (missing: says what to type)
    if vla is not None:
        shapes = {config.products[stage]: each.config for stage, each in given.items()}
        for shape, some in by_shape(stages, vla, shapes):
            check_groups(some, shape)


def check_descent(dense: CheckpointSummary, given: Mapping[str, CheckpointSummary]) -> None:
    """
    Refuse a given checkpoint that was not made from the dense policy.

    :raises ValueError: its provenance.json begins with other stages
    """
    first = list(dense.provenance.get('stages', ()))
    for stage, summary in given.items():
        theirs = summary.provenance.get('stages', ())
        if list(theirs[:len(first)]) != first or len(theirs) == len(first):
            raise ValueError(f'given {stage}={summary.folder}: its provenance.json does not go on '
                             f'from the stages of {dense.folder}, so it is no row beside that '
                             'policy; give --dense the one that it was made from')


def by_shape(stages: list[Stage], vla: VlaConfig, given: Mapping[Path, VlaConfig]
             ) -> list[tuple[VlaConfig, list[Stage]]]:
    """Return the stages by the shape that they begin with: the dense policy's, or a given one."""
    def reads(stage: Stage) -> set[Path]:
        makers = _ancestors(stage, stages)
        return {folder for each in stages if each is stage or each.name in makers
                for folder in each.inputs.values()}

    return [(vla, [each for each in stages if given.keys().isdisjoint(reads(each))]),
            *((shape, [each for each in stages if folder in reads(each)])
              for folder, shape in given.items())]


def check_groups(stages: list[Stage], vla: VlaConfig, pruned: Stage | None = None) -> None:
    """
    Refuse int4 groups that do not fit what they will be asked of, before it is trained for hours.

    :param vla: the shape of what is quantised
    :param pruned: the stage that gave it this shape; None: it is the dense policy's
    :raises ValueError: names the stage that would fail
    """
    prunes = {each.name for each in stages if each.verb == 'prune'}
    wanted = {pruned.name} if pruned else set()
    for stage in stages:
        if stage.verb != 'quantize' or _ancestors(stage, stages) & prunes != wanted:
            continue
        asked = stage.config()
        try:
            check_group_size(replace(vla, quantization=asked.record), asked.short_groups)
        except ConfigError as error:
            raise ValueError(f'stage {stage.name} would fail: {error}') from error


# ------------------------------------------------------------------------ the whole


def _ancestors(stage: Stage, stages: list[Stage]) -> set[str]:
    makers = {each.product: each for each in stages}
    found: set[str] = set()
    for folder in stage.inputs.values():
        if folder in makers and makers[folder].name not in found:
            found |= {makers[folder].name} | _ancestors(makers[folder], stages)
    return found


def _chosen(config: PipelineConfig, order: Order, stages: list[Stage]) -> set[str]:
    if not config.only:
        return {stage.name for stage in stages}
    names = {stage.name for stage in stages if config.only in (stage.name, stage.verb)}
    if not names and config.only in {
            name for stage in make_plan(replace(order, kept={})) for name in (
                stage.name, stage.verb)}:
        row = config.only.removeprefix('evaluate-').removeprefix('axes-')
        rows = [row] if row in order.kept else list(order.kept)
        raise ValueError(f'--only {config.only!r} has nothing to do: {config.keep} keeps the rows '
                         f'that it is for ({", ".join(rows)}); leave --keep away to do it again, '
                         'or --only, to do what is not kept')
    if not names:
        raise ValueError(f'--only {config.only!r} is no stage; there are: '
                         f'{", ".join(stage.name for stage in stages)}')
    return names


def _earlier(order: Order, stages: list[Stage], records: Records) -> dict[str, KeptRow]:
    """
    Return the rows of earlier reports that this run's one will read.

    :raises ValueError: a file of rows that is none, or whose rows are of another dense policy
    """
    dense = records.hashes.of(order.dense) if order.dense else _trained(stages, records)
    return read_files(stages[-1].config().rows_files, dense)


def _trained(stages: list[Stage], records: Records) -> str | None:
    """Return the hash of the dense policy that was trained in OUT; None: it will be another."""
    stage = next((each for each in stages if each.name == 'dense'), None)
    if stage is None:
        return None
    makers = _ancestors(stage, stages)
    try:
        again = any(records.decide(each).act != 'skip' for each in stages
                    if each.name in makers or each is stage)
    except ValueError:  # what it is trained on is not there yet
        return None
    return None if again else records.read('dense')['product']


def _shown(order: Order, kept: dict[str, KeptRow]) -> dict[str, dict]:
    """Return, as records, those of the rows of which not all is measured again."""
    wanted = measures(order)
    parts = {name: {each for each in MEASURES if getattr(row, each)}
             for name, row in kept.items()}
    return {f'kept {name}': {'sources': row.sources} for name, row in kept.items()
            if not parts[name] <= {*wanted.get(name, ())}}


def pipeline(config: PipelineConfig, run: Run = in_child,
             console: Console | None = None) -> list[Stage]:
    """
    Do all stages; return them.

    :param run: how a stage is run
    :raises StageFailed: one ended with an error
    :raises ValueError: what was given does not do, or results of other code are in OUT
    """
    order = config.order
    stages = make_plan(order)
    chosen = _chosen(config, order, stages)
    check_given(config, stages)
    records = Records(config.folder)
    view = View(console or Console(), stages)
    with alone_in(config.folder):
        kept = _earlier(order, stages, records) if 'report' in chosen else order.kept
        records.check_commits(stages, config.allow_commit, _shown(order, kept))
        for line in not_kept(order):
            view.note(line)
        settings = SETTINGS[config.preset]
        write_json(config.folder / 'plan.json', {
            'preset': config.preset, 'rows': [row.name for row in order.rows],
            'ind_set': settings.ind_set, 'ood_set': settings.ood_set,
            'axes': settings.axes, 'episodes': config.episodes,
            'command': _command_of(config), 'dense': order.dense, 'data': order.data,
            'given': {name: str(each) for name, each in order.given.items()},
            'stages': [{'name': each.name, 'verb': each.verb, 'out': str(each.out),
                        'product': str(each.product), 'command': each.command,
                        'inputs': {name: str(folder) for name, folder in each.inputs.items()}}
                       for each in stages]})
        try:
            for stage in stages:
                if stage.name in chosen:
                    _do(stage, stages, records, view, run)
                    if stage.verb == 'prune':
                        check_groups(stages, inspect(stage.product).config, stage)
                elif chosen & {each.name for each in stages
                               if stage.name in _ancestors(each, stages)}:
                    decision = records.decide(stage)
                    if decision.act != 'skip':
                        raise ValueError(
                            f'--only {config.only} needs stage {stage.name}, which is not done'
                            f'{": " if decision.why else ""}{decision.why}; leave --only away, '
                            f'or begin with --only {stage.name}')
        finally:
            view.stop()
    return stages


def _do(stage: Stage, stages: list[Stage], records: Records, view: View, run: Run) -> None:
    if stage.verb == 'report':  # always: it takes seconds, and reads all that is there
        status = run(stage, _log(records, stage), lambda: None)
        if status:
            raise StageFailed(f'the report failed:\n{last_lines(_log(records, stage))}')
        view.settled(stage, 0.0, f'written to {stage.out}')
        return
    decision = records.decide(stage)
    if decision.act == 'skip':
        view.settled(stage, records.read(stage.name)['seconds'], 'there already')
        return
    records.check_source()
    if decision.act == 'redo':
        records.set_aside(stage)
    words = {'begin': 'begins', 'go on': f'goes on: {decision.why}',
             'redo': f'is done again: {decision.why}'}[decision.act]
    record = records.begin(stage, decision.act == 'go on')
    view.began(stage, words)
    log, stopwatch = _log(records, stage), Stopwatch(records, record)
    status = None

    def tell() -> None:
        stopwatch.tick()
        view.tell(stage)
    try:
        status = run(stage, log, tell)
    finally:
        view.stop()
        stopwatch.note()
    if status:
        raise StageFailed(f'stage {stage.name} ended with status {status}; {log} ends with:\n'
                          f'{last_lines(log)}\nMend that and run the same command again; what '
                          'is done stays')
    records.finish(stage, record)
    view.settled(stage, record['seconds'], 'done')


def _log(records: Records, stage: Stage) -> Path:
    return records.out / LOGS / f'{stage.name}.log'


def _command_of(config: PipelineConfig) -> str:
    """Return the command line that gives this configuration, without what only tells how."""
    words = ['rlrc', 'pipeline', config.preset]
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name in ('preset', 'dry_run', 'only') or value == each.default:
            continue
        flag = '--set' if each.name == 'settings' else '--' + each.name.replace('_', '-')
        words += [flag, *(map(str, value) if isinstance(value, tuple) else (str(value),))]
    return ' '.join(words)


def dry_run(config: PipelineConfig) -> str:
    """Return the plain commands as a shell script."""
    lines = ['#!/bin/sh', f'# The stages of `{_command_of(config)}`, one plain command each.',
             '# Every command but prune and quantize goes on where it was interrupted; those two',
             '# write a folder whole or not at all, and refuse one that is there.', 'set -e']
    before, order = '', config.order
    lines += [f'# {line}' for line in not_kept(order)]
    for stage in make_plan(order):
        if stage.verb != before:
            lines += ['', f'# {stage.verb}']
        before = stage.verb
        lines.append(stage.command)
    return '\n'.join(lines) + '\n'


def _run(config: PipelineConfig) -> None:
    if config.dry_run:
        print(dry_run(config), end='')
        return

    def ended(*_) -> None:
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGTERM, ended)
    try:
        pipeline(config)
    except KeyboardInterrupt:
        print('rlrc pipeline: interrupted; the same command goes on', file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc pipeline`."""
    return run_verb('pipeline', PipelineConfig, _run, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
