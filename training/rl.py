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
Reinforcement learning: `rlrc rl --init runs/sft/checkpoint --out runs/rl`.

PPO on the simulated task (RLRC's second half of recovery, arXiv 2506.17639): one transformer is
actor and critic, the reward is the suite's sparse one. Beside plain PPO: the critic is warmed up
before the policy moves, and an imitation term can hold the policy to demonstrations or to what it
began as. It differs from RL4VLA's code in what facts show to be quirks (see ppo.py), and counts
the value of where a truncated episode got to. Under `torchrun --nproc-per-node N -m
rlrc_training.rl ...` the same command uses N processes. All lies in OUT:

    checkpoint/            the best so far      metrics.jsonl, tb/    one entry an update
    state/                 to go on from        config.json           what was asked for

Interrupt it at any moment and run the same command again: it goes on from the last whole state.
"""

from contextlib import nullcontext
import logging
import os
from pathlib import Path
import shlex
import sys
import time

import numpy as np
from rlrc_ros.vla.checkpoint import Checkpoint, inspect, refuse_quantized
from rlrc_ros.vla.inspection import CheckpointSummary, statistics_document
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.policy import Policy
from rlrc_sim.rollout import play, WorldPool
from rlrc_sim.suites import check_ready
from rlrc_training import ranks
from rlrc_training.command_line import run_verb
from rlrc_training.cores import batching, beside_worlds
from rlrc_training.lora import merged_weights
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.resume import (
    append_metrics,
    check_same_run,
    keep_checkpoint,
    load_state,
    NOT_THE_RUN,
    resolved,
    round_as_kept,
    save_state,
    trim_metrics,
)
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_demonstrations import DemonstratedFrames
from rlrc_training.rl_learner import Learner, open_for_learning
from rlrc_training.rl_rollout import Batcher, Collector, Rollout
from rlrc_training.sft import VALIDATION_SEEDS
from tokenizers import Tokenizer
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

log = logging.getLogger('rlrc.rl')
MAY_CHANGE = (*NOT_THE_RUN, 'updates_without_reward', 'microbatch_size',
              'gradient_checkpointing')
JUDGED_BY = VALIDATION_SEEDS[5000:]
"""Not the first ones: by those the SFT that PPO starts from was chosen, and they flatter it."""


def rl(config: RlConfig, pool: WorldPool | None = None) -> Path:
    """
    Train; return the folder of the best checkpoint.

    :param pool: this rank's worlds, if they are there already; they stay open
    """
    # ---------------------------------------------------------------- the doors
    summary = _check_trainable(config.init)
    key = _unnorm_key(config, summary)
    check_ready(config.episode_set)
    device = ranks.start(config.device)
    envs = ranks.share('num_envs', config.num_envs)
    if ranks.is_first():
        check_same_run(config, MAY_CHANGE)
    ranks.barrier()
    if config.threads:
        torch.set_num_threads(config.threads)

    # -------------------------------------------------------------- the learner
    opened = open_for_learning(config, device)
    tokenizer = opened.tokenizer
    batcher = Batcher(opened.model, tokenizer)
    stats = summary.norm_stats[key]
    demonstrations = (DemonstratedFrames(config, summary.config, stats)
                      if config.bc == 'demonstrations' else None)
    learner = Learner(config, opened.model, batcher, envs, demonstrations)
    run = Progress(config)
    run.restore(learner)
    checkpoint = config.out / 'checkpoint'
    if run.update >= config.num_updates:
        log.info('done already checkpoint=%s %s=%.3f', checkpoint, config.best_by, run.best)
        ranks.stop()
        return checkpoint

    # ------------------------------------------------------------------ the loop
    processes = config.processes or max(1, (os.cpu_count() or 1) // ranks.world_size())
    bar = tqdm(total=config.num_updates * config.batch_size, unit='step', desc='rl',
               initial=run.update * config.batch_size, disable=not ranks.is_first())
    writer = (SummaryWriter(config.out / 'tb', purge_step=run.update * config.batch_size)
              if ranks.is_first() else None)
    worlds = (nullcontext(pool) if pool else
              WorldPool(len(envs), summary.image_size_px, episode_set=config.episode_set,
                        processes=processes))
    with worlds as pool:
        collector = Collector(config, pool, envs, batcher, stats)

        def judge() -> None:
            """Evaluate, and keep the checkpoint if it is the best so far."""
            scores = evaluate(learner, summary, tokenizer, key, pool)
            run.note(scores, writer, bar)
            if run.is_best(scores) and ranks.is_first():
                save_best(checkpoint, learner, tokenizer, summary, config, run, scores)

        if run.update == 0 and config.eval_episodes:
            judge()  # what PPO starts from; a run that never improves on it keeps it
        while run.update < config.num_updates:
            with beside_worlds(pool.processes):
                rollout = collector.collect(learner.model, learner.head, run.update)
            run.check_reward(rollout, learner)
            started = time.perf_counter()
            metrics = learner.learn(rollout, run.update)
            update_s = time.perf_counter() - started
            run.update += 1
            run.log(rollout, metrics, update_s, writer, bar)
            last = run.update == config.num_updates
            if last or run.update % config.eval_every == 0:
                judge()
            if last or run.update % config.save_every == 0:
                run.save(learner)
    bar.close()
    if writer is not None:
        writer.close()
    log.info('done checkpoint=%s %s=%.3f', checkpoint, config.best_by, run.best)
    ranks.stop()
    return checkpoint


def _check_trainable(folder: Path) -> CheckpointSummary:
    """Raise ValueError for a model that PPO here does not know how to train."""
    summary = refuse_quantized(inspect(folder), 'rl')
    parallel = summary.config.parallel
    if summary.action_horizon != 1 or (
            parallel is not None and not parallel.is_one_picture_to_tokens):
        raise ValueError(
            f"{folder} answers {summary.action_horizon} actions by OpenVLA-OFT's "
            f'{parallel.head if parallel else "discrete"} head; PPO here judges the tokens of one '
            'action a step, from one picture. Start from an OpenVLA, or train this one by '
            'imitation with rlrc_training.oft.oft_loss')
    return summary


def _unnorm_key(config: RlConfig, summary: CheckpointSummary) -> str:
    keys = summary.unnorm_keys
    key = config.unnorm_key or (keys[0] if len(keys) == 1 else None)
    if key not in keys:
        raise ValueError(f'unnorm_key {config.unnorm_key!r} is not in {config.init}; it has: '
                         f'{", ".join(keys)}. Set --unnorm-key {keys[0]}')
    return key


def evaluate(learner: Learner, summary: CheckpointSummary, tokenizer: Tokenizer, key: str,
             pool: WorldPool) -> dict[str, float]:
    """
    Play the validation seeds, shared by the ranks; return both successes and the return.

    What is played is what would be kept, rounded as a file holds it. With --eval-stop-on-success
    only the first success is told.
    """
    config = learner.config
    if not config.eval_episodes:
        return {}
    once_only = config.eval_stop_on_success
    policy = Policy(Checkpoint(summary, as_kept(learner), tokenizer), key)
    generator = torch.Generator(learner.device).manual_seed(config.seed)
    seeds = JUDGED_BY[:config.eval_episodes][ranks.rank()::ranks.world_size()]
    sums = torch.zeros(3, dtype=torch.double)
    rows, together = batching(len(pool))
    with beside_worlds(pool.processes):
        for result in play(
                pool, lambda seen: [chunk.actions[0] for chunk in policy.act_batch(
                    seen, config.eval_temperature, generator, rows)],
                seeds, episode_set=config.episode_set, stop_on_success=once_only,
                together=together):
            sums += torch.tensor(
                [result.success_once, result.success_at_end, result.total_reward])
    once, at_end, total = (ranks.add_up(sums.to(learner.device)) / config.eval_episodes).tolist()
    return {'success_once': once} | ({} if once_only else {
        'success_at_end': at_end, 'episodic_return': total})


def as_kept(learner: Learner) -> Vla:
    """Return a copy of the policy, adapters merged, with the weights that a checkpoint holds."""
    kept = skeleton(learner.model.config)
    kept.load_state_dict({name: each.detach().clone() for name, each in merged_weights(
        learner.model).items()}, assign=True)
    round_as_kept(kept)
    return kept.eval().requires_grad_(False)


def save_best(folder: Path, learner: Learner, tokenizer: Tokenizer, summary: CheckpointSummary,
              config: RlConfig, run: 'Progress', scores: dict[str, float]) -> None:
    """Write a checkpoint, adapters merged, with all that its evaluation said."""
    model = skeleton(learner.model.config)
    model.load_state_dict(merged_weights(learner.model), assign=True)
    stage = {
        'name': 'rl', 'command': shlex.join(['rlrc', 'rl', *sys.argv[1:]]),
        'config': resolved(config), 'seed': config.seed, 'commit': source_commit(),
        'packages': package_versions(), 'machine': machine(), 'parent': str(config.init),
        'update': run.update, 'env_steps': run.update * config.batch_size,
        'ranks': ranks.world_size(),
        'measured': {**scores, 'episodes': config.eval_episodes,
                     'seeds': f'{JUDGED_BY.start}+'}}
    keep_checkpoint(folder, model, tokenizer, statistics_document(summary.folder),
                    {'stages': [*summary.provenance.get('stages', []), stage]})


class Progress:
    """How far the run is, what it has seen, and how that is told and saved."""

    def __init__(self, config: RlConfig):
        self._config = config
        self.update = 0
        self.best = -1.0
        self._reward_seen = False

    def restore(self, learner: Learner) -> None:
        """Go on from OUT/state if it is there."""
        found = load_state(self._config.out / 'state')
        if found is None:
            if ranks.is_first():
                trim_metrics(self._config.out / 'metrics.jsonl', 'update', -1)
            return
        tensors, progress = found
        learner.restore(tensors)
        learner.warming_up = progress['warming_up']
        learner.policy_updates = progress['policy_updates']
        self.update, self.best = progress['update'], progress['best']
        self._reward_seen = progress['reward_seen']
        if ranks.is_first():
            trim_metrics(self._config.out / 'metrics.jsonl', 'update', self.update)
        log.info('resume update=%d env_steps=%d best=%.3f', self.update,
                 self.update * self._config.batch_size, self.best)

    def save(self, learner: Learner) -> None:
        """Write OUT/state; random streams are functions of the seed and the update's number."""
        if ranks.is_first():
            save_state(self._config.out / 'state', learner.state(), {
                'update': self.update, 'best': self.best, 'reward_seen': self._reward_seen,
                'warming_up': learner.warming_up, 'policy_updates': learner.policy_updates})
        ranks.barrier()

    def check_reward(self, rollout: Rollout, learner: Learner) -> None:
        """
        Say so while no reward was ever other than zero, and end a run that learns from noise.

        :raises ValueError: none in updates_without_reward updates
        """
        config = self._config
        paid = ranks.add_up((rollout.rewards != 0).sum().to(learner.device).float())
        self._reward_seen |= bool(paid > 0)
        if self._reward_seen:
            return
        played = (self.update + 1) * config.batch_size
        log.warning('no reward in the first %d steps: no object was grasped. %s', played,
                    'Advantages are noise until one is')
        if config.updates_without_reward and self.update + 1 >= config.updates_without_reward:
            raise ValueError(
                f'the reward was zero in all {played} steps of {self.update + 1} updates, so '
                f'there is nothing to learn from; train {config.init} further with `rlrc sft`, '
                'or set --updates-without-reward 0 to go on all the same')

    def is_best(self, scores: dict[str, float]) -> bool:
        """Say whether an evaluation is at least as good as every one before, and remember it."""
        score = scores.get(self._config.best_by, self.best)
        if score < self.best:
            return False
        self.best = score
        return True

    def note(self, scores: dict[str, float], writer: SummaryWriter | None, bar: tqdm) -> None:
        """Tell an evaluation."""
        if writer is None or not scores:
            return
        step = self.update * self._config.batch_size
        for name, value in scores.items():
            writer.add_scalar(f'eval/{name}', value, step)
        append_metrics(self._config.out / 'metrics.jsonl', {
            'update': self.update, 'env_steps': step, 'eval': scores})
        bar.write(f'update={self.update} ' + ' '.join(
            f'{name}={value:.3f}' for name, value in scores.items())
            + f' n={self._config.eval_episodes}')

    def log(self, rollout: Rollout, metrics: dict[str, float], update_s: float,
            writer: SummaryWriter | None, bar: tqdm) -> None:
        """Tell an update: TensorBoard, metrics.jsonl, the progress line."""
        config = self._config
        episodes = rollout.episodes
        sums = torch.tensor([
            float(len(episodes)), sum(each.episodic_return for each in episodes),
            sum(each.length for each in episodes), sum(each.success_once for each in episodes),
            sum(each.success_at_end for each in episodes),
            float(rollout.first_success.sum())], dtype=torch.double)
        count, *rest, first = ranks.add_up(sums).tolist()
        if writer is None:
            return
        names = ('episodic_return', 'episodic_length', 'success_once', 'success_at_end')
        charts = {name: value / count for name, value in zip(names, rest)} if count else {}
        charts |= {'first_success': first / config.num_envs,
                   'SPS': config.batch_size / (rollout.seconds + update_s),
                   'rollout_SPS': config.batch_size / rollout.seconds,
                   'learning_rate': metrics.pop('learning_rate')}
        times = {'simulate_s': rollout.simulate_s, 'infer_s': rollout.infer_s,
                 'update_s': update_s}
        tagged = {**{f'charts/{name}': value for name, value in charts.items()},
                  **{f'losses/{name}': value for name, value in metrics.items()},
                  **{f'time/{name}': value for name, value in times.items()}}
        step = self.update * config.batch_size
        for tag, value in tagged.items():
            writer.add_scalar(tag, value, step)
        append_metrics(config.out / 'metrics.jsonl', {
            'update': self.update, 'env_steps': step,
            **{tag: None if np.isnan(value) else value for tag, value in tagged.items()}})
        bar.update(config.batch_size)
        bar.set_postfix_str(' '.join(
            [f'return={charts.get("episodic_return", float("nan")):.3f}',
             f'success={charts["first_success"]:.2f}',
             f'ev={metrics["explained_variance"]:.2f}', f'kl={metrics.get("approx_kl", 0):.4f}',
             'critic alone' if metrics['critic_warmup'] else 'policy',
             f'rollout={charts["rollout_SPS"]:.0f}/s',
             *(f'{name}={value:.1f}' for name, value in times.items())]))


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc rl`."""
    return run_verb('rl', RlConfig, rl, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
