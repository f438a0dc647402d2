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
Low-rank adapters (LoRA, arXiv 2106.09685) on every linear layer, merged before anything is saved.

OpenVLA's and RL4VLA's way: rank 32, alpha 16, no dropout, on towers, projector, decoder and head.
A checkpoint never holds an adapter: merged weights have the model's own names and shapes, so that
every other command opens them, and pruned layers are adapted like any others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rlrc_ros.vla.model import Vla
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

DEFAULT_ALPHA = 16.0
"""OpenVLA: alpha = min(rank, 16)."""


class LowRank(nn.Module):
    """A weight (out, in) plus `scale` times up (out, rank) @ down (rank, in)."""

    def __init__(self, weight: torch.Tensor, rank: int, alpha: float,
                 generator: torch.Generator):
        super().__init__()
        out_features, in_features = weight.shape
        rank = min(rank, out_features, in_features)
        # peft's `gaussian`: deviation 1 / rank, and zeros, so that nothing changes yet.
        down = torch.randn(rank, in_features, generator=generator) / rank
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(out_features, rank, device=weight.device))
        self.scale = alpha / rank
        self.active = True

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the adapted weight."""
        if not self.active:
            return weight
        return weight + (self.scale * (self.up @ self.down)).to(weight.dtype)


class LowRankLinear(nn.Linear):
    """A linear layer that adds a low-rank path beside its own weight, which stays frozen."""

    low_rank: LowRank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out) without building the sum of the weights."""
        out = functional.linear(x, self.weight, self.bias)
        if not self.low_rank.active:
            return out
        # In the layer's own precision: fp32 copies of x would double what is kept for backward.
        path = functional.linear(functional.linear(x, self.low_rank.down.to(x.dtype)),
                                 self.low_rank.up.to(x.dtype))
        return out + self.low_rank.scale * path


def add_lora(model: Vla, rank: int, alpha: float, seed: int) -> None:
    """
    Freeze the model and give every linear layer an adapter.

    The head's rows are also read by name (Vla.action_logits), so its adapter changes the weight
    itself; it is as wide as the vocabulary is long, and the sum is built once a pass.

    :raises ValueError: a rank below 1
    """
    if rank < 1:
        raise ValueError(f'the rank of an adapter is at least 1, got {rank}')
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear:
            continue
        low_rank = LowRank(module.weight, rank, alpha, generator)
        if name == 'language_model.lm_head':
            parametrize.register_parametrization(module, 'weight', low_rank)
        else:
            module.__class__ = LowRankLinear
            module.low_rank = low_rank


def _adapters(model: nn.Module) -> Iterator[tuple[str, LowRank]]:
    for name, module in model.named_modules():
        if isinstance(module, LowRank):
            yield name, module


@contextmanager
def without_lora(model: Vla) -> Iterator[Vla]:
    """Let the model answer as it did before it was adapted."""
    adapters = [each for _, each in _adapters(model)]
    for each in adapters:
        each.active = False
    try:
        yield model
    finally:
        for each in adapters:
            each.active = True


@torch.no_grad()
def merged_weights(model: Vla) -> dict[str, torch.Tensor]:
    """Return the model's state dict with its adapters added into the weights, plain names."""
    prefix = 'parametrizations.weight.'
    weights = {}
    low_rank = {}
    for name, each in _adapters(model):
        owner = name.removesuffix('.low_rank').removesuffix('.parametrizations.weight.0')
        low_rank[f'{owner}.weight'] = each
    for name, tensor in model.state_dict().items():
        if '.low_rank.' in name or name.endswith((f'{prefix}0.down', f'{prefix}0.up')):
            continue
        weights[name.replace(f'{prefix}original', 'weight')] = tensor
    for name, each in low_rank.items():
        weights[name] = each(weights[name])
    return weights
