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
Official OpenVLA folders: their config.json in our words, and the tensors that play no part.

What the official code leaves to others is written out here: LlamaConfig's defaults behind a
sparse `text_config`, timm's towers behind `vision_backbone_id`, the prompt behind the decoder's
name. Code that a folder names in `auto_map` is never run. A folder whose towers this file does not
know opens too: their sizes are read off the tensors, and only the number of attention heads, which
no shape tells, has to be said. Our own key in config.json says it, and what else no official key
does:

    "rlrc": {"tower_heads": [16, 16], "center_crop": true, "jpeg": false, "lanczos": false,
             "control_hz": 5.0}

What OpenVLA-OFT adds, files and fields, is in oft_files.py.

Sources: openvla/openvla, prismatic/extern/hf; transformers' LlamaConfig; timm 0.9.
"""

from dataclasses import replace
from functools import cache
import logging
import math
import re

from rlrc_ros.vla import oft_files
from rlrc_ros.vla.config import (
    ActionConfig,
    ConfigError,
    DecoderConfig,
    ImageConfig,
    IMAGENET_MEAN,
    IMAGENET_STD,
    LayerWidths,
    OPENVLA_PROMPT,
    ParallelConfig,
    TowerConfig,
    VICUNA_PROMPT,
    VlaConfig,
)
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.vision import Block
import torch

logger = logging.getLogger(__name__)

MODEL_TYPE = 'openvla'
OWN_KEY = 'rlrc'
OWN_FIELDS = ('tower_heads', 'center_crop', 'jpeg', 'lanczos', 'control_hz',
              *oft_files.OWN_FIELDS)
PREFIX_TOKEN_ID = 29871
"""Llama's lone space, which official inference appends to the prompt."""
UNCROPPED = ('openvla-7b', 'openvla-v01-7b')
"""Ends of the pretrained models' names; they saw whole images."""
TRAINED_WITH_CROP = 'image_aug'
"""Official fine-tuning writes this into the folder's name when it crops images at random."""
IGNORED = re.compile(r'rotary_emb\.inv_freq$')
"""Buffers that older versions of transformers saved; they follow from the config."""
LLAMA_DEFAULTS = {
    'hidden_size': 4096, 'intermediate_size': 11008, 'num_hidden_layers': 32,
    'num_attention_heads': 32, 'rms_norm_eps': 1e-6, 'max_position_embeddings': 2048,
    'vocab_size': 32000, 'bos_token_id': 1, 'eos_token_id': 2}
MOST_LAYERS = 256
UNSUPPORTED = {'hidden_act': 'silu', 'attention_bias': False, 'mlp_bias': False,
               'tie_word_embeddings': False, 'rope_scaling': None}
"""Fields of LlamaConfig that we know one value of."""
_DINOV2 = TowerConfig(embed_dim=1024, depth=24, num_heads=16, mlp_hidden=4096, image_size=224,
                      patch_size=14, register_tokens=4, class_token=True, layer_scale=True,
                      mean=IMAGENET_MEAN, std=IMAGENET_STD)
_SIGLIP = TowerConfig(embed_dim=1152, depth=27, num_heads=16, mlp_hidden=4304, image_size=224,
                      patch_size=14)
BACKBONES = {
    'dinosiglip-vit-so-224px': (_DINOV2, _SIGLIP),
    'dinosiglip-vit-so-384px': (replace(_DINOV2, image_size=384),
                                replace(_SIGLIP, image_size=384)),
    'dinov2-vit-l': (_DINOV2,),
    'siglip-vit-so400m': (_SIGLIP,),
    'siglip-vit-so400m-384px': (replace(_SIGLIP, image_size=384),),
}
"""Towers by vision_backbone_id; the first is OpenVLA's, siglip-vit-so400m is v01's."""
TOWER_NAMES = ('vision_backbone.featurizer', 'vision_backbone.fused_featurizer')
Shapes = dict[str, tuple[int, ...]]


def own_fields(document: dict) -> dict:
    """
    Return what our own key in an official config.json says.

    :raises ConfigError: a field that is not known
    """
    own = document.get(OWN_KEY, {})
    if not isinstance(own, dict) or own.keys() - set(OWN_FIELDS):
        raise ConfigError(f'{OWN_KEY!r} holds {own!r}; its fields are: {", ".join(OWN_FIELDS)}')
    return own


def read_config(document: dict, preprocessor: dict, shapes: Shapes, folder_name: str,
                action_dim: int, parallel: ParallelConfig | None = None,
                action_horizon: int = 1) -> VlaConfig:
    """
    Turn an official config.json into ours.

    :param preprocessor: preprocessor_config.json's content, or {}
    :param shapes: of the stored tensors by name
    :param action_dim: numbers in one action
    :param parallel: how an OpenVLA-OFT decodes (oft_files.read_parallel), or None
    :param action_horizon: actions in one answer
    :raises ConfigError: something that this version cannot build, named
    """
    own = own_fields(document)
    try:
        towers = _towers(document, preprocessor, shapes, own)
        decoder, tokens = _decoder(document.get('text_config') or {})
        padding, bins = document.get('pad_to_multiple_of', 64), document.get('n_action_bins', 256)
        trained_with_crop = TRAINED_WITH_CROP in folder_name + str(document.get('_name_or_path'))
        if 'center_crop' not in own and not trained_with_crop:
            _say_no_crop(folder_name)
        vicuna = str(document.get('llm_backbone_id', 'vicuna')).startswith('vicuna')
        return VlaConfig(
            towers, decoder,
            ActionConfig(decoder.vocab_size - padding, PREFIX_TOKEN_ID, bins, action_dim,
                         action_horizon),
            **tokens, pad_token_id=document.get('pad_token_id', 32000),
            prompt=VICUNA_PROMPT if vicuna else OPENVLA_PROMPT,
            control_hz=own.get('control_hz', 5.0), projector_layers=3 if len(towers) == 2 else 2,
            image=ImageConfig(document.get('image_resize_strategy', 'letterbox'),
                              own.get('center_crop', trained_with_crop),
                              own.get('jpeg', False), own.get('lanczos', False)),
            parallel=parallel)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f'it does not describe an OpenVLA: {error}') from error


@cache
def _say_no_crop(folder_name: str) -> None:
    """Warn once of what no file tells and every action hangs on."""
    if not folder_name.endswith(UNCROPPED):
        logger.warning(
            'center_crop=false: nothing says that %s was trained with random crops, as official '
            'fine-tuning does by default; if it was, add "%s": {"center_crop": true} to its '
            'config.json, and else false', folder_name, OWN_KEY)


def _decoder(text: dict) -> tuple[DecoderConfig, dict[str, int]]:
    """Return the decoder and the ids of its begin and end tokens."""
    if text.get('model_type', 'llama') != 'llama':
        raise ConfigError(f'the decoder is of type {text["model_type"]!r}; this version builds: '
                          'llama')
    full = {**LLAMA_DEFAULTS, 'head_dim': None, 'rope_theta': None, **text}
    heads = full['num_attention_heads']
    rope = text.get('rope_parameters') or {}  # transformers 5 writes rope_theta in here
    known = {**UNSUPPORTED, 'num_key_value_heads': heads}
    if rope.get('rope_type', 'default') != 'default':
        raise ConfigError(f'rope_type {rope["rope_type"]!r} is not built; only: default')
    for name, only in known.items():
        if text.get(name) not in (None, only):
            raise ConfigError(f'text_config.{name} {text[name]!r} is not built; only: {only!r}')
    for name in ('hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
                 'vocab_size', 'max_position_embeddings', 'head_dim'):
        if full[name] is not None and (type(full[name]) is not int or full[name] < 1):
            raise ConfigError(f'text_config.{name} is a whole number above 0, got {full[name]!r}')
    if full['num_hidden_layers'] > MOST_LAYERS:
        raise ConfigError(f'text_config.num_hidden_layers {full["num_hidden_layers"]} is more '
                          f'than {MOST_LAYERS}; no Llama is that deep')
    full['rope_theta'] = full['rope_theta'] or rope.get('rope_theta', 10000.0)
    for name in ('rms_norm_eps', 'rope_theta'):
        if type(full[name]) not in (int, float) or not 0 < full[name] < math.inf:
            raise ConfigError(f'text_config.{name} is a number above 0, got {full[name]!r}')
    if full['hidden_size'] % heads:
        raise ConfigError(f'text_config.hidden_size {full["hidden_size"]} is not a multiple of '
                          f'num_attention_heads {heads}')
    return DecoderConfig(
        full['vocab_size'], full['hidden_size'],
        full['head_dim'] or full['hidden_size'] // heads,
        (LayerWidths(heads, full['intermediate_size']),) * full['num_hidden_layers'],
        full['rms_norm_eps'], full['rope_theta'], full['max_position_embeddings'],
    ), {name: full[name] for name in ('bos_token_id', 'eos_token_id')}


def _towers(document: dict, preprocessor: dict, shapes: Shapes,
            own: dict) -> tuple[TowerConfig, ...]:
    """Return the towers: known by their id, or described by their tensors."""
    backbone = str(document.get('vision_backbone_id', 'siglip-vit-so400m'))
    arch = str(document.get('arch_specifier', 'gelu-mlp'))
    if not arch.endswith('gelu-mlp'):
        raise ConfigError(f'arch_specifier {arch!r} is not built; only gelu-mlp and '
                          'fused-gelu-mlp projectors are')
    if re.search(r'clip-|^in1k-', backbone):  # quick-GELU; positions of class tokens
        raise ConfigError(f'vision_backbone_id {backbone!r} is not built; there are: '
                          f'{", ".join(BACKBONES)}')
    towers = BACKBONES.get(backbone)
    if towers is None:
        names = [name for name in TOWER_NAMES if f'{name}.pos_embed' in shapes]
        heads = own.get('tower_heads')
        if not names or not isinstance(heads, list) or len(heads) != len(names):
            raise ConfigError(
                f'vision_backbone_id {backbone!r} is not one that this version knows '
                f'({", ".join(BACKBONES)}). Sizes are read off its {len(names)} towers, but not '
                f'their attention heads: add "{OWN_KEY}": {{"tower_heads": [...]}} to '
                f'config.json, one number a tower, got {heads!r}')
        sizes = document.get('image_sizes') or [224] * len(names)
        towers = tuple(_tower_of_shapes(*each, shapes) for each in zip(names, heads, sizes))
    for key, field in (('means', 'mean'), ('stds', 'std')):
        values = preprocessor.get(key)
        if values:
            if len(values) != len(towers):
                raise ConfigError(f'preprocessor_config.json has {key} of {len(values)} towers, '
                                  f'the model has {len(towers)}')
            towers = tuple(replace(tower, **{field: tuple(map(float, value))})
                           for tower, value in zip(towers, values))
    return towers


def _tower_of_shapes(name: str, num_heads: int, image_size: int, shapes: Shapes) -> TowerConfig:
    """Read a tower's sizes off its tensors."""
    dim, _, patch_size, _ = shapes[f'{name}.patch_embed.proj.weight']
    depth = 1 + max(int(match[1]) for key in shapes
                    if (match := re.match(rf'{re.escape(name)}\.blocks\.(\d+)\.', key)))
    registers = shapes.get(f'{name}.reg_token', (1, 0, dim))[1]
    dino = f'{name}.cls_token' in shapes
    tower = TowerConfig(
        dim, depth, num_heads, shapes[f'{name}.blocks.0.mlp.fc1.weight'][0], image_size,
        patch_size, registers, dino, f'{name}.blocks.0.ls1.scale_factor' in shapes,
        mean=IMAGENET_MEAN if dino else (0.5,) * 3, std=IMAGENET_STD if dino else (0.5,) * 3)
    if shapes[f'{name}.pos_embed'][1] != tower.num_patches:
        raise ConfigError(f'{name}.pos_embed has {shapes[f"{name}.pos_embed"][1]} positions, an '
                          f'image of {image_size} px has {tower.num_patches} patches; positions '
                          'of class tokens are not built')
    return tower


def unused_shapes(config: VlaConfig) -> Shapes:
    """
    Return the tensors of the official layout that never influence an action, and their shapes.

    The features leave a tower after its second-to-last block, so the last block, the norm behind
    it and SigLIP's pooling are dead weights (43 M parameters of the 7541 M).
    """
    shapes = {}
    for name, tower in zip(TOWER_NAMES, config.towers):
        dim, hidden = tower.embed_dim, tower.mlp_hidden
        with torch.device('meta'):
            block = Block(tower).state_dict()
        shapes |= {f'{name}.blocks.{tower.depth - 1}.{key}': tuple(each.shape)
                   for key, each in block.items()}
        shapes |= {f'{name}.norm.weight': (dim,), f'{name}.norm.bias': (dim,)}
        if not tower.class_token:
            pool = {'latent': (1, 1, dim), 'norm.weight': (dim,), 'norm.bias': (dim,)}
            for layer, outputs, inputs in (
                    ('q', dim, dim), ('kv', 2 * dim, dim), ('proj', dim, dim),
                    ('mlp.fc1', hidden, dim), ('mlp.fc2', dim, hidden)):
                pool |= {f'{layer}.weight': (outputs, inputs), f'{layer}.bias': (outputs,)}
            shapes |= {f'{name}.attn_pool.{key}': shape for key, shape in pool.items()}
    return shapes


def layout(config: VlaConfig) -> Shapes:
    """Return every tensor of the official layout, the unused ones included, with its shape."""
    used = {name: tuple(each.shape) for name, each in skeleton(config).state_dict().items()}
    return used | unused_shapes(config)
