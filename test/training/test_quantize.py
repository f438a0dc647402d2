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

"""`rlrc quantize`: bytes as planned, fidelity as measured, and nothing left by bad input."""

from dataclasses import replace
import json
import re
import sys

import numpy as np
from official_folders import tiny_official_folder, tiny_oft_folder
import pytest
from rlrc_ros import vla
from rlrc_ros.vla import checkpoint
from rlrc_ros.vla.checkpoint import inspect, open_checkpoint
from rlrc_ros.vla.config import ConfigError, LayerWidths
from rlrc_ros.vla.linear import QuantizedLinear
from rlrc_ros.vla.quantized import linear_layers
from rlrc_training import byte_table
from rlrc_training.data import Episode, save_episode
from rlrc_training.quantize import main, quantize, QuantizeConfig
from rlrc_training.rl import rl
from rlrc_training.rl_config import RlConfig
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from tiny_vla import make_tiny_checkpoint
import torch


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a tiny checkpoint that no test changes."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('source') / 'tiny')


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Return a folder of four episodes of noise: no policy acts well on it, all act on it."""
    folder, rng = tmp_path_factory.mktemp('demos'), np.random.default_rng(0)
    for seed in range(4):
        save_episode(folder, Episode(
            seed, 'ind', ('put can on red plate', 'put carrot on white plate')[seed % 2],
            rng.integers(0, 255, (6, 64, 64, 3)).astype(np.uint8),
            np.zeros((6, 7), np.float32), np.zeros((6, 9), np.float32)))
    return folder


def _hide_bitsandbytes(monkeypatch) -> None:
    """Let every import of bitsandbytes fail from now on, as where it is not installed."""
    monkeypatch.setitem(sys.modules, 'bitsandbytes', None)
    monkeypatch.delitem(sys.modules, 'rlrc_ros.vla.bitsandbytes_ops', raising=False)
    monkeypatch.delattr(vla, 'bitsandbytes_ops', raising=False)


def _nothing_in(folder) -> bool:
    return not folder.exists() or not list(folder.iterdir())


# ------------------------------------------------------------------ the byte table


def _stored_bytes(folder) -> int:
    """Return the bytes of the tensors in a folder's file: all but the header and its length."""
    path = folder / 'model.safetensors'
    with path.open('rb') as file:
        header = int.from_bytes(file.read(8), 'little')
    return path.stat().st_size - 8 - header


@pytest.mark.parametrize('options', [
    {}, {'vision': 'int4', 'projector': 'int8', 'head': 'int4'},
    {'decoder': 'int8', 'action_head': False, 'host_embeddings': False},
    {'decoder': 'bf16', 'vision': 'int4', 'group_size': 128, 'projector': 'int4',
     'short_groups': ('vision', 'projector')}])
def test_the_byte_table_is_the_files_to_the_byte(folder, tmp_path, options):
    """What is counted without weights is what the file of a small model holds."""
    config = QuantizeConfig(folder, tmp_path / 'q', **{'group_size': 32, **options})
    out = quantize(config)
    planned = byte_table.plan_variant('planned', replace(
        inspect(folder).config, quantization=config.record))
    assert planned.file == _stored_bytes(out)
    assert sum(inspect(out).bf16_bytes.values()) == planned.file


def test_the_byte_table_counts_an_official_folders_dead_blocks(tmp_path):
    """The dense column is the official file's to the byte; without its dead blocks it is ours."""
    official = tiny_official_folder(tmp_path / 'official')
    config = inspect(official).config
    dense = byte_table.plan_variant('dense', config).file
    assert dense + byte_table.dead_bytes(config) == _stored_bytes(official)
    out = quantize(QuantizeConfig(official, tmp_path / 'q', decoder='bf16', action_head=False,
                                  host_embeddings=False))
    assert dense == _stored_bytes(out)


def test_the_plan_of_an_official_oft_counts_its_own_parts(tmp_path):
    """Head and proprio projector lie in files beside config.json."""
    folder = tiny_oft_folder(tmp_path / 'oft')
    dense = byte_table.plan(str(folder), 32, ('vision', 'decoder', 'projector', 'head'))[0]
    parts = inspect(folder).parts
    for name in ('action head', 'proprio projector'):
        assert dense.parts[name] == 2 * parts[name] > 0


def test_the_byte_table_at_7b_reaches_the_goals():
    """Eighteen times below dense with int4 vision, twelve with int8; OpenVLA's 7541 M to start."""
    table = {each.name: each for each in byte_table.plan('7b', 128, ('vision',))}
    dense = table['dense bf16'].device
    assert abs(dense / 2 - 7_541e6) < 1e6
    assert dense / table['lean, vision int4'].device >= 18
    assert dense / table['lean, vision int8'].device >= 12
    # int4 with a bf16 scale and zero for 128 weights: 4.25 bits a weight.
    layers = (2 * 202_375_168 + 30 * (4 * 4096 * 256 + 3 * 4096 * 512))
    assert abs(table['lean, vision int4'].parts['decoder'] - layers * 4.25 / 8) < 2**20


def test_the_plan_is_printed_and_writes_nothing(folder, tmp_path, monkeypatch, capsys):
    """`--plan` takes a name, a config.json or a folder without weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.json').write_bytes((folder / 'config.json').read_bytes())
    for target in ('tiny', str(tmp_path / 'config.json'), str(tmp_path)):
        assert main(['--plan', target, '--group-size', '32']) == 0
        printed = capsys.readouterr().out
        for words in ('dense bf16', 'lean, vision int8', 'vision towers', 'action rows',
                      'kept on the host', 'dead ViT blocks dropped'):
            assert words in printed
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_a_plan_keeps_whole_groups_and_what_is_pruned_already():
    """The 90 % of RLRC at 7B are 2 heads and 512 channels; uneven layers stay as they are."""
    config = byte_table.read_architecture('7b')[0]
    pruned = byte_table.prune_plan(config, 128, None, None)
    assert pruned.decoder.layers[0] == pruned.decoder.layers[-1] == LayerWidths(32, 11008)
    assert set(pruned.decoder.layers[1:-1]) == {LayerWidths(2, 512)}
    assert byte_table.prune_plan(pruned, 128, None, None) is pruned


# ---------------------------------------------------------------------- fidelity


def test_fidelity_is_measured_and_written(folder, demos, tmp_path):
    """The lean policy agrees wholly, eight bits more than four, and the command is recorded."""
    options = ['--group-size', '32', '--data', str(demos), '--fidelity-frames', '8']
    found = {}
    for name, more in {'bf16': ['--decoder', 'bf16'], 'int8': ['--decoder', 'int8'],
                       'int4': ['--rounding', 'gptq', '--calibration-frames', '4']}.items():
        out = tmp_path / name
        assert main([str(folder), '--out', str(out), *options, *more]) == 0
        found[name] = json.loads((out / 'fidelity.json').read_text())['results'][0]
        assert 'tokens equal' in (out / 'fidelity.md').read_text()
        stage = json.loads((out / 'provenance.json').read_text())['stages'][-1]
        assert stage['measured'] == [found[name]]
        assert (stage['name'], stage['parent']) == ('quantize', str(folder))
    assert found['bf16']['logit_error'] == 0.0
    assert found['bf16']['action_agreement'] == found['bf16']['token_agreement'] == 1.0
    assert 0 < 2 * found['int8']['logit_error'] < found['int4']['logit_error'] < 0.5
    assert found['int4']['frames'] == 8


def test_compare_measures_every_scheme(folder, demos, tmp_path):
    """One table holds int4 in its three roundings, int8, and bitsandbytes' where it is."""
    assert main([str(folder), '--compare', '--out', str(tmp_path / 'table'), '--group-size', '32',
                 '--data', str(demos), '--fidelity-frames', '4',
                 '--calibration-frames', '4']) == 0
    document = json.loads((tmp_path / 'table' / 'fidelity.json').read_text())
    names = {each['variant'] for each in document['results']}
    assert {f'int4 {each}, decoder' for each in ('nearest', 'hqq', 'gptq')} <= names
    assert {'bf16, lean', 'int8 nearest, decoder and vision'} <= names
    assert sorted(path.name for path in (tmp_path / 'table').iterdir()) == [
        'fidelity.json', 'fidelity.md']


# --------------------------------------------------------------------- bad input


@pytest.mark.parametrize(('options', 'words'), [
    ({'group_size': 48}, 'group_size 48 has no int4 kernel.*32, 64, 128, 256'),
    ({'decoder': 'fp4'}, "'fp4' of the decoder.*bf16, int4, int8, nf4, llm.int8"),
    ({'rounding': 'up'}, "'up'.*nearest, hqq, gptq"),
    ({'rounding': 'gptq'}, '--rounding gptq.*add --data runs/demos'),
    ({'compare': True}, '--compare.*add --data runs/demos'),
    ({'keep_heads': 2}, 'keep_heads 2 is for --plan alone'),
    ({'short_groups': ('legs',)}, "'legs'.*decoder, head, vision, projector"),
    ({'fidelity_frames': 0}, 'fidelity_frames.*got 0')])
def test_options_out_of_bounds_are_refused(options, words):
    """Each names the value and the valid ones before anything is opened."""
    with pytest.raises(ValueError, match=words):
        QuantizeConfig(**options)


@pytest.mark.parametrize(('options', 'words'), [
    ([], 'group_size 128 does not divide the 64.*divide every layer: 32. Set --group-size 32'),
    (['--group-size', '64', '--decoder', 'bf16', '--vision', 'int4', '--short-groups', 'head'],
     'does not divide the 32 inputs of vision_backbone.*Set --group-size 32'),
    (['--group-size', '32', '--data', 'nowhere'], 'no demonstrations in nowhere.*rlrc collect'),
    (['--plan', '7b', '--keep-heads', '40'], 'a layer has 32; give --keep-heads 1 ... 32'),
    (['--plan', '7b', '--keep-channels', '0'], 'keep_channels 0 .* 1 ... 11008'),
    (['--group-size', '32', '--device', 'cuda'], "'cuda' was asked for.*--device cpu"),
    (['--compare', '--data', 'nowhere', '--group-size', '32'], 'no demonstrations in nowhere'),
    (['--plan', '8b'], "'8b'.*7b, small, nano, choice, tiny")])
def test_what_does_not_fit_the_model_is_refused(folder, tmp_path, capsys, monkeypatch, options,
                                                words):
    """Each ends in one line that says what to type, and writes nothing."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('rlrc_training.quantize.open_checkpoint', None)  # no weight is read
    out = tmp_path / 'out'
    assert main([str(folder), '--out', str(out), *options]) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert re.search(words, error)
    assert _nothing_in(tmp_path)


def test_widths_that_no_group_divides_want_short_groups():
    """Channels like the paper's 550 are named, with the two ways out; either one works."""
    with pytest.raises(ConfigError, match='50 inputs.*--short-groups vision decoder, or prune'):
        byte_table.plan('nano', 32, ('vision',), 2, 50)
    rounded = byte_table.plan('nano', 32, ('vision',), 2, 64)
    short = byte_table.plan('nano', 32, ('vision', 'decoder'), 2, 50)
    assert short[-1].device < rounded[-1].device


def test_a_quantised_checkpoint_is_not_quantised_again_or_trained(folder, tmp_path, capsys):
    """What may follow what is said, and the checkpoint to start from is named."""
    out = quantize(QuantizeConfig(folder, tmp_path / 'q', group_size=32))
    assert main([str(out), '--out', str(tmp_path / 'again')]) == 1
    error = capsys.readouterr().err
    assert 'quantised already' in error and str(folder) in error
    with pytest.raises(ValueError, match='prune, sft, rl, quantize'):
        sft(SftConfig(data=(tmp_path / 'no',), out=tmp_path / 'sft', init=out))
    with pytest.raises(ValueError, match='rl wants real weights'):
        rl(RlConfig(init=out, out=tmp_path / 'rl', device='cpu'))
    with pytest.raises(ConfigError, match='quantised already'):
        byte_table.plan(str(out), 32, ())
    assert [path.name for path in tmp_path.iterdir()] == ['q']


@pytest.mark.parametrize('scheme', ['nf4', 'llm.int8'])
def test_bitsandbytes_missing_says_what_to_type(folder, tmp_path, monkeypatch, capsys, scheme):
    """Without the library its schemes end in the install line, before weights are read."""
    _hide_bitsandbytes(monkeypatch)
    monkeypatch.setattr('rlrc_training.quantize.open_checkpoint', None)
    assert main([str(folder), '--decoder', scheme, '--out', str(tmp_path / 'out')]) == 1
    assert 'pip install bitsandbytes==' in capsys.readouterr().err
    assert _nothing_in(tmp_path)


def test_opening_without_bitsandbytes_says_what_to_type(folder, tmp_path, monkeypatch):
    """A folder of the paper's scheme is described without the library, and opened with it."""
    pytest.importorskip('bitsandbytes', reason="pip install 'rlrc_ros[nf4]'")
    out = quantize(QuantizeConfig(folder, tmp_path / 'q', decoder='nf4', vision='llm.int8'))
    kinds = {layer.scheme for _, _, layer in linear_layers(open_checkpoint(out).model)
             if isinstance(layer, QuantizedLinear)}
    assert kinds == {'nf4', 'llm.int8'}
    _hide_bitsandbytes(monkeypatch)
    assert inspect(out).config.quantization.decoder == 'nf4'
    with pytest.raises(checkpoint.CheckpointError, match='pip install bitsandbytes=='):
        open_checkpoint(out)


def test_a_failed_write_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    """A disk that fills up while the weights are written leaves no folder, whole or partial."""
    def full(tensors, path, **_):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(checkpoint, 'save_file', full)
    assert main([str(folder), '--out', str(tmp_path / 'out'), '--group-size', '32']) == 1
    assert 'No space' in capsys.readouterr().err
    assert _nothing_in(tmp_path)


def test_what_is_there_is_kept_unless_told(folder, tmp_path, capsys):
    """A folder with something in it, or the source itself, is not written over."""
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine').write_text('x')
    options = [str(folder), '--group-size', '32', '--out']
    assert main([*options, str(tmp_path / 'out')]) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert (tmp_path / 'out' / 'mine').exists()
    assert main([*options, str(folder), '--overwrite']) == 1
    assert 'the checkpoint itself' in capsys.readouterr().err
    assert main([*options, str(tmp_path / 'out'), '--overwrite']) == 0
    assert torch.isfinite(open_checkpoint(tmp_path / 'out').model.encode_image(
        torch.zeros(1, 6, 64, 64))).all()
