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
and an auxiliary head that regresses object, plate and gripper from the image tokens during
training only. The checkpoint that is kept is the one with the highest closed-loop success on
validation seeds, with averaged weights; all lies in OUT:

    checkpoint/            the best so far      metrics.jsonl, tb/    losses and success
    state/                 to go on from        config.json           what was asked for

Interrupt it at any moment and run the same command again. Batches are a function of (seed, step),
so a resumed run is the run that was not interrupted.

Legend: B batch, K targets (7 action tokens and the end token), V vocabulary, P patches.
"""

from dataclasses import asdict, dataclass
import json
import logging
import math
from pathlib import Path
import shlex
import sys
import time
from typing import Annotated

import numpy as np
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.actions import ActionTokenizer, NormStats, statistics_of
from rlrc_ros.vla.checkpoint import (
    Checkpoint,
    inspect,
    open_checkpoint,
    refuse_quantized,
    save_checkpoint,
    write_folder,
)
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.policy import Policy
from rlrc_sim.rollout import play, WorldPool
from rlrc_training.command_line import run_verb
from rlrc_training.data import DemonstrationError, load_episodes
from rlrc_training.presets import preset, PRESETS
from rlrc_training.provenance import machine, package_versions, source_commit
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
import torch
from torch import nn
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
import tyro

log = logging.getLogger('rlrc.sft')
VALIDATION_SEEDS = range(90_000, 100_000)
"""For choosing the best checkpoint; final evaluations count up from 0 and never meet these."""
IGNORE = -100


@dataclass(frozen=True)
class SftConfig:
    """What to train, on what, for how long."""

    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = (
        Path('runs/demos'),)
    """Folders made by `rlrc collect`."""
    out: Path = Path('runs/nano')
    """Folder for everything this run writes."""
    preset: str = 'nano'
    """Size of a model trained from scratch; ignored with --init."""
    init: Path | None = None
    """Checkpoint to start from instead of fresh weights."""
    dataset_name: str = 'rlrc_put_on_plate'
    """The unnorm_key under which the action statistics are saved."""
    episodes: int | None = None
    """Use at most so many episodes of each folder; all of them by default."""
    steps: int = 4000
    """Optimiser steps in all."""
    batch_size: int = 64
    """Frames in a step."""
    learning_rate: float = 1e-3
    """Peak of AdamW's rate, after the warm-up and before the cosine decay to a hundredth."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """AdamW's, on matrices alone."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.998
    """Decay of the averaged weights that are evaluated and kept; 0 keeps the plain ones."""
    keep_zeros: bool = False
    """Hold weights at zero that are zero in --init: masks of `rlrc prune --method wanda`."""
    bin_sigma: float = 3.0
    """Targets are softened over neighbouring bins with this deviation; 0 is OpenVLA's hard bin."""
    auxiliary_weight: float = 2.0
    """Weight of the auxiliary position loss; 0 leaves the head away."""
    colour_jitter: float = 0.15
    """Largest relative change of an image's brightness and contrast."""
    eval_every: int = 500
    """Steps between closed-loop evaluations; the last step is always evaluated."""
    eval_episodes: int = 40
    """Episodes of an evaluation; 0 keeps the last weights instead of the best."""
    save_every: int = 100
    """Steps between saved states to go on from."""
    processes: int = 2
    """Simulated worlds at once during evaluation."""
    threads: int = 0
    """CPU threads for torch; 0 leaves its default."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    seed: int = 0
    """Of initial weights, batches and jitter."""

    def __post_init__(self) -> None:
        if self.init is None and self.preset not in PRESETS:
            raise ValueError(f'preset {self.preset!r} is not known; '
                             f'there are: {", ".join(PRESETS)}')
        for name in ('steps', 'batch_size', 'eval_every', 'save_every', 'processes'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f'ema_decay must be 0 or more and below 1, got {self.ema_decay}')


# ------------------------------------------------------------------------ data


@dataclass(frozen=True)
class Frames:
    """Every frame of the demonstrations, in memory."""

    images: np.ndarray
    """(N, H, W, 3) uint8, of the model's size."""
    action_ids: np.ndarray
    """(N, 7) token ids."""
    actions: np.ndarray
    """(N, 7) normalised."""
    positions_m: np.ndarray
    """(N, 9) object, plate, end effector."""
    instruction: np.ndarray
    """(N,) index into prompts."""
    prompts: tuple[tuple[int, ...], ...]
    episode: np.ndarray
    """(N,) which episode a frame is of, counted from 0."""


def load_frames(config: SftConfig, vla: VlaConfig, tokenizer: Tokenizer,
                stats: NormStats | None = None) -> tuple[Frames, dict]:
    """
    Load the demonstrations; return frames and their dataset_statistics.json content.

    :param stats: normalise with these instead of what the demonstrations give
    :raises DemonstrationError: none there, or actions of another dimension
    """
    pictures, actions, positions, instruction, sentences = [], [], [], [], {}
    episodes = 0
    for episode in tqdm(load_episodes(list(config.data), config.episodes), desc='load',
                        unit='episode'):
        if episode.actions.shape[1] != vla.action.dim:
            raise DemonstrationError(
                f'seed {episode.seed} has actions of {episode.actions.shape[1]} numbers, the '
                f'model takes {vla.action.dim}; use demonstrations of the same robot')
        index = sentences.setdefault(episode.instruction, len(sentences))
        pictures += [images.prepare(image, vla) for image in episode.images]
        actions.append(episode.actions)
        positions.append(episode.positions_m)
        instruction.append(np.full(len(episode.actions), index))
        episodes += 1
    flat = np.concatenate(actions)
    statistics = {config.dataset_name: statistics_of(flat, episodes)}
    normalised = (stats or NormStats.from_json(statistics[config.dataset_name])).normalise(flat)
    frames = Frames(
        np.stack(pictures), ActionTokenizer(vla.action).encode(normalised), normalised,
        np.concatenate(positions), np.concatenate(instruction),
        tuple(tuple(prompt.encode(sentence, tokenizer, vla)) for sentence in sentences),
        np.repeat(np.arange(episodes), [len(each) for each in actions]))
    return frames, statistics


def teacher_forced(frames: Frames, rows: np.ndarray,
                   vla: VlaConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input_ids (B, T), where the targets stand in them (B, K), and the targets (B, K)."""
    sequences = [[*frames.prompts[frames.instruction[row]], *frames.action_ids[row].tolist(),
                  vla.eos_token_id] for row in rows]
    input_ids, lengths = prompt.pad(sequences, vla.pad_token_id)
    count = vla.action_tokens + 1
    where = lengths[:, None] - count + torch.arange(count)[None]
    return input_ids, where, input_ids.gather(1, where)


def jitter(pixels: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness and contrast of images uint8 (B, H, W, 3), each its own way."""
    if strength == 0.0:
        return pixels
    factor = 1.0 + strength * (
        2.0 * torch.rand(2, len(pixels), 1, 1, 1, generator=generator) - 1.0)
    scaled = pixels.float()
    mean = scaled.mean((1, 2, 3), keepdim=True)
    scaled = (scaled - mean) * factor[0] + mean * factor[1]
    return scaled.clamp(0, 255).to(torch.uint8)


# ------------------------------------------------------------------------ loss


def soft_targets(vla: VlaConfig, sigma: float) -> torch.Tensor:
    """
    Return (bins, bins): row i is the target distribution over action ids for the i-th lowest id.

    A Gaussian over the distance between bins; sigma 0 is one-hot.
    """
    bins = torch.arange(vla.action.bins, dtype=torch.float32)
    if sigma == 0.0:
        return torch.eye(vla.action.bins)
    weight = torch.exp(-0.5 * ((bins[None] - bins[:, None]) / sigma).square())
    return weight / weight.sum(1, keepdim=True)


class AuxiliaryHead(nn.Module):
    """Image tokens (B, P, E) → positions (B, 9) in metres; exists during training only."""

    def __init__(self, vla: VlaConfig):
        super().__init__()
        self.squeeze = nn.Linear(vla.decoder.hidden_size, 16)
        self.hidden = nn.Linear(16 * vla.num_patches, 128)
        self.out = nn.Linear(128, 9)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Regress object, plate and end-effector positions."""
        x = functional.gelu(self.squeeze(patches)).flatten(1)
        return self.out(functional.gelu(self.hidden(x)))


@dataclass(frozen=True)
class Losses:
    """What one batch cost, and how well it was predicted."""

    total: torch.Tensor
    action: torch.Tensor
    auxiliary: torch.Tensor
    token_accuracy: torch.Tensor
    l1: torch.Tensor
    """Mean absolute error of the normalised action, from the most likely tokens."""


def token_losses(model: Vla, hidden: torch.Tensor, targets: torch.Tensor,
                 soft: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return what every target costs (B, K), and the log-probabilities (B, 7, bins) of action ids.

    :param hidden: (B, K, E), behind the decoder's last norm, at the positions before the targets
    :param soft: (bins, bins), see soft_targets()
    """
    vla = model.config
    logprobs = functional.log_softmax(model.language_model.lm_head(hidden).float(), dim=-1)
    low_id = vla.action.vocab_end - vla.action.bins
    action_logprobs = logprobs[:, :-1, low_id:vla.action.vocab_end]  # (B, 7, bins)
    action_bins = targets[:, :-1] - low_id
    wanted = soft[action_bins]  # (B, 7, bins)
    gripper = functional.one_hot(action_bins[:, -1], vla.action.bins).to(wanted)
    wanted = torch.cat([wanted[:, :-1], gripper[:, None]], dim=1)  # the gripper is no scale
    token_loss = -(wanted * action_logprobs).sum(-1)  # (B, 7)
    end_loss = -logprobs[:, -1, vla.eos_token_id]
    return torch.cat([token_loss, end_loss[:, None]], dim=1), action_logprobs


def batch_loss(model: Vla, auxiliary: AuxiliaryHead | None, config: SftConfig, frames: Frames,
               rows: np.ndarray, soft: torch.Tensor, generator: torch.Generator,
               device: torch.device) -> Losses:
    """Run the frames `rows` (B,) through the model and compare with their actions."""
    vla = model.config
    pictures = jitter(torch.from_numpy(frames.images[rows]), config.colour_jitter, generator)
    pixels = images.to_pixels(pictures.to(device), vla.towers)
    input_ids, where, targets = (
        each.to(device) for each in teacher_forced(frames, rows, vla))
    patches = model.encode_image(pixels)
    hidden = model.gather_hidden(patches, input_ids, where)  # (B, K, E)
    token_loss, action_logprobs = token_losses(model, hidden, targets, soft)
    action = token_loss.mean()

    position = torch.zeros((), device=device)
    if auxiliary is not None:
        truth = torch.from_numpy(frames.positions_m[rows]).to(device)
        position = functional.smooth_l1_loss(auxiliary(patches), truth * 10.0, beta=0.1)
    with torch.no_grad():
        low_id = vla.action.vocab_end - vla.action.bins
        best = action_logprobs.argmax(-1)
        centers = torch.from_numpy(ActionTokenizer(vla.action).decode(
            (best + low_id).cpu().numpy())).to(device)
        l1 = (centers - torch.from_numpy(frames.actions[rows]).to(device)).abs().mean()
        accuracy = (best + low_id == targets[:, :-1]).float().mean()
    total = action + config.auxiliary_weight * position
    return Losses(total, action.detach(), position.detach(), accuracy, l1.float())


# -------------------------------------------------------------------- training


def learning_rate(step: int, config: SftConfig) -> float:
    """Return AdamW's rate at a step: linear warm-up, cosine decay to a hundredth."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class Trainer:
    """Model, averaged weights and optimiser, and how they are saved and restored."""

    def __init__(self, config: SftConfig, model: Vla, device: torch.device):
        self.config, self.model = config, model.to(device)
        self.auxiliary = (AuxiliaryHead(model.config).to(device)
                          if config.auxiliary_weight else None)
        parameters = dict(self.model.named_parameters())
        if self.auxiliary is not None:
            parameters |= {f'auxiliary.{name}': each
                           for name, each in self.auxiliary.named_parameters()}
        self._parameters = parameters
        self.optimiser = torch.optim.AdamW([
            {'params': [each for each in parameters.values() if each.dim() >= 2],
             'weight_decay': config.weight_decay},
            {'params': [each for each in parameters.values() if each.dim() < 2],
             'weight_decay': 0.0}], lr=config.learning_rate, betas=(0.9, 0.95))
        self.averaged = {name: each.detach().clone() for name, each in model.state_dict().items()}
        self._kept = {name: each.detach() != 0 for name, each in parameters.items()
                      if each.dim() >= 2} if config.keep_zeros else {}
        self.step = 0
        self.best_success = -1.0

    def update(self, losses: Losses) -> float:
        """Take one optimiser step; return the gradient's norm."""
        for group in self.optimiser.param_groups:
            group['lr'] = learning_rate(self.step, self.config)
        self.optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            list(self._parameters.values()), self.config.max_grad_norm)
        self.optimiser.step()
        with torch.no_grad():
            for name, kept in self._kept.items():
                self._parameters[name].mul_(kept)
        self.step += 1
        decay = min(self.config.ema_decay, self.step / (self.step + 10.0))
        with torch.no_grad():
            for name, each in self.model.state_dict().items():
                self.averaged[name].lerp_(each, 1.0 - decay)
        return float(norm)

    def averaged_model(self) -> Vla:
        """Return a copy of the model with the averaged weights, ready to act."""
        copy = Vla(self.model.config)
        copy.load_state_dict(self.averaged)
        return copy.to(next(self.model.parameters()).device).eval().requires_grad_(False)

    def save(self) -> None:
        """Write all that a resumed run needs, all or nothing."""
        def write(path: Path) -> None:
            tensors = {f'averaged.{name}': each for name, each in self.averaged.items()}
            for name, each in self._parameters.items():
                tensors[f'weight.{name}'] = each.detach()
                for moment, value in self.optimiser.state.get(each, {}).items():
                    tensors[f'{moment}.{name}'] = torch.as_tensor(value)
            save_file({name: each.contiguous() for name, each in tensors.items()},
                      path / 'tensors.safetensors')
            (path / 'progress.json').write_text(json.dumps(
                {'step': self.step, 'best_success': self.best_success}))
        write_folder(self.config.out / 'state', write)

    def restore(self) -> bool:
        """Go on from OUT/state if it is there; return whether it was."""
        state = self.config.out / 'state'
        if not (state / 'progress.json').exists():
            return False
        tensors = load_file(state / 'tensors.safetensors')
        with torch.no_grad():
            for name in self.averaged:
                self.averaged[name].copy_(tensors[f'averaged.{name}'])
            for name, each in self._parameters.items():
                each.copy_(tensors[f'weight.{name}'])
                if f'exp_avg.{name}' in tensors:
                    self.optimiser.state[each] = {
                        moment: tensors[f'{moment}.{name}'].to(
                            each.device if moment != 'step' else 'cpu')
                        for moment in ('step', 'exp_avg', 'exp_avg_sq')}
        progress = json.loads((state / 'progress.json').read_text())
        self.step, self.best_success = progress['step'], progress['best_success']
        return True


def closed_loop_success(policy: Policy, pool: WorldPool, episodes: int) -> float:
    """Return the share of validation seeds that the policy solves at some step."""
    results = play(pool, policy.act_batch, VALIDATION_SEEDS[:episodes], stop_on_success=True,
                   max_steps=60)
    return sum(result.success_once for result in results) / episodes


def _check_resume(config: SftConfig) -> None:
    """Write OUT/config.json, or compare with the one that is there."""
    resolved = json.loads(json.dumps(asdict(config), default=str))
    path = config.out / 'config.json'
    if path.exists():
        before = json.loads(path.read_text())
        free = ('processes', 'threads', 'save_every', 'device')
        changed = [name for name in resolved
                   if name not in free and resolved[name] != before.get(name)]
        if changed:
            listed = ', '.join(f'{name} {before.get(name)!r} → {resolved[name]!r}'
                               for name in changed)
            raise ValueError(f'{config.out} holds a run of another configuration ({listed}); '
                             'use another --out, or delete the folder')
    config.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(resolved, indent=1))


def _provenance(config: SftConfig, trainer: Trainer, frames: Frames, success: float | None,
                seconds: float, parent: dict) -> dict:
    stage = {
        'command': shlex.join(['rlrc', 'sft', *sys.argv[1:]]),
        'config': json.loads(json.dumps(asdict(config), default=str)),
        'seed': config.seed, 'commit': source_commit(), 'packages': package_versions(),
        'machine': machine(), 'parent': str(config.init) if config.init else None,
        'step': trainer.step, 'frames': len(frames.images), 'train_seconds': round(seconds),
        'measured': {'success_once': success, 'episodes': config.eval_episodes,
                     'seeds': f'{VALIDATION_SEEDS.start}+'}}
    return {'stages': [*parent.get('stages', []), {'name': 'sft', **stage}]}


def sft(config: SftConfig) -> Path:
    """Train; return the folder of the best checkpoint."""
    if config.init is not None and inspect(config.init).config.parallel is not None:
        raise ValueError(
            f'{config.init} is an OpenVLA-OFT, which decodes in parallel; sft trains models that '
            'decode token after token. Its loss is rlrc_training.oft.oft_loss')
    if config.init is not None:
        refuse_quantized(inspect(config.init), 'sft')
    _check_resume(config)
    torch.manual_seed(config.seed)  # first values of biases and of the auxiliary head
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device('cuda' if config.device == 'auto' and torch.cuda.is_available()
                          else 'cpu' if config.device == 'auto' else config.device)
    parent: dict = {}
    if config.init is not None:
        opened = open_checkpoint(config.init)
        model, tokenizer = opened.model.requires_grad_(True), opened.tokenizer
        parent = opened.summary.provenance
    else:
        vla, tokenizer = preset(config.preset)
        model = Vla(vla)
        model.initialise(torch.Generator().manual_seed(config.seed))
    frames, statistics = load_frames(config, model.config, tokenizer)
    trainer = Trainer(config, model, device)
    if trainer.restore():
        log.info('resume step=%d best_success=%.3f', trainer.step, trainer.best_success)
    soft = soft_targets(model.config, config.bin_sigma).to(device)
    writer = SummaryWriter(config.out / 'tb')
    log.info('train frames=%d parameters=%d device=%s', len(frames.images),
             sum(each.numel() for each in model.parameters()), device)
    pool = (WorldPool(config.processes, (model.config.image_size,) * 2)
            if config.eval_episodes else None)
    started, checkpoint = time.monotonic(), config.out / 'checkpoint'
    bar = tqdm(total=config.steps, initial=trainer.step, desc='sft', unit='step', mininterval=2.0)
    try:
        while trainer.step < config.steps:
            rng = np.random.default_rng([config.seed, trainer.step])
            rows = rng.integers(len(frames.images), size=config.batch_size)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            model.train()
            losses = batch_loss(model, trainer.auxiliary, config, frames, rows, soft, generator,
                                device)
            if not torch.isfinite(losses.total):
                raise FloatingPointError(
                    f'loss is {float(losses.total)} at step {trainer.step}; the last state in '
                    f'{config.out / "state"} is good. Lower --learning-rate')
            norm = trainer.update(losses)
            bar.update()
            if trainer.step % 20 == 0:
                _log(writer, bar, trainer.step, losses, norm)
            if trainer.step % config.eval_every == 0 or trainer.step == config.steps:
                averaged = trainer.averaged_model()
                success = _evaluate(averaged, tokenizer, statistics, config, pool)
                writer.add_scalar('eval/success_once', success or 0.0, trainer.step)
                tqdm.write(f'step={trainer.step} success_once={success} '
                           f'n={config.eval_episodes} best={max(trainer.best_success, 0):.3f}')
                if success is None or success >= trainer.best_success:
                    trainer.best_success = -1.0 if success is None else success
                    save_checkpoint(checkpoint, averaged, tokenizer, statistics, _provenance(
                        config, trainer, frames, success, time.monotonic() - started, parent))
                with open(config.out / 'metrics.jsonl', 'a') as file:
                    file.write(json.dumps({
                        'step': trainer.step, 'success_once': success,
                        'loss': float(losses.action), 'l1': float(losses.l1)}) + '\n')
            if trainer.step % config.save_every == 0 or trainer.step == config.steps:
                trainer.save()
    finally:
        bar.close()
        writer.close()
        if pool is not None:
            pool.close()
    log.info('done checkpoint=%s best_success=%.3f', checkpoint, trainer.best_success)
    return checkpoint


def _evaluate(model: Vla, tokenizer: Tokenizer, statistics: dict, config: SftConfig,
              pool: WorldPool | None) -> float | None:
    if pool is None:
        return None
    candidate = save_checkpoint(config.out / 'candidate', model, tokenizer, statistics, {})
    policy = Policy(Checkpoint(inspect(candidate), model, tokenizer))
    return closed_loop_success(policy, pool, config.eval_episodes)


def _log(writer: SummaryWriter, bar: tqdm, step: int, losses: Losses, norm: float) -> None:
    values = {'action': losses.action, 'auxiliary': losses.auxiliary,
              'token_accuracy': losses.token_accuracy, 'l1': losses.l1, 'grad_norm': norm}
    for name, value in values.items():
        writer.add_scalar(f'losses/{name}', float(value), step)
    bar.set_postfix(loss=f'{float(losses.action):.3f}', aux=f'{float(losses.auxiliary):.4f}',
                    acc=f'{float(losses.token_accuracy):.3f}', l1=f'{float(losses.l1):.4f}',
                    refresh=False)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc sft`."""
    return run_verb('sft', SftConfig, sft, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
