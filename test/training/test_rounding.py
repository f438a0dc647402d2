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

"""Rounding: exact where it can be, better than to the nearest where it promises to be."""

import pytest
from rlrc_ros.vla.linear import Int4Linear, Int8Linear
from rlrc_training.rounding import stored_tensors
import torch


def _rounded(layer, weight, rounding, hessian=None):
    layer.load_state_dict(stored_tensors(layer, weight, rounding, hessian), assign=True)
    return layer.dequantize()


def test_weights_that_lie_on_a_grid_come_back():
    """Sixteen evenly spaced values in each group are stored without error."""
    row = (torch.arange(64) % 16 - 8) * 0.125
    weight = torch.stack([row, 2 * row, row + 1.0])
    assert torch.equal(_rounded(Int4Linear(64, 3, False, 32), weight, 'nearest'), weight)


def test_a_group_of_equal_weights_is_stored():
    """A group without any spread divides by nothing."""
    weight = torch.full((4, 32), 0.5)
    for rounding in ('nearest', 'hqq'):
        assert torch.equal(_rounded(Int4Linear(32, 4, False, 32), weight, rounding), weight)


def test_hqq_is_nearer_than_the_nearest():
    """On weights with outliers the searched grid has less squared error."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 256, generator=generator) ** 3
    errors = [float((_rounded(Int4Linear(256, 64, False, 64), weight, rounding) - weight)
                    .square().mean()) for rounding in ('nearest', 'hqq')]
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize('make', [
    lambda: Int4Linear(96, 32, False, 32), lambda: Int4Linear(80, 32, False, 32),
    lambda: Int8Linear(96, 32, False)], ids=['int4', 'int4, a short last group', 'int8'])
def test_gptq_errs_less_on_what_the_layer_sees(make):
    """On inputs that depend on each other the calibrated weights give nearer outputs."""
    layer, generator = make(), torch.Generator().manual_seed(1)
    inputs = layer.in_features
    mixing = torch.randn(inputs // 4, inputs, generator=generator)
    x = torch.randn(500, inputs // 4, generator=generator) @ mixing
    weight = torch.randn(32, inputs, generator=generator)
    errors = {}
    for rounding in ('nearest', 'hqq', 'gptq'):
        difference = _rounded(make(), weight, rounding, x.T @ x) - weight
        errors[rounding] = float((difference @ x.T).norm())
    assert errors['gptq'] < 0.5 * min(errors['nearest'], errors['hqq'])


def test_inputs_that_are_always_zero_do_not_disturb_gptq():
    """A Hessian with empty rows is no obstacle, and what it says nothing of is merely rounded."""
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(2))
    x = torch.randn(100, 64, generator=torch.Generator().manual_seed(3))
    x[:, 10:20] = 0
    found = _rounded(Int4Linear(64, 16, False, 32), weight, 'gptq', x.T @ x)
    assert torch.isfinite(found).all()
    assert float((found - weight)[:, 10:20].abs().max()) < 0.6
