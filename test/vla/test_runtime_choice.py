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

"""Choosing a runtime: what a device lacks is said, what was measured is remembered."""

from dataclasses import replace
import json
import logging
import platform

import numpy as np
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import runtime_choice
from rlrc_ros.vla.checkpoint import CheckpointError, inspect
from rlrc_ros.vla.config import QuantizationConfig
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.random_weights import random_model
from rlrc_ros.vla.runtime_choice import (
    check_memory,
    check_runtime,
    Choice,
    choose,
    GIB,
    make_runtime,
)
from rlrc_ros.vla.widths import nearest_good, width_warnings
from rlrc_training.presets import preset
from tiny_vla import make_tiny_checkpoint
import torch


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a tiny checkpoint."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('runtime') / 'tiny')


def _observation(seed: int, instruction: str = 'put carrot on red plate') -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Observation(image, instruction)


def test_a_policy_answers_the_same_through_the_fast_runtime(folder):
    """Actions are equal, number by number, and the time of the call is told."""
    plain, fast = (Policy.open(folder, 'cpu', runtime=name) for name in ('eager', 'fast'))
    assert fast.warm_up() > 0
    for seed in range(3):
        ours, theirs = (policy.act(_observation(seed)).actions[0] for policy in (fast, plain))
        assert np.array_equal(ours.to_vector(), theirs.to_vector())
    assert fast.timing.model_ms > 0


def test_an_operators_own_sentence_finds_its_steps_made(folder):
    """Warming up prepares usual prompt lengths, so that no control step captures anything."""
    policy = Policy.open(folder, 'cpu', runtime='fast')
    policy.warm_up()
    made = set(policy._runtime._steps)
    for sentence in ('go', 'put the small carrot on the red plate'):
        policy.act(_observation(0, sentence))
    assert set(policy._runtime._steps) == made


def test_batches_and_long_prompts_go_to_the_plain_model_and_it_is_said_once(folder, caplog):
    """A batch, or a prompt beyond the largest bucket, gets the plain model's answer."""
    plain, fast = (Policy.open(folder, 'cpu', runtime=name) for name in ('eager', 'fast'))
    batch = [_observation(0), _observation(1)]
    long = [_observation(2, 'qzx' * 60)]
    with caplog.at_level(logging.WARNING):
        for observations in (batch, batch, long, long):
            for ours, theirs in zip(fast.act_batch(observations), plain.act_batch(observations)):
                assert np.array_equal(ours.actions[0].to_vector(), theirs.actions[0].to_vector())
    assert len(caplog.records) == 2
    assert 'batch of 2' in caplog.messages[0] and 'longer than' in caplog.messages[1]


def test_an_unknown_runtime_is_refused_with_the_known_ones(folder):
    """The message lists them and says what to set."""
    with pytest.raises(CheckpointError, match='eager, fast, .*runtime:=fast'):
        Policy.open(folder, 'cpu', runtime='turbo')


def test_a_dtype_that_the_device_lacks_is_replaced_and_said(monkeypatch, caplog):
    """Without bf16 arithmetic a CPU runs fp32; an old GPU opens weights in fp32."""
    monkeypatch.setattr(runtime_choice, 'has_bf16', lambda device: False)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Old GPU')
    with caplog.at_level(logging.WARNING):
        assert check_runtime('fast-int8', 'cpu') == 'fast'
        assert runtime_choice.dtype_for('cuda', 'fast') == torch.float32
    assert 'no bf16' in caplog.messages[0] and 'Old GPU' in caplog.messages[1]
    assert runtime_choice.candidates('cpu') == ('eager', 'fast')


def test_a_gpu_with_too_little_memory_is_refused_with_the_scheme_that_fits(folder):
    """Before loading: what is needed, what is free, and which number of bits would do."""
    big = replace(inspect(folder), parameters=7_500_000_000, weight_bytes=15_000_000_000)
    check_memory(big, 16 * GIB)
    with pytest.raises(CheckpointError, match=r'14.5 GiB, cuda has 10.0 GiB free; int8'):
        check_memory(big, 10 * GIB)
    with pytest.raises(CheckpointError, match='int4 weights would fit: rlrc quantize'):
        check_memory(big, 6 * GIB)
    with pytest.raises(CheckpointError, match='rlrc prune .* or set device:=cpu'):
        check_memory(big, 2 * GIB)
    packed = replace(big, weight_bytes=4_000_000_000, config=replace(
        big.config, quantization=QuantizationConfig()))
    check_memory(packed, 6 * GIB)  # quantised already
    with pytest.raises(CheckpointError, match=r'28\.4 GiB.*in fp32, 4 bytes.*prune it'):
        # A bf16 file on a GPU that computes in fp32.
        check_memory(big, 16 * GIB, bytes_per_weight=4)
    both = replace(packed, parts={'decoder': 6_500_000_000}, config=replace(
        big.config, quantization=QuantizationConfig(prefill='bf16')))
    check_memory(both, 17 * GIB)  # the decoder in bf16 beside it
    with pytest.raises(CheckpointError, match=r'needs 16\.3 GiB'):
        check_memory(both, 6 * GIB)


def test_a_choice_is_measured_once_and_remembered(tmp_path, caplog):
    """The second call reads the file; another architecture is measured on its own."""
    config, _ = preset('tiny')
    model = Vla(config).requires_grad_(False).eval()
    model.initialise(torch.Generator().manual_seed(0))
    memory = tmp_path / 'cache' / 'runtime.json'
    with caplog.at_level(logging.INFO):
        first = choose(model, 'cpu', memory)
        second = choose(model, 'cpu', memory)
    assert not first.remembered and second.remembered
    assert second.runtime == first.runtime in first.milliseconds
    assert set(first.milliseconds) == set(runtime_choice.candidates('cpu'))
    assert first.cosines['fast'] > 0.999999
    assert 'measured' in caplog.messages[0] and 'remembered' in caplog.messages[1]
    memory.write_text('{not json')
    assert not choose(model, 'cpu', memory).remembered


def test_what_is_remembered_is_for_one_checkpoint_on_one_machine(tmp_path, monkeypatch):
    """Another fine-tune, another processor, or one without bf16 measures for itself."""
    config, _ = preset('tiny')
    memory, first = tmp_path / 'runtime.json', Vla(config).requires_grad_(False).eval()
    first.initialise(torch.Generator().manual_seed(0))
    other = Vla(config).requires_grad_(False).eval()
    other.initialise(torch.Generator().manual_seed(1))
    assert not choose(first, 'cpu', memory).remembered
    assert not choose(other, 'cpu', memory).remembered
    assert choose(first, 'cpu', memory).remembered
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(runtime_choice, 'cpu_name', lambda: 'Another processor')
        assert not choose(first, 'cpu', memory).remembered
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({key: entry | {'runtime': 'fast-bf16'}
                                  for key, entry in known.items()}))
    monkeypatch.setattr(runtime_choice, 'has_bf16', lambda device: False)
    found = choose(first, 'cpu', memory)
    assert not found.remembered and found.runtime in ('eager', 'fast')


@pytest.mark.parametrize('scheme', ['int4', 'nf4', 'llm.int8'])
def test_a_quantised_model_is_measured_on_its_own(tmp_path, monkeypatch, scheme):
    """Packed layers go through every runtime, and are not taken for the dense architecture."""
    if scheme != 'int4':
        pytest.importorskip('bitsandbytes', reason='requirements/runtime.txt holds it')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = make_tiny_checkpoint(tmp_path / 'quantised', 0, QuantizationConfig(
        scheme, 'bf16', scheme, 'bf16', 32))
    policy = Policy.open(folder, 'cpu', runtime='auto')
    choice = choose(policy._model, 'cpu')
    assert choice.remembered and set(choice.cosines) == {'eager', 'fast'}
    assert min(choice.cosines.values()) > 0.99
    assert np.isfinite(policy.act(_observation(0)).actions[0].to_vector()).all()
    dense = replace(policy._model.config, quantization=None)
    assert runtime_choice._key(Vla(dense), 'cpu') != runtime_choice._key(policy._model, 'cpu')


def test_what_leaves_the_plain_models_logits_is_not_chosen(monkeypatch):
    """A runtime below the least cosine loses, however fast it is."""
    config, _ = preset('tiny')
    model = Vla(config).requires_grad_(False).eval()
    model.initialise(torch.Generator().manual_seed(0))
    monkeypatch.setattr(runtime_choice, 'cosine', lambda *_: 0.5)
    assert runtime_choice.measure(model, ('eager', 'fast')).runtime == 'eager'


def test_a_runtime_that_errs_in_a_later_token_alone_is_not_chosen(monkeypatch):
    """What prefills exactly and decodes wrongly, or not a number, is told from the rest."""
    config, _ = preset('tiny')
    model = Vla(config).requires_grad_(False).eval()
    model.initialise(torch.Generator().manual_seed(0))
    plain = runtime_choice.StepRuntime._decode

    def decode(runtime):
        plain(runtime)
        runtime._logits[3] = broken
    for broken in (torch.nan, torch.randn(config.action.bins)):
        monkeypatch.setattr(runtime_choice.StepRuntime, '_decode', decode)
        choice = runtime_choice.measure(model, ('eager', 'fast'))
        assert choice.runtime == 'eager' and choice.cosines['fast'] < 0.9
    monkeypatch.undo()
    assert runtime_choice.measure(model, ('eager', 'fast')).cosines['fast'] > 0.99999


def _packed(**record) -> Vla:
    config, _ = preset('tiny')
    return random_model(replace(config, quantization=QuantizationConfig(**record)), 'cpu',
                        torch.float32)


def test_quantised_weights_are_timed_against_their_own_shapes_in_bf16(tmp_path, caplog):
    """Both take turns; what was measured is remembered with the choice."""
    memory, model = tmp_path / 'runtime.json', _packed(decoder='int4', group_size=32)
    first, second = (choose(model, 'cpu', memory) for _ in range(2))
    assert set(first.milliseconds) == {'eager', 'fast'} and first.unquantised_ms > 0
    assert second.remembered and second.unquantised_ms == first.unquantised_ms
    assert choose(_packed(decoder='bf16'), 'cpu', memory).remembered is False


def test_quantised_weights_that_are_slower_than_bf16_say_so_and_offer_it(tmp_path, monkeypatch,
                                                                         caplog):
    """The warning has both times and what to serve; faster ones need no advice."""
    slow = Choice('fast', {'eager': 30.0, 'fast': 20.0}, {'eager': 1.0, 'fast': 1.0}, 10.0)
    assert replace(slow, unquantised_ms=25.0).advice is None
    assert replace(slow, unquantised_ms=None).advice is None
    monkeypatch.setattr(runtime_choice, 'measure', lambda *_: slow)
    with caplog.at_level(logging.WARNING):
        choose(_packed(decoder='int8'), 'cpu', tmp_path / 'runtime.json')
    (said,) = caplog.messages
    assert '20.0 ms' in said and 'in bf16 10.0 ms' in said and 'provenance.json' in said
    in_fp32 = replace(slow, unquantised_dtype='fp32').advice
    assert 'in fp32 10.0 ms' in in_fp32 and '--prefill bf16' not in in_fp32


@pytest.mark.parametrize('native', [True, False])
def test_the_comparison_is_in_what_the_device_multiplies(monkeypatch, native):
    """A CPU without bf16 would be compared with what it emulates, and seem fast."""
    monkeypatch.setattr(runtime_choice, 'has_bf16', lambda device: native)
    made = []

    def make(*given):
        made.append(random_model(*given))
        return made[-1]
    monkeypatch.setattr(runtime_choice, 'random_model', make)
    model = _packed(decoder='int4', group_size=32)
    choice = runtime_choice.measure(model, ('eager', 'fast'))
    assert choice.unquantised_dtype == ('bf16' if native else 'fp32')
    (twin,) = made
    assert next(twin.parameters()).dtype == (torch.bfloat16 if native else torch.float32)


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='torch tells it of x86 alone')
def test_what_multiplies_bf16_is_what_torch_says():
    """The flags that the doctor shows decide; torch reads the processor itself."""
    assert runtime_choice.has_bf16('cpu') == torch.cpu._is_avx512_bf16_supported()


def test_bf16_that_does_not_fit_is_not_made(monkeypatch):
    """The comparison costs no memory that is not there."""
    monkeypatch.setattr('psutil.virtual_memory', lambda: type('Memory', (), {'available': 2**20}))
    choice = runtime_choice.measure(_packed(decoder='int8'), ('eager', 'fast'))
    assert choice.unquantised_ms is None


def test_a_width_that_misses_its_fast_path_is_said_with_the_nearest_that_hits_it(caplog):
    """96 channels and groups of 64: 64 or 128 would do; whole groups say nothing."""
    (said,) = width_warnings(_packed(decoder='int4', group_size=64))
    assert 'mlp.down_proj' in said and '96 inputs, no multiple of 64' in said
    assert f'nearest good width is {nearest_good(96, 64)}' in said
    assert [nearest_good(each, 128) for each in (550, 600, 3)] == [512, 640, 128]
    assert width_warnings(_packed(decoder='int4', group_size=32)) == []
    with caplog.at_level(logging.WARNING):
        make_runtime(_packed(decoder='nf4'), 'fast')
    assert "bitsandbytes' block" in caplog.text
