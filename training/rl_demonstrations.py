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

"""Demonstrated frames beside PPO: what the policy saw, and the tokens that were right."""

import logging

import numpy as np
from rlrc_ros.vla import images
from rlrc_ros.vla.actions import ActionTokenizer, NormStats
from rlrc_ros.vla.config import VlaConfig
from rlrc_training.data import DemonstrationError, load_episodes
from rlrc_training.frames import Pictures
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_rollout import Moment
import torch

log = logging.getLogger('rlrc.rl')


class DemonstratedFrames:
    """
    Every frame of --data in memory, its action in the checkpoint's own tokens.

    :param stats: the checkpoint's, not the data's: the policy's tokens keep their meaning
    :raises DemonstrationError: none there, or actions of another dimension
    """

    def __init__(self, config: RlConfig, vla: VlaConfig, stats: NormStats):
        self._sentences: list[str] = []
        actions, pictures = [], Pictures()
        for episode in load_episodes(list(config.data), config.episodes, config.camera):
            if episode.actions.shape[1] != vla.action.dim:
                raise DemonstrationError(
                    f'seed {episode.seed} has actions of {episode.actions.shape[1]} numbers, the '
                    f'checkpoint takes {vla.action.dim}; use demonstrations of the same robot')
            pictures.add(images.prepare(image, vla) for image in episode.images)
            self._sentences += [episode.instruction] * len(episode.images)
            actions.append(episode.actions)
        ids = ActionTokenizer(vla.action).encode(stats.normalise(np.concatenate(actions)))
        self._bins = torch.from_numpy(ids - vla.action.lowest_id)
        self._pictures = pictures.all()
        log.info('demonstrations frames=%d', len(self))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._sentences)

    def moments(self, rows: np.ndarray) -> list[Moment]:
        """Return what was seen in some frames."""
        return [Moment(self._pictures[row], self._sentences[row]) for row in rows]

    def bins(self, rows: np.ndarray) -> torch.Tensor:
        """Return the action tokens (B, A) of some frames, counted from the lowest id."""
        return self._bins[rows]
