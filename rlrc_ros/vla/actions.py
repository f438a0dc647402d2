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
whose mask is false (the gripper) pass as they are. OpenVLA-OFT (arXiv 2502.19645) can take the
least and greatest instead, scales the robot's state likewise, and widens the range by 1e-8 on the
way back too, which OpenVLA does not.
"""

from dataclasses import dataclass

import numpy as np
from rlrc_ros.types import Action, ActionChunk
from rlrc_ros.vla.config import ActionConfig

RANGE_EPSILON = 1e-8
"""Keeps a range of zero from dividing; official code adds it to every range."""
LIMITS = {'bounds_q99': ('q01', 'q99'), 'bounds': ('min', 'max')}
"""What is mapped to -1 and 1, by the normalisation's official name."""


class ActionTokenizer:
    """Normalised actions ↔ token ids."""

    def __init__(self, config: ActionConfig):
        self._end = config.vocab_end
        self._edges = np.linspace(-1.0, 1.0, config.bins)
        self.bin_centers = (self._edges[:-1] + self._edges[1:]) / 2.0

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
    """Statistics of one data set's actions or states, as in OpenVLA's dataset_statistics.json."""

    q01: np.ndarray
    """1st percentile; the least value where the checkpoint normalises by `bounds`."""
    q99: np.ndarray
    """99th percentile; the greatest value likewise."""
    mask: np.ndarray
    """False: this dimension is not normalised."""
    widened_by: float = 0.0
    """Added to the range when actions are brought back: 1e-8 in OpenVLA-OFT, 0 in OpenVLA."""

    def __post_init__(self) -> None:
        if not len(self.q01) == len(self.q99) == len(self.mask):
            raise ValueError(f'q01, q99 and mask differ in length: {len(self.q01)}, '
                             f'{len(self.q99)}, {len(self.mask)}')
        if not (np.isfinite(self.q01).all() and np.isfinite(self.q99).all()):
            raise ValueError('q01 and q99 must be finite')

    @classmethod
    def from_json(cls, entry: dict, part: str = 'action', normalisation: str = 'bounds_q99',
                  widened_by: float = 0.0) -> 'NormStats':
        """
        Read one data set's entry; a missing mask means that all is normalised.

        :param part: `action`, or `proprio` for the robot's state
        :param normalisation: `bounds_q99` takes the percentiles, `bounds` least and greatest
        :raises ValueError: no such statistics in it, or not finite
        """
        low, high = LIMITS[normalisation]
        try:
            numbers = entry[part]
            q01 = np.array(numbers[low], dtype=np.float64)
            q99 = np.array(numbers[high], dtype=np.float64)
        except (KeyError, TypeError) as error:
            raise ValueError(f'no {part} statistics {low} and {high}: {error}') from error
        mask = numbers.get('mask')
        mask = np.ones(q01.shape, dtype=bool) if mask is None else np.array(mask, dtype=bool)
        if not q01.ndim == q99.ndim == mask.ndim == 1:
            raise ValueError(f'{low}, {high} and mask are lists of one number for each dimension; '
                             f'got {numbers[low]!r}, {numbers[high]!r} and {mask!r}')
        return cls(q01, q99, mask, widened_by)

    def normalise(self, actions: np.ndarray) -> np.ndarray:
        """Return actions (..., dim) scaled to [-1, 1] where the mask says so."""
        scaled = 2.0 * (actions - self.q01) / (self.q99 - self.q01 + RANGE_EPSILON) - 1.0
        scaled = np.where(self.q01 == self.q99, 0.0, np.clip(scaled, -1.0, 1.0))
        return np.where(self.mask, scaled, actions)

    def normalise_state(self, state: np.ndarray) -> np.ndarray:
        """
        Return a robot state (..., dim) as OpenVLA-OFT reads it: all of it within [-1, 1].

        Unlike in normalise(), a state that never changed in training becomes -1, not 0, and
        dimensions outside the mask are clipped too; official inference does both.
        """
        scaled = 2.0 * (state - self.q01) / (self.q99 - self.q01 + RANGE_EPSILON) - 1.0
        return np.clip(np.where(self.mask, scaled, state), -1.0, 1.0)

    def unnormalise(self, normalised: np.ndarray) -> np.ndarray:
        """Return normalised actions (..., dim) in metres, radians and gripper."""
        span = self.q99 - self.q01 + self.widened_by
        return np.where(self.mask, 0.5 * (normalised + 1.0) * span + self.q01, normalised)


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


def action_chunk(vectors: np.ndarray) -> ActionChunk:
    """
    Turn one answer (horizon, 7), in metres, radians and gripper, into actions for the arm.

    :raises ValueError: not seven numbers an action
    """
    return ActionChunk(tuple(Action.from_vector(vector) for vector in vectors))
