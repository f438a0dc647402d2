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

"""Less memory for more time: activations that are computed again in the backward pass."""

from functools import partial

from rlrc_ros.vla.model import Vla
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(model: Vla) -> None:
    """Let every block of the towers and every layer of the decoder keep its input alone."""
    backbone = model.vision_backbone
    blocks = [*backbone.featurizer.blocks, *model.language_model.model.layers]
    if hasattr(backbone, 'fused_featurizer'):
        blocks += backbone.fused_featurizer.blocks
    for block in blocks:
        block.forward = partial(_run, block, block.forward)


def _run(block: nn.Module, forward, *arguments):
    if not torch.is_grad_enabled():
        return forward(*arguments)
    return checkpoint(forward, *arguments, use_reentrant=False)
