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

"""Packed int4 layers as one product: the same numbers, fewer operations, no bytes twice."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.vla.config import LayerWidths, QuantizationConfig
from rlrc_ros.vla.fused import fuse, Modules
from rlrc_ros.vla.fused_int4 import Int4Product
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.operations import count_operations
from rlrc_ros.vla.random_weights import random_model
from rlrc_ros.vla.runtime import Reuse, StepRuntime
from rlrc_training.presets import preset
import torch


def _model(intermediate: int, prefill: str = 'packed') -> Vla:
    config, _ = preset('tiny')
    config = replace(config, decoder=replace(
        config.decoder, layers=(LayerWidths(4, intermediate),) * 2),
        quantization=QuantizationConfig('int4', group_size=32, prefill=prefill))
    torch.manual_seed(0)
    return random_model(config, 'cpu', torch.float32)


@pytest.mark.parametrize(('prefill', 'rows'), [('packed', 1), ('packed', 40), ('bf16', 40)])
def test_stacked_layers_give_the_separate_ones_numbers(prefill: str, rows: int):
    """To the bit, at few rows and many, from the packed copy and the dense one."""
    layer = _model(128, prefill).language_model.model.layers[0].mlp
    x = torch.randn(rows, 64)
    separate = torch.cat([layer.gate_proj(x), layer.up_proj(x)], -1)
    both = fuse([layer.gate_proj, layer.up_proj])
    assert isinstance(both, Int4Product)
    assert torch.equal(both(x), separate)
    assert torch.equal(torch.cat([layer.gate_proj(x), layer.up_proj(x)], -1), separate)
    assert layer.up_proj.weights.untyped_storage().data_ptr() == \
        both._weights.untyped_storage().data_ptr()


def test_rows_that_fill_no_block_stay_apart():
    """96 rows end within the CPU kernel's block of 64: stacking would mix them up."""
    layer = _model(96).language_model.model.layers[0].mlp
    x = torch.randn(2, 64)
    separate = torch.cat([layer.gate_proj(x), layer.up_proj(x)], -1)
    both = fuse([layer.gate_proj, layer.up_proj])
    assert isinstance(both, Modules) and torch.equal(both(x), separate)


def test_an_int4_step_has_fewer_operations_stacked_and_answers_the_same():
    """The runtime's tokens are the plain model's, from four products a layer and not seven."""
    model = _model(128)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ids = [1, *range(10, 18)]
    plain = model.act(to_pixels(torch.from_numpy(image)[None], model.config.towers),
                      torch.tensor([ids]), torch.tensor([9])).action_ids[0].tolist()
    runtime = StepRuntime(deepcopy(model), reuse=Reuse(enabled=False))
    assert runtime.act(image, ids).tolist() == plain
    counts = count_operations(lambda: runtime.act(image, ids))
    runs = 2 * model.config.action_tokens
    assert counts['aten._weight_int4pack_mm_for_cpu'] == 4 * runs
