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
What a step must read and multiply, and how fast a device could do it: the limit to compare with.

A stage (vision, prefill, decode) takes at least its bytes over the memory's bandwidth and at
least its operations over the peak; the larger counts, and stages add up. Embedding rows, stems and
activations are small and left out; the last block of each tower never runs. `measure_device`
measures bandwidth and peak where the process runs, so that a share of the limit says something of
the code and not of the data sheet. Bytes, operations (a multiply and an add are two), seconds.

    python -m rlrc_ros.vla.roofline [CHECKPOINT]    # projected milliseconds, by vendors' figures
"""

from dataclasses import dataclass
import sys
import time

from rlrc_ros.vla.config import TowerConfig, VlaConfig
from rlrc_ros.vla.inspection import inspect
import torch

INT4_BYTES = 0.5 + 4 / 128
"""A weight with its share of a bf16 scale and zero for each 128."""
PROMPT_TOKENS = 20
"""Of text at 7B: with 256 patches the 276 rows of the published prefill."""


@dataclass(frozen=True)
class Stage:
    """One part of a step."""

    name: str
    bytes_read: float
    operations: float


@dataclass(frozen=True)
class Device:
    """What a device can do; measured here, or a vendor's figures."""

    name: str
    bytes_per_s: float
    operations_per_s: float

    def seconds(self, stages: tuple[Stage, ...]) -> float:
        """Return the least time that stages can take, one after the other."""
        return sum(max(stage.bytes_read / self.bytes_per_s,
                       stage.operations / self.operations_per_s) for stage in stages)


VENDOR_FIGURES = (
    Device('Orin Nano Super 8 GB', 102e9, 16.7e12), Device('AGX Orin 64 GB', 204.8e9, 42.5e12),
    Device('Thor 128 GB', 273e9, 259e12), Device('RTX 4090 Laptop 16 GB', 576e9, 83e12),
    Device('RTX 4090', 1008e9, 165e12), Device('RTX 5880 Ada', 960e9, 277e12),
    Device('H200', 4800e9, 989e12))
"""Bandwidth and dense bf16 with fp32 accumulation, by the vendors. The laptop's compute is taken
as half of the desktop card's, whose chip it shares at half the power: an assumption."""


def _tower(tower: TowerConfig) -> tuple[float, float]:
    """Return parameters and operations of the blocks that run."""
    dim, tokens = tower.embed_dim, tower.num_patches + tower.register_tokens + tower.class_token
    block = 4 * dim * dim + 2 * dim * tower.mlp_hidden
    return (tower.used_blocks * block,
            tower.used_blocks * (2 * block * tokens + 4 * tokens * tokens * dim))


def decoder_parameters(config: VlaConfig) -> int:
    """Return the weights of the decoder's layers."""
    width, head = config.decoder.hidden_size, config.decoder.head_dim
    return sum(4 * width * layer.num_heads * head + 3 * width * layer.intermediate_size
               for layer in config.decoder.layers)


def projector_parameters(config: VlaConfig) -> int:
    """Return the weights of the projector."""
    vision, width = config.vision_dim, config.decoder.hidden_size
    if config.projector_layers == 3:
        return vision * 4 * vision + 4 * vision * width + width * width
    return vision * width + width * width


def step_stages(config: VlaConfig, *, prompt_tokens: int = PROMPT_TOKENS,
                decoder_bytes: float = 2.0, vision_bytes: float = 2.0, head_bytes: float = 2.0,
                prefill_bytes: float | None = None, head_rows: int | None = None,
                one_pass: bool = False) -> tuple[Stage, ...]:
    """
    Return what one step asks of a device.

    :param prompt_tokens: T, text tokens with BOS and prefix
    :param decoder_bytes: a weight of the decoder's layers; 0.53 is int4 with groups of 128
    :param prefill_bytes: likewise in the prefill, where it reads another copy
    :param head_rows: rows of the head that are read; by default the action rows alone
    :param one_pass: all action tokens in the prefill, none decoded
    """
    rows = head_rows or config.action.bins
    width, tokens = config.decoder.hidden_size, config.action_tokens
    towers = [_tower(tower) for tower in config.towers]
    vision = sum(each for each, _ in towers) + projector_parameters(config)
    vision_work = (sum(work for _, work in towers)
                   + 2 * projector_parameters(config) * config.num_patches)
    weights, head = decoder_parameters(config), rows * width
    inner = sum(layer.num_heads for layer in config.decoder.layers) * config.decoder.head_dim
    prompt = config.num_patches + prompt_tokens + (tokens if one_pass else 0)
    read = weights * decoder_bytes + head * head_bytes
    stages = (
        Stage('vision', vision * vision_bytes, vision_work),
        Stage('prefill', weights * (prefill_bytes or decoder_bytes) + head * head_bytes,
              2 * weights * prompt + 4 * prompt * prompt * inner
              + 2 * head * (tokens if one_pass else 1)))
    if one_pass:
        return stages
    cache = 2 * prompt * inner * 2.0  # keys and values in bf16
    return (*stages, Stage('decode', (tokens - 1) * (read + cache),
                           (tokens - 1) * (2 * weights + 4 * prompt * inner + 2 * head)))


@torch.inference_mode()
def measure_device(device: str, dtype: torch.dtype) -> Device:
    """Measure bandwidth (matrix times vector) and peak (matrix times matrix), best of 8."""
    cuda = device.startswith('cuda')
    name = torch.cuda.get_device_name(device) if cuda else 'CPU'
    rows, side = (32768, 8192) if cuda else (8192, 1024)
    matrix = torch.ones(rows, 8192, dtype=dtype, device=device)
    vector = torch.ones(8192, 1, dtype=dtype, device=device)
    square = torch.ones(side, side, dtype=dtype, device=device)

    def best(step) -> float:
        seconds = []
        for _ in range(8):
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return Device(name, matrix.numel() * matrix.element_size() / best(lambda: matrix @ vector),
                  2 * side ** 3 / best(lambda: square @ square))


def projected_table(config: VlaConfig) -> str:
    """Return the least milliseconds of a step by device and scheme, from vendors' figures."""
    schemes = {
        'bf16': step_stages(config), 'int4': step_stages(config, decoder_bytes=INT4_BYTES),
        'int4, one pass': step_stages(config, decoder_bytes=INT4_BYTES, one_pass=True)}
    heading = ' | '.join(f'{name}, ms' for name in schemes)
    lines = [f'| device (projected, not measured) | {heading} |',
             '|---' * (len(schemes) + 1) + '|']
    lines += [f'| {device.name} | ' + ' | '.join(
        f'{device.seconds(stages) * 1e3:.1f}' for stages in schemes.values()) + ' |'
        for device in VENDOR_FIGURES]
    return '\n'.join(lines)


if __name__ == '__main__':
    print(projected_table(inspect(
        sys.argv[1] if len(sys.argv) > 1 else 'checkpoints/nano').config))
