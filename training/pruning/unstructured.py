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
Magnitude and Wanda: single weights become zero, shapes stay, nothing gets faster.

Wanda's metric is |w| times the root of its input's mean squared norm over the samples; the lowest
of every output row go, N of each M inputs, or (variant) as many as keep the row's cumulated metric
below a share that is found by bisection. Layers are pruned in order: the next one's statistics are
of what the pruned ones pass on. Magnitude has one threshold a matrix.
Source: Sun et al., arXiv 2306.11695; locuslab/wanda, lib/prune.py.
"""

from rlrc_ros.vla.language import LanguageModel
from rlrc_training.pruning.options import PruneConfig
from rlrc_training.pruning.plan import Plan
from rlrc_training.pruning.walk import linear, LINEARS, Sample, Statistic, walk_forward
import torch
from torch import nn

FIRST_SHARE, LARGEST_SHARE, TOLERANCE = 0.4, 0.8, 0.001
"""Where the variant's bisection begins and ends (locuslab/wanda)."""


class InputNorm(Statistic):
    """Mean over the samples of the inputs' squared norms (in_features,)."""

    def __init__(self, matrix: nn.Linear):
        self.count = 0
        self.square = torch.zeros(matrix.in_features, device=matrix.weight.device)

    def add(self, x: torch.Tensor) -> None:
        """Add one sample's inputs (L, in_features)."""
        before, self.count = self.count, self.count + 1
        norm = x.float().norm(dim=0).square()
        self.square = self.square * (before / self.count) + norm / self.count

    def metric(self, weight: torch.Tensor) -> torch.Tensor:
        """Return Wanda's metric of a matrix (out, in)."""
        return weight.detach().float().abs() * self.square.sqrt()


def lowest_of_groups(metric: torch.Tensor, zeros: int, size: int) -> torch.Tensor:
    """
    Return where the `zeros` lowest of every `size` neighbours in a row are (out, in).

    What is left over at a row's end loses as many, or all where it has no more.
    """
    width, parts = metric.shape[1] - metric.shape[1] % size, []
    for part, together in ((metric[:, :width], size), (metric[:, width:], metric.shape[1] % size)):
        if part.shape[1]:
            groups = part.unflatten(1, (-1, together))
            picked = groups.topk(min(zeros, together), dim=-1, largest=False).indices
            parts.append(torch.zeros_like(groups, dtype=torch.bool).scatter_(
                -1, picked, True).flatten(1))
    return torch.cat(parts, dim=1)


def lowest_of_rows(metric: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return where the lowest share of every row is."""
    order = metric.sort(dim=-1, stable=True).indices[:, :int(metric.shape[1] * ratio)]
    return torch.zeros_like(metric, dtype=torch.bool).scatter_(1, order, True)


def lowest_cumulated(metric: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return Wanda's variant: rows lose differently many, the matrix `ratio` to within 0.1 %."""
    ordered = metric.sort(dim=-1, stable=True).values
    cumulated, total = ordered.cumsum(1), metric.sum(1, keepdim=True)

    def below(share: float) -> torch.Tensor:
        count = (cumulated <= total * share).sum(1, keepdim=True)
        threshold = ordered.gather(1, (count - 1).clamp(min=0))
        return (metric <= threshold) & (count > 0)

    share, low, high = FIRST_SHARE, 0.0, LARGEST_SHARE
    mask = below(share)
    while True:
        gone = mask.sum() / mask.numel()  # fp32, as the published comparison
        if not ((gone - ratio).abs() > TOLERANCE and high - low >= TOLERANCE):
            return mask
        if gone > ratio:
            share, high = (share + low) / 2.0, share
        else:
            share, low = (share + high) / 2.0, share
        mask = below(share)


def lowest_of_matrix(metric: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return what does not exceed the matrix's threshold (magnitude)."""
    threshold = metric.flatten().kthvalue(int(metric.numel() * ratio) + 1).values
    return metric <= threshold


def zero_out(language_model: LanguageModel, samples: list[Sample], plan: Plan,
             config: PruneConfig) -> dict[int, dict[str, float]]:
    """Set weights of the listed layers to zero; return the share of zeros by layer and matrix."""
    decoder, groups = language_model.model, config.zeros_per_group
    shares: dict[int, dict[str, float]] = {}

    def visit(index: int, layer: nn.Module, statistics: dict[str, InputNorm]) -> bool:
        if index not in plan.layers:
            return False
        shares[index] = {}
        for name in LINEARS:
            weight = linear(layer, name).weight.data
            metric = statistics[name].metric(weight) if statistics else weight.float().abs()
            if groups:
                mask = lowest_of_groups(metric, *groups)
            elif not statistics:
                mask = lowest_of_matrix(metric, plan.layer_ratio)
            elif config.wanda_variant:
                mask = lowest_cumulated(metric, plan.layer_ratio)
            else:
                mask = lowest_of_rows(metric, plan.layer_ratio)
            weight[mask] = 0
            shares[index][name] = float(mask.float().mean())
        return True

    if config.method == 'magnitude':
        for index in plan.layers:
            visit(index, decoder.layers[index], {})
    else:
        walk_forward(decoder, samples, LINEARS, InputNorm, visit)
    return shares
