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

"""The step runtime against the plain model: same answers, fewer operations, nothing that waits."""

from copy import deepcopy
from dataclasses import replace
import logging

import numpy as np
import pytest
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_ros.vla.config import LayerWidths, ParallelConfig, QuantizationConfig
from rlrc_ros.vla.fused import FusedLayer, good_width, Product, run_layer
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.one_pass import OnePassRuntime
from rlrc_ros.vla.operations import count_operations, WAITS
from rlrc_ros.vla.quantized import HostEmbedding
from rlrc_ros.vla.runtime import PromptTooLongError, Reuse, StepRuntime
from rlrc_ros.vla.runtime_choice import cosine, has_bf16
from rlrc_training.presets import preset
from tiny_vla import make_tiny_checkpoint
import torch

ALWAYS = Reuse(enabled=False)


def _model(**decoder) -> Vla:
    config, _ = preset('tiny')
    config = replace(config, decoder=replace(config.decoder, **decoder))
    model = Vla(config).requires_grad_(False).eval()
    model.initialise(torch.Generator().manual_seed(3))
    return model


@pytest.fixture(scope='module')
def model() -> Vla:
    """Return a decoder whose layers differ, as pruned ones do."""
    return _model(layers=(LayerWidths(4, 96), LayerWidths(1, 22), LayerWidths(2, 33)))


def _image(seed: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def _ids(length: int, seed: int = 0) -> list[int]:
    return [1, *np.random.default_rng(seed).integers(4, 300, length - 1).tolist()]


def _plain(model: Vla, image: np.ndarray, ids: list[int]):
    pixels = to_pixels(torch.from_numpy(image)[None], model.config.towers)
    return model.act(pixels, torch.tensor([ids]), torch.tensor([len(ids)]))


@pytest.mark.parametrize('length', [2, 8, 9, 31])
def test_the_runtime_decodes_what_the_plain_model_decodes(model: Vla, length: int):
    """Tokens are equal and logits within 1e-5, at the edges of a bucket and between them."""
    own = deepcopy(model)
    runtime = StepRuntime(own, reuse=ALWAYS)
    for seed in range(3):
        image, ids = _image(seed), _ids(length, seed)
        expected = _plain(model, image, ids)
        assert runtime.act(image, ids).tolist() == expected.action_ids[0].tolist()
        torch.testing.assert_close(runtime.last_logits.log_softmax(-1),
                                   expected.action_logprobs[0], atol=1e-5, rtol=0)
        # The fused matrices took the place of the model's own, which must still run.
        torch.testing.assert_close(_plain(own, image, ids).logprobs, expected.logprobs)


def test_fusing_copies_no_weights(model: Vla):
    """q, k, v, gate and up are views of the fused matrices afterwards."""
    own = deepcopy(model)
    runtime = StepRuntime(own)
    for layer, fused in zip(own.language_model.model.layers, runtime.layers):
        assert {layer.self_attn.q_proj.weight.untyped_storage().data_ptr(),
                layer.self_attn.v_proj.weight.untyped_storage().data_ptr()} == {
                    fused.qkv.weight.untyped_storage().data_ptr()}
        assert layer.mlp.up_proj.weight.untyped_storage().data_ptr() == \
            fused.gate_up.weight.untyped_storage().data_ptr()


def test_a_width_filled_up_with_zeros_changes_no_result(model: Vla):
    """What a GPU's kernels need (550 becomes 576) is exact, for the fused and the plain layer."""
    assert [good_width(width) for width in (550, 576, 1)] == [576, 576, 64]
    plain, padded = deepcopy(model), deepcopy(model)
    layers = [FusedLayer.of(each.language_model.model.layers[2], multiple)
              for each, multiple in ((plain, 1), (padded, 64))]
    assert layers[1].gate_up.weight.shape == (128, 64)
    x, turn = torch.randn(5, 64), torch.ones(2, 3, 1, 5, 16)
    with torch.inference_mode():
        results = [run_layer(layer, x, turn, torch.zeros(2, 2, 5, 16), None, None)
                   for layer in layers]
    torch.testing.assert_close(*results, atol=1e-6, rtol=0)
    image, ids = _image(0), _ids(9)
    assert torch.equal(_plain(padded, image, ids).action_ids, _plain(model, image, ids).action_ids)


def test_a_step_has_fewer_operations_than_the_plain_models(model: Vla):
    """Counts are a property of the code: a decoder layer is 12 operations less at least."""
    runtime = StepRuntime(deepcopy(model), reuse=ALWAYS)
    image, ids = _image(0), _ids(9)
    runtime.act(image, ids)
    fused = count_operations(lambda: runtime.act(image, ids))
    plain = count_operations(lambda: _plain(model, image, ids))
    layer_runs = 3 * model.config.action_tokens
    assert plain.total() - fused.total() >= 12 * layer_runs, (plain, fused)
    # Four products a layer and token: two plain, two that add to the residual.
    head = model.config.action_tokens
    assert fused['aten.mm'] == 2 * layer_runs + head
    assert plain['aten.mm'] == 7 * layer_runs + head
    # Keys and values reach the cache in one copy; ids, logits and nothing else use the same.
    assert fused['aten.index_copy_'] == 3 * (head - 1) + 2 * head


def test_counts_of_a_control_step_of_the_shipped_shapes():
    """Seven tokens: the plain model, ours, and what a capture launches of it; then one pass."""
    config, _ = preset('nano')
    plain_model = Vla(config).requires_grad_(False).eval()
    image, ids = _image(0, 128), _ids(20)
    plain = count_operations(lambda: _plain(plain_model, image, ids)).total()
    counts, launched = {}, {}
    once = replace(config, parallel=ParallelConfig('discrete'))
    for name, kind, model in (('in turn', StepRuntime, plain_model),
                              ('one pass', OnePassRuntime, Vla(once).requires_grad_(False))):
        launches = []

        def capture(step, launches=launches):
            return lambda: (launches.append(1), step())
        runtime = kind(model.eval(), reuse=ALWAYS, capture=capture)
        runtime.prepare(20)
        counts[name] = count_operations(lambda runtime=runtime: runtime.act(image, ids)).total()
        launched[name] = len(launches)
    assert plain >= 1300 and counts['in turn'] <= 850 and counts['one pass'] <= 230
    assert launched == {'in turn': 7, 'one pass': 2}


def test_nothing_in_a_step_waits_for_the_device(model: Vla):
    """No operation reads a number back or brings one over: a capture would refuse it."""
    runtime = StepRuntime(deepcopy(model))
    runtime.prepare(9)
    for step in runtime._steps.values():
        assert not WAITS & set(count_operations(step))


def test_a_step_mixes_no_devices():
    """Every tensor of a step is on the model's device; `meta` refuses any other as CUDA does."""
    config, _ = preset('tiny')
    runtime = StepRuntime(skeleton(config))
    with torch.inference_mode():
        runtime._prefill(16)
        runtime._read_text(16)
        runtime._decode()
    assert runtime._token.is_meta


@pytest.fixture(scope='module')
def lean(tmp_path_factory):
    """Return an int4 checkpoint: cut head, table on the host; and its opened model."""
    record = QuantizationConfig('int4', 'int8', 'int8', 'bf16', 32)
    return make_tiny_checkpoint(tmp_path_factory.mktemp('lean') / 'int4', 3, record)


def test_a_table_on_the_host_is_read_outside_the_graphs(lean, monkeypatch):
    """Captured steps never ask the host's table, and decode what the plain model decodes."""
    inside, looked_up = [], []

    def capture(step):
        def replay():
            inside.append(step)
            step()
            inside.pop()
        return replay

    plain = HostEmbedding.forward

    def forward(table, ids):
        assert not inside, 'a captured graph would wait for the host'
        looked_up.append(ids)
        return plain(table, ids)

    expected, runtime = open_checkpoint(lean).model, StepRuntime(
        open_checkpoint(lean).model, capture=capture, reuse=ALWAYS)
    monkeypatch.setattr(HostEmbedding, 'forward', forward)
    for seed, length in enumerate((9, 9, 12, 31)):
        image, ids = _image(seed), _ids(length, length)
        wanted = _plain(expected, image, ids)
        assert runtime.act(image, ids).tolist() == wanted.action_ids[0].tolist()
        torch.testing.assert_close(runtime.last_logits.log_softmax(-1),
                                   wanted.action_logprobs[0], atol=0.05, rtol=0)
    assert len(looked_up) == 4 and runtime.captured  # those of the plain model


def test_a_new_prompt_on_the_same_image_reads_the_hosts_table_too(lean):
    """The image's keys and values stay, the words' embeddings are new."""
    runtime, plain = StepRuntime(open_checkpoint(lean).model), open_checkpoint(lean).model
    for length in (9, 12, 5, 9):
        ids = _ids(length, length)
        assert runtime.act(_image(0), ids).tolist() == \
            _plain(plain, _image(0), ids).action_ids[0].tolist()


def test_a_step_with_a_table_on_the_host_mixes_no_devices():
    """Model on `meta`, table on the CPU: a step that read the table would be refused."""
    config, _ = preset('tiny')
    model = skeleton(replace(config, quantization=QuantizationConfig(decoder='bf16')))
    table = model.language_model.model.embed_tokens
    table.weight = torch.nn.Parameter(torch.zeros(table.weight.shape), requires_grad=False)
    table.place(torch.device('meta'), torch.float32)
    runtime = StepRuntime(model)
    with torch.inference_mode():
        runtime._prefill(16)
        runtime._read_text(16)
        runtime._decode()
    assert runtime._token.is_meta and not runtime._host_text.is_meta


def test_the_buffers_never_move(model: Vla):
    """What a captured graph would read and write lies where it lay, whatever is asked."""
    runtime = StepRuntime(deepcopy(model), reuse=ALWAYS)
    runtime.act(_image(0), _ids(9))
    buffers = [runtime._image, runtime._prompt, runtime._token, runtime._position, runtime._ids,
               runtime._logits, *runtime.cache]
    before = [each.data_ptr() for each in buffers]
    runtime.act(_image(1), _ids(30))
    assert [each.data_ptr() for each in buffers] == before


def test_steps_are_captured_once_and_launched_ever_after(model: Vla):
    """A step of 7 tokens is 1 prefill and 6 decoding launches, on captures made before it."""
    captured, launches = [], []

    def capture(step):
        captured.append(step)

        def replay():
            launches.append(step)
            step()
        return replay

    runtime = StepRuntime(deepcopy(model), capture=capture, reuse=ALWAYS)
    runtime.prepare(9)
    assert len(captured) == 3 and runtime.captured
    for seed in range(2):
        expected = _plain(model, _image(seed), _ids(12)).action_ids[0].tolist()
        launches.clear()
        assert runtime.act(_image(seed), _ids(12)).tolist() == expected
        assert len(launches) == 7
    assert len(captured) == 3


def test_a_capture_that_fails_is_said_once_and_costs_no_answer(model: Vla, caplog):
    """The same step runs uncaptured; nothing is tried again in the control loop."""
    attempts = []

    def capture(step):
        attempts.append(step)
        raise RuntimeError('operation not permitted when stream is capturing\nmore lines')

    runtime = StepRuntime(deepcopy(model), capture=capture, reuse=ALWAYS)
    with caplog.at_level(logging.WARNING):
        answers = [runtime.act(_image(seed), _ids(9)).tolist() for seed in range(2)]
    assert answers == [_plain(model, _image(seed), _ids(9)).action_ids[0].tolist()
                       for seed in range(2)]
    assert len(attempts) == 1 and len(caplog.records) == 1
    assert 'uncaptured' in caplog.text and not runtime.captured
    assert runtime.capture_error == 'operation not permitted when stream is capturing'


def test_a_prompt_longer_than_the_largest_bucket_is_refused_by_its_length(model: Vla):
    """The door names both lengths; the policy turns it over to the plain model."""
    runtime = StepRuntime(deepcopy(model))
    assert runtime.longest_prompt == 128
    with pytest.raises(PromptTooLongError, match=r'129 tokens .*\(128\)'):
        runtime.act(_image(0), _ids(129))


def test_a_new_instruction_on_the_same_image_reads_only_its_own_tokens(model: Vla):
    """Image keys and values come from the cache and the answer is that of a whole prefill."""
    runtime = StepRuntime(deepcopy(model))
    image = _image(0)
    whole = count_operations(lambda: runtime.act(image, _ids(9)))  # and the steps are made
    for length in (12, 5, 20):
        ids = _ids(length, seed=length)
        expected = _plain(model, image, ids)
        short = count_operations(lambda: runtime.act(image, ids))
        assert runtime._host_ids.tolist() == expected.action_ids[0].tolist()
        torch.testing.assert_close(runtime.last_logits.log_softmax(-1),
                                   expected.action_logprobs[0], atol=1e-5, rtol=0)
        assert 'aten.convolution' in whole and 'aten.convolution' not in short


def test_the_same_moment_again_costs_no_operation(model: Vla):
    """The same image and instruction have the same answer; any other image is computed."""
    runtime = StepRuntime(deepcopy(model))
    image, ids = _image(0), _ids(9)
    first = runtime.act(image, ids)
    assert count_operations(lambda: runtime.act(image.copy(), ids)).total() == 0
    assert np.array_equal(runtime.act(image, ids), first)
    image[3, 3, 0] ^= 1
    assert count_operations(lambda: runtime.act(image, ids)).total() > 100


def test_a_step_that_broke_leaves_nothing_to_reuse(model: Vla, monkeypatch):
    """Half a cache is not taken for the image's: the next call computes all of it."""
    runtime = StepRuntime(deepcopy(model))
    image, ids = _image(0), _ids(9)
    runtime.act(_image(1), ids)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr('rlrc_ros.vla.runtime.run_layer', lambda *_: (_ for _ in ()).throw(
            MemoryError('no room')))
        runtime.act(image, ids)
    for again in (ids, _ids(12)):
        assert runtime.act(image, again).tolist() == \
            _plain(model, image, again).action_ids[0].tolist()


@pytest.mark.parametrize('width', [45, 100, 344, 512, 550])
def test_an_int8_product_reads_no_further_than_its_rows(width: int):
    """Beside memory full of NaN, at the paper's width too, it is the product of the integers."""
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        poison = [torch.full((size,), torch.nan) for size in (64, 550, 4096, 70_400)]
        del poison
        product = Product(torch.randn(128, width, generator=generator).bfloat16() * 0.05)
        product.add_int8()
        x = torch.randn(1, width, generator=generator).bfloat16()
        wanted = x.float() @ product.weight.float().t()
        # 1/127 of a row's largest weight, rounded: 0.009 in the sum's deviation of 1.1.
        torch.testing.assert_close(product(x).float(), wanted, atol=0.06, rtol=0.01)


@pytest.mark.skipif(not has_bf16('cpu'), reason='int8 in decoding is for CPUs with bf16')
@pytest.mark.parametrize('width', [22, 64, 100])
def test_int8_in_decoding_stays_near_the_plain_model(width: int):
    """Pruned widths are filled up to what the kernel reads; a head of 16 stays in bf16."""
    plain = _model(layers=(LayerWidths(4, width), LayerWidths(1, width)))
    runtime = StepRuntime(deepcopy(plain).bfloat16(), int8=True, reuse=ALWAYS)
    assert all(layer.down.weight_bytes and layer.gate_up.weight_bytes for layer in runtime.layers)
    assert not runtime.layers[1].o.weight_bytes
    for seed in range(5):
        image, ids = _image(seed), _ids(9, seed)
        answer = runtime.act(image, ids)
        with torch.inference_mode():
            hidden = plain(to_pixels(torch.from_numpy(image)[None], plain.config.towers),
                           torch.tensor([[*ids, *answer]]), torch.arange(7)[None] + len(ids))
            assert cosine(runtime.last_logits, plain.action_logits(hidden)[0]) > 0.995


def test_tolerance_compares_with_the_image_that_was_computed():
    """Small changes cannot add up unseen: the reference moves only when a step is computed."""
    reuse, image = Reuse(tolerance=2), np.full((2, 2, 3), 100, np.uint8)
    assert reuse.same(image + 2, image) and reuse.same(image - 2, image)
    assert not reuse.same(image + 3, image)
    assert not Reuse().same(image + 1, image) and Reuse().same(image.copy(), image)
    assert not Reuse(enabled=False).same(image, image) and not reuse.same(image, None)
    with pytest.raises(ValueError, match='0 ... 255'):
        Reuse(tolerance=256)
    runtime = StepRuntime(_model(), reuse=Reuse(tolerance=2))
    runtime.act(image := _image(0) // 2, _ids(9))
    for step in range(1, 4):
        runtime.act(image + np.uint8(step), _ids(9))
        assert np.array_equal(runtime._last_image, image + np.uint8(3 if step == 3 else 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_captured_on_cuda_the_answers_are_the_plain_models(model: Vla):
    """In fp32 the captured graphs decode the plain model's tokens."""
    own = deepcopy(model).cuda()
    runtime = StepRuntime(own)
    for seed in range(3):
        image, ids = _image(seed), _ids(9 + seed, seed)
        assert runtime.act(image, ids).tolist() == \
            _plain(model, image, ids).action_ids[0].tolist()
    assert runtime.captured and runtime.capture_error is None
