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
Take heads, channels and layers out of a model, in place; its config follows.

Input and output width of a layer never change, so towers, projector and head still fit. Cutting is
slicing: what stays keeps its value bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlrc_ros.vla.config import LayerWidths, VlaConfig
from rlrc_ros.vla.language import DecoderLayer, LanguageModel
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.vision import Block
import torch
from torch import nn


@dataclass(frozen=True)
class Decision:
    """What stays of one layer, and why."""

    heads: torch.Tensor
    """Kept heads, ascending."""
    channels: torch.Tensor
    """Kept channels, ascending."""
    head_scores: torch.Tensor
    """(H,) importance of every head there was."""
    channel_scores: torch.Tensor
    """(C,) importance of every channel there was."""
    o_bias: torch.Tensor | None = None
    """(E,) added to o_proj for what left (FLAP)."""
    down_bias: torch.Tensor | None = None
    """(E,) likewise for down_proj."""


def _slice(linear: nn.Linear, rows: torch.Tensor | None = None,
           columns: torch.Tensor | None = None, bias: torch.Tensor | None = None) -> None:
    """Keep these rows and columns; a bias loses rows too, or is added."""
    weight, own_bias = linear.weight.detach(), linear.bias
    if rows is not None:
        weight = weight[rows]
        own_bias = None if own_bias is None else own_bias.detach()[rows]
    if columns is not None:
        weight = weight[:, columns]
    if bias is not None:
        own_bias = bias.to(weight) if own_bias is None else own_bias.detach() + bias.to(weight)
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    linear.bias = None if own_bias is None else nn.Parameter(own_bias, requires_grad=False)
    linear.out_features, linear.in_features = weight.shape


def head_channels(heads: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Return the channels of heads, in their order."""
    return (heads[:, None] * head_dim + torch.arange(head_dim, device=heads.device)).flatten()


def cut_layer(layer: DecoderLayer, kept: Decision) -> LayerWidths:
    """Leave the kept heads and channels of a decoder layer; return its widths."""
    attention, mlp = layer.self_attn, layer.mlp
    device = attention.o_proj.weight.device
    rows = head_channels(kept.heads.to(device), attention.head_dim)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        _slice(linear, rows)
    _slice(attention.o_proj, columns=rows, bias=kept.o_bias)
    attention.num_heads = len(kept.heads)
    channels = kept.channels.to(device)
    for linear in (mlp.gate_proj, mlp.up_proj):
        _slice(linear, channels)
    _slice(mlp.down_proj, columns=channels, bias=kept.down_bias)
    return LayerWidths(len(kept.heads), len(kept.channels), kept.o_bias is not None)


def cut_decoder(language_model: LanguageModel, decisions: dict[int, Decision],
                dropped: Sequence[int] = ()) -> None:
    """Cut the decided layers and leave the dropped ones out; the others stay as they are."""
    decoder = language_model.model
    widths = list(decoder.config.layers)
    for index, kept in decisions.items():
        widths[index] = cut_layer(decoder.layers[index], kept)
    staying = [index for index in range(len(widths)) if index not in set(dropped)]
    decoder.layers = nn.ModuleList([decoder.layers[index] for index in staying])
    for index, layer in enumerate(decoder.layers):
        layer.self_attn.index = index  # where its keys and values lie in the cache
    decoder.config = replace(
        decoder.config, layers=tuple(widths[index] for index in staying))


def cut_block(block: Block, kept: Decision) -> LayerWidths:
    """Leave the kept heads and channels of a vision block; return its widths."""
    attention = block.attn
    device, inner = attention.proj.weight.device, attention.num_heads * attention.head_dim
    rows = head_channels(kept.heads.to(device), attention.head_dim)
    _slice(attention.qkv, torch.cat([rows, inner + rows, 2 * inner + rows]))
    _slice(attention.proj, columns=rows)
    attention.num_heads = len(kept.heads)
    _slice(block.mlp.fc1, kept.channels.to(device))
    _slice(block.mlp.fc2, columns=kept.channels.to(device))
    return LayerWidths(len(kept.heads), len(kept.channels))


def cut_towers(model: Vla, decisions: dict[tuple[int, int], Decision]) -> None:
    """Cut vision blocks, given by (tower, block)."""
    towers = []
    for number, (tower, config) in enumerate(zip(towers_of(model), model.config.towers)):
        widths = [cut_block(block, decisions[number, index])
                  if (number, index) in decisions else config.block_widths(index)
                  for index, block in enumerate(tower.blocks)]
        tower.config = replace(config, blocks=tuple(widths))
        towers.append(tower.config)
    model.config = replace(model.config, towers=tuple(towers))


def towers_of(model: Vla) -> list[nn.Module]:
    """Return the one or two towers in the order of the config."""
    backbone = model.vision_backbone
    return [tower for tower in (backbone.featurizer, getattr(backbone, 'fused_featurizer', None))
            if tower is not None]


def follow(model: Vla) -> VlaConfig:
    """Let the model's config say what its decoder has become; return it."""
    model.config = replace(model.config, decoder=model.language_model.model.config)
    return model.config
