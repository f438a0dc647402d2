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

"""Quantised folders: what is said to be exact is, they open like any other, and are checked."""

import json

import numpy as np
from official_folders import tiny_official_folder, tiny_official_weights
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import quantized
from rlrc_ros.vla.checkpoint import (
    CheckpointError,
    inspect,
    open_checkpoint,
    refuse_quantized,
    save_checkpoint,
)
from rlrc_ros.vla.config import QuantizationConfig
from rlrc_ros.vla.description import describe, weights_on_gpu
from rlrc_ros.vla.linear import Int4Linear
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.quantized import linear_layers
from rlrc_training.quantize import quantize, quantize_model, QuantizeConfig
from safetensors.torch import load_file, save_file
from synthetic_demos import make_demonstrations
from tiny_vla import DATASET, make_tiny_checkpoint, tiny_statistics
import torch

PLAIN = {'decoder': 'bf16', 'head': 'bf16', 'vision': 'bf16', 'projector': 'bf16'}


@pytest.fixture
def folder(tmp_path):
    """Return a fresh tiny checkpoint."""
    return make_tiny_checkpoint(tmp_path / 'tiny')


def _quantize(folder, out, **options):
    return quantize(QuantizeConfig(folder, out, group_size=32, **options))


def _seen(size: int = 64) -> list[Observation]:
    rng = np.random.default_rng(3)
    return [Observation(rng.integers(0, 255, (size, size, 3)).astype(np.uint8), words)
            for words in ('put can on blue plate', 'wave', 'put bread on white plate')]


def _same_answers(first: Policy, second: Policy) -> None:
    """Check that ids, log-probabilities and hidden states are equal bit for bit."""
    decoded = []
    for policy in (first, second):
        model = policy._model
        kept, act = [], model.act

        def keep(*args, kept=kept, act=act):
            kept.append(act(*args))
            return kept[-1]
        model.act = keep
        policy.predict(_seen())
        decoded.append(kept[0])
    for name in ('action_ids', 'action_logprobs', 'first_hidden'):
        assert torch.equal(getattr(decoded[0], name), getattr(decoded[1], name)), name


@pytest.mark.parametrize(('action_head', 'host_embeddings'),
                         [(True, False), (False, True), (True, True)])
def test_the_cut_head_and_the_table_on_the_host_are_exact(
        folder, tmp_path, action_head, host_embeddings):
    """Each changes no bit of what the policy answers, and takes off the bytes that it says."""
    out = _quantize(folder, tmp_path / 'lean', **PLAIN, action_head=action_head,
                    host_embeddings=host_embeddings)
    _same_answers(Policy.open(folder, 'cpu'), Policy.open(out, 'cpu'))
    head = load_file(out / 'model.safetensors')['language_model.lm_head.weight']
    config = inspect(folder).config
    assert len(head) == (config.action.bins if action_head else config.decoder.vocab_size)
    saved = weights_on_gpu(inspect(folder)) - weights_on_gpu(inspect(out))
    rows = config.decoder.vocab_size - config.action.bins
    assert saved == 2 * config.decoder.hidden_size * rows * (action_head + host_embeddings)


def test_dropping_dead_blocks_is_exact(tmp_path):
    """An official folder's dead ViT blocks change nothing, and the quantised one lacks them."""
    weights = tiny_official_weights()
    official = tiny_official_folder(tmp_path / 'official', weights=weights)
    out = _quantize(official, tmp_path / 'lean', **PLAIN)
    stored = load_file(out / 'model.safetensors')
    dead = weights.keys() - stored.keys()
    assert {name.split('.')[2] for name in dead} == {'blocks', 'norm', 'attn_pool'}
    assert sum(weights[name].numel() for name in dead) == inspect(official).unused_parameters
    _same_answers(Policy.open(official, 'cpu'), Policy.open(out, 'cpu'))


def test_rows_of_the_action_ids_are_the_tables(folder, tmp_path):
    """Decoding looks up the same embeddings on the device as the host's table holds."""
    model = open_checkpoint(_quantize(folder, tmp_path / 'lean', **PLAIN)).model
    config, table = model.config, model.language_model.model.embed_tokens
    ids = torch.arange(config.action.lowest_id, config.action.vocab_end)
    table.action_rows = table.action_rows + 1.0  # so that the answer shows where it comes from
    assert torch.equal(model.embed_actions(ids), table.weight[ids] + 1.0)


@pytest.mark.parametrize('scheme', ['int4', 'int8'])
def test_a_quantised_folder_answers_as_its_dequantised_weights(folder, tmp_path, scheme):
    """Packed kernels give what a dense policy with the same rounded weights gives."""
    options = {'decoder': scheme, 'head': scheme, 'vision': scheme, 'projector': scheme}
    out = _quantize(folder, tmp_path / 'q', **options)
    source = open_checkpoint(folder)
    stored = quantize_model(source.model, inspect(out).config.quantization, 'hqq')
    dense = open_checkpoint(folder).model
    low = dense.config.action.lowest_id
    for name, _, layer in linear_layers(stored):
        weight = dense.get_submodule(name).weight.data
        weight[low if name.endswith('lm_head') else 0:] = layer.dequantize()
    pixels, ids = torch.randn(2, 6, 64, 64), torch.randint(0, 300, (2, 12))
    where = torch.arange(5, 12).expand(2, -1)
    wanted, found = (model.action_logits(model(pixels, ids, where)).detach()
                     for model in (dense, open_checkpoint(out).model))
    wanted, found = (each - each.mean(-1, keepdim=True) for each in (wanted, found))
    assert float((found - wanted).norm() / wanted.norm()) < 2e-2


@pytest.mark.parametrize('rounding', ['hqq', 'gptq'])
def test_a_stem_is_stored_in_few_bits(folder, tmp_path, monkeypatch, rounding):
    """Its larger convolutions answer as such with the rounded weights, and take fewer bytes."""
    monkeypatch.setattr(quantized, 'STEM_INPUTS', 100)  # tiny's last one has 144
    data = make_demonstrations(tmp_path / 'demos') if rounding == 'gptq' else None
    towers = [_quantize(folder, tmp_path / f'q{stem}', vision='int4', stem=stem, data=data,
                        rounding=rounding, calibration_frames=4, fidelity_frames=4)
              for stem in (False, True)]
    assert inspect(towers[1]).weight_bytes < inspect(towers[0]).weight_bytes
    assert inspect(towers[1]).parts == inspect(towers[0]).parts
    opened, dense = (open_checkpoint(each).model for each in (towers[1], folder))
    stems = [name.removesuffix('.linear') for name, _, _ in linear_layers(opened)
             if 'patch_embed' in name]
    assert len(stems) == 2
    tensors = load_file(towers[1] / 'model.safetensors')
    for name in stems:
        conv = dense.get_submodule(name)
        layer = Int4Linear(144, len(conv.weight), True, 32)
        layer.load_state_dict({key.rpartition('.')[2]: each for key, each in tensors.items()
                               if key.startswith(f'{name}.linear.')})
        conv.weight.data = layer.dequantize().view_as(conv.weight)
        x = torch.randn(1, conv.in_channels, 8, 6)
        wanted, found = conv(x), opened.get_submodule(name)(x)
        assert found.shape == wanted.shape
        assert float((found - wanted).norm() / wanted.norm()) < 2e-2


def test_a_table_of_bytes_answers_as_its_rounded_rows(folder, tmp_path):
    """On the host and on the device alike; what it stands for is counted, not its bytes."""
    plain, small = (_quantize(folder, tmp_path / each, **PLAIN, embeddings=each)
                    for each in ('bf16', 'int8'))
    rows, width = (inspect(folder).config.decoder.vocab_size,
                   inspect(folder).config.decoder.hidden_size)
    assert inspect(plain).bf16_bytes['embeddings'] == 2 * rows * width
    assert inspect(small).bf16_bytes['embeddings'] == rows * (width + 2)
    assert inspect(small).parts == inspect(plain).parts
    assert 'embeddings int8 on the host' in ' '.join(describe(inspect(small)).values())
    dense, opened = open_checkpoint(folder).model, open_checkpoint(small).model
    table = opened.language_model.model.embed_tokens
    weight = dense.language_model.model.embed_tokens.weight.data
    scale = table.weight_scale.float()[:, None]
    assert float(((weight - table.weight_int8 * scale).abs() / scale).max()) < 0.51
    weight.copy_(table.weight_int8 * scale)
    pixels, ids = torch.randn(2, 6, 64, 64), torch.randint(0, 300, (2, 12))
    where = torch.arange(5, 12).expand(2, -1)
    wanted, found = (model.action_logits(model(pixels, ids, where)) for model in (dense, opened))
    assert torch.allclose(found, wanted, atol=1e-5)
    eager, fast = (Policy.open(small, 'cpu', runtime=each) for each in ('eager', 'fast'))
    for seen in _seen():
        vectors = [policy.act(seen).actions[0].to_vector() for policy in (eager, fast)]
        assert np.allclose(*vectors)


def test_a_prefill_in_bf16_keeps_both(folder, tmp_path):
    """The decoder has its dense copy, nothing else has, and the description counts it."""
    packed = _quantize(folder, tmp_path / 'a', vision='int4')
    both = _quantize(folder, tmp_path / 'b', vision='int4', prefill='bf16')
    model = open_checkpoint(both).model
    kept = {part: layer.dense is not None for _, part, layer in linear_layers(model)
            if part != 'head' and part != 'projector'}
    assert kept == {'decoder': True, 'vision': False}
    copies = sum(layer.dense.numel() for _, part, layer in linear_layers(model)
                 if part == 'decoder')
    more = weights_on_gpu(inspect(both)) - weights_on_gpu(inspect(packed))
    assert copies * 2 <= more <= copies * 2 * 1.02
    bytes_open = [Policy.open(each, 'cpu').weight_bytes for each in (packed, both)]
    assert bytes_open[1] - bytes_open[0] == copies * 2
    assert np.isfinite(Policy.open(both, 'cpu').predict(_seen())).all()


def test_a_folder_that_is_not_quantised_says_nothing_of_it(folder):
    """config.json stays readable by versions that know no quantisation."""
    assert 'quantization' not in json.loads((folder / 'config.json').read_text())
    assert 'quantised' not in ''.join(describe(inspect(folder)))


def test_a_quantised_folder_is_described(folder, tmp_path):
    """`rlrc doctor` says in words what each part is stored in and what stays on the host."""
    out = _quantize(folder, tmp_path / 'q', vision='int8')
    line = describe(inspect(out))['  quantised']
    for words in ('decoder int4 in groups of 32', 'vision int8', 'embeddings on the host'):
        assert words in line
    assert inspect(out).parts['decoder'] == inspect(folder).parts['decoder']
    assert inspect(out).weight_bytes < inspect(folder).weight_bytes


def _edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(('field', 'value', 'words'), [
    ('decoder', 'int3', "'int3'.*int4"), ('group_size', 100, '100.*32, 64, 128, 256'),
    ('prefill', 'fp8', "'fp8'.*packed"), ('action_head', 1, 'true or false'),
    ('stem', True, 'vision.*int8'), ('embeddings', 'int4', "'int4'.*bf16, int8"),
    ('colour', 'red', 'colour')])
def test_a_strange_record_is_refused(folder, tmp_path, field, value, words):
    """A scheme, size or field that is not known is named before weights are read."""
    out = _quantize(folder, tmp_path / 'q')
    _edit(out / 'config.json', lambda document: document['quantization'].update({field: value}))
    with pytest.raises(CheckpointError, match=words):
        inspect(out)


def test_weights_of_another_group_size_or_type_are_refused(folder, tmp_path):
    """Shapes and integer types are compared with what the record says."""
    out = _quantize(folder, tmp_path / 'q')
    _edit(out / 'config.json', lambda document: document['quantization'].update(group_size=64))
    with pytest.raises(CheckpointError, match='weight_'):
        inspect(out)
    _edit(out / 'config.json', lambda document: document['quantization'].update(group_size=32))
    tensors = load_file(out / 'model.safetensors')
    name = next(name for name in tensors if name.endswith('weight_int4'))
    save_file({**tensors, name: tensors[name].view(torch.int8)}, out / 'model.safetensors')
    with pytest.raises(CheckpointError, match='I8.*U8'):
        inspect(out)


def test_a_quantised_model_is_not_saved_or_trained(folder, tmp_path):
    """An opened one has only packed weights; what may follow what is said."""
    out = _quantize(folder, tmp_path / 'q')
    opened = open_checkpoint(out)
    with pytest.raises(ValueError, match='packed'):
        save_checkpoint(tmp_path / 'again', opened.model, opened.tokenizer, tiny_statistics(), {})
    assert not (tmp_path / 'again').exists()
    assert not list(tmp_path.glob('.*'))
    with pytest.raises(CheckpointError, match='prune, sft, rl, quantize.*tiny'):
        refuse_quantized(opened.summary, 'sft')
    assert refuse_quantized(inspect(folder), 'sft').config.quantization is None
    assert DATASET in opened.summary.norm_stats


def test_a_record_is_read_back(folder, tmp_path):
    """What config.json says is what was asked for."""
    out = _quantize(folder, tmp_path / 'q', projector='int8', host_embeddings=False)
    assert inspect(out).config.quantization == QuantizationConfig(
        'int4', 'bf16', 'bf16', 'int8', 32, True, False, 'packed')
