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
Shapes that divide nothing: 3 heads of 6, 45 channels, samples of different lengths, odd ratios.

The goldens have one shape. Here everything is counted again, plainly, from the papers' formulas.
"""

import math

import numpy as np
import pytest
from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_ros.vla.language import LanguageModel
from rlrc_training.pruning.calibration import from_token_ids
from rlrc_training.pruning.flap import flap, structured_rival
from rlrc_training.pruning.importance import rank, reduce_group
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.plan import make_plan
from rlrc_training.pruning.unstructured import lowest_of_groups, zero_out
from rlrc_training.pruning.walk import linear, LINEARS
import torch

HEADS, HEAD_DIM, CHANNELS, LAYERS = 3, 6, 45, 5
CONFIG = DecoderConfig(64, HEADS * HEAD_DIM, HEAD_DIM, (LayerWidths(HEADS, CHANNELS),) * LAYERS)


def _model() -> LanguageModel:
    torch.manual_seed(4)
    return LanguageModel(CONFIG).eval().requires_grad_(False)


def _samples(model: LanguageModel, lengths: tuple[int, ...] = (9, 5, 12, 7)) -> list:
    generator = torch.Generator().manual_seed(5)
    return [from_token_ids(model, torch.randint(64, (1, length), generator=generator)).samples[0]
            for length in lengths]


def _options(**options) -> tuple:
    config = PruneConfig(**{'layers': (0, LAYERS), 'round_to': 1, **options})
    return make_plan(CONFIG, config), config


def _inputs(model: LanguageModel, samples: list, name: str) -> list[list[np.ndarray]]:
    """Return by layer and sample what a dense model feeds one of its matrices (L, K)."""
    seen = [[] for _ in range(LAYERS)]
    hooks = [linear(layer, name).register_forward_pre_hook(
        lambda module, given, each=seen[index]: each.append(given[0][0].double().numpy()))
        for index, layer in enumerate(model.model.layers)]
    for sample in samples:
        model.model(sample.embeddings)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize('layers', [1, 3, 4, 6, 30])
@pytest.mark.parametrize(('heads', 'head_dim', 'channels'), [(8, 8, 128), (3, 6, 45), (5, 16, 90)])
def test_every_ratio_keeps_llm_pruners_counts(layers, heads, head_dim, channels):
    """int() of the exact ratio counts, not of a ratio that arithmetic has moved by an ulp."""
    decoder = DecoderConfig(8, 16, head_dim, (LayerWidths(heads, channels),) * (layers + 2))
    inner, wrong = heads * head_dim, []
    for percent in range(1, 94):
        ratio = percent / 100
        config = PruneConfig(ratio=ratio, round_to=1)
        plan = make_plan(decoder, config)
        if plan.layer_ratio != ratio:
            wrong.append(ratio)
    assert not wrong
    model = LanguageModel(DecoderConfig(64, inner, head_dim, (
        LayerWidths(heads, channels),) * 3)).requires_grad_(False)
    for ratio in (0.07, 0.3, 0.55, 0.9):
        config = PruneConfig(ratio=ratio, round_to=1, importance='l2', reduction='mean')
        kept = rank(model, [], make_plan(model.model.config, config), config).decisions[1]
        assert len(kept.heads) == heads - (inner - int(inner * (1 - ratio))) // head_dim
        assert len(kept.channels) == int(channels * (1 - ratio))


def test_groups_are_reduced_in_five_ways():
    """Sum, mean, max, product and the root's own score of matrices that go together."""
    members = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5]), torch.tensor([4.0, 8.0])]
    found = {name: reduce_group(members, name).tolist()
             for name in ('sum', 'mean', 'max', 'prod', 'first')}
    assert found == {'sum': [8.0, 10.5], 'mean': [pytest.approx(8 / 3), 3.5], 'max': [4.0, 8.0],
                     'prod': [12.0, 8.0], 'first': [1.0, 2.0]}


@pytest.mark.parametrize('width', [3, 6, 9, 45])
def test_n_of_m_goes_on_to_the_rows_end(width):
    """Two of every four, and of what is left over two as well, or all where it has no more."""
    metric = torch.rand(7, width, generator=torch.Generator().manual_seed(6))
    found = lowest_of_groups(metric, 2, 4)
    for row, mask in zip(metric.tolist(), found.tolist()):
        wanted = set()
        for start in range(0, width, 4):
            group = range(start, min(start + 4, width))
            wanted |= set(sorted(group, key=row.__getitem__)[:2])
        assert {index for index, gone in enumerate(mask) if gone} == wanted


@pytest.mark.parametrize('ratio', [0.1, 0.37, 0.9])
def test_wanda_and_magnitude_count_plainly(ratio):
    """The first layer's zeros, row by row and matrix by matrix, counted with plain sorting."""
    model, dense = _model(), _model()
    samples = _samples(model)
    zero_out(model, samples, *_options(method='wanda', ratio=ratio))
    for name in LINEARS[:3]:
        weight = linear(dense.model.layers[0], name).weight.double().numpy()
        seen = _inputs(dense, samples, name)[0]
        norm = np.sqrt(np.mean([np.square(x).sum(0) for x in seen], axis=0))
        zeros = linear(model.model.layers[0], name).weight.numpy() == 0
        for row, each in zip(np.abs(weight) * norm, zeros):
            assert set(np.flatnonzero(each)) == set(np.argsort(row)[:int(len(row) * ratio)])
    other = _model()
    zero_out(other, [], *_options(method='magnitude', ratio=ratio))
    weight = linear(dense.model.layers[3], 'mlp.up_proj').weight.abs().flatten()
    zeros = linear(other.model.layers[3], 'mlp.up_proj').weight.flatten() == 0
    assert int(zeros.sum()) == int(weight.numel() * ratio) + 1  # "<=" takes the threshold as well
    assert float(weight[zeros].max()) < float(weight[~zeros].min())


def _fluctuation(seen: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return FLAP's mean input and its summed deviation, sample after sample."""
    mean, deviation = np.zeros(seen[0].shape[1]), np.zeros(seen[0].shape[1])
    for count, x in enumerate(seen):
        mean = mean * count / (count + 1) + x.mean(0) / (count + 1)
        if count:
            deviation = (deviation * (count - 1) / count
                         + np.square(x - mean).sum(0) / (count + 1))
    return mean, deviation


@pytest.mark.parametrize('ratio', [0.2, 0.45])
def test_flaps_thresholds_count_plainly(ratio):
    """AL-AM: the cut nearest to the budget, a head weighing int(4 x 6 / 3) channels."""
    model = _model()
    samples = _samples(model)
    scores = {}
    for name in ('self_attn.o_proj', 'mlp.down_proj'):
        rows = []
        for index, seen in enumerate(_inputs(model, samples, name)):
            weight = linear(model.model.layers[index], name).weight.double().numpy()
            rows.append(_fluctuation(seen)[1] * np.square(weight).sum(0))
        rows = np.square(rows) if name.endswith('o_proj') else np.array(rows)
        scores[name] = ((rows - rows.mean(1, keepdims=True))
                        / rows.std(1, ddof=1, keepdims=True))
    heads = scores['self_attn.o_proj'].reshape(LAYERS, HEADS, HEAD_DIM).mean(2)
    items = [(score, 4 * HEAD_DIM // 3) for score in heads.flatten()]
    items += [(score, 1) for score in scores['mlp.down_proj'].flatten()]
    items.sort(reverse=True)
    budget, spent, best = sum(cost for _, cost in items) * (1 - ratio), 0, (math.inf, 0.0)
    for score, cost in items:
        spent += cost
        best = min(best, (abs(spent - budget), score), key=lambda each: each[0])
    decisions = flap(model, samples, *_options(method='flap', ratio=ratio))
    for index, kept in decisions.items():
        assert kept.heads.tolist() == np.flatnonzero(heads[index] > best[1]).tolist()
        assert kept.channels.tolist() == np.flatnonzero(
            scores['mlp.down_proj'][index] > best[1]).tolist()
        seen = _inputs(model, samples, 'mlp.down_proj')[index]
        gone = np.setdiff1d(np.arange(CHANNELS), kept.channels)
        weight = linear(model.model.layers[index], 'mlp.down_proj').weight.double().numpy()
        np.testing.assert_allclose(
            kept.down_bias, weight[:, gone] @ _fluctuation(seen)[0][gone], atol=1e-6)


@pytest.mark.parametrize(('method', 'options'), [
    ('flap', {'flap_structure': 'UL-UM'}), ('magnitude-sp', {}), ('wanda-sp', {})])
def test_layers_pruned_alike_lose_the_ratios_floor(method, options):
    """int() of heads and of channels goes from each layer."""
    model = _model()
    plan, config = _options(method=method, ratio=0.4, **options)
    decide = flap if method == 'flap' else structured_rival
    decisions = decide(model, _samples(model), plan, config)
    assert {(len(each.heads), len(each.channels)) for each in decisions.values()} == {
        (HEADS - int(0.4 * HEADS), CHANNELS - int(0.4 * CHANNELS))}


def test_a_ratio_that_empties_every_layer_of_heads_is_refused():
    """FLAP names the largest ratio at which each layer keeps a head, and that one works."""
    model = _model()
    plan, config = _options(method='flap', ratio=0.97)
    with pytest.raises(PruneError, match=r'without (heads|channels); the largest') as refused:
        flap(model, _samples(model), plan, config)
    most = float(str(refused.value).split('layer some is ')[1].split('. Or')[0])
    decisions = flap(model, _samples(model), *_options(method='flap', ratio=most))
    assert all(len(each.heads) and len(each.channels) for each in decisions.values())
