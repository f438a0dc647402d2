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
Demonstration frames with a policy's own answers to them, for calibrating and for comparing.

The answers are the dense policy's greedy tokens, so every variant is asked about the same tokens,
and frames of any robot will do. Calibration takes episodes of even place in the folder, comparison
those of odd place, so that a calibrated rounding is not judged on what it saw.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.model import Vla
from rlrc_training.data import episode_paths, load_episode
from tokenizers import Tokenizer
import torch

BATCH = 32
MOST_EPISODES = 40


@dataclass(frozen=True)
class AnsweredFrames:
    """N frames; the sequences of one batch are equally long, so nothing is padded."""

    pictures: torch.Tensor
    """(N, H, W, 3) uint8, prepared for the model."""
    prompts: tuple[tuple[int, ...], ...]
    """N prompts, prefix token included."""
    answers: torch.Tensor
    """(N, A) action ids."""

    def batches(self, size: int = BATCH) -> Iterator[torch.Tensor]:
        """Yield indices of frames whose prompts are equally long."""
        lengths = torch.tensor([len(each) for each in self.prompts])
        for length in lengths.unique():
            yield from torch.nonzero(lengths == length)[:, 0].split(size)

    def inputs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures (B, H, W, 3) and prompts (B, T) of a batch."""
        return self.pictures[rows], torch.tensor([self.prompts[row] for row in rows.tolist()])


def _answers(model: Vla, pictures: torch.Tensor, prompts: tuple) -> torch.Tensor:
    frames = AnsweredFrames(pictures, prompts, torch.empty(0))
    answers = torch.empty(len(prompts), model.config.action_tokens, dtype=torch.long)
    for rows in frames.batches():
        answers[rows] = free_running(model, frames, rows)
    return answers


def _pixels(model: Vla, pictures: torch.Tensor) -> torch.Tensor:
    weight = next(model.parameters())
    return images.to_pixels(pictures.to(weight.device), model.config.towers).to(weight.dtype)


def free_running(model: Vla, frames: AnsweredFrames, rows: torch.Tensor) -> torch.Tensor:
    """Return what the model itself answers (B, A)."""
    pictures, input_ids = frames.inputs(rows)
    lengths = torch.full((len(rows),), input_ids.shape[1])
    pixels = _pixels(model, pictures)
    return model.act(pixels, input_ids.to(pixels.device),
                     lengths.to(pixels.device)).action_ids.cpu()


@torch.inference_mode()
def teacher_forced(model: Vla, frames: AnsweredFrames, rows: torch.Tensor) -> torch.Tensor:
    """Return the hidden states (B, A, E) that predict the answers' tokens."""
    pictures, input_ids = frames.inputs(rows)
    answers = frames.answers[rows]
    sequences = torch.cat([input_ids, answers], 1)
    where = input_ids.shape[1] + torch.arange(answers.shape[1]).expand(len(rows), -1)
    pixels = _pixels(model, pictures)
    return model(pixels, sequences.to(pixels.device), where.to(pixels.device))


def load_answered(model: Vla, tokenizer: Tokenizer, folder: Path, count: int,
                  first: int) -> AnsweredFrames:
    """
    Take frames evenly from a folder of demonstrations and let the model answer them.

    :param count: N, fewer where the folder has not so many
    :param first: 0 takes episodes of even place, 1 those of odd place
    :raises DemonstrationError: no demonstrations there
    """
    paths = episode_paths(folder)
    paths = paths[first % len(paths)::2]
    paths = [paths[index] for index in np.unique(np.linspace(
        0, len(paths) - 1, min(MOST_EPISODES, len(paths))).astype(int))]
    each = -(-count // len(paths))
    pictures, prompts = [], []
    for path in paths:
        episode = load_episode(path)
        chosen = np.unique(np.linspace(0, len(episode.images) - 1, each).astype(int))
        pictures += [images.prepare(episode.images[index], model.config) for index in chosen]
        ids = tuple(prompt.encode(episode.instruction, tokenizer, model.config))
        prompts += [ids] * len(chosen)
    stacked, chosen_prompts = torch.from_numpy(np.stack(pictures[:count])), tuple(prompts[:count])
    return AnsweredFrames(stacked, chosen_prompts, _answers(model, stacked, chosen_prompts))
