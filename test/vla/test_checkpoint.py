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

"""What a checkpoint folder keeps, and every way in which a wrong one is refused."""

import json

import numpy as np
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import images
from rlrc_ros.vla.checkpoint import CheckpointError, inspect, open_checkpoint
from rlrc_ros.vla.config import ImageConfig
from rlrc_ros.vla.policy import Policy
from safetensors.torch import load_file, save_file
from tiny_vla import DATASET, make_tiny_checkpoint
from tokenizers import Tokenizer
import torch


@pytest.fixture
def folder(tmp_path):
    """Return a fresh tiny checkpoint."""
    return make_tiny_checkpoint(tmp_path / 'tiny')


def _edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_saved_checkpoint_opens_with_the_same_weights(folder):
    """Every weight comes back bit for bit, in bf16 as it was written."""
    written = load_file(folder / 'model.safetensors')
    opened = open_checkpoint(folder, dtype=torch.bfloat16)
    for name, tensor in opened.model.state_dict().items():
        assert torch.equal(tensor, written[name]), name
    assert opened.summary.parameters == sum(each.numel() for each in written.values())
    assert opened.summary.provenance['stages'][0]['name'] == 'test'


def test_a_folder_written_before_image_options_opens_as_it_did(folder):
    """Fields that config.json gained later have defaults: squeeze, no crop, three layers."""
    before = inspect(folder).config

    def forget(document):
        del document['image'], document['projector_layers']
    _edit(folder / 'config.json', forget)
    assert open_checkpoint(folder).summary.config == before


def test_a_policy_answers_with_one_finite_action_for_any_words_and_any_size(folder):
    """Words that the tokenizer never saw and an image of another size are no obstacle."""
    policy = Policy.open(folder, device='cpu')
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    for instruction in ('put carrot on red plate', 'çà et là, 東京!', ''):
        chunk = policy.act(Observation(image, instruction))
        assert len(chunk.actions) == 1
        assert np.isfinite(chunk.actions[0].to_vector()).all()


def test_image_options_can_be_given_when_a_policy_opens(folder):
    """With center_crop asked for, the model sees the cropped image."""
    image = np.random.default_rng(2).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    asked = Policy.open(folder, device='cpu', image=ImageConfig(center_crop=True))
    plain = Policy.open(folder, device='cpu')
    cropped = Observation(images.center_crop(image), 'put can on red plate')
    seen = Observation(image, 'put can on red plate')
    np.testing.assert_array_equal(asked.predict([seen]), plain.predict([cropped]))
    assert not np.array_equal(images.center_crop(image), image)


def test_a_batch_answers_as_one_by_one(folder):
    """Observations answered together get the actions that they get alone."""
    policy = Policy.open(folder, device='cpu')
    rng = np.random.default_rng(1)
    seen = [Observation(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8), words)
            for words in ('put can on blue plate', 'wave', 'put golf ball on white plate')]
    together = [chunk.actions[0].to_vector() for chunk in policy.act_batch(seen)]
    alone = [policy.act(each).actions[0].to_vector() for each in seen]
    np.testing.assert_array_equal(together, alone)


def test_in_batches_of_one_size_an_answer_depends_on_nothing_beside_it(folder):
    """Whatever is in the batch, wherever it stands, however many they are."""
    policy, rng = Policy.open(folder, 'cpu'), np.random.default_rng(5)
    seen = [Observation(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), words)
            for words in ('put can on red plate', 'go', ' '.join(['lift it, then lower it'] * 9))
            for _ in range(3)]
    asked, predict = [], policy.predict
    policy.predict = lambda some, *rest: (asked.append(len(some)), predict(some, *rest))[1]
    whole = policy.act_batch(seen, rows=4)
    assert asked == [4, 4, 4], 'six short prompts, three long ones'
    for order in (rng.permutation(9), rng.permutation(9)[:5], [7]):
        for index, answer in zip(order, policy.act_batch([seen[i] for i in order], rows=4)):
            np.testing.assert_array_equal(
                answer.actions[0].to_vector(), whole[index].actions[0].to_vector())


def test_an_image_of_another_type_is_refused(folder):
    """A float image raises ValueError that names what came."""
    with pytest.raises(ValueError, match='float32'):
        Policy.open(folder, device='cpu').act(
            Observation(np.zeros((64, 64, 3), np.float32), 'x'))


def test_a_missing_folder_is_refused(tmp_path):
    """The error names the path."""
    with pytest.raises(CheckpointError, match='nowhere'):
        inspect(tmp_path / 'nowhere')


@pytest.mark.parametrize('name', ['config.json', 'model.safetensors', 'dataset_statistics.json'])
def test_a_missing_file_is_named(folder, name):
    """Without one of its files a folder is refused before weights are read."""
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        inspect(folder)


def test_a_missing_tokenizer_is_named(folder):
    """Without its tokenizer a folder is refused."""
    (folder / 'tokenizer.json').unlink()
    with pytest.raises(CheckpointError, match='tokenizer.json'):
        open_checkpoint(folder)


@pytest.mark.parametrize('keep', [0, 7, 200, -1000])
def test_truncated_weights_are_refused(folder, keep):
    """A file cut short anywhere is refused by inspect(), which reads no weights."""
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match='not a whole safetensors file'):
        inspect(folder)


def test_weights_of_another_shape_are_refused(folder):
    """The error names the tensor and both shapes."""
    weights = load_file(folder / 'model.safetensors')
    weights['projector.fc3.bias'] = weights['projector.fc3.bias'][:-1].clone()
    save_file(weights, folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match=r'projector.fc3.bias has shape \(63,\)'):
        inspect(folder)


def test_weights_with_other_names_are_refused(folder):
    """A tensor too few and one too many are both named."""
    weights = load_file(folder / 'model.safetensors')
    weights['stranger'] = weights.pop('projector.fc3.bias')
    save_file(weights, folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match='projector.fc3.bias.*stranger'):
        inspect(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    """A NaN weight is named when the checkpoint opens."""
    weights = load_file(folder / 'model.safetensors')
    weights['projector.fc3.bias'][0] = float('nan')
    save_file(weights, folder / 'model.safetensors')
    with pytest.raises(CheckpointError, match='projector.fc3.bias holds NaN'):
        open_checkpoint(folder)


@pytest.mark.parametrize(('change', 'words'), [
    (lambda config: config.update(model_type='llava'), "model_type 'llava'.*convert_openvla"),
    (lambda config: config.update(model_type='openvla'), 'do not fit its config.json'),
    (lambda config: config.update(format_version=2), 'format_version 2'),
    (lambda config: config.pop('decoder'), 'decoder'),
    (lambda config: config['action'].update(bins=100_000), '100000 action bins'),
    (lambda config: config['towers'][0].update(stem='fancy'), "stem 'fancy'"),
    (lambda config: config['towers'][1].update(image_size=63), 'image_size 63'),
    (lambda config: config['decoder'].update(vocab_size=10), 'vocabulary of 10'),
    (lambda config: config['decoder']['layers'][0].update(num_heads=0), 'at least one head'),
    (lambda config: config.update(prompt='In:'), 'must hold'),
])
def test_a_foreign_or_impossible_config_is_refused(folder, change, words):
    """The error carries the value that is wrong."""
    _edit(folder / 'config.json', change)
    with pytest.raises(CheckpointError, match=words):
        inspect(folder)


def test_a_config_that_is_no_json_is_refused(folder):
    """Garbage in config.json is named."""
    (folder / 'config.json').write_bytes(b'\x80\x04\x95garbage')
    with pytest.raises(CheckpointError, match='not readable JSON'):
        inspect(folder)


def test_statistics_of_another_robot_are_refused(folder):
    """Six action dimensions do not fit a model of seven."""
    def shorten(document):
        for name in ('q01', 'q99', 'mask'):
            document[DATASET]['action'][name].pop()
    _edit(folder / 'dataset_statistics.json', shorten)
    with pytest.raises(CheckpointError, match='6 action dimensions'):
        inspect(folder)


def test_data_sets_of_other_robots_may_stand_beside(folder):
    """A model of several robots opens where one fits; acting by the other's is refused."""
    def add(document):
        document['two arms'] = {'action': {'q01': [-1.0] * 14, 'q99': [1.0] * 14}}
    _edit(folder / 'dataset_statistics.json', add)
    assert inspect(folder).config.action.dim == 7
    policy = Policy.open(folder, device='cpu', unnorm_key=DATASET)
    seen = Observation(np.zeros((64, 64, 3), np.uint8), 'put carrot on plate')
    assert policy.act(seen).actions[0].to_vector().shape == (7,)
    other = Policy.open(folder, device='cpu', unnorm_key='two arms')
    with pytest.raises(ValueError, match='14'):
        other.act(seen)


def test_what_a_trainer_set_in_the_tokenizer_changes_no_prompt(folder):
    """Padding and truncation that were saved with it are not ours."""
    before = Policy.open(folder, device='cpu')
    tokenizer = Tokenizer.from_file(str(folder / 'tokenizer.json'))
    tokenizer.enable_padding(length=96)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(folder / 'tokenizer.json'))
    seen = Observation(np.full((64, 64, 3), 90, np.uint8), 'put carrot on yellow plate')
    np.testing.assert_array_equal(
        Policy.open(folder, device='cpu').predict([seen]), before.predict([seen]))


def test_an_adapter_alone_is_refused_with_how_to_merge_it(tmp_path):
    """A LoRA folder has weights, but not the model's."""
    (tmp_path / 'adapter_config.json').write_text('{}')
    with pytest.raises(CheckpointError, match='LoRA adapter.*merge_and_unload'):
        inspect(tmp_path)


def test_an_unknown_unnorm_key_lists_the_valid_ones(folder):
    """The error offers what to type."""
    with pytest.raises(CheckpointError, match=f'it has: {DATASET}'):
        Policy.open(folder, device='cpu', unnorm_key='bridge')


def test_several_data_sets_want_a_choice(folder):
    """Without unnorm_key a checkpoint with two data sets is refused, with it opened."""
    _edit(folder / 'dataset_statistics.json',
          lambda document: document.update(other=document[DATASET]))
    with pytest.raises(CheckpointError, match='unnorm_key None'):
        Policy.open(folder, device='cpu')
    assert Policy.open(folder, device='cpu', unnorm_key='other').summary.action_horizon == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason='a CUDA device is there')
def test_a_device_that_is_not_there_is_refused(folder):
    """Asking for CUDA without one says what to set."""
    with pytest.raises(CheckpointError, match='device:=cpu'):
        Policy.open(folder, device='cuda')
