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
Measure success in simulation: `rlrc evaluate checkpoints/nano --episodes 200`.

Plays held-out seeds in process, one batched policy over several worlds, 80 steps an episode as
the suite does, and writes OUT/results.json: every episode, then success_once (at any step, as
RLinf counts) and success_at_end (at the last step, as RL4VLA counts) with 95 % Wilson intervals,
by object.
`--expert` plays the scripted expert instead of a checkpoint.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
import json
import os
from pathlib import Path
import time
from typing import Annotated

import numpy as np
from rich.console import Console
from rich.table import Table
from rlrc_ros.vla.checkpoint import CheckpointSummary, inspect
from rlrc_ros.vla.config import MAIN_CAMERA, PROPRIO_LAYOUTS
from rlrc_ros.vla.policy import Policy
from rlrc_sim.expert import expert_action
from rlrc_sim.rollout import EpisodeResult, play, WorldPool
from rlrc_sim.suites import EPISODE_SETS, HELD_OUT_SEEDS
from rlrc_sim.world import World
from rlrc_training.command_line import run_verb
from rlrc_training.intervals import rate_with_interval, wilson_interval
from rlrc_training.provenance import machine, package_versions, source_commit
from tqdm import tqdm
import tyro


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and on what."""

    checkpoint: Annotated[Path, tyro.conf.Positional] = Path('checkpoints/nano')
    """Checkpoint folder."""
    episodes: int = 200
    """How many episodes."""
    first_seed: int = 0
    """Held-out seeds count up from here."""
    episode_set: str = 'ind'
    """Which family of worlds (see rlrc_sim.suites)."""
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
    unnorm_key: str = ''
    """Data set whose statistics scale the actions; needed where a checkpoint holds several."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f'episodes must be at least 1, got {self.episodes}')
        if self.episode_set not in EPISODE_SETS:
            raise ValueError(f'episode_set {self.episode_set!r} is not known; '
                             f'there are: {", ".join(EPISODE_SETS)}')
        last = self.first_seed + self.episodes - 1
        if self.first_seed not in HELD_OUT_SEEDS or last not in HELD_OUT_SEEDS:
            raise ValueError(f'seeds {self.first_seed} ... {last} are not all held out; use '
                             f'{HELD_OUT_SEEDS.start} ... {HELD_OUT_SEEDS.stop - 1}')

    @property
    def seeds(self) -> range:
        """Return the seeds to play."""
        return range(self.first_seed, self.first_seed + self.episodes)


def play_expert(config: EvaluateConfig) -> Iterator[EpisodeResult]:
    """Play the expert, without noise, in one world of this process."""
    world = World((64, 64))
    for seed in config.seeds:
        world.reset(seed, config.episode_set)
        reward, first = 0.0, None
        for _ in range(world.max_episode_steps):
            step = world.step(expert_action(world.truth()))
            reward += step.reward
            if step.success and first is None:
                first = step.steps
            if config.stop_on_success and step.success:
                break
        yield EpisodeResult(
            seed, config.episode_set, world.instruction, step.success_once, step.success,
            step.grasped, step.steps, first, reward)
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


def _play_policy(policy: Policy, config: EvaluateConfig,
                 inference_ms: list[float]) -> Iterator[EpisodeResult]:
    def act(observations: list) -> list:
        chunks = policy.act_batch(observations)
        inference_ms.append(policy.timing.inference_ms / len(observations))
        return chunks

    summary = policy.summary
    with WorldPool(config.processes or os.cpu_count() or 1, summary.image_size_px,
                   proprio_layout=summary.proprio_layout) as pool:
        yield from play(pool, act, config.seeds, episode_set=config.episode_set,
                        stop_on_success=config.stop_on_success)


def summarise(results: list[EpisodeResult]) -> dict:
    """Return the counts, rates and intervals of some episodes, whole and by object."""
    def rates(group: list[EpisodeResult]) -> dict:
        entry: dict = {'episodes': len(group)}
        for name in ('success_once', 'success_at_end', 'grasped'):
            count = sum(getattr(result, name) for result in group)
            entry[name] = {'count': count, 'rate': count / len(group),
                           'wilson_95': wilson_interval(count, len(group))}
        return entry

    by_object = defaultdict(list)
    for result in results:
        by_object[result.instruction.removeprefix('put ').split(' on ')[0]].append(result)
    steps = [result.steps_to_success for result in results if result.steps_to_success]
    return {**rates(results), 'mean_steps_to_success': float(np.mean(steps)) if steps else None,
            'by_object': {name: rates(group) for name, group in sorted(by_object.items())}}


def evaluate(config: EvaluateConfig) -> dict:
    """Play all episodes, write results.json and return its content."""
    name = 'expert' if config.expert else config.checkpoint.name
    out = config.out or Path('runs/evaluate') / name
    out.mkdir(parents=True, exist_ok=True)
    inference_ms: list[float] = []
    if config.expert:
        episodes = play_expert(config)
    else:
        check_senses(inspect(config.checkpoint))
        policy = Policy.open(config.checkpoint, config.device, config.unnorm_key or None)
        policy.warm_up()
        episodes = _play_policy(policy, config, inference_ms)
    started, results = time.monotonic(), []
    with tqdm(total=config.episodes, desc=f'evaluate {name}', unit='episode') as bar:
        for result in episodes:
            results.append(replace(result, frames=()))
            bar.update()
            bar.set_postfix(once=f'{np.mean([each.success_once for each in results]):.3f}',
                            at_end=f'{np.mean([each.success_at_end for each in results]):.3f}')
    results.sort(key=lambda result: result.seed)
    seconds = time.monotonic() - started
    document = {
        'checkpoint': name, 'config': json.loads(json.dumps(asdict(config), default=str)),
        'summary': summarise(results), 'seconds': seconds,
        'steps_per_second': sum(result.steps for result in results) / seconds,
        'inference_ms': {'p50': float(np.percentile(inference_ms, 50)),
                         'p95': float(np.percentile(inference_ms, 95))} if inference_ms else None,
        'commit': source_commit(), 'packages': package_versions(), 'machine': machine(),
        'episodes': [{name: value for name, value in asdict(result).items() if name != 'frames'}
                     for result in results]}
    (out / 'results.json').write_text(json.dumps(document, indent=1))
    return document


def print_table(document: dict) -> None:
    """Print the rates by object and in all."""
    summary = document['summary']
    table = Table(title=f"{document['checkpoint']} on {document['config']['episode_set']}")
    for heading in ('object', 'success once', 'success at end', 'grasped'):
        table.add_column(heading)
    rows = {**summary['by_object'], 'all': summary}
    for name, entry in rows.items():
        table.add_row(name, *(rate_with_interval(entry[key]['count'], entry['episodes'])
                              for key in ('success_once', 'success_at_end', 'grasped')))
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc evaluate`."""
    return run_verb('evaluate', EvaluateConfig,
                    lambda config: print_table(evaluate(config)), argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
