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
One control step near the hardware's limit: static buffers, fused layers, captured graphs.

A step is two graphs: image → towers → projector → prefill → first token, and one token → the next,
replayed for each further token. Both read and write buffers that never move; a token goes from one
replay to the next on the device. On CUDA the graphs are captured and the two towers run on two
streams; elsewhere the same two functions are called. The prefill is captured once for each bucket
of prompt lengths; pads stand behind the prompt, where no earlier token sees them, and decoded
tokens overwrite them.

A table in host memory (vla/quantized.py) is read before a graph starts, and its rows are uploaded
with the prompt. What the image did not change is not computed again: see `Reuse`. Batch of one,
greedy; everything else is the plain model's. Not thread-safe: one caller at a time, always the
same thread.

Legend: P patches, T prompt tokens, A action tokens, S cache slots, E hidden_size, L new tokens.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
import logging

import numpy as np
from rlrc_ros.vla.fused import FAST_MULTIPLE, FusedLayer, rotary_table, run_layer
from rlrc_ros.vla.linear import INT8_INPUTS
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.quantized import HostEmbedding
import torch

BUCKET = 8
"""Prompts are padded up to a multiple of this many tokens."""
LONGEST_PROMPT = 128
"""Tokens; a longer prompt is the plain model's. OpenVLA's are about 20, v01's about 60."""
WARM_UPS = 3
"""Runs before a capture, as CUDA graphs need (cuBLAS workspaces, lazy kernels)."""
Step = Callable[[], None]
logger = logging.getLogger(__name__)


class PromptTooLongError(ValueError):
    """A prompt that no bucket holds; the plain model takes it."""


@dataclass(frozen=True)
class Reuse:
    """
    What may be carried over from the last control step.

    Behind a causal mask the keys and values of [BOS] [patches] depend on the image alone, as the
    instruction comes after it: on the same image a new instruction costs its own tokens only, and
    the same instruction costs nothing. Both are exact. A tolerance above 0 calls images the same
    that differ by at most so much anywhere: then the error is bounded in pixels, not in actions.
    """

    enabled: bool = True
    tolerance: int = 0
    """Largest difference of any of the model's pixels, of 255, that counts as the same image."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 255:
            raise ValueError(f'tolerance is 0 ... 255 of a pixel, got {self.tolerance}')

    def same(self, image: np.ndarray, last: np.ndarray | None) -> bool:
        """Tell whether two images uint8 (H, W, 3) count as one."""
        if not self.enabled or last is None:
            return False
        if not self.tolerance:
            return np.array_equal(image, last)
        return int(np.abs(image.astype(np.int16) - last).max()) <= self.tolerance


class CudaGraphs:
    """Turns a step into a graph launch; every graph shares one memory pool."""

    def __init__(self) -> None:
        self._pool = None

    def __call__(self, step: Step) -> Step:
        """
        Warm a step up on a side stream, capture it, return its replay.

        :raises RuntimeError: something in the step cannot be captured
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads (ROS, a camera driver) may talk to the device meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode='thread_local'):
            step()
        self._pool = self._pool or graph.pool()
        return graph.replay


class StepRuntime:
    """
    The fused, static and (on CUDA) captured form of a model.

    The model's q/k/v and gate/up matrices become views of the fused ones; it stays usable.

    :param model: on its device, in the dtype to compute in
    :param action_tokens: A, tokens in one answer
    :param int8: let decoding read int8 copies of the matrices (CPU, bf16 models)
    :param capture: turns a step into a faster one, or raises RuntimeError; None: CUDA graphs on
        CUDA, nothing elsewhere
    """

    tail = 0
    """Tokens behind the answer in the decoder's input."""

    def __init__(self, model: Vla, action_tokens: int | None = None, *, int8: bool = False,
                 reuse: Reuse = Reuse(), capture: Callable[[Step], Step] | None = None):
        config = model.config
        parameter = model.language_model.model.norm.weight
        self.device, self.dtype = parameter.device, parameter.dtype
        cuda = self.device.type == 'cuda'
        self._model, self._config, self.reuse = model, config, reuse
        self._tokens = action_tokens or config.action_tokens
        self._patches = config.num_patches
        multiple = FAST_MULTIPLE if cuda and self.dtype != torch.float32 else (
            INT8_INPUTS if int8 else 1)
        decoder = model.language_model.model
        self.layers = [FusedLayer.of(layer, multiple) for layer in decoder.layers]
        if int8:
            for layer in self.layers:
                for product in layer.products:
                    product.add_int8()
        self._capture = capture or (CudaGraphs() if cuda else None)
        self.capture_error: str | None = None
        self._side_stream = (torch.cuda.Stream(self.device) if cuda and len(config.towers) == 2
                             else None)
        self._allocate(cuda)
        self._steps: dict[tuple[str, int], Step] = {}
        self._prepared: set[int] = set()
        self._last_image: np.ndarray | None = None
        self._last_ids: list[int] | None = None

    @torch.inference_mode()
    def _allocate(self, pinned: bool) -> None:
        config, device, decoder = self._config, self.device, self._config.decoder
        others = self._patches + self._tokens + self.tail
        longest = min(LONGEST_PROMPT, decoder.max_length - others)
        self.longest_prompt = max(longest - longest % BUCKET, 0)
        slots = self.slots = others + self.longest_prompt
        size = config.image_size
        self._host_image = torch.zeros(size, size, 3, dtype=torch.uint8, pin_memory=pinned)
        row = self.longest_prompt + (self._tokens + self.tail if self.tail else 0)
        self._host_prompt = torch.zeros(row + 1, dtype=torch.long, pin_memory=pinned)
        self._host_ids = torch.zeros(self._tokens, dtype=torch.long, pin_memory=pinned)
        self._image = torch.zeros_like(self._host_image, device=device, pin_memory=False)
        # The prompt's tokens and, last, its length: one upload.
        self._prompt = torch.zeros_like(self._host_prompt, device=device, pin_memory=False)
        table = self._model.language_model.model.embed_tokens
        self._host_text = self._text = None
        if isinstance(table, HostEmbedding) and table.device.type == 'cpu':
            # Read there before a graph starts, which could not wait for the host.
            rows = (row, decoder.hidden_size)
            self._host_text = torch.zeros(rows, dtype=table.dtype, pin_memory=pinned)
            self._text = torch.zeros(rows, dtype=self.dtype, device=device)
        self._text_ids: list[int] | None = None
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._token = torch.zeros(1, dtype=torch.long, device=device)
        self._ids = torch.zeros(self._tokens, dtype=torch.long, device=device)
        self._logits = torch.zeros(self._tokens, config.action.bins, device=device,
                                   dtype=self.dtype)
        self.cache = [] if self.tail else [
            torch.zeros(2, layer.num_heads, slots, decoder.head_dim, device=device,
                        dtype=self.dtype) for layer in decoder.layers]
        self._turn = rotary_table(slots, decoder.head_dim, decoder.rope_theta, device, self.dtype)
        at = torch.arange(slots, device=device)
        self._mask = torch.zeros(slots, slots, device=device, dtype=self.dtype).masked_fill_(
            at > at[:, None], float('-inf'))
        self._text_slots = at[self._patches + 1:].contiguous()
        self._colours = [
            [torch.tensor(numbers, device=device).view(1, 3, 1, 1)
             for numbers in (tower.mean, tower.std)] for tower in config.towers]

    # ------------------------------------------------------------------ steps

    def _encode(self) -> torch.Tensor:
        """Return the image's embeddings (P, E); arithmetic of images.to_pixels()."""
        scaled = self._image.permute(2, 0, 1)[None].float() / 255.0
        pixels = [((scaled - mean) / std).to(self.dtype) for mean, std in self._colours]
        backbone = self._model.vision_backbone
        if len(pixels) == 1:
            features = backbone.featurizer(pixels[0])
        elif self._side_stream is None:
            features = torch.cat([backbone.featurizer(pixels[0]),
                                  backbone.fused_featurizer(pixels[1])], dim=-1)
        else:
            main = torch.cuda.current_stream()
            self._side_stream.wait_stream(main)
            with torch.cuda.stream(self._side_stream):
                second = backbone.fused_featurizer(pixels[1])
            first = backbone.featurizer(pixels[0])
            main.wait_stream(self._side_stream)
            features = torch.cat([first, second], dim=-1)
        return self._model.projector(features)[0].to(self.dtype)

    def _embedded(self, first: int, end: int) -> torch.Tensor:
        """Return the embeddings (end - first, E) of the prompt's tokens, pads included."""
        if self._text is not None:
            return self._text[first:end]
        return self._model.language_model.model.embed_tokens(self._prompt[first:end])

    def _prefill(self, bucket: int) -> None:
        """Image and prompt → cache and first token."""
        text = self._embedded(0, bucket)
        x = torch.cat([text[:1], self._encode(), text[1:]])  # (P + T, E)
        turn = self._turn[:, :, :, :len(x)]
        for layer, cache in zip(self.layers, self.cache):
            x = run_layer(layer, x, turn, cache, None, None)
        last = self._prompt[-1:] + (self._patches - 1)
        self._begin_answer(x.index_select(0, last), last)

    def _read_text(self, bucket: int) -> None:
        """Read a new prompt behind an image whose keys and values are in the cache."""
        x = self._embedded(1, bucket)
        slots = self._text_slots[:bucket - 1]
        first, end = self._patches + 1, self._patches + bucket
        turn, mask = self._turn[:, :, :, first:end], self._mask[first:end][None, None]
        for layer, cache in zip(self.layers, self.cache):
            x = run_layer(layer, x, turn, cache, slots, mask)
        last = self._prompt[-1:] + (self._patches - 1)
        self._begin_answer(x.index_select(0, last - first), last)

    def _begin_answer(self, hidden: torch.Tensor, last: torch.Tensor) -> None:
        self._step.zero_()
        self._position.copy_(last)
        self._choose(hidden)

    def _choose(self, hidden: torch.Tensor) -> None:
        """Turn the last hidden state (1, E) into the next token; leave it on the device."""
        norm, action = self._model.language_model.model.norm, self._config.action
        hidden = torch.nn.functional.rms_norm(
            hidden, hidden.shape[-1:], norm.weight, norm.eps)
        logits = self._model.action_logits(hidden)  # (1, bins)
        self._logits.index_copy_(0, self._step, logits.to(self.dtype))
        torch.add(logits.argmax(-1), action.lowest_id, out=self._token)
        self._ids.index_copy_(0, self._step, self._token)
        self._position.add_(1)
        self._step.add_(1)

    def _decode(self) -> None:
        """One token → the next."""
        x = self._model.embed_actions(self._token)  # (1, E)
        turn = self._turn.index_select(3, self._position)
        mask = self._mask.index_select(0, self._position)[None, None]
        for layer, cache in zip(self.layers, self.cache):
            x = run_layer(layer, x, turn, cache, self._position, mask)
        self._choose(x)

    def _made(self, name: str, bucket: int) -> Step:
        """Return a step, captured where that works, made when first asked for."""
        if (name, bucket) not in self._steps:
            plain = self._plain(name, bucket)
            step = plain
            if self._capture is not None:
                try:
                    with self._current():
                        step = self._capture(plain)
                except RuntimeError as error:
                    self.capture_error = str(error).splitlines()[0]
                    self._capture = None
                    self._steps.clear()
                    logger.warning(
                        'capturing the %s of %d tokens failed (%s); the same step runs '
                        'uncaptured: slower, the same answers', name, bucket, self.capture_error)
            self._steps[name, bucket] = step
        return self._steps[name, bucket]

    def _current(self) -> AbstractContextManager:
        """Make the model's GPU this thread's: streams and graphs belong to the current one."""
        return torch.cuda.device(self.device) if self.device.type == 'cuda' else nullcontext()

    def _plain(self, name: str, bucket: int) -> Step:
        if name == 'prefill':
            return lambda: self._prefill(bucket)
        if name == 'text':
            return lambda: self._read_text(bucket)

        def decode() -> None:
            self._decode()
        return decode

    # ------------------------------------------------------------------- door

    @property
    def captured(self) -> bool:
        """Return whether the steps made so far are captured graphs."""
        return self._capture is not None and bool(self._steps)

    @property
    def extra_weight_bytes(self) -> int:
        """Return the bytes of weights beyond the model's own."""
        return sum(product.weight_bytes for layer in self.layers for product in layer.products)

    @property
    def last_logits(self) -> torch.Tensor:
        """Return a copy (A, bins) fp32 of the last answer's logits, on the CPU."""
        return self._logits.float().cpu()

    def reset(self) -> None:
        """Forget the last step."""
        self._last_image = self._last_ids = None

    @torch.inference_mode()
    def prepare(self, prompt_length: int) -> None:
        """
        Make the steps for prompts of this length now, so that no control step has to.

        :raises PromptTooLongError: longer than longest_prompt
        """
        bucket = self._bucket(prompt_length)
        if bucket in self._prepared:
            return
        self._prepared.add(bucket)
        self._prompt.fill_(self._config.pad_token_id)
        self._prompt[-1] = min(bucket, self.longest_prompt)
        if self._capture is not None:  # a capture runs its step on what lies in the buffers
            self._last_image = None
        for name, size in self._needed(bucket):
            # Warming up decodes more tokens than an answer has, unless each begins anew.
            self._position.fill_(self._patches)
            self._step.zero_()
            self._made(name, size)

    def _needed(self, bucket: int) -> tuple[tuple[str, int], ...]:
        return ('prefill', bucket), ('decode', 0), ('text', bucket)

    def _bucket(self, prompt_length: int) -> int:
        bucket = -(-prompt_length // BUCKET) * BUCKET
        if bucket > self.longest_prompt:
            raise PromptTooLongError(
                f'a prompt of {prompt_length} tokens is longer than the largest bucket '
                f'({self.longest_prompt}); the plain model runs it')
        return bucket

    @torch.inference_mode()
    def act(self, image: np.ndarray, prompt_ids: list[int]) -> np.ndarray:
        """
        Return the answer's token ids (A,).

        :param image: uint8 (image_size, image_size, 3), as images.prepare() gives
        :param prompt_ids: as prompt.encode() gives
        :raises PromptTooLongError: longer than longest_prompt
        """
        bucket, length = self._bucket(len(prompt_ids)), len(prompt_ids)
        if bucket not in self._prepared:
            self.prepare(length)
        same_image = self.reuse.same(image, self._last_image)
        if same_image and prompt_ids == self._last_ids:
            return self._host_ids.numpy().copy()
        self._last_ids = None  # an exception below must not leave an answer that looks whole
        with self._current():
            self._upload(image, prompt_ids, same_image)
            self._launch(bucket, same_image)
            self._host_ids.copy_(self._ids, non_blocking=True)
            if self.device.type == 'cuda':
                torch.cuda.current_stream().synchronize()
        if not same_image:  # now that its keys and values are whole
            self._last_image = image.copy()
        self._last_ids = list(prompt_ids)
        return self._host_ids.numpy().copy()

    def _launch(self, bucket: int, same_image: bool) -> None:
        """Run what leads from the uploads to the ids on the device."""
        self._made('text' if same_image else 'prefill', bucket)()
        decode = self._made('decode', 0)
        for _ in range(self._tokens - 1):
            decode()

    def _upload(self, image: np.ndarray, prompt_ids: list[int], same_image: bool) -> None:
        if not same_image:
            self._last_image = None
            self._host_image.numpy()[...] = image
            self._image.copy_(self._host_image, non_blocking=True)
        host = self._host_prompt.numpy()
        host[:] = self._config.pad_token_id
        host[:len(prompt_ids)] = prompt_ids
        host[-1] = len(prompt_ids)
        if self.tail:
            host[len(prompt_ids) + self._tokens] = self._config.eos_token_id
        self._prompt.copy_(self._host_prompt, non_blocking=True)
        if self._text is not None and prompt_ids != self._text_ids:
            table = self._model.language_model.model.embed_tokens
            self._host_text.copy_(table.rows(self._host_prompt[:-1]))
            self._text.copy_(self._host_text, non_blocking=True)
            self._text_ids = list(prompt_ids)
