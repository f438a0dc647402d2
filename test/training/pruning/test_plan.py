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

"""From ratios to widths: LLM-Pruner's meaning and RLRC's, at 7B and for small models."""

from dataclasses import replace
from pathlib import Path

import pytest
from rlrc_ros.vla.config import ActionConfig, DecoderConfig, LayerWidths, ParallelConfig, VlaConfig
from rlrc_ros.vla.official import BACKBONES
from rlrc_training.pruning.costs import costs
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.plan import (
    default_round_to,
    kept_channels,
    kept_heads,
    layer_weights,
    make_plan,
)

LLAMA_7B = DecoderConfig(32064, 4096, 128, (LayerWidths(32, 11008),) * 32)


def _widths(**options) -> tuple[int, int]:
    plan = make_plan(LLAMA_7B, PruneConfig(**options))
    return (kept_heads(32, 128, plan.layer_ratio),
            kept_channels(11008, plan.layer_ratio, plan.round_to))


def test_the_two_meanings_of_ninety_percent_at_7b():
    """Per layer 4 heads and 1100 channels stay; of the decoder 2 and 550, as RLRC publishes."""
    assert _widths(ratio=0.9, round_to=1) == (4, 1100)
    assert _widths(ratio=0.9, ratio_of='decoder', round_to=1) == (2, 550)
    assert _widths(ratio=0.9, ratio_of='decoder') == (2, 512)  # of 128, for 4-bit kernels
    assert make_plan(LLAMA_7B, PruneConfig(ratio_of='decoder')).capped


@pytest.mark.parametrize('ratio', [0.2, 0.5, 0.8])
def test_the_decoders_ratio_is_reached_while_the_cap_is_far(ratio):
    """Of all layers' weights the asked share goes, though first and last stay dense."""
    plan = make_plan(LLAMA_7B, PruneConfig(ratio=ratio, ratio_of='decoder', round_to=1))
    left = sum(layer_weights(LLAMA_7B, LayerWidths(
        kept_heads(32, 128, plan.layer_ratio), kept_channels(11008, plan.layer_ratio, 1))
        if index in plan.layers else LayerWidths(32, 11008)) for index in range(32))
    total = 32 * layer_weights(LLAMA_7B, LayerWidths(32, 11008))
    assert 1 - left / total == pytest.approx(ratio, abs=0.01)


def test_rounding_scales_with_the_model():
    """128 at 7B, 32 at nano's 512 channels, and never less than one multiple."""
    assert [default_round_to(width) for width in (11008, 1024, 512, 96, 12)] == [128, 32, 32, 8, 1]
    assert kept_channels(512, 0.99, 16) == 16
    assert kept_channels(96, 0.01, 64) == 64


def test_costs_agree_with_the_published_shapes():
    """Parameters and operations of OpenVLA-7B, dense and with RLRC's shapes, are as known."""
    dense = VlaConfig(BACKBONES['dinosiglip-vit-so-224px'], LLAMA_7B, ActionConfig(32000, 29871))
    pruned = replace(dense, decoder=replace(LLAMA_7B, layers=(
        LayerWidths(32, 11008), *[LayerWidths(2, 550)] * 30, LayerWidths(32, 11008))))
    before, after = costs(dense), costs(pruned)
    assert before.parameters / 1e9 == pytest.approx(7.50, abs=0.01)  # dead vision blocks are out
    assert after.parameters / 1e9 == pytest.approx(1.77, abs=0.02)
    assert 1 - after.parts['decoder'] / before.parts['decoder'] == pytest.approx(0.887, abs=1e-3)
    for ours, known in ((before.vision_gflop, 368), (before.projector_gflop, 37),
                        (before.prefill_gflop, 3575), (after.prefill_gflop, 391),
                        (before.decode_gflop, 13.0), (after.decode_gflop, 1.42)):
        assert ours == pytest.approx(known, rel=0.06)


def test_one_pass_is_one_longer_prefill():
    """An OpenVLA-OFT's chunk of 8 takes as many operations, and none of them after the prefill."""
    one = VlaConfig(BACKBONES['dinosiglip-vit-so-224px'], LLAMA_7B, ActionConfig(32000, 29871))
    action = replace(one.action, horizon=8)
    turns, passes = costs(replace(one, action=action)), costs(
        replace(one, action=action, parallel=ParallelConfig('l1')))
    assert passes.decode_gflop == 0.0 and passes.vision_gflop == turns.vision_gflop
    # 57 slots more in the prefill, the L1 head, and attention over all tokens.
    assert turns.prefill_gflop * 333 / 276 < passes.prefill_gflop < turns.prefill_gflop * 1.3
    assert passes.answer_gflop == pytest.approx(turns.answer_gflop, rel=0.03)
    two = costs(replace(one, action=action, parallel=ParallelConfig('l1', ('image', 'wrist'))))
    assert two.vision_gflop == 2 * passes.vision_gflop


@pytest.mark.parametrize(('options', 'words'), [
    ({'layers': (0, 33)}, 'layers 0 to 33 are not a range of a decoder with 32 layers'),
    ({'layers': (5, 5)}, r'0 <= START < STOP <= 32'),
    ({'ratio': 0.9999, 'layers': (1, 31)}, r'leaves layer 1 without heads.*largest .* 0\.9997'),
    ({'ratio': 0.95, 'ratio_of': 'decoder'}, r'at most 0\.891'),
    ({'keep_layers': 31}, 'more than the 30 listed layers 1 ... 30'),
    ({'keep_layers': 2, 'ratio': 0.5}, 'keep_layers is at least 15'),
    ({'round_to': 20000}, 'at most 11008, for example 128')])
def test_what_cannot_be_reached_is_refused_with_the_nearest_that_can(options, words):
    """Ranges, ratios and multiples are refused before any weight is read."""
    with pytest.raises(PruneError, match=words):
        make_plan(LLAMA_7B, PruneConfig(**options))


def test_a_decoder_without_middle_layers_wants_a_range():
    """Two layers have no middle; the message says what to type."""
    two = replace(LLAMA_7B, layers=LLAMA_7B.layers[:2])
    with pytest.raises(PruneError, match='by default; give --layers START STOP'):
        make_plan(two, PruneConfig())


@pytest.mark.parametrize(('options', 'words'), [
    ({'method': 'sparsegpt'}, "'sparsegpt' is not known; there are: llm-pruner, magnitude"),
    ({'ratio': 1.0}, 'ratio 1.0 would leave layers without heads'),
    ({'ratio': 0.0}, 'would leave everything'), ({'vision_ratio': 1.0}, 'got 1.0'),
    ({'pattern': '4:2', 'method': 'wanda'}, "'4:2' is not known"),
    ({'pattern': '2:4', 'method': 'flap'}, 'it is for: magnitude, wanda'),
    ({'loss': 'robot', 'importance': 'l1'}, 'reads no loss'),
    ({'loss': 'robot', 'method': 'flap'}, "not for method 'flap'"),
    ({'importance': 'l2', 'method': 'flap'}, "importance 'l2' is not for method 'flap'"),
    ({'flap_structure': 'UL-UM'}, 'it is for: flap'),
    ({'remove_heads': 4, 'method': 'flap'}, "not for flap_structure 'AL-AM'.* AL-MM, UL-MM"),
    ({'token_ids': Path('x'), 'method': 'magnitude'}, 'weights alone; leave --token-ids away'),
    ({'keep_layers': 2, 'method': 'wanda'}, 'it is for: llm-pruner'),
    ({'wanda_variant': True, 'pattern': '2:4', 'method': 'wanda'}, 'leave one of the two'),
    ({'samples': 0}, 'at least 1, got 0'), ({'max_layer_ratio': 1.5}, 'got 1.5')])
def test_a_wrong_option_is_refused(options, words):
    """Each message names the value and the valid ones."""
    with pytest.raises(PruneError, match=words):
        PruneConfig(**options)
