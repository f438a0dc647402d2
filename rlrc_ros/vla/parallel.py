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
OpenVLA-OFT's parallel decoding: a whole chunk of actions in one pass of the decoder.

The decoder sees [BOS] [patches of every camera] [robot state] [rest of the prompt] [one empty slot
for each number of the chunk] [end token], and every token sees every other. A slot carries no
embedding, only its position. What belongs to a slot is read one position early, where a causal
model would predict it: the first at the prompt's last token, the lone space. The L1 head turns the
states of one action into its numbers; the discrete variant takes each slot's most likely token,
over the whole vocabulary, as official inference does.

After moojink/openvla-oft (arXiv 2502.19645), whose key names the parts bear. The discrete variant
has the weights of a policy that decodes token after token, so one can be trained from the other:
`rlrc sft --decoding parallel`.

Legend: B batch, C cameras, T action_horizon, A numbers in an action, E hidden_size, V vocabulary.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from rlrc_ros.vla.model import Vla

RESIDUAL_BLOCKS = 2


class ResidualBlock(nn.Module):
    """x + ReLU(Linear(LayerNorm(x)))."""

    def __init__(self, dim: int):
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., E) to the same shape."""
        return x + self.ffn(x)


class ResidualMlp(nn.Module):
    """The states of one action (..., A x E) → its numbers (..., A)."""

    def __init__(self, hidden_size: int, action_dim: int):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(action_dim * hidden_size)
        self.fc1 = nn.Linear(action_dim * hidden_size, hidden_size)
        self.mlp_resnet_blocks = nn.ModuleList(
            [ResidualBlock(hidden_size) for _ in range(RESIDUAL_BLOCKS)])
        self.layer_norm2 = nn.LayerNorm(hidden_size)
        self.fc2 = nn.Linear(hidden_size, action_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Regress; nothing squashes the result into [-1, 1]."""
        x = functional.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class L1ActionHead(nn.Module):
    """The slots' states → normalised actions, trained with the mean absolute error."""

    def __init__(self, hidden_size: int, action_dim: int):
        super().__init__()
        self.action_dim = action_dim
        self.model = ResidualMlp(hidden_size, action_dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Map states (B, T x A, E), action after action, to normalised actions (B, T, A)."""
        batch, tokens, width = states.shape
        return self.model(
            states.reshape(batch, tokens // self.action_dim, self.action_dim * width))


class ProprioProjector(nn.Module):
    """Normalised robot state (B, proprio_dim) → one token (B, 1, E)."""

    def __init__(self, proprio_dim: int, hidden_size: int):
        super().__init__()
        self.fc1 = nn.Linear(proprio_dim, hidden_size)
        self.fc2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, proprio: torch.Tensor) -> torch.Tensor:
        """Two linear layers around an exact GELU."""
        return self.fc2(functional.gelu(self.fc1(proprio)))[:, None]


def encode_context(model: 'Vla', pixels: torch.Tensor,
                   proprio: torch.Tensor | None) -> torch.Tensor:
    """
    Return what stands behind the first token: image tokens, then the robot state's.

    :param pixels: (B, C x 3 x towers, H, W)
    :param proprio: (B, proprio_dim) normalised; None for a model that reads none
    :return: (B, context_tokens, E)
    """
    context = model.encode_image(pixels)
    if not model.config.proprio_dim:
        return context
    return torch.cat([context, model.proprio_projector(proprio)], dim=1)


def action_states(model: 'Vla', pixels: torch.Tensor, input_ids: torch.Tensor,
                  lengths: torch.Tensor, proprio: torch.Tensor | None = None) -> torch.Tensor:
    """
    Return the states that belong to the slots, and behind them the end token's.

    :param pixels: (B, C x 3 x towers, H, W)
    :param input_ids: (B, L) prompts that end with the prefix token, padded behind
    :param lengths: (B,) true length of each prompt
    :param proprio: (B, proprio_dim) normalised; None for a model that reads none
    :return: (B, T x A + 1, E) after the final norm
    """
    return slot_states(model, encode_context(model, pixels, proprio), input_ids, lengths)


def slot_states(model: 'Vla', context: torch.Tensor, input_ids: torch.Tensor,
                lengths: torch.Tensor) -> torch.Tensor:
    """
    Do as action_states() does, from an encoded context (B, context_tokens, E).

    What input_ids hold behind a row's prompt is not looked at.
    """
    config, decoder = model.config, model.language_model.model
    slots, device = config.action_tokens, input_ids.device
    ids = functional.pad(input_ids, (0, slots + 1), value=config.pad_token_id)
    ends = (lengths + slots)[:, None]  # (B, 1) index of each row's end token
    ids = ids.scatter(1, ends, config.eos_token_id)
    column = torch.arange(ids.shape[1], device=device)
    is_slot = (column >= lengths[:, None]) & (column < ends)
    text = decoder.embed_tokens(ids).masked_fill(is_slot[..., None], 0.0)
    context = context.to(text.dtype)
    embeddings = torch.cat([text[:, :1], context, text[:, 1:]], dim=1)
    before = context.shape[1]
    visible = torch.arange(embeddings.shape[1], device=device) <= before + ends  # (B, L')
    hidden = decoder(embeddings, visible=visible)
    where = before + lengths[:, None] - 1 + torch.arange(slots + 1, device=device)
    return hidden.gather(1, where[..., None].expand(-1, -1, hidden.shape[-1]))


def regress(model: 'Vla', states: torch.Tensor) -> torch.Tensor:
    """Return normalised actions (B, T, A) of states (B, T x A + 1, E), by the L1 head."""
    return model.action_head(states[:, :-1])


def most_likely_ids(model: 'Vla', states: torch.Tensor) -> torch.Tensor:
    """Return token ids (B, T x A) of states (B, T x A + 1, E), over the whole vocabulary."""
    return model.language_model.lm_head(states[:, :-1]).argmax(dim=-1)
