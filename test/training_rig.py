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

"""A rollout without a simulator: random pictures, answered by a real policy and its critic."""

from pathlib import Path

import numpy as np
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_learner import Learner, open_for_learning
from rlrc_training.rl_rollout import Batcher, Moment, Rollout
import torch


def rl_config(init: Path, out: Path, **changes) -> RlConfig:
    """Return options small enough for a test."""
    return RlConfig(**{
        'init': init, 'out': out, 'num_envs': 4, 'num_steps': 6, 'total_timesteps': 48,
        'num_minibatches': 2, 'critic_warmup_updates': 0, 'target_kl': None, 'device': 'cpu',
        'eval_episodes': 0, 'processes': 1, **changes})


def make_learner(config: RlConfig, envs: range | None = None, demonstrations=None) -> Learner:
    """Open the checkpoint and make its learner."""
    opened = open_for_learning(config, torch.device('cpu'))
    batcher = Batcher(opened.model, opened.tokenizer)
    return Learner(config, opened.model, batcher, envs or range(config.num_envs), demonstrations)


@torch.no_grad()
def play_noise(learner: Learner, config: RlConfig, envs: range | None = None,
               seed: int = 11) -> Rollout:
    """Answer random pictures at the config's temperature; pay random rewards."""
    envs = envs or range(config.num_envs)
    batcher, size = learner._batcher, learner.model.config.image_size
    shape, tokens = (config.num_steps, config.num_envs), learner.model.config.action_tokens
    rng = np.random.default_rng(seed)
    moments = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        words = f'put can on {"red" if index[1] % 2 else "yellow"} plate'
        moments[index] = Moment(rng.integers(0, 255, (size, size, 3)).astype(np.uint8), words)
    uniforms = rng.random((*shape, tokens))
    rewards = rng.normal(size=shape)
    dones = rng.random(shape) < 0.2
    dones[-1] = True
    moments = moments[:, envs.start:envs.stop]
    parts = [[], [], [], []]
    for t in range(config.num_steps):
        seen = list(moments[t])
        ids, lengths = batcher.prompts(seen)
        decoded = learner.model.act(
            batcher.pixels(seen), ids, lengths, config.temperature,
            uniforms=torch.from_numpy(uniforms[t, envs.start:envs.stop]))
        for part, value in zip(parts, (
                decoded.action_ids - batcher.low_id, decoded.logprobs.sum(1),
                learner.head(decoded.first_hidden), decoded.first_hidden)):
            part.append(value.clone())
    bins, logprobs, values, hidden = (torch.stack(part) for part in parts)
    mine = slice(envs.start, envs.stop)
    dones = torch.from_numpy(dones[:, mine])
    following = torch.cat([values[1:], torch.zeros(1, values.shape[1])])
    return Rollout(moments, bins, logprobs, values, hidden,
                   torch.from_numpy(rewards[:, mine]).float(), dones,
                   torch.where(dones, 0.0, following), torch.zeros_like(dones))
