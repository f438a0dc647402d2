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
Packed int4 layers of one input as one product: q/k/v, gate/up, and single ones without ceremony.

Torch's int4 kernels keep rows in blocks, so packed layers whose rows fill whole blocks stand on
top of each other as they are. The layers' own weights become views of the whole and keep working.
Others stay apart, exactly as they were.

Legend: L rows of the input, K inputs, N outputs, G groups of a row.
"""

from collections.abc import Sequence

from rlrc_ros.vla.linear import Int4Linear, PACKED_MOST_ROWS
import torch
from torch import nn
from torch.nn import functional

CPU_BLOCK, CUDA_BLOCK = 64, 8
"""Rows that the packers lay together (AVX-512's; tinygemm's)."""


def can_stack(modules: Sequence[nn.Module]) -> bool:
    """Tell whether layers are packed int4 ones that one product can take."""
    if not all(type(each) is Int4Linear and each.packed and each.bias is None for each in modules):
        return False
    first = modules[0]
    block = CUDA_BLOCK if first.weights.is_cuda else CPU_BLOCK
    return (all(not each._fill and each.group_size == first.group_size
                and (each.dense is None) == (first.dense is None) for each in modules)
            and all(each.out_features % block == 0 for each in modules[:-1]))


class Int4Product:
    """One packed matrix (N, K) that rows (L, K) are multiplied with, in bf16."""

    weight_bytes = 0

    def __init__(self, modules: Sequence[Int4Linear]):
        first = modules[0]
        self._kernel, self._group_size = first._kernel, first.group_size
        self._padding, self._dense = first.padding, first.dense
        self._weights, self._scales = first.weights, first.scales
        if len(modules) == 1:
            return
        self._weights = torch.cat([each.weights for each in modules])
        self._scales = torch.cat([each.scales for each in modules], dim=1).contiguous()
        if first.dense is not None:
            self._dense = torch.cat([each.dense for each in modules])
        at = top = 0
        for each in modules:
            count = len(each.weights)  # in blocks of rows on CUDA
            each.weights, at = self._weights[at:at + count], at + count
            if first.dense is not None:
                each.dense = self._dense[top:top + each.out_features]
                top += each.out_features

    def add_int8(self) -> None:
        """Leave it as it is: it has a scheme of its own."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map (L, K) to (L, N)."""
        rows = x.to(torch.bfloat16)
        if self._dense is not None and len(x) > PACKED_MOST_ROWS:
            return functional.linear(rows, self._dense).to(x.dtype)
        if self._padding:
            rows = functional.pad(rows, (0, self._padding))
        return self._kernel(
            rows.contiguous(), self._weights, self._group_size, self._scales).to(x.dtype)

    def onto(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return residual (L, N) + product."""
        return residual + self(x)
