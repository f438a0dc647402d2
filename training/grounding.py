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
of thing is, and how it is turned if it is long, and the same of the hand, and how far its fingers
are apart: so the towers learn what is what. Of the state at a name in a prompt, a third of the way
up the decoder, the same of that thing: so words find what they name. Of the state that the first
action token is read from, where the named object, its receptacle and the end effector are, how the
first and the last of them are turned, the fingers again, and whether they hold the object.

From actions alone a small decoder learns the first two late or never: it aims between two things.
And the demonstrated prompt teaches the second badly, for the hand is soon near what it names, and
gives the answer away. So names are asked in other prompts: in each the demonstrated names are
replaced by two of all that is on the table. These prompts are read by the low layers alone.

Places are in tenths of a metre, in the table's plane; those of the last place are (x, y, z) each.
A turn is the cosine and the sine of twice the heading, which half a turn does not change.

Legend: B rows, P patches, E hidden size, L tokens of a sequence, K kinds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import re

import numpy as np
from rlrc_ros.vla import prompt
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
class Question:
    """A prompt that names two things."""

    ids: tuple[int, ...]
    """The prompt's tokens."""
    tokens: tuple[int, ...]
    """Index in them of each name's last token."""


class Questions:
    """
    Prompts made from the demonstrated ones by naming other things.

    :param sentences: the demonstrated instructions
    :param kinds: K names; what stands on the table is asked, named in a sentence or not
    """

    def __init__(self, sentences: Sequence[str], kinds: Sequence[str], tokenizer: Tokenizer,
                 vla: VlaConfig):
        self._kinds = tuple(kinds)
        self._around = [self._around_names(each.strip()) for each in sentences]
        self._read = lru_cache(maxsize=None)(
            lambda around, names: _question(around, names, tokenizer, vla))

    def _around_names(self, sentence: str) -> tuple[str, str, str] | None:
        """Return what stands before, between and behind two names; None: not two names."""
        spans = []
        for name in sorted(self._kinds, key=len, reverse=True):  # "7up can" hides "can"
            match = re.search(rf'\b{re.escape(name)}\b', sentence, re.IGNORECASE)
            if match and not any(match.start() < end and start < match.end()
                                 for start, end in spans):
                spans.append(match.span())
        if len(spans) != 2:
            return None
        first, second = sorted(spans)
        return sentence[:first[0]], sentence[first[1]:second[0]], sentence[second[1]:]

    def ask(self, sentence: int, there: np.ndarray,
            chance: np.ndarray) -> tuple[Question, tuple[int, int]] | None:
        """
        Return a prompt and the two kinds that it names, or None where nothing can be asked.

        :param there: (K,) bool, what is on the table
        :param chance: (2,) in [0, 1), which of it is named
        """
        around, kinds = self._around[sentence], np.flatnonzero(there)
        if around is None or len(kinds) < 2:
            return None
        first = int(chance[0] * len(kinds))
        others = np.delete(kinds, first)
        chosen = (int(kinds[first]), int(others[int(chance[1] * len(others))]))
        return self._read(around, tuple(self._kinds[each] for each in chosen)), chosen


def _question(around: tuple[str, str, str], names: tuple[str, str], tokenizer: Tokenizer,
              vla: VlaConfig) -> Question:
    before, between, behind = around
    first = before + names[0]
    second = first + between + names[1]
    sentence = (second + behind).lower()
    read = tokenizer.encode(vla.prompt.format(instruction=sentence), add_special_tokens=False)
    start = vla.prompt.index('{instruction}')
    # One further: the beginning-of-sequence token stands before all.
    ends = tuple(read.char_to_token(start + len(each) - 1) + 1 for each in (first, second))
    return Question(tuple(prompt.encode(sentence, tokenizer, vla)), ends)


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
            self.patches = nn.Linear(size, 5 * (kinds + 2))  # and the hand, and its fingers
            # Apart from the start: patches that all point at one place would not be told apart.
            side = torch.linspace(-1.0, 1.0, round(vla.num_patches ** 0.5))
            self.centres = nn.Parameter(torch.cartesian_prod(side, side)[:, None])  # (P, 1, 2)
            self.named = nn.Sequential(
                nn.LayerNorm(size), nn.Linear(size, 256), nn.GELU(), nn.Linear(256, 4))
        self.decided = nn.Sequential(nn.Linear(size, 256), nn.GELU(), nn.Linear(256, 15))

    def seen(self, patches: torch.Tensor) -> torch.Tensor:
        """
        Return where each kind and the hand are and how they are turned (B, K + 2, 4).

        Every patch says how much it shows a kind, how far off that lies, and its turn. The last
        row is the fingers', of whose numbers the third alone means something: how far they are
        apart.

        :param patches: (B, P, E) image tokens
        """
        asked = self.kinds + 2
        shown, told = self.patches(patches).split([asked, 4 * asked], dim=-1)
        offsets, turned = told.unflatten(-1, (asked, 4)).split(2, dim=-1)  # (B, P, K + 2, 2)
        points = torch.cat([self.centres + offsets, turned], dim=-1)
        return (shown.softmax(1)[..., None] * points).sum(1)


def low_states(model: Vla, patches: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """
    Return what the decoder's low layers make of prompts (B, P + L, E).

    :param patches: (B, P, E); :param ids: (B, L), padded behind
    """
    decoder = model.language_model.model
    x = model.embed(ids, patches)
    return decoder.run_layers(x, *range(max(1, len(decoder.layers) // HEIGHT)))


def wanted_of(kinds_m: torch.Tensor, kinds_turned: torch.Tensor, hand_m: torch.Tensor,
              hand: torch.Tensor) -> torch.Tensor:
    """
    Return what image tokens are to answer (B, K + 2, 4), see AuxiliaryHead.seen(); NaN: nothing.

    :param kinds_m: (B, K, 2); :param kinds_turned: (B, K, 2); :param hand: (B, 4), see Frames
    :param hand_m: (B, 2)
    """
    kinds = torch.cat([kinds_m * SCALE, kinds_turned], dim=-1)
    own = torch.cat([hand_m * SCALE, hand[:, :2]], dim=-1)
    fingers = torch.full_like(own, torch.nan)
    fingers[:, 2] = hand[:, 2]
    return torch.cat([kinds, own[:, None], fingers[:, None]], dim=1)


def seen_loss(head: AuxiliaryHead, patches: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return how far off the image tokens' (B, P, E) answers are from `wanted` (B, K + 2, 4)."""
    told = head.seen(patches.float())
    return _mean_error(told[:, :-1], wanted[:, :-1]) + _mean_of_known(told[:, -1], wanted[:, -1])


def decided_loss(head: AuxiliaryHead, state: torch.Tensor, positions_m: torch.Tensor,
                 at_hand: torch.Tensor) -> torch.Tensor:
    """
    Return how far off the answers of (B, E) are.

    :param positions_m: (B, 9) object, receptacle, end effector
    :param at_hand: (B, 6), see Frames.at_hand(); NaN: nothing
    """
    places, turned, fingers = head.decided(state.float()).split([9, 4, 2], dim=-1)
    return (functional.smooth_l1_loss(places, positions_m * SCALE, beta=0.1)
            + _mean_of_known(turned, at_hand[:, :4]) + _mean_of_known(fingers, at_hand[:, 4:]))


def named_loss(head: AuxiliaryHead, model: Vla, patches: torch.Tensor, wanted: torch.Tensor,
               asked: Sequence[tuple[Question, tuple[int, int]] | None]) -> torch.Tensor:
    """
    Return how far off the answers at names are.

    :param patches: (B, P, E) image tokens
    :param wanted: (B, K, 4) or more, see wanted_of()
    :param asked: for each row, see Questions.ask()
    """
    device = patches.device
    rows = [row for row, each in enumerate(asked) if each is not None]
    if not rows:
        return torch.zeros((), device=device)
    questions = [asked[row] for row in rows]
    ids, _ = prompt.pad([list(each.ids) for each, _ in questions], model.config.pad_token_id)
    low = low_states(model, patches[rows], ids.to(device))
    tokens = torch.tensor([each.tokens for each, _ in questions], device=device)  # (B, 2)
    kinds = torch.tensor([chosen for _, chosen in questions], device=device)
    one = torch.arange(len(rows), device=device)[:, None]
    # The token at index i of the prompt stands at P + i.
    answered = head.named(low[one, tokens + patches.shape[1]].float())  # (B, 2, 4)
    return _mean_error(answered, wanted[rows][one, kinds])


def _mean_error(answered: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean error of places plus that of turns (..., 4), over what is known of each."""
    return sum(map(_mean_of_known, answered.split(2, dim=-1), wanted.split(2, dim=-1)))


def _mean_of_known(answered: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean error over what is known; NaN: nothing is."""
    known = ~wanted.isnan()
    each = functional.smooth_l1_loss(answered, wanted.nan_to_num(), beta=0.1, reduction='none')
    return (each * known).sum() / known.sum().clamp(min=1)
