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
Measure success in simulation: `rlrc evaluate checkpoints/nano --set put25_ind --episodes 500`.

Plays held-out seeds in process, one batched policy over several worlds, 80 steps an episode as
the suite does. OUT/episodes.jsonl grows as episodes end: after Ctrl-C or a crash the same command
goes on where it stopped. In the end OUT/results.json holds every episode, success_once (at any
step, as RLinf counts) and success_at_end (at the last step, as RL4VLA counts) with 95 % Wilson
intervals by object, set and axis; OUT/episodes.mp4 shows the first failures and successes.
`--set` takes several names, split by commas. `--expert` plays the scripted expert instead.
`--suite libero_spatial` plays LIBERO in an environment of its own (rlrc_sim.libero_assets).
`--compare A B ...` reads finished folders and prints one table of them, paired by seed.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
import json
import logging
import math
import os
from pathlib import Path
import shutil
import time
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table
from rlrc_ros.types import ActionChunk, Observation, RUNTIMES
from rlrc_ros.vla.checkpoint import inspect
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.runtime_choice import dtype_for, resolved_device
from rlrc_sim import libero_assets
from rlrc_sim.axes import group_of
from rlrc_sim.expert import expert_action
from rlrc_sim.libero import LIBERO_STEPS, LIBERO_WORLD_BYTES, LiberoPool, task_and_trial
from rlrc_sim.rollout import EpisodeResult, play, WorldPool
from rlrc_sim.suites import check_ready, EPISODE_SETS, EPISODES_IN, HELD_OUT_SEEDS, placement
from rlrc_sim.video import FilmedEpisode, write_grid
from rlrc_sim.world import World
from rlrc_training.command_line import run_verb
from rlrc_training.compare import print_comparison
from rlrc_training.cores import batching, beside_worlds, WORLD_BYTES, worlds_for
from rlrc_training.evaluate_doors import (
    check_memory,
    check_senses,
    check_statistics,
    fingerprint,
    PROCESS_BYTES,
)
from rlrc_training.intervals import rate_with_interval, wilson_interval
from rlrc_training.journal import as_json, Journal
from rlrc_training.provenance import code_hash, machine, package_versions, source_commit
from rlrc_training.strips import write_strips
import torch
from tqdm import tqdm
import tyro

log = logging.getLogger('rlrc.evaluate')

SINGLE_CALLS = 20
STRIPS = 'strips'
"""Folder beside results.json; what reads it is rlrc_training.reporting."""

Task = tuple[str, int]
"""(set, seed)."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and on what."""

    checkpoint: Annotated[Path, tyro.conf.Positional] = Path('checkpoints/nano')
    """Checkpoint folder."""
    episodes: int = 200
    """How many episodes of each set."""
    first_seed: int = 0
    """Held-out seeds count up from here."""
    episode_set: Annotated[str, tyro.conf.arg(name='set', aliases=['--episode-set'])] = 'ind'
    """Which worlds: names of sets, split by commas (docs/suite.md lists them)."""
    suite: str = ''
    """`libero_spatial` or `libero_10` instead of --set: LIBERO's tasks, in turn."""
    out: Path | None = None
    """Folder for results.json; runs/evaluate/NAME by default."""
    processes: int = 0
    """Processes that simulate; 0: one for each core, of `vla-cache` one."""
    worlds: int = 0
    """Worlds at once, shared out among the processes; 0: enough to answer sixteen in one batch
    while as many simulate, of LIBERO one a process."""
    threads: int = 0
    """CPU threads of the policy; 0: one for each core that does not simulate, at least one."""
    stop_on_success: bool = False
    """End an episode at its first success: faster, but success_at_end then means nothing.
    LIBERO always does."""
    expert: bool = False
    """Play the scripted expert instead of a checkpoint."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    unnorm_key: str | None = None
    """Which data set's statistics scale the actions; needed if the checkpoint has several."""
    fresh: bool = False
    """Forget what OUT holds, instead of going on with it."""
    runtime: str = 'eager'
    """Way of running the policy (docs/performance.md); `vla-cache` takes a policy a process."""
    strips: int = 0
    """Of the first so many seeds of each set, OUT/strips shows a row of pictures each."""
    videos: int = 4
    """How many failures and how many successes OUT/episodes.mp4 shows; 0: no film."""
    compare: tuple[Path, ...] = ()
    """Folders of finished evaluations (or their results.json) to compare; nothing is played."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f'episodes must be at least 1, got {self.episodes}')
        counts = {name: getattr(self, name)
                  for name in ('processes', 'worlds', 'threads', 'videos', 'strips')}
        if min(counts.values()) < 0:
            raise ValueError(f'{", ".join(counts)} are 0 or more, got '
                             f'{", ".join(map(str, counts.values()))}')
        if self.runtime not in RUNTIMES:
            raise ValueError(f'runtime {self.runtime!r} is not known; there are: '
                             f'{", ".join(RUNTIMES)}')
        if not self.sets:
            raise ValueError(f'--set names no set; there are: {", ".join(EPISODE_SETS)}')
        if self.suite:
            self._check_libero()
            return
        for name in self.sets:
            placement(name, 0)
            known = EPISODES_IN.get(name)
            if known is not None and self.first_seed + self.episodes > known:
                raise ValueError(
                    f'{name} has {known} different episodes; seeds {self.first_seed} ... '
                    f'{self.first_seed + self.episodes - 1} would count some of them again. Use '
                    f'--episodes {known} --first-seed 0')
        last = self.first_seed + self.episodes - 1
        if self.first_seed not in HELD_OUT_SEEDS or last not in HELD_OUT_SEEDS:
            raise ValueError(f'seeds {self.first_seed} ... {last} are not all held out; use '
                             f'{HELD_OUT_SEEDS.start} ... {HELD_OUT_SEEDS.stop - 1}')

    def _check_libero(self) -> None:
        if self.suite not in LIBERO_STEPS:
            raise ValueError(f'suite {self.suite!r} is not known; there are: '
                             f'{", ".join(LIBERO_STEPS)}. The other worlds are sets: --set NAME')
        if self.expert:
            raise ValueError("the scripted expert knows the WidowX's worlds only; evaluate a "
                             'checkpoint on LIBERO')
        task_and_trial(self.first_seed), task_and_trial(self.first_seed + self.episodes - 1)

    @property
    def sets(self) -> tuple[str, ...]:
        """Return the names of the sets, each once."""
        if self.suite:
            return (self.suite,)
        return tuple(dict.fromkeys(
            name.strip() for name in self.episode_set.split(',') if name.strip()))

    @property
    def batched(self) -> bool:
        """Return whether one batch of the policy answers several worlds of a process."""
        return self.runtime == 'eager' and not self.suite

    @property
    def remembers(self) -> bool:
        """Return whether the policy carries something over from step to step of an episode."""
        return self.runtime == 'vla-cache'

    @property
    def seeds(self) -> range:
        """Return the seeds to play."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def tasks(self) -> list[Task]:
        """Return all (set, seed) pairs, set by set."""
        return [(name, seed) for name in self.sets for seed in self.seeds]


def play_expert(tasks: list[Task], stop_on_success: bool = False,
                image_size_px: tuple[int, int] = (128, 128)) -> Iterator[EpisodeResult]:
    """Play the expert, without noise, in one world of this process."""
    world = None
    for episode_set, seed in tasks:
        world = world or World(image_size_px, episode_set=episode_set)
        frames = [world.reset(seed, episode_set).image]
        reward, first = 0.0, None
        for _ in range(world.max_episode_steps):
            step = world.step(expert_action(world.truth()))
            frames.append(step.observation.image)
            reward += step.reward
            if step.success and first is None:
                first = step.steps
            if stop_on_success and step.success:
                break
        yield EpisodeResult(
            seed, episode_set, world.instruction, step.success_once, step.success,
            step.grasped, step.steps, first, reward, tuple(frames), world.placement.object_name)
    if world is not None:
        world.close()


def _pool(config: EvaluateConfig, policy: Policy, processes: int,
          tasks: list[Task]) -> WorldPool | LiberoPool:
    """Make the worlds that a run needs."""
    summary = policy.summary
    if config.suite:
        return LiberoPool(processes, config.suite, summary.cameras, summary.reads_proprio)
    return WorldPool(_worlds(config, processes, len(tasks)), summary.image_size_px,
                     episode_set=tasks[0][0], proprio_layout=summary.proprio_layout,
                     processes=processes)


class _Noted:
    """A policy, and what its answers took and reused."""

    def __init__(self, policy: Policy, inference_ms: list[float], reused: list[float],
                 rows: int = 0):
        self._policy, self._rows = policy, rows
        self._inference_ms, self._reused = inference_ms, reused
        self.reset = policy.reset

    def __call__(self, observations: list[Observation]) -> list[ActionChunk]:
        start = time.perf_counter()
        chunks = self._policy.act_batch(observations, rows=self._rows)
        self._inference_ms.append((time.perf_counter() - start) * 1e3 / len(observations))
        if self._policy.reused_share is not None:
            self._reused.append(self._policy.reused_share)
        return chunks

    def act(self, observation: Observation) -> ActionChunk:
        return self([observation])[0]


def _play_policy(policy: Policy, config: EvaluateConfig, tasks: list[Task],
                 inference_ms: list[float], reused: list[float],
                 pool: WorldPool | None = None) -> Iterator[EpisodeResult]:
    if not tasks:
        return
    processes = _processes(config, len(tasks))
    own = (nullcontext(pool) if pool is not None and not config.remembers else
           _pool(config, policy, processes, tasks))
    with beside_worlds(processes, config.threads), own as worlds:
        rows, together = batching(len(worlds)) if config.batched else (0, 1)
        each_its_own = [_open(config) for _ in range(len(worlds) - 1)] if config.remembers else ()
        noted = [_Noted(each, inference_ms, reused, rows) for each in (policy, *each_its_own)]
        yield from play(worlds, noted if config.remembers else noted[0], tasks,
                        keep_frames=config.videos > 0 or config.strips > 0,
                        stop_on_success=config.stop_on_success or bool(config.suite),
                        together=together,
                        max_steps=LIBERO_STEPS.get(config.suite, World.max_episode_steps))


def _open(config: EvaluateConfig) -> Policy:
    policy = Policy.open(config.checkpoint, config.device, config.unnorm_key,
                         runtime=config.runtime)
    policy.warm_up()
    return policy


def _processes(config: EvaluateConfig, tasks: int) -> int:
    # What VLA-Cache carries from step to step is one world's: a policy for each.
    wanted = config.processes or (1 if config.remembers else os.cpu_count() or 1)
    return min(wanted, tasks)


def _worlds(config: EvaluateConfig, processes: int, tasks: int) -> int:
    if not config.batched:  # one world a process
        return processes
    return min(max(config.worlds or worlds_for(processes), processes), tasks)


def _prepare(config: EvaluateConfig) -> dict:
    """
    Check all that can be checked before memory or time is spent; return what the worlds are.

    :raises ValueError: what is missing or does not fit, and what to type
    """
    world: dict = {}
    if config.suite:
        differing = libero_assets.differing(config.suite, libero_assets.folder())
        world = {'libero_packages': libero_assets.packages(),
                 'not_the_originals': list(differing)}
        if differing:
            log.warning(
                "%d of LIBERO's files are not the originals (first %s): the pictures differ, so "
                'success rates compare policies with each other, never with published ones',
                len(differing), differing[0])
    else:
        for each in config.sets:
            check_ready(each)
    if not config.expert:
        check_statistics(config.checkpoint, config.unnorm_key, bool(config.suite))
        tasks = len(config.tasks)
        processes = _processes(config, tasks)
        filmed = math.prod(inspect(config.checkpoint).image_size_px) * 3 * World.max_episode_steps
        check_memory(processes, LIBERO_WORLD_BYTES if config.suite else PROCESS_BYTES,
                     _worlds(config, processes, tasks),
                     WORLD_BYTES + filmed * (config.videos > 0 or config.strips > 0))
        check_senses(inspect(config.checkpoint), bool(config.suite))
    return world


def _alone(policy: Policy) -> dict:
    """Measure a policy by itself: its weights in memory and one observation at a time."""
    blank, times, rng = policy.blank_observation(), [], np.random.default_rng(0)
    for _ in range(SINGLE_CALLS):  # noise: VLA-Cache would find every patch of a grey image again
        chunk = policy.act(replace(blank, image=rng.integers(
            0, 256, blank.image.shape, np.uint8)))
        times.append(policy.timing.inference_ms)
    p50 = float(np.percentile(times, 50))
    cuda = torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0
    return {
        'memory_bytes': torch.cuda.max_memory_allocated() if cuda else policy.weight_bytes,
        'memory_is': 'peak on the GPU' if cuda else 'weights in RAM',
        'single_ms': {'p50': p50, 'p95': float(np.percentile(times, 95)), 'n': SINGLE_CALLS},
        'actions_per_s': 1e3 * len(chunk.actions) / p50}


def summarise(results: list[EpisodeResult]) -> dict:
    """Return counts, rates and intervals of episodes: whole, by object, set and axis group."""
    def rates(group: list[EpisodeResult]) -> dict:
        entry: dict = {'episodes': len(group)}
        for name in ('success_once', 'success_at_end', 'grasped'):
            count = sum(getattr(result, name) for result in group)
            entry[name] = {'count': count, 'rate': count / len(group),
                           'wilson_95': wilson_interval(count, len(group))}
        return entry

    by_object, by_set, by_group = defaultdict(list), defaultdict(list), defaultdict(list)
    for result in results:
        by_object[result.object_name
                  or result.instruction.removeprefix('put ').split(' on ')[0]].append(result)
        by_set[result.episode_set].append(result)
        by_group[group_of(result.episode_set)].append(result)
    steps = [result.steps_to_success for result in results if result.steps_to_success]
    return {**rates(results), 'mean_steps_to_success': float(np.mean(steps)) if steps else None,
            'by_object': {name: rates(group) for name, group in sorted(by_object.items())},
            'by_set': {name: rates(group) for name, group in by_set.items()},
            'by_group': {name: rates(group) for name, group in by_group.items()}}


def _film(path: Path, config: EvaluateConfig, results: list[EpisodeResult],
          kept: dict[Task, tuple], again) -> None:
    """Write the first failures and successes as a grid; those of an earlier run are replayed."""
    chosen = [result for wanted in (False, True) for result in
              [each for each in results if each.success_once is wanted][:config.videos]]
    lost = [(each.episode_set, each.seed) for each in chosen
            if (each.episode_set, each.seed) not in kept]
    for result in again(lost):
        kept[result.episode_set, result.seed] = result.frames
    write_grid(path, [FilmedEpisode(
        kept[each.episode_set, each.seed], each.instruction, each.success_once,
        f'{each.episode_set} {each.seed}') for each in chosen], columns=max(1, config.videos))


def _arithmetic(config: EvaluateConfig) -> str:
    """Return what the policy's weights are multiplied in, which its device and runtime decide."""
    if config.expert:
        return 'float32'
    dtype = dtype_for(resolved_device(config.device), config.runtime)
    return str(dtype).removeprefix('torch.')


def evaluate(config: EvaluateConfig, pool: WorldPool | None = None) -> dict:
    """
    Play all episodes, write results.json and return its content.

    :param pool: worlds that are there already, for one evaluation after the other
    """
    name = 'expert' if config.expert else config.checkpoint.name
    out = config.out or Path('runs/evaluate') / name
    world, arithmetic = _prepare(config), _arithmetic(config)
    if config.fresh:
        shutil.rmtree(out / STRIPS, ignore_errors=True)
    journal = Journal(out, {
        'policy': 'expert' if config.expert else fingerprint(config.checkpoint),
        'unnorm_key': config.unnorm_key, 'stop_on_success': config.stop_on_success,
        'packages': package_versions(), **world,
        **({'batches': 'of one size'} if config.batched and not config.expert else {}),
        # Named where it is not the default, so that journals from before it still count.
        **({'runtime': config.runtime} if config.runtime != 'eager' else {}),
        **({'arithmetic': arithmetic} if arithmetic != 'float32' else {})},
        config.fresh, code_hash())
    tasks = journal.missing(config.tasks)
    inference_ms: list[float] = []
    reused: list[float] = []
    alone = None
    if config.expert:
        def again(some: list[Task]) -> Iterator[EpisodeResult]:
            return play_expert(some, config.stop_on_success)
    else:
        policy = _open(config)
        alone = _alone(policy)

        def again(some: list[Task]) -> Iterator[EpisodeResult]:
            return _play_policy(policy, config, some, inference_ms, reused, pool)

    kept: dict[Task, tuple] = {}
    started, played_steps = time.monotonic(), 0
    wanted = set(config.tasks)
    with tqdm(total=len(wanted), initial=len(wanted) - len(tasks),
              desc=f'evaluate {name}', unit='episode') as bar:
        for result in again(tasks):
            if journal.add(replace(result, frames=())):
                bar.update()
                played_steps += result.steps
                _keep(kept, result, config.videos, journal)
            done = [each for task, each in journal.results.items() if task in wanted]
            bar.set_postfix(once=f'{np.mean([each.success_once for each in done]):.3f}',
                            at_end=f'{np.mean([each.success_at_end for each in done]):.3f}')
    seconds = time.monotonic() - started
    results = [journal.results[task] for task in config.tasks]
    document = {
        'checkpoint': name, 'config': json.loads(json.dumps(asdict(config), default=str)),
        'summary': summarise(results), 'played_now': len(tasks), 'seconds': seconds,
        'steps_per_second': played_steps / seconds if tasks else None,
        'inference_ms': {'p50': float(np.percentile(inference_ms, 50)),
                         'p95': float(np.percentile(inference_ms, 95))} if inference_ms else None,
        # VLA-Cache's own choice, of this run's steps; an episode's first step reuses nothing.
        'reused': {'mean_share': float(np.mean(reused)), 'steps': len(reused)} if reused else None,
        'alone': alone, 'commit': source_commit(), 'code': journal.code,
        'packages': package_versions(),
        **world, 'arithmetic': arithmetic, 'machine': machine(),
        'episodes': [as_json(result) for result in results]}
    if config.strips:
        write_strips(out / STRIPS, [journal.results[name, seed] for name in config.sets
                                      for seed in config.seeds[:config.strips]], again)
    partial = out / 'results.partial'
    partial.write_text(json.dumps(document, indent=1))
    os.replace(partial, out / 'results.json')
    if config.videos:
        _film(out / 'episodes.mp4', config, results, kept, again)
    return document


def _keep(kept: dict[Task, tuple], result: EpisodeResult, videos: int, journal: Journal) -> None:
    """Remember the images of the first few failures and successes, forget the others'."""
    kept[result.episode_set, result.seed] = result.frames
    alike = sorted(task for task in kept
                   if journal.results[task].success_once == result.success_once)
    for task in alike[videos:]:
        del kept[task]


def print_table(document: dict) -> None:
    """Print the rates by object, by set and in all."""
    summary = document['summary']
    where = document['config']['suite'] or document['config']['episode_set']
    replaced = len(document.get('not_the_originals', ()))
    table = Table(title=f"{document['checkpoint']} on {where}", caption=(
        f'{replaced} of its files are not the originals: not for comparison with published '
        'numbers' if replaced else None))
    for heading in ('', 'success once', 'success at end', 'grasped'):
        table.add_column(heading)
    rows = dict(summary['by_object'])
    if len(summary['by_set']) > 1:
        rows |= {f'set {name}': entry for name, entry in summary['by_set'].items()}
        rows |= {f'axis {name}': entry for name, entry in summary['by_group'].items()}
    for name, entry in {**rows, 'all': summary}.items():
        table.add_row(name, *(rate_with_interval(entry[key]['count'], entry['episodes'])
                              for key in ('success_once', 'success_at_end', 'grasped')))
    Console().print(table)


def _run(config: EvaluateConfig) -> None:
    if config.compare:
        print_comparison(config.compare)
        return
    try:
        print_table(evaluate(config))
    except KeyboardInterrupt:
        log.info('interrupted; the episodes that ended are kept, the same command goes on')
        raise SystemExit(130) from None


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc evaluate`."""
    return run_verb('evaluate', EvaluateConfig, _run, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
