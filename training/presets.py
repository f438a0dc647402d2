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
Named sizes of the model: the config is all that differs between nano and 7B.

`nano` and `choice` train on two CPU cores, the second for the sets in which words choose among the
things in view, three times as deep; `small` (48 M parameters, 80 % of them in the decoder's
layers) trains on one GPU; `tiny` only proves in tests that everything fits together.
"""

from itertools import product

from rlrc_ros.vla.config import (
    ActionConfig,
    ConfigError,
    DecoderConfig,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LayerWidths,
    TowerConfig,
    VlaConfig,
)
from rlrc_ros.vla.prompt import PREFIX_TEXT, SPECIAL_TOKENS, train_tokenizer
from rlrc_sim.axes import CHOICE_RECEPTACLES
from rlrc_sim.objects_25 import OBJECTS_25
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.scene import OBJECTS, RECEPTACLES
from tokenizers import Tokenizer

BINS = 256
TEXT_VOCABULARY, CHOICE_VOCABULARY = 384, 512
"""Ids of the small tokenizers: special tokens, the 256 bytes and what words they learn. Where
words choose, every word of the suite is one token: a decoder that has read nothing else is slow to
learn from demonstrations that b, r, e and ad are bread."""


def suite_instructions() -> tuple[str, ...]:
    """Return every instruction that the built-in suite gives."""
    return tuple(f'put {thing} on {place}' for thing, place in product(OBJECTS, RECEPTACLES))


def choice_instructions() -> tuple[str, ...]:
    """Return the instructions of PutOnPlate25 and of its sets in which the words choose."""
    sentences = product(OBJECTS_25, (*CHOICE_RECEPTACLES, *RECEPTACLES_25))
    return tuple(dict.fromkeys(f'put {thing} on {place}' for thing, place in sentences))


def small_tokenizer(choice: bool = False) -> Tokenizer:
    """Train the tokenizer of the small presets, or of those for the sets where words choose."""
    if choice:
        return train_tokenizer(choice_instructions(), CHOICE_VOCABULARY)
    return train_tokenizer(suite_instructions(), TEXT_VOCABULARY)


def _config(tokenizer: Tokenizer, sentences: tuple[str, ...], vocabulary: int, *, width: int,
            tower_depth: int, tower_heads: int, image_size: int, patch_size: int,
            hidden_size: int, num_heads: int, layers: int, intermediate_size: int) -> VlaConfig:
    """Describe a small OpenVLA: a DINOv2-like and a SigLIP-like tower, a LLaMA-like decoder."""
    tower = {'embed_dim': width, 'depth': tower_depth, 'num_heads': tower_heads,
             'mlp_hidden': 4 * width, 'image_size': image_size, 'patch_size': patch_size,
             'stem': 'conv'}
    vocab_end = vocabulary + BINS
    return VlaConfig(
        towers=(TowerConfig(**tower, class_token=True, register_tokens=4, layer_scale=True,
                            mean=IMAGENET_MEAN, std=IMAGENET_STD),
                TowerConfig(**tower)),
        decoder=DecoderConfig(
            vocab_size=vocab_end, hidden_size=hidden_size, head_dim=hidden_size // num_heads,
            layers=(LayerWidths(num_heads, intermediate_size),) * layers, max_length=256),
        action=ActionConfig(vocab_end=vocab_end, prefix_token_id=_prefix_id(tokenizer), bins=BINS),
        bos_token_id=SPECIAL_TOKENS.index('<s>'), eos_token_id=SPECIAL_TOKENS.index('</s>'),
        pad_token_id=SPECIAL_TOKENS.index('<pad>'), instructions=sentences)


def _prefix_id(tokenizer: Tokenizer) -> int:
    ids = tokenizer.encode(PREFIX_TEXT, add_special_tokens=False).ids
    if len(ids) != 1:
        raise ConfigError(f'the tokenizer splits a lone space into {ids}')
    return ids[0]


PRESETS = {
    'small': {'width': 224, 'tower_depth': 6, 'tower_heads': 7, 'image_size': 192,
              'patch_size': 16, 'hidden_size': 512, 'num_heads': 8, 'layers': 12,
              'intermediate_size': 1408},
    'nano': {'width': 128, 'tower_depth': 3, 'tower_heads': 4, 'image_size': 128,
             'patch_size': 32, 'hidden_size': 192, 'num_heads': 6, 'layers': 4,
             'intermediate_size': 512},
    'choice': {'width': 128, 'tower_depth': 3, 'tower_heads': 4, 'image_size': 128,
               'patch_size': 32, 'hidden_size': 192, 'num_heads': 6, 'layers': 12,
               'intermediate_size': 512},
    'tiny': {'width': 32, 'tower_depth': 2, 'tower_heads': 2, 'image_size': 64, 'patch_size': 16,
             'hidden_size': 64, 'num_heads': 4, 'layers': 2, 'intermediate_size': 96},
}
"""Arguments of the small sizes by name."""


def preset(name: str) -> tuple[VlaConfig, Tokenizer]:
    """
    Return a preset's architecture and its tokenizer.

    :raises ValueError: unknown name
    """
    if name not in PRESETS:
        raise ValueError(f'preset {name!r} is not known; there are: {", ".join(PRESETS)}')
    choice = name in ('choice', 'small')
    sentences = choice_instructions() if choice else suite_instructions()
    tokenizer = small_tokenizer(choice)
    vocabulary = CHOICE_VOCABULARY if choice else TEXT_VOCABULARY
    return _config(tokenizer, sentences, vocabulary, **PRESETS[name]), tokenizer
