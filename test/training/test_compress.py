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

"""From end to end: prune, sft, quantize, evaluate, and the policy by both runtimes."""

from dataclasses import replace
import json

import numpy as np
from official_folders import tiny_official_folder
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla.checkpoint import inspect, open_checkpoint
from rlrc_ros.vla.config import ConfigError, QuantizationConfig
from rlrc_ros.vla.linear import QuantizedLinear
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.quantized import linear_layers
from rlrc_training.byte_table import plan_variant
from rlrc_training.evaluate import evaluate, EvaluateConfig
from rlrc_training.prune import prune
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.quantize import main, quantize, QuantizeConfig
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from safetensors.torch import load_file, save_file
from synthetic_demos import make_demonstrations
from tiny_vla import make_tiny_checkpoint, make_tiny_oft_checkpoint
import torch

NEAR = 0.05
"""Logits of one token by two orders of bf16 products; a step between bins may turn on less."""
WAYS = {
    'flap, int4': ({'method': 'flap', 'flap_structure': 'UL-UM', 'round_to': 32},
                   {'decoder': 'int4', 'vision': 'int8'}),
    'fewer layers and narrower towers, int4 everywhere': (
        {'keep_layers': 1, 'vision_ratio': 0.5, 'ratio': 0.6, 'round_to': 32},
        {'decoder': 'int4', 'vision': 'int4', 'projector': 'int4', 'head': 'int4'}),
    'llm-pruner, nf4': ({'ratio': 0.5}, {'decoder': 'nf4', 'projector': 'llm.int8'})}


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Return two demonstrations of 20 frames."""
    return make_demonstrations(tmp_path_factory.mktemp('demos') / 'demos')


def _compress(demos, folder, prune_options: dict, quantize_options: dict):
    """Go through the three stages; return the three folders."""
    dense = make_tiny_checkpoint(folder / 'dense')
    pruned = prune(PruneConfig(**{
        'checkpoint': dense, 'data': (demos,), 'out': folder / 'pruned', 'layers': (0, 2),
        'ratio': 0.5, 'samples': 2, 'device': 'cpu', **prune_options}))
    trained = sft(SftConfig(data=(demos,), out=folder / 'sft', init=pruned, steps=2, batch_size=4,
                            warmup_steps=1, eval_episodes=0, device='cpu'))
    return pruned, trained, quantize(QuantizeConfig(
        trained, folder / 'quantised', group_size=32, **quantize_options))


def _observations(count: int = 3) -> list[Observation]:
    rng = np.random.default_rng(1)
    return [Observation(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), words)
            for words in ('put can on red plate', 'wave', 'put bread on white plate')[:count]]


def _check_the_runtimes_agree(folder) -> None:
    """Compare logits token by token, up to where two bins are as good as alike."""
    eager, fast = (Policy.open(folder, 'cpu', runtime=name) for name in ('eager', 'fast'))
    assert (eager.runtime_name, fast.runtime_name) == ('eager', 'fast')
    kept, act = [], eager._model.act
    eager._model.act = lambda *args: kept.append(act(*args)) or kept[-1]
    for observation in _observations():
        eager.act(observation)
        fast.act(observation)
        wanted = kept[-1].action_logprobs[0].float()
        found = fast._runtime.last_logits.log_softmax(-1)
        for ours, theirs in zip(found, wanted):
            assert float((ours - theirs).abs().max()) < NEAR
            if ours.argmax() != theirs.argmax():
                best = theirs.topk(2).values
                assert float(best[0] - best[1]) < 2 * NEAR
                break


@pytest.mark.parametrize('way', WAYS)
def test_what_is_pruned_trained_and_quantised_opens_by_both_runtimes(way, demos, tmp_path):
    """Widths, biases and stages come through, and eager and fast answer alike."""
    if 'nf4' in way:
        pytest.importorskip('bitsandbytes', reason='requirements/runtime.txt holds it')
    pruned, trained, quantised = _compress(demos, tmp_path, *WAYS[way])
    summary = inspect(quantised)
    assert [stage['name'] for stage in summary.provenance['stages']] == [
        'test', 'prune', 'sft', 'quantize']
    assert summary.config.decoder == inspect(pruned).config.decoder
    assert summary.config.towers == inspect(pruned).config.towers
    before, after = (load_file(each / 'model.safetensors') for each in (trained, quantised))
    assert sum(each.nbytes for each in after.values()) == plan_variant('', summary.config).file
    biases = [name for name in before if name.endswith(('o_proj.bias', 'down_proj.bias'))]
    assert len(biases) == (4 if 'flap' in way else 0)
    for name in biases:
        assert torch.equal(before[name], after[name]) and bool(before[name].any())
    model = open_checkpoint(quantised).model
    layers = {name: layer for name, part, layer in linear_layers(model) if part == 'decoder'}
    assert all(isinstance(each, QuantizedLinear) for each in layers.values())
    assert sum(each.bias is not None for each in layers.values()) == len(biases)
    _check_the_runtimes_agree(quantised)


@pytest.mark.sim
def test_a_compressed_policy_is_evaluated(demos, tmp_path, monkeypatch):
    """`rlrc evaluate` plays the last folder as it plays the first; five steps will do."""
    monkeypatch.setattr('rlrc_training.evaluate.World.max_episode_steps', 5)
    *_, quantised = _compress(demos, tmp_path, *WAYS['flap, int4'])
    document = evaluate(EvaluateConfig(quantised, episodes=1, processes=1, device='cpu',
                                       out=tmp_path / 'evaluation', videos=0))
    assert document['episodes'][0]['steps'] == 5
    assert document['alone']['memory_bytes'] < Policy.open(
        tmp_path / 'dense', 'cpu').weight_bytes


def test_flaps_biases_are_added_by_quantised_layers(demos, tmp_path):
    """Without its bias a quantised layer gives something else."""
    *_, quantised = _compress(demos, tmp_path, *WAYS['flap, int4'])
    for runtime in ('eager', 'fast'):
        policy = Policy.open(quantised, 'cpu', runtime=runtime)
        seen = []
        for _ in range(2):
            policy.reset()
            policy.act(_observations(1)[0])
            layer = policy._model.language_model.model.layers[0].mlp.down_proj
            x = torch.ones(3, layer.in_features)
            seen.append(layer(x).detach())
            layer.bias.data += 1.0
        torch.testing.assert_close(seen[1] - seen[0], torch.ones_like(seen[0]))


def test_widths_that_fill_no_group_are_refused_by_name(demos, tmp_path, capsys):
    """Channels rounded to 8 do not fill groups of 32: what does is said, nothing is written."""
    dense = make_tiny_checkpoint(tmp_path / 'dense')
    pruned = prune(PruneConfig(checkpoint=dense, out=tmp_path / 'pruned', layers=(0, 2), ratio=0.6,
                               importance='l2', device='cpu'))
    assert {each.intermediate_size for each in inspect(pruned).config.decoder.layers} == {40}
    assert main([str(pruned), '--group-size', '32', '--out', str(tmp_path / 'q')]) == 1
    error = capsys.readouterr().err
    for words in ('does not divide the', 'inputs of language_model.model.layers.0.',
                  'none of 32, 64, 128, 256 divides every layer', '--short-groups vision decoder',
                  'prune to multiples'):
        assert words in error
    assert error.count('\n') == 1 and not (tmp_path / 'q').exists()
    out = quantize(QuantizeConfig(pruned, tmp_path / 'q', group_size=32,
                                  short_groups=('vision', 'decoder')))
    _check_the_runtimes_agree(out)




def test_an_official_folder_is_pruned_and_quantised(tmp_path):
    """It comes back in our own format, without its dead blocks, and answers by both runtimes."""
    official = tiny_official_folder(tmp_path / 'official')
    before = inspect(official)
    save_file({'input_ids': torch.randint(0, 300, (3, 40))}, tmp_path / 'ids.safetensors')
    layers = len(before.config.decoder.layers)
    pruned = prune(PruneConfig(
        checkpoint=official, out=tmp_path / 'pruned', layers=(0, layers), ratio=0.5, round_to=8,
        token_ids=tmp_path / 'ids.safetensors', device='cpu'))
    assert (inspect(pruned).layout, inspect(pruned).unused_parameters) == ('rlrc_vla', 0)
    assert inspect(pruned).norm_stats.keys() == before.norm_stats.keys()
    report = json.loads((pruned / 'pruning.json').read_text())
    assert report['before']['parameters'] == before.parameters > report['after']['parameters']
    out = quantize(QuantizeConfig(pruned, tmp_path / 'q', group_size=32, vision='int8',
                                  short_groups=('vision', 'decoder')))
    _check_the_runtimes_agree(out)


def test_an_oft_is_quantised_and_answers_nearly_the_same(tmp_path):
    """Lean in bf16 it answers the same; in int8 and int4 nearly so."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft', proprio_dim=7,
                                      proprio_layout='xyz_rpy_gripper')
    seen = [replace(each, proprio=np.linspace(-0.5, 0.5, 7)) for each in _observations()]
    # The files of later stages are bf16, so that is what is compared.
    reference = Policy.open(quantize(QuantizeConfig(
        folder, tmp_path / 'bf16', decoder='bf16', action_head=False, host_embeddings=False)),
        'cpu').predict_normalised(seen)
    lean = Policy.open(quantize(QuantizeConfig(folder, tmp_path / 'lean', decoder='bf16')), 'cpu')
    assert np.array_equal(lean.predict_normalised(seen), reference)
    for options, most in (({'decoder': 'int8', 'vision': 'int8'}, 0.06),
                          ({'decoder': 'int4', 'projector': 'int4'}, 0.3)):
        out = quantize(QuantizeConfig(folder, tmp_path / options['decoder'], group_size=32,
                                      **options))
        for runtime in ('eager', 'fast'):
            policy = Policy.open(out, 'cpu', runtime=runtime)
            found = policy.predict_normalised(seen)
            assert policy.runtime_name == 'eager'  # one pass has nothing to replay
            assert np.linalg.norm(found - reference) < most * np.linalg.norm(reference)


def test_what_an_oft_cannot_have_is_refused(demos, tmp_path, capsys):
    """The discrete head needs its whole vocabulary; calibration and fidelity decode in turn."""
    l1 = make_tiny_oft_checkpoint(tmp_path / 'l1')
    discrete = make_tiny_oft_checkpoint(tmp_path / 'discrete', head='discrete')
    small = ['--group-size', '32', '--out', str(tmp_path / 'out')]
    assert main([str(discrete), *small]) == 1
    assert '--no-action-head' in capsys.readouterr().err
    for more in (['--data', str(demos)], ['--rounding', 'gptq', '--data', str(demos)],
                 ['--compare', '--data', str(demos)]):
        assert main([str(l1), *small, *more]) == 1
        assert 'Leave --data away' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    with pytest.raises(ConfigError, match='--no-action-head'):
        replace(inspect(discrete).config, quantization=QuantizationConfig())
    assert main(['--plan', str(discrete), '--group-size', '32']) == 0
    assert 'action rows' not in capsys.readouterr().out
    assert main([str(discrete), *small, '--no-action-head']) == 0
    answers = [Policy.open(each, 'cpu').predict_normalised(_observations())
               for each in (discrete, tmp_path / 'out')]
    assert answers[0].shape == answers[1].shape and np.isfinite(answers[1]).all()


def test_an_oft_is_pruned_by_what_reads_weights_alone(demos, tmp_path):
    """Methods that look at a token-after-token loss are refused, with those that are not."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft')
    options = {'checkpoint': folder, 'data': (demos,), 'layers': (0, 2), 'ratio': 0.5,
               'device': 'cpu', 'samples': 2, 'out': tmp_path / 'out'}
    for method in ({}, {'method': 'flap'}, {'method': 'wanda'}):
        with pytest.raises(PruneError, match='decodes in parallel.*--importance l1 or l2'):
            prune(PruneConfig(**options, **method))
        assert not (tmp_path / 'out').exists()
    out = prune(PruneConfig(**options, importance='l2'))
    assert inspect(out).parameters < inspect(folder).parameters
    assert inspect(out).config.parallel == inspect(folder).config.parallel
    assert np.isfinite(Policy.open(out, 'cpu').predict_normalised(_observations())).all()
    assert json.loads((out / 'pruning.json').read_text())['after']['answer_gflop'] > 0
