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

"""Importance against torch-pruning, and the walk's memory and gradients against plain autograd."""

from collections.abc import Callable
import weakref

import pytest
from rlrc_ros.vla import language
from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_ros.vla.language import LanguageModel
from rlrc_training.pruning.calibration import from_token_ids
from rlrc_training.pruning.importance import group_scores, rank
from rlrc_training.pruning.options import PruneConfig
from rlrc_training.pruning.plan import make_plan
from rlrc_training.pruning.structure import cut_decoder
from rlrc_training.pruning.walk import BackwardWalk, linear, LINEARS
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _model(layers: int = 3, hidden: int = 32, inter: int = 48,
           dtype: torch.dtype = torch.float32) -> LanguageModel:
    torch.manual_seed(0)
    config = DecoderConfig(vocab_size=64, hidden_size=hidden, head_dim=8,
                           layers=(LayerWidths(hidden // 8, inter),) * layers)
    return LanguageModel(config).to(dtype).eval().requires_grad_(False)


def _ids(rows: int = 4, length: int = 12) -> torch.Tensor:
    return torch.randint(64, (rows, length), generator=torch.Generator().manual_seed(1))


class _Whole(torch.nn.Module):
    """Decoder and head as one module on embeddings, for torch-pruning's tracer."""

    def __init__(self, model: LanguageModel):
        super().__init__()
        self.language_model = model

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.language_model.lm_head(self.language_model.model(embeddings))


def _backward(model: LanguageModel, ids: torch.Tensor) -> None:
    """Leave the gradients of the mean language-model loss on the weights."""
    model.requires_grad_(True)
    logits = _Whole(model)(model.model.embed_tokens(ids).detach())
    functional.cross_entropy(logits[:, :-1].reshape(-1, 64), ids[:, 1:].reshape(-1)).backward()


@pytest.mark.filterwarnings('ignore:Unwrapped parameters detected')
@pytest.mark.parametrize('importance', ['param_first', 'vectorize', 'l1', 'l2'])
def test_torch_pruning_finds_the_same_groups_and_scores(importance, monkeypatch):
    """A second implementation, by dependency graph, agrees on who goes together and on scores."""
    torch_pruning = pytest.importorskip('torch_pruning')
    model, ids = _model(), _ids()
    with monkeypatch.context() as patch:
        # The rotation mixes channels inside a head only, and its concatenation breaks the tracer.
        patch.setattr(language, '_rotate', lambda x, cos, sin: x)
        graph = torch_pruning.DependencyGraph()
        model.requires_grad_(True)
        graph.build_dependency(_Whole(model), model.model.embed_tokens(ids[:1]).detach())
    _backward(model, ids)
    if importance in ('l1', 'l2'):
        judge = torch_pruning.importance.GroupMagnitudeImportance(
            p=int(importance[1]), group_reduction='sum', normalizer=None)
    else:
        judge = torch_pruning.importance.GroupTaylorImportance(
            group_reduction='sum', normalizer=None, multivariable=importance == 'vectorize')
    gradients = {f'model.layers.{index}.{name}.weight': linear(layer, name).weight.grad
                 for index, layer in enumerate(model.model.layers) for name in LINEARS}
    for index, layer in enumerate(model.model.layers):
        class Sums:
            mean = {name: gradients[f'model.layers.{index}.{name}.weight'] for name in LINEARS}
            square: dict = {}
        ours = group_scores(layer, PruneConfig(importance=importance), Sums)
        for root, mine, members in (
                (layer.self_attn.q_proj, ours[0], LINEARS[:4]),
                (layer.mlp.gate_proj, ours[1], LINEARS[4:])):
            group = graph.get_pruning_group(
                root, torch_pruning.prune_linear_out_channels, list(range(root.out_features)))
            found = {each.dep.target.module for each in group
                     if isinstance(each.dep.target.module, torch.nn.Linear)}
            assert found == {linear(layer, name) for name in members}
            torch.testing.assert_close(judge(group), mine.detach(), rtol=1e-5, atol=1e-7)


def test_the_walk_gives_plain_autograds_gradients_and_squares():
    """Sums over samples, layer by layer, are the whole model's gradient and its squares' mean."""
    model, ids = _model(), _ids()
    samples = from_token_ids(model, ids).samples
    walked = {each.index: each.sums for each in BackwardWalk(model, samples, range(3), True)}
    squares: dict[str, torch.Tensor] = {}
    for row in ids:
        model.zero_grad()
        _backward(model, row[None])
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                squares[name] = squares.get(name, 0) + weight.grad.square() / len(ids)
    model.zero_grad()
    _backward(model, ids)
    for index, sums in walked.items():
        for name in LINEARS:
            key = f'model.layers.{index}.{name}.weight'
            wanted = model.get_parameter(key).grad
            torch.testing.assert_close(sums.mean[name], wanted, rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(sums.square[name], squares[key], rtol=1e-4, atol=1e-8)


class _Allocated(TorchDispatchMode):
    """Counts the bytes of tensors that are alive and were made inside."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, function: Callable, types, arguments=(), options=None):
        """Run the operation and note what it made."""
        inputs = {id(each.untyped_storage()) for each in tree_leaves((arguments, options))
                  if isinstance(each, torch.Tensor)}
        results = function(*arguments, **(options or {}))
        for each in tree_leaves(results):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                key, size = storage.data_ptr(), storage.nbytes()
                if key and key not in self._seen and id(storage) not in inputs:
                    self._seen.add(key)
                    self.now += size
                    weakref.finalize(storage, self._gone, key, size)
        self.peak = max(self.peak, self.now)
        return results


@pytest.mark.parametrize(('importance', 'share'), [('param_first', 0.3), ('param_mix', 0.45)])
def test_ranking_needs_one_layers_gradients_and_not_all(importance, share):
    """Beside bf16 weights, ranking a 16-layer model allocates far less than they take."""
    model = _model(16, 256, 512, torch.bfloat16)
    weights = sum(linear(layer, name).weight.nbytes
                  for layer in model.model.layers for name in LINEARS)
    config = PruneConfig(importance=importance)
    plan, samples = make_plan(model.model.config, config), from_token_ids(model, _ids(2)).samples
    with _Allocated() as allocated:
        rank(model, samples, plan, config)
    assert 0.1 * weights < allocated.peak < share * weights
    model.requires_grad_(True)
    with _Allocated() as plain:
        _backward(model, _ids(2))
    assert plain.now > 0.95 * weights  # what keeping every gradient would take


def test_fewer_wider_layers_hold_as_many_weights():
    """Four of eight listed layers stay, twice as wide as all eight would be, the best of them."""
    model = _model(10, 32, 64)
    samples = from_token_ids(model, _ids()).samples
    config = PruneConfig(ratio=0.75, keep_layers=4, round_to=1)
    plan = make_plan(model.model.config, config)
    assert plan.layer_ratio == pytest.approx(0.5)
    ranking = rank(model, samples, plan, config)
    assert len(ranking.decisions) == 4 and len(ranking.dropped) == 4
    worst = max(ranking.layer_scores[index] for index in ranking.dropped)
    assert all(ranking.layer_scores[index] >= worst for index in ranking.decisions)
    thin = _model(10, 32, 64)
    flat = PruneConfig(ratio=0.75, round_to=1)
    other = rank(thin, samples, make_plan(thin.model.config, flat), flat)
    cut_decoder(model, ranking.decisions, ranking.dropped)
    cut_decoder(thin, other.decisions, other.dropped)
    count = [sum(linear(layer, name).weight.numel() for layer in each.model.layers
                 for name in LINEARS) for each in (model, thin)]
    assert len(model.model.layers) == 6 and count[0] == count[1]
    assert [layer.self_attn.index for layer in model.model.layers] == list(range(6))


def test_a_layers_gate_is_the_losss_slope_when_it_fades():
    """The importance of a whole layer is a finite difference over a gate on what it adds."""
    model = _model()
    samples = from_token_ids(model, _ids(1)).samples
    gates = {each.index: each.gate for each in BackwardWalk(model, samples, range(1, 3), False)}
    layer, step = model.model.layers[1], 1e-3

    def loss(scale: float) -> float:
        gate = layer.register_forward_hook(
            lambda module, arguments, out: arguments[0] + scale * (out - arguments[0]))
        hidden = model.model(samples[0].embeddings)
        gate.remove()
        return float(samples[0].loss(hidden))

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert gates[1] == pytest.approx(abs(slope), rel=0.02)
