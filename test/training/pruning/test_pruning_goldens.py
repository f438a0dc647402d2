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
The golden LLaMA, pruned by us, equals what the published codes made of it.

Kept heads, channels and masks are exact; scores 1e-5 relative, vectorize 1e-6
absolute; logits 1e-4 absolute, fp32.
"""

import json

from golden_llama import CONFIG, golden_arrays, golden_llama, GOLDENS, logits_of, VARIANT
import numpy as np
import pytest
from rlrc_training.pruning.flap import flap, Fluctuation, OUTPUTS, structured_rival
from rlrc_training.pruning.importance import group_scores, rank
from rlrc_training.pruning.options import PruneConfig
from rlrc_training.pruning.plan import layer_weights, make_plan
from rlrc_training.pruning.structure import cut_decoder
from rlrc_training.pruning.unstructured import InputNorm, lowest_of_rows, zero_out
from rlrc_training.pruning.walk import BackwardWalk, linear, LINEARS, walk_forward
import torch

SCORE_TOLERANCE, LOGIT_TOLERANCE = 1e-5, 1e-4
RUNS = json.loads((GOLDENS / 'meta_wanda_flap.json').read_text())['runs'] \
    if GOLDENS.exists() else {}
FLAP_RUNS = ('flap_WIFV_AL-AM_p0.3', 'flap_WIFV_AL-AM_p0.5', 'flap_IFV_AL-AM_p0.3',
             'flap_WIFN_AL-AM_p0.3', 'flap_WIFV_UL-UM_p0.3', 'flap_WIFV_AL-MM_p0.3',
             'flap_WIFV_UL-MM_p0.3')


def _near(ours: torch.Tensor, theirs: np.ndarray, relative: float = SCORE_TOLERANCE,
          absolute: float = 0.0) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=relative, atol=absolute)


def _config(**options) -> PruneConfig:
    return PruneConfig(**{'layers': (VARIANT['start'], VARIANT['end']),
                          'ratio': VARIANT['ratio'], 'round_to': 1, **options})


ALL = (0, VARIANT['layers'])


def _near_logits(model, wanted: np.ndarray) -> None:
    _near(logits_of(model), wanted, 0.0, LOGIT_TOLERANCE)


@pytest.mark.parametrize(('name', 'importance', 'reduction'), [
    ('taylor_param_first_sum', 'param_first', 'sum'),
    ('taylor_param_first_mean', 'param_first', 'mean'),
    ('taylor_param_first_max', 'param_first', 'max'),
    ('taylor_param_first_first', 'param_first', 'first'),
    ('taylor_param_second_sum', 'param_second', 'sum'),
    ('taylor_param_mix_sum', 'param_mix', 'sum'),
    ('taylor_vectorize_sum', 'vectorize', 'sum'), ('l1', 'l1', 'mean'), ('l2', 'l2', 'mean')])
def test_llm_pruner_equals_the_golden(name, importance, reduction):
    """Scores, kept heads and channels, weights and logits are LLM-Pruner's."""
    golden = golden_arrays(f'llmpruner_{name}')
    model, samples = golden_llama()
    config = _config(importance=importance, reduction=reduction)
    plan = make_plan(CONFIG, config)
    absolute = 1e-6 if importance == 'vectorize' else 0.0  # sums that cancel
    if importance.startswith(('param', 'vector')):
        squares = importance in ('param_second', 'param_mix')
        for each in BackwardWalk(model, samples, plan.layers, squares):
            heads, channels = group_scores(model.model.layers[each.index], config, each.sums)
            root = f'importance::model.layers.{each.index}'
            _near(heads, golden[f'{root}.self_attn.q_proj'], absolute=absolute)
            _near(channels, golden[f'{root}.mlp.gate_proj'], absolute=absolute)
    ranking = rank(model, samples, plan, config)
    for index, kept in ranking.decisions.items():
        unit = golden[f'unit_score::model.layers.{index}.self_attn.q_proj']
        _near(kept.head_scores, unit, absolute=absolute)
        _near(kept.channel_scores, golden[f'importance::model.layers.{index}.mlp.gate_proj'],
              absolute=absolute)
        assert kept.heads.tolist() == sorted(golden[f'kept_heads::{index}'].tolist())
        assert kept.channels.tolist() == sorted(golden[f'kept_channels::{index}'].tolist())
    if 'calib_loss' in golden:
        assert ranking.loss == pytest.approx(float(golden['calib_loss']), rel=1e-6)
    cut_decoder(model, ranking.decisions, ranking.dropped)
    _near_logits(model, golden['pruned_test_logits'])
    assert sum(each.numel() for each in model.parameters()) == int(golden['n_params_after'])
    weights = {key.removeprefix('pruned::'): value for key, value in golden.items()
               if key.startswith('pruned::')}
    for key, value in model.state_dict().items() if weights else ():
        assert np.array_equal(value.numpy(), weights[key]), key


def test_gradients_of_the_walk_equal_one_backward_pass():
    """Layer by layer and sample by sample gives the gradient that the published run stored."""
    golden = golden_arrays('llmpruner_taylor_param_first_sum')
    model, samples = golden_llama()
    compared = 0
    for each in BackwardWalk(
            model, samples, range(VARIANT['start'], VARIANT['end']), False):
        for name in LINEARS:
            key = f'grad::model.layers.{each.index}.{name}.weight'
            if key in golden:
                _near(each.sums.mean[name], golden[key], 1e-5, 1e-7)
                compared += 1
    assert compared == 2


@pytest.mark.parametrize(('run', 'options'), [
    ('wanda_unstr50', {'method': 'wanda', 'ratio': 0.5}),
    ('wanda_unstr30', {'method': 'wanda', 'ratio': 0.3}),
    ('wanda_2_4', {'method': 'wanda', 'pattern': '2:4'}),
    ('wanda_variant50', {'method': 'wanda', 'wanda_variant': True, 'ratio': 0.5}),
    ('magnitude_unstr50', {'method': 'magnitude', 'ratio': 0.5}),
    ('magnitude_2_4', {'method': 'magnitude', 'pattern': '2:4'})])
def test_zeros_equal_the_golden(run, options):
    """Every weight that Wanda or magnitude sets to zero is zero here, and no other."""
    golden = golden_arrays('wanda_magnitude')
    model, samples = golden_llama()
    config = _config(layers=ALL, **options)
    zero_out(model, samples, make_plan(CONFIG, config), config)
    different = total = 0
    for key, weight in model.state_dict().items():
        packed = golden.get(f'{run}::pruned_mask_packed::{key}')
        if packed is None:
            continue
        wanted = np.unpackbits(packed)[:weight.numel()].astype(bool)
        different += int((wanted != (weight.flatten().numpy() == 0)).sum())
        total += weight.numel()
    assert total == sum(layer_weights(CONFIG, each) for each in CONFIG.layers)
    assert different <= 6  # near-ties, on machines that add in another order; 0 where measured
    _near_logits(model, golden[f'{run}::test_logits'])


def test_wandas_input_norms_equal_the_golden():
    """The running means of squared norms are Wanda's, layer after pruned layer."""
    golden = golden_arrays('wanda_magnitude')
    model, samples = golden_llama()
    compared = []

    def visit(index, layer, statistics):
        for name in LINEARS:
            key = f'wanda_scaler_row::model.layers.{index}.{name}'
            _near(statistics[name].square, golden[key])
            compared.append(key)
            weight = linear(layer, name).weight.data
            weight[lowest_of_rows(statistics[name].metric(weight), 0.5)] = 0
        return True

    walk_forward(model.model, samples, LINEARS, InputNorm, visit)
    assert len(compared) == 7 * VARIANT['layers']


@pytest.mark.parametrize('run', FLAP_RUNS)
def test_flap_equals_the_golden(run):
    """Statistics, kept heads and channels, biases and logits are FLAP's."""
    golden = golden_arrays('flap')
    _, metric, structure, share = run.split('_')
    model, samples = golden_llama()
    config = _config(method='flap', layers=ALL, ratio=float(share[1:]), flap_metric=metric,
                     flap_structure=structure, remove_heads=RUNS[run]['remove_heads'] or 0)

    def visit(index, layer, statistics):
        for name in OUTPUTS:
            for ours, theirs in (('baseline', 'baseline'), ('fluctuation', 'fluc'),
                                 ('square', 'scaler')):
                key = f'{run}::stat_{theirs}::model.layers.{index}.{name}'
                if key in golden:
                    _near(getattr(statistics[name], ours), golden[key], 1e-4, 1e-7)
        return False

    walk_forward(model.model, samples, OUTPUTS, Fluctuation, visit)
    decisions = flap(model, samples, make_plan(CONFIG, config), config)
    for index, kept in decisions.items():
        assert kept.heads.tolist() == golden[f'{run}::kept_heads::{index}'].tolist()
        assert kept.channels.tolist() == golden[f'{run}::kept_channels::{index}'].tolist()
        _near(kept.o_bias, golden[f'{run}::o_proj_bias::{index}'], 1e-4, 1e-6)
        _near(kept.down_bias, golden[f'{run}::down_proj_bias::{index}'], 1e-4, 1e-6)
    cut_decoder(model, decisions)
    assert all(widths.bias for widths in model.model.config.layers)
    _near_logits(model, golden[f'{run}::test_logits'])


@pytest.mark.parametrize('run', ['wanda_sp_p0.3', 'wanda_sp_p0.5', 'mag_sp_p0.3', 'mag_sp_p0.5'])
def test_structured_rivals_equal_the_golden(run):
    """Kept heads, channels and logits of magnitude-sp and wanda-sp are those of FLAP's authors."""
    golden = golden_arrays('flap')
    model, samples = golden_llama()
    config = _config(method='wanda-sp' if run.startswith('wanda') else 'magnitude-sp',
                     layers=ALL, ratio=float(run[-3:]))
    decisions = structured_rival(model, samples, make_plan(CONFIG, config), config)
    for index, kept in decisions.items():
        assert kept.heads.tolist() == golden[f'{run}::kept_heads::{index}'].tolist()
        assert kept.channels.tolist() == golden[f'{run}::kept_channels::{index}'].tolist()
    cut_decoder(model, decisions)
    _near_logits(model, golden[f'{run}::test_logits'])
