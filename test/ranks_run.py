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

"""What test_ranks.py runs under torchrun and without it: OUT gets a JSON of losses."""

from contextlib import suppress
from dataclasses import replace
import json
from pathlib import Path
import sys
from unittest.mock import patch

from rlrc_training import ranks
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.trainer import Trainer
from training_rig import make_learner, play_noise, rl_config


def rl_losses(checkpoint: Path, out: Path) -> list[dict[str, float]]:
    """Run two updates, one of the critic alone, on this rank's environments."""
    config = rl_config(checkpoint, out, critic_warmup_updates=1, bc='kl',
                       critic_warmup_explained_variance=2.0, num_minibatches=3)
    envs = ranks.share('num_envs', config.num_envs)
    learner = make_learner(config, envs)
    return [learner.learn(play_noise(learner, config, envs), update) for update in range(3)]


def main(checkpoint: Path, demos: Path, out: Path) -> None:
    """Train both ways; the first rank writes what came out."""
    ranks.start('cpu')
    told = {'rl': rl_losses(checkpoint, out)}
    try:
        ranks.share('num_envs', 5)
    except ValueError as error:
        told['error'] = str(error)
    config = SftConfig(
        data=(demos,), out=out / 'sft', init=checkpoint, steps=4, batch_size=5, warmup_steps=1,
        accumulate=2, save_every=2, eval_episodes=0, device='cpu', augmentation='openvla')
    first, several = ranks.is_first(), ranks.world_size() > 1
    with patch.object(ranks, 'stop'):
        sft(config)
        if several:
            train_in_shares(replace(config, out=out / 'shares', shard=True,
                                    gradient_checkpointing=True))
    ranks.stop()
    if first:
        (out / 'told.json').write_text(json.dumps(told))


def train_in_shares(config: SftConfig) -> None:
    """Train with a share of the blocks on each rank: stopped after two steps, then taken up."""
    update = Trainer.update

    def interrupted(trainer: Trainer, parts: list) -> object:
        if trainer.step == 2:
            raise KeyboardInterrupt
        return update(trainer, parts)

    with patch.object(Trainer, 'update', interrupted), suppress(KeyboardInterrupt):
        sft(config)
    sft(config)


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
