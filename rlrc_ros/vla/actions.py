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
Action tokens ↔ normalised actions ↔ metres and radians. One place, for training, sim and robot.

OpenVLA's numbers (arXiv 2406.09246): 256 edges evenly over [-1, 1] make 255 bins; a value
becomes id `vocab_end - digitize(value)`, an id becomes the centre of its bin: -1 is the highest.
Normalisation maps the 1st and 99th percentile of the training actions to -1 and 1; dimensions
whose mask is false (the gripper) pass as they are.
"""

from dataclasses import dataclass

import numpy as np
from rlrc_ros.types import Action, ActionChunk
from rlrc_ros.vla.config import ActionConfig


class ActionTokenizer:
    """Normalised actions ↔ token ids."""

    def __init__(self, config: ActionConfig):
        self._end = config.vocab_end
        self._edges = np.linspace(-1.0, 1.0, config.bins)
        self.bin_centers = (self._edges[:-1] + self._edges[1:]) / 2.0
        self.lowest_id = config.vocab_end - config.bins

    def encode(self, normalised: np.ndarray) -> np.ndarray:
        """Return ids (...) int64 of normalised actions (...); values beyond ±1 are clipped."""
        clipped = np.clip(np.asarray(normalised, dtype=np.float64), -1.0, 1.0)
        return self._end - np.digitize(clipped, self._edges)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """
        Return the bin centres (...) of ids (...).

        The two lowest ids share a bin, and an id that is no action id is clipped to the nearest,
        both as in OpenVLA.
        """
        index = self._end - np.asarray(ids) - 1
        return self.bin_centers[np.clip(index, 0, len(self.bin_centers) - 1)]


@dataclass(frozen=True)
class NormStats:
    """Action statistics of one data set, as in OpenVLA's dataset_statistics.json."""

    q01: np.ndarray
    q99: np.ndarray
    mask: np.ndarray
    """False: this dimension is not normalised."""

    def __post_init__(self) -> None:
        if not len(self.q01) == len(self.q99) == len(self.mask):
            raise ValueError(f'q01, q99 and mask differ in length: {len(self.q01)}, '
                             f'{len(self.q99)}, {len(self.mask)}')
        if not (np.isfinite(self.q01).all() and np.isfinite(self.q99).all()):
            raise ValueError('q01 and q99 must be finite')

    @classmethod
    def from_json(cls, entry: dict) -> 'NormStats':
        """
        Read one data set's entry; a missing mask means that all is normalised.

        :raises ValueError: no action statistics in it, or not finite
        """
        try:
            action = entry['action']
            q01 = np.array(action['q01'], dtype=np.float64)
            q99 = np.array(action['q99'], dtype=np.float64)
        except (KeyError, TypeError) as error:
            raise ValueError(f'no action statistics q01 and q99: {error}') from error
        return cls(q01, q99, np.array(action.get('mask', np.ones(len(q01))), dtype=bool))

    def normalise(self, actions: np.ndarray) -> np.ndarray:
        """Return actions (..., dim) scaled to [-1, 1] where the mask says so."""
        scaled = 2.0 * (actions - self.q01) / (self.q99 - self.q01 + 1e-8) - 1.0
        scaled = np.where(self.q01 == self.q99, 0.0, np.clip(scaled, -1.0, 1.0))
        return np.where(self.mask, scaled, actions)

    def unnormalise(self, normalised: np.ndarray) -> np.ndarray:
        """Return normalised actions (..., dim) in metres, radians and gripper."""
        scaled = 0.5 * (normalised + 1.0) * (self.q99 - self.q01) + self.q01
        return np.where(self.mask, scaled, normalised)


def statistics_of(actions: np.ndarray, episodes: int) -> dict:
    """
    Return the dataset_statistics.json entry for actions (N, 7); the gripper stays as it is.

    :param episodes: number of trajectories the actions come from
    """
    mask = [True] * (actions.shape[1] - 1) + [False]
    return {
        'action': {
            'mean': actions.mean(0).tolist(), 'std': actions.std(0).tolist(),
            'min': actions.min(0).tolist(), 'max': actions.max(0).tolist(),
            'q01': np.quantile(actions, 0.01, axis=0).tolist(),
            'q99': np.quantile(actions, 0.99, axis=0).tolist(), 'mask': mask},
        'num_transitions': len(actions), 'num_trajectories': episodes}


def action_chunk(ids: np.ndarray, tokenizer: ActionTokenizer, stats: NormStats,
                 horizon: int = 1) -> ActionChunk:
    """Turn the token ids (horizon x dim,) of one answer into actions for the arm."""
    vectors = stats.unnormalise(tokenizer.decode(ids).reshape(horizon, -1))
    return ActionChunk(tuple(Action.from_vector(vector) for vector in vectors))
