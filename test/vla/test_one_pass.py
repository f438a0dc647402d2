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

"""Answering in one pass: the runtime is the plain model, and sampling is what it says."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla.config import ParallelConfig
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.one_pass import OnePassRuntime
from rlrc_ros.vla.operations import count_operations, WAITS
from rlrc_ros.vla.parallel import action_states
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.runtime import PromptTooLongError, Reuse, StepRuntime
from rlrc_training.presets import preset
from tiny_vla import make_tiny_oft_checkpoint, tiny_oft_config
import torch


def _model(horizon: int = 1) -> Vla:
    model = Vla(tiny_oft_config(preset('tiny')[0], horizon, head='discrete'))
    model.initialise(torch.Generator().manual_seed(3))
    return model.requires_grad_(False).eval()


def _image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def _ids(length: int, seed: int = 0) -> list[int]:
    return [1, *np.random.default_rng(seed).integers(4, 300, length - 1).tolist()]


def _plain(model: Vla, image: np.ndarray, ids: list[int]):
    pixels = to_pixels(torch.from_numpy(image)[None], model.config.towers)
    return model.act(pixels, torch.tensor([ids]), torch.tensor([len(ids)]))


@pytest.mark.parametrize(('horizon', 'length'), [(1, 2), (1, 8), (8, 9), (8, 31)])
def test_the_runtime_answers_what_the_plain_model_answers(horizon: int, length: int):
    """Tokens are equal and logits within 1e-5, at the edges of a bucket and between them."""
    model = _model(horizon)
    runtime = OnePassRuntime(deepcopy(model), reuse=Reuse(enabled=False))
    for seed in range(2):
        image, ids = _image(seed), _ids(length, seed)
        expected = _plain(model, image, ids)
        assert runtime.act(image, ids).tolist() == expected.action_ids[0].tolist()
        torch.testing.assert_close(runtime.last_logits.log_softmax(-1),
                                   expected.action_logprobs[0], atol=1e-5, rtol=0)
    with pytest.raises(PromptTooLongError, match='129 tokens'):
        runtime.act(_image(0), _ids(129))


def test_a_step_is_two_launches_and_a_new_instruction_one():
    """Whatever the chunk's length; the image's embeddings stay, exactly."""
    launches = []

    def capture(step):
        def replay():
            launches.append(step)
            step()
        return replay
    model = _model(8)
    runtime = OnePassRuntime(deepcopy(model), capture=capture)
    runtime.prepare(9)
    image = _image(0)
    for ids, expected in ((_ids(9), 2), (_ids(12, 1), 1), (_ids(12, 1), 0)):
        launches.clear()
        assert runtime.act(image, ids).tolist() == _plain(model, image, ids).action_ids[0].tolist()
        assert len(launches) == expected


def test_operations_do_not_grow_with_the_chunk_and_none_waits():
    """One pass of 56 tokens counts what one of 7 does; decoding 7 in turn counts twice as much."""
    totals = []
    for horizon in (1, 8):
        runtime = OnePassRuntime(_model(horizon), reuse=Reuse(enabled=False))
        runtime.prepare(9)
        totals.append(count_operations(lambda runtime=runtime: runtime.act(_image(0), _ids(9))))
        for step in runtime._steps.values():
            assert not WAITS & set(count_operations(step))
    assert totals[0] == totals[1]
    config = replace(_model().config, parallel=None)
    in_turn = StepRuntime(_unlike(config), reuse=Reuse(enabled=False))
    in_turn.prepare(9)
    assert count_operations(
        lambda: in_turn.act(_image(0), _ids(9))).total() > 2 * totals[0].total()


def _unlike(config) -> Vla:
    return Vla(config).requires_grad_(False).eval()


def test_a_step_mixes_no_devices():
    """Every tensor of both launches is on the model's device, as CUDA wants it."""
    runtime = OnePassRuntime(skeleton(_model().config))
    with torch.inference_mode():
        runtime._read_image()
        runtime._answer(16)
    assert runtime._ids.is_meta


def test_sampling_draws_each_token_by_itself_and_repeats_with_its_numbers():
    """Log-probabilities are the slots' own; uniforms decide alone, in any batch."""
    model = _model()
    pixels = to_pixels(torch.from_numpy(np.stack([_image(0), _image(1)])), model.config.towers)
    ids, lengths = torch.tensor([_ids(9), _ids(9, 1)]), torch.tensor([9, 9])
    uniforms = torch.rand(2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    both = model.act(pixels, ids, lengths, 1.0, uniforms=uniforms)
    second = model.act(pixels[1:], ids[1:], lengths[1:], 1.0, uniforms=uniforms[1:])
    assert torch.equal(both.action_ids[1:], second.action_ids)
    assert both.action_logprobs.shape == (2, 7, 256)
    states = action_states(model, pixels, ids, lengths)
    torch.testing.assert_close(both.first_hidden, states[:, 0])
    low = model.config.action.lowest_id
    expected = model.action_logits(states[:, :-1]).log_softmax(-1).gather(
        2, (both.action_ids - low)[..., None])[..., 0]
    torch.testing.assert_close(both.logprobs, expected)
    drawn = model.act(pixels, ids, lengths, 1.0, torch.Generator().manual_seed(1))
    assert drawn.action_ids.shape == (2, 7)


def test_the_policy_runs_it_fast_and_regressing_ones_as_they_are(tmp_path):
    """A discrete head gets the runtime; an L1 head stays eager, and both answer their chunk."""
    discrete = Policy.open(make_tiny_oft_checkpoint(tmp_path / 'a', head='discrete'), 'cpu',
                           runtime='fast')
    regressing = Policy.open(make_tiny_oft_checkpoint(tmp_path / 'b'), 'cpu', runtime='fast')
    assert (discrete.runtime_name, regressing.runtime_name) == ('fast', 'eager')
    observation = Observation(_image(0), 'put carrot on plate')
    for policy in (discrete, regressing):
        assert policy.warm_up() > 0
        assert len(policy.act(observation).actions) == 4


def test_sampling_needs_tokens():
    """A model that regresses has none to draw."""
    model = Vla(replace(_model().config, parallel=ParallelConfig('l1')))
    with pytest.raises(ValueError, match='regresses'):
        model.act(torch.zeros(1, 6, 64, 64), torch.tensor([[1, 2]]), torch.tensor([2]))
