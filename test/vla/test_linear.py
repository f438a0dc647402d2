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

"""Quantised linear layers: what a packed layer computes is what its stored tensors stand for."""

import pytest
from rlrc_ros.vla.linear import (
    Int4Linear,
    Int8Linear,
    LlmInt8Linear,
    Nf4Linear,
    PACKED_MOST_ROWS,
    PackedError,
)
from rlrc_training.rounding import stored_tensors
import torch


def _layer(layer, seed: int = 0):
    """Return the layer filled from random weights, and these."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(layer.out_features, layer.in_features, generator=generator) * 0.05
    tensors = stored_tensors(layer, weight, 'nearest', None)
    if layer.bias is not None:
        tensors['bias'] = torch.randn(layer.out_features, generator=generator)
    layer.load_state_dict(tensors, assign=True)
    return layer.requires_grad_(False), weight


def _error(found, wanted):
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


LAYERS = {
    'int4': lambda: Int4Linear(128, 48, True, 32),
    'int4, N no multiple of 16': lambda: Int4Linear(64, 550, False, 64),
    'int4, a short last group': lambda: Int4Linear(80, 24, True, 64),
    'int8': lambda: Int8Linear(64, 48, True),
    'int8, K no multiple of 32': lambda: Int8Linear(50, 24, False),
}


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_packed_layer_computes_what_it_stored(name, dtype):
    """One row, a few and many give the dequantised product, within bf16's rounding."""
    layer, _ = _layer(LAYERS[name]())
    weight = layer.dequantize()
    if layer.bias is not None:
        layer.bias.data = layer.bias.to(dtype)
    layer.pack()
    for shape in ((1,), (1, 5), (2, 40)):
        x = torch.randn(*shape, layer.in_features).to(dtype)
        wanted = torch.nn.functional.linear(x.float(), weight)
        if layer.bias is not None:
            wanted += layer.bias.float()
        found = layer(x)
        assert found.dtype == dtype
        assert found.shape == wanted.shape
        assert _error(found, wanted) < 1e-2


@pytest.mark.parametrize('name', LAYERS)
def test_stored_weights_are_near_the_real_ones(name):
    """Four bits are off by a tenth at most, eight by a hundredth."""
    layer, weight = _layer(LAYERS[name]())
    assert _error(layer.dequantize(), weight) < (0.12 if layer.scheme == 'int4' else 0.012)


def test_a_dense_copy_serves_many_rows_and_the_kernel_few():
    """With keep_dense, rows beyond the limit are multiplied by the same weights in bf16."""
    layer, _ = _layer(LAYERS['int4']())
    weight = layer.dequantize()
    layer.pack(keep_dense=True)
    torch.testing.assert_close(layer.dense, weight.to(torch.bfloat16), rtol=0, atol=0)
    many, few = torch.randn(PACKED_MOST_ROWS + 1, 128), torch.randn(1, 128)
    layer.dense.zero_()
    assert torch.equal(layer(many), layer.bias.expand(len(many), -1))
    assert _error(layer(few), torch.nn.functional.linear(few, weight, layer.bias)) < 1e-2


def test_a_packed_layer_cannot_be_saved():
    """What has been packed for a device says so instead of leaving its weights out."""
    layer, _ = _layer(LAYERS['int8']())
    assert 'weight_int8' in layer.state_dict()
    layer.pack()
    with pytest.raises(PackedError, match='checkpoint folder'):
        layer.state_dict()


@pytest.mark.parametrize('kind', [Nf4Linear, LlmInt8Linear])
@pytest.mark.parametrize('inputs', [128, 50])
def test_the_papers_schemes_run_on_this_device(kind, inputs):
    """Layers of bitsandbytes compute what they stored, K a multiple of its block or not."""
    pytest.importorskip('bitsandbytes', reason="pip install 'rlrc_ros[nf4]'")
    layer, weight = _layer(kind(inputs, 48, True))
    stored = layer.dequantize()
    assert _error(stored, weight) < (0.12 if kind is Nf4Linear else 0.012)
    layer.pack()
    for rows in (1, 40):
        x = torch.randn(rows, inputs)
        wanted = torch.nn.functional.linear(x, stored, layer.bias)
        assert _error(layer(x), wanted) < 2e-2


def test_a_models_dtype_leaves_a_schemes_own_numbers_alone():
    """Turning a model to bf16, as `auto` tries, must not round what its scheme keeps in fp32."""
    layer = LlmInt8Linear(64, 48, True)
    scales = torch.rand(48, generator=torch.Generator().manual_seed(0))
    layer.load_state_dict({'weight_int8': torch.ones(48, 64, dtype=torch.int8),
                           'weight_absmax': scales, 'bias': torch.zeros(48)}, assign=True)
    turned = layer.to(torch.bfloat16)
    assert turned.bias.dtype == torch.bfloat16
    assert turned.weight_absmax.dtype == torch.float32
    assert torch.equal(turned.weight_absmax, scales)
    assert turned.to('meta').weight_int8.is_meta
