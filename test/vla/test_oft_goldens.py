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
The golden OpenVLA-OFT, opened as an official folder, gives the official code's numbers.

Tolerances are the goldens' own: 1e-4 absolute, losses 1e-5 and gradients 1e-4 relative, token ids
exact. RLRC_SHOW_TOLERANCES=1 prints what is reached.
"""

import json
import os

import numpy as np
from official_folders import golden, GOLDEN_INSTRUCTION, golden_oft_folder
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import images, parallel, prompt
from rlrc_ros.vla.actions import NormStats
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_ros.vla.policy import Policy
from rlrc_training.oft import oft_loss, OftBatch
import torch

CAMERAS = ('image', 'wrist')
KEYS = ('tiny_ds', 'nomask_ds')
VARIANTS = [(cameras, proprio) for cameras in (1, 2) for proprio in (True, False)]


def _near(ours, theirs, what: str, relative: float = 0.0, absolute: float = 1e-4) -> None:
    """Compare, relative to the array's largest, and print what was reached where asked."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    off, largest = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if os.environ.get('RLRC_SHOW_TOLERANCES'):
        print(f'{what}: {off:.1e} absolute, {off / max(largest, 1e-30):.1e} of its largest')
    assert off <= (relative * largest if relative else absolute), what


@pytest.fixture(scope='module')
def arrays() -> dict[str, np.ndarray]:
    """Return the golden inputs, and what the official code computed from them."""
    found = {}
    for name in ('inputs', 'reference', 'training'):
        found |= dict(np.load(golden('oft_a') / f'{name}.npz'))
    return found


@pytest.fixture(scope='module')
def opened(tmp_path_factory):
    """Return a function that opens the golden folder of a variant, once."""
    known = {}

    def open_variant(cameras: int, proprio: bool, head: str = 'l1', **own):
        key = (cameras, proprio, head, *own.items())
        if key not in known:
            folder = tmp_path_factory.mktemp('oft') / 'folder'
            golden_oft_folder(folder, CAMERAS[:cameras], proprio, head, **own)
            known[key] = open_checkpoint(folder)
        return known[key]
    return open_variant


@pytest.mark.parametrize('normalisation', ['bounds_q99', 'bounds'])
def test_a_folder_says_how_its_actions_are_normalised(opened, arrays, normalisation):
    """Its own key chooses between percentiles and least and greatest."""
    policy = Policy(opened(2, False, normalisation=normalisation), 'tiny_ds')
    _near(policy.predict([_seen(arrays, 2, False)])[0],
          arrays[f'img2_noproprio::actions::{normalisation}::tiny_ds'], f'folder {normalisation}')


def _seen(arrays, cameras: int, proprio: bool) -> Observation:
    return Observation(
        arrays['image0'], GOLDEN_INSTRUCTION, arrays['proprio_raw'] if proprio else None,
        extra_images={'wrist': arrays['image1']} if cameras == 2 else {})


@pytest.mark.parametrize(('cameras', 'proprio'), VARIANTS)
def test_the_pass_equals_the_official_one_stage_by_stage(opened, arrays, cameras, proprio):
    """Pixels, patches, state token, hidden states and the slots read one position early."""
    name = f'img{cameras}_{"" if proprio else "no"}proprio'
    theirs = {key.partition('::')[2]: each for key, each in arrays.items()
              if key.startswith(f'{name}::')}
    policy = Policy(opened(cameras, proprio), 'tiny_ds')
    model, seen = policy._model, [_seen(arrays, cameras, proprio)]
    decoder, kept, layers = model.language_model.model, [], []
    hooks = [decoder.register_forward_hook(lambda module, inputs, output: kept.append(output)),
             *(layer.register_forward_pre_hook(lambda module, inputs: layers.append(inputs[0]))
               for layer in decoder.layers)]
    with torch.no_grad():
        pixels, state = policy._pixels(policy._prepared(seen)), policy._proprio(seen)
        ids, lengths = prompt.pad([policy._encode(GOLDEN_INSTRUCTION)], 32000)
        patches = model.encode_image(pixels)
        states = parallel.action_states(model, pixels, ids, lengths, state)
        if proprio:
            _near(pixels[:, :, ::8, ::8], theirs['pixel_values_sub8'], f'{name} pixels')
            features = model.vision_backbone(pixels.reshape(cameras, 6, 224, 224)).flatten(0, 1)
            _near(features, theirs['vision_features'], f'{name} vision features')
            _near(patches[0], theirs['projected_patches'], f'{name} projected patches')
            _near(model.proprio_projector(state)[0], theirs['proprio_token'],
                  f'{name} proprio token')
            assert ids[0].tolist() == theirs['full_input_ids'][0, :ids.shape[1]].tolist()
    for hook in hooks:
        hook.remove()
    start = model.config.context_tokens + len(ids[0]) - 1
    assert start == theirs['action_hidden_start']
    _near(kept[0][0, [0, 1, -1]], theirs['hidden_first_last'], f'{name} first and last states')
    _near(torch.cat([each[0, start][None] for each in (*layers, kept[0])]),
          theirs['hidden_layers_at_first_action_pos'], f'{name} each layer')
    _near(states[0, :-1], theirs['action_hidden_states'], f'{name} action states')
    _near(parallel.regress(model, states)[0].detach(), theirs['normalized_actions'],
          f'{name} normalised actions')


@pytest.mark.parametrize('key', KEYS)
@pytest.mark.parametrize('normalisation', ['bounds_q99', 'bounds'])
@pytest.mark.parametrize(('cameras', 'proprio'), VARIANTS)
def test_a_policy_predicts_the_official_chunks(
        opened, arrays, cameras, proprio, normalisation, key):
    """From raw images, sentence and state to actions; the state scaled by percentiles."""
    name = f'img{cameras}_{"" if proprio else "no"}proprio'
    policy = Policy(opened(cameras, proprio), 'tiny_ds')
    normalised = policy.predict_normalised([_seen(arrays, cameras, proprio)])[0]
    entry = json.loads((golden('oft_a') / 'dataset_statistics.json').read_text())[key]
    stats = NormStats.from_json(entry, 'action', normalisation, 1e-8)
    _near(stats.unnormalise(normalised), arrays[f'{name}::actions::{normalisation}::{key}'],
          f'{name} actions {normalisation} {key}')


@pytest.mark.parametrize(('cameras', 'proprio'), VARIANTS)
def test_a_policy_answers_as_get_vla_action(opened, arrays, cameras, proprio):
    """The whole path gives the official function's eight actions, as an ActionChunk."""
    name = f'img{cameras}_{"" if proprio else "no"}proprio'
    chunk = Policy(opened(cameras, proprio), 'tiny_ds').act(_seen(arrays, cameras, proprio))
    _near([action.to_vector() for action in chunk.actions],
          arrays[f'{name}::actions_via_get_vla_action'], f'{name} get_vla_action')


@pytest.mark.parametrize(('cameras', 'proprio'), VARIANTS)
def test_the_discrete_head_gives_the_official_tokens(opened, arrays, cameras, proprio):
    """Every slot's most likely token, its scores over the action ids, and the actions."""
    name = f'img{cameras}_{"" if proprio else "no"}proprio'
    policy = Policy(opened(cameras, proprio, 'discrete'), 'tiny_ds')
    seen, model = [_seen(arrays, cameras, proprio)], policy._model
    with torch.no_grad():
        ids, lengths = prompt.pad([policy._encode(GOLDEN_INSTRUCTION)], 32000)
        states = parallel.action_states(
            model, policy._pixels(policy._prepared(seen)), ids, lengths, policy._proprio(seen))
        _near(model.action_logits(states[0, :-1]), arrays[f'{name}::discrete::logits_action_ids'],
              f'{name} logits', absolute=3e-4)  # of 10; processors round differently
        assert (parallel.most_likely_ids(model, states)[0].tolist()
                == arrays[f'{name}::discrete::token_ids'].tolist())
    _near(policy.predict(seen)[0], arrays[f'{name}::discrete::actions'],
          f'{name} discrete actions', absolute=1e-9)


@pytest.mark.parametrize('key', KEYS)
@pytest.mark.parametrize('normalisation', ['bounds_q99', 'bounds'])
def test_states_are_normalised_as_officially(arrays, normalisation, key):
    """Clipped to [-1, 1], a state that never changed included."""
    entry = json.loads((golden('oft_a') / 'dataset_statistics.json').read_text())[key]
    stats = NormStats.from_json(entry, 'proprio', normalisation)
    _near(stats.normalise_state(arrays['proprio_raw']),
          arrays[f'proprio_normalized::{normalisation}::{key}'],
          f'proprio {normalisation} {key}', absolute=1e-12)


@pytest.mark.parametrize('part', ['action', 'proprio'])
@pytest.mark.parametrize('normalisation', ['bounds_q99', 'bounds'])
def test_training_data_is_normalised_as_officially(normalisation, part):
    """As RLDS does it: in training a number that never changed becomes 0."""
    theirs = dict(np.load(golden('oft_a') / 'dataset_normalization.npz'))
    entry = {part: {name: theirs[f'stats::{part}::{name}']
                    for name in ('q01', 'q99', 'min', 'max', 'mask')
                    if f'stats::{part}::{name}' in theirs}}
    stats = NormStats.from_json(entry, part, normalisation)
    _near(stats.normalise(theirs[part]), theirs[f'{normalisation}::{part}'],
          f'training {part} {normalisation}', absolute=1e-6)


def _batch(model, arrays, cameras: int) -> OftBatch:
    """Return the golden batch: the second row has the longer prompt and the images reversed."""
    first = [arrays['image0'], arrays['image1']][:cameras]
    second = [arrays['image1'], arrays['image0']][:cameras]
    pixels = images.to_pixels(torch.from_numpy(np.stack([*first, *second])), model.config.towers)
    ids, lengths = prompt.pad([[*arrays[name].ravel().tolist(), 29871]
                               for name in ('input_ids_prompt', 'input_ids2')], 32000)
    return OftBatch(pixels.reshape(2, -1, 224, 224), ids, lengths,
                    torch.from_numpy(arrays['train::actions']),
                    torch.from_numpy(arrays['train::proprio']))


@pytest.mark.parametrize('head', ['l1', 'discrete'])
@pytest.mark.parametrize('cameras', [1, 2])
def test_loss_and_gradients_equal_the_official_ones(opened, arrays, cameras, head):
    """Two prompts of different length, padded; loss, metrics, gradients, and who gets none."""
    model = opened(cameras, True, head).model
    name = f'train::img{cameras}::{head}'
    model.requires_grad_(True)
    try:
        loss = oft_loss(model, _batch(model, arrays, cameras))
        loss.total.backward()
        gradients = {key: each.grad for key, each in model.named_parameters()}
    finally:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)
    _near(loss.total.item(), arrays[f'{name}::loss'], f'{name} loss', relative=1e-5)
    for kind, ours in (('curr_action', loss.current_l1), ('next_actions', loss.next_l1)):
        _near(ours.item(), arrays[f'{name}::metric::{kind}_l1_loss'], f'{name} {kind} l1',
              relative=1e-5)
    if head == 'l1':
        _near(loss.predicted, arrays[f'{name}::predicted_actions'], f'{name} predicted')
    compared = 0
    for key, theirs in arrays.items():
        if key.startswith(f'{name}::grad'):
            part = key.rpartition('::')[2].removeprefix('vla.')
            ours = gradients[part]
            _near(ours.norm() if '::grad_norm::' in key else ours, theirs, key, relative=1e-4)
            compared += 1
    assert compared >= 9
    lacking = {key for key, each in gradients.items() if each is None}
    assert lacking == ({'language_model.lm_head.weight'} if head == 'l1' else set())
    official = {str(key).removeprefix('vla.') for key in arrays[f'{name}::params_without_grad']}
    assert lacking == official & gradients.keys()
