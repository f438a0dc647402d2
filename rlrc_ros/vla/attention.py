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

"""Attention of decoder and towers, in the precision that is fastest where it runs."""

import torch
from torch.nn import functional


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None,
           *, is_causal: bool = False) -> torch.Tensor:
    """
    Return scaled dot-product attention (B, H, L, D) of queries (B, H, L, D) over S keys.

    :param mask: (B, 1, L or 1, S), True where a key is seen, or what is added to the scores
    """
    if q.device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
        return functional.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal)
    # Autocast would hand it bf16, whose backward pass takes four times as long on a CPU.
    with torch.autocast('cpu', enabled=False):
        return functional.scaled_dot_product_attention(
            q.float(), k.float(), v.float(), mask, is_causal=is_causal)
