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

"""Preparing camera images, against TensorFlow's own numbers where they are at hand."""

from dataclasses import replace

import numpy as np
from official_folders import golden
import pytest
from rlrc_ros.vla import images
from rlrc_ros.vla.config import ConfigError, ImageConfig
from rlrc_training.presets import preset


@pytest.fixture(scope='module')
def tensorflow() -> dict[str, np.ndarray]:
    """Return images and what TensorFlow made of them in the official evaluation."""
    return dict(np.load(golden('oft_a/tf_image_preprocessing.npz')))


def _difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return np.abs(ours.astype(int) - theirs.astype(int))


@pytest.mark.parametrize('name', ['image0', 'image1'])
def test_the_centre_crop_is_tensorflows_bit_for_bit(tensorflow, name):
    """No pixel of the 90 % crop differs."""
    source = str(tensorflow[f'{name}::center_crop_input_is'])
    image = tensorflow[{'image': name}.get(source, f'{name}::{source}')]
    np.testing.assert_array_equal(images.center_crop(image), tensorflow[f'{name}::center_crop'])


@pytest.mark.parametrize('name', ['image0', 'image1'])
def test_lanczos_is_tensorflows_but_for_rounding(tensorflow, name):
    """Given the same image, at most one pixel in ten thousand differs, by one."""
    resized = images.resize_lanczos(tensorflow[f'{name}::jpeg_roundtrip'], 224)
    difference = _difference(resized, tensorflow[f'{name}::resize_image_for_policy'])
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-4


@pytest.mark.parametrize('name', ['image0', 'image1'])
def test_the_jpeg_round_trip_is_close_to_tensorflows(tensorflow, name):
    """It errs by one of 255 on average: the two decoders use different transforms."""
    difference = _difference(images.jpeg_round_trip(tensorflow[name]),
                             tensorflow[f'{name}::jpeg_roundtrip'])
    assert difference.max() <= 10
    assert difference.mean() < 1.1


def test_the_options_happen_in_the_order_of_the_official_evaluation():
    """JPEG, then resize, then crop; without options only the resize is left."""
    config, _ = preset('tiny')
    image = np.random.default_rng(0).integers(0, 255, (48, 80, 3)).astype(np.uint8)
    np.testing.assert_array_equal(images.prepare(image, config), images.resize(image, 64))
    asked = replace(config, image=ImageConfig(center_crop=True, jpeg=True, lanczos=True))
    np.testing.assert_array_equal(
        images.prepare(image, asked), images.center_crop(
            images.resize_lanczos(images.jpeg_round_trip(image), 64)))


@pytest.mark.parametrize('strategy', ['resize-naive', 'letterbox', 'resize-crop'])
@pytest.mark.parametrize('shape', [(48, 81), (81, 48), (64, 64), (7, 300)])
def test_every_strategy_makes_the_models_size(strategy, shape):
    """Wide, tall, odd and thin images all become 64 x 64."""
    config, _ = preset('tiny')
    config = replace(config, image=ImageConfig(strategy))
    assert images.prepare(np.zeros((*shape, 3), np.uint8), config).shape == (64, 64, 3)


def test_a_letterbox_has_bars_of_the_given_colour():
    """A wide image gets equal bars above and below, at int(mean * 255)."""
    boxed = images.letterbox(np.full((4, 10, 3), 200, np.uint8), (0.5, 0.5, 0.5))
    assert boxed.shape == (10, 10, 3)
    assert (boxed[[0, 2, 7, 9]] == 127).all()
    assert (boxed[3:7] == 200).all()


@pytest.mark.parametrize(('fields', 'words'), [
    ({'resize_strategy': 'squash'}, 'resize-naive, letterbox, resize-crop'),
    ({'center_crop': 'yes'}, "center_crop is true or false, got 'yes'"),
    ({'resize_strategy': 'letterbox', 'lanczos': True}, 'lanczos squeezes')])
def test_image_options_that_make_no_sense_are_refused(fields, words):
    """The error names the value and the valid ones."""
    with pytest.raises(ConfigError, match=words):
        ImageConfig(**fields)
