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
How much goes where: from a ratio to heads and channels of each layer, before any weight is read.

Two meanings of the ratio. `layer` is LLM-Pruner's: the share that every listed layer loses. RLRC
counts all decoder layers, of which the first and last stay dense: `decoder` prunes the listed ones
so much harder that the whole loses the ratio.
"""

from dataclasses import dataclass
import math

from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_training.pruning.options import PruneConfig, PruneError


@dataclass(frozen=True)
class Plan:
    """What the options mean for one decoder."""

    layers: range
    """The listed layers."""
    keep_layers: int
    """How many of them stay."""
    layer_ratio: float
    """What each of those loses."""
    round_to: int
    capped: bool
    """The ratio of all decoder weights is missed, because max_layer_ratio stands before it."""


def layer_weights(decoder: DecoderConfig, widths: LayerWidths) -> int:
    """Return the number of weights in one layer's seven matrices."""
    attention = 4 * decoder.hidden_size * decoder.head_dim * widths.num_heads
    return attention + 3 * decoder.hidden_size * widths.intermediate_size


def default_round_to(channels: int) -> int:
    """
    Return the multiple for a dense width: 128 at 7B (11008 channels), less for small models.

    32 is the smallest int4 group: narrower multiples could not be quantised.
    """
    for least, multiple in ((4096, 128), (256, 32), (64, 8)):
        if channels >= least:
            return multiple
    return 1


def rounded(count: int, most: int, round_to: int) -> int:
    """Return the multiple of round_to nearest to count, at least one of them, at most `most`."""
    return min(most, max(round_to, round_to * math.floor(count / round_to + 0.5)))


def kept_heads(heads: int, head_dim: int, ratio: float) -> int:
    """Return how many heads LLM-Pruner leaves: it counts channels, then whole heads."""
    channels = heads * head_dim
    return heads - (channels - int(channels * (1.0 - ratio))) // head_dim


def kept_channels(channels: int, ratio: float, round_to: int) -> int:
    """Return how many channels stay; int() as LLM-Pruner, then rounded."""
    return rounded(int(channels * (1.0 - ratio)), channels, round_to)


def make_plan(decoder: DecoderConfig, config: PruneConfig) -> Plan:
    """
    Resolve range, ratio and rounding for a decoder.

    :raises PruneError: a range out of bounds, a ratio that cannot be reached or that leaves a
        layer without heads or channels, a multiple wider than the layer
    """
    layers = _listed(len(decoder.layers), config.layers)
    ratio, capped = _layer_ratio(decoder, layers, config)
    keep = config.keep_layers or len(layers)
    if keep > len(layers):
        raise PruneError(f'keep_layers {keep} is more than the {len(layers)} listed layers '
                         f'{layers.start} ... {layers.stop - 1}')
    # Without layers to drop the ratio goes through untouched: 0.3 is not 1 - 0.7 * 6 / 6, and
    # int() of kept channels would tell the two apart.
    widest = ratio if keep == len(layers) else 1.0 - (1.0 - ratio) * len(layers) / keep
    if widest < 0.0:
        least = math.ceil((1.0 - ratio) * len(layers) - 1e-9)
        raise PruneError(f'{keep} layers, even dense, hold fewer weights than a ratio of '
                         f'{ratio:.3f} leaves in {len(layers)}; keep_layers is at least {least}')
    round_to = config.round_to or default_round_to(
        max(decoder.layers[index].intermediate_size for index in layers))
    narrowest = min(decoder.layers[index].intermediate_size for index in layers)
    if round_to > narrowest:
        raise PruneError(f'round_to {round_to} is more than the {narrowest} channels of a layer; '
                         f'give at most {narrowest}, for example {default_round_to(narrowest)}')
    for index in layers if config.method == 'llm-pruner' else ():
        _check_layer(decoder, index, widest)
    return Plan(layers, keep, widest, round_to, capped)


def _listed(count: int, asked: tuple[int, int] | None) -> range:
    start, stop = asked or (1, count - 1)
    if not 0 <= start < stop <= count:
        raise PruneError(
            f'layers {start} to {stop} are not a range of a decoder with {count} layers'
            + ('' if asked else ', so first and last cannot be left out by default')
            + f'; give --layers START STOP with 0 <= START < STOP <= {count}')
    return range(start, stop)


def _layer_ratio(decoder: DecoderConfig, layers: range,
                 config: PruneConfig) -> tuple[float, bool]:
    if config.ratio_of == 'layer':
        return config.ratio, False
    total = sum(layer_weights(decoder, widths) for widths in decoder.layers)
    listed = sum(layer_weights(decoder, decoder.layers[index]) for index in layers)
    ratio = config.ratio * total / listed
    if ratio >= 1.0:
        raise PruneError(
            f'ratio {config.ratio} of the decoder is not in layers {layers.start} ... '
            f'{layers.stop - 1}: they hold {listed / total:.3f} of its weights. Give a ratio of '
            f'at most {config.max_layer_ratio * listed / total:.3f}, or list more layers')
    return min(ratio, config.max_layer_ratio), ratio > config.max_layer_ratio


def _check_layer(decoder: DecoderConfig, index: int, ratio: float) -> None:
    widths = decoder.layers[index]
    if kept_heads(widths.num_heads, decoder.head_dim, ratio) < 1 \
            or int(widths.intermediate_size * (1.0 - ratio)) < 1:
        width = min(widths.num_heads * decoder.head_dim, widths.intermediate_size)
        most = math.floor(1e4 * (1.0 - 1.0 / width)) / 1e4
        raise PruneError(
            f'a ratio of {ratio:.4f} leaves layer {index} without heads or channels '
            f'({widths.num_heads} heads of {decoder.head_dim} and {widths.intermediate_size} '
            f'channels); the largest that leaves one is {most} of each listed layer')
