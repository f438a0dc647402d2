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
Camera messages as RGB arrays: the door where a wrong encoding or size stops.

Raw images are read straight from the message's bytes (20 us for 640x480), which honours the row
padding in `step`. Encodings beyond the four usual ones go through cv_bridge where it is installed.
Sizes in pixels, (height, width).
"""

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

try:
    from cv_bridge import CvBridge
except Exception:  # not on PyPI; or built for another numpy, which fails in other ways as well
    CvBridge = None

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'mono8': 1}
"""Encodings that are read here, with their bytes per pixel."""


class ImageError(ValueError):
    """The message is no image that the policy can take; the text says why and what would be."""


def decode(
    message: Image | CompressedImage, min_size_px: tuple[int, int],
) -> np.ndarray:
    """
    Return the image as uint8 (H, W, 3) RGB, its own memory.

    Raises ImageError on an encoding that cannot be read, on bytes that do not fit the stated size,
    and on an image smaller than `min_size_px` (height, width): enlarging it would invent pixels.
    """
    if isinstance(message, CompressedImage):
        image = _decode_compressed(message)
    else:
        image = _decode_raw(message)
    height, width = image.shape[:2]
    if height < min_size_px[0] or width < min_size_px[1]:
        raise ImageError(
            f'the image is {width}x{height} pixels; the checkpoint reads '
            f'{min_size_px[1]}x{min_size_px[0]}, so set the camera to at least that')
    return image


def _decode_raw(message: Image) -> np.ndarray:
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        return _decode_by_cv_bridge(message)
    height, width, step = message.height, message.width, message.step
    row = width * channels
    if height == 0 or width == 0 or step < row or len(message.data) < step * height:
        raise ImageError(
            f'a {message.encoding} image of {width}x{height} pixels needs rows of at least {row} '
            f'bytes; this one has step {step} and {len(message.data)} bytes in all')
    rows = np.frombuffer(message.data, dtype=np.uint8, count=step * height)
    pixels = rows.reshape(height, step)[:, :row].reshape(height, width, channels)
    if message.encoding == 'bgr8':
        pixels = pixels[..., ::-1]
    elif message.encoding == 'mono8':
        pixels = np.repeat(pixels, 3, axis=2)
    return np.array(pixels[..., :3], order='C')


def _decode_by_cv_bridge(message: Image) -> np.ndarray:
    wanted = f'set the camera to one of: {", ".join(CHANNELS)}'
    if CvBridge is None:
        raise ImageError(f"encoding '{message.encoding}' cannot be read; {wanted}")
    try:
        return np.array(CvBridge().imgmsg_to_cv2(message, 'rgb8'), order='C')
    except Exception as error:  # a message cut short is a TypeError of NumPy's, for one
        raise ImageError(
            f"cv_bridge cannot turn '{message.encoding}' into rgb8 ({error}); {wanted}") from error


def _decode_compressed(message: CompressedImage) -> np.ndarray:
    encoded = np.frombuffer(message.data, dtype=np.uint8)
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error:  # sizes that no picture has
        image = None
    if image is None:
        raise ImageError(
            f"the {encoded.size} bytes of format '{message.format}' are no picture; "
            'jpeg and png are read')
    return np.ascontiguousarray(image[..., ::-1])
