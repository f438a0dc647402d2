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
Real weights → the integers of a quantised layer: to the nearest, HQQ's way, or calibrated.

    nearest   the grid spans each group's least and greatest weight
    hqq       zero by half-quadratic quantisation (Badri and Shaji, mobiusml 2023), and of several
              narrower scales the one with the least squared error; wants no inputs
    gptq      columns one after another, each one's error spread over those that are still real,
              by what the layer's inputs say (GPTQ, arXiv 2210.17323); grids as for hqq

int8 has one scale a row and no zero; there hqq is nearest. bitsandbytes rounds its schemes itself.

Legend: N outputs, K inputs, G groups of a row, S group_size.
"""

from collections.abc import Callable

from rlrc_ros.vla.linear import (
    INT4_ZERO,
    Int4Linear,
    Int8Linear,
    LlmInt8Linear,
    NF4_BLOCK,
    Nf4Linear,
    QuantizedLinear,
)
import torch
from torch.nn import functional

ROUNDINGS = ('nearest', 'hqq', 'gptq')
INT4_MOST, INT8_MOST = 15, 127
HQQ_NORM, HQQ_BETA, HQQ_KAPPA, HQQ_STEPS = 0.7, 10.0, 1.01, 20
"""The p of its l_p norm, the penalty's start and growth, and its iterations: HQQ's published
defaults."""
NARROWER = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Scales tried, as shares of the one that spans the group."""
GPTQ_DAMPING = 0.01
"""Added to the Hessian's diagonal, as a share of its mean: GPTQ's default."""
GPTQ_BLOCK = 128
SMALLEST_SCALE = 1e-8

Grid = tuple[torch.Tensor, torch.Tensor]
"""Scale and zero, each (N, 1), already rounded to bf16's values."""


def _bf16(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.bfloat16).float()


def _to_int4(w: torch.Tensor, grid: Grid) -> torch.Tensor:
    scale, zero = grid
    return ((w - zero) / scale).round().add(INT4_ZERO).clamp(0, INT4_MOST)


def _from_int4(q: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (q - INT4_ZERO) * grid[0] + grid[1]


def span_grid(w: torch.Tensor, share: float = 1.0) -> Grid:
    """Return the grid over w (N, S) from least to greatest, or over a share of that."""
    low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    scale = _bf16(((high - low) * share / INT4_MOST).clamp_min(SMALLEST_SCALE))
    # Nibble 7.5 is the middle; INT4_ZERO stands half a step above it.
    return scale, _bf16((low + high) / 2 + scale / 2)


def hqq_grid(w: torch.Tensor) -> Grid:
    """Return the grid of w (N, S) whose zero HQQ finds, at the best of several scales."""
    best_error, best = None, None
    for share in NARROWER:
        scale, zero = span_grid(w, share)
        beta = HQQ_BETA
        for _ in range(HQQ_STEPS):
            steps = (_to_int4(w, (scale, zero)) - INT4_ZERO) * scale
            error = w - steps - zero
            size = error.abs()
            sparse = error.sign() * functional.relu(
                size - size.clamp_min(1e-12) ** (HQQ_NORM - 1) / beta)
            moved = _bf16((w - sparse - steps).mean(1, keepdim=True))
            if torch.equal(moved, zero):
                break
            zero, beta = moved, beta * HQQ_KAPPA
        for grid in ((scale, zero), span_grid(w, share)):
            error = (w - _from_int4(_to_int4(w, grid), grid)).square().sum(1, keepdim=True)
            if best is None:
                best_error, best = error, grid
                continue
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best = tuple(torch.where(better, new, old) for new, old in zip(grid, best))
    return best


def _inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """Return the upper Cholesky factor (K, K) of the damped Hessian's inverse."""
    hessian = hessian.double()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0  # an input that was never there
    diagonal += GPTQ_DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True).float()


def spread_errors(weight: torch.Tensor, hessian: torch.Tensor, block: int,
                  quantize_block: Callable[[torch.Tensor, int], Callable]) -> None:
    """
    Run over the columns of weight (N, K) fp32 in place, GPTQ's way.

    :param hessian: (K, K), the sum over inputs of x xᵀ
    :param quantize_block: called with the block's still real weights and its first column; returns
        a function (column, index) → rounded column that keeps the integers
    """
    factor, inputs = _inverse_factor(hessian), weight.shape[1]
    for start in range(0, inputs, block):
        end = min(start + block, inputs)
        round_column = quantize_block(weight[:, start:end], start)
        errors = torch.empty(len(weight), end - start)
        for column in range(start, end):
            w = weight[:, column].clone()
            rounded = round_column(w, column)
            errors[:, column - start] = (w - rounded) / factor[column, column]
            weight[:, column:end] -= torch.outer(
                errors[:, column - start], factor[column, column:end])
            weight[:, column] = rounded
        weight[:, end:] -= errors @ factor[start:end, end:]


def int4_tensors(layer: Int4Linear, weight: torch.Tensor, rounding: str,
                 hessian: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return the stored tensors of weight (N, K)."""
    size, padding = layer.group_size, layer.padding
    weight = functional.pad(weight.float(), (0, padding))
    nibbles = torch.empty_like(weight)
    scale, zero = torch.empty(2, len(weight), layer.groups)
    make_grid = span_grid if rounding == 'nearest' else hqq_grid

    def fit(group: torch.Tensor, start: int) -> Callable:
        index = start // size
        # What fills up the last group is no weight, and must not widen its grid.
        real = group[:, :layer.in_features - start]
        grid = make_grid(real)
        scale[:, index:index + 1], zero[:, index:index + 1] = grid

        def round_column(w: torch.Tensor, column: int) -> torch.Tensor:
            q = _to_int4(w[:, None], grid)
            nibbles[:, column:column + 1] = q
            return _from_int4(q, grid)[:, 0]
        return round_column

    if rounding == 'gptq':
        spread_errors(weight, functional.pad(hessian.float(), (0, padding, 0, padding)), size, fit)
    else:
        for start in range(0, weight.shape[1], size):
            group = weight[:, start:start + size]
            fit(group, start)
            index = start // size
            nibbles[:, start:start + size] = _to_int4(
                group, (scale[:, index:index + 1], zero[:, index:index + 1]))
    pairs = nibbles.to(torch.uint8).view(len(weight), -1, 2)
    return {'weight_int4': pairs[..., 0] << 4 | pairs[..., 1],
            'weight_scale': scale.to(torch.bfloat16), 'weight_zero': zero.to(torch.bfloat16)}


def int8_tensors(weight: torch.Tensor, rounding: str,
                 hessian: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return the stored tensors of weight (N, K)."""
    weight = weight.float().clone()
    scale = _bf16((weight.abs().amax(1) / INT8_MOST).clamp_min(SMALLEST_SCALE))
    integers = (weight / scale[:, None]).round().clamp(-INT8_MOST, INT8_MOST)
    if rounding == 'gptq':
        def round_column(w: torch.Tensor, column: int) -> torch.Tensor:
            integers[:, column] = (w / scale).round().clamp(-INT8_MOST, INT8_MOST)
            return integers[:, column] * scale
        spread_errors(weight, hessian, GPTQ_BLOCK, lambda block, start: round_column)
    return {'weight_int8': integers.to(torch.int8), 'weight_scale': scale.to(torch.bfloat16)}


def stored_tensors(layer: QuantizedLinear, weight: torch.Tensor, rounding: str,
                   hessian: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """
    Return what a quantised layer stores of weight (N, K), by the layer's names.

    :param hessian: (K, K) for gptq, the sum over inputs of x xᵀ
    :raises ValueError: bitsandbytes is wanted and missing
    """
    if isinstance(layer, Int4Linear):
        return int4_tensors(layer, weight, rounding, hessian)
    if isinstance(layer, Int8Linear):
        return int8_tensors(weight, rounding, hessian)
    from rlrc_ros.vla import bitsandbytes_ops
    if isinstance(layer, Nf4Linear):
        values = bitsandbytes_ops.nf4_quantize(weight, NF4_BLOCK)
    else:
        assert isinstance(layer, LlmInt8Linear)
        values = bitsandbytes_ops.llm_int8_quantize(weight)
    return dict(zip(layer.stored_names, values))
