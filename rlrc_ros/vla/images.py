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
/255, then each tower's own mean and standard deviation, stacked on the channel axis. What else an
ImageConfig asks for happens before, in the order of the official evaluation: JPEG round trip,
resize, centre crop.
"""

from collections.abc import Sequence
import io

import numpy as np
from PIL import Image
from rlrc_ros.vla.config import TowerConfig, VlaConfig
import torch

JPEG_QUALITY = 95
"""TensorFlow's default, which the data sets were written with; 4:2:0 likewise."""
CROP_AREA = 0.9
"""Of OpenVLA's random crop in training, and of the centre crop that answers it."""


def prepare(image: np.ndarray, config: VlaConfig) -> np.ndarray:
    """Bring an image uint8 (H, W, 3) to the model's size, the way that its config asks for."""
    options, size_px = config.image, config.image_size
    if options.jpeg:
        image = jpeg_round_trip(image)
    if options.lanczos:
        image = resize_lanczos(image, size_px)
    elif options.resize_strategy == 'letterbox':
        image = _resize_and_crop(letterbox(image, config.towers[-1].mean), size_px)
    elif options.resize_strategy == 'resize-crop':
        image = _resize_and_crop(image, size_px)
    else:
        image = resize(image, size_px)
    return center_crop(image) if options.center_crop else image


def resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """Squeeze an image uint8 (H, W, 3) to (size_px, size_px, 3); the right size passes as is."""
    if image.shape[:2] == (size_px, size_px):
        return image
    return np.array(Image.fromarray(image).resize((size_px, size_px), Image.BICUBIC))


def letterbox(image: np.ndarray, mean: Sequence[float]) -> np.ndarray:
    """
    Pad an image uint8 (H, W, 3) to a square, up to an odd pixel.

    :param mean: colour of the bars, 0 ... 1; official code takes the last tower's
    """
    height, width, _ = image.shape
    side = max(height, width)
    down, across = (side - height) // 2, (side - width) // 2
    padded = np.empty((height + 2 * down, width + 2 * across, 3), np.uint8)
    padded[:] = [int(value * 255) for value in mean]
    padded[down:down + height, across:across + width] = image
    return padded


def _resize_and_crop(image: np.ndarray, size_px: int) -> np.ndarray:
    """Scale the shorter side to size_px and cut out the middle, rounding as torchvision does."""
    height, width, _ = image.shape
    short = min(height, width)
    if short != size_px:
        height, width = (size_px * side // short for side in (height, width))
        image = np.array(Image.fromarray(image).resize((width, height), Image.BICUBIC))
    top, left = round((height - size_px) / 2), round((width - size_px) / 2)
    return np.ascontiguousarray(image[top:top + size_px, left:left + size_px])


def jpeg_round_trip(image: np.ndarray) -> np.ndarray:
    """
    Encode an image uint8 (H, W, 3) as JPEG and decode it.

    TensorFlow decodes with a coarser transform; the two differ by 1 of 255 on average, at most 10.
    """
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'JPEG', quality=JPEG_QUALITY, subsampling='4:2:0')
    return np.asarray(Image.open(stream).convert('RGB'))


def resize_lanczos(image: np.ndarray, size_px: int) -> np.ndarray:
    """Squeeze an image uint8 (H, W, 3) as TensorFlow's antialiased lanczos3 does, in float."""
    if image.shape[:2] == (size_px, size_px):
        return image
    channels = [Image.fromarray(image[..., channel].astype(np.float32)).resize(
        (size_px, size_px), Image.LANCZOS) for channel in range(3)]
    resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def center_crop(image: np.ndarray) -> np.ndarray:
    """
    Enlarge the middle 90 % of the area of an image uint8 (H, W, 3) to the whole.

    TensorFlow's bilinear crop_and_resize, which official evaluation uses, bit for bit: single
    precision, no antialiasing, converted to bytes by cutting off x * 255.5.
    """
    height, width, _ = image.shape
    scaled = image.astype(np.float32) * np.float32(1 / 255)
    side = np.sqrt(np.float32(CROP_AREA))
    first = (np.float32(1) - side) / np.float32(2)
    last = first + side

    def sample(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the neighbours below and above of every output pixel and its distance."""
        step = (last - first) * np.float32(count - 1) / np.float32(count - 1)
        at = first * np.float32(count - 1) + np.arange(count, dtype=np.float32) * step
        below = np.floor(at)
        return below.astype(int), np.ceil(at).astype(int), at - below

    top, bottom, down = sample(height)
    left, right, across = sample(width)
    down, across = down[:, None, None], across[:, None]
    upper = scaled[top][:, left] + (scaled[top][:, right] - scaled[top][:, left]) * across
    lower = (scaled[bottom][:, left]
             + (scaled[bottom][:, right] - scaled[bottom][:, left]) * across)
    cropped = np.clip(upper + (lower - upper) * down, 0, 1)
    return (cropped * np.float32(255.5)).astype(np.uint8)


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
