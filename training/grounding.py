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
What tells a policy where things are while it trains: an auxiliary head, no part of a checkpoint.

It asks at three places along the way that a decision takes. Of the image tokens, where each kind
of thing is: so the towers learn what is what. Of the state at a name in the prompt, a third of the
way up the decoder, where that thing is: so words find what they name. Of the state that the first
action token is read from, where the named object, its receptacle and the end effector are.
From actions alone a small decoder learns the first two late or never: it aims between two things.

Places are in tenths of a metre, in the table's plane; those of the last place are (x, y, z) each.

Legend: B rows, P patches, E hidden size, L tokens of a sequence, K kinds, M names in a prompt.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import re

import numpy as np
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.model import Vla
from tokenizers import Tokenizer
import torch
from torch import nn
from torch.nn import functional

SCALE = 10.0
"""Tenths of a metre in one: errors are then of the size of the other losses."""
HEIGHT = 3
"""Names are asked after one layer in so many, so that what they found can be read by the rest."""


@dataclass(frozen=True)
class Mention:
    """A thing that a prompt names."""

    kind: int
    """Index into Frames.kinds."""
    token: int
    """Index of the name's last token in the prompt's ids."""


def mentions(instruction: str, kinds: Sequence[str], tokenizer: Tokenizer,
             vla: VlaConfig) -> tuple[Mention, ...]:
    """Return the kinds that an instruction names, and where its prompt has their last tokens."""
    sentence = instruction.strip().lower()
    start = vla.prompt.index('{instruction}')
    read = tokenizer.encode(vla.prompt.format(instruction=sentence), add_special_tokens=False)
    found = {}
    for kind, name in sorted(enumerate(kinds), key=lambda each: len(each[1])):
        if match := re.search(rf'\b{re.escape(name.lower())}\b', sentence):
            # Behind the beginning-of-sequence token. A longer name ("7up can") hides a shorter.
            found[read.char_to_token(start + match.end() - 1) + 1] = kind
    return tuple(Mention(kind, token) for token, kind in found.items())


class AuxiliaryHead(nn.Module):
    """
    The three questions.

    :param kinds: K; 0, of demonstrations that do not say where things are, leaves the last alone
    """

    def __init__(self, vla: VlaConfig, kinds: int):
        super().__init__()
        self.kinds = kinds
        size = vla.decoder.hidden_size
        if kinds:
            self.patches = nn.Linear(size, 3 * kinds)
            # Apart from the start: patches that all point at one place would not be told apart.
            side = torch.linspace(-1.0, 1.0, round(vla.num_patches ** 0.5))
            self.centres = nn.Parameter(torch.cartesian_prod(side, side)[:, None])  # (P, 1, 2)
            self.named = nn.Sequential(
                nn.LayerNorm(size), nn.Linear(size, 256), nn.GELU(), nn.Linear(256, 2))
        self.decided = nn.Sequential(nn.Linear(size, 256), nn.GELU(), nn.Linear(256, 9))

    def seen(self, patches: torch.Tensor) -> torch.Tensor:
        """
        Return where each kind is (B, K, 2), from image tokens (B, P, E).

        Every patch says how much it shows a kind and how far off that lies.
        """
        shown, offsets = self.patches(patches).split([self.kinds, 2 * self.kinds], dim=-1)
        points = self.centres + offsets.unflatten(-1, (self.kinds, 2))  # (B, P, K, 2)
        return (shown.softmax(1)[..., None] * points).sum(1)


@contextmanager
def low_states(model: Vla) -> Iterator[list[torch.Tensor]]:
    """Keep what a layer low in the decoder puts out (B, L, E), in the list that is given."""
    layers, kept = model.language_model.model.layers, []
    layer = layers[max(0, len(layers) // HEIGHT - 1)]
    hook = layer.register_forward_hook(lambda *call: kept.append(call[-1]))
    try:
        yield kept
    finally:
        hook.remove()


def position_loss(head: AuxiliaryHead, patches: torch.Tensor, low: torch.Tensor | None,
                  state: torch.Tensor, positions_m: np.ndarray, kinds_m: np.ndarray,
                  named: Sequence[tuple[Mention, ...]]) -> torch.Tensor:
    """
    Return how far off the three answers are, each a mean over what is there to be asked.

    :param patches: (B, P, E) image tokens
    :param low: (B, L, E), see low_states(); None asks no names (parallel decoding)
    :param state: (B, E) that the first action token is read from
    :param positions_m: (B, 9) named object, receptacle, end effector
    :param kinds_m: (B, K, 2); NaN: not on the table, or not known
    :param named: what each row's prompt names
    """
    device = state.device
    wanted = torch.from_numpy(positions_m).to(device) * SCALE
    loss = functional.smooth_l1_loss(head.decided(state.float()), wanted, beta=0.1)
    if not head.kinds:
        return loss
    kinds = torch.from_numpy(kinds_m).to(device) * SCALE
    loss = loss + _mean_error(head.seen(patches.float()), kinds)
    asked = [(row, each) for row, those in enumerate(named) for each in those]
    if low is None or not asked:
        return loss
    rows = torch.tensor([row for row, _ in asked], device=device)
    tokens = torch.tensor([each.token for _, each in asked], device=device)
    which = torch.tensor([each.kind for _, each in asked], device=device)
    # The token at index i of the prompt stands at P + i.
    answered = head.named(low[rows, tokens + patches.shape[1]].float())
    return loss + _mean_error(answered, kinds[rows, which])


def _mean_error(answered: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    there = ~wanted.isnan()
    each = functional.smooth_l1_loss(answered, wanted.nan_to_num(), beta=0.1, reduction='none')
    return (each * there).sum() / there.sum().clamp(min=1)
