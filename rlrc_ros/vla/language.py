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
A LLaMA-style decoder whose layers may differ in width, with a static KV cache.

Numerically Hugging Face's LlamaModel (RMSNorm in fp32, rotary embedding in halves); unlike it,
heads and channels are counted per layer, so that a pruned model is the same class. Rows of a batch
may differ in length: every row counts its own positions, pads stand behind it, and a decoded token
overwrites them, so that a row's result does not depend on its neighbours.

Legend: B batch, L new tokens, S cache slots, H heads, D head_dim, E hidden_size, V vocabulary.
"""

from rlrc_ros.vla.attention import attend
from rlrc_ros.vla.config import DecoderConfig, LayerWidths
import torch
from torch import nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in fp32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last dimension."""
        normed = x.float()
        normed = normed * torch.rsqrt(normed.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class KVCache:
    """
    Keys and values of every layer in buffers that never move.

    :param batch: rows
    :param slots: S, the longest prompt plus the answer
    """

    def __init__(self, config: DecoderConfig, batch: int, slots: int,
                 device: torch.device, dtype: torch.dtype):
        self.slots = slots
        shapes = [(batch, layer.num_heads, slots, config.head_dim) for layer in config.layers]
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]
        self.values = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def write(self, layer: int, positions: torch.Tensor, keys: torch.Tensor,
              values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store keys and values (B, H, L, D) at positions (B, L); return all slots."""
        index = positions[:, None, :, None].expand_as(keys)
        self.keys[layer].scatter_(2, index, keys)
        self.values[layer].scatter_(2, index, values)
        return self.keys[layer], self.values[layer]


def rotary(positions: torch.Tensor, head_dim: int,
           theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines and sines (B, 1, L, D) of the rotary embedding at positions (B, L)."""
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    frequency = 1.0 / (theta ** (exponent / head_dim))
    angle = positions[..., None].float() * frequency  # (B, L, D / 2)
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], dim=-1) * sin.to(x.dtype)


class SelfAttention(nn.Module):
    """Attention, causal unless a mask says otherwise, with this layer's own number of heads."""

    def __init__(self, config: DecoderConfig, widths: LayerWidths, index: int):
        super().__init__()
        self.index, self.num_heads, self.head_dim = index, widths.num_heads, config.head_dim
        inner = widths.num_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=widths.bias)

    def forward(self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor],
                positions: torch.Tensor, cache: KVCache | None,
                mask: torch.Tensor | None) -> torch.Tensor:
        """Map (B, L, E) to the same shape; mask (B, 1, L or 1, S) or None for plain causal."""
        batch, length, _ = x.shape
        shape = (batch, length, self.num_heads, self.head_dim)
        q = _rotate(self.q_proj(x).view(shape).transpose(1, 2), *rope)
        k = _rotate(self.k_proj(x).view(shape).transpose(1, 2), *rope)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        if cache is not None:
            all_k, all_v = cache.write(self.index, positions, k, v)
            if mask is not None:  # a prefill attends to itself alone
                k, v = all_k, all_v
        x = attend(q, k, v, mask, is_causal=mask is None)
        return self.o_proj(x.transpose(1, 2).reshape(batch, length, -1))


class GatedMlp(nn.Module):
    """SwiGLU with this layer's own number of channels."""

    def __init__(self, hidden_size: int, widths: LayerWidths):
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, widths.intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, widths.intermediate_size, bias=False)
        self.down_proj = nn.Linear(widths.intermediate_size, hidden_size, bias=widths.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, L, E) to the same shape."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Pre-norm decoder layer; input and output width never change under pruning."""

    def __init__(self, config: DecoderConfig, widths: LayerWidths, index: int):
        super().__init__()
        self.self_attn = SelfAttention(config, widths, index)
        self.mlp = GatedMlp(config.hidden_size, widths)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor],
                positions: torch.Tensor, cache: KVCache | None,
                mask: torch.Tensor | None) -> torch.Tensor:
        """Map (B, L, E) to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), rope, positions, cache, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings, layers and the final norm."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([
            DecoderLayer(config, widths, index) for index, widths in enumerate(config.layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, embeddings: torch.Tensor, positions: torch.Tensor | None = None,
                cache: KVCache | None = None,
                visible: torch.Tensor | None = None) -> torch.Tensor:
        """
        Run new tokens through the layers.

        Without positions this is a prefill (or a training pass): tokens stand at 0 ... L - 1 and
        attend causally to each other; with a cache their keys and values are kept. With positions
        the tokens continue the cache's rows. With `visible` attention is not causal: every token
        sees every token that is visible (OpenVLA-OFT); positions and cache are then not used.

        :param embeddings: (B, L, E)
        :param positions: (B, L) slot of every new token in its own row, or None
        :param visible: (B, L) bool, false for padding, or None
        :return: hidden states after the final norm (B, L, E)
        """
        batch, length, _ = embeddings.shape
        mask = None
        if positions is None:
            positions = torch.arange(length, device=embeddings.device).expand(batch, -1)
            mask = None if visible is None else visible[:, None, None]  # (B, 1, 1, L)
        else:
            slots = torch.arange(cache.slots, device=embeddings.device)
            mask = (slots <= positions[..., None])[:, None]  # (B, 1, L, S)
        rope = rotary(positions, self.config.head_dim, self.config.rope_theta)
        x = embeddings
        for layer in self.layers:
            x = layer(x, rope, positions, cache, mask)
        return self.norm(x)

    def run_layers(self, x: torch.Tensor, *indices: int) -> torch.Tensor:
        """Run some layers over whole causal sequences (B, L, E); no norm behind them."""
        positions = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        rope = rotary(positions, self.config.head_dim, self.config.rope_theta)
        for index in indices:
            x = self.layers[index](x, rope, positions, None, None)
        return x


class LanguageModel(nn.Module):
    """Decoder and head under Hugging Face's key names: model.*, lm_head.weight."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
