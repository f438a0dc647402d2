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
Camera image → model tensor. One place, for training, sim and robot.

OpenVLA's path: PIL bicubic resize with antialiasing (`resize-naive` squeezes the picture), then
/255, then each tower's own mean and standard deviation, stacked on the channel axis.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from rlrc_ros.vla.config import TowerConfig
import torch


def resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """Squeeze an image uint8 (H, W, 3) to (size_px, size_px, 3); the right size passes as is."""
    if image.shape[:2] == (size_px, size_px):
        return image
    return np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.BICUBIC))


def to_pixels(images: torch.Tensor, towers: Sequence[TowerConfig]) -> torch.Tensor:
    """
    Normalise images of the model's size for every tower.

    :param images: uint8 (B, H, W, 3) on any device
    :return: float32 (B, 3 x towers, H, W)
    """
    scaled = images.permute(0, 3, 1, 2).float() / 255.0
    parts = []
    for tower in towers:
        mean = torch.tensor(tower.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(tower.std, device=images.device).view(1, 3, 1, 1)
        parts.append((scaled - mean) / std)
    return torch.cat(parts, dim=1)
