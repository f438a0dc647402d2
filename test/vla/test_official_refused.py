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

"""Official OpenVLA folders that are refused: by name, and before memory is spent."""

from collections.abc import Callable
import json
from pathlib import Path

from official_folders import (
    tiny_official_config,
    tiny_official_folder,
    tiny_official_shapes,
    tiny_official_weights,
)
import pytest
from rlrc_ros.vla import official
from rlrc_ros.vla.checkpoint import CheckpointError, inspect, open_checkpoint
from rlrc_ros.vla.config import ConfigError
from rlrc_ros.vla.policy import Policy
from safetensors.torch import load_file, save_file
import torch

SHARD = 'model-00002-of-00003.safetensors'
INDEX = 'model.safetensors.index.json'


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Return a function that writes a tiny official folder, changed as the test asks."""
    return lambda name='tiny', **changes: tiny_official_folder(tmp_path / name, **changes)


def test_a_missing_shard_is_named(write):
    """The error names the file that is not there."""
    folder = write(shards=3)
    (folder / SHARD).unlink()
    with pytest.raises(CheckpointError, match=f'lacks 1 of its 3 shards: {SHARD}'):
        inspect(folder)


def test_a_truncated_shard_is_named(write):
    """A shard cut short is refused by inspect(), which reads no weights."""
    path = write(shards=3) / SHARD
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f'{SHARD} is not a whole safetensors file'):
        inspect(path.parent)


def test_a_shard_of_another_checkpoint_is_named(write):
    """A shard that lacks what the index says it holds is refused."""
    path = write(shards=3) / SHARD
    weights = load_file(path)
    name = sorted(weights)[0]
    weights.pop(name)
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=f'{SHARD} lacks {name}'):
        inspect(path.parent)


@pytest.mark.parametrize('index', ['{', '{}', '{"weight_map": {}}', '{"weight_map": [1]}',
                                   '{"weight_map": {"a": "../x.safetensors"}}',
                                   '{"weight_map": {"a": "pytorch_model.bin"}}'])
def test_an_index_that_cannot_be_used_is_refused(write, index):
    """Broken, empty, leaving the folder, or naming a pickle."""
    folder = write(shards=3)
    (folder / INDEX).write_text(index)
    with pytest.raises(CheckpointError, match=INDEX):
        inspect(folder)


@pytest.mark.parametrize('name', ['projector.fc3.bias',
                                  'vision_backbone.fused_featurizer.attn_pool.latent'])
def test_a_tensor_of_another_shape_is_named(write, name):
    """Used or not, a tensor has the shape that the architecture gives it."""
    weights = tiny_official_weights()
    weights[name] = weights[name][..., :-1].contiguous()
    with pytest.raises(CheckpointError, match=f'{name} has shape'):
        inspect(write(weights=weights))


@pytest.mark.parametrize('dtype', [torch.float64, torch.int8])
def test_a_tensor_of_another_dtype_is_named(write, dtype):
    """Only floating-point types that we read pass."""
    weights = tiny_official_weights()
    weights['projector.fc3.bias'] = weights['projector.fc3.bias'].to(dtype)
    with pytest.raises(CheckpointError, match='projector.fc3.bias has dtype'):
        inspect(write(weights=weights))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_named(write, value):
    """Infinity and NaN are refused while the tensors stream in."""
    weights = tiny_official_weights()
    weights['projector.fc3.bias'][3] = value
    with pytest.raises(CheckpointError, match='projector.fc3.bias holds NaN or infinity'):
        open_checkpoint(write(shards=3, weights=weights))


def test_a_weight_too_large_for_fp16_is_named(write):
    """A finite bfloat16 that fp16 cannot hold says which types can."""
    weights = tiny_official_weights()
    weights['projector.fc3.bias'][3] = 1e6
    with pytest.raises(CheckpointError, match='does not fit into torch.float16'):
        open_checkpoint(write(weights=weights), dtype=torch.float16)


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'consolidated.pt'])
def test_a_pickle_instead_of_safetensors_is_refused(write, name):
    """The error names the pickle and says why it stays closed."""
    folder = write()
    (folder / 'model.safetensors').rename(folder / name)
    with pytest.raises(CheckpointError, match=f'{name}.*can run code'):
        inspect(folder)


def test_a_pickle_under_the_name_of_safetensors_is_refused(write):
    """What torch.save wrote is recognised by its first bytes."""
    folder = write()
    torch.save(tiny_official_weights(), folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match='is a pickle under the name'):
        inspect(folder)


def test_weights_saved_inside_an_adapter_are_refused_with_how_to_merge_them(write):
    """PEFT's prefix is told from another checkpoint's names."""
    folder = write()
    weights = load_file(folder / 'model.safetensors')
    save_file({f'base_model.model.{name}': each for name, each in weights.items()},
              folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match='base_model.model.*merge_and_unload'):
        inspect(folder)


def test_an_architecture_that_wants_its_own_code_is_refused(write):
    """Of another model_type, auto_map's code would be needed; it is named and not run."""
    folder = write(model_type='prismatic_moe')
    with pytest.raises(CheckpointError, match='prismatic_moe.*configuration_prismatic.*never run'):
        inspect(folder)


@pytest.mark.parametrize(('fields', 'words'), [
    ({'vision_backbone_id': 'dinoclip-vit-l-336px'}, "'dinoclip-vit-l-336px' is not built"),
    ({'vision_backbone_id': 'in1k-vit-l'}, "'in1k-vit-l' is not built"),
    ({'vision_backbone_id': 'fancy', 'rlrc': {}}, "'fancy' is not one.*tower_heads"),
    ({'rlrc': {'tower_heads': [2]}}, r'one number a tower, got \[2\]'),
    ({'rlrc': {'tower_heads': [0, 2]}}, 'num_heads and patch_size are at least 1'),
    ({'rlrc': {'tower_heads': [3, 2]}}, 'embed_dim 8 is not a multiple of num_heads 3'),
    ({'rlrc': {'tower_heads': ['x', 2]}}, 'does not describe an OpenVLA'),
    ({'rlrc': {'crop': True}}, "'crop'.*its fields are"),
    ({'arch_specifier': 'no-align+linear'}, "arch_specifier 'no-align.linear' is not built"),
    ({'image_resize_strategy': 'stretch'}, "strategy 'stretch' is not known"),
    ({'image_sizes': [42, 42]}, 'pos_embed has 4 positions'),
    ({'norm_stats': None}, 'statistics of no data set'),
    ({'norm_stats': {'robot': {'action': {}}}}, "config.json, 'robot': no action statistics"),
    ({'text_config': 7}, 'does not describe an OpenVLA'),
])
def test_an_official_config_that_cannot_be_built_is_refused(write, fields, words):
    """The error carries the value and what would work."""
    with pytest.raises(CheckpointError, match=words):
        inspect(write(**fields))


@pytest.mark.parametrize(('fields', 'words'), [
    ({'model_type': 'mistral'}, "type 'mistral'"),
    ({'vocab_size': 300}, 'bins do not fit'),
    ({'vocab_size': 20000}, 'too small for prefix_token_id 29871'),
    ({'num_key_value_heads': 1}, 'num_key_value_heads 1 is not built; only: 2'),
    ({'hidden_act': 'gelu'}, "hidden_act 'gelu'"),
    ({'rope_scaling': {'type': 'linear', 'factor': 2.0}}, 'rope_scaling'),
    ({'rope_parameters': {'rope_type': 'yarn'}}, "rope_type 'yarn'"),
    ({'tie_word_embeddings': True}, 'tie_word_embeddings True'),
    ({'num_attention_heads': 3}, 'hidden_size 16 is not a multiple'),
    ({'num_hidden_layers': 0}, 'num_hidden_layers is a whole number above 0'),
    ({'num_hidden_layers': 10 ** 9}, 'num_hidden_layers 1000000000 is more than 256'),
    ({'rms_norm_eps': 'small'}, "rms_norm_eps is a number above 0, got 'small'"),
    ({'rope_parameters': {'rope_theta': -1}}, 'rope_theta is a number above 0'),
])
def test_a_decoder_that_cannot_be_built_is_refused(fields, words):
    """The error carries the field of text_config; a vocabulary too small is one of them."""
    document = tiny_official_config()
    document['text_config'] |= fields
    with pytest.raises(ConfigError, match=words):
        official.read_config(document, {}, tiny_official_shapes(), 'tiny', 7)


def test_a_tokenizer_of_another_model_is_refused(write):
    """Ids beyond the vocabulary are refused before any weight is read."""
    folder = write()
    document = json.loads((folder / 'tokenizer.json').read_text())
    word = next(iter(document['model']['vocab']))
    document['model']['vocab'][word] = 40_000
    (folder / 'tokenizer.json').write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match='ids up to 40000'):
        open_checkpoint(folder)


def test_several_data_sets_want_a_choice_and_a_wrong_one_lists_them(write):
    """unnorm_key is required, and must be one of the folder's."""
    entry = {'action': {'q01': [-1.0] * 7, 'q99': [1.0] * 7}}
    folder = write(norm_stats={'bridge_orig': entry, 'fractal': entry})
    for key in (None, 'bridge'):
        with pytest.raises(CheckpointError, match='it has: bridge_orig, fractal'):
            Policy.open(folder, device='cpu', unnorm_key=key)
    assert Policy.open(folder, device='cpu', unnorm_key='fractal').summary.action_horizon == 1
