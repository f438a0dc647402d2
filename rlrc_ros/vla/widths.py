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
Widths that miss a fast path, said with the nearest one that hits it.

A layer of any width runs: int4 rows are filled up to whole groups, bf16 ones on CUDA to tiles.
What is filled up is read and multiplied all the same, and bitsandbytes leaves its fast kernel.
"""

from rlrc_ros.vla.fused import FAST_MULTIPLE
from rlrc_ros.vla.linear import Int4Linear, NF4_BLOCK, Nf4Linear
from rlrc_ros.vla.model import Vla
from torch import nn


def nearest_good(width: int, multiple: int) -> int:
    """Return the nearest width, smaller or larger, that is a multiple."""
    return max(multiple, round(width / multiple) * multiple)


def _wanted(layer: nn.Module, cuda: bool) -> tuple[int, str] | None:
    """Return what a decoder layer's inputs should be a multiple of, and why."""
    if isinstance(layer, Int4Linear):
        return layer.group_size, 'its int4 group; zeros fill the last one'
    if isinstance(layer, Nf4Linear):
        return NF4_BLOCK, "bitsandbytes' block; its fast kernel is left"
    if isinstance(layer, nn.Linear) and cuda:
        return FAST_MULTIPLE, 'the tensor cores take; zeros fill the last tile'
    return None


def width_warnings(model: Vla) -> list[str]:
    """Return a sentence for each width of the decoder that misses its fast path."""
    cuda = model.language_model.model.norm.weight.is_cuda
    found: dict[tuple[int, int, str], list[str]] = {}
    for name, layer in model.language_model.model.layers.named_modules():
        wanted = _wanted(layer, cuda)
        if wanted is not None and layer.in_features % wanted[0]:
            found.setdefault((layer.in_features, *wanted), []).append(name)
    return [f'{len(names)} layers ({names[0]} ...) have {width} inputs, no multiple of '
            f'{multiple}, {why}. The nearest good width is {nearest_good(width, multiple)}; '
            f'`rlrc prune --round-to {multiple}` keeps MLPs to such'
            for (width, multiple, why), names in found.items()]
