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
Changes of an image that leave the right action the same; for training only.

What a row of a batch suffers is drawn for the whole batch, so that it does not depend on how the
batch is shared among ranks and parts.

Legend: B images.
"""

import torch
from torch.nn import functional

CROP_AREA, BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.9, 0.2, (0.8, 1.2), (0.8, 1.2), 0.05
"""OpenVLA's fine-tuning (vla-scripts/finetune.py): area kept, and the ranges of the colours."""
TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def jitter_factors(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Draw contrast and brightness (2, B, 1, 1, 1) of a whole batch."""
    return 1.0 + strength * (2.0 * torch.rand(2, count, 1, 1, 1, generator=generator) - 1.0)


def jitter(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Change contrast and brightness of images uint8 (B, H, W, 3), each its own way."""
    scaled = pixels.float()
    mean = scaled.mean((1, 2, 3), keepdim=True)
    scaled = (scaled - mean) * factors[0] + mean * factors[1]
    return scaled.clamp(0, 255).to(torch.uint8)


def openvla_factors(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw six numbers in [0, 1) an image (B, 6): where to crop (2), and the four colours."""
    return torch.rand(count, 6, generator=generator)


def openvla_augment(pixels: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """
    Crop and recolour images uint8 (B, H, W, 3) as OpenVLA's fine-tuning does, in its order.

    A random 90 % of the area, enlarged bilinearly; brightness, contrast about each channel's mean,
    saturation, hue. The hue is turned in the YIQ plane, which is TensorFlow's HSV turn to first
    order and differs from it in how bright a turned colour is.
    """
    picture = pixels.permute(0, 3, 1, 2).float() / 255.0  # (B, 3, H, W)
    picture = _crop(picture, factors[:, :2])
    unit = factors[:, 2:, None, None, None]
    picture = (picture + BRIGHTNESS * (2 * unit[:, 0] - 1)).clamp(0, 1)
    mean = picture.mean((2, 3), keepdim=True)
    picture = (mean + (picture - mean) * _between(unit[:, 1], CONTRAST)).clamp(0, 1)
    to_yiq = TO_YIQ.to(picture.device)
    yiq = torch.einsum('ij,bjhw->bihw', to_yiq, picture)
    angle = 2 * torch.pi * HUE * (2 * unit[:, 3, 0] - 1)  # (B, 1, 1)
    turned = torch.stack([
        yiq[:, 0], yiq[:, 1] * angle.cos() - yiq[:, 2] * angle.sin(),
        yiq[:, 1] * angle.sin() + yiq[:, 2] * angle.cos()], dim=1)
    turned[:, 1:] *= _between(unit[:, 2], SATURATION)
    picture = torch.einsum('ij,bjhw->bihw', torch.linalg.inv(to_yiq), turned).clamp(0, 1)
    return (picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def _between(unit: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * unit


def _crop(picture: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Enlarge a part of pictures (B, 3, H, W); `where` (B, 2) in [0, 1) places it, x and y."""
    side = CROP_AREA ** 0.5
    shift = (1 - side) * (2 * where - 1)  # of the middle, in affine_grid's -1 ... 1
    theta = torch.zeros(len(picture), 2, 3, device=picture.device)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = shift
    grid = functional.affine_grid(theta, list(picture.shape), align_corners=False)
    return functional.grid_sample(picture, grid, padding_mode='border', align_corners=False)
