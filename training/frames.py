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

"""
Demonstrations in memory, ready to be drawn from.

Legend: N frames, T action_horizon, A numbers in an action.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
import logging
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.actions import ActionTokenizer, NormStats, statistics_of
from rlrc_ros.vla.config import VlaConfig
from rlrc_training.data import answers_others, DemonstrationError, Episode, load_episodes
from rlrc_training.grounding import Questions
from rlrc_training.sft_config import SftConfig
from tokenizers import Tokenizer
from tqdm import tqdm

log = logging.getLogger('rlrc.sft')

FINGERS_SCALE = 20.0
"""Open and closed fingers are then about one apart."""
SAME_PLACE_M = 1e-4
"""Things that are no further apart are the same thing."""


@dataclass(frozen=True)
class Answers:
    """R answers to sentences, each about a picture."""

    picture: np.ndarray
    """(R,) index into Frames.images."""
    action_ids: np.ndarray
    """(R, T x 7)"""
    actions: np.ndarray
    """(R, T x 7)"""
    positions_m: np.ndarray
    """(R, 9) object, plate, end effector."""
    instruction: np.ndarray
    """(R,) index into Frames.prompts."""


@dataclass(frozen=True)
class Frames:
    """Every frame of the demonstrations, in memory."""

    images: np.ndarray
    """(N, H, W, 3) uint8, of the model's size."""
    action_ids: np.ndarray
    """(N, T x 7) token ids of each frame's action_chunk."""
    actions: np.ndarray
    """(N, T x 7) normalised; with an action_horizon T of 1 the frame's own action."""
    positions_m: np.ndarray
    """(N, 9) object, plate, end effector."""
    kinds: tuple[str, ...]
    """K names of things that are on the table in some frame."""
    kinds_m: np.ndarray
    """(N, K, 2) float32, where each of them is in the table's plane; NaN: it is not there."""
    kinds_turned: np.ndarray
    """(N, K, 2) float32, cosine and sine of twice the heading of its long side, for half a turn is
    none; NaN: it has no long side, is not there, or that is not known."""
    hand: np.ndarray
    """(N, 4) float32, the same of the hand, how far its fingers are apart (FINGERS_SCALE), and 1
    where they hold the object, else 0; NaN: not known."""
    instruction: np.ndarray
    """(N,) index into prompts."""
    prompts: tuple[tuple[int, ...], ...]
    questions: Questions
    """Prompts that name other things than those of `prompts`."""
    folder: np.ndarray
    """(N,) index of the folder that a frame came from."""
    episode: np.ndarray
    """(N,) which episode a frame is of, counted from 0; a scattered state is one by itself."""
    others: Answers | None = None
    """What the expert said to other sentences about the same pictures, picture by picture."""

    @property
    def count(self) -> int:
        """Return how many answers there are, other sentences' included."""
        return len(self.images) + (len(self.others.picture) if self.others else 0)

    def answers(self, rows: np.ndarray) -> Answers:
        """Return some answers: rows below N are the frames' own, those from N on `others`."""
        count = len(self.images)
        if self.others is None:
            return Answers(rows, self.action_ids[rows], self.actions[rows],
                           self.positions_m[rows], self.instruction[rows])
        own, other = rows < count, np.where(rows < count, 0, rows - count)

        def pick(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            picked = mine[np.where(own, rows, 0)]
            picked[~own] = theirs[other[~own]]
            return picked

        names = ('action_ids', 'actions', 'positions_m', 'instruction')
        return Answers(pick(np.arange(count), self.others.picture), *(
            pick(getattr(self, name), getattr(self.others, name)) for name in names))

    def at_hand(self, answers: Answers) -> np.ndarray:
        """Return how each answer's object is turned, and its `hand` (R, 6); NaN: not known."""
        hand = self.hand[answers.picture]  # a copy
        # Which object it holds is told of the picture's own alone.
        hand[answers.instruction != self.instruction[answers.picture], 3] = np.nan
        if not self.kinds:
            return np.concatenate([np.full_like(hand[:, :2], np.nan), hand], axis=1)
        # What an answer is about is the thing that lies where its object does.
        away = np.linalg.norm(
            self.kinds_m[answers.picture] - answers.positions_m[:, None, :2], axis=-1)
        nearest = np.where(np.isnan(away), np.inf, away).argmin(axis=1)
        row = np.arange(len(nearest))
        found = self.kinds_turned[answers.picture, nearest]
        found[~(away[row, nearest] < SAME_PLACE_M)] = np.nan
        return np.concatenate([found, hand], axis=1)


def load_frames(config: SftConfig, vla: VlaConfig, tokenizer: Tokenizer,
                statistics: dict | None = None) -> tuple[Frames, dict]:
    """
    Load the demonstrations; return frames and their dataset_statistics.json content.

    :param statistics: scale actions by these, under dataset_name, instead of the data's own
    :raises DemonstrationError: none there, actions of another dimension, no positions where
        auxiliary_weight asks for them, or no other sentences where `sentences` asks for those
    """
    check_sentences(config.sentences, vla.action.horizon)
    check_others(config.sentences, config.data)
    actions, positions, instruction, folder, sentences = [], [], [], [], {}
    things: list[tuple[tuple[str, ...], np.ndarray | None, np.ndarray | None]] = []
    hand: list[np.ndarray] = []
    follows: list[np.ndarray] = []
    others = _Others()
    episodes, pictures = 0, Pictures()
    for index, path in enumerate(config.data):
        for episode in tqdm(load_episodes([path], config.episodes, config.camera),
                            desc=f'load {path}', unit='episode'):
            if episode.actions.shape[1] != vla.action.dim:
                raise DemonstrationError(
                    f'seed {episode.seed} has actions of {episode.actions.shape[1]} numbers, the '
                    f'model takes {vla.action.dim}; use demonstrations of the same robot')
            if config.auxiliary_weight and not episode.positions_m.any():
                raise DemonstrationError(
                    f'seed {episode.seed} of {path} says nothing of where things lie, so there '
                    'is nothing to regress; add --auxiliary-weight 0')
            sentence = sentences.setdefault(episode.instruction, len(sentences))
            if episode.scattered and vla.action.horizon > 1:
                raise DemonstrationError(
                    f'seed {episode.seed} of {path} is scattered states, of which none follows '
                    f'from another; the model answers {vla.action.horizon} actions at once. '
                    'Leave that folder away or set --action-horizon 1')
            if config.sentences > 1:
                others.add(episode, pictures.count, sentences)
            pictures.add(images.prepare(image, vla) for image in episode.images)
            actions.append(episode.actions)
            positions.append(episode.positions_m)
            things.append((episode.things, episode.things_m, episode.things_rad))
            hand.append(np.full((len(episode.actions), 3), np.nan) if episode.hand is None
                        else episode.hand)
            instruction.append(np.full(len(episode.actions), sentence))
            folder.append(np.full(len(episode.actions), index))
            first = follows[-1][-1] + 1 if follows else 0
            follows.append(first + np.arange(len(episode.actions)) * int(episode.scattered))
            episodes += 1
    flat = np.concatenate(actions)
    if statistics is None:
        statistics = {config.dataset_name: statistics_of(flat, episodes)}
    elif config.dataset_name not in statistics:
        raise ValueError(f'dataset_name {config.dataset_name!r} is not in {config.init}; it has: '
                         f'{", ".join(statistics)}. Set --dataset-name {next(iter(statistics))}')
    chunks = action_chunks(flat, [len(each) for each in actions], vla.action.horizon)
    stats, tokenize = NormStats.from_json(statistics[config.dataset_name]), ActionTokenizer(
        vla.action).encode
    normalised = stats.normalise(chunks).reshape(len(flat), -1)
    kinds, kinds_m, kinds_turned = _by_kind(things, [len(each) for each in actions])
    frames = Frames(
        pictures.all(), tokenize(normalised), normalised,
        np.concatenate(positions), kinds, kinds_m, kinds_turned,
        _of_the_hand(np.concatenate(hand)), np.concatenate(instruction),
        tuple(tuple(prompt.encode(sentence, tokenizer, vla)) for sentence in sentences),
        Questions(tuple(sentences), kinds, tokenizer, vla),
        np.concatenate(folder), np.concatenate(follows),
        others.all(stats, tokenize))
    if config.auxiliary_weight:
        _say_what_tells_of_no_hand(frames, config.data)
    return frames, statistics


def _say_what_tells_of_no_hand(frames: Frames, data: Sequence[Path]) -> None:
    for index, path in enumerate(data):
        rows = frames.folder == index
        if not np.isnan(frames.kinds_m[rows]).all() and np.isnan(frames.hand[rows, 2]).all():
            log.warning('%s says where things lie and not both how the hand is turned and how far '
                        'its fingers are apart, which the auxiliary head asks as well; collect '
                        'it anew with `rlrc collect`', path)


def check_sentences(sentences: int, horizon: int) -> None:
    """Raise DemonstrationError for several sentences and a model of several actions an answer."""
    if sentences > 1 and horizon > 1:
        raise DemonstrationError(
            f'sentences {sentences} asks for answers that nobody acted on, so none follows from '
            f'them; the model answers {horizon} actions at once. Set --sentences 1 or '
            '--action-horizon 1')


def check_others(sentences: int, data: Sequence[Path]) -> None:
    """Raise DemonstrationError for several sentences and folders that answer one alone."""
    if sentences > 1 and not any(map(answers_others, data)):
        raise DemonstrationError(
            f'sentences {sentences} asks for answers to other sentences, and '
            f'{", ".join(map(str, data))} hold none; collect them anew with `rlrc collect` on a '
            'set of several things (put25_choice), or set --sentences 1')


def _by_kind(things: list[tuple[tuple[str, ...], np.ndarray | None, np.ndarray | None]],
             lengths: list[int]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the names that there are (K), and Frames.kinds_m and kinds_turned (N, K, 2)."""
    kinds = tuple(sorted({name for names, _, _ in things for name in names}))
    places, turned = (
        np.full((sum(lengths), len(kinds), 2), np.nan, np.float32) for _ in range(2))
    for (names, things_m, things_rad), end, length in zip(things, np.cumsum(lengths), lengths):
        for column, name in enumerate(names):
            kind = kinds.index(name)
            places[end - length:end, kind] = things_m[:, column, :2]
            if things_rad is not None:
                turned[end - length:end, kind] = _turned(things_rad[:, column])
    return kinds, places, turned


def _turned(heading_rad: np.ndarray) -> np.ndarray:
    """Return cosine and sine (N, 2) of twice headings (N,), which half a turn does not change."""
    return np.stack([np.cos(2 * heading_rad), np.sin(2 * heading_rad)], -1).astype(np.float32)


def _of_the_hand(hand: np.ndarray) -> np.ndarray:
    """Return Frames.hand (N, 4) of what episodes tell (N, 3)."""
    return np.concatenate([_turned(hand[:, 0]), hand[:, 1:2] * FINGERS_SCALE, hand[:, 2:]],
                          axis=1).astype(np.float32)


class _Others:
    """Answers to other sentences on their way into one array each."""

    def __init__(self) -> None:
        self._picture, self._instruction, self._actions, self._positions = [], [], [], []

    def add(self, episode: Episode, first: int, sentences: dict[str, int]) -> None:
        """Append an episode's; its first picture is the `first` of all."""
        if not episode.others:
            return
        actions = np.stack([each.actions for each in episode.others], axis=1)  # (T, S, 7)
        positions = np.stack([each.positions_m for each in episode.others], axis=1)
        names = np.array([sentences.setdefault(each.instruction, len(sentences))
                          for each in episode.others])
        frame, sentence = np.nonzero(~np.isnan(actions[..., 0]))
        self._picture.append(first + frame)
        self._instruction.append(names[sentence])
        self._actions.append(actions[frame, sentence])
        self._positions.append(positions[frame, sentence])

    def all(self, stats: NormStats,
            tokenize: Callable[[np.ndarray], np.ndarray]) -> Answers | None:
        """Return all of them, normalised and as tokens; None: there are none."""
        if not self._actions:
            return None
        actions = stats.normalise(np.concatenate(self._actions))
        return Answers(
            np.concatenate(self._picture), tokenize(actions), actions,
            np.concatenate(self._positions), np.concatenate(self._instruction))


class Pictures:
    """Images on their way into one array: a file without a name, kept in memory by the kernel."""

    def __init__(self) -> None:
        self._file = TemporaryFile()
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, pictures: Iterable[np.ndarray]) -> None:
        """Append images (H, W, 3) uint8, all of one size."""
        for each in pictures:
            self._shape = each.shape
            self._file.write(each.tobytes())
            self._count += 1

    @property
    def count(self) -> int:
        """Return how many there are so far."""
        return self._count

    def all(self) -> np.ndarray:
        """Return every image (N, H, W, 3); a set larger than the memory is read as it is used."""
        self._file.flush()
        return np.memmap(self._file, np.uint8, 'c', shape=(self._count, *self._shape))


def action_chunks(actions: np.ndarray, lengths: list[int], horizon: int) -> np.ndarray:
    """
    Return each action and those behind it in its episode (N, T, A).

    Behind an episode's end the arm stands still and the hand, the last number, stays as it is.

    :param actions: (N, A) movements, episode after episode
    :param lengths: frames of each episode
    :param horizon: T
    """
    last = np.repeat(np.cumsum(lengths) - 1, lengths)[:, None]  # (N, 1)
    where = np.arange(len(actions))[:, None] + np.arange(horizon)
    chunks = actions[np.minimum(where, last)]
    chunks[where > last, :-1] = 0.0
    return chunks


def draw(frames: Frames, config: SftConfig, rng: np.random.Generator) -> np.ndarray:
    """
    Draw the answers (batch_size,) of a batch, see Frames.answers().

    Frames are any alike, or folders by their weights; with `sentences` S each brings its own
    sentence and up to S - 1 others, and so many fewer pictures fill a batch. Weights and chances
    are those of pictures: one about which nothing else can be asked, a finished task say, has a
    smaller part in the loss than one that brings S answers.
    """
    rows = _draw_frames(frames, config, rng)
    if frames.others is None:
        return rows
    first, end = np.searchsorted(frames.others.picture, [rows, rows + 1])
    told: list[int] = []
    for row, low, high in zip(rows, first, end):
        count = min(config.sentences - 1, high - low)
        told += [row, *(len(frames.images) + low + rng.choice(high - low, count, replace=False))]
        if len(told) >= config.batch_size:
            break
    return np.array(told[:config.batch_size])


def _draw_frames(frames: Frames, config: SftConfig, rng: np.random.Generator) -> np.ndarray:
    if not config.data_weights:
        return rng.integers(len(frames.images), size=config.batch_size)
    weights = np.array(config.data_weights) / sum(config.data_weights)
    rows = np.empty(config.batch_size, dtype=np.int64)
    chosen = rng.choice(len(weights), size=config.batch_size, p=weights)
    for index in range(len(weights)):
        here = np.flatnonzero(frames.folder == index)
        rows[chosen == index] = rng.choice(here, size=int((chosen == index).sum()))
    return rows
