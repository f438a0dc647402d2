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

"""The model's parts against independent implementations, and acting against training."""

from dataclasses import replace

import pytest
from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_ros.vla.language import KVCache, LanguageModel
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_training.presets import preset
import torch

UNEVEN = DecoderConfig(vocab_size=96, hidden_size=32, head_dim=8,
                       layers=(LayerWidths(4, 48), LayerWidths(1, 8), LayerWidths(3, 20)))


def _random(module: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.15, generator=generator)


def _tiny_model() -> Vla:
    config, _ = preset('tiny')
    model = Vla(config)
    model.initialise(torch.Generator().manual_seed(3))
    return model.eval()


def _inputs(model: Vla, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    size = model.config.image_size
    pixels = torch.randn(len(lengths), 6, size, size, generator=generator)
    ids = torch.randint(4, 300, (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        ids[row, length:] = model.config.pad_token_id
    return pixels, ids, torch.tensor(lengths)


def test_the_decoder_equals_hugging_faces_llama():
    """With the same weights, even layers give the logits of transformers' LlamaForCausalLM."""
    transformers = pytest.importorskip('transformers')
    config = replace(UNEVEN, layers=(LayerWidths(4, 48),) * 3)
    ours = LanguageModel(config)
    _random(ours)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, rms_norm_eps=1e-6, rope_theta=10000.0)).eval()
    theirs.load_state_dict(ours.state_dict())
    ids = torch.randint(0, 96, (2, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mine = ours.lm_head(ours.model(ours.model.embed_tokens(ids)))
        torch.testing.assert_close(mine, theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_decoding_token_by_token_equals_one_pass_with_uneven_layers():
    """The static cache gives what the full forward gives, rows of different length included."""
    model = LanguageModel(UNEVEN).eval()
    _random(model)
    ids = torch.randint(0, 96, (2, 12), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([7, 4])
    decoder = model.model
    with torch.no_grad():
        full = decoder(decoder.embed_tokens(ids))
        cache = KVCache(UNEVEN, 2, 12, torch.device('cpu'), torch.float32)
        prefill = decoder(decoder.embed_tokens(ids[:, :7]), cache=cache)
        torch.testing.assert_close(prefill[0, 6], full[0, 6], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(prefill[1, 3], full[1, 3], atol=1e-5, rtol=1e-5)
        for step in range(5):
            where = lengths + step
            token = ids.gather(1, where[:, None])
            hidden = decoder(decoder.embed_tokens(token), where[:, None], cache)
            expected = full[torch.arange(2), where]
            torch.testing.assert_close(hidden[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours():
    """A prompt alone and the same prompt padded in a batch get the same tokens."""
    model = _tiny_model()
    pixels, ids, lengths = _inputs(model, [9, 14, 5])
    together = model.act(pixels, ids, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model.act(pixels[row:row + 1], ids[row:row + 1, :length], lengths[row:row + 1])
        assert together.action_ids[row].tolist() == alone.action_ids[0].tolist()
        torch.testing.assert_close(together.logprobs[row], alone.logprobs[0], atol=1e-4, rtol=0)


def test_acting_predicts_what_training_predicts():
    """Teacher-forcing the decoded tokens gives the log-probabilities that decoding reported."""
    model = _tiny_model()
    pixels, ids, lengths = _inputs(model, [11, 11])
    decoded = model.act(pixels, ids, lengths, temperature=1.0,
                        generator=torch.Generator().manual_seed(0))
    sequence = torch.cat([ids, decoded.action_ids], dim=1)
    where = 11 + torch.arange(7).expand(2, -1)
    with torch.no_grad():
        hidden = model(pixels, sequence, where)
        logprobs = torch.log_softmax(model.action_logits(hidden).float(), -1)
    low_id = model.config.action.lowest_id
    chosen = logprobs.gather(2, (decoded.action_ids - low_id)[..., None])[..., 0]
    torch.testing.assert_close(chosen, decoded.logprobs, atol=1e-4, rtol=0)
    torch.testing.assert_close(hidden[:, 0], decoded.first_hidden, atol=1e-4, rtol=1e-4)


def test_an_answer_is_always_made_of_action_tokens():
    """Sampling from random weights gives seven ids, all of them action ids."""
    model = _tiny_model()
    pixels, ids, lengths = _inputs(model, [8, 6, 7])
    decoded = model.act(pixels, ids, lengths, temperature=5.0)
    action = model.config.action
    assert decoded.action_ids.shape == (3, 7)
    assert decoded.action_ids.min() >= action.lowest_id
    assert decoded.action_ids.max() < action.vocab_end


def test_the_sliced_head_equals_the_whole_head():
    """Logits over the action rows alone are the same numbers as in the full vocabulary."""
    model = _tiny_model()
    hidden = torch.randn(3, 64)
    action = model.config.action
    full = model.language_model.lm_head(hidden)[:, action.lowest_id:]
    torch.testing.assert_close(model.action_logits(hidden), full[:, :action.bins])


def test_temperature_divides_the_logits_before_the_softmax():
    """The distribution that is sampled from and reported is softmax(logits / temperature)."""
    model = _tiny_model()
    pixels, ids, lengths = _inputs(model, [9, 5])
    decoded = model.act(pixels, ids, lengths, temperature=0.6,
                        generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.log_softmax(model.action_logits(decoded.first_hidden).float() / 0.6, -1)
    torch.testing.assert_close(decoded.action_logprobs[:, 0], expected, atol=1e-6, rtol=0)
    assert decoded.action_logprobs.shape == (2, 7, model.config.action.bins)
    again = model.act(pixels, ids, lengths, temperature=0.6,
                      generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoded.action_ids, again.action_ids)


def test_a_skeleton_has_the_models_names_and_shapes_without_memory():
    """On the meta device nothing is drawn and nothing differs."""
    config, _ = preset('tiny')
    built, bones = Vla(config).state_dict(), skeleton(config).state_dict()
    assert {name: each.shape for name, each in bones.items()} == {
        name: each.shape for name, each in built.items()}
    assert all(each.is_meta for each in bones.values())
