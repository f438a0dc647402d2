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
Linear layers that hold packed weights: int4, int8, NF4 and LLM.int8().

A layer has two lives. As stored it is plain and knows no device: nibbles or int8, with scales
beside them. pack(), called once the tensors are on their device, turns that into what the device's
kernel reads and lets go of the rest. Kernels run in bf16 whatever the model runs in: on a CPU the
same torch ops in fp32 have no vector code (60 to 80 times slower at 276 rows).

    int4      w = (q - 8) scale + zero, one bf16 scale and zero for each group_size inputs of a row
    int8      w = q scale, one bf16 scale a row
    nf4       bitsandbytes' NormalFloat, one fp32 absmax for each 64 weights (the paper's)
    llm.int8  bitsandbytes' LLM.int8(), activations in 8 bits too, outliers apart (the paper's)

Legend: N outputs, K inputs, G groups of a row, R rows of the input.
"""

import math

import torch
from torch import nn
from torch.nn import functional

INT4_ZERO = 8
"""The nibble that means `zero` itself; torch's int4 kernels fix it."""
CPU_INT4_ROWS, CUDA_INT4_ROWS = 16, 8
"""The kernels want N in multiples of these."""
NF4_BLOCK = 64
PACKED_MOST_ROWS = 32
"""Up to here the 4-bit kernel beats a bf16 product on two AVX512-BF16 cores (measured at 512 x 512
to 1376 x 512: 0.6 to 0.9 of its time at 16 rows, 1.3 to 1.7 at 64)."""
INT8_MOST_ROWS = 8
"""Likewise for int8; above, widening the weights and a bf16 product cost less than the kernel."""
INT8_INPUTS = 32
"""The CPU's bf16 kernel reads past the end of rows that are no multiple of its vectors."""


class PackedError(ValueError):
    """A packed layer was asked for its weights, which only a stored one has."""


class QuantizedLinear(nn.Module):
    """
    What the schemes share: sizes, bias, the dense copy for prefills.

    Quantised tensors are buffers, so they are never trained and no `dtype` of a checkpoint applies
    to them; the bias is a parameter.
    """

    scheme = ''
    stored_names: tuple[str, ...] = ()

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.packed = False
        self.register_buffer('dense', None, persistent=False)

    @property
    def logical_parameters(self) -> int:
        """Return how many weights the layer stands for, its bias included."""
        return self.out_features * (self.in_features + (self.bias is not None))

    def dequantize(self) -> torch.Tensor:
        """Return the weights (N, K) fp32 that a stored layer stands for."""
        raise NotImplementedError

    def pack(self, keep_dense: bool = False) -> None:
        """
        Turn stored tensors into what this device's kernel reads.

        :param keep_dense: also keep the dequantised weights in bf16, for inputs of many rows:
            2 bytes more for every weight
        """
        if keep_dense:
            self.dense = self.dequantize().to(torch.bfloat16)
        self._pack()
        self.packed = True

    def _pack(self) -> None:
        pass

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return (R, N) of x (R, K), without the bias."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., K) to (..., N)."""
        if not self.packed:  # stored but not packed: right, and slow
            return functional.linear(x, self.dequantize().to(x.dtype), self.bias)
        rows = x.reshape(-1, self.in_features).contiguous()
        if self.dense is not None and len(rows) > PACKED_MOST_ROWS:
            y = functional.linear(rows.to(torch.bfloat16), self.dense)
        else:
            y = self._multiply(rows)
        y = y.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def _apply(self, fn, recurse=True):
        """Move as any module does, but in bytes: a scale's dtype belongs to the scheme."""
        packed = {name: each for name, each in self._buffers.items() if each is not None}
        for name in packed:
            self._buffers[name] = None
        super()._apply(fn, recurse)
        self._buffers |= {name: fn(each.view(torch.uint8)).view(each.dtype)
                          for name, each in packed.items()}
        return self

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        if self.packed:
            raise PackedError(f'{prefix[:-1]} is packed for its device and cannot be saved or '
                              'trained; copy the checkpoint folder that it came from')
        super()._save_to_state_dict(destination, prefix, keep_vars)


class Int4Linear(QuantizedLinear):
    """
    Four bits a weight, by torch's own kernels.

    A row whose K is no multiple of group_size is filled up with zeros, on disk too.
    """

    scheme = 'int4'
    stored_names = ('weight_int4', 'weight_scale', 'weight_zero')

    def __init__(self, in_features: int, out_features: int, bias: bool, group_size: int):
        super().__init__(in_features, out_features, bias)
        self.group_size = group_size
        self.groups = math.ceil(in_features / group_size)
        self.padding = self.groups * group_size - in_features
        scales = (out_features, self.groups)
        # Two weights a byte, the even input in the high nibble, as the CUDA packer reads them.
        self.register_buffer('weight_int4', torch.empty(
            out_features, self.groups * group_size // 2, dtype=torch.uint8))
        self.register_buffer('weight_scale', torch.empty(scales, dtype=torch.bfloat16))
        self.register_buffer('weight_zero', torch.empty(scales, dtype=torch.bfloat16))

    def _nibbles(self) -> torch.Tensor:
        """Return q (N, G x group_size) int32."""
        return torch.stack([self.weight_int4 >> 4, self.weight_int4 & 15], -1).flatten(1).int()

    def dequantize(self) -> torch.Tensor:
        """Return the weights (N, K) fp32 that the nibbles stand for."""
        grouped = self._nibbles().float().view(self.out_features, self.groups, -1) - INT4_ZERO
        grouped = grouped * self.weight_scale.float()[..., None] \
            + self.weight_zero.float()[..., None]
        return grouped.flatten(1)[:, :self.in_features]

    def _pack(self) -> None:
        cuda = self.weight_int4.is_cuda
        multiple = CUDA_INT4_ROWS if cuda else CPU_INT4_ROWS
        self._fill = fill = -self.out_features % multiple
        scales = torch.stack([self.weight_scale, self.weight_zero], -1)  # (N, G, 2)
        scales = functional.pad(scales, (0, 0, 0, 0, 0, fill)).transpose(0, 1).contiguous()
        if cuda:
            inputs = 2 * self.weight_int4.shape[1]
            tiles = next(tiles for tiles in (8, 4, 2) if inputs % (16 * tiles) == 0)
            weights = torch.ops.aten._convert_weight_to_int4pack(
                functional.pad(self.weight_int4, (0, 0, 0, fill)), tiles)
        else:
            weights = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
                functional.pad(self._nibbles(), (0, 0, 0, fill)), 1)
        self._kernel = (torch.ops.aten._weight_int4pack_mm if cuda
                        else torch.ops.aten._weight_int4pack_mm_for_cpu)
        del self.weight_int4, self.weight_scale, self.weight_zero
        self.register_buffer('weights', weights, persistent=False)
        self.register_buffer('scales', scales, persistent=False)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(torch.bfloat16)
        if self.padding:
            x = functional.pad(x, (0, self.padding))
        y = self._kernel(x, self.weights, self.group_size, self.scales)
        return y[:, :self.out_features] if self._fill else y


class Int8Linear(QuantizedLinear):
    """Eight bits a weight; the kernel where it helps, else weights widened on the fly."""

    scheme = 'int8'
    stored_names = ('weight_int8', 'weight_scale')

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__(in_features, out_features, bias)
        self.register_buffer('weight_int8', torch.empty(
            out_features, in_features, dtype=torch.int8))
        self.register_buffer('weight_scale', torch.empty(out_features, dtype=torch.bfloat16))

    def dequantize(self) -> torch.Tensor:
        """Return the weights (N, K) fp32 that the integers stand for."""
        return self.weight_int8.float() * self.weight_scale.float()[:, None]

    def _pack(self) -> None:
        self._has_kernel = (self.weight_int8.device.type == 'cpu'
                            and self.in_features % INT8_INPUTS == 0)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(torch.bfloat16)
        if self._has_kernel and len(x) <= INT8_MOST_ROWS:
            return torch.ops.aten._weight_int8pack_mm(x, self.weight_int8, self.weight_scale)
        return functional.linear(x, self.weight_int8.to(torch.bfloat16)) * self.weight_scale


class Nf4Linear(QuantizedLinear):
    """bitsandbytes' four bits: the nearest of 16 quantiles of a normal distribution."""

    scheme = 'nf4'
    stored_names = ('weight_nf4', 'weight_absmax')

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__(in_features, out_features, bias)
        weights = in_features * out_features
        self.register_buffer('weight_nf4', torch.empty(
            math.ceil(weights / 2), 1, dtype=torch.uint8))
        self.register_buffer('weight_absmax', torch.empty(
            math.ceil(weights / NF4_BLOCK), dtype=torch.float32))

    def _state(self, dtype: torch.dtype):
        from rlrc_ros.vla import bitsandbytes_ops
        return bitsandbytes_ops.nf4_state(
            self.weight_absmax, (self.out_features, self.in_features), NF4_BLOCK, dtype)

    def dequantize(self) -> torch.Tensor:
        """Return the weights (N, K) fp32 that the quantiles stand for."""
        from rlrc_ros.vla import bitsandbytes_ops
        return bitsandbytes_ops.nf4_dequantize(self.weight_nf4, self._state(torch.float32))

    def _pack(self) -> None:
        from rlrc_ros.vla import bitsandbytes_ops
        self._kernel, self._bf16_state = bitsandbytes_ops.nf4_multiply, self._state(torch.bfloat16)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        return self._kernel(x.to(torch.bfloat16), self.weight_nf4, self._bf16_state)


class LlmInt8Linear(QuantizedLinear):
    """bitsandbytes' LLM.int8(): 8-bit products, inputs beyond the threshold in 16 bits."""

    scheme = 'llm.int8'
    stored_names = ('weight_int8', 'weight_absmax')

    def __init__(self, in_features: int, out_features: int, bias: bool):
        super().__init__(in_features, out_features, bias)
        self.register_buffer('weight_int8', torch.empty(
            out_features, in_features, dtype=torch.int8))
        self.register_buffer('weight_absmax', torch.empty(out_features, dtype=torch.float32))

    def dequantize(self) -> torch.Tensor:
        """Return the weights (N, K) fp32 that the integers stand for."""
        return self.weight_int8.float() * (self.weight_absmax[:, None] / 127.0)

    def _pack(self) -> None:
        from rlrc_ros.vla import bitsandbytes_ops
        self._kernel = bitsandbytes_ops.llm_int8_multiply

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        return self._kernel(x.to(torch.bfloat16), self.weight_int8, self.weight_absmax)
