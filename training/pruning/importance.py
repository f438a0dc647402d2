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
LLM-Pruner's importance: how much the loss minds a channel, a head, a layer.

Salience of a weight w with gradient g and mean squared per-sample gradient a:

    param_first w g      param_second w a w      param_mix w g - w a w / 2      vectorize w g

A channel's score sums |salience| over the other dimension of a matrix (vectorize: |sum|; l1 and
l2: sum of |w| and of w squared). Matrices that lose a channel together (q, k, v and o; gate, up
and down) are reduced to one score; a head's is the sum over its channels. Ours differs in where
gradients live, see walk.py, not in numbers.
Source: Ma et al., arXiv 2305.11627; horseee/LLM-Pruner, hf_llama_pruner.py.
"""

from dataclasses import dataclass
from functools import partial

from rlrc_ros.vla.language import DecoderLayer, LanguageModel
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.vision import Block
from rlrc_training.pruning.options import PruneConfig, TAYLOR
from rlrc_training.pruning.plan import kept_channels, kept_heads, Plan
from rlrc_training.pruning.structure import Decision, towers_of
from rlrc_training.pruning.walk import BackwardWalk, GradientSums, linear, LINEARS, Sample
import torch


@dataclass(frozen=True)
class Ranking:
    """What LLM-Pruner decides for a whole model."""

    decisions: dict[int, Decision]
    """By layer."""
    dropped: tuple[int, ...]
    """Layers that go altogether."""
    layer_scores: dict[int, float]
    """Importance of the listed layers."""
    towers: dict[tuple[int, int], Decision]
    """By tower and block."""
    loss: float | None
    """Of the calibration samples, before."""


def salience(weight: torch.Tensor, importance: str, gradient: torch.Tensor | None = None,
             square: torch.Tensor | None = None) -> torch.Tensor:
    """Return what each weight counts, fp32, signed where the first order is in it."""
    weight = weight.detach().float()
    if importance in ('param_first', 'vectorize'):
        return weight * gradient
    if importance == 'param_second':
        return weight * square * weight
    if importance == 'param_mix':
        return weight * gradient - 0.5 * weight * square * weight
    return weight.abs() if importance == 'l1' else weight.square()


def channel_scores(each: torch.Tensor, importance: str, dim: int) -> torch.Tensor:
    """Sum saliences (out, in) to one score a channel; `dim` is the one that is summed away."""
    return each.sum(dim).abs() if importance == 'vectorize' else each.abs().sum(dim)


def reduce_group(members: list[torch.Tensor], reduction: str) -> torch.Tensor:
    """Make one score a channel of those of the group's matrices; the root comes first."""
    if reduction == 'first':
        return members[0]
    stacked = torch.stack(members)
    if reduction in ('max', 'prod'):
        return stacked.amax(0) if reduction == 'max' else stacked.prod(0)
    return stacked.sum(0) if reduction == 'sum' else stacked.mean(0)


def group_scores(layer: DecoderLayer, config: PruneConfig,
                 sums: GradientSums | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores of a decoder layer's attention channels (H D,) and MLP channels (C,)."""
    scores = {}
    for name in LINEARS:
        square = sums.square.get(name) if sums else None
        each = salience(linear(layer, name).weight, config.importance,
                        sums.mean[name] if sums else None, square)
        # o_proj and down_proj lose columns, the others rows.
        dim = 0 if name.endswith(('o_proj', 'down_proj')) else 1
        scores[name] = channel_scores(each, config.importance, dim)
    return (reduce_group([scores[name] for name in LINEARS[:4]], config.reduction),
            reduce_group([scores[name] for name in LINEARS[4:]], config.reduction))


def block_scores(block: Block, config: PruneConfig,
                 sums: GradientSums | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores of a vision block's attention and MLP channels; biases do not count."""
    scores = []
    for name, dim in (('attn.qkv', 1), ('attn.proj', 0), ('mlp.fc1', 1), ('mlp.fc2', 0)):
        square = sums.square.get(name) if sums else None
        each = salience(block.get_submodule(name).weight, config.importance,
                        sums.mean[name] if sums else None, square)
        scores.append(channel_scores(each, config.importance, dim))
    return (reduce_group([*scores[0].chunk(3), scores[1]], config.reduction),
            reduce_group(scores[2:], config.reduction))


def lowest_removed(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """Return the `keep` highest, ascending by index, as LLM-Pruner finds them."""
    return torch.argsort(scores)[len(scores) - keep:].sort().values


def decide(scores: tuple[torch.Tensor, torch.Tensor], head_dim: int, ratio: float,
           round_to: int) -> Decision:
    """Keep the highest heads and channels."""
    heads = scores[0].view(-1, head_dim).sum(1)
    return Decision(
        lowest_removed(heads, kept_heads(len(heads), head_dim, ratio)),
        lowest_removed(scores[1], kept_channels(len(scores[1]), ratio, round_to)),
        heads, scores[1])


def rank(model: Vla | LanguageModel, samples: list[Sample], plan: Plan,
         config: PruneConfig) -> Ranking:
    """
    Score every group and decide what stays; nothing is changed yet.

    :param samples: calibration; may be empty for l1 and l2
    """
    language_model = getattr(model, 'language_model', model)
    decoder = language_model.model
    choose = partial(decide, ratio=plan.layer_ratio, round_to=plan.round_to)
    head_dim = decoder.config.head_dim
    towers = bool(config.vision_ratio)
    squares = config.importance in ('param_second', 'param_mix')
    decisions, layer_scores, blocks, loss = {}, {}, {}, None
    if config.importance in TAYLOR:
        walk = BackwardWalk(language_model, samples, plan.layers, squares, towers)
        for each in walk:
            scores = group_scores(decoder.layers[each.index], config, each.sums)
            decisions[each.index] = choose(scores, head_dim)
            layer_scores[each.index] = each.gate
            del each  # or its gradients would live on beside the next layer's
        loss = walk.loss
        if towers:
            blocks = _rank_towers(model, config, tower_gradients(
                model, samples, walk.input_gradients, squares))
    else:
        for index in plan.layers:
            scores = group_scores(decoder.layers[index], config, None)
            decisions[index] = choose(scores, head_dim)
            layer_scores[index] = float(scores[0].sum() + scores[1].sum())
        if towers:
            blocks = _rank_towers(model, config, {})
    best = sorted(plan.layers, key=layer_scores.get)[len(plan.layers) - plan.keep_layers:]
    return Ranking({index: decisions[index] for index in sorted(best)},
                   tuple(index for index in plan.layers if index not in best),
                   dict(sorted(layer_scores.items())), blocks, loss)


def tower_gradients(model: Vla, samples: list[Sample], gradients: list[torch.Tensor],
                    squares: bool) -> dict[tuple[int, int], GradientSums]:
    """
    Return the gradient sums of every vision block, by tower and block.

    :param gradients: each sample's, at the decoder's input (1, L, E)
    """
    sums, weights = {}, []
    for number, tower in enumerate(towers_of(model)):
        for index, block in enumerate(tower.blocks):
            named = {name: block.get_submodule(name).weight
                     for name in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')}
            sums[number, index] = GradientSums(named, len(samples), squares)
            weights += [((number, index), name, weight) for name, weight in named.items()]
    for sample, gradient in zip(samples, gradients):
        with torch.enable_grad():
            for _, _, weight in weights:
                weight.requires_grad_(True)
            patches = model.encode_image(sample.pixels)
        own = torch.autograd.grad(patches, [weight for _, _, weight in weights],
                                  gradient[:, 1:1 + patches.shape[1]])
        for (place, name, weight), each in zip(weights, own):
            weight.requires_grad_(False)
            sums[place].add(name, each)
    return sums


def _rank_towers(model: Vla, config: PruneConfig,
                 sums: dict[tuple[int, int], GradientSums]) -> dict[tuple[int, int], Decision]:
    blocks = {}
    for number, tower in enumerate(towers_of(model)):
        for index, block in enumerate(tower.blocks):
            scores = block_scores(block, config, sums.get((number, index)))
            # ViT channels are not rounded: the towers' own widths are no such multiples either.
            blocks[number, index] = decide(
                scores, block.attn.head_dim, config.vision_ratio, 1)
    return blocks
