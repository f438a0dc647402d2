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
Supervised fine-tuning: `rlrc sft --data runs/demos --preset nano --out runs/nano`.

OpenVLA's loss, cross-entropy on the 7 action tokens and the end token, with two things that
training from scratch on small data wants, both options: targets softened over neighbouring bins,
and an auxiliary head that regresses where things are, from the image tokens and from the
decoder's state, during training only (grounding.py). The checkpoint that is kept is the one with
the highest closed-loop success on validation seeds, with averaged weights; all lies in OUT:

    checkpoint/            the best so far      metrics.jsonl, tb/    losses and success
    state/                 to go on from        config.json           what was asked for

Interrupt it at any moment and run the same command again. Batches are a function of (seed, step),
so a resumed run is the run that was not interrupted.

A pruned checkpoint is brought back with --init, with --lora-rank for adapters instead of all
weights, and with --distill for a dense policy's probabilities as targets. --decoding parallel
makes a policy that answers in one pass, from scratch or from one that decodes token after token,
and --action-horizon 8 one that answers eight actions at once. Under `torchrun
--nproc-per-node N -m rlrc_training.sft ...` the same command uses N processes.
"""

from dataclasses import replace
from functools import partial
import logging
from pathlib import Path
import shlex
import sys

import numpy as np
from rlrc_ros.vla import prompt
from rlrc_ros.vla.checkpoint import (
    Checkpoint,
    inspect,
    open_checkpoint,
    refuse_quantized,
    save_checkpoint,
)
from rlrc_ros.vla.config import ParallelConfig, VlaConfig
from rlrc_ros.vla.inspection import statistics_document
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.policy import Policy
from rlrc_sim.rollout import play, WorldPool
from rlrc_training import ranks
from rlrc_training.command_line import run_verb
from rlrc_training.cores import batching, beside_worlds, worlds_for
from rlrc_training.frames import draw, Frames, load_frames
from rlrc_training.presets import preset
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.resume import (
    append_metrics,
    check_same_run,
    keep_checkpoint,
    resolved,
    round_as_kept,
    trim_metrics,
)
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import Batch, batch_loss, Losses, soft_targets
from rlrc_training.sharding import check_shareable
from rlrc_training.trainer import Trainer
from tokenizers import Tokenizer
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

log = logging.getLogger('rlrc.sft')
VALIDATION_SEEDS = range(90_000, 100_000)
"""For choosing the best checkpoint; final evaluations count up from 0 and never meet these."""
PROMPT_ROOM = 64
"""Tokens kept free for a prompt; the suite's longest instruction takes fewer."""
TOKEN_TABLES = ('language_model.model.embed_tokens.weight', 'language_model.lm_head.weight')
MAY_CHANGE = ('processes', 'threads', 'save_every', 'device', 'accumulate',
              'gradient_checkpointing', 'shard')


def closed_loop_success(policy: Policy, pool: WorldPool, episodes: int,
                        episode_set: str = 'ind') -> float:
    """Return the share of validation seeds that the policy solves at some step."""
    with beside_worlds(pool.processes):
        rows, together = batching(len(pool))
        results = list(play(
            pool, partial(policy.act_batch, rows=rows), VALIDATION_SEEDS[:episodes],
            episode_set=episode_set, stop_on_success=True, together=together))
    return sum(result.success_once for result in results) / episodes


def _provenance(config: SftConfig, trainer: Trainer, frames: Frames, success: float | None,
                parent: dict) -> dict:
    stage = {
        'command': shlex.join(['rlrc', 'sft', *sys.argv[1:]]),
        'config': resolved(config),
        'seed': config.seed, 'commit': source_commit(), 'packages': package_versions(),
        'machine': machine(), 'parent': str(config.init) if config.init else None,
        'step': trainer.step, 'frames': len(frames.images),
        'train_seconds': round(trainer.seconds),
        'measured': {'success_once': success, 'episodes': config.eval_episodes,
                     'seeds': f'{VALIDATION_SEEDS.start}+'}}
    return {'stages': [*parent.get('stages', []), {'name': 'sft', **stage}]}


def _check_trainable(folder: Path) -> None:
    """Raise ValueError for a model that this training does not know how to train."""
    summary = inspect(folder)
    refuse_quantized(summary, 'sft')
    parallel = summary.config.parallel
    if parallel is not None and not parallel.is_one_picture_to_tokens:
        raise ValueError(
            f'{folder} is an OpenVLA-OFT that regresses its actions or reads more than one '
            'camera; sft trains action tokens from one picture. Its loss is '
            'rlrc_training.oft.oft_loss')


def _with_decoding(vla: VlaConfig, config: SftConfig) -> VlaConfig:
    """
    Return the architecture with the way of decoding that is asked for; its weights are the same.

    :raises ValueError: the answer does not fit behind a prompt, or tokens move that nothing reads
    """
    parallel = vla.parallel
    if config.decoding == 'parallel' and parallel is None:
        parallel = ParallelConfig('discrete')
    horizon = config.action_horizon or vla.action.horizon
    vla = replace(vla, parallel=parallel, action=replace(vla.action, horizon=horizon))
    if parallel is not None and config.token_jitter:
        raise ValueError(f'--token-jitter {config.token_jitter:g} moves the action tokens that a '
                         'policy reads of its own answer, and one that decodes in parallel reads '
                         'none; leave --token-jitter away')
    room = vla.decoder.max_length - vla.context_tokens - PROMPT_ROOM
    if vla.action_tokens + 1 > room:
        raise ValueError(f'action_horizon {horizon} is {vla.action_tokens} tokens, behind image '
                         f'and prompt {room} fit; set --action-horizon {room // vla.action.dim}')
    return vla


def _with_crop(model: Vla, config: SftConfig) -> VlaConfig:
    """
    Return how the demonstrations' images are prepared, and let the model crop what it acts on.

    OpenVLA's augmentation cuts its own 90 % out of a whole picture; whoever learns so is shown
    the middle 90 % afterwards.
    """
    if config.augmentation != 'openvla':
        return model.config
    whole, cropped = (replace(model.config.image, center_crop=each) for each in (False, True))
    model.config = replace(model.config, image=cropped)
    return replace(model.config, image=whole)


def open_model(config: SftConfig, device: torch.device) -> tuple[Vla, Tokenizer, dict, dict]:
    """Open --init or make a fresh model; return it, its tokenizer, statistics, provenance."""
    if config.init is None:
        vla, tokenizer = preset(config.preset)
        model = Vla(_with_decoding(vla, config))
        model.initialise(torch.Generator().manual_seed(config.seed))
        if config.warm_start is not None:
            _copy_what_fits(open_checkpoint(config.warm_start), model, tokenizer)
        return model, tokenizer, {}, {}
    # Frozen weights under adapters need no fp32; weights that train do.
    halved = config.precision == 'bf16' and config.lora_rank
    opened = open_checkpoint(config.init, device, torch.bfloat16 if halved else torch.float32)
    opened.model.config = _with_decoding(opened.model.config, config)
    return (opened.model.requires_grad_(True), opened.tokenizer,
            statistics_document(opened.summary.folder), opened.summary.provenance)


@torch.no_grad()
def _copy_what_fits(source: Checkpoint, model: Vla, tokenizer: Tokenizer) -> None:
    theirs, ours = source.model.state_dict(), model.state_dict()
    fitting = [name for name, each in ours.items()
               if name in theirs and theirs[name].shape == each.shape]
    if not fitting:
        raise ValueError('no tensor of --warm-start has the name and shape of one of the preset; '
                         'choose a checkpoint of the same hidden_size, or leave it away')
    rows = _rows_in_common(source, model.config, tokenizer)
    for name in fitting:
        if name not in TOKEN_TABLES:
            ours[name].copy_(theirs[name])
    for name in TOKEN_TABLES:
        if name in theirs and theirs[name].shape[1] == ours[name].shape[1]:
            ours[name][rows[0]] = theirs[name][rows[1]]
    log.info('warm start tensors=%d of=%d parameters=%d tokens=%d', len(fitting), len(ours),
             sum(ours[name].numel() for name in fitting), len(rows[0]))


def _rows_in_common(source: Checkpoint, config: VlaConfig,
                    tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return our ids and theirs of the tokens that mean the same: by text, and the action bins."""
    known = source.tokenizer.get_vocab()
    both = [(row, known[text]) for text, row in tokenizer.get_vocab().items() if text in known]
    ours, theirs = config.action, source.summary.config.action
    if ours.bins == theirs.bins:
        both += [(ours.vocab_end - each, theirs.vocab_end - each)
                 for each in range(1, ours.bins + 1)]
    return [each for each, _ in both], [each for _, each in both]


def open_teacher(config: SftConfig, model: Vla, tokenizer: Tokenizer, statistics: dict,
                 device: torch.device) -> Vla | None:
    """
    Open --distill's dense policy.

    :raises ValueError: its tokens, images or statistics mean something else than the student's
    """
    if config.distill is None:
        return None
    summary = inspect(config.distill)
    ours, theirs = model.config, summary.config
    if (ours.action, ours.image_size, ours.prompt, ours.parallel) != (
            theirs.action, theirs.image_size, theirs.prompt, theirs.parallel) or [
            (each.mean, each.std) for each in ours.towers] != [
            (each.mean, each.std) for each in theirs.towers]:
        raise ValueError(f'{config.distill} has other action tokens, images or prompts than the '
                         'model to train; distil from the policy that it was pruned from')
    stats = summary.norm_stats.get(config.dataset_name)
    entry = statistics[config.dataset_name]['action']
    if stats is None or not (np.allclose(stats.q01, entry['q01'])
                             and np.allclose(stats.q99, entry['q99'])):
        raise ValueError(
            f'{config.distill} scales its actions otherwise than {config.dataset_name!r} does '
            'here, so its tokens mean other movements; start with --init and --keep-statistics')
    dtype = torch.bfloat16 if device.type == 'cuda' else torch.float32
    teacher = open_checkpoint(config.distill, device, dtype)
    sample = 'put can on red plate'
    if prompt.encode(sample, teacher.tokenizer, theirs) != prompt.encode(sample, tokenizer, ours):
        raise ValueError(f'{config.distill} has another tokenizer than the model to train')
    return teacher.model


def sft(config: SftConfig) -> Path:
    """Train; return the folder of the best checkpoint."""
    # ---------------------------------------------------------------- the doors
    if config.init is not None:
        _check_trainable(config.init)
    device = ranks.start(config.device)
    if config.shard:
        check_shareable(config.batch_size, config.accumulate)
    if ranks.is_first():
        check_same_run(config, MAY_CHANGE)
    ranks.barrier()
    torch.manual_seed(config.seed)  # first values of biases and of the auxiliary head
    if config.threads:
        torch.set_num_threads(config.threads)

    # -------------------------------------------------------------- model and data
    model, tokenizer, statistics, parent = open_model(config, device)
    as_seen = _with_crop(model, config)
    frames, statistics = load_frames(config, as_seen, tokenizer,
                                     statistics if config.keep_statistics else None)
    teacher = open_teacher(config, model, tokenizer, statistics, device)
    trainer = Trainer(config, model, device, len(frames.kinds), {
        'answers': frames.count, 'statistics': statistics[config.dataset_name]['action']})
    if trainer.restore():
        log.info('resume step=%d best_success=%.3f', trainer.step, trainer.best_success)
    soft = soft_targets(model.config, config.bin_sigma).to(device)
    writer = None
    if ranks.is_first():  # a kill may have come after an evaluation and before its state
        trim_metrics(config.out / 'metrics.jsonl', 'step', trainer.step)
        writer = SummaryWriter(config.out / 'tb', purge_step=trainer.step + 1)
    log.info('train frames=%d answers=%d parameters=%d trained=%d device=%s ranks=%d',
             len(frames.images), frames.count,
             sum(each.numel() for each in model.parameters()),
             sum(each.numel() for each in model.parameters() if each.requires_grad), device,
             ranks.world_size())
    pool = (WorldPool(min(worlds_for(config.processes), config.eval_episodes),
                      (model.config.image_size,) * 2, episode_set=config.episode_set,
                      processes=config.processes)
            if config.eval_episodes and ranks.is_first() else None)
    checkpoint = config.out / 'checkpoint'
    bar = tqdm(total=config.steps, initial=trainer.step, desc='sft', unit='step', mininterval=2.0,
               disable=not ranks.is_first())

    # ------------------------------------------------------------------ the loop
    try:
        while trainer.step < config.steps:
            rng = np.random.default_rng([config.seed, trainer.step])
            rows = draw(frames, config, rng)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            batch = Batch.draw(rows, config, model.config, generator)
            model.train()
            # In one piece: the sentences of a picture stay with it.
            mine = np.array_split(np.arange(len(rows)), ranks.world_size())[ranks.rank()]
            parts = [batch.part(each) for each in np.array_split(mine, config.accumulate)
                     if len(each)]
            losses, norm = trainer.update([
                (len(part.rows) / len(rows), lambda part=part: batch_loss(
                    model, trainer.auxiliary, config, frames, part, soft, device, teacher))
                for part in parts])
            bar.update()
            if trainer.step % 20 == 0 and writer is not None:
                _log(writer, bar, trainer.step, losses, norm)
            due = trainer.step == config.steps
            judged = due or trainer.step % config.eval_every == 0
            averaged = trainer.averaged_model() if judged else None
            if averaged is not None:
                success = _evaluate(averaged, tokenizer, statistics, config, pool)
                writer.add_scalar('eval/success_once', success or 0.0, trainer.step)
                tqdm.write(f'step={trainer.step} success_once={success} '
                           f'n={config.eval_episodes} best={max(trainer.best_success, 0):.3f}')
                if success is None or success >= trainer.best_success:
                    trainer.best_success = -1.0 if success is None else success
                    keep_checkpoint(
                        checkpoint, averaged, tokenizer, statistics, _provenance(
                            config, trainer, frames, success, parent))
                append_metrics(config.out / 'metrics.jsonl', {
                    'step': trainer.step, 'success_once': success,
                    'loss': float(losses.action), 'l1': float(losses.l1),
                    'token_accuracy': float(losses.token_accuracy),
                    'gripper_accuracy': float(losses.gripper_accuracy)})
            averaged = None  # a copy's memory is not kept over the next step
            if due or trainer.step % config.save_every == 0:
                trainer.save()
        ranks.barrier()
    finally:
        bar.close()
        if writer is not None:
            writer.close()
        if pool is not None:
            pool.close()
    log.info('done checkpoint=%s best_success=%.3f', checkpoint, trainer.best_success)
    ranks.stop()
    return checkpoint


def _evaluate(model: Vla, tokenizer: Tokenizer, statistics: dict, config: SftConfig,
              pool: WorldPool | None) -> float | None:
    if pool is None:
        return None
    round_as_kept(model)
    candidate = save_checkpoint(config.out / 'candidate', model, tokenizer, statistics, {})
    policy = Policy(Checkpoint(inspect(candidate), model, tokenizer), config.dataset_name)
    return closed_loop_success(policy, pool, config.eval_episodes, config.episode_set)


def _log(writer: SummaryWriter, bar: tqdm, step: int, losses: Losses, norm: float) -> None:
    values = {'action': losses.action, 'auxiliary': losses.auxiliary,
              'token_accuracy': losses.token_accuracy, 'l1': losses.l1,
              'gripper_accuracy': losses.gripper_accuracy, 'grad_norm': norm}
    for name, value in values.items():
        writer.add_scalar(f'losses/{name}', float(value), step)
    bar.set_postfix(loss=f'{float(losses.action):.3f}', aux=f'{float(losses.auxiliary):.4f}',
                    acc=f'{float(losses.token_accuracy):.3f}', l1=f'{float(losses.l1):.4f}',
                    grip=f'{float(losses.gripper_accuracy):.2f}', refresh=False)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc sft`."""
    return run_verb('sft', SftConfig, sft, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
