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
OpenVLA-OFT's training loss, for whatever trains such a policy.

The L1 variant regresses all numbers of the chunk alike and leaves the language head without a
gradient; the discrete variant is cross-entropy over the whole vocabulary, on the action tokens and
the end token behind them. Real action tokens never enter the decoder: their slots are empty in
training as they are in acting, so a batch needs the prompts alone.

Source: moojink/openvla-oft, vla-scripts/finetune.py.

Legend: B batch, T action_horizon, A numbers in an action, E hidden_size, V vocabulary.
"""

from dataclasses import dataclass

from rlrc_ros.vla.actions import ActionTokenizer
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.parallel import action_states, regress
import torch
from torch.nn import functional


@dataclass(frozen=True)
class OftBatch:
    """What one training step needs; all tensors on the model's device."""

    pixels: torch.Tensor
    """(B, cameras x 3 x towers, H, W)."""
    input_ids: torch.Tensor
    """(B, L) prompts that end with the prefix token, padded behind."""
    lengths: torch.Tensor
    """(B,) true length of each prompt."""
    actions: torch.Tensor
    """(B, T, A) normalised."""
    proprio: torch.Tensor | None = None
    """(B, proprio_dim) normalised; None for a policy that reads none."""


@dataclass(frozen=True)
class OftLoss:
    """What a batch cost, and how far off its actions were."""

    total: torch.Tensor
    current_l1: torch.Tensor
    """
    Mean absolute error of the chunk's first actions, normalised; without gradient.

    For the discrete head against the centres of the right bins, as officially.
    """
    next_l1: torch.Tensor
    """The same of the actions behind them; 0 where there are none."""
    predicted: torch.Tensor
    """(B, T, A) normalised, without gradient."""


def oft_loss(model: Vla, batch: OftBatch) -> OftLoss:
    """
    Run a batch through the model and compare with its actions.

    :raises ValueError: a model that decodes token after token, actions that are not (B, T, A), or
        robot states where the model reads none or not of that length
    """
    config = model.config
    if config.parallel is None:
        raise ValueError('oft_loss() trains models that decode in parallel; this one has no '
                         '`parallel` in its config. Use the loss in rlrc_training.sft')
    wanted = (len(batch.input_ids), config.action.horizon, config.action.dim)
    if tuple(batch.actions.shape) != wanted:
        raise ValueError(f'actions are (batch, action_horizon, dim) = {wanted}, got '
                         f'{tuple(batch.actions.shape)}')
    given = None if batch.proprio is None else tuple(batch.proprio.shape)
    reads = (wanted[0], config.proprio_dim) if config.proprio_dim else None
    if given != reads:
        raise ValueError(f'the model reads robot states of shape {reads}, got {given}')
    states = action_states(model, batch.pixels, batch.input_ids, batch.lengths, batch.proprio)
    if config.parallel.head == 'l1':
        predicted = regress(model, states)
        goal = batch.actions.to(predicted.dtype)
        total = functional.l1_loss(predicted, goal)
    else:
        total, predicted, goal = _cross_entropy(model, states, batch.actions)
    predicted = predicted.detach()
    errors = (predicted - goal).abs()  # (B, T, A)
    following = errors[:, 1:].mean() if config.action.horizon > 1 else errors.new_zeros(())
    return OftLoss(total, errors[:, 0].mean(), following, predicted)


def _cross_entropy(
    model: Vla, states: torch.Tensor, actions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the loss on action tokens and end token, the likeliest actions, and the goal's."""
    config, tokenizer = model.config, ActionTokenizer(model.config.action)
    ids = tokenizer.encode(actions.detach().cpu().numpy()).reshape(len(actions), -1)
    targets = functional.pad(torch.from_numpy(ids), (0, 1), value=config.eos_token_id)
    logits = model.language_model.lm_head(states).float()  # (B, T x A + 1, V)
    total = functional.cross_entropy(logits.flatten(0, 1), targets.flatten().to(logits.device))
    likeliest = logits[:, :-1].argmax(-1).cpu().numpy()
    predicted, goal = (torch.from_numpy(tokenizer.decode(each)).to(actions).view_as(actions)
                       for each in (likeliest, ids))
    return total, predicted, goal
