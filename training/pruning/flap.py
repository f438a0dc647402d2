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
FLAP, and magnitude and Wanda made structured (-sp): rivals that need no gradient.

FLAP measures how much the inputs of o_proj and down_proj fluctuate over the calibration samples,
removes what hardly does, and adds what it used to contribute on average as a bias. Statistics are
of the dense model; wanda-sp looks at what the layers before, already pruned, pass on.
Ours differs from the published code in one thing: its average inputs are rounded to fp16, ours are
not. A layer left without heads is refused, where the published code breaks later.
Sources: An et al., arXiv 2312.11983; CASIA-IVA-Lab/FLAP, lib/prune.py.
"""

import math

from rlrc_ros.vla.language import DecoderLayer, LanguageModel
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.plan import Plan, rounded
from rlrc_training.pruning.structure import Decision, head_channels
from rlrc_training.pruning.unstructured import InputNorm
from rlrc_training.pruning.walk import linear, Sample, Statistic, walk_forward
import torch
from torch import nn

OUTPUTS = ('self_attn.o_proj', 'mlp.down_proj')
"""The matrices whose inputs are measured; a channel is one of their columns."""


class Fluctuation(Statistic):
    """Mean input, summed squared deviation from it, mean squared norm: the published updates."""

    def __init__(self, matrix: nn.Linear):
        self.weight, self.count = matrix.weight, 0
        self.baseline = torch.zeros(matrix.in_features, device=matrix.weight.device)
        self.fluctuation, self.square = self.baseline.clone(), self.baseline.clone()

    def add(self, x: torch.Tensor) -> None:
        """Add one sample's inputs (L, in_features)."""
        x, seen = x.float(), self.count
        self.count += 1
        self.baseline = self.baseline * (seen / self.count) + x.mean(0) / self.count
        self.square = self.square * (seen / self.count) + x.square().sum(0) / self.count
        if seen:  # the deviation is from the new mean alone, and the first sample has none
            self.fluctuation = (self.fluctuation * ((seen - 1) / seen)
                                + (x - self.baseline).square().sum(0) / self.count)

    def metric(self, name: str) -> torch.Tensor:
        """Return WIFV, IFV or WIFN of every column (in_features,)."""
        weight = self.weight.detach().float()
        if name == 'IFV':
            return self.fluctuation
        if name == 'WIFV':
            return self.fluctuation * weight.square().sum(0)
        return (weight.abs() * self.square.sqrt()).mean(0)


def flap(language_model: LanguageModel, samples: list[Sample], plan: Plan,
         config: PruneConfig) -> dict[int, Decision]:
    """
    Decide by FLAP what stays of the listed layers, biases included.

    :raises PruneError: a layer would be left without heads or channels
    """
    decoder, head_dim = language_model.model, language_model.model.config.head_dim
    seen: dict[int, dict[str, Fluctuation]] = {}

    def visit(index: int, layer: nn.Module, statistics: dict) -> bool:
        seen[index] = statistics
        return False

    walk_forward(decoder, samples, OUTPUTS, Fluctuation, visit)
    attention = torch.stack([
        seen[index][OUTPUTS[0]].metric(config.flap_metric).square() for index in plan.layers])
    mlp = torch.stack([seen[index][OUTPUTS[1]].metric(config.flap_metric)
                       for index in plan.layers])
    masks, scores = _masks(attention, mlp, head_dim, plan.layer_ratio, config)
    if not all(bool(mask.any(1).all()) for mask in masks):
        _refuse(masks, attention, mlp, head_dim, plan, config)
    decisions = {}
    for row, index in enumerate(plan.layers):
        heads, channels = (mask[row].nonzero()[:, 0] for mask in masks)
        channels = _round(channels, scores[1][row], plan.round_to)
        gone = torch.ones(attention.shape[1], dtype=torch.bool, device=attention.device)
        gone[head_channels(heads, head_dim)] = False
        decisions[index] = Decision(
            heads, channels, scores[0][row], scores[1][row],
            _lost(decoder.layers[index], OUTPUTS[0], seen[index], gone),
            _lost(decoder.layers[index], OUTPUTS[1], seen[index],
                  torch.ones_like(mlp[row], dtype=torch.bool).index_fill(0, channels, False)))
    return decisions


def _lost(layer: DecoderLayer, name: str, statistics: dict[str, Fluctuation],
          gone: torch.Tensor) -> torch.Tensor:
    """Return what the removed columns used to add on average (E,)."""
    weight = linear(layer, name).weight.detach().float()
    return (statistics[name].baseline * gone) @ weight.T


def _standard(metric: torch.Tensor) -> torch.Tensor:
    """Make the layers' metrics comparable: mean 0 and deviation 1 in each."""
    return (metric - metric.mean(1, keepdim=True)) / metric.std(1, keepdim=True)


def _masks(attention: torch.Tensor, mlp: torch.Tensor, head_dim: int, ratio: float,
           config: PruneConfig) -> tuple[tuple[torch.Tensor, torch.Tensor],
                                         tuple[torch.Tensor, torch.Tensor]]:
    """Return what stays, heads (layers, H) and channels (layers, C), and the scores behind it."""
    layers, heads = len(attention), attention.shape[1] // head_dim
    remove_heads = config.remove_heads or int(ratio * heads * layers)
    widths = 4 * attention.shape[1] + 3 * mlp.shape[1]  # weights of a layer / hidden_size
    if config.flap_structure.startswith('AL'):
        attention = _standard(attention).view(layers, heads, head_dim).mean(2)
        mlp = _standard(mlp)
        if config.flap_structure == 'AL-AM':
            # A head has 4 * head_dim / 3 times the weights of a channel; cut to a whole number,
            # as the published integers do.
            flat = torch.cat([attention.flatten(), mlp.flatten()])
            order = flat.sort(descending=True)
            cost = torch.ones_like(order.indices)
            cost[order.indices < attention.numel()] = 4 * head_dim // 3
            nearest = (cost.cumsum(0) - cost.sum() * (1 - ratio)).abs().argmin()
            threshold = order.values[nearest]
            return (attention > threshold, mlp > threshold), (attention, mlp)
        remove_channels = _other_channels(ratio * layers * widths, remove_heads, head_dim)
        return ((_above(attention, remove_heads), _above(mlp, remove_channels)),
                (attention, mlp))
    attention = attention.view(layers, heads, head_dim).sum(2)
    if config.flap_structure == 'UL-UM':
        counts = int(ratio * heads), int(ratio * mlp.shape[1])
    else:
        each = remove_heads // layers
        counts = each, _other_channels(ratio * widths, each, head_dim)
    return ((_highest(attention, counts[0]), _highest(mlp, counts[1])), (attention, mlp))


def _other_channels(weights: float, heads: int, head_dim: int) -> int:
    """Return how many channels go when `heads` go: the rest of the weights / hidden_size."""
    return max(0, int((weights - 4 * head_dim * heads) / 3))


def _above(metric: torch.Tensor, remove: int) -> torch.Tensor:
    """Keep all but the `remove` lowest of all layers."""
    if not 0 < remove <= metric.numel():
        return torch.full_like(metric, remove <= 0, dtype=torch.bool)
    return metric > metric.flatten().sort(descending=True).values[-remove]


def _highest(metric: torch.Tensor, remove: int) -> torch.Tensor:
    """Keep all but the `remove` lowest of each layer."""
    if remove >= metric.shape[1]:
        return torch.zeros_like(metric, dtype=torch.bool)
    return metric >= metric.sort(1).values[:, remove, None]


def _refuse(masks: tuple[torch.Tensor, torch.Tensor], attention: torch.Tensor,
            mlp: torch.Tensor, head_dim: int, plan: Plan, config: PruneConfig) -> None:
    """Say which layer ends empty, and the largest ratio at which none does."""
    row = next(row for row in range(len(masks[0]))
               if not (masks[0][row].any() and masks[1][row].any()))
    what = 'channels' if masks[0][row].any() else 'heads'
    possible = [percent / 100 for percent in range(1, 100) if all(
        bool(mask.any(1).all())
        for mask in _masks(attention, mlp, head_dim, percent / 100, config)[0])]
    share = plan.layer_ratio / config.ratio  # --ratio counts other weights, perhaps
    most = math.floor(100 * max(possible, default=0) / share) / 100
    raise PruneError(
        f'flap {config.flap_structure} at ratio {config.ratio} leaves layer {plan.layers[row]} '
        f'without {what}; the largest ratio that leaves every layer some is {most}. '
        'Or use --flap-structure UL-UM, which prunes every layer alike')


def _round(channels: torch.Tensor, scores: torch.Tensor, round_to: int) -> torch.Tensor:
    """Take more of the next best, or fewer, until the count is a multiple."""
    count = rounded(len(channels), len(scores), round_to)
    if count == len(channels):
        return channels
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def structured_rival(language_model: LanguageModel, samples: list[Sample], plan: Plan,
                     config: PruneConfig) -> dict[int, Decision]:
    """
    Decide by magnitude-sp or wanda-sp what stays of the listed layers.

    A column of o_proj or down_proj counts its norm (magnitude) or the mean of Wanda's metric. For
    wanda-sp the columns that go are set to zero at once, so that the next layer sees it.
    """
    decoder, head_dim = language_model.model, language_model.model.config.head_dim
    decisions: dict[int, Decision] = {}

    def visit(index: int, layer: nn.Module, statistics: dict[str, InputNorm]) -> bool:
        if index not in plan.layers:
            return False
        columns = []
        for name in OUTPUTS:
            weight = linear(layer, name).weight.detach().float()
            columns.append(statistics[name].metric(weight).mean(0) if statistics
                           else weight.norm(dim=0))
        heads = columns[0].view(-1, head_dim).sum(1)
        kept = [_highest(each[None], int(plan.layer_ratio * len(each)))[0].nonzero()[:, 0]
                for each in (heads, columns[1])]
        decisions[index] = Decision(
            kept[0], _round(kept[1], columns[1], plan.round_to), heads, columns[1])
        if statistics:
            for name, staying in zip(OUTPUTS, (
                    head_channels(kept[0], head_dim), decisions[index].channels)):
                weight = linear(layer, name).weight.data
                gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
                weight[:, gone.index_fill(0, staying, False)] = 0
        return bool(statistics)

    if config.method == 'magnitude-sp':
        for index in plan.layers:
            visit(index, decoder.layers[index], {})
    else:
        walk_forward(decoder, samples, OUTPUTS, InputNorm, visit)
    return decisions
