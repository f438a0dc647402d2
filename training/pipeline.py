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
    rlrc pipeline nano --rows chain --episodes 100        RLRC's own rows alone, fewer episodes
    rlrc pipeline nano --set rl.total_timesteps=200000 quantize.vision=int8
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
import fcntl
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Annotated

from rich.console import Console
from rlrc_ros.vla.checkpoint import inspect, refuse_quantized
from rlrc_sim.suites import check_ready
from rlrc_training.command_line import run_verb
from rlrc_training.content_hash import write_json
from rlrc_training.data import episode_paths
from rlrc_training.pipeline_plan import INPUTS, make_plan, Order, Stage
from rlrc_training.pipeline_presets import SETTINGS
from rlrc_training.pipeline_progress import in_words, left_in_words, Outlook, share_done
from rlrc_training.pipeline_record import LOGS, Records
from rlrc_training.presets import preset
from rlrc_training.prune import check_stage
from rlrc_training.pruning.plan import make_plan as plan_pruning
from rlrc_training.table_rows import choose_rows
import tyro

PATIENCE_S = 60.0
"""How long an interrupted stage has to save what it can."""
TELL_EVERY_S = 60.0
"""Between two lines of progress where no terminal shows it live."""
PATHS = (*INPUTS, 'warm_start', 'token_ids')


class StageFailed(ValueError):
    """A stage ended with an error; the message carries its last lines."""


@dataclass(frozen=True)
class PipelineConfig:
    """Which size, on what, and which rows of the table."""

    preset: Annotated[str, tyro.conf.Positional] = 'nano'
    """`nano`: two CPU cores; `small`: 48 M parameters, one GPU; `openvla-7b`: an official folder,
    given by --init, on a GPU with 80 GB; `tiny`: minutes, to see that everything works."""
    out: Path | None = None
    """Folder for everything; runs/PRESET by default."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = ()
    """Demonstrations that you have; none: they are collected."""
    dense: Path | None = None
    """Dense policy that you have; none: it is trained."""
    init: Path | None = None
    """Checkpoint that the dense policy is trained from."""
    rows: tuple[str, ...] = ('all',)
    """Rows of the table: `all`, `chain` (RLRC's own stages), or their names."""
    episodes: int = 500
    """Paired seeds of each cell."""
    axis_episodes: int = 100
    """Seeds of each further axis, for the dense policy, RLRC and RLRC-4bit; 0: none."""
    strips: int = 3
    """Seeds of each set that the report shows as pictures."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(
        name='set', metavar='STAGE.OPTION=VALUE ...')] = ()
    """Options of stages, or of groups of them, in the place of the preset's."""
    only: str = ''
    """Do this stage alone (or all of one verb), if what it needs is there."""
    dry_run: bool = False
    """Print the plain commands and do nothing."""
    allow_commit: tuple[str, ...] = ()
    """Commits of the source, other than this one, whose results may be used."""
    results: Path = Path('docs/results')
    """Folder for the report."""
    device: str = 'auto'
    """Of every stage: `auto`, `cpu` or `cuda`."""
    processes: int = 0
    """Of every stage that simulates; 0: its own default."""
    threads: int = 0
    """CPU threads of torch in every stage; 0: its own default."""

    def __post_init__(self) -> None:
        if self.preset not in SETTINGS:
            raise ValueError(f'preset {self.preset!r} is not known; there are: '
                             f'{", ".join(SETTINGS)}')
        choose_rows(self.rows)
        if self.episodes < 1 or min(self.axis_episodes, self.strips, self.processes,
                                    self.threads) < 0:
            raise ValueError(
                'episodes is at least 1, axis_episodes, strips, processes and threads at least '
                f'0; got {self.episodes}, {self.axis_episodes}, {self.strips}, '
                f'{self.processes}, {self.threads}')
        if self.preset == 'openvla-7b' and not (self.init or self.dense):
            raise ValueError('preset openvla-7b starts from weights that you have: give --init '
                             'FOLDER (an official OpenVLA), or --dense FOLDER (fine-tuned)')
        self.overrides  # made here for its own bounds

    @property
    def overrides(self) -> dict[str, dict[str, object]]:
        """Return --set's options by stage."""
        found: dict[str, dict[str, object]] = {}
        for each in self.settings:
            where, equals, value = each.partition('=')
            stage, point, option = where.rpartition('.')
            if not (equals and point and option):
                raise ValueError(f'--set {each!r} is not STAGE.OPTION=VALUE, for example '
                                 'prune.ratio=0.8')
            option = option.replace('-', '_')
            try:
                parsed = json.loads({'True': 'true', 'False': 'false', 'None': 'null'}.get(
                    value, value))
            except ValueError:
                parsed = value
            if isinstance(parsed, list):
                parsed = tuple(parsed)
            elif option in PATHS and isinstance(parsed, str):
                parsed = Path(parsed)
            found.setdefault(stage, {})[option] = parsed
        return found

    @property
    def folder(self) -> Path:
        """Return where everything lies."""
        return self.out or Path('runs') / self.preset

    @property
    def order(self) -> Order:
        """Return what the plan is made from."""
        return Order(
            self.preset, self.folder, choose_rows(self.rows), self.results, self.data, self.dense,
            self.init, self.episodes, self.axis_episodes, self.strips, self.overrides,
            {'device': self.device, 'processes': self.processes, 'threads': self.threads})


# ------------------------------------------------------------------------ the doors


def check_given(config: PipelineConfig, stages: list[Stage]) -> None:
    """
    Refuse what would fail hours later.

    :raises ValueError: folders, assets or packages that are missing, a policy that cannot be
        pruned, a ratio that its decoder does not have
    """
    for folder in config.data:
        episode_paths(folder)
    decoder = None
    if config.dense is not None:
        summary = refuse_quantized(inspect(config.dense), 'the pipeline')
        check_stage(summary)
        decoder = summary.config.decoder
    elif config.init is not None:
        decoder = refuse_quantized(inspect(config.init), 'the pipeline').config.decoder
    for stage in stages:
        asked = stage.config()
        if stage.name == 'dense' and decoder is None:
            decoder = preset(asked.preset)[0].decoder
        if stage.verb == 'prune' and decoder is not None:
            plan_pruning(decoder, asked)
        for name in asked.sets if stage.verb == 'evaluate' else ():
            check_ready(name)
        if stage.verb == 'quantize' and {'nf4', 'llm.int8'} & {
                asked.decoder, asked.head, asked.vision, asked.projector}:
            from rlrc_ros.vla import bitsandbytes_ops  # noqa: F401  (missing: says what to type)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold OUT/pipeline/lock; two pipelines in one folder would undo each other's work."""
    path = folder / 'pipeline' / 'lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ValueError(f'a pipeline is at work in {folder} (process {file.read().strip()}); '
                             'wait for it, or give another --out') from None
        file.truncate(0)
        file.write(f'{os.getpid()}\n')
        file.flush()
        yield


# ------------------------------------------------------------------- running a stage


Tell = Callable[[], None]
Run = Callable[[Stage, Path, Tell], int]


def in_child(stage: Stage, log: Path, tell: Tell) -> int:
    """
    Run a stage in a process of its own; return its exit status.

    Ctrl-C reaches this process alone, which passes it on and waits until the stage has saved.

    :param log: everything that the stage prints goes to its end
    :param tell: called a few times a second
    """
    with log.open('ab') as file:
        child = subprocess.Popen(
            [sys.executable, '-m', 'rlrc_training.stage_process', stage.verb, *stage.arguments],
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True)
        try:
            while True:
                try:
                    return child.wait(0.3)
                except subprocess.TimeoutExpired:
                    tell()
        finally:
            _end(child)


def _end(child: subprocess.Popen) -> None:
    """End a stage that still runs: first so that it can save, then surely."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if child.poll() is not None:
                return
            os.killpg(child.pid, number)
            try:
                child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        signal.signal(signal.SIGINT, before)


def _last_lines(log: Path, count: int = 12) -> str:
    text = log.read_text(errors='replace') if log.exists() else ''
    lines = [line.rpartition('\r')[2] for line in text.splitlines()]
    return '\n'.join(line for line in lines[-count:] if line.strip())


# ------------------------------------------------------------------------ the whole


class View:
    """The one view of the whole: a line a stage, and below it where the running one is."""

    def __init__(self, console: Console, stages: list[Stage]):
        self.console, self.stages, self.outlook = console, stages, Outlook()
        self._status = console.status('') if console.is_terminal else None
        self._told_s = time.monotonic()
        self._done: set[str] = set()

    def settled(self, stage: Stage, seconds: float, words: str) -> None:
        """Say that a stage is done, now or earlier."""
        self.outlook.learn(stage, seconds)
        self._done.add(stage.name)
        self.console.print(
            f'{len(self._done):>3}/{len(self.stages)}  {stage.name:<22} {words}, '
            f'{in_words(seconds)}', highlight=False, markup=False, soft_wrap=True)

    def began(self, stage: Stage, words: str) -> None:
        """Say that a stage begins, and why it does."""
        self._began_s, self._before = time.monotonic(), share_done(stage) or 0.0
        self.console.print(f'         {stage.name:<22} {words}', highlight=False, markup=False,
                           soft_wrap=True)
        if self._status:
            self._status.start()

    def tell(self, stage: Stage) -> None:
        """Show how far the running stage and the whole are."""
        now = time.monotonic()
        if self._status is None and now - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now
        share = share_done(stage)
        waiting = [each for each in self.stages
                   if each.name not in self._done and each is not stage]
        left = self.outlook.left(waiting, stage, now - self._began_s, share, self._before)
        far = '' if share is None else f' {share:.0%}'
        line = (f'{len(self._done)} of {len(self.stages)} stages, {stage.name}{far} for '
                f'{in_words(now - self._began_s)}; {left_in_words(left)}')
        if self._status:
            self._status.update(line)
        else:
            self.console.print(f'         {line}', highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the live line away."""
        if self._status:
            self._status.stop()


def _ancestors(stage: Stage, stages: list[Stage]) -> set[str]:
    makers = {each.product: each for each in stages}
    found: set[str] = set()
    for folder in stage.inputs.values():
        if folder in makers and makers[folder].name not in found:
            found |= {makers[folder].name} | _ancestors(makers[folder], stages)
    return found


def _chosen(config: PipelineConfig, stages: list[Stage]) -> set[str]:
    if not config.only:
        return {stage.name for stage in stages}
    names = {stage.name for stage in stages if config.only in (stage.name, stage.verb)}
    if not names:
        raise ValueError(f'--only {config.only!r} is no stage; there are: '
                         f'{", ".join(stage.name for stage in stages)}')
    return names


def pipeline(config: PipelineConfig, run: Run = in_child,
             console: Console | None = None) -> list[Stage]:
    """
    Do all stages; return them.

    :param run: how a stage is run
    :raises StageFailed: one ended with an error
    :raises ValueError: what was given does not do, or results of another commit are in OUT
    """
    stages = make_plan(config.order)
    chosen = _chosen(config, stages)
    check_given(config, stages)
    records = Records(config.folder)
    view = View(console or Console(), stages)
    with _alone_in(config.folder):
        records.check_commits(stages, config.allow_commit)
        settings = SETTINGS[config.preset]
        write_json(config.folder / 'plan.json', {
            'preset': config.preset, 'rows': [row.name for row in config.order.rows],
            'ind_set': settings.ind_set, 'ood_set': settings.ood_set,
            'axes': settings.axes if config.axis_episodes else (), 'episodes': config.episodes,
            'command': _command_of(config),
            'stages': [{'name': each.name, 'verb': each.verb, 'out': str(each.out),
                        'product': str(each.product), 'command': each.command}
                       for each in stages]})
        try:
            for stage in stages:
                if stage.name in chosen:
                    _do(stage, stages, records, view, run)
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
            raise StageFailed(f'the report failed:\n{_last_lines(_log(records, stage))}')
        view.settled(stage, 0.0, f'written to {stage.out}')
        return
    decision = records.decide(stage)
    if decision.act == 'skip':
        view.settled(stage, records.read(stage.name)['seconds'], 'there already')
        return
    if decision.act == 'redo':
        records.set_aside(stage)
    words = {'begin': 'begins', 'go on': f'goes on: {decision.why}',
             'redo': f'is done again: {decision.why}'}[decision.act]
    record = records.begin(stage, decision.act == 'go on')
    view.began(stage, words)
    log, started = _log(records, stage), time.monotonic()
    status = None
    try:
        status = run(stage, log, lambda: view.tell(stage))
    finally:
        view.stop()
        records.note_seconds(record, time.monotonic() - started)
    if status:
        raise StageFailed(f'stage {stage.name} ended with status {status}; {log} ends with:\n'
                          f'{_last_lines(log)}\nMend that and run the same command again; what '
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
    before = ''
    for stage in make_plan(config.order):
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
