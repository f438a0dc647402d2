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
Parallel decoding at other shapes than the golden one, against slow formulations of its own.

The oracle runs Hugging Face's LLaMA on one row at a time, on a sequence that is put together token
by token, and the head is a loop over actions.
"""

import json

import numpy as np
import pytest
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.types import Observation
from rlrc_ros.vla import parallel, prompt
from rlrc_ros.vla.actions import NormStats
from rlrc_ros.vla.checkpoint import Checkpoint, CheckpointError, inspect, open_checkpoint
from rlrc_ros.vla.config import ConfigError, ParallelConfig, VlaConfig
from rlrc_ros.vla.description import describe
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.policy import Policy
from rlrc_training.oft import oft_loss, OftBatch
from rlrc_training.presets import preset
from tiny_vla import make_tiny_checkpoint, make_tiny_oft_checkpoint, tiny_oft_config
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel

ALOHA = {'horizon': 25, 'dim': 14, 'proprio_dim': 14,
         'cameras': ('image', 'left_wrist', 'right_wrist')}
SHAPES = [ALOHA, {'horizon': 5, 'dim': 7}, {'horizon': 1, 'dim': 3, 'proprio_dim': 2},
          {'horizon': 6, 'dim': 9, 'cameras': ('image', 'wrist')}]


def _model(**shape) -> Vla:
    model = Vla(tiny_oft_config(preset('tiny')[0], **shape))
    model.initialise(torch.Generator().manual_seed(1))
    return model.eval()


def _inputs(model: Vla, rows: int = 2) -> OftBatch:
    """Return a random batch whose prompts differ in length."""
    config, draw = model.config, torch.Generator().manual_seed(2)
    prompts = [[1, *torch.randint(4, 380, (7 + 5 * row,), generator=draw).tolist(),
                config.action.prefix_token_id] for row in range(rows)]
    ids, lengths = prompt.pad(prompts, config.pad_token_id)
    proprio = torch.randn(rows, config.proprio_dim, generator=draw) if config.proprio_dim else None
    return OftBatch(
        torch.randn(rows, 6 * len(config.cameras), 64, 64, generator=draw), ids, lengths,
        torch.rand(rows, config.action.horizon, config.action.dim, generator=draw) * 2 - 1,
        proprio)


def _oracle_llama(model: Vla) -> LlamaModel:
    decoder = model.config.decoder
    llama = LlamaModel(LlamaConfig(
        vocab_size=decoder.vocab_size, hidden_size=decoder.hidden_size,
        intermediate_size=decoder.layers[0].intermediate_size,
        num_hidden_layers=len(decoder.layers), num_attention_heads=decoder.layers[0].num_heads,
        rms_norm_eps=decoder.rms_norm_eps, rope_theta=decoder.rope_theta,
        attn_implementation='eager')).eval()
    llama.load_state_dict(model.language_model.model.state_dict())
    return llama


def _oracle(model: Vla, batch: OftBatch, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one row's normalised actions (T, A) and likeliest tokens (T x A,)."""
    config, llama = model.config, _oracle_llama(model)
    ids = batch.input_ids[row, :batch.lengths[row]].tolist()
    embed = llama.embed_tokens.weight
    sequence = [embed[ids[0]]]
    for camera in range(len(config.cameras)):
        picture = batch.pixels[row:row + 1, 6 * camera:6 * camera + 6]
        sequence += list(model.projector(model.vision_backbone(picture))[0])
    if config.proprio_dim:
        first, second = model.proprio_projector.fc1, model.proprio_projector.fc2
        x = functional.gelu(batch.proprio[row] @ first.weight.T + first.bias)
        sequence.append(x @ second.weight.T + second.bias)
    sequence += [embed[token] for token in ids[1:]]
    begin = len(sequence) - 1
    slots = config.action.horizon * config.action.dim
    sequence += [torch.zeros_like(embed[0])] * slots + [embed[config.eos_token_id]]
    nothing_hidden = torch.zeros(1, 1, len(sequence), len(sequence))  # an additive mask
    states = llama(inputs_embeds=torch.stack(sequence)[None],
                   attention_mask=nothing_hidden).last_hidden_state[0, begin:begin + slots]
    net, actions = model.action_head.model, []
    for step in range(config.action.horizon):
        own = states[step * config.action.dim:(step + 1) * config.action.dim]
        x = functional.relu(net.fc1(net.layer_norm1(torch.cat(list(own)))))
        for block in net.mlp_resnet_blocks:
            norm, linear, _ = block.ffn
            x = x + functional.relu(linear(norm(x)))
        actions.append(net.fc2(net.layer_norm2(x)))
    scores = torch.stack([model.language_model.lm_head.weight @ state for state in states])
    return torch.stack(actions), scores.argmax(-1)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@torch.no_grad()
def test_every_shape_equals_the_oracle(shape):
    """Cameras, chunk, action and state of any size; a padded row is as if it were alone."""
    model = _model(**shape)
    batch = _inputs(model)
    states = parallel.action_states(
        model, batch.pixels, batch.input_ids, batch.lengths, batch.proprio)
    ours, ids = parallel.regress(model, states), parallel.most_likely_ids(model, states)
    for row in range(2):
        theirs, tokens = _oracle(model, batch, row)
        torch.testing.assert_close(ours[row], theirs, atol=1e-5, rtol=0)
        assert ids[row].tolist() == tokens.tolist()
    assert ours.shape == batch.actions.shape
    assert not torch.allclose(ours[0], ours[1], atol=1e-3), 'the inputs must matter'


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_the_loss_and_its_gradients_equal_the_oracles(shape):
    """Over a padded batch, against the mean of absolute errors of rows that are run alone."""
    model = _model(**shape)
    batch = _inputs(model)
    loss = oft_loss(model, batch)
    loss.total.backward()
    ours = {name: each.grad.clone() for name, each in model.named_parameters()
            if each.grad is not None}
    errors = torch.stack([
        (_oracle(model, batch, row)[0] - batch.actions[row]).abs() for row in range(2)])
    assert loss.total.item() == pytest.approx(errors.mean().item(), rel=1e-5)
    assert loss.current_l1.item() == pytest.approx(errors[:, 0].mean().item(), rel=1e-5)
    model.zero_grad(set_to_none=True)
    errors.mean().backward()
    for name in ('action_head.model.fc1.weight', 'projector.fc1.weight',
                 'vision_backbone.featurizer.pos_embed'):
        theirs = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(ours[name], theirs, atol=1e-4 * theirs.abs().max(), rtol=0)


def test_it_does_not_decode_token_after_token():
    """A causal pass through a model trained otherwise would answer, and wrongly."""
    model = _model(horizon=2, dim=7)
    batch = _inputs(model)
    with pytest.raises(ValueError, match='decodes in parallel'):
        model.act(batch.pixels, batch.input_ids, batch.lengths)


def test_an_empty_slot_carries_no_embedding_and_padding_is_not_seen():
    """Neither the pad id nor what its embedding holds changes an answer."""
    model = _model(horizon=3, dim=7)
    batch = _inputs(model)
    with torch.no_grad():
        before = parallel.action_states(model, batch.pixels, batch.input_ids, batch.lengths)
        model.language_model.model.embed_tokens.weight[model.config.pad_token_id] = 50.0
        after = parallel.action_states(model, batch.pixels, batch.input_ids, batch.lengths)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


def test_the_discrete_loss_is_the_cross_entropy_of_each_slot_and_the_end():
    """Slot by slot, by hand: the negative log-probability of the right id."""
    model = _model(horizon=2, dim=3, head='discrete')
    batch = _inputs(model)
    states = parallel.action_states(model, batch.pixels, batch.input_ids, batch.lengths)
    total = 0.0
    for row in range(2):
        numbers = [*batch.actions[row].flatten().tolist(), None]
        for state, number in zip(states[row], numbers, strict=True):
            scores = (model.language_model.lm_head.weight @ state).double()
            bin_number = 0 if number is None else 1 + int((number + 1) / 2 * 255)
            wanted = (model.config.eos_token_id if number is None
                      else model.config.action.vocab_end - bin_number)
            total += -(scores[wanted] - scores.logsumexp(0)).item() / 14
    assert oft_loss(model, batch).total.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(('change', 'words'), [
    ({'actions': torch.zeros(2, 4, 7)}, r'\(2, 5, 7\), got \(2, 4, 7\)'),
    ({'actions': torch.zeros(2, 5, 6)}, r'\(2, 5, 7\), got \(2, 5, 6\)'),
    ({'proprio': torch.zeros(2, 9)}, r'\(2, 8\), got \(2, 9\)'),
    ({'proprio': None}, r'\(2, 8\), got None')])
def test_a_batch_of_other_shapes_is_refused(change, words):
    """Chunk, action and state must have the model's sizes."""
    model = _model(horizon=5, dim=7, proprio_dim=8)
    fields = {**vars(_inputs(model)), **change}
    with pytest.raises(ValueError, match=words):
        oft_loss(model, OftBatch(**fields))


def test_the_loss_wants_a_model_that_decodes_in_parallel():
    """Token after token is trained elsewhere."""
    model = Vla(preset('tiny')[0])
    with pytest.raises(ValueError, match='rlrc_training.sft'):
        oft_loss(model, OftBatch(*[torch.zeros(1)] * 4))


# ------------------------------------------------------------------ folder and policy


def _seen(policy: Policy) -> Observation:
    rng, config = np.random.default_rng(0), policy.summary.config
    pictures = {name: rng.integers(0, 256, (64, 64, 3), np.uint8) for name in config.cameras}
    state = rng.normal(size=config.proprio_dim) if config.proprio_dim else None
    return Observation(pictures.pop('image'), 'put can on plate', state, extra_images=pictures)


@pytest.mark.parametrize('head', ['l1', 'discrete'])
def test_our_own_format_keeps_an_oft_policy(tmp_path, head):
    """Saved and opened, it is the same policy: head, cameras, state, chunk and statistics."""
    folder = make_tiny_oft_checkpoint(
        tmp_path / 'oft', 4, head=head, cameras=('image', 'wrist'), proprio_dim=8,
        proprio_layout='xyz_axis_angle_fingers', normalisation='bounds')
    summary = inspect(folder)
    assert summary.cameras == ('image', 'wrist')
    assert summary.reads_proprio
    assert summary.action_horizon == 4
    assert summary.norm_stats['tiny_data'].widened_by == 1e-8
    policy = Policy.open(folder, 'cpu')
    seen = _seen(policy)
    chunk = policy.act(seen)
    assert len(chunk.actions) == 4
    again = Policy.open(folder, 'cpu').act_batch([seen, seen])
    for one in again:
        np.testing.assert_allclose([each.to_vector() for each in one.actions],
                                   [each.to_vector() for each in chunk.actions], atol=1e-6)
    entry = json.loads((folder / 'dataset_statistics.json').read_text())['tiny_data']['action']
    numbers = policy.predict([seen])[0]
    assert numbers.shape == (4, 7)
    normalised = policy.predict_normalised([seen])[0]
    span = np.array(entry['max']) - np.array(entry['min']) + 1e-8
    by_hand = 0.5 * (normalised + 1) * span + entry['min']
    np.testing.assert_allclose(numbers[:, :6], by_hand[:, :6], atol=1e-12)
    np.testing.assert_allclose(numbers[:, 6], normalised[:, 6])


def test_each_camera_and_the_state_matter(tmp_path):
    """Another wrist image, cameras exchanged, another state: another answer."""
    policy = Policy.open(make_tiny_oft_checkpoint(
        tmp_path / 'oft', cameras=('image', 'wrist'), proprio_dim=7), 'cpu')
    seen = _seen(policy)
    wrist = seen.extra_images['wrist']
    answers = [policy.predict([each]) for each in (
        seen, Observation(seen.image, seen.instruction, seen.proprio,
                          extra_images={'wrist': 255 - wrist}),
        Observation(wrist, seen.instruction, seen.proprio, extra_images={'wrist': seen.image}),
        Observation(seen.image, seen.instruction, -seen.proprio, extra_images={'wrist': wrist}))]
    for index, one in enumerate(answers):
        for other in answers[index + 1:]:
            assert np.abs(one - other).max() > 1e-6


@pytest.mark.parametrize('change', [{'dim': 6}, {'dim': 14}])
def test_a_config_whose_actions_the_head_does_not_answer_is_refused(tmp_path, change):
    """Statistics and config say another number of dimensions than the head has."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft')
    document = json.loads((folder / 'config.json').read_text())
    document['action'] |= change
    (folder / 'config.json').write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match='7 action dimensions'):
        inspect(folder)
    statistics = {'one': {'action': {name: [0.0] * change['dim'] for name in ('q01', 'q99')}}}
    (folder / 'dataset_statistics.json').write_text(json.dumps(statistics))
    with pytest.raises(CheckpointError, match='action_head.model.* has shape'):
        inspect(folder)


@pytest.mark.parametrize(('spoil', 'words'), [
    ({'extra_images': {}}, "lacks 'wrist'; give it in extra_images"),
    ({'proprio': None}, r'shape \(8,\), got none'),
    ({'proprio': np.zeros(7)}, r'shape \(8,\), got \(7,\)'),
    ({'proprio': np.full(8, np.nan)}, r'finite robot state'),
    ({'extra_images': {'wrist': np.zeros((4, 4), np.uint8)}}, 'an image is uint8')])
def test_an_observation_that_lacks_something_is_refused(tmp_path, spoil, words):
    """Cameras by name, states by size and finiteness."""
    policy = Policy.open(make_tiny_oft_checkpoint(
        tmp_path / 'oft', cameras=('image', 'wrist'), proprio_dim=8), 'cpu')
    with pytest.raises(ValueError, match=words):
        policy.act(Observation(**{**vars(_seen(policy)), **spoil}))


def test_sampling_is_refused():
    """There is no distribution to sample a regressed action from."""
    model = _model(horizon=2, dim=7)
    summary = _Summary(model.config)
    policy = Policy(Checkpoint(summary, model, preset('tiny')[1]))
    with pytest.raises(ValueError, match='Use temperature 0'):
        policy.predict([_seen(policy)], temperature=0.5)


class _Summary:
    """What Policy reads of a summary, for a model that lies in no folder."""

    def __init__(self, config: VlaConfig) -> None:
        dim = config.action.dim
        self.config, self.unnorm_keys = config, ('one',)
        self.norm_stats = {'one': NormStats(-np.ones(dim), np.ones(dim), np.ones(dim, bool))}
        self.proprio_stats = {}


def test_a_chunk_of_fourteen_numbers_is_predicted_but_is_no_action_for_this_arm():
    """Two arms, as ALOHA has: predict() answers, act() refuses by name."""
    policy = Policy(Checkpoint(_Summary(_model(horizon=25, dim=14).config),
                               _model(horizon=25, dim=14), preset('tiny')[1]))
    assert policy.predict([_seen(policy)]).shape == (1, 25, 14)
    with pytest.raises(ValueError, match='an action has 7 numbers'):
        policy.act(_seen(policy))


def test_a_policy_warms_up_with_all_that_it_reads(tmp_path):
    """Blank pictures of every camera and a state of the right size."""
    policy = Policy.open(make_tiny_oft_checkpoint(
        tmp_path / 'oft', cameras=('image', 'a', 'b'), proprio_dim=3), 'cpu')
    assert policy.warm_up() > 0


def test_checkpoints_from_before_open_as_they_are(tmp_path):
    """A config.json without the field decodes token after token; one that is shipped is such."""
    folder = make_tiny_checkpoint(tmp_path / 'tiny')
    document = json.loads((folder / 'config.json').read_text())
    del document['parallel']
    (folder / 'config.json').write_text(json.dumps(document))
    assert open_checkpoint(folder).summary.config.parallel is None
    shipped = json.loads((shipped_checkpoint('nano') / 'config.json').read_text())
    assert 'parallel' not in shipped
    assert inspect(shipped_checkpoint('nano')).cameras == ('image',)


@pytest.mark.parametrize(('fields', 'words'), [
    ({'head': 'diffusion'}, "'diffusion' is not built; there are: l1, discrete"),
    ({'cameras': ('wrist',)}, "the first of them 'image'"),
    ({'cameras': ('image', 'image')}, 'different names'), ({'cameras': ()}, 'different names'),
    ({'proprio_dim': -1}, 'got -1'), ({'normalisation': 'normal'}, 'there are: bounds_q99'),
    ({'proprio_dim': 8, 'proprio_layout': 'joints_gripper'}, 'xyz_axis_angle_fingers'),
    ({'proprio_dim': 5, 'proprio_layout': 'mine'}, 'none of that length')])
def test_a_config_that_cannot_work_is_refused(fields, words):
    """By name, with the valid values."""
    with pytest.raises(ConfigError, match=words):
        ParallelConfig(**{'head': 'l1', **fields})


def test_statistics_without_states_are_refused_where_the_policy_reads_them(tmp_path):
    """Before weights are read; and so are states of another length."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft', proprio_dim=8)
    path = folder / 'dataset_statistics.json'
    statistics = json.loads(path.read_text())
    for words, length in (('8', 7), ('no proprio statistics', None)):
        if length:
            for name in ('q01', 'q99'):
                statistics['tiny_data']['proprio'][name] = [0.0] * length
        else:
            del statistics['tiny_data']['proprio']
        path.write_text(json.dumps(statistics))
        with pytest.raises(CheckpointError, match=words):
            inspect(folder)


def test_the_doctor_says_how_an_oft_policy_decodes(tmp_path):
    """Head, chunk, cameras, state and normalisation, and its parts by name."""
    lines = describe(inspect(make_tiny_oft_checkpoint(
        tmp_path / 'oft', cameras=('image', 'wrist'), proprio_dim=8)))
    for words in ('l1 head', '4 actions of 7 numbers', 'image, wrist', '8 numbers', 'bounds_q99'):
        assert words in lines['  decoding']
    assert 'action head' in lines['  parameters']
    assert 'proprio projector' in lines['  parameters']
