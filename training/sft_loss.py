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
What `rlrc sft` minimises: OpenVLA's cross-entropy, and what may be added to it.

Without its options this is OpenVLA's loss: cross-entropy over the vocabulary on 7 action tokens
and the end token. Targets can be softened over neighbouring bins, mixed with the probabilities of
a dense teacher, and an auxiliary head can regress positions from the image tokens.

A model that decodes in parallel gets the same loss on its slots: gather_hidden() reads them, and
no teacher-forced token enters it.

Legend: B rows, P pictures, K targets (the action tokens, 7 an action, and the end token), V
vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.actions import ActionTokenizer
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.model import Vla
from rlrc_training.augmentation import jitter, jitter_factors, openvla_augment, openvla_factors
from rlrc_training.frames import Answers, Frames
from rlrc_training.grounding import AuxiliaryHead, decided_loss, named_loss, seen_loss, wanted_of
from rlrc_training.sft_config import SftConfig
import torch
from torch.nn import functional


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


@dataclass(frozen=True)
class Losses:
    """What one batch cost, and how well it was predicted."""

    total: torch.Tensor
    action: torch.Tensor
    auxiliary: torch.Tensor
    token_accuracy: torch.Tensor
    l1: torch.Tensor
    """Mean absolute error of the normalised action, from the most likely tokens."""
    gripper_accuracy: torch.Tensor
    """Share of gripper tokens that are right. Nothing else tells so early what an episode will
    fail of: one in seven wrong hides in the other two."""


@dataclass(frozen=True)
class Batch:
    """The rows of one step, the same on every rank, and how their images are changed."""

    rows: np.ndarray
    """(batch_size,)"""
    changes: torch.Tensor | None
    """What augmentation drew for each row, along the dimension that counts rows."""
    chance: torch.Tensor | None = None
    """(batch_size, 2) in [0, 1): which things the auxiliary head is asked for."""
    shifts: torch.Tensor | None = None
    """(batch_size, A) whole bins by which the action tokens that are read are moved."""

    @classmethod
    def draw(cls, rows: np.ndarray, config: SftConfig, vla: VlaConfig,
             generator: torch.Generator) -> 'Batch':
        """Draw what augmentation does to each row, what is asked of it, and what it misreads."""
        changes = None
        if config.augmentation == 'openvla':
            changes = openvla_factors(len(rows), generator)
        elif config.colour_jitter:
            changes = jitter_factors(len(rows), config.colour_jitter, generator)
        chance = None
        if config.auxiliary_weight:
            chance = torch.rand((len(rows), 2), generator=generator)
        shifts = None
        if config.token_jitter:
            drawn = torch.randn((len(rows), vla.action_tokens), generator=generator)
            shifts = (drawn * config.token_jitter).round().long()
        return cls(rows, changes, chance, shifts)

    def part(self, which: np.ndarray) -> 'Batch':
        """Return some of the rows with what was drawn for them."""
        changes = self.changes
        if changes is not None:
            changes = changes[which] if changes.dim() == 2 else changes[:, which]
        chance = None if self.chance is None else self.chance[which]
        shifts = None if self.shifts is None else self.shifts[which]
        return Batch(self.rows[which], changes, chance, shifts)

    def pictures(self, frames: Frames) -> torch.Tensor:
        """Return the changed images uint8 (B, H, W, 3) that the rows are about."""
        pictures = torch.from_numpy(frames.images[frames.answers(self.rows).picture])
        if self.changes is None:
            return pictures
        if self.changes.dim() == 2:
            return openvla_augment(pictures, self.changes)
        return jitter(pictures, self.changes)

    def once(self, frames: Frames) -> tuple['Batch', torch.Tensor]:
        """Return one row for each picture (P), and which of them each row is about (B,)."""
        _, first, back = np.unique(
            frames.answers(self.rows).picture, return_index=True, return_inverse=True)
        return self.part(first), torch.from_numpy(back)


def teacher_forced(answers: Answers, prompts: Sequence[tuple[int, ...]],
                   vla: VlaConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input_ids (B, T), where the targets stand in them (B, K), and the targets (B, K)."""
    sequences = [[*prompts[sentence], *ids.tolist(), vla.eos_token_id]
                 for sentence, ids in zip(answers.instruction, answers.action_ids)]
    input_ids, lengths = prompt.pad(sequences, vla.pad_token_id)
    count = vla.action_tokens + 1
    where = lengths[:, None] - count + torch.arange(count)[None]
    return input_ids, where, input_ids.gather(1, where)


def misread(vla: VlaConfig, input_ids: torch.Tensor, where: torch.Tensor,
            shifts: torch.Tensor) -> torch.Tensor:
    """
    Return input_ids (B, T) with the action tokens moved by `shifts` (B, A) bins, within the bins.

    What a policy reads of its own answer is its own: drawn, or rounded to 4 bits, a few bins off
    the demonstrated ones. Taught with those alone, a small one takes a very bin of a turn for a
    sign that the hand is closed, and lets go where it errs.
    """
    places = where[:, :-1]  # without the end token's
    low_id = vla.action.lowest_id
    moved = (input_ids.gather(1, places) + shifts).clamp(low_id, vla.action.vocab_end - 1)
    return input_ids.scatter(1, places, moved)


def wanted_bins(vla: VlaConfig, bins: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """
    Return the target distributions (B, A, bins) of answers (B, A), the lowest bin first.

    Numbers that are a scale get soft_targets()' rows; the gripper, which is none, its very bin.
    """
    gripper = is_gripper(vla, bins.shape[1], bins.device)[:, None]
    return torch.where(gripper, functional.one_hot(bins, vla.action.bins).to(soft), soft[bins])


def is_gripper(vla: VlaConfig, count: int, device: torch.device) -> torch.Tensor:
    """Return which of an answer's first tokens (count,) are the gripper's."""
    return torch.arange(count, device=device) % vla.action.dim == vla.action.dim - 1


def token_losses(vla: VlaConfig, logits: torch.Tensor, targets: torch.Tensor, soft: torch.Tensor,
                 teacher: torch.Tensor | None = None,
                 teacher_weight: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return what every target costs (B, K), and the log-probabilities (B, 7, bins) of action ids.

    :param logits: (B, K, V) at the positions before the targets
    :param soft: (bins, bins), see soft_targets()
    :param teacher: (B, 7, bins), another policy's probabilities, mixed in by teacher_weight
    """
    logprobs = functional.log_softmax(logits.float(), dim=-1)
    low_id = vla.action.lowest_id
    action_logprobs = logprobs[:, :-1, low_id:vla.action.vocab_end]  # (B, 7, bins)
    action_bins = targets[:, :-1] - low_id
    wanted = wanted_bins(vla, action_bins, soft)
    if teacher is not None:
        wanted = torch.lerp(wanted, teacher, teacher_weight)
    token_loss = -(wanted * action_logprobs).sum(-1)  # (B, 7)
    end_loss = -logprobs[:, -1, vla.eos_token_id]
    return torch.cat([token_loss, end_loss[:, None]], dim=1), action_logprobs


def _position_loss(model: Vla, auxiliary: AuxiliaryHead, config: SftConfig, frames: Frames,
                   once: Batch, patches: torch.Tensor) -> torch.Tensor:
    """Ask the head's questions of pictures (grounding.py); patches (P, patches, E)."""
    pictures = frames.answers(once.rows).picture
    places_m = frames.kinds_m[pictures]
    wanted = wanted_of(*(
        torch.from_numpy(each).to(patches.device)
        for each in (places_m, frames.kinds_turned[pictures], frames.positions_m[pictures, 6:8],
                     frames.hand[pictures])))
    loss = seen_loss(auxiliary, patches, wanted)
    if model.config.parallel is not None:  # sees the whole prompt at once, by other masks
        return loss
    asked = [frames.questions.ask(*each) for each in zip(
        frames.instruction[pictures], ~np.isnan(places_m[..., 0]), once.chance.numpy())]
    with torch.autocast(patches.device.type, torch.bfloat16, enabled=config.precision == 'bf16'):
        return loss + named_loss(auxiliary, model, patches, wanted, asked)


def batch_loss(model: Vla, auxiliary: AuxiliaryHead | None, config: SftConfig, frames: Frames,
               batch: Batch, soft: torch.Tensor, device: torch.device,
               teacher: Vla | None = None) -> Losses:
    """Run a batch (B rows about P pictures) through the model and compare with its actions."""
    vla, answers = model.config, frames.answers(batch.rows)
    once, back = batch.once(frames)
    back = back.to(device)
    pixels = images.to_pixels(once.pictures(frames).to(device), vla.towers)
    pixels = pixels.to(next(model.parameters()).dtype)
    input_ids, where, targets = (
        each.to(device) for each in teacher_forced(answers, frames.prompts, vla))
    read_ids = input_ids
    if batch.shifts is not None:
        read_ids = misread(vla, input_ids, where, batch.shifts.to(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == 'bf16'):
        patches = model.encode_image(pixels)  # (P, patches, E)
        hidden = model.gather_hidden(patches[back], read_ids, where)  # (B, K, E)
        logits = model.language_model.lm_head(hidden)
    taught = None
    if teacher is not None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16,
                                             enabled=config.precision == 'bf16'):
            seen = teacher.encode_image(pixels.to(next(teacher.parameters()).dtype))
            taught = teacher.action_logits(teacher.gather_hidden(
                seen[back], input_ids, where[:, :-1])).float().softmax(-1)
    token_loss, action_logprobs = token_losses(
        vla, logits, targets, soft, taught, config.distill_weight)
    gripper = is_gripper(vla, targets.shape[1], device)
    counts = torch.where(gripper, config.gripper_weight, 1.0)
    action = (token_loss * counts).mean() / counts.mean()

    position = torch.zeros((), device=device)
    if auxiliary is not None:
        position = decided_loss(
            auxiliary, hidden[:, 0], torch.from_numpy(answers.positions_m).to(device),
            torch.from_numpy(frames.at_hand(answers)).to(device))
        if auxiliary.kinds:
            position = position + _position_loss(
                model, auxiliary, config, frames, once, patches)
    with torch.no_grad():
        low_id = vla.action.lowest_id
        best = action_logprobs.argmax(-1)
        centers = torch.from_numpy(ActionTokenizer(vla.action).decode(
            (best + low_id).cpu().numpy())).to(device)
        l1 = (centers - torch.from_numpy(answers.actions).to(device)).abs().mean()
        right = (best + low_id == targets[:, :-1]).float()
    total = action + config.auxiliary_weight * position
    return Losses(total, action.detach(), position.detach(), right.mean(), l1.float(),
                  right[:, gripper[:-1]].mean())
