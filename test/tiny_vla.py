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

"""A two-layer VLA with random weights, for tests that need a checkpoint and not its skill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from rlrc_ros.vla.actions import statistics_of
from rlrc_ros.vla.checkpoint import save_checkpoint
from rlrc_ros.vla.config import ParallelConfig, QuantizationConfig, VlaConfig
from rlrc_ros.vla.linear import QuantizedLinear
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.quantized import linear_layers
from rlrc_training.presets import preset
from rlrc_training.rounding import stored_tensors
import torch

DATASET = 'tiny_data'


def tiny_statistics() -> dict:
    """Return plausible action statistics: centimetres, hundredths of radians, a binary gripper."""
    rng = np.random.default_rng(0)
    actions = rng.normal(0, 1, (500, 7)) * [0.01, 0.01, 0.01, 0.05, 0.05, 0.05, 0]
    actions[:, 6] = rng.integers(0, 2, 500)
    return {DATASET: statistics_of(actions, episodes=10)}


def tiny_oft_config(config: VlaConfig, horizon: int = 4, dim: int = 7,
                    **parallel) -> VlaConfig:
    """Return a tiny config that decodes in parallel, as OpenVLA-OFT does."""
    return replace(config, action=replace(config.action, horizon=horizon, dim=dim),
                   parallel=ParallelConfig(**{'head': 'l1', **parallel}))


def make_tiny_oft_checkpoint(folder: str | Path, horizon: int = 4, **parallel) -> Path:
    """Write a random tiny OpenVLA-OFT in our own format; states are metres and radians."""
    config, tokenizer = preset('tiny')
    model = Vla(tiny_oft_config(config, horizon, **parallel))
    model.initialise(torch.Generator().manual_seed(0))
    if model.config.parallel.head == 'l1':
        # Small steps, that no gate refuses eight of: other processors draw other weights.
        model.action_head.model.fc2.weight.data *= 0.02
    statistics = tiny_statistics()
    state_dim = model.config.proprio_dim
    statistics[DATASET]['proprio'] = {
        name: [value] * state_dim for name, value in
        {'q01': -1.0, 'q99': 1.0, 'min': -2.0, 'max': 2.0}.items()}
    return save_checkpoint(Path(folder), model, tokenizer, statistics, {}, torch.float32)


def make_tiny_checkpoint(folder: str | Path, seed: int = 0,
                         quantization: QuantizationConfig | None = None) -> Path:
    """Write a random tiny checkpoint, quantised or not, and return its folder."""
    config, tokenizer = preset('tiny')
    model = Vla(replace(config, quantization=quantization))
    generator = torch.Generator().manual_seed(seed)
    model.initialise(generator)
    for _, _, layer in linear_layers(model):
        if isinstance(layer, QuantizedLinear):
            weight = torch.randn(layer.out_features, layer.in_features, generator=generator) * 0.05
            layer.load_state_dict(stored_tensors(layer, weight, 'nearest', None), strict=False)
    return save_checkpoint(Path(folder), model, tokenizer, tiny_statistics(),
                           {'stages': [{'name': 'test', 'seed': seed}]})
