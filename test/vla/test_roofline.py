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

"""Bytes and operations of a step against the published arithmetic of OpenVLA-7B."""

import pytest
from rlrc_ros.vla.roofline import decoder_parameters, Device, measure_device, step_stages
from rlrc_training.bench_rows import dense_config, pruned_config
import torch


def test_the_work_of_a_7b_step_is_the_published_one():
    """Vision 368 + projector 37, prefill 3575, a decoded token 13.0 GFLOP; pruned by shape."""
    dense = {each.name: each for each in step_stages(dense_config('7b'))}
    pruned = {each.name: each for each in step_stages(pruned_config(dense_config('7b')))}
    assert decoder_parameters(dense_config('7b')) == pytest.approx(6.476e9, rel=1e-3)
    assert dense['vision'].operations == pytest.approx(405e9, rel=5e-3)
    # The published prefill leaves out attention's own products, 1 % of it.
    assert dense['prefill'].operations == pytest.approx(3575e9, rel=0.02)
    assert dense['decode'].operations / 6 == pytest.approx(13.0e9, rel=0.02)
    # A layer of 2 heads and 550 channels has 10.95 M weights, a whole one 202.4 M.
    weights = 2 * 202.4e6 + 30 * 10.95e6
    kept = decoder_parameters(pruned_config(dense_config('7b')))
    assert kept == pytest.approx(weights, rel=1e-3)
    assert pruned['prefill'].operations == pytest.approx(2 * weights * 276, rel=0.02)
    assert pruned['decode'].operations / 6 == pytest.approx(2 * weights, rel=0.02)


def test_the_limit_of_dense_bf16_is_the_published_one():
    """98.8 ms on an RTX 5880 Ada and 20.8 ms on an H200, with the whole head read."""
    stages = step_stages(dense_config('7b'), head_rows=32064)
    for device, milliseconds in ((Device('5880', 960e9, 277e12), 98.8),
                                 (Device('H200', 4800e9, 989e12), 20.8)):
        assert device.seconds(stages) * 1e3 == pytest.approx(milliseconds, rel=0.03)


def test_one_pass_reads_the_weights_once():
    """Seven tokens in the prefill: no decoding stage, and its bytes are those of one token."""
    config = pruned_config(dense_config('7b'))
    whole, once = step_stages(config), step_stages(config, one_pass=True)
    assert [each.name for each in once] == ['vision', 'prefill']
    assert once[1].bytes_read == whole[1].bytes_read
    assert sum(each.bytes_read for each in once) < sum(each.bytes_read for each in whole) / 2


def test_a_stage_is_bound_by_its_slower_half():
    """Bytes or operations, whichever takes longer; stages add up."""
    stages = step_stages(dense_config('nano'))
    by_bytes = Device('a', 1.0, 1e30).seconds(stages)
    assert by_bytes == pytest.approx(sum(each.bytes_read for each in stages))
    device = measure_device('cpu', torch.float32)
    assert 1e8 < device.bytes_per_s < 1e13 and 1e8 < device.operations_per_s < 1e15
