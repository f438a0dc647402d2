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
What the model looks at while importance is measured: frames of demonstrations, or token ids.

From demonstrations the loss is the policy's own, of sft_loss.py, on the action tokens and the end
token with OpenVLA's hard targets. `--loss robot` weights it by what moves the arm: frames within
two steps of a gripper toggle and frames in contact count more, and near a toggle the gripper's
token once more; the weights are scaled to a mean of 1, so that scores stay comparable.

LLM-Pruner's 10 samples of 64 tokens are 640 predictions. A frame predicts 8 tokens, so 80 frames.

Legend: L tokens of a sequence, K targets (7 action tokens and the end token), N frames.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
from rlrc_ros.vla import images
from rlrc_ros.vla.language import LanguageModel
from rlrc_ros.vla.model import Vla
from rlrc_training.data import episode_paths
from rlrc_training.frames import Frames, load_frames
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.walk import Sample
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import soft_targets, teacher_forced, token_losses
from safetensors import safe_open, SafetensorError
from tokenizers import Tokenizer
import torch
from torch.nn import functional

TOKEN_IDS = 'input_ids'
TOGGLE_STEPS = 2
"""Frames so near to a gripper toggle belong to it (0.4 s at 5 Hz)."""
CONTACT_M = 0.03
"""The end effector is in contact when it is this near to the object's centre, or to the plate's
with the hand closed; assumption, a little more than the objects' half widths."""


@dataclass(frozen=True)
class Calibration:
    """The samples and what is to be said about them."""

    samples: list[Sample]
    described: dict


def check_sources(config: PruneConfig, vocab_size: int, max_length: int) -> torch.Tensor | None:
    """
    Look whether the calibration data can be used, before the model is opened.

    :return: token ids (N, L), if those were asked for
    :raises PruneError: not the inputs that the layers need
    :raises DemonstrationError: no demonstrations
    """
    if not config.calibrates:
        return None
    if config.token_ids is None:
        for folder in config.data:
            episode_paths(folder)
        return None
    ids = read_token_ids(config.token_ids, config, vocab_size, max_length)
    if len(ids) < config.fewest_samples:
        raise PruneError(f'flap {config.flap_metric} measures how samples differ: it needs '
                         f'{config.fewest_samples}, got {len(ids)}; give more --samples and '
                         f'{TOKEN_IDS} of as many rows, or --flap-metric WIFN')
    return ids


def read_token_ids(path: Path, config: PruneConfig, vocab_size: int,
                   max_length: int) -> torch.Tensor:
    """
    Read the first `samples` rows and `sample_tokens` columns of a safetensors file's input_ids.

    :raises PruneError: no such file or tensor, another shape or type, ids outside the vocabulary
    """
    try:
        with safe_open(path, framework='pt') as file:
            if TOKEN_IDS not in file.keys():
                raise PruneError(f'{path} holds {", ".join(file.keys()) or "nothing"}; the layers '
                                 f'need token ids: int64 {TOKEN_IDS} (samples, tokens)')
            ids = file.get_tensor(TOKEN_IDS)
    except (OSError, SafetensorError) as error:
        raise PruneError(f'{path} is not a readable safetensors file ({error}); it holds int64 '
                         f'{TOKEN_IDS} (samples, tokens)') from error
    if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32) or ids.shape[1] < 2:
        raise PruneError(f'{path}: {TOKEN_IDS} is {ids.dtype} {tuple(ids.shape)}; wanted int64 '
                         '(samples, tokens) with at least 2 tokens')
    ids = ids[:config.samples, :config.sample_tokens].long()
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise PruneError(f'{path}: {TOKEN_IDS} holds {int(ids.min())} ... {int(ids.max())}; the '
                         f"vocabulary is 0 ... {vocab_size - 1}. Use the checkpoint's tokenizer")
    if ids.shape[1] > max_length:
        raise PruneError(f'{path}: samples of {ids.shape[1]} tokens, the model takes {max_length};'
                         f' give --sample-tokens {max_length}')
    return ids


def from_token_ids(language_model: LanguageModel, ids: torch.Tensor) -> Calibration:
    """Make text samples of token ids (N, L) with a language model's loss."""
    device = language_model.lm_head.weight.device

    def loss(row: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda hidden: functional.cross_entropy(
            language_model.lm_head(hidden[0, :-1]).float(), row[1:])

    with torch.no_grad():
        samples = [Sample(language_model.model.embed_tokens(row[None]), loss(row))
                   for row in ids.to(device)]
    return Calibration(samples, {'token_ids': list(ids.shape)})


def frame_count(config: PruneConfig, targets: int) -> int:
    """Return how many frames predict as many tokens as the asked samples."""
    return math.ceil(config.samples * config.sample_tokens / targets)


def from_demonstrations(model: Vla, tokenizer: Tokenizer, statistics: dict,
                        config: PruneConfig) -> Calibration:
    """
    Make samples of demonstration frames with the policy's own loss.

    :param statistics: of the data set by which the checkpoint learnt to normalise these actions
    :raises PruneError: fewer frames than asked for
    """
    vla, weight = model.config, next(model.parameters())
    frames, _ = load_frames(
        SftConfig(data=config.data, episodes=config.episodes, dataset_name=next(iter(statistics))),
        vla, tokenizer, statistics)
    wanted, there = frame_count(config, vla.action_tokens + 1), len(frames.images)
    if wanted > there:
        raise PruneError(f'calibration wants {wanted} frames ({config.samples} x '
                         f'{config.sample_tokens} tokens), {config.episodes} episodes hold '
                         f'{there}; raise --episodes, or give --samples '
                         f'{there * (vla.action_tokens + 1) // config.sample_tokens}')
    if wanted < config.fewest_samples:
        raise PruneError(f'flap {config.flap_metric} measures how frames differ: it needs '
                         f'{config.fewest_samples}, got {wanted}; give more --samples or '
                         '--sample-tokens, or --flap-metric WIFN')
    rows = np.sort(np.random.default_rng(config.seed).choice(there, wanted, replace=False))
    weights = (robot_weights(frames, config.robot_weight)[rows] if config.loss == 'robot'
               else np.ones((wanted, vla.action_tokens + 1)))
    weights = weights / weights.mean()
    soft = soft_targets(vla, 0.0).to(weight.device)
    samples = []
    for row, each in zip(rows, torch.from_numpy(weights).float().to(weight.device)):
        samples.append(_frame_sample(model, frames, np.array([row]), each, soft))
    lengths = [sample.embeddings.shape[1] for sample in samples]
    return Calibration(samples, {
        'frames': wanted, 'of': there, 'tokens': sum(lengths), 'loss': config.loss,
        'largest_weight': float(weights.max()), 'smallest_weight': float(weights.min())})


@torch.no_grad()
def _frame_sample(model: Vla, frames: Frames, row: np.ndarray, weights: torch.Tensor,
                  soft: torch.Tensor) -> Sample:
    vla, reference = model.config, next(model.parameters())
    pixels = images.to_pixels(torch.from_numpy(frames.images[row]).to(reference.device),
                              vla.towers).to(reference.dtype)
    ids, where, targets = (each.to(reference.device)
                           for each in teacher_forced(frames.answers(row), frames.prompts, vla))
    embeddings = model.embed(ids, model.encode_image(pixels))

    def loss(hidden: torch.Tensor) -> torch.Tensor:
        seen = hidden[:, where[0] + vla.num_patches - 1]  # (1, K, E)
        logits = model.language_model.lm_head(seen)
        return (token_losses(vla, logits, targets, soft)[0] * weights).mean()

    return Sample(embeddings, loss, pixels)


def robot_weights(frames: Frames, robot_weight: float) -> np.ndarray:
    """
    Return how much every target of every frame counts (N, K), before scaling.

    1 while the arm travels; robot_weight near a gripper toggle or in contact; the gripper's token
    twice that near a toggle, because it is what toggles.
    """
    gripper = frames.actions[:, -1] > 0.5
    same_episode = frames.episode[1:] == frames.episode[:-1]
    toggles = np.flatnonzero((gripper[1:] != gripper[:-1]) & same_episode) + 1
    near = np.zeros(len(gripper), dtype=bool)
    for toggle in toggles:
        window = np.arange(max(0, toggle - TOGGLE_STEPS),
                           min(len(near), toggle + TOGGLE_STEPS + 1))
        near[window[frames.episode[window] == frames.episode[toggle]]] = True
    thing, plate, hand = np.split(frames.positions_m, 3, axis=1)
    at_object = np.linalg.norm(thing - hand, axis=1) < CONTACT_M
    at_plate = (np.linalg.norm((plate - hand)[:, :2], axis=1) < CONTACT_M) & ~gripper
    weights = np.ones((len(gripper), frames.action_ids.shape[1] + 1))
    weights[near | at_object | at_plate] = robot_weight
    weights[near, -2] = 2.0 * robot_weight
    return weights
