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
What a model costs: parameters, bytes in bf16 and operations for one answer, from its config alone.

Operations count a multiplication and an addition as two, matrices and attention only. An answer is
one pass of the towers, the projector, a prefill of image and prompt, and the action tokens one by
one, of which the first falls out of the prefill. Of the head only the action ids' rows count. An
OpenVLA-OFT answers in one pass, the slots of its chunk included, and decodes nothing further.
"""

from dataclasses import asdict, dataclass
import math

from rlrc_ros.vla.config import TowerConfig, VlaConfig
from rlrc_ros.vla.inspection import PARTS
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.parallel import RESIDUAL_BLOCKS
from rlrc_training.pruning.plan import layer_weights

BF16_BYTES = 2
PROMPT_TOKENS = 20
"""Of a usual instruction: 276 tokens with OpenVLA's 256 patches."""


@dataclass(frozen=True)
class Costs:
    """One model's costs; operations in GFLOP."""

    parameters: int
    parts: dict[str, int]
    """Parameters by part."""
    bytes_bf16: int
    vision_gflop: float
    projector_gflop: float
    prefill_gflop: float
    decode_gflop: float
    """Of one further token."""
    answer_gflop: float

    def to_json(self) -> dict:
        """Return the numbers by name."""
        return asdict(self)


def _tower_flop(tower: TowerConfig) -> float:
    tokens = tower.num_patches + tower.register_tokens + int(tower.class_token)
    head_dim = tower.embed_dim // tower.num_heads
    flop = 2.0 * tower.num_patches * 3 * tower.patch_size ** 2 * tower.embed_dim
    for index in range(tower.used_blocks):
        widths = tower.block_widths(index)
        inner = widths.num_heads * head_dim
        flop += 2.0 * tokens * tower.embed_dim * (4 * inner + 2 * widths.intermediate_size)
        flop += 4.0 * tokens * tokens * inner
    return flop


def _head_flop(config: VlaConfig) -> float:
    """Return what one use of the head takes: a token's, or a whole chunk's in one pass."""
    width, action = config.decoder.hidden_size, config.action
    if config.parallel is None:
        return 2.0 * width * action.bins  # the other rows are not multiplied
    if config.parallel.head == 'discrete':
        return 2.0 * width * config.decoder.vocab_size * config.action_tokens
    # parallel.ResidualMlp: A x E to E, blocks of E to E, E to A.
    return 2.0 * action.horizon * width * ((action.dim + RESIDUAL_BLOCKS) * width + action.dim)


def costs(config: VlaConfig) -> Costs:
    """Return what a model of this config costs; its stem is counted as one of patches."""
    parts = dict.fromkeys(PARTS.values(), 0)
    projector = 0
    for name, tensor in skeleton(config).state_dict().items():
        part = next(part for start, part in PARTS.items() if name.startswith(start))
        parts[part] += math.prod(tensor.shape)
        projector += tensor.numel() if part == 'projector' and tensor.dim() == 2 else 0
    decoder, cameras, parallel = config.decoder, len(config.cameras), config.parallel
    tokens = config.context_tokens + PROMPT_TOKENS
    tokens += config.action_tokens + 1 if parallel else 0
    weights = sum(layer_weights(decoder, widths) for widths in decoder.layers)
    inner = sum(widths.num_heads for widths in decoder.layers) * decoder.head_dim
    head = _head_flop(config)
    seen = tokens if parallel else tokens / 2  # of all tokens, by the average one
    prefill = 2.0 * tokens * weights + 4.0 * tokens * seen * inner + head
    decode = 0.0 if parallel else 2.0 * weights + 4.0 * tokens * inner + head
    vision = cameras * sum(map(_tower_flop, config.towers))
    projection = 2.0 * cameras * config.num_patches * projector
    parameters = sum(parts.values())
    answer = vision + projection + prefill + (config.action_tokens - 1) * decode
    return Costs(parameters, parts, BF16_BYTES * parameters, *(
        flop / 1e9 for flop in (vision, projection, prefill, decode, answer)))
