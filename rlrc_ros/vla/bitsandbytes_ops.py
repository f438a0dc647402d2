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
The paper's schemes, NF4 and LLM.int8(), by bitsandbytes; nothing else imports that library.

Imported only when such a layer is made or opened, so that everybody else does without it. Release
0.50 works on CPUs too, through its plain kernels.
"""

try:
    import bitsandbytes
    from bitsandbytes import functional as bnb
except ImportError as error:
    raise ValueError(
        f'the schemes nf4 and llm.int8 need bitsandbytes, which cannot be imported ({error}); '
        "type: pip install bitsandbytes==0.50.2   (or: pip install 'rlrc_ros[nf4]'), or take "
        'scheme int4 or int8, which need nothing more') from error
import torch

LLM_INT8_THRESHOLD = 6.0
"""Inputs beyond it are multiplied in 16 bits (LLM.int8(), arXiv 2208.07339, section 3.2)."""


def nf4_quantize(weight: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the codes of weight (N, K), uint8 (N K / 2, 1), and absmax fp32 (N K / block,)."""
    codes, state = bnb.quantize_4bit(weight.float().contiguous(), blocksize=block,
                                     quant_type='nf4', compress_statistics=False)
    return codes, state.absmax


def nf4_state(absmax: torch.Tensor, shape: tuple[int, int], block: int,
              dtype: torch.dtype) -> bnb.QuantState:
    """Return what bitsandbytes wants to know of codes: absmax, shape (N, K), result's dtype."""
    code = bnb.get_4bit_type('nf4', device=absmax.device, blocksize=block)
    return bnb.QuantState(absmax=absmax, shape=torch.Size(shape), code=code, blocksize=block,
                          quant_type='nf4', dtype=dtype)


def nf4_dequantize(codes: torch.Tensor, state: bnb.QuantState) -> torch.Tensor:
    """Return the weights (N, K) in the state's dtype."""
    return bnb.dequantize_4bit(codes, state)


def nf4_multiply(x: torch.Tensor, codes: torch.Tensor, state: bnb.QuantState) -> torch.Tensor:
    """Return x (R, K) times the weights, (R, N), in the state's dtype."""
    return bitsandbytes.matmul_4bit(x, codes.t(), quant_state=state)


def llm_int8_quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (N, K) as int8 (N, K) and absmax fp32 (N,)."""
    integers, absmax, _ = bnb.int8_vectorwise_quant(weight.to(torch.float16))
    return integers, absmax


def llm_int8_multiply(x: torch.Tensor, integers: torch.Tensor,
                      absmax: torch.Tensor) -> torch.Tensor:
    """Return x (R, K) times the weights, (R, N), by LLM.int8()."""
    state = bitsandbytes.MatmulLtState()
    state.CB, state.SCB = integers, absmax
    state.has_fp16_weights, state.threshold = False, LLM_INT8_THRESHOLD
    return bitsandbytes.matmul(x, integers, state=state)
