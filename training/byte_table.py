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
What the weights of a model take, part by part, before any is there: `rlrc quantize --plan 7b`.

Every number is counted on a model of the meta device, from the same layers that a quantised file
holds, so it is the file's to the byte (its header aside). MiB are 2**20 bytes.
"""

from dataclasses import dataclass, replace
import json
import math
from pathlib import Path

from rlrc_ros.vla import official
from rlrc_ros.vla.config import (
    ConfigError,
    GROUP_SIZES,
    LayerWidths,
    QuantizationConfig,
    QUANTIZED_PARTS,
    VlaConfig,
)
from rlrc_ros.vla.inspection import inspect, PARTS
from rlrc_ros.vla.linear import Int4Linear
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.quantized import bytes_by_part, linear_layers
from rlrc_training.presets import preset, PRESETS

MIB = 2**20
SEVEN_B = '7b'
OPENVLA_7B = {'model_type': official.MODEL_TYPE, 'vision_backbone_id': 'dinosiglip-vit-so-224px',
              'llm_backbone_id': 'llama2-7b-pure', 'arch_specifier': 'no-align+fused-gelu-mlp',
              'text_config': {'vocab_size': 32064}}
"""openvla-7b's config.json, as far as it names an architecture."""
ACTION_DIM = 7
KEPT = 0.05
"""Of a pruned layer's weights: RLRC's 90 % of all decoder weights are 95 % of the layers 1 to
L - 2 (arXiv 2506.17639: 2 heads and 550 channels of 32 and 11008)."""
DEAD = 'dead ViT blocks'


@dataclass(frozen=True)
class Variant:
    """The bytes of one way to store a model."""

    name: str
    parts: dict[str, int]
    """On the device, by part."""
    host: int = 0
    """Of the embedding table, where it stays on the host."""

    @property
    def device(self) -> int:
        """Return the bytes that the device holds."""
        return sum(self.parts.values())

    @property
    def file(self) -> int:
        """Return the bytes of the tensors in the file."""
        return self.host + sum(size for part, size in self.parts.items()
                               if not (self.host and part == 'embeddings'))


def read_architecture(target: str) -> tuple[VlaConfig, bool]:
    """
    Return a model's architecture, and whether its published file holds dead ViT blocks.

    :param target: `7b`, a preset, a config.json (ours or official) or a folder with one
    :raises ConfigError: none of these
    """
    if target == SEVEN_B:
        return official.read_config(OPENVLA_7B, {}, {}, '', ACTION_DIM), True
    if target in PRESETS:
        return preset(target)[0], False
    path = Path(target).expanduser()
    path = path / 'config.json' if path.is_dir() else path
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f'--plan {target!r} is no config.json, no folder with one and no name '
                          f'({error}); the names are: {SEVEN_B}, {", ".join(PRESETS)}') from error
    if document.get('model_type') == official.MODEL_TYPE:
        if any(path.parent.glob('*.safetensors')):  # files beside it may tell more: an OFT's head
            return inspect(path.parent).config, True
        return official.read_config(document, {}, {}, path.parent.name, ACTION_DIM), True
    return VlaConfig.from_json(document), False


def dead_bytes(config: VlaConfig) -> int:
    """Return the bf16 bytes of what a published folder holds and no action depends on."""
    return 2 * sum(math.prod(shape) for shape in official.unused_shapes(config).values())


def check_group_size(config: VlaConfig, short_groups: tuple[str, ...]) -> None:
    """
    Check that every int4 layer's inputs fill whole groups.

    :param config: with its quantization record
    :param short_groups: parts whose rows may end in a group that zeros fill up
    :raises ConfigError: they do not; it names the layer and the sizes that would
    """
    layers = [(name, part, layer) for name, part, layer in linear_layers(skeleton(config))
              if isinstance(layer, Int4Linear) and part not in short_groups]
    wrong = [each for each in layers if each[2].padding]
    if not wrong:
        return
    valid = [size for size in GROUP_SIZES
             if all(layer.in_features % size == 0 for _, _, layer in layers)]
    name, part, layer = wrong[0]
    mend = (f'sizes that divide every layer: {", ".join(map(str, valid))}. Set --group-size '
            f'{min(valid, key=lambda size: abs(size - layer.group_size))}' if valid else
            f'none of {", ".join(map(str, GROUP_SIZES))} divides every layer. Set --short-groups '
            f'{" ".join(dict.fromkeys([*short_groups, *(each[1] for each in wrong)]))}, or prune '
            'to multiples of one of these')
    raise ConfigError(f'group_size {layer.group_size} does not divide the {layer.in_features} '
                      f'inputs of {name} ({len(wrong)} such layers, the first in the {part}); '
                      f'{mend}')


def cuts_head(config: VlaConfig) -> bool:
    """Tell whether the head's other rows are never read: not so in a discrete OpenVLA-OFT."""
    return config.parallel is None or config.parallel.head != 'discrete'


def plan_variant(name: str, config: VlaConfig) -> Variant:
    """Count the bytes of a config, with or without a quantization record."""
    parts, host = bytes_by_part(skeleton(config), PARTS), 0
    if config.quantization is not None and config.quantization.host_embeddings:
        # Decoding reads the action ids' rows; those are on the device as well.
        host = parts['embeddings']
        parts['embeddings'] = 2 * config.action.bins * config.decoder.hidden_size
    return Variant(name, parts, host)


def prune_plan(config: VlaConfig, group_size: int, keep_heads: int | None,
               keep_channels: int | None) -> VlaConfig:
    """
    Return the config with all but the first and last layer pruned to about KEPT of their weights.

    Heads and channels are rounded to whole groups of int4. A model whose layers differ in width is
    pruned already and comes back as it is.

    :raises ConfigError: more heads or channels than there are, or none
    """
    layers = config.decoder.layers
    for name, asked, most in (('keep_heads', keep_heads, layers[0].num_heads),
                              ('keep_channels', keep_channels, layers[0].intermediate_size)):
        if asked is not None and not 1 <= asked <= most:
            raise ConfigError(f'{name} {asked} is not possible: a layer has {most}; give '
                              f'--{name.replace("_", "-")} 1 ... {most}')
    if len(set(layers)) > 1 or len(layers) < 3:
        return config
    heads_step = group_size // math.gcd(group_size, config.decoder.head_dim)

    def kept(width: int, step: int) -> int:
        return min(width, max(step, round(width * KEPT / step) * step))
    widths = LayerWidths(keep_heads or kept(layers[0].num_heads, heads_step),
                         keep_channels or kept(layers[0].intermediate_size, group_size))
    return replace(config, decoder=replace(
        config.decoder, layers=(layers[0], *(widths,) * (len(layers) - 2), layers[-1])))


def plan(target: str, group_size: int, short_groups: tuple[str, ...],
         keep_heads: int | None = None, keep_channels: int | None = None) -> list[Variant]:
    """
    Count dense, pruned, pruned and quantised, and lean variants of an architecture.

    :raises ConfigError: no such architecture, quantised already, or groups that do not divide
    """
    config, published = read_architecture(target)
    if config.quantization is not None:
        raise ConfigError(f'{target} is quantised already; --plan starts from the model that it '
                          'was made of')
    pruned = prune_plan(config, group_size, keep_heads, keep_channels)
    whole = {'group_size': group_size, 'action_head': False, 'host_embeddings': False}
    records = {
        'pruned, int8': QuantizationConfig('int8', 'int8', 'int8', 'int8', **whole),
        'pruned, int4': QuantizationConfig('int4', 'int4', 'int4', 'int4', **whole),
        'lean, vision int8': QuantizationConfig(
            'int4', 'bf16', 'int8', 'int8', group_size, cuts_head(config)),
        'lean, vision int4': QuantizationConfig(
            'int4', 'bf16', 'int4', 'int4', group_size, cuts_head(config))}
    dense = plan_variant('dense bf16', config)
    if published:
        dense = replace(dense, parts={**dense.parts, DEAD: dead_bytes(config)})
    variants = [dense]
    if pruned is not config:
        variants.append(plan_variant('pruned bf16', pruned))
    for name, record in records.items():
        quantised = replace(pruned, quantization=record)
        check_group_size(quantised, short_groups)
        variants.append(plan_variant(name, quantised))
    return variants


def free_bytes(config: VlaConfig, record: QuantizationConfig, dead: int) -> dict[str, int]:
    """
    Return what each nearly free saving takes off the device, by its name.

    :param dead: bytes of dead ViT blocks in the source
    """
    plain = QuantizationConfig(*('bf16',) * len(QUANTIZED_PARTS), action_head=False,
                               host_embeddings=False)

    def device(**changes: bool) -> int:
        return plan_variant('', replace(config, quantization=replace(plain, **changes))).device
    lines = {}
    if record.action_head and cuts_head(config):
        lines[f'head cut to {config.action.bins} action rows'] = \
            device() - device(action_head=True)
    if record.host_embeddings:
        lines['embedding table kept on the host'] = device() - device(host_embeddings=True)
    lines['dead ViT blocks dropped'] = dead
    return lines
