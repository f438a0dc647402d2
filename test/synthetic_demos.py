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

"""Demonstrations that no simulator made: noise for images, a gripper that closes and opens."""

from pathlib import Path

import numpy as np
from rlrc_training.data import Episode, save_episode

FRAMES, CLOSES, OPENS = 20, 8, 15


def make_demonstrations(folder: Path, episodes: int = 2) -> Path:
    """Write episodes of 20 frames; the hand reaches the object in frame 8, the plate in 15."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(episodes):
        rng = np.random.default_rng(seed)
        actions = rng.normal(0, 0.01, (FRAMES, 7)).astype(np.float32)
        actions[:, 6] = 1.0
        actions[CLOSES:OPENS, 6] = 0.0
        positions = np.tile(np.float32([0.3, 0.1, 0.02, 0.3, -0.1, 0.0, 0.3, 0.0, 0.2]),
                            (FRAMES, 1))
        positions[CLOSES, 6:] = positions[CLOSES, :3]
        positions[OPENS, 6:] = positions[OPENS, 3:6]
        save_episode(folder, Episode(
            seed, 'ind', 'put can on red plate',
            rng.integers(0, 256, (FRAMES, 64, 64, 3), dtype=np.uint8), actions, positions))
    return folder
