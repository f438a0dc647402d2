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

"""Several sentences about one picture: how they are kept, drawn and trained on."""

from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.vla.model import Vla
from rlrc_training.data import (
    DemonstrationError,
    Episode,
    load_episode,
    OtherSentence,
    save_episode,
)
from rlrc_training.frames import draw, load_frames
from rlrc_training.presets import preset
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import Batch, batch_loss, soft_targets
import torch

CPU = torch.device('cpu')
OTHER = ('put cup on red plate', 'put can on blue plate')


def _answers(seed: int, asked: tuple[bool, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, 0.01, (len(asked), 7)).astype(np.float32)
    positions = rng.normal(size=(len(asked), 9)).astype(np.float32)
    actions[~np.array(asked)] = positions[~np.array(asked)] = np.nan
    return actions, positions


def _episode(seed: int) -> Episode:
    """Return four frames; one other sentence is asked in three of them, another in two."""
    rng = np.random.default_rng(seed)
    actions, positions = _answers(seed, (True,) * 4)
    return Episode(
        seed, 'put25_choice', 'put can on red plate',
        rng.integers(0, 255, (4, 64, 64, 3)).astype(np.uint8), actions, positions,
        others=(OtherSentence(OTHER[0], *_answers(seed + 10, (True, True, True, False))),
                OtherSentence(OTHER[1], *_answers(seed + 20, (False, True, False, True)))))


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Write two episodes, the second without other sentences."""
    folder = tmp_path_factory.mktemp('demos')
    save_episode(folder, _episode(1_000_000))
    save_episode(folder, replace(_episode(1_000_001), others=()))
    return folder


@pytest.fixture(scope='module')
def config(demos, tmp_path_factory):
    """Return a small training on them."""
    return SftConfig(
        data=(demos,), out=tmp_path_factory.mktemp('run') / 'out', preset='tiny', steps=2,
        batch_size=8, eval_episodes=0, device='cpu', warmup_steps=1, sentences=3,
        colour_jitter=0.0)


@pytest.fixture(scope='module')
def frames(config):
    """Return the frames as training reads them."""
    return load_frames(config, *preset('tiny'))[0]


def test_answers_survive_the_file(tmp_path):
    """Sentences and answers come back; a file whose answers do not fit its frames is refused."""
    episode = _episode(1_000_000)
    again = load_episode(save_episode(tmp_path, episode))
    for mine, theirs in zip(episode.others, again.others, strict=True):
        assert mine.instruction == theirs.instruction
        np.testing.assert_array_equal(mine.actions, theirs.actions)
        np.testing.assert_array_equal(mine.positions_m, theirs.positions_m)
    short = tuple(replace(each, actions=each.actions[:3], positions_m=each.positions_m[:3])
                  for each in episode.others)
    path = save_episode(tmp_path, replace(episode, others=short))
    with pytest.raises(DemonstrationError, match=r'to 2 other sentences in 4 frames'):
        load_episode(path)


def test_every_answer_stands_by_its_picture(frames):
    """Rows from N on are the others, picture by picture; what was not asked is left out."""
    count = len(frames.images)
    assert count == 8 and frames.count == 13
    assert frames.others.picture.tolist() == [0, 1, 1, 2, 3]
    asked = frames.answers(np.arange(count + 5))
    assert asked.picture.tolist() == [*range(8), 0, 1, 1, 2, 3]
    np.testing.assert_array_equal(asked.actions[:count], frames.actions)
    episode = _episode(1_000_000)
    np.testing.assert_array_equal(
        asked.positions_m[count:], np.stack([
            episode.others[which].positions_m[frame]
            for frame, which in ((0, 0), (1, 0), (1, 1), (2, 0), (3, 1))]))
    assert not np.isnan(asked.actions).any()
    prompts = [frames.prompts[each] for each in asked.instruction]
    assert prompts[8] == prompts[9] == prompts[11] != prompts[10] == prompts[12] != prompts[0]


def test_a_batch_holds_pictures_with_their_sentences(frames, config):
    """Each picture brings its own sentence first, then others, none twice."""
    count, seen = len(frames.images), set()
    for step in range(40):
        rows = draw(frames, config, np.random.default_rng(step))
        assert rows.shape == (8,)
        pictures = frames.answers(rows).picture
        own = rows < count
        assert own[0]
        for index in np.flatnonzero(~own):
            assert pictures[index] == pictures[index - 1], 'an answer away from its picture'
        groups = np.split(rows, np.flatnonzero(own)[1:])
        assert all(len(set(group.tolist())) == len(group) <= 3 for group in groups)
        seen |= set(rows.tolist())
    assert seen == set(range(count + 5))
    plain = draw(replace(frames, others=None), config, np.random.default_rng(0))
    assert (plain < count).all() and len(plain) == 8


def test_a_shared_picture_costs_what_two_cost(frames, config):
    """Loss and gradients are those of a batch that repeats the picture in every row."""
    vla, _ = preset('tiny')
    model = Vla(vla)
    model.initialise(torch.Generator().manual_seed(0))
    soft, count = soft_targets(vla, 3.0), len(frames.images)
    rows = np.array([1, count + 1, count + 2, 5])
    asked = frames.answers(rows)
    repeated = replace(
        frames, images=frames.images[asked.picture], action_ids=asked.action_ids,
        actions=asked.actions, positions_m=asked.positions_m, instruction=asked.instruction,
        others=None)
    losses, gradients = [], []
    for each, which in ((frames, rows), (repeated, np.arange(4))):
        model.zero_grad()
        loss = batch_loss(model, None, config, each, Batch(which, None), soft, CPU)
        loss.total.backward()
        losses.append([float(loss.total.detach()), float(loss.l1)])
        gradients.append([each.grad.clone() for each in model.parameters()
                          if each.grad is not None])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    once, back = Batch(rows, None).once(frames)
    assert once.rows.tolist() == [1, 5] and back.tolist() == [0, 0, 0, 1]


def test_training_takes_several_sentences(config, tmp_path):
    """A run over them ends with a checkpoint; chunks of actions are refused."""
    assert (sft(replace(config, out=tmp_path / 'run')) / 'model.safetensors').exists()
    with pytest.raises(DemonstrationError, match='--sentences 1 or --action-horizon 1'):
        sft(replace(config, out=tmp_path / 'chunks', decoding='parallel', action_horizon=4))
    (plain := tmp_path / 'plain').mkdir()
    save_episode(plain, replace(_episode(1_000_002), others=()))
    with pytest.raises(DemonstrationError, match='sentences 3 asks .*plain hold none; collect'):
        load_frames(replace(config, data=(plain,)), *preset('tiny'))
    with pytest.raises(ValueError, match='sentences must be at least 1, got 0'):
        replace(config, sentences=0)
