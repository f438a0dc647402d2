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
Opening and saving official OpenVLA folders: what is read, what comes back, what memory it takes.

The folders are small ones with official names, written by the tests.
"""

from collections.abc import Callable
import json
import logging
from pathlib import Path
import subprocess
import sys

from official_folders import tiny_official_config, tiny_official_folder, tiny_official_weights
import pytest
from rlrc_ros.vla import official
from rlrc_ros.vla.checkpoint import (
    CheckpointError,
    inspect,
    open_checkpoint,
    save_checkpoint,
    save_official,
)
from safetensors.torch import load_file
import torch


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Return a function that writes a tiny official folder, changed as the test asks."""
    return lambda name='tiny', **changes: tiny_official_folder(tmp_path / name, **changes)


# ------------------------------------------------------------------ what is read


@pytest.mark.parametrize('shards', [1, 3])
def test_one_file_or_shards_open_alike(write, shards):
    """All used weights are the stored ones; the unused are counted and not loaded."""
    folder, stored = write(shards=shards), tiny_official_weights()
    opened = open_checkpoint(folder, dtype=torch.bfloat16)
    state = opened.model.state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in state.items())
    unused = stored.keys() - state.keys()
    assert any('attn_pool' in name for name in unused)
    assert opened.summary.unused_parameters == sum(stored[name].numel() for name in unused)
    assert opened.summary.parameters == sum(each.numel() for each in state.values())
    assert sum(opened.summary.parts.values()) == opened.summary.parameters


def test_sparse_text_config_means_llamas_defaults():
    """What text_config does not say is LlamaConfig's default, as transformers has it."""
    transformers = pytest.importorskip('transformers')
    theirs = transformers.LlamaConfig()
    for name, value in official.LLAMA_DEFAULTS.items():
        assert getattr(theirs, name) == value, name
    config = official.read_config({'model_type': 'openvla', 'text_config': {'vocab_size': 32064},
                                   'vision_backbone_id': 'dinosiglip-vit-so-224px'}, {}, {}, '', 7)
    assert len(config.decoder.layers) == 32
    assert config.decoder.rope_theta == 10000.0
    assert config.decoder.head_dim == 128


def test_version_01_has_one_tower_two_projector_layers_and_vicunas_prompt():
    """siglip-vit-so400m with vicuna-v15-7b is OpenVLA v01."""
    config = official.read_config(
        {'model_type': 'openvla', 'vision_backbone_id': 'siglip-vit-so400m',
         'llm_backbone_id': 'vicuna-v15-7b', 'arch_specifier': 'no-align+gelu-mlp',
         'image_resize_strategy': 'resize-naive', 'text_config': {'vocab_size': 32064}},
        {}, {}, 'openvla-v01-7b', 7)
    assert config.prompt.format(instruction='wave').endswith(
        "user's questions. USER: What action should the robot take to wave? ASSISTANT:")
    shapes = official.layout(config)
    assert shapes['projector.fc1.weight'] == (4096, 1152)
    assert 'projector.fc3.weight' not in shapes


def test_the_384_px_towers_have_27_patches_a_side():
    """384 px are not a whole number of 14 px patches; the rest is left out, as in timm."""
    config = official.read_config(
        {'model_type': 'openvla', 'vision_backbone_id': 'dinosiglip-vit-so-384px',
         'llm_backbone_id': 'llama2-7b-pure', 'text_config': {'vocab_size': 32064}}, {}, {}, '', 7)
    assert config.num_patches == 27 ** 2


def test_statistics_of_a_fine_tune_go_first(write):
    """dataset_statistics.json wins over norm_stats in config.json, as in official evaluation."""
    folder = write()
    assert inspect(folder).unnorm_keys == ('robot',)
    (folder / 'dataset_statistics.json').write_text(json.dumps(
        {'mine': {'action': {'q01': [0.0] * 7, 'q99': [1.0] * 7}}}))
    assert inspect(folder).unnorm_keys == ('mine',)


def test_means_come_from_the_preprocessor_file(write):
    """preprocessor_config.json says how each tower's pixels are normalised."""
    folder = write()
    (folder / 'preprocessor_config.json').write_text(json.dumps(
        {'means': [[0.1] * 3, [0.2] * 3], 'stds': [[0.3] * 3, [0.4] * 3]}))
    towers = inspect(folder).config.towers
    assert towers[0].mean == (0.1, 0.1, 0.1)
    assert towers[1].std == (0.4, 0.4, 0.4)


@pytest.mark.parametrize(('name', 'own', 'crop'), [
    ('openvla-7b+mine--image_aug', {}, True), ('openvla-7b+mine', {}, False),
    ('openvla-7b+mine', {'center_crop': True}, True),
    ('models--me--mine--image_aug/snapshots/0123abcd', {}, True),
    ('openvla-7b+mine--image_aug', {'center_crop': False}, False)])
def test_the_crop_follows_the_folders_name_or_our_key(write, name, own, crop):
    """Official fine-tuning marks image_aug in the name; our key in config.json overrules it."""
    folder = write(name=name, rlrc={'tower_heads': [2, 2], **own})
    assert inspect(folder).config.image.center_crop is crop


def test_a_crop_that_nothing_tells_is_asked_for_once(write, caplog):
    """The warning has the line to add; what is said, or known of a name, needs none."""
    with caplog.at_level(logging.WARNING):
        for name, own in (('openvla-7b', {}), ('mine+image_aug', {}),
                          ('said', {'center_crop': False}), ('unsaid', {})):
            folder = write(name=name, rlrc={'tower_heads': [2, 2], **own})
            inspect(folder)
            inspect(folder)
    (said,) = caplog.messages
    assert 'that unsaid was' in said and '"rlrc": {"center_crop": true}' in said


def test_code_in_the_folder_is_never_run(write):
    """auto_map is reported; its file is not imported when the folder is opened."""
    folder = write()
    trap = folder / 'configuration_prismatic.py'
    trap.write_text(f'open({str(folder / "ran")!r}, "w")\n')
    summary = open_checkpoint(folder).summary
    assert summary.auto_map == ('configuration_prismatic.OpenVLAConfig',)
    assert not (folder / 'ran').exists()


def test_rotary_buffers_of_old_versions_are_ignored(write):
    """inv_freq, which transformers once saved, is no stranger."""
    name = 'language_model.model.layers.0.self_attn.rotary_emb.inv_freq'
    assert inspect(write(weights=tiny_official_weights() | {name: torch.ones(4)})).parameters


# ------------------------------------------------------------------ saving


@pytest.mark.parametrize('shards', [1, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_saving_in_the_official_layout_returns_every_byte(write, tmp_path, shards, dtype):
    """Every file comes back as it was, unused tensors too, in whatever dtype it was opened."""
    folder = write(shards=shards)
    opened = open_checkpoint(folder, dtype=dtype)
    again = save_official(tmp_path / 'again', opened.model, folder)
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_trained_weights_are_saved_and_the_unused_ones_stay(write, tmp_path):
    """A changed weight is written, in the dtype that the source has."""
    folder = write()
    opened = open_checkpoint(folder)
    opened.model.projector.fc3.bias.fill_(0.5)
    again = load_file(save_official(tmp_path / 'again', opened.model, folder)
                      / 'model.safetensors')
    for name, tensor in tiny_official_weights().items():
        expected = torch.full_like(tensor, 0.5) if name == 'projector.fc3.bias' else tensor
        assert torch.equal(again[name], expected), name


def test_an_official_model_can_be_saved_in_our_format(write, tmp_path):
    """The same weights and config open from a folder of ours, where pruning can go on."""
    opened = open_checkpoint(write(), dtype=torch.bfloat16)
    ours = save_checkpoint(tmp_path / 'ours', opened.model, opened.tokenizer,
                           tiny_official_config()['norm_stats'], {})
    again = open_checkpoint(ours, dtype=torch.bfloat16)
    assert again.summary.config == opened.summary.config
    assert all(torch.equal(one, other) for one, other in zip(
        opened.model.state_dict().values(), again.model.state_dict().values()))


def test_our_own_format_is_not_saved_in_the_official_layout(write, tmp_path):
    """A folder that is not official says which function to use."""
    opened = open_checkpoint(write())
    ours = save_checkpoint(tmp_path / 'ours', opened.model, opened.tokenizer,
                           tiny_official_config()['norm_stats'], {})
    with pytest.raises(CheckpointError, match=r'use save_checkpoint\(\)'):
        save_official(tmp_path / 'again', opened.model, ours)


@pytest.mark.slow
def test_opening_takes_little_more_memory_than_the_weights():
    """With 2 GiB in shards, the peak stays within 1.15 of the weights, torch itself included."""
    script = Path(__file__).parents[2] / 'scripts' / 'measure_opening.py'
    result = subprocess.run([sys.executable, str(script), '--gib', '2', '--dtype', 'bfloat16'],
                            capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured['on_disk'] >= 2 * 2**30
    assert measured['opening'] <= 1.15, measured
    assert measured['process'] <= 1.15, measured
