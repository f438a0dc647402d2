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

"""What tells a small policy the things apart: the auxiliary head, whole words, a warm start."""

from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.vla import prompt
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_sim.axes import CHOICE_OBJECTS, CHOICE_RECEPTACLES
from rlrc_training.data import DemonstrationError, Episode, load_episode, save_episode
from rlrc_training.frames import load_frames
from rlrc_training.grounding import AuxiliaryHead, low_states, Mention, mentions, position_loss
from rlrc_training.presets import preset
from rlrc_training.sft import open_model, sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.trainer import Trainer
import torch

CPU = torch.device('cpu')


def _episode(seed: int, things: tuple[str, ...], **changes) -> Episode:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(5, len(things), 3)).astype(np.float32) if things else None
    return Episode(
        seed, 'ind', 'put can on red plate',
        rng.integers(0, 255, (5, 64, 64, 3)).astype(np.uint8),
        rng.normal(0, 0.01, (5, 7)).astype(np.float32),
        rng.normal(size=(5, 9)).astype(np.float32), things, places, **changes)


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Write three episodes: can and plate, cup and plate, and one that does not say."""
    folder = tmp_path_factory.mktemp('demos')
    for seed, things in ((1_000_000, ('can', 'plate')), (1_000_001, ('plate', 'cup')),
                         (1_000_002, ())):
        save_episode(folder, _episode(seed, things))
    return folder


@pytest.fixture(scope='module')
def config(demos, tmp_path_factory):
    """Return a small training on them."""
    return SftConfig(data=(demos,), out=tmp_path_factory.mktemp('run') / 'out', preset='tiny',
                     steps=2, batch_size=4, eval_episodes=0, device='cpu', warmup_steps=1)


@pytest.fixture(scope='module')
def frames(config):
    """Return the frames as training reads them."""
    vla, tokenizer = preset('tiny')
    return load_frames(config, vla, tokenizer)[0]


def test_where_things_are_survives_the_file(tmp_path):
    """Names and places come back; a file whose places do not fit its names is refused."""
    episode = _episode(1_000_000, ('can', 'plate'), scattered=True)
    path = save_episode(tmp_path, episode)
    again = load_episode(path)
    assert again.things == ('can', 'plate') and again.scattered
    np.testing.assert_array_equal(again.things_m, episode.things_m)
    save_episode(tmp_path, replace(episode, things_m=episode.things_m[:, :1]))
    with pytest.raises(DemonstrationError, match=r'places \(5, 1, 3\) of 2 things in 5 frames'):
        load_episode(path)


def test_frames_know_every_kind_and_where_it_is_not(frames):
    """Columns are the kinds of all files by name; what a file does not show is NaN."""
    assert frames.kinds == ('can', 'cup', 'plate')
    missing = np.isnan(frames.kinds_m).all(axis=-1)
    assert missing[:5].tolist() == [[False, True, False]] * 5
    assert missing[5:10].tolist() == [[True, False, False]] * 5
    assert missing[10:].all()
    expected = _episode(1_000_001, ('plate', 'cup')).things_m
    np.testing.assert_array_equal(frames.kinds_m[5:10, 1], expected[:, 1, :2])


def _loss(head, patches, state, frames, rows):
    return position_loss(head, patches, None, state, frames.positions_m[rows],
                         frames.kinds_m[rows], [()] * len(rows))


def test_only_what_is_there_counts(frames):
    """Another answer about an absent kind costs nothing; about a present one it does."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, len(frames.kinds))
    patches = torch.randn(5, vla.num_patches, vla.decoder.hidden_size)
    state = torch.randn(5, vla.decoder.hidden_size)
    costs = []
    for kind in (None, 1, 0):  # the first five frames show no cup (1), but a can (0)
        with torch.no_grad():
            if kind is not None:
                head.patches.bias[3 + 2 * kind:5 + 2 * kind] += 5.0
        costs.append(_loss(head, patches, state, frames, np.arange(5)).item())
    assert costs[0] == pytest.approx(costs[1]) and costs[2] > costs[0] + 1.0
    nothing = _loss(head, patches, state, frames, np.arange(10, 15))
    nothing.backward()
    assert head.patches.weight.grad.abs().max() == 0, 'a file without places teaches no kind'


def test_the_head_finds_a_kind_by_its_patch(frames):
    """A feature of one patch tells a kind's place: the head learns to look there."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, 3)
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        patches = 0.1 * torch.randn(
            64, vla.num_patches, vla.decoder.hidden_size, generator=generator)
        where = torch.randint(vla.num_patches, (64,), generator=generator)
        patches[torch.arange(64), where, 0] = 2.0
        return patches, where.float() / 4

    errors = []
    for _ in range(400):
        patches, wanted = batch()
        error = (head.seen(patches)[:, 0, 0] - wanted).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert np.mean(errors[-20:]) < 0.3 * np.mean(errors[:5])


def test_training_goes_on_with_its_head(config, monkeypatch):
    """The head's size comes from the data, and a stopped run finds it again."""
    sft(config)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer)
    trainer = Trainer(config, model, CPU, len(frames.kinds))
    assert trainer.restore() and trainer.step == 2
    assert trainer.auxiliary.patches.weight.shape[0] == 3 * 3


def test_every_word_of_the_choice_is_one_token():
    """Each names itself, so no letters have to be put together."""
    vla, tokenizer = preset('choice')
    words = {word for name in CHOICE_OBJECTS + CHOICE_RECEPTACLES for word in name.split()}
    for word in words:
        pieces = 2 if word[0].isdigit() else 1  # a number is never one token with letters
        assert len(tokenizer.encode(' ' + word, add_special_tokens=False).ids) == pieces, word
    assert max(len(prompt.encode(each, tokenizer, vla)) for each in vla.instructions) < 24


def test_a_warm_start_carries_what_a_token_means():
    """Rows move to their token's new number, action bins to theirs; unknown words begin fresh."""
    source = open_checkpoint(shipped_checkpoint())
    model, tokenizer, _, _ = open_model(
        SftConfig(preset='choice', warm_start=shipped_checkpoint()), CPU)
    old, new = source.tokenizer.get_vocab(), tokenizer.get_vocab()
    theirs = source.model.language_model.model.embed_tokens.weight
    ours = model.language_model.model.embed_tokens.weight
    moved = [text for text in new if text in old and new[text] != old[text]]
    assert moved and len(new) > len(old)
    for text in moved:
        torch.testing.assert_close(ours[new[text]], theirs[old[text]], rtol=0, atol=0)
    bins = source.summary.config.action.bins
    assert ours.shape[0] > theirs.shape[0]
    torch.testing.assert_close(ours[-bins:], theirs[-bins:], rtol=0, atol=0)
    head = source.model.language_model.lm_head.weight
    torch.testing.assert_close(model.language_model.lm_head.weight[-bins:], head[-bins:])
    fresh = next(new[text] for text in new if text not in old)
    assert not (ours[fresh] == theirs).all(dim=1).any()


def test_names_are_found_where_the_prompt_ends_them():
    """A longer name hides a shorter one in it, and punctuation is no part of a name."""
    vla, tokenizer = preset('choice')
    kinds = ('7up can', 'bread', 'can', 'gramophone disk', 'plate', 'plastic bottle')

    def read(sentence: str) -> dict[str, str]:
        ids = prompt.encode(sentence, tokenizer, vla)
        return {kinds[each.kind]: tokenizer.decode([ids[each.token]]).strip()
                for each in mentions(sentence, kinds, tokenizer, vla)}

    assert read('put 7up can on gramophone disk') == {'7up can': 'can', 'gramophone disk': 'disk'}
    assert read('could you put plastic bottle on plate?') == {
        'plastic bottle': 'bottle', 'plate': 'plate'}
    assert read('Put Can on breadboard') == {'can': 'can'}
    assert read('wave') == {}


def test_a_name_is_asked_where_it_stands(frames):
    """The answer to a name depends on the decoder's state at its last token, and no other."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, len(frames.kinds))
    patches = torch.randn(5, vla.num_patches, vla.decoder.hidden_size)
    state = torch.randn(5, vla.decoder.hidden_size)
    low = torch.randn(5, vla.num_patches + 12, vla.decoder.hidden_size, requires_grad=True)
    named = [(Mention(0, 4), Mention(1, 6), Mention(2, 9))] * 5  # there is no cup (1) in view
    loss = position_loss(head, patches, low, state, frames.positions_m[:5], frames.kinds_m[:5],
                         named)
    loss.backward()
    asked = low.grad.abs().sum(dim=(0, 2)).nonzero()[:, 0] - vla.num_patches
    assert asked.tolist() == [4, 9]


def test_the_low_state_is_a_layers_output(demos, config):
    """It is what leaves the first layer of two, and the hook is gone afterwards."""
    model, _, _, _ = open_model(config, CPU)
    decoder = model.language_model.model
    embeddings = torch.randn(2, 30, model.config.decoder.hidden_size)
    with low_states(model) as kept:
        decoder(embeddings)
    assert len(kept) == 1 and kept[0].shape == embeddings.shape
    decoder(embeddings)
    assert len(kept) == 1
