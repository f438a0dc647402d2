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
Checkpoint → policy.act(observation) → actions in metres and radians.

The same object drives the simulator in process, the ROS node and every evaluation. Inference runs
in fp32 on a CPU and in bf16 on a GPU, through the plain model or a runtime (vla/runtime.py). Not
thread-safe: one caller at a time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
import logging
from pathlib import Path
import time

import numpy as np
from rlrc_ros.types import ActionChunk, Observation
from rlrc_ros.vla import images, parallel, prompt
from rlrc_ros.vla.actions import action_chunk, ActionTokenizer
from rlrc_ros.vla.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointSummary,
    inspect,
    open_checkpoint,
)
from rlrc_ros.vla.config import ImageConfig, MAIN_CAMERA
from rlrc_ros.vla.runtime import BUCKET, PromptTooLongError, Reuse
from rlrc_ros.vla.runtime_choice import (
    check_memory,
    check_runtime,
    choose,
    dtype_for,
    make_runtime,
    resolved_device,
)
import torch

USUAL_PROMPT = 48
"""Tokens; prompts up to here are prepared before the first control step."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Where the last call spent its time, milliseconds of wall clock."""

    preprocess_ms: float
    model_ms: float

    @property
    def inference_ms(self) -> float:
        """Return the whole call."""
        return self.preprocess_ms + self.model_ms


class Policy:
    """
    A trained policy; make it with Policy.open().

    :param checkpoint: opened, its model on the device to use
    :param unnorm_key: which data set's statistics scale the actions; needed if several
    :param image: how camera images are prepared, where the checkpoint does not say it rightly
    :param runtime: `eager`, or one of vla/runtime_choice.py that suits the model's dtype
    :param reuse: what a runtime may carry over between steps
    :raises CheckpointError: unknown unnorm_key, or none given where there are several
    """

    def __init__(self, checkpoint: Checkpoint, unnorm_key: str | None = None,
                 image: ImageConfig | None = None, runtime: str = 'eager',
                 reuse: Reuse = Reuse()):
        self.summary: CheckpointSummary = checkpoint.summary
        config = checkpoint.summary.config
        keys = self.summary.unnorm_keys
        if unnorm_key is None and len(keys) == 1:
            unnorm_key = keys[0]
        if unnorm_key not in keys:
            raise CheckpointError(
                f'unnorm_key {unnorm_key!r} is not in this checkpoint; it has: '
                f'{", ".join(keys)}. Set unnorm_key:={keys[0]}')
        self._stats = self.summary.norm_stats[unnorm_key]
        self._proprio_stats = self.summary.proprio_stats.get(unnorm_key)
        if config.parallel and len(self._stats.q01) != config.action.dim:
            raise CheckpointError(
                f'unnorm_key {unnorm_key!r} has actions of {len(self._stats.q01)} numbers, the '
                f'policy answers {config.action.horizon} x {config.action.dim}; choose another '
                f'of: {", ".join(keys)}')
        self._config = replace(config, image=image or config.image, action=replace(
            config.action, dim=len(self._stats.q01)))
        self._model = checkpoint.model
        self._tokenizer = checkpoint.tokenizer
        self._actions = ActionTokenizer(self._config.action)
        self._device = next(self._model.parameters()).device
        self._dtype = next(self._model.parameters()).dtype
        self._prompts: dict[str, list[int]] = {}
        self.timing = Timing(0.0, 0.0)
        self._runtime = make_runtime(self._model, runtime, self._config.action_tokens, reuse)
        self.runtime_name = runtime if self._runtime is not None else 'eager'
        self._told: set[str] = set()

    @classmethod
    def open(cls,  # noqa: A003  (what one does with a checkpoint)
             folder: str | Path, device: str = 'auto',
             unnorm_key: str | None = None, image: ImageConfig | None = None,
             runtime: str = 'eager', reuse: Reuse = Reuse()) -> 'Policy':
        """
        Open a checkpoint folder.

        :param device: `auto` (CUDA where it is), `cpu`, `cuda`, `cuda:1` ...
        :param runtime: `eager`; `fast`: fused, on CUDA captured, the same answers; `fast-bf16` and
            `fast-int8` for CPUs; `vla-cache`: not exact; `auto`: the fastest, by a measurement
            that is remembered
        :param reuse: what a runtime may carry over between steps; by default what is exact
        :raises CheckpointError: see checkpoint.inspect(); or a device or runtime that is not
            there; or a GPU with too little memory
        """
        device = resolved_device(device)
        if device.startswith('cuda') and not torch.cuda.is_available():
            raise CheckpointError(f'device {device!r} was asked for, but torch sees no CUDA '
                                  'device; set device:=cpu, or run `rlrc doctor`')
        runtime = check_runtime(runtime, device)
        dtype = dtype_for(device, runtime)
        if device.startswith('cuda'):
            check_memory(inspect(folder), torch.cuda.mem_get_info(torch.device(device))[0],
                         dtype.itemsize, device)
        checkpoint = open_checkpoint(folder, device, dtype)
        if runtime == 'auto':
            runtime = choose(checkpoint.model, device).runtime
            if dtype_for(device, runtime) != dtype:
                checkpoint = open_checkpoint(folder, device, dtype_for(device, runtime))
        return cls(checkpoint, unnorm_key, image, runtime, reuse)

    def act(self, observation: Observation) -> ActionChunk:
        """Return what to do next."""
        return self.act_batch([observation])[0]

    def act_batch(self, observations: Sequence[Observation], temperature: float = 0.0,
                  generator: torch.Generator | None = None, rows: int = 0) -> list[ActionChunk]:
        """
        Return what to do next for each observation.

        :param temperature: 0 takes the most likely tokens, more samples; an OpenVLA-OFT cannot
        :param rows: run the plain model on exactly so many observations at a time, the last ones
            filled up, and on prompts of one length: matrix products of other shapes round
            differently, and so an answer depends on nothing else in the batch; 0: as they come
        :raises ValueError: an image that is not uint8 (H, W, 3), a camera or a robot state that
            the policy reads and the observation lacks, or an action that has not the arm's seven
            dimensions
        """
        if not rows:
            return [action_chunk(answer)
                    for answer in self.predict(observations, temperature, generator)]
        alike = defaultdict(list)  # length of the padded prompt → indices
        for index, observation in enumerate(observations):
            alike[-(-len(self._encode(observation.instruction)) // self._even_length())].append(
                index)
        answers = {}
        for group in alike.values():
            for first in range(0, len(group), rows):
                part = group[first:first + rows]
                filled = [observations[index] for index in part + part[-1:] * (rows - len(part))]
                answers |= dict(zip(part, self.predict(filled, temperature, generator, True)))
        return [action_chunk(answers[index]) for index in range(len(observations))]

    def predict(self, observations: Sequence[Observation], temperature: float = 0.0,
                generator: torch.Generator | None = None,
                even_prompts: bool = False) -> np.ndarray:
        """
        Return the numbers (B, action_horizon, dim) that the statistics of unnorm_key describe.

        They need not be an arm's seven; otherwise as act_batch().

        :param even_prompts: pad every prompt to the length of the longest that the checkpoint
            lists, or a multiple of it
        """
        return self._stats.unnormalise(
            self.predict_normalised(observations, temperature, generator, even_prompts))

    @torch.inference_mode()
    def predict_normalised(self, observations: Sequence[Observation], temperature: float = 0.0,
                           generator: torch.Generator | None = None,
                           even_prompts: bool = False) -> np.ndarray:
        """Return the model's own answers (B, action_horizon, dim); otherwise as predict()."""
        config, start = self._config, time.perf_counter()
        if config.parallel and temperature:
            raise ValueError(f'temperature {temperature} was asked for; a policy that decodes in '
                             'parallel takes the most likely actions only. Use temperature 0')
        shape = (len(observations), config.action.horizon, config.action.dim)
        prepared = self._prepared(observations)
        if self._runtime is not None and not temperature:
            ids = self._decode_fast(observations, prepared, start)
            if ids is not None:
                return self._actions.decode(ids).reshape(shape)
        pixels = self._pixels(prepared)
        proprio = self._proprio(observations)
        input_ids, lengths = prompt.pad(
            [self._encode(observation.instruction) for observation in observations],
            config.pad_token_id, self._even_length() if even_prompts else 1)
        input_ids, lengths = input_ids.to(self._device), lengths.to(self._device)
        ready = time.perf_counter()
        if config.parallel is None:
            decoded = self._model.act(
                pixels, input_ids, lengths, temperature, generator, config.action_tokens)
            answers = self._actions.decode(decoded.action_ids.cpu().numpy())
        else:
            states = parallel.action_states(self._model, pixels, input_ids, lengths, proprio)
            if config.parallel.head == 'l1':
                answers = parallel.regress(self._model, states).double().cpu().numpy()
            else:
                ids = parallel.most_likely_ids(self._model, states)
                answers = self._actions.decode(ids.cpu().numpy())
        self.timing = Timing((ready - start) * 1e3, (time.perf_counter() - ready) * 1e3)
        return answers.reshape(shape)

    def _prepared(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the pictures (B x C, H, W, 3) uint8 of the cameras that the policy reads."""
        prepared = []
        for observation in observations:
            for name in self._config.cameras:
                image = (observation.image if name == MAIN_CAMERA
                         else observation.extra_images.get(name))
                if image is None:
                    raise ValueError(
                        f'the policy reads the cameras {", ".join(self._config.cameras)}, the '
                        f'observation lacks {name!r}; give it in extra_images')
                if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                    raise ValueError(f'an image is uint8 (height, width, 3), got {image.dtype} '
                                     f'{image.shape}')
                prepared.append(images.prepare(image, self._config))
        return np.stack(prepared)

    def _pixels(self, prepared: np.ndarray) -> torch.Tensor:
        """Return pixels (B, C x 3 x towers, H, W) of the pictures (B x C, H, W, 3)."""
        pixels = images.to_pixels(
            torch.from_numpy(prepared).to(self._device), self._config.towers)
        cameras = len(self._config.cameras)
        return pixels.reshape(len(prepared) // cameras, -1, *pixels.shape[2:]).to(self._dtype)

    def _proprio(self, observations: Sequence[Observation]) -> torch.Tensor | None:
        """Return the normalised robot states (B, proprio_dim), or None where none is read."""
        if self._proprio_stats is None:
            return None
        wanted = (self._config.proprio_dim,)
        for observation in observations:
            state = observation.proprio
            if state is None or np.shape(state) != wanted or not np.isfinite(state).all():
                got = 'none' if state is None else f'{np.shape(state)} {np.asarray(state)}'
                raise ValueError(f'the policy reads a finite robot state (proprio) of shape '
                                 f'{wanted}, got {got}')
        states = np.stack([np.asarray(each.proprio, np.float64) for each in observations])
        return torch.from_numpy(self._proprio_stats.normalise_state(states)).to(
            self._device, self._dtype)

    def _decode_fast(self, observations: Sequence[Observation], stacked: np.ndarray,
                     start: float) -> np.ndarray | None:
        """Return the answer's token ids (1, A), or None where only the plain model can."""
        if len(observations) > 1:
            self._tell(f"a batch of {len(observations)} is more than the runtime's one; the "
                       'plain model runs batches')
            return None
        prompt_ids = self._encode(observations[0].instruction)
        ready = time.perf_counter()
        try:
            ids = self._runtime.act(stacked[0], prompt_ids)
        except PromptTooLongError as error:
            self._tell(str(error))
            return None
        self.timing = Timing((ready - start) * 1e3, (time.perf_counter() - ready) * 1e3)
        return ids[None]

    def _tell(self, message: str) -> None:
        """Warn once."""
        if message not in self._told:
            self._told.add(message)
            logger.warning('%s', message)

    def _even_length(self) -> int:
        """Return the length that prompts are padded to where all must have the same."""
        return max((len(self._encode(each)) for each in self.summary.instructions),
                   default=USUAL_PROMPT)

    def _encode(self, instruction: str) -> list[int]:
        if instruction not in self._prompts:
            self._prompts[instruction] = prompt.encode(
                instruction, self._tokenizer, self._config)
        return self._prompts[instruction]

    @property
    def device(self) -> str:
        """Return the kind of device that the model is on: `cpu` or `cuda`."""
        return self._device.type

    @property
    def weight_bytes(self) -> int:
        """Return what the weights and buffers take in memory, bytes."""
        return sum(each.numel() * each.element_size() for each in (
            *self._model.parameters(), *self._model.buffers()))

    @property
    def reused_share(self) -> float | None:
        """Return the share of patches that the last step left to VLA-Cache; None without it."""
        reused = getattr(self._runtime, 'reused', None)
        return None if reused is None else reused / self._config.num_patches

    def reset(self) -> None:
        """Forget the last step, as at the start of an episode; only `vla-cache` depends on it."""
        if self._runtime is not None:
            self._runtime.reset()

    def warm_up(self) -> float:
        """Run twice on a blank image, so that the first real call is not slow; return its ms."""
        if self._runtime is not None:
            lengths = {len(self._encode(each)) for each in self.summary.instructions}
            # An operator's own sentence must not be captured while the arm waits.
            for length in sorted(lengths | set(range(BUCKET, USUAL_PROMPT + 1, BUCKET))):
                if length <= self._runtime.longest_prompt:
                    self._runtime.prepare(length)
        blank = self.blank_observation()
        self.act(blank)
        self.act(replace(blank, image=blank.image + 1))  # not the same again, which is free
        self.reset()
        return self.timing.inference_ms

    def blank_observation(self) -> Observation:
        """Return a black picture of every camera and a state of zeros: what timing needs."""
        height, width = self.summary.image_size_px
        image = np.zeros((height, width, 3), np.uint8)
        proprio = np.zeros(self._config.proprio_dim) if self._config.proprio_dim else None
        return Observation(image, 'put carrot on plate', proprio,
                           extra_images=dict.fromkeys(self._config.cameras[1:], image))
