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

"""Camera messages: the four encodings, padded rows, and everything that is refused."""

import cv2
import numpy as np
import pytest
from rlrc_ros.nodes.image_message import CvBridge, decode, ImageError
from sensor_msgs.msg import CompressedImage, Image

RGB = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)
SMALL = (4, 4)


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """Return pixels (H, W, C) as a message whose rows end in `padding` extra bytes."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, pixels[0].size + padding), np.uint8)
    rows[:, :pixels[0].size] = pixels.reshape(height, -1)
    return Image(height=height, width=width, encoding=encoding, step=rows.shape[1],
                 data=rows.tobytes())


@pytest.mark.parametrize('padding', [0, 7])
def test_every_encoding_gives_the_same_picture(padding: int) -> None:
    """rgb8, bgr8 and rgba8 decode to the same RGB, rows padded or not."""
    alpha = np.full((6, 5, 1), 255, np.uint8)
    for pixels, encoding in (
            (RGB, 'rgb8'), (RGB[..., ::-1], 'bgr8'), (np.concatenate([RGB, alpha], 2), 'rgba8')):
        image = decode(message(pixels, encoding, padding), SMALL)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert np.array_equal(image, RGB), encoding


def test_grey_becomes_three_equal_channels() -> None:
    """mono8 is repeated into R, G and B."""
    image = decode(message(RGB[..., :1], 'mono8', 3), SMALL)
    assert all(np.array_equal(image[..., channel], RGB[..., 0]) for channel in range(3))


def test_the_image_owns_its_memory() -> None:
    """What the policy sees does not change when the message's buffer is used again."""
    received = message(RGB, 'rgb8')
    image = decode(received, SMALL)
    received.data[0] = (received.data[0] + 1) % 256
    assert np.array_equal(image, RGB)


@pytest.mark.skipif(CvBridge is not None, reason='cv_bridge reads further encodings')
def test_an_unknown_encoding_is_refused_with_those_that_are_known() -> None:
    """The error names the encoding and what to set instead."""
    with pytest.raises(ImageError, match="'bayer_rggb8' cannot be read.*rgb8, bgr8, rgba8, mono8"):
        decode(message(RGB[..., :1], 'bayer_rggb8'), SMALL)


def test_whatever_cv_bridge_raises_is_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a message cut short it raises NumPy's TypeError, which would end the node."""
    class Bridge:
        def imgmsg_to_cv2(self, message: Image, encoding: str) -> np.ndarray:
            return np.ndarray((9, 9), np.uint8, buffer=bytes(message.data))

    monkeypatch.setattr('rlrc_ros.nodes.image_message.CvBridge', Bridge)
    with pytest.raises(ImageError, match="cv_bridge cannot turn 'yuv422_yuy2' into rgb8"):
        decode(message(RGB[..., :2], 'yuv422_yuy2'), SMALL)


@pytest.mark.parametrize('change', [
    {'height': 9}, {'step': 10}, {'width': 0}, {'height': 0}])
def test_bytes_that_do_not_fit_the_size_are_refused(change: dict[str, int]) -> None:
    """A truncated message or a wrong step is no image."""
    broken = message(RGB, 'rgb8')
    for field, value in change.items():
        setattr(broken, field, value)
    with pytest.raises(ImageError, match='needs rows of at least'):
        decode(broken, SMALL)


def test_an_image_smaller_than_the_models_is_refused() -> None:
    """Pixels are not invented: the error names both sizes, width first as cameras do."""
    with pytest.raises(ImageError, match='5x6 pixels; the checkpoint reads 10x8'):
        decode(message(RGB, 'rgb8'), (8, 10))


def test_a_compressed_image_is_decoded_to_rgb() -> None:
    """PNG is lossless, so the same picture comes back, in RGB order."""
    encoded = cv2.imencode('.png', RGB[..., ::-1])[1].tobytes()
    image = decode(CompressedImage(format='png', data=encoded), SMALL)
    assert np.array_equal(image, RGB)


@pytest.mark.parametrize('data', [b'', b'not a picture at all'])
def test_compressed_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    """The error says what can be read."""
    with pytest.raises(ImageError, match='jpeg and png'):
        decode(CompressedImage(format='jpeg', data=data), SMALL)
