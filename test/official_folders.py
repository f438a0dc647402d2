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

"""Official OpenVLA folders for tests: the golden one, and others of the same size."""

import json
from pathlib import Path

import numpy as np
import pytest
from rlrc_ros.vla import official
from rlrc_ros.vla.config import OPENVLA_PROMPT
from rlrc_ros.vla.parallel import L1ActionHead, ProprioProjector
from rlrc_training.presets import small_tokenizer
from safetensors.torch import save_file
from tokenizers import models, pre_tokenizers, Regex, Tokenizer
import torch

GOLDENS = Path(__file__).parents[2] / 'shared' / 'goldens'
GOLDEN_HEADS = [2, 2]
"""Attention heads of the golden towers (its meta.json); no official key tells them."""
GOLDEN_INSTRUCTION = 'Pick up the red BLOCK'
"""A sentence whose words repeat where the golden prompt's ids do."""


def golden(name: str) -> Path:
    """Return a folder or file of the goldens, or skip the test where they are not."""
    path = GOLDENS / name
    if not path.exists():
        pytest.skip(f'no ../shared/goldens/{name} beside the repository')
    return path


def golden_tokenizer(input_ids: np.ndarray) -> Tokenizer:
    """Return a tokenizer of words that turns the prompt of GOLDEN_INSTRUCTION into input_ids."""
    pieces = Regex(r'\n|\w+|[^\w\s]')
    splitter = pre_tokenizers.Split(pieces, 'removed', invert=True)
    prompt = OPENVLA_PROMPT.format(instruction=GOLDEN_INSTRUCTION.lower())
    words = [word for word, _ in splitter.pre_tokenize_str(prompt)]
    vocabulary = dict(zip(words, input_ids[1:-1].tolist(), strict=True))
    tokenizer = Tokenizer(models.WordLevel(vocabulary | {'<unk>': 0}, unk_token='<unk>'))
    tokenizer.pre_tokenizer = splitter
    return tokenizer


def write_official(folder: Path, weights: dict[str, torch.Tensor], config: dict,
                   shards: int = 1, tokenizer: Tokenizer | None = None) -> Path:
    """Write an official folder, in one safetensors file or in several with their index."""
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(config, indent=1))
    (tokenizer or small_tokenizer()).save(str(folder / 'tokenizer.json'))
    names = sorted(weights)
    if shards == 1:
        save_file(weights, folder / 'model.safetensors', metadata={'format': 'pt'})
        return folder
    weight_map = {}
    for shard in range(shards):
        file = f'model-{shard + 1:05d}-of-{shards:05d}.safetensors'
        part = names[shard::shards]
        weight_map |= dict.fromkeys(part, file)
        save_file({name: weights[name] for name in part}, folder / file,
                  metadata={'format': 'pt'})
    (folder / 'model.safetensors.index.json').write_text(json.dumps(
        {'metadata': {}, 'weight_map': weight_map}))
    return folder


def golden_ppo_folder(folder: Path) -> Path:
    """Write the model of the goldens for PPO as an official folder."""
    source = golden('oft_a')
    arrays = np.load(source / 'vla_weights.npz')
    config = json.loads((source / 'config.json').read_text())
    config['rlrc'] = {'tower_heads': GOLDEN_HEADS}
    return write_official(
        folder, {name: torch.from_numpy(arrays[name]) for name in arrays.files}, config)


def golden_oft_folder(folder: Path, cameras: tuple[str, ...] = ('image',), proprio: bool = False,
                      head: str = 'l1', **own) -> Path:
    """Write the golden OpenVLA-OFT as an official folder, its parts prefixed as some are."""
    source = golden('oft_a')
    golden_ppo_folder(folder)
    ids = np.load(source / 'inputs.npz')['input_ids'][0]
    golden_tokenizer(np.append(ids, 29871)).save(str(folder / 'tokenizer.json'))
    for name in ('dataset_statistics.json', 'preprocessor_config.json'):
        (folder / name).write_bytes((source / name).read_bytes())
    parts = {'action_head': 'module.'} if head == 'l1' else {}
    if proprio:
        parts['proprio_projector'] = ''
    for part, prefix in parts.items():
        torch.save({prefix + name: torch.from_numpy(each)
                    for name, each in np.load(source / f'{part}.npz').items()},
                   folder / f'{part}--150000_checkpoint.pt')
    if head != 'l1':
        own['action_head'] = head
    return say(folder, cameras=list(cameras), **own)


def say(folder: Path, **own) -> Path:
    """Add fields to our own key in a folder's config.json; None takes one away."""
    document = json.loads((folder / 'config.json').read_text())
    fields = {**document.get('rlrc', {}), **own}
    document['rlrc'] = {name: value for name, value in fields.items() if value is not None}
    (folder / 'config.json').write_text(json.dumps(document, indent=1))
    return folder


def golden_folder(folder: Path, shards: int = 1, dtype: torch.dtype = torch.float32) -> Path:
    """Write the golden model as an official folder, with the heads that its config cannot say."""
    source = golden('tiny_openvla_a')
    arrays = np.load(source / 'weights.npz')
    config = json.loads((source / 'config.json').read_text())
    config['rlrc'] = {'tower_heads': GOLDEN_HEADS}
    reference = np.load(source / 'reference.npz')
    write_official(folder, {name: torch.from_numpy(arrays[name]).to(dtype)
                            for name in arrays.files}, config, shards,
                   golden_tokenizer(reference['input_ids'][0]))
    (folder / 'preprocessor_config.json').write_bytes(
        (source / 'preprocessor_config.json').read_bytes())
    return folder


def tiny_official_config() -> dict:
    """Return a small official config.json whose decoder is at its defaults but for its size."""
    return {
        'model_type': 'openvla', 'architectures': ['OpenVLAForActionPrediction'],
        'auto_map': {'AutoConfig': 'configuration_prismatic.OpenVLAConfig'},
        'vision_backbone_id': 'dinosiglip-mine', 'llm_backbone_id': 'llama2-7b-pure',
        'arch_specifier': 'no-align+fused-gelu-mlp', 'image_resize_strategy': 'resize-naive',
        'image_sizes': [28, 28], 'pad_token_id': 32000, 'n_action_bins': 256,
        'text_config': {'model_type': 'llama', 'vocab_size': 32064, 'hidden_size': 16,
                        'intermediate_size': 24, 'num_hidden_layers': 1,
                        'num_attention_heads': 2},
        'norm_stats': {'robot': {'action': {'q01': [-1.0] * 7, 'q99': [1.0] * 7}}},
        'rlrc': {'tower_heads': [2, 2]}}


def tiny_official_shapes() -> official.Shapes:
    """Return every tensor of the tiny official layout, from a config that knows its towers."""
    tower = {'embed_dim': 8, 'depth': 3, 'num_heads': 2, 'mlp_hidden': 20, 'image_size': 28,
             'patch_size': 14}
    dino = official.TowerConfig(**tower, register_tokens=4, class_token=True, layer_scale=True)
    known = official.BACKBONES | {'dinosiglip-mine': (dino, official.TowerConfig(**tower))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(official, 'BACKBONES', known)
        return official.layout(official.read_config(tiny_official_config(), {}, {}, 'tiny', 7))


def tiny_official_weights() -> dict[str, torch.Tensor]:
    """Return random bf16 weights, the unused tensors included."""
    generator = torch.Generator().manual_seed(0)
    return {name: (torch.randn(shape, generator=generator) * 0.1).to(torch.bfloat16)
            for name, shape in tiny_official_shapes().items()}


def tiny_official_folder(folder: Path, shards: int = 1,
                         weights: dict[str, torch.Tensor] | None = None, **fields) -> Path:
    """Write a small official folder; `fields` replace those of its config.json."""
    return write_official(folder, weights or tiny_official_weights(),
                          {**tiny_official_config(), **fields}, shards)


def tiny_oft_parts(dim: int = 7, proprio_dim: int = 8) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of a small L1 head and proprio projector, by part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {'action_head': L1ActionHead(16, dim).state_dict(),
                'proprio_projector': ProprioProjector(proprio_dim, 16).state_dict()}


def tiny_oft_folder(folder: Path, dim: int = 7, proprio_dim: int = 8, head: str = 'l1',
                    state_dim: int | None = None, **own) -> Path:
    """
    Write a small official OpenVLA-OFT folder with statistics of one robot.

    :param state_dim: of the statistics, if they are to differ from the proprio projector's
    """
    limits = {'q01': -1.0, 'q99': 1.0, 'min': -2.0, 'max': 3.0}
    entry = {part: {name: [value] * count for name, value in limits.items()}
             for part, count in (('action', dim), ('proprio', state_dim or proprio_dim))}
    tiny_official_folder(folder, norm_stats={'robot': entry})
    parts = tiny_oft_parts(dim, proprio_dim or 1)
    for part in ('action_head',) * (head == 'l1') + ('proprio_projector',) * bool(proprio_dim):
        torch.save(parts[part], folder / f'{part}--500_checkpoint.pt')
    return say(folder, **own)
