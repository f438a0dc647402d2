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

"""Official OpenVLA-OFT folders: what opens and how, and what is refused by name."""

from official_folders import say, tiny_official_folder, tiny_oft_folder, tiny_oft_parts
import pytest
from rlrc_ros.vla import shards
from rlrc_ros.vla.checkpoint import CheckpointError, inspect, open_checkpoint, save_official
from rlrc_ros.vla.policy import Policy
import torch

HEAD, PROJECTOR = 'action_head--500_checkpoint.pt', 'proprio_projector--500_checkpoint.pt'


class Trap:
    """An object whose unpickling runs code; the code would write a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        """Make unpickling open a file for writing."""
        return open, (str(self.path), 'w')


@pytest.mark.parametrize(('dim', 'proprio', 'horizon', 'cameras', 'normalisation'), [
    (7, 8, 8, ('image', 'wrist'), 'bounds_q99'),
    (14, 14, 25, ('image', 'left_wrist', 'right_wrist'), 'bounds'),
    (7, 7, 5, ('image',), 'bounds_q99')], ids=['libero', 'aloha', 'bridge'])
def test_constants_that_no_file_holds_follow_the_robot(
        tmp_path, dim, proprio, horizon, cameras, normalisation):
    """Chunk, cameras and normalisation are those of the official constants."""
    summary = inspect(tiny_oft_folder(tmp_path / 'oft', dim, proprio))
    assert summary.action_horizon == horizon
    assert summary.cameras == cameras
    assert summary.config.parallel.normalisation == normalisation
    assert summary.norm_stats['robot'].q01[0] == (-2.0 if normalisation == 'bounds' else -1.0)
    assert summary.parts['action head'] == sum(
        each.numel() for each in tiny_oft_parts(dim)['action_head'].values())


def test_the_folder_can_say_what_differs_from_the_robots_constants(tmp_path):
    """A fine-tune with another chunk, one camera, other bounds."""
    summary = inspect(tiny_oft_folder(
        tmp_path / 'oft', action_horizon=3, cameras=['image'], normalisation='bounds',
        proprio_layout='xyz_axis_angle_fingers'))
    assert (summary.action_horizon, summary.cameras) == (3, ('image',))
    assert summary.config.parallel.normalisation == 'bounds'
    assert summary.config.parallel.proprio_layout == 'xyz_axis_angle_fingers'


def test_without_a_proprio_projector_the_statistics_tell_the_robot(tmp_path):
    """A policy that reads no state still answers LIBERO's eight actions."""
    folder = tiny_oft_folder(tmp_path / 'oft')
    (folder / PROJECTOR).unlink()
    summary = inspect(folder)
    assert summary.action_horizon == 8
    assert not summary.reads_proprio


def test_a_folder_without_pt_files_is_plain_openvla(tmp_path):
    """One action, token after token, and no 1e-8 on the way back."""
    summary = inspect(tiny_official_folder(tmp_path / 'plain'))
    assert summary.config.parallel is None
    assert summary.norm_stats['robot'].widened_by == 0.0


def test_the_discrete_head_is_said_by_the_folders_own_key(tmp_path):
    """No official file tells it from plain OpenVLA."""
    summary = inspect(tiny_oft_folder(tmp_path / 'oft', head='discrete', action_head='discrete'))
    assert summary.config.parallel.head == 'discrete'
    assert summary.parts['action head'] == 0


def test_prefixes_of_parallel_training_are_taken_off_and_dtypes_follow(tmp_path):
    """`module.` goes, bf16 becomes what is asked for, lora_adapter/ beside it is not read."""
    folder = tiny_oft_folder(tmp_path / 'oft')
    plain = {name: each.bfloat16() for name, each in tiny_oft_parts()['action_head'].items()}
    torch.save({f'module.{name}': each for name, each in plain.items()}, folder / HEAD)
    (folder / 'lora_adapter').mkdir()
    (folder / 'lora_adapter' / 'adapter_model.bin').write_bytes(b'x')
    model = open_checkpoint(folder).model
    for name, each in plain.items():
        assert torch.equal(model.state_dict()[f'action_head.{name}'], each.float())


def test_the_last_checkpoint_alone_may_be_called_latest(tmp_path):
    """Official training writes that instead of the step."""
    folder = tiny_oft_folder(tmp_path / 'oft')
    for name in (HEAD, PROJECTOR):
        (folder / name).rename(folder / name.replace('500', 'latest'))
    assert open_checkpoint(folder).summary.action_horizon == 8


def test_saving_back_round_trips_the_pt_files_too(tmp_path):
    """Names with their prefix, dtypes and bits, and what was trained since."""
    source = tiny_oft_folder(tmp_path / 'oft')
    state = {f'module.{name}': each.bfloat16()
             for name, each in tiny_oft_parts()['action_head'].items()}
    torch.save(state, source / HEAD)
    model = open_checkpoint(source).model
    model.proprio_projector.fc2.bias.data += 1.0
    back = save_official(tmp_path / 'back', model, source)
    again = torch.load(back / HEAD, weights_only=True)
    assert list(again) == list(state)
    assert all(torch.equal(again[name], each) and again[name].dtype == each.dtype
               for name, each in state.items())
    theirs = tiny_oft_parts()['proprio_projector']['fc2.bias']
    assert torch.equal(open_checkpoint(back).model.proprio_projector.fc2.bias, theirs + 1.0)
    assert (back / 'model.safetensors').read_bytes() == (source / 'model.safetensors').read_bytes()


# ----------------------------------------------------------------------------- refused


@pytest.fixture
def folder(tmp_path):
    """Return a good folder, for a test to spoil."""
    return tiny_oft_folder(tmp_path / 'oft')


def test_a_missing_head_file_is_named(folder):
    """A proprio projector alone makes no policy, unless the head is said to be discrete."""
    (folder / HEAD).unlink()
    with pytest.raises(CheckpointError, match='action_head--STEP_checkpoint.pt is missing'):
        inspect(folder)
    (folder / PROJECTOR).unlink()
    say(folder, action_head='l1')
    with pytest.raises(CheckpointError, match='action_head--STEP_checkpoint.pt is missing'):
        inspect(folder)
    say(folder, action_head=None, action_horizon=8)
    with pytest.raises(CheckpointError, match='there is no action_head--STEP'):
        inspect(folder)


def test_two_head_files_of_different_steps_are_named(folder):
    """Which one belongs to the weights, nobody can say."""
    torch.save(tiny_oft_parts()['action_head'], folder / 'action_head--900_checkpoint.pt')
    with pytest.raises(CheckpointError, match=f'{HEAD} and action_head--900_checkpoint.pt'):
        inspect(folder)


def test_parts_of_different_steps_are_refused(folder):
    """A head of one step and a projector of another were never trained together."""
    (folder / PROJECTOR).rename(folder / 'proprio_projector--900_checkpoint.pt')
    with pytest.raises(CheckpointError, match='different steps of training'):
        inspect(folder)


def test_a_pickle_with_code_is_refused_and_its_code_not_run(folder, tmp_path):
    """In an archive as torch.save() writes it, and as a bare pickle."""
    trap = tmp_path / 'trap'
    torch.save({'model.fc1.weight': Trap(trap)}, folder / HEAD)
    with pytest.raises(CheckpointError, match=f'{HEAD} holds more than tensors'):
        inspect(folder)
    # By hand: take builtins.open, call it with the path and 'w'.
    (folder / HEAD).write_bytes(f'cbuiltins\nopen\n(V{trap}\nVw\ntR.'.encode())
    with pytest.raises(CheckpointError, match='bare pickles are not opened'):
        inspect(folder)
    assert not trap.exists()


@pytest.mark.parametrize('content', [
    [torch.zeros(2)], {'a': 1}, torch.zeros(3), {1: torch.ones(1)}],
    ids=['list', 'number', 'tensor', 'key'])
def test_a_file_that_is_no_state_dict_is_refused(folder, content):
    """Only tensors by name are."""
    torch.save(content, folder / HEAD)
    with pytest.raises(CheckpointError, match='should be a state_dict'):
        inspect(folder)


def test_a_truncated_head_file_is_refused(folder):
    """Before any weight is read."""
    path = folder / HEAD
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(CheckpointError, match='is not a whole file'):
        inspect(folder)


def test_a_head_for_another_number_of_dimensions_is_refused(folder):
    """Fourteen numbers an action do not fit statistics of seven."""
    torch.save(tiny_oft_parts(14)['action_head'], folder / HEAD)
    with pytest.raises(CheckpointError, match='of 14 numbers, .* statistics of 7'):
        inspect(folder)


@pytest.mark.parametrize(('name', 'shape'), [
    ('model.fc1.weight', (16, 8 * 7 * 16)), ('model.layer_norm1.weight', (14 * 16,)),
    ('model.fc2.weight', (7, 15))])
def test_a_head_whose_shapes_do_not_fit_is_refused(folder, name, shape):
    """The tensor, its shape and the wanted one are named."""
    torch.save({**tiny_oft_parts()['action_head'], name: torch.zeros(shape)}, folder / HEAD)
    with pytest.raises(CheckpointError, match=f'action_head.{name} has shape'):
        inspect(folder)


def test_a_head_that_lacks_or_adds_a_tensor_is_refused(folder):
    """Another network under the same file name."""
    state = tiny_oft_parts()['action_head']
    missing = state.pop('model.mlp_resnet_blocks.1.ffn.1.weight')
    torch.save({**state, 'model.mlp_resnet_blocks.2.ffn.1.weight': missing}, folder / HEAD)
    with pytest.raises(CheckpointError, match='1 tensors missing .* 1 unknown'):
        inspect(folder)


@pytest.mark.parametrize('state_dim', [7, 9])
def test_a_state_of_the_wrong_size_is_refused(tmp_path, state_dim):
    """Eight numbers go into the projector; the statistics must have as many."""
    folder = tiny_oft_folder(tmp_path / 'oft', state_dim=state_dim)
    with pytest.raises(CheckpointError, match=f'states of {state_dim} numbers, .* reads 8'):
        inspect(folder)


@pytest.mark.parametrize(('part', 'variant'), [
    ('noisy_action_projector', 'the diffusion head'), ('vision_backbone', 'FiLM'),
    ('optimizer', 'does not know')])
def test_a_part_that_is_not_built_is_refused(folder, part, variant):
    """By the name of the variant that it gives away."""
    torch.save({}, folder / f'{part}--500_checkpoint.pt')
    with pytest.raises(CheckpointError, match=variant):
        inspect(folder)


def test_a_robot_whose_constants_are_not_known_must_be_described(tmp_path):
    """The error says what to add; having added it, the folder opens."""
    folder = tiny_oft_folder(tmp_path / 'oft', dim=6, proprio_dim=5)
    with pytest.raises(CheckpointError, match='no file says action_horizon and cameras'):
        inspect(folder)
    say(folder, action_horizon=11, cameras=['image'])
    assert open_checkpoint(folder).summary.action_horizon == 11


@pytest.mark.parametrize(('own', 'words'), [
    ({'action_horizon': 0}, 'at least 1, got 7 and 0'), ({'action_horizon': 2.5}, '2.5'),
    ({'cameras': []}, 'first of them'), ({'cameras': 'image'}, 'list of names'),
    ({'cameras': ['image', 3]}, 'different names'),
    ({'normalisation': 'normal'}, 'there are: bounds_q99, bounds'),
    ({'proprio_layout': 'joints_gripper'}, 'xyz_axis_angle_fingers'),
    ({'action_head': 'diffusion'}, "'diffusion' is not built"),
    ({'action_head': 'discrete'}, 'take one of them away'), ({'chunk': 8}, 'action_horizon')])
def test_a_wrong_word_in_the_folders_own_key_is_refused(folder, own, words):
    """With the valid values."""
    say(folder, **own)
    with pytest.raises(CheckpointError, match=words):
        inspect(folder)


@pytest.mark.parametrize(('value', 'words'), [(float('nan'), 'NaN or infinity'),
                                              (float('inf'), 'NaN or infinity')])
def test_weights_that_are_not_finite_are_refused(folder, value, words):
    """When they are read."""
    state = tiny_oft_parts()['action_head']
    state['model.fc2.bias'][3] = value
    torch.save(state, folder / HEAD)
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(folder)


def test_a_head_of_whole_numbers_is_refused(folder):
    """Only floating-point types are read."""
    state = tiny_oft_parts()['action_head']
    state['model.fc2.bias'] = torch.zeros(7, dtype=torch.int64)
    torch.save(state, folder / HEAD)
    with pytest.raises(CheckpointError, match='dtype torch.int64'):
        inspect(folder)


def test_nothing_of_the_weights_is_read_before_the_parts_are_found_good(folder, monkeypatch):
    """A folder with a wrong head is refused without reading a tensor of the seven billion."""
    def forbidden(*_, **__):
        raise AssertionError('a weight was read')
    monkeypatch.setattr(shards, '_fill', forbidden)
    torch.save(tiny_oft_parts(14)['action_head'], folder / HEAD)
    with pytest.raises(CheckpointError, match='of 14 numbers'):
        open_checkpoint(folder)


def test_a_data_set_of_another_size_cannot_be_chosen(tmp_path):
    """Statistics of other sizes may lie beside the robot's; choosing them is refused."""
    entry = {'action': {name: [0.0] * 6 for name in ('q01', 'q99', 'min', 'max')}}
    fitting = {'action': {name: [0.0] * 7 for name in ('q01', 'q99', 'min', 'max')}}
    folder = tiny_oft_folder(tmp_path / 'oft', proprio_dim=0, cameras=['image'], action_horizon=8)
    document = tiny_official_folder(
        tmp_path / 'other',
        norm_stats={'other': entry, 'robot': fitting}) / 'config.json'
    (folder / 'config.json').write_text(document.read_text())
    say(folder, cameras=['image'], action_horizon=8)
    opened = open_checkpoint(folder)
    with pytest.raises(CheckpointError, match='it has: other, robot'):
        Policy(opened)
    with pytest.raises(CheckpointError, match='actions of 6 numbers, the policy answers 8 x 7'):
        Policy(opened, 'other')
    assert Policy(opened, 'robot').summary.action_horizon == 8
