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

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.vla import prompt
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_sim.axes import CHOICE_OBJECTS, CHOICE_RECEPTACLES
from rlrc_training.data import (
    DemonstrationError,
    Episode,
    load_episode,
    OtherSentence,
    save_episode,
)
from rlrc_training.frames import FINGERS_SCALE, load_frames
from rlrc_training.grounding import (
    AuxiliaryHead,
    decided_loss,
    low_states,
    named_loss,
    Question,
    Questions,
    seen_loss,
    wanted_of,
)
from rlrc_training.presets import preset
from rlrc_training.sft import open_model, sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.trainer import Trainer
from safetensors import safe_open
from safetensors.numpy import save_file
import torch

CPU = torch.device('cpu')


def _episode(seed: int, things: tuple[str, ...], **changes) -> Episode:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(5, len(things), 3)).astype(np.float32) if things else None
    turned = rng.uniform(-1, 2, (5, len(things))).astype(np.float32) if things else None
    if things:
        turned[:, things.index('plate')] = np.nan
    return Episode(
        seed, 'ind', 'put can on red plate',
        rng.integers(0, 255, (5, 64, 64, 3)).astype(np.uint8),
        rng.normal(0, 0.01, (5, 7)).astype(np.float32),
        rng.normal(size=(5, 9)).astype(np.float32), things, places,
        turned, **changes)


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


def _wanted(frames) -> torch.Tensor:
    kinds_m, turned, hand = map(
        torch.from_numpy, (frames.kinds_m, frames.kinds_turned, frames.hand))
    return wanted_of(kinds_m, turned, torch.full((len(kinds_m), 2), torch.nan), hand)


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
    np.testing.assert_array_equal(again.things_rad, episode.things_rad)
    save_episode(tmp_path, replace(episode, things_m=episode.things_m[:, :1]))
    with pytest.raises(DemonstrationError, match=r'places \(5, 1, 3\) of 2 things in 5 frames'):
        load_episode(path)
    save_episode(tmp_path, replace(episode, things_rad=episode.things_rad[:, :1]))
    with pytest.raises(DemonstrationError, match=r'turns \(5, 1\) of 2 things in 5 frames'):
        load_episode(path)
    save_episode(tmp_path, replace(episode, things_rad=None))
    assert load_episode(path).things_rad is None, 'files from before turns were kept are read'
    hand = np.arange(15.0).reshape(5, 3)
    save_episode(tmp_path, replace(episode, hand=hand))
    np.testing.assert_array_equal(load_episode(path).hand, hand)
    save_episode(tmp_path, replace(episode, hand=hand[:4]))
    with pytest.raises(DemonstrationError, match=r'of the hand \(4, 3\) in 5 frames'):
        load_episode(path)


def test_a_file_from_before_fingers_were_told_tells_the_hands_turn(tmp_path):
    """Its turn is read, the rest is not known."""
    episode = _episode(1_000_000, ('can', 'plate'))
    path = save_episode(tmp_path, episode)
    with safe_open(path, 'numpy') as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    save_file({**arrays, 'hand_rad': np.arange(5, dtype=np.float32)}, path, metadata)
    hand = load_episode(path).hand
    np.testing.assert_array_equal(hand[:, 0], np.arange(5))
    assert np.isnan(hand[:, 1:]).all()


def test_frames_know_every_kind_and_where_it_is_not(frames):
    """Columns are the kinds of all files by name; what a file does not show is NaN."""
    assert frames.kinds == ('can', 'cup', 'plate')
    missing = np.isnan(frames.kinds_m).all(axis=-1)
    assert missing[:5].tolist() == [[False, True, False]] * 5
    assert missing[5:10].tolist() == [[True, False, False]] * 5
    assert missing[10:].all()
    expected = _episode(1_000_001, ('plate', 'cup')).things_m
    np.testing.assert_array_equal(frames.kinds_m[5:10, 1], expected[:, 1, :2])


def test_frames_know_how_long_things_are_turned(frames):
    """Half a turn is none; what has no long side, or is not there, is NaN."""
    episode = _episode(1_000_000, ('can', 'plate'))
    heading = np.arctan2(frames.kinds_turned[:5, 0, 1], frames.kinds_turned[:5, 0, 0]) / 2
    np.testing.assert_allclose(
        np.sin(heading - episode.things_rad[:, 0]), 0.0, atol=1e-6)
    missing = np.isnan(frames.kinds_turned).all(axis=-1)
    assert missing[:5].tolist() == [[False, True, True]] * 5
    assert missing[5:10].tolist() == [[True, False, True]] * 5
    assert missing[10:].all()


def test_frames_know_how_an_answers_object_and_the_hand_are(config, tmp_path):
    """The object is the thing that lies where the answer says; unknown turns are NaN."""
    turns, fingers = np.linspace(-3, 3, 5), np.linspace(0.03, 0.07, 5)
    episode = _episode(1_000_000, ('can', 'plate'),
                       hand=np.stack([turns, fingers, np.arange(5) % 2], axis=1))
    positions = episode.positions_m.copy()
    positions[:3, :3] = episode.things_m[:3, 0]  # the can
    positions[3, :3] = episode.things_m[3, 1]  # the plate; the last is none of the two
    save_episode(tmp_path, replace(episode, positions_m=positions))
    frames = load_frames(replace(config, data=(tmp_path,)), *preset('tiny'))[0]
    at_hand = frames.at_hand(frames.answers(np.arange(5)))
    heading = np.concatenate([episode.things_rad[:3, :1], np.full((2, 1), np.nan)])[:, 0]
    for columns, wanted in ((at_hand[:, :2], heading), (at_hand[:, 2:4], turns)):
        np.testing.assert_allclose(
            columns, np.stack([np.cos(2 * wanted), np.sin(2 * wanted)], axis=1), atol=1e-6)
    np.testing.assert_allclose(at_hand[:, 4], FINGERS_SCALE * fingers, rtol=1e-6)
    np.testing.assert_array_equal(at_hand[:, 5], np.arange(5) % 2)


def test_what_is_held_is_told_of_a_pictures_own_sentence_alone(config, tmp_path):
    """Answers to other sentences are about another object."""
    episode = _episode(1_000_000, ('can', 'cup', 'plate'), hand=np.ones((5, 3)))
    other = OtherSentence('put cup on plate', episode.actions, episode.positions_m)
    save_episode(tmp_path, replace(episode, others=(other,)))
    frames = load_frames(replace(config, data=(tmp_path,), sentences=2), *preset('tiny'))[0]
    held = frames.at_hand(frames.answers(np.arange(10)))[:, 5]
    assert (held[:5] == 1).all() and np.isnan(held[5:]).all()
    assert (frames.hand[:, 3] == 1).all(), 'the picture itself knows it still'


def test_a_folder_without_the_hands_turn_is_named(config, tmp_path, caplog):
    """One of two folders was collected before the hand's turn was kept."""
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.mkdir(), new.mkdir()
    save_episode(old, _episode(1_000_000, ('can', 'plate')))
    save_episode(new, _episode(1_000_001, ('can', 'plate'), hand=np.zeros((5, 3))))
    load_frames(replace(config, data=(old, new)), *preset('tiny'))
    said, = [each.getMessage() for each in caplog.records if 'hand is turned' in each.message]
    assert said.startswith(f'{old} says where')
    caplog.clear()
    load_frames(replace(config, data=(old, new), auxiliary_weight=0.0), *preset('tiny'))
    assert not caplog.records


def test_the_decision_is_asked_how_object_and_hand_are():
    """Wrong turns and fingers cost, unknown ones do not."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, 0)
    state, places = torch.randn(2, vla.decoder.hidden_size), torch.zeros(2, 9)
    with torch.no_grad():
        places, right = (each.clone() for each in head.decided(state).split([9, 6], dim=1))
    assert decided_loss(head, state, places / 10, right).item() == pytest.approx(0, abs=1e-6)
    for number, alike in ((2, 4), (4, 2), (5, 2)):  # one of four of turns, one of two of fingers
        wrong = right.clone()
        wrong[:, number] += 1.0
        assert decided_loss(head, state, places / 10, wrong).item() == pytest.approx(0.95 / alike)
        wrong[:, number] = torch.nan
        assert decided_loss(head, state, places / 10, wrong).item() == pytest.approx(0, abs=1e-6)


def test_image_tokens_are_asked_how_far_the_fingers_are_apart():
    """Another answer costs where that is known, and nothing where it is not."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, 1)
    patches = torch.randn(2, vla.num_patches, vla.decoder.hidden_size)
    apart = head.seen(patches)[:, 2, 2].detach()
    nothing = torch.full((2, 1, 2), torch.nan)
    for wanted, cost in ((apart, 0.0), (apart + 1.0, 0.95), (apart * torch.nan, 0.0)):
        hand = torch.full((2, 4), torch.nan)
        hand[:, 2] = wanted
        asked = wanted_of(nothing, nothing, nothing[:, 0], hand)
        assert seen_loss(head, patches, asked).item() == pytest.approx(cost, abs=1e-6)


def test_only_what_is_there_counts(frames):
    """Another answer about an absent kind costs nothing; about a present one it does."""
    vla, _ = preset('tiny')
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, len(frames.kinds))
    patches = torch.randn(5, vla.num_patches, vla.decoder.hidden_size)
    wanted = _wanted(frames)
    costs = []
    for kind in (None, 1, 0):  # the first five frames show no cup (1), but a can (0)
        with torch.no_grad():
            if kind is not None:
                head.patches.bias[5 + 4 * kind:9 + 4 * kind] += 5.0
        costs.append(seen_loss(head, patches, wanted[:5]).item())
    assert costs[0] == pytest.approx(costs[1]) and costs[2] > costs[0] + 1.0
    with torch.no_grad():
        head.patches.bias[5 + 4 * 2 + 2:5 + 4 * 2 + 4] += 5.0  # how the plate is turned
    assert seen_loss(head, patches, wanted[:5]).item() == pytest.approx(costs[2])
    seen_loss(head, patches, wanted[10:15]).backward()
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


def test_training_goes_on_with_its_head(config):
    """The head's size comes from the data, and a stopped run finds it again."""
    sft(config)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer)
    trainer = Trainer(config, model, CPU, len(frames.kinds))
    assert trainer.restore() and trainer.step == 2
    assert trainer.auxiliary.patches.weight.shape[0] == 5 * (3 + 2), 'and the hand and its fingers'


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
    source = open_checkpoint(shipped_checkpoint('nano'))
    model, tokenizer, _, _ = open_model(
        SftConfig(preset='choice', warm_start=shipped_checkpoint('nano')), CPU)
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


KINDS = ('7up can', 'bread', 'can', 'gramophone disk', 'plate', 'plastic bottle')


@pytest.fixture(scope='module')
def questions():
    """Return what can be asked in three sentences, the last of which names nothing."""
    vla, tokenizer = preset('choice')
    return Questions(('put 7up can on gramophone disk', 'could you put Bread on plate?', 'wave'),
                     KINDS, tokenizer, vla)


@pytest.mark.parametrize('sentence, chance, kinds, read', [
    (0, (0.0, 0.0), ('7up can', 'bread'), 'put 7up can on bread'),
    (0, (0.3, 0.9), ('bread', 'plate'), 'put bread on plate'),
    (1, (0.99, 0.4), ('plate', 'bread'), 'could you put plate on bread?'),
    (1, (0.6, 0.99), ('gramophone disk', 'plate'), 'could you put gramophone disk on plate?')])
def test_a_question_names_two_things_on_the_table(questions, sentence, chance, kinds, read):
    """Only the names differ from the demonstrated prompt, and their last tokens are told."""
    vla, tokenizer = preset('choice')
    there = np.array([True, True, False, True, True, False])
    asked, chosen = questions.ask(sentence, there, np.array(chance))
    assert tuple(KINDS[each] for each in chosen) == kinds
    assert list(asked.ids) == prompt.encode(read, tokenizer, vla)
    for name, token in zip(kinds, asked.tokens):
        assert tokenizer.decode([asked.ids[token]]).strip() == name.split()[-1]
        before = tokenizer.decode(list(asked.ids[:token + 1]))
        assert before.endswith(name)


def test_nothing_is_asked_where_there_is_nothing_to_ask(questions):
    """A sentence without two names; a table with one thing."""
    assert questions.ask(2, np.ones(6, bool), np.zeros(2)) is None
    assert questions.ask(0, np.arange(6) == 3, np.zeros(2)) is None


def test_every_pair_is_asked_alike(questions):
    """All ordered pairs of four things come, about equally often, and never one twice."""
    there = np.array([True, True, False, True, True, False])
    rng = np.random.default_rng(0)
    pairs = Counter(questions.ask(0, there, rng.random(2))[1] for _ in range(6000))
    assert len(pairs) == 12 and all(first != second for first, second in pairs)
    assert min(pairs.values()) > 400 and max(pairs.values()) < 600


def test_a_name_is_asked_where_it_stands(config, frames):
    """The answer to a name moves with the state at its last token in the low layers alone."""
    model, _, _, _ = open_model(config, CPU)
    vla = model.config
    torch.manual_seed(0)
    head = AuxiliaryHead(vla, len(frames.kinds))
    patches = torch.randn(10, vla.num_patches, vla.decoder.hidden_size, requires_grad=True)
    there = ~np.isnan(frames.kinds_m[:10, :, 0])
    asked = [None] * 5 + [
        (Question((1, 40, 41, 42, 43, 44, 45), (2, 5)), (2, 1)) for _ in range(5)]
    assert there[5:, 1].all() and there[5:, 2].all()
    loss = named_loss(head, model, patches, _wanted(frames)[:10], asked)
    loss.backward()
    assert patches.grad[:5].abs().max() == 0, 'nothing was asked of these'
    assert patches.grad[5:].abs().amax(dim=(1, 2)).min() > 0
    table = model.language_model.model.embed_tokens.weight.grad.abs().sum(1)
    assert table[[1, 40, 41, 42, 43, 44]].min() > 0
    assert table[45] == 0, 'it stands behind the last name'
    layers = model.language_model.model.layers
    assert layers[0].mlp.up_proj.weight.grad.abs().max() > 0
    assert layers[1].mlp.up_proj.weight.grad is None, 'not a low layer'


def test_low_states_are_those_of_the_whole_decoder(config):
    """The first layer's output, as a whole pass computes it."""
    model, _, _, _ = open_model(config, CPU)
    vla, kept = model.config, []
    patches = torch.randn(2, vla.num_patches, vla.decoder.hidden_size)
    ids = torch.randint(5, 300, (2, 9))
    hook = model.language_model.model.layers[0].register_forward_hook(
        lambda *call: kept.append(call[-1]))
    model.language_model.model(model.embed(ids, patches))
    hook.remove()
    torch.testing.assert_close(low_states(model, patches, ids), kept[0])
