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
What `rlrc pipeline` does, as data: the sizes, and every stage with its options and its inputs.

A stage is one verb with one output folder. Its inputs are folders: other stages' products, or what
the user gave. Options are the fields of the verb's own configuration, so they are checked by it
before anything runs, and become the plain command that `--dry-run` prints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
import shlex

from rlrc_training.collect import CollectConfig
from rlrc_training.evaluate import EvaluateConfig
from rlrc_training.prune import PruneConfig
from rlrc_training.quantize import QuantizeConfig
from rlrc_training.reporting.config import ReportConfig
from rlrc_training.rl_config import RlConfig
from rlrc_training.sft_config import SftConfig
from rlrc_training.stages.order import AXES, Order, RESULTS, TIMING
from rlrc_training.stages.presets import Settings
from rlrc_training.table_rows import CHAIN, Row
from rlrc_training.timing import TimingConfig

CONFIGS = {'collect': CollectConfig, 'sft': SftConfig, 'prune': PruneConfig, 'rl': RlConfig,
           'quantize': QuantizeConfig, 'evaluate': EvaluateConfig, 'timing': TimingConfig,
           'report': ReportConfig}
POSITIONAL = {'prune': 'checkpoint', 'quantize': 'checkpoint', 'evaluate': 'checkpoint',
              'timing': 'checkpoints', 'report': 'folder'}
FLAGS = {('evaluate', 'episode_set'): '--set'}
INPUTS = ('init', 'data', 'distill', 'checkpoint', 'checkpoints', 'policy')
"""Options that name what a stage reads; their content counts, not their path."""
HOW_FAST = ('processes', 'threads', 'device', 'save_every', 'accumulate', 'microbatch_size',
            'gradient_checkpointing', 'out', 'overwrite', 'fresh', 'videos', 'worlds', 'shard',
            'updates_without_reward', *INPUTS)
"""Options that are not part of what a stage's result depends on, unless it measures time."""
GROWING = {'collect': ('episodes',), 'evaluate': ('episodes', 'episode_set', 'strips')}
"""Options that may change under what is there: the verb goes on with it."""
TIMED_FIRST = 'timing-chain'
"""The stage that times RLRC's own rows before the rivals are there; `timing` times all."""
IN_CHECKPOINT = ('sft', 'rl')
"""Verbs whose product is OUT/checkpoint, not OUT."""
RESUMABLE = ('collect', 'sft', 'rl', 'evaluate')
"""Verbs that go on with a folder that is there; the others refuse it, and write it whole."""


@dataclass(frozen=True)
class Stage:
    """One verb, what it is asked for, and where it writes."""

    name: str
    verb: str
    out: Path
    options: dict[str, object] = field(default_factory=dict)

    @property
    def product(self) -> Path:
        """Return the folder that other stages read."""
        return self.out / 'checkpoint' if self.verb in IN_CHECKPOINT else self.out

    @property
    def all_options(self) -> dict[str, object]:
        """Return the options with `out`, under the name that the verb has for it."""
        return {**self.options, 'out': self.out}

    @property
    def inputs(self) -> dict[str, Path]:
        """Return the folders that it reads, by option; several of one option are numbered."""
        found: dict[str, Path] = {}
        for name in INPUTS:
            value = self.options.get(name)
            if isinstance(value, Path):
                found[name] = value
            elif isinstance(value, tuple):
                found |= {f'{name} {index}' if index else name: each
                          for index, each in enumerate(value)}
        return found

    def config(self) -> object:
        """
        Return the verb's own configuration.

        :raises ValueError: the verb refuses an option; the stage is named
        """
        kind = CONFIGS[self.verb]
        known = [each.name for each in fields(kind)]
        if wrong := [name for name in self.options if name not in known]:
            raise ValueError(f'stage {self.name}: {self.verb} has no option {wrong[0]!r}; it has: '
                             f'{", ".join(known)}')
        texts = {each.name for each in fields(kind) if each.type is str}
        try:  # a name may look like a number
            return kind(**{name: str(value) if name in texts and value is not None else value
                           for name, value in self.all_options.items()})
        except ValueError as error:
            raise ValueError(f'stage {self.name}: {error}') from error

    @property
    def arguments(self) -> list[str]:
        """Return the verb's command line."""
        words: list[str] = []
        first = POSITIONAL.get(self.verb)
        if first:
            value = self.options[first]
            words += map(str, value if isinstance(value, tuple) else (value,))
        for name, value in self.all_options.items():
            if name == first or value is None or value == ():
                continue
            flag = FLAGS.get((self.verb, name), '--' + name.replace('_', '-'))
            if isinstance(value, bool):
                words.append(flag if value else '--no-' + flag[2:])
            elif isinstance(value, tuple):
                words += [flag, *map(str, value)]
            else:
                words += [flag, str(value)]
        return words

    @property
    def command(self) -> str:
        """Return the plain command."""
        return shlex.join(['rlrc', self.verb, *self.arguments])


class _Plan:
    def __init__(self, order: Order):
        self.order, self.settings, self.stages = order, order.settings, []
        self.products: dict[str, Path] = {}

    def add(self, name: str, verb: str, groups: Iterable[str], out: Path | None = None,
            **options: object) -> Path:
        """Add a stage; later ones of `groups` go over earlier ones, the user's over all."""
        if name in self.products:
            return self.products[name]
        known = {each.name for each in fields(CONFIGS[verb])}
        machine = {key: value for key, value in self.order.machine.items() if key in known}
        chosen = dict(options)
        for group in groups:
            chosen |= getattr(self.settings, group, {})
        chosen |= {key: value for key, value in machine.items() if value not in (None, 0, 'auto')}
        for group in dict.fromkeys((*groups, name)):
            chosen |= self.order.overrides.get(group, {})
        chosen = {key: value for key, value in chosen.items() if value is not None}
        stage = Stage(name, verb, out or self.order.out / name, chosen)
        self.stages.append(stage)
        self.products[name] = stage.product
        return stage.product

    # -------------------------------------------------------------- checkpoints

    def make(self, name: str) -> Path:
        """Add what a row's checkpoint needs, once; return its folder."""
        if name in self.order.given:
            return self.order.given[name]
        if name in self.products:
            return self.products[name]
        if name == 'dense-first':
            return self.add(name, 'sft', ['dense'], data=self.expert_data, init=self.order.init)
        if name == 'dense':
            if self.order.dense is not None:
                return self.order.dense
            if not self.learns_twice:
                return self.add(name, 'sft', ['dense'], data=self.data, init=self.order.init)
            return self.add(name, 'sft', ['dense', 'dense_again'], data=self.data,
                            init=self.make('dense-first'))
        data = self.data
        rivals = {f'{each}-20': each for each in ('magnitude', 'wanda', 'llm-pruner', 'flap')}
        if name in rivals:
            return self.add(name, 'prune', ['rival'], checkpoint=self.make('dense'), data=data,
                            method=rivals[name])
        own = {'prune': {}, 'fewer-wider': {'keep_layers': self.settings.keep_layers},
               'robot-loss': {'loss': 'robot'}}
        if name in own:
            return self.add(name, 'prune', ['prune'], checkpoint=self.make('dense'), data=data,
                            **own[name])
        parent = {'recover': 'prune'}.get(name, name.removesuffix('-sft'))
        if name == 'recover' or name.endswith('-sft'):
            # Adapters would be added to the zeros, so those of an adapted rival are filled again.
            zeros = (parent in ('magnitude-20', 'wanda-20')
                     and not self.settings.recover.get('lora_rank'))
            distill = self.make('dense') if self.settings.distill else None
            return self.add(name, 'sft', ['recover'], init=self.make(parent), data=data,
                            distill=distill, keep_statistics=True, keep_zeros=zeros or None)
        if name == 'rl':
            return self.add('rl', 'rl', ['rl'], init=self.make('recover'), bc='demonstrations',
                            data=data)
        parent, _, scheme = name.rpartition('-')
        parent = {'': 'dense', 'recover': 'recover'}[parent] if name != 'quantize' else 'rl'
        return self.add(name, 'quantize', [scheme if name != 'quantize' else 'int4'],
                        checkpoint=self.make(parent), data=data[0])

    @property
    def expert_data(self) -> tuple[Path, ...]:
        """Return the demonstrations that no policy had a part in."""
        if self.order.data:
            return self.order.data
        played = self.add('collect', 'collect', ['collect'])
        if not self.settings.scatter:
            return (played,)
        return played, self.add('scatter', 'collect', ['scatter'])

    @property
    def learns_twice(self) -> bool:
        """Say whether the dense policy is trained on, on frames that it got to itself."""
        return bool(self.settings.dagger) and not self.order.data and self.order.dense is None

    @property
    def data(self) -> tuple[Path, ...]:
        """Return all that SFT learns from."""
        if not self.learns_twice:
            return self.expert_data
        return *self.expert_data, self.add('dagger', 'collect', ['dagger'],
                                           policy=self.make('dense-first'))

    # ----------------------------------------------------------------- measures

    def evaluate(self, rows: Iterable[Row]) -> None:
        """Add an evaluation a row, on both sets."""
        order = self.order
        sets = ','.join(self.settings.sets)
        for row in rows:
            chosen = {'checkpoint': self.make(row.stage), 'episode_set': sets,
                      'episodes': order.episodes, 'videos': 0}
            if row.runtime != 'eager':
                chosen['runtime'] = row.runtime
            if row.name in ('dense', 'rlrc') and order.strips:
                chosen['strips'] = order.strips
            self.add(f'evaluate-{row.name}', 'evaluate', ['evaluate'],
                     order.out / 'evaluation' / row.name, **chosen)

    def axes(self, rows: Iterable[Row]) -> None:
        """Add evaluations on every further axis."""
        for row in rows:
            self.add(f'axes-{row.name}', 'evaluate', ['evaluate'],
                     self.order.out / 'axes' / row.name, checkpoint=self.make(row.stage),
                     episode_set=','.join(self.order.axes_of(row)),
                     episodes=self.order.axis_episodes, videos=0)

    def time(self, name: str, rows: Sequence[Row]) -> None:
        """Add the timing of rows in turns."""
        self.add(name, 'timing', ['timing'], names=tuple(row.name for row in rows),
                 checkpoints=tuple(self.make(row.stage) for row in rows),
                 vla_cache=tuple(row.name for row in rows if row.runtime == 'vla-cache'))


def measures(order: Order) -> dict[str, dict[str, str]]:
    """
    Return what is measured of each row, of MEASURES, and why that is not kept.

    Of a row whose checkpoint is made in this run it is everything: what another run played need
    not have been the same.
    """
    found, trial = {row.name: order.lacks(row) for row in order.rows}, _Plan(order)
    for row in order.rows:
        if found[row.name]:
            trial.make(row.stage)
    for row in order.rows:
        if row.stage in trial.products:
            found[row.name] = dict.fromkeys(
                order.measures_of(row), f'its checkpoint is made again (stage {row.stage})'
            ) | found[row.name]
    return found


def not_kept(order: Order) -> list[str]:
    """Return a line for every row that the file has and this run measures again all the same."""
    return [f'row {name} of {order.keep}: measured again ({", ".join(each)}), since '
            + '; '.join(dict.fromkeys(each.values()))
            for name, each in measures(order).items() if name in order.kept and each]


def make_plan(order: Order) -> list[Stage]:
    """
    Return the stages in an order in which each finds its inputs.

    RLRC's own rows are made, evaluated and timed before the rivals are: what is interrupted has
    the rows that matter most.

    :raises ValueError: a verb refuses its options, or an override names no stage
    """
    plan, wanted = _Plan(order), measures(order)

    def those(what: str, chain: bool | None = None) -> list[Row]:
        return [row for row in order.rows if what in wanted[row.name]
                and chain in (None, row.name in CHAIN)]

    def timed(chain: bool | None = None) -> list[Row]:
        """Return the rows to time, the dense one beside them."""
        rows = those(TIMING, chain)
        return [row for row in order.rows[:1] if rows and row not in rows] + rows
    for chain in (True, False):
        for row in those(RESULTS, chain):
            plan.make(row.stage)
        plan.evaluate(those(RESULTS, chain))
        if chain and those(TIMING, False) and len(timed(True)) > 1:
            plan.time(TIMED_FIRST, timed(True))
    plan.axes(those(AXES))
    if timed():
        plan.time('timing', timed())
    plan.add('report', 'report', ['report'], order.results, folder=order.out,
             allow_commit=order.allow_commit, rows=order.keep)
    groups = {each.name for each in fields(Settings)} | {stage.name for stage in plan.stages}
    for name in order.overrides:
        if name not in groups:
            raise ValueError(f'--set names {name!r}, which is no stage; there are: '
                             f'{", ".join(sorted(groups))}')
    for stage in plan.stages:
        stage.config()
    return plan.stages
