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
A decoder layer in fewer operations: q/k/v and gate/up in one product each, residuals inside GEMMs.

The numbers are language.py's, and so are the weights: a fused matrix takes the place of the
separate ones, which become views of it, so that nothing lies in memory twice and the plain model
keeps working. Four things differ from language.py, none of them a result in fp32:

* q, k and v are turned by one rotary product, in which v's angle is zero, so that keys and values
  reach the cache in one copy;
* a width that GPUs' fast kernels do not take (550, the paper's) is filled up with zeros, which
  silu(0) * 0 = 0 keeps out of the sum;
* packed int4 layers are stacked as they are, where their rows fill the kernel's blocks;
* on a CPU, products of few rows can read int8 weights (one scale a row), where that was asked for.

Batch of one throughout. Legend: L new tokens, S cache slots, H heads, D head_dim, E hidden_size,
F intermediate_size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlrc_ros.vla.fused_int4 import can_stack, Int4Product
from rlrc_ros.vla.language import DecoderLayer, rotary
from rlrc_ros.vla.linear import INT8_INPUTS
import torch
from torch import nn
from torch.nn import functional

FAST_MULTIPLE = 64
"""Of a width, in elements: what bf16 tensor cores and int4 groups both divide; 8 is the least."""
INT8_ROWS = 8
"""Products of up to so many rows are bound by memory; only they read int8 weights."""

Attend = Callable[..., torch.Tensor]


def good_width(width: int, multiple: int = FAST_MULTIPLE) -> int:
    """Return the nearest width that is not smaller and that fast kernels divide evenly."""
    return -(-width // multiple) * multiple


class Product:
    """One matrix (N, K) that rows (L, K) are multiplied with; perhaps a bias, perhaps int8 too."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        self.weight, self.bias = weight, bias
        self._int8: tuple[torch.Tensor, torch.Tensor] | None = None

    def add_int8(self) -> None:
        """
        Keep an int8 copy for products of few rows: symmetric, one scale a row of the matrix.

        Rows that the kernel would read past the end of stay as they are.
        """
        if self.weight.shape[1] % INT8_INPUTS:
            return
        scale = (self.weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / 127.0).to(
            self.weight.dtype)
        rounded = (self.weight.float() / scale.float()).round().clamp(-127, 127)
        self._int8 = rounded.to(torch.int8).contiguous(), scale[:, 0]

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the int8 copy; the weights themselves count with the model."""
        return 0 if self._int8 is None else self._int8[0].numel() + 2 * self._int8[1].numel()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (L, K) to (L, N)."""
        if self._int8 is not None and len(x) <= INT8_ROWS:
            product = torch._weight_int8pack_mm(x.contiguous(), *self._int8)
            return product if self.bias is None else product + self.bias
        return functional.linear(x, self.weight, self.bias)

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return residual (L, N) + product, in one operation where there is one."""
        if self.bias is not None or (self._int8 is not None and len(x) <= INT8_ROWS):
            return residual + self(x)
        return torch.addmm(residual, x, self.weight.t())


class Modules:
    """Layers that cannot be fused (quantised ones, say), called one after the other."""

    def __init__(self, modules: Sequence[nn.Module]):
        self._modules = tuple(modules)

    def add_int8(self) -> None:
        """Leave them as they are: they have a scheme of their own."""

    weight_bytes = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (L, K) to (L, sum of N)."""
        outputs = [module(x) for module in self._modules]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return residual (L, N) + product."""
        return residual + self(x)


@torch.no_grad()
def fuse(modules: Sequence[nn.Module],
         rows: int | None = None) -> Product | Int4Product | Modules:
    """
    Put linear layers of one input on top of each other; they become views of the whole.

    :param rows: fill every layer's outputs up to so many with zeros
    """
    if can_stack(modules):
        return Int4Product(modules)
    if not all(type(module) is nn.Linear and module.bias is None for module in modules):
        return Modules(modules)
    heights = [rows or module.out_features for module in modules]
    first = modules[0].weight
    whole = torch.zeros(sum(heights), first.shape[1], dtype=first.dtype, device=first.device)
    top = 0
    for module, height in zip(modules, heights):
        view = whole[top:top + module.out_features]
        view.copy_(module.weight)
        module.weight = nn.Parameter(view, requires_grad=False)
        top += height
    return Product(whole)


@torch.no_grad()
def widen(module: nn.Module, columns: int | None = None) -> Product | Int4Product | Modules:
    """Fill a linear layer's inputs up to `columns` with zeros; the layer becomes a view."""
    if can_stack([module]):
        return Int4Product([module])
    if type(module) is not nn.Linear:
        return Modules([module])
    if columns not in (None, module.in_features):
        whole = torch.zeros(module.out_features, columns, dtype=module.weight.dtype,
                            device=module.weight.device)
        whole[:, :module.in_features].copy_(module.weight)
        module.weight = nn.Parameter(whole[:, :module.in_features], requires_grad=False)
        return Product(whole, module.bias)
    return Product(module.weight, module.bias)


@dataclass(frozen=True, eq=False)
class FusedLayer:
    """What one decoder layer needs."""

    num_heads: int
    qkv: Product | Int4Product | Modules
    o: Product | Int4Product | Modules
    gate_up: Product | Int4Product | Modules
    down: Product | Int4Product | Modules
    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor
    eps: float

    @classmethod
    def of(cls, layer: DecoderLayer, multiple: int) -> 'FusedLayer':
        """
        Fuse a layer; its modules stay usable.

        :param multiple: fill the MLP's width up to a multiple of this; 1 leaves it
        """
        attention, mlp = layer.self_attn, layer.mlp
        plain = type(mlp.gate_proj) is type(mlp.down_proj) is nn.Linear
        width = good_width(mlp.gate_proj.out_features, multiple) if plain else None
        return cls(
            attention.num_heads, fuse([attention.q_proj, attention.k_proj, attention.v_proj]),
            widen(attention.o_proj),
            fuse([mlp.gate_proj, mlp.up_proj], width),
            widen(mlp.down_proj, width),
            layer.input_layernorm.weight, layer.post_attention_layernorm.weight,
            layer.input_layernorm.eps)

    @property
    def products(self) -> tuple[Product | Int4Product | Modules, ...]:
        """Return the four products."""
        return self.qkv, self.o, self.gate_up, self.down


def rotary_table(slots: int, head_dim: int, theta: float, device: torch.device,
                 dtype: torch.dtype) -> torch.Tensor:
    """
    Return (2, 3, 1, S, D): cosines, then sines, for q, k and v at every slot; v is not turned.

    The sines carry the sign of rotate-half, so that x turned is x * cos + roll(x, D / 2) * sin.
    """
    cos, sin = rotary(torch.arange(slots, device=device)[None], head_dim, theta)
    cos, sin = cos[0, 0], sin[0, 0]  # (S, D)
    signed = torch.cat([-sin[:, :head_dim // 2], sin[:, head_dim // 2:]], dim=-1)
    table = torch.stack([
        torch.stack([cos, cos, torch.ones_like(cos)]),
        torch.stack([signed, signed, torch.zeros_like(sin)])])  # (2, 3, S, D)
    return table[:, :, None].to(dtype)


def run_layer(layer: FusedLayer, x: torch.Tensor, turn: torch.Tensor, cache: torch.Tensor | None,
              slots: torch.Tensor | None, mask: torch.Tensor | None,
              attend: Attend = functional.scaled_dot_product_attention) -> torch.Tensor:
    """
    Run one decoder layer and keep its keys and values, where there is a cache.

    :param x: (L, E)
    :param turn: rotary_table() at the tokens' positions (2, 3, 1, L, D)
    :param cache: keys and values of the layer (2, H, S, D), written in place; None keeps nothing
    :param slots: (L,) where the tokens stand; None: at 0 ... L - 1, attending to each other alone
    :param mask: (1, 1, L or 1, S), 0 or true where a token may look and -inf or false elsewhere;
        None: causal, with slots None
    :param attend: q (1, H, L, D), k, v, mask, is_causal → (1, H, L, D)
    :return: (L, E)
    """
    length, width = x.shape
    normed = functional.rms_norm(x, (width,), layer.attention_norm, layer.eps)
    qkv = layer.qkv(normed).view(length, 3, layer.num_heads, -1).permute(1, 2, 0, 3)
    qkv = torch.addcmul(qkv * turn[0], qkv.roll(qkv.shape[-1] // 2, -1), turn[1])  # (3, H, L, D)
    if slots is None:
        if cache is not None:
            cache[:, :, :length].copy_(qkv[1:])
        keys, values = qkv[1], qkv[2]
    else:
        cache.index_copy_(2, slots, qkv[1:])
        keys, values = cache[0], cache[1]
    attended = attend(
        qkv[0][None], keys[None], values[None], mask, is_causal=mask is None)
    x = layer.o.onto(x, attended[0].transpose(0, 1).reshape(length, -1))
    normed = functional.rms_norm(x, (width,), layer.mlp_norm, layer.eps)
    gate, up = layer.gate_up(normed).chunk(2, dim=-1)
    return layer.down.onto(x, functional.silu(gate) * up)
