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

"""The film: captions that fit, an MP4 that plays, a GIF that stays small."""

import imageio.v2 as imageio
import numpy as np
from PIL import Image
from rlrc_sim.video import captioned, Film, FilmedEpisode, FPS, gif_bytes, HOLD_S

HEIGHT_PX, WIDTH_PX = 512, 448


def noise(frames: int, size_px: int = 64) -> list[np.ndarray]:
    """Return camera images that compress badly."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size_px, size_px, 3), np.uint8) for _ in range(frames)]


def test_the_caption_shows_instruction_and_success():
    """The caption differs by instruction and by success; the picture above it does not."""
    image = noise(1)[0]
    one = np.asarray(captioned(image, 'put carrot on red plate', 3))
    other = np.asarray(captioned(image, 'put can on blue plate', 3))
    won = np.asarray(captioned(image, 'put carrot on red plate', 3, success=True))
    assert one.shape == (HEIGHT_PX, WIDTH_PX, 3)
    np.testing.assert_array_equal(one[:WIDTH_PX], other[:WIDTH_PX])
    assert (one[WIDTH_PX:] != other[WIDTH_PX:]).any()
    green = (won[WIDTH_PX:].astype(int) * [-1, 2, -1]).sum(axis=2) > 100
    assert green.any()
    np.testing.assert_array_equal(one[8:WIDTH_PX - 8, 8:-8], won[8:WIDTH_PX - 8, 8:-8])


def test_a_long_instruction_stays_inside_the_picture():
    """A sentence that is too long is shortened: nothing touches the right edge."""
    frame = np.asarray(captioned(noise(1)[0], 'put the carrot ' * 20, 0))
    assert (frame[WIDTH_PX:, -8:] == frame[-1, -1]).all()


def test_a_film_holds_all_episodes(tmp_path):
    """The MP4 has every frame of every episode plus the held last ones; the GIF is there."""
    with Film(tmp_path / 'films' / 'demo') as film:
        film.add(FilmedEpisode(noise(4), 'put carrot on red plate', True, '1/2'))
        film.add(FilmedEpisode(noise(3), 'put can on blue plate', False, '2/2'))
    frames = imageio.mimread(film.mp4, memtest=False)
    assert len(frames) == 4 + 3 + 2 * round(HOLD_S * FPS)
    assert frames[0].shape == (HEIGHT_PX, WIDTH_PX, 3)
    with Image.open(film.gif) as gif:
        assert gif.n_frames > 2
        assert gif.info['loop'] == 0


def test_an_interrupted_film_is_playable(tmp_path):
    """After an exception the MP4 is finished and no GIF is left half-written."""
    try:
        with Film(tmp_path / 'demo') as film:
            film.add(FilmedEpisode(noise(3), 'put carrot on red plate', False))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert len(imageio.mimread(film.mp4, memtest=False)) >= 3
    assert not film.gif.exists()


def test_a_gif_is_made_smaller_until_it_fits():
    """With less room the same frames become a smaller GIF, within the limit."""
    frames = [Image.fromarray(frame) for frame in noise(12, 128)]
    roomy = gif_bytes(frames)
    tight = gif_bytes(frames, max_bytes=len(roomy) // 4)
    assert len(tight) <= len(roomy) // 4
