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
VLA-Cache (arXiv 2502.02175) on our model: keep the keys and values of patches that look unchanged.

The published rival of pruning. A patch is reused if its pixels hardly changed since the last frame
and the last frame's text did not look at it; how many are reused grows with how concentrated each
layer's attention was. From the pruning layers on, reused tokens leave the hidden states and their
old keys and values stay in the cache. The vision towers and the text are computed every time. The
selection equals the official code's (siyuhsu/vla-cache; its changed LlamaModel is known from
descriptions only). Not exact, and its prefill is not captured: what is computed depends on the
image.

Legend: P patches, L tokens, Q queries (tokens that were computed), K keys, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rlrc_ros.vla.fused import run_layer
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.runtime import Reuse, Step, StepRuntime
import torch
from torch.nn import functional

PUBLISHED_LAYERS = 32


@dataclass(frozen=True)
class VlaCacheConfig:
    """The published constants for a decoder of 32 layers and 256 patches."""

    static_top_k: int = 130
    """Most static patches; 130 is the OpenVLA driver's, 150 the function's default."""
    threshold: float = 0.996
    """Least cosine of a patch's pixels in two frames."""
    relevant_top_k: int = 120
    """Patches that the text looked at most, always computed."""
    growth: float = 0.55
    """How much of a rise of the reuse from layer to layer is followed."""
    attention_layer: int = 15
    pruning_layers: tuple[int, ...] = (2, 6, 9, 11)
    forced: int | None = None
    """Reuse the first so many patches from the first pruning layer on, whatever they show: for
    timing on random weights."""

    @classmethod
    def for_model(cls, layers: int, patches: int, forced: int | None = None) -> 'VlaCacheConfig':
        """Return the constants, layers and patches in proportion where the model has others."""
        own = cls()
        return cls(
            max(1, own.static_top_k * patches // 256), own.threshold,
            own.relevant_top_k * patches // 256, own.growth,
            own.attention_layer * layers // PUBLISHED_LAYERS,
            tuple(sorted({max(1, each * layers // PUBLISHED_LAYERS)
                          for each in own.pruning_layers})), forced)


def patch_similarity(image: np.ndarray, last: np.ndarray, patch_size: int) -> np.ndarray:
    """Return the cosine (P,) of each patch's pixels in two images uint8 (H, W, 3)."""
    def rows(picture: np.ndarray) -> np.ndarray:
        side = picture.shape[0] // patch_size
        blocks = picture[:side * patch_size, :side * patch_size].reshape(
            side, patch_size, side, patch_size, 3)
        return blocks.transpose(0, 2, 1, 3, 4).reshape(side * side, -1).astype(np.float32)

    ours, theirs = rows(image), rows(last)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.sum(ours * theirs, axis=1) / (norms + 1e-8)


def static_patches(similarity: np.ndarray, top_k: int, threshold: float) -> np.ndarray:
    """Return the patches at or above the threshold, most alike first, at most top_k."""
    order = np.argsort(-similarity, kind='stable')
    return order[similarity[order] >= threshold][:top_k]


def relevant_patches(attention: torch.Tensor, positions: torch.Tensor, patches: int,
                     text_tokens: int) -> np.ndarray:
    """
    Return how much the text looked at each patch (P,).

    :param attention: of one layer (H, Q, K)
    :param positions: (Q,) where each query stands
    """
    first = 1 + patches
    text = (positions >= first) & (positions < first + text_tokens)
    return attention.float().mean(0)[text, 1:first].mean(0).cpu().numpy()


def reuse_schedule(attentions: Sequence[torch.Tensor], growth: float | None) -> np.ndarray:
    """
    Return the share of patches to reuse in each layer (layers,): 1 - normalised entropy.

    :param attentions: of every layer (H, Q, K)
    :param growth: share of every rise that is followed; None follows it whole
    """
    entropies = []
    for attention in attentions:
        mean = attention.float().mean(0)
        mean = mean / (mean.sum(-1, keepdim=True) + 1e-10)
        entropies.append(-(mean * (mean + 1e-10).log()).sum(-1).mean())
    entropy = torch.stack(entropies)
    spread = entropy.max() - entropy.min() + 1e-10
    shares = (1.0 - (entropy - entropy.min()) / spread).tolist()
    for layer in range(1, len(shares) if growth is not None else 0):
        rise = shares[layer] - shares[layer - 1]
        if rise > 0:
            shares[layer] = shares[layer - 1] + rise * growth
    return np.array(shares, np.float32)


def top_patches(scores: np.ndarray, top_k: int) -> np.ndarray:
    """Return the top_k patches by score, highest first."""
    return np.argsort(-scores, kind='stable')[:top_k]


def reusable_positions(static: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the positions (behind BOS) of patches that are static and not relevant, in order."""
    return np.setdiff1d(static, relevant) + 1


class VlaCacheRuntime(StepRuntime):
    """The step runtime with VLA-Cache's prefill; forget the last frame with reset()."""

    def __init__(self, model: Vla, action_tokens: int | None = None,
                 settings: VlaCacheConfig | None = None):
        super().__init__(model, action_tokens, reuse=Reuse(enabled=False))
        config = model.config
        self.settings = settings or VlaCacheConfig.for_model(
            len(config.decoder.layers), config.num_patches)
        self._attentions: list[torch.Tensor] = []
        self._positions = torch.zeros(0, dtype=torch.long)
        self._frame: np.ndarray | None = None
        self._frame_ids: list[int] | None = None
        self._reusable, self._shares = np.zeros(0, int), np.zeros(0)
        self.reused = 0
        """Patches that the last step left to the cache in its last layer."""

    def reset(self) -> None:
        """Forget the last frame, as an episode's start must."""
        super().reset()
        self._frame = None

    def act(self, image: np.ndarray, prompt_ids: list[int]) -> np.ndarray:
        """Do as StepRuntime does, reusing what the last frame left."""
        if prompt_ids != self._frame_ids:
            self._frame = None
        self._select(image, len(prompt_ids))
        self._frame = None  # an exception must not leave half a cache behind
        ids = super().act(image, prompt_ids)
        self._frame, self._frame_ids = image.copy(), list(prompt_ids)
        return ids

    def _select(self, image: np.ndarray, prompt_tokens: int) -> None:
        settings = self.settings
        self._reusable, self._shares = np.zeros(0, int), np.zeros(0)
        if self._frame is None:
            return
        if settings.forced is not None:
            self._reusable = np.arange(1, settings.forced + 1)
            self._shares = np.ones(len(self.layers))
            return
        pads = self._bucket(prompt_tokens) - prompt_tokens
        seen = [each[:, :each.shape[1] - pads] for each in self._attentions]
        similarity = patch_similarity(image, self._frame, self._config.towers[0].patch_size)
        static = static_patches(similarity, settings.static_top_k, settings.threshold)
        scores = relevant_patches(
            seen[settings.attention_layer], self._positions[:len(self._positions) - pads],
            self._patches, prompt_tokens - 1)
        self._reusable = reusable_positions(static, top_patches(scores, settings.relevant_top_k))
        self._shares = reuse_schedule(seen, settings.growth)

    def _made(self, name: str, bucket: int) -> Step:
        """Capture decoding alone: a prefill's shape depends on the image."""
        if name == 'decode':
            return super()._made(name, bucket)
        return self._plain(name, bucket)

    def _prefill(self, bucket: int) -> None:
        """Image and prompt → cache and first token, without the tokens that are reused."""
        text = self._embedded(0, bucket)
        x = torch.cat([text[:1], self._encode(), text[1:]])
        positions, dropped = torch.arange(len(x), device=self.device), 0
        self._attentions = []
        for index, (layer, cache) in enumerate(zip(self.layers, self.cache)):
            if index in self.settings.pruning_layers and len(self._reusable):
                wanted = max(1, int(self._shares[index] * len(self._reusable)))
                if wanted > dropped:
                    dropped = wanted
                    gone = torch.from_numpy(self._reusable[:dropped]).to(self.device)
                    keep = ~torch.isin(positions, gone)
                    x, positions = x[keep], positions[keep]
            if index == self.settings.attention_layer:
                self._positions = positions
            mask = self._mask.index_select(0, positions)[None, None]
            turn = self._turn.index_select(3, positions)
            x = run_layer(layer, x, turn, cache, positions, mask, self._attend)
        self.reused = dropped
        # The prompt's last token stands as far from the end as in a whole prefill.
        last = self._prompt[-1:] + (self._patches - 1)
        self._begin_answer(x.index_select(0, last - dropped), last)

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor,
                is_causal: bool) -> torch.Tensor:
        """Attend as everywhere, and keep the weights (H, Q, K)."""
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask
        weights = functional.softmax(scores.float(), dim=-1).to(q.dtype)
        self._attentions.append(weights[0])
        return weights @ v
