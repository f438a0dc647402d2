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
`--compare A B ...` reads finished folders and prints one table of them, paired by seed.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
import hashlib
import json
import logging
import os
from pathlib import Path
import time
from typing import Annotated

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from rlrc_ros.types import RUNTIMES
from rlrc_ros.vla.checkpoint import CheckpointSummary, inspect
from rlrc_ros.vla.config import MAIN_CAMERA, PROPRIO_LAYOUTS
from rlrc_ros.vla.policy import Policy
from rlrc_sim.axes import AXES
from rlrc_sim.expert import expert_action
from rlrc_sim.rollout import EpisodeResult, play, WorldPool
from rlrc_sim.suites import check_ready, EPISODE_SETS, HELD_OUT_SEEDS, placement
from rlrc_sim.video import FilmedEpisode, write_grid
from rlrc_sim.world import World
from rlrc_training.command_line import run_verb
from rlrc_training.compare import print_comparison
from rlrc_training.intervals import rate_with_interval, wilson_interval
from rlrc_training.journal import as_json, Journal
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.strips import write_strips
import torch
from tqdm import tqdm
import tyro

log = logging.getLogger('rlrc.evaluate')

WORLD_BYTES = 900_000_000
"""What one world's process needs (resident, 640 x 480 pictures, software renderer; rounded up)."""
LARGEST_STEP_M, LARGEST_STEP_RAD = 0.25, 1.6
"""Action statistics beyond these are not this arm's deltas of 0.2 s: joint angles, or another
unit. BridgeData's largest are 0.04 m and 0.21 rad."""
SINGLE_CALLS = 20

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
    out: Path | None = None
    """Folder for results.json; runs/evaluate/NAME by default."""
    processes: int = 0
    """Worlds at once; 0 means one for each core."""
    stop_on_success: bool = False
    """End an episode at its first success: faster, but success_at_end then means nothing."""
    expert: bool = False
    """Play the scripted expert instead of a checkpoint."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    unnorm_key: str | None = None
    """Which data set's statistics scale the actions; needed if the checkpoint has several."""
    fresh: bool = False
    """Forget what OUT holds, instead of going on with it."""
    runtime: str = 'eager'
    """Way of running the policy (docs/performance.md); `vla-cache` plays one world at a time."""
    strips: int = 0
    """Of the first so many seeds of each set, OUT/strips shows a row of pictures each."""
    videos: int = 4
    """How many failures and how many successes OUT/episodes.mp4 shows; 0: no film."""
    compare: tuple[Path, ...] = ()
    """Folders of finished evaluations (or their results.json) to compare; nothing is played."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f'episodes must be at least 1, got {self.episodes}')
        if not self.sets:
            raise ValueError(f'--set names no set; there are: {", ".join(EPISODE_SETS)}')
        for name in self.sets:
            placement(name, 0)
        if min(self.processes, self.videos, self.strips) < 0:
            raise ValueError('processes, videos and strips are 0 or more, got '
                             f'{self.processes}, {self.videos} and {self.strips}')
        if self.runtime not in RUNTIMES:
            raise ValueError(f'runtime {self.runtime!r} is not known; there are: '
                             f'{", ".join(RUNTIMES)}')
        last = self.first_seed + self.episodes - 1
        if self.first_seed not in HELD_OUT_SEEDS or last not in HELD_OUT_SEEDS:
            raise ValueError(f'seeds {self.first_seed} ... {last} are not all held out; use '
                             f'{HELD_OUT_SEEDS.start} ... {HELD_OUT_SEEDS.stop - 1}')

    @property
    def sets(self) -> tuple[str, ...]:
        """Return the names of the sets, each once."""
        return tuple(dict.fromkeys(
            name.strip() for name in self.episode_set.split(',') if name.strip()))

    @property
    def seeds(self) -> range:
        """Return the seeds to play."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def tasks(self) -> list[Task]:
        """Return all (set, seed) pairs, set by set."""
        return [(name, seed) for name in self.sets for seed in self.seeds]


def check_memory(processes: int) -> None:
    """Raise ValueError if so many worlds do not fit into the free memory."""
    free = psutil.virtual_memory().available
    if processes * WORLD_BYTES > free:
        raise ValueError(
            f'{processes} worlds need about {processes * WORLD_BYTES / 1e9:.1f} GB, '
            f'{free / 1e9:.1f} GB are free; use --processes {max(1, int(free // WORLD_BYTES))}')


def check_statistics(checkpoint: Path, unnorm_key: str | None) -> None:
    """Raise ValueError if a checkpoint's actions cannot be this arm's deltas of 0.2 s."""
    stats = inspect(checkpoint).norm_stats
    for key in [unnorm_key] if unnorm_key in stats else stats:
        low, high = stats[key].q01, stats[key].q99
        if len(low) != 7:
            raise ValueError(f'the statistics {key!r} of {checkpoint} have {len(low)} numbers an '
                             'action; the suite takes 7: xyz, rpy, gripper')
        reach = np.maximum(np.abs(low), np.abs(high))
        for name, part, limit in (('translation', reach[:3], LARGEST_STEP_M),
                                  ('rotation', reach[3:6], LARGEST_STEP_RAD)):
            if part.max() > limit:
                raise ValueError(
                    f'the statistics {key!r} of {checkpoint} reach a {name} of {part.max():.3g} '
                    f'in one step of 0.2 s; deltas stay below {limit}. Choose the data set that '
                    f'fits with --unnorm-key (there are: {", ".join(stats)})')


def fingerprint(checkpoint: Path) -> str:
    """Return a hash of a checkpoint's files: JSON whole, weights by size, first and last MiB."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.iterdir()):
        if path.suffix not in ('.json', '.safetensors', '.pt') or path.name == 'provenance.json':
            continue
        size = path.stat().st_size
        digest.update(f'{path.name} {size} '.encode())
        with path.open('rb') as file:
            digest.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            digest.update(file.read())
    return digest.hexdigest()[:16]


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


def check_senses(summary: CheckpointSummary) -> None:
    """
    Refuse a policy that reads what the simulated world does not show.

    :raises ValueError: further cameras, or a robot state whose layout is not said
    """
    if summary.cameras != (MAIN_CAMERA,):
        raise ValueError(f'the policy reads the cameras {", ".join(summary.cameras)}; the '
                         'simulated world has one. Evaluate a policy with one camera')
    if summary.reads_proprio and not summary.proprio_layout:
        fitting = [name for name, dim in PROPRIO_LAYOUTS.items() if dim == summary.proprio_dim]
        raise ValueError(f'the policy reads {summary.proprio_dim} numbers of robot state, and '
                         'its config.json does not say which. Add proprio_layout, one of: '
                         f'{", ".join(fitting) or "none has that length"}')


def _play_policy(policy: Policy, config: EvaluateConfig, tasks: list[Task],
                 inference_ms: list[float],
                 pool: WorldPool | None = None) -> Iterator[EpisodeResult]:
    def act(observations: list) -> list:
        chunks = policy.act_batch(observations)
        inference_ms.append(policy.timing.inference_ms / len(observations))
        return chunks

    if not tasks:
        return
    summary = policy.summary
    # What VLA-Cache carries from step to step is one world's, and one episode's.
    alone = config.runtime == 'vla-cache'
    processes = 1 if alone else min(config.processes or os.cpu_count() or 1, len(tasks))
    with nullcontext(pool) if pool is not None and not alone else WorldPool(
            processes, summary.image_size_px, episode_set=tasks[0][0],
            proprio_layout=summary.proprio_layout) as worlds:
        for some in [[task] for task in tasks] if alone else [tasks]:
            policy.reset()
            yield from play(worlds, act, some, stop_on_success=config.stop_on_success,
                            keep_frames=config.videos > 0 or config.strips > 0)


def _alone(policy: Policy) -> dict:
    """Measure a policy by itself: its weights in memory and one observation at a time."""
    blank, times = policy.blank_observation(), []
    for call in range(SINGLE_CALLS):  # never the same image twice: a runtime would answer at once
        chunk = policy.act(replace(blank, image=blank.image + call + 2))
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
        by_group[AXES[result.episode_set].group].append(result)
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


def evaluate(config: EvaluateConfig, pool: WorldPool | None = None) -> dict:
    """
    Play all episodes, write results.json and return its content.

    :param pool: worlds that are there already, for one evaluation after the other
    """
    name = 'expert' if config.expert else config.checkpoint.name
    out = config.out or Path('runs/evaluate') / name
    for each in config.sets:
        check_ready(each)
    if not config.expert:
        check_statistics(config.checkpoint, config.unnorm_key)
        check_memory(min(config.processes or os.cpu_count() or 1, len(config.tasks)))
    journal = Journal(out, {
        'policy': 'expert' if config.expert else fingerprint(config.checkpoint),
        'unnorm_key': config.unnorm_key, 'stop_on_success': config.stop_on_success,
        'packages': package_versions(),
        # Named where it is not the default, so that journals from before it still count.
        **({'runtime': config.runtime} if config.runtime != 'eager' else {})}, config.fresh)
    tasks = journal.missing(config.tasks)
    inference_ms: list[float] = []
    alone = None
    if config.expert:
        def again(some: list[Task]) -> Iterator[EpisodeResult]:
            return play_expert(some, config.stop_on_success)
    else:
        check_senses(inspect(config.checkpoint))
        policy = Policy.open(config.checkpoint, config.device, config.unnorm_key,
                             runtime=config.runtime)
        policy.warm_up()
        alone = _alone(policy)

        def again(some: list[Task]) -> Iterator[EpisodeResult]:
            return _play_policy(policy, config, some, inference_ms, pool)

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
        'alone': alone, 'commit': source_commit(), 'packages': package_versions(),
        'machine': machine(), 'episodes': [as_json(result) for result in results]}
    if config.strips:
        write_strips(out / 'strips', [journal.results[name, seed] for name in config.sets
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
    table = Table(title=f"{document['checkpoint']} on {document['config']['episode_set']}")
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
