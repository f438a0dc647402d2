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
The step runtime of a policy that answers in one pass: two launches, whatever the chunk's length.

The first turns the image into embeddings, the second runs prompt, empty slots and end token
through the decoder once and reads every token of the answer (vla/parallel.py, the discrete head).
Nothing is decoded, so there is no cache. As every token sees every other, a new instruction on the
same image costs the second launch; the first is exactly the same. Slots stand behind the prompt's
true end and pads behind them, out of sight, so one capture serves a bucket of prompt lengths.

The choice is among the action ids alone, as Vla.act() makes it; official OpenVLA-OFT chooses from
the whole vocabulary, which differs where a policy would answer with no action.

Legend: P patches, T prompt tokens, A action tokens, E hidden_size.
"""

from rlrc_ros.vla.fused import run_layer
from rlrc_ros.vla.runtime import Step, StepRuntime
import torch


class OnePassRuntime(StepRuntime):
    """StepRuntime for models with `parallel` in their config; one camera, no robot state."""

    tail = 1

    def _allocate(self, pinned: bool) -> None:
        super()._allocate(pinned)
        config = self._config
        self._seen = torch.zeros(self._patches, config.decoder.hidden_size,
                                 device=self.device, dtype=self.dtype)
        self._columns = torch.arange(self.slots, device=self.device)

    def _read_image(self) -> None:
        self._seen.copy_(self._encode())

    def _answer(self, bucket: int) -> None:
        """Prompt and embedded image → all ids."""
        tokens, low = self._tokens, self._config.action.lowest_id
        width, length = bucket + tokens + self.tail, self._prompt[-1:]
        text = self._embedded(0, width)
        column = self._columns[:width]
        is_slot = (column >= length) & (column < length + tokens)
        text = text.masked_fill(is_slot[:, None], 0.0)
        x = torch.cat([text[:1], self._seen, text[1:]])  # (P + T + A + 1, E)
        visible = self._columns[:len(x)] <= length + (self._patches + tokens)
        turn, visible = self._turn[:, :, :, :len(x)], visible[None, None, None]
        for layer in self.layers:
            x = run_layer(layer, x, turn, None, None, visible)
        first = length + (self._patches - 1)
        hidden = x.index_select(0, first + self._columns[:tokens])
        norm = self._model.language_model.model.norm
        hidden = torch.nn.functional.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.eps)
        logits = self._model.action_logits(hidden)  # (A, bins)
        self._logits.copy_(logits)
        torch.add(logits.argmax(-1), low, out=self._ids)

    def _plain(self, name: str, bucket: int) -> Step:
        if name == 'image':
            return self._read_image
        return lambda: self._answer(bucket)

    def _needed(self, bucket: int) -> tuple[tuple[str, int], ...]:
        return ('image', 0), ('answer', bucket)

    def _launch(self, bucket: int, same_image: bool) -> None:
        if not same_image:
            self._made('image', 0)()
        self._made('answer', bucket)()
