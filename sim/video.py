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
Episodes as a film: what the arm's camera saw, with the instruction written under it.

Episodes follow one another in one MP4 (real speed, 5 frames a second) and one GIF (twice as fast,
small enough for a README). The small camera image is enlarged; nothing in it is repainted. The
MP4 is encoded by the ffmpeg that imageio-ffmpeg brings along: OpenCV's own writer picks codecs
that browsers do not play. Sizes in pixels, times in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import io
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PICTURE_PX = 448
"""Side of the enlarged camera image; with the caption 448 x 512, multiples of 16 for the codec."""
CAPTION_PX = 64
FPS = 5.0
GIF_SPEED = 2.0
HOLD_S = 1.0
"""How long the last frame of an episode stands, so that its result can be read."""
GIF_MAX_BYTES = 2_000_000
_GIF_ATTEMPTS = ((1.0, 128, 1), (0.75, 64, 1), (0.6, 48, 1), (0.5, 32, 2), (0.4, 16, 4))
"""(scale, colours, every n-th frame), tried in turn until the GIF is small enough."""

_INK, _PAPER, _GREEN, _GREY = (235, 235, 235), (24, 24, 28), (60, 190, 90), (150, 150, 155)


@dataclass(frozen=True)
class FilmedEpisode:
    """One episode for the film."""

    frames: Sequence[np.ndarray]
    """Camera images in order, uint8 (H, W, 3), the first before the first step."""
    instruction: str
    success: bool
    """Marked on the last frame."""
    title: str = ''
    """A few words for the corner, such as `2/5`."""


def captioned(image: np.ndarray, instruction: str, step: int, success: bool = False,
              title: str = '') -> Image.Image:
    """
    Return the camera image enlarged, with a caption under it.

    :param image: uint8 (H, W, 3); it is stretched to PICTURE_PX square, as the model's input is
    :param step: control step that the image follows, from 0
    :param success: draw the success mark
    """
    canvas = Image.new('RGB', (PICTURE_PX, PICTURE_PX + CAPTION_PX), _PAPER)
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(
        (PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    sentence, font = _fitted(draw, f'“{instruction}”', PICTURE_PX - 24)
    draw.text((12, PICTURE_PX + 6), sentence, font=font, fill=_INK)
    small = ImageFont.load_default(size=15)
    line = f'step {step}  ·  {step / FPS:.1f} s'
    draw.text((12, PICTURE_PX + 38), f'{title}  ·  {line}' if title else line, font=small,
              fill=_GREY)
    if success:
        _draw_success(draw, small)
    return canvas


def _fitted(draw: ImageDraw.ImageDraw, text: str,
            width_px: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text and the largest font with which it fits, shortened if none does."""
    for size in (22, 20, 18, 16, 14):
        font = ImageFont.load_default(size=size)
        if draw.textlength(text, font=font) <= width_px:
            return text, font
    while len(text) > 4 and draw.textlength(text, font=font) > width_px:
        text = f'{text[:-4]}…”'
    return text, font


def _draw_success(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> None:
    right, top = PICTURE_PX - 14, PICTURE_PX + 38
    word_px = draw.textlength('success', font=font)
    draw.text((right - word_px, top), 'success', font=font, fill=_GREEN)
    left = right - word_px - 26
    draw.line([(left, top + 9), (left + 6, top + 15), (left + 17, top + 2)], fill=_GREEN, width=4)
    draw.rectangle([0, 0, PICTURE_PX - 1, PICTURE_PX - 1], outline=_GREEN, width=5)


class Film:
    """
    Collect episodes into `<path>.mp4` and `<path>.gif`.

    The MP4 grows with each episode; the GIF, which takes seconds, is written at the end. Use it
    as a context manager: after an exception the MP4 is finished and the GIF left out.

    :param path: where to, without an ending; the folder is made
    """

    def __init__(self, path: Path | str):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.mp4 = path.with_name(f'{path.name}.mp4')
        self.gif = path.with_name(f'{path.name}.gif')
        self._writer = imageio.get_writer(
            self.mp4, format='FFMPEG', fps=FPS, codec='libx264', quality=8,
            macro_block_size=16, ffmpeg_log_level='error')
        self._gif_frames: list[Image.Image] = []

    def add(self, episode: FilmedEpisode) -> None:
        """Append one episode; its last frame stands for HOLD_S."""
        last = len(episode.frames) - 1
        for step, image in enumerate(episode.frames):
            frame = captioned(image, episode.instruction, step, episode.success and step == last,
                              episode.title)
            for _ in range(1 + (step == last) * round(HOLD_S * FPS)):
                self._writer.append_data(np.asarray(frame))
                self._gif_frames.append(frame)

    def close(self, with_gif: bool = True) -> None:
        """Finish the MP4 and, unless told otherwise, write the GIF."""
        self._writer.close()
        if self._gif_frames and with_gif:
            self.gif.write_bytes(gif_bytes(self._gif_frames))
        self._gif_frames = []

    def __enter__(self) -> 'Film':
        return self

    def __exit__(self, error_type, *_) -> None:
        self.close(with_gif=error_type is None)


def write_grid(path: Path, episodes: Sequence[FilmedEpisode], columns: int,
               tile_px: int = 224) -> None:
    """
    Write episodes side by side into one MP4; those that end early stand still.

    :param columns: episodes a row
    :param tile_px: width of one episode, a multiple of 16
    """
    if not episodes:
        return
    tile = (tile_px, tile_px * (PICTURE_PX + CAPTION_PX) // PICTURE_PX)
    rows = -(-len(episodes) // columns)
    size = (min(columns, len(episodes)) * tile[0], rows * tile[1])
    partial = path.with_name(f'{path.stem}.partial.mp4')
    with imageio.get_writer(
            partial, format='FFMPEG', fps=FPS, codec='libx264', quality=7, macro_block_size=16,
            ffmpeg_log_level='error') as writer:
        for step in range(max(len(each.frames) for each in episodes) + round(HOLD_S * FPS)):
            canvas = Image.new('RGB', size, _PAPER)
            for index, each in enumerate(episodes):
                at = min(step, len(each.frames) - 1)
                frame = captioned(each.frames[at], each.instruction, at,
                                  each.success and at == len(each.frames) - 1, each.title)
                canvas.paste(frame.resize(tile, Image.Resampling.BILINEAR),
                             (index % columns * tile[0], index // columns * tile[1]))
            writer.append_data(np.asarray(canvas))
    partial.replace(path)


def gif_bytes(frames: Sequence[Image.Image], max_bytes: int = GIF_MAX_BYTES) -> bytes:
    """
    Return an endlessly looping GIF of at most max_bytes, as good as that allows.

    Scale, colours and, at last, frames are given up until it fits; the poorest attempt is
    returned even if it does not. All frames share one palette, as a changing one would flicker.
    """
    for scale, colours, every in _GIF_ATTEMPTS:
        chosen = [frame.resize((round(frame.width * scale), round(frame.height * scale)),
                               Image.Resampling.LANCZOS) for frame in frames[::every]]
        sample = _sample_sheet(chosen)
        palette = sample.quantize(colours, method=Image.Quantize.MEDIANCUT)
        paletted = [frame.quantize(palette=palette, dither=Image.Dither.NONE)
                    for frame in chosen]
        buffer = io.BytesIO()
        paletted[0].save(buffer, format='GIF', save_all=True, append_images=paletted[1:], loop=0,
                         duration=round(1000 * every / (FPS * GIF_SPEED)), optimize=False)
        if buffer.tell() <= max_bytes:
            break
    return buffer.getvalue()


def _sample_sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """Put some of the frames side by side, so that the palette knows all of them."""
    some = frames[::max(1, len(frames) // 12)]
    sheet = Image.new('RGB', (some[0].width * len(some), some[0].height))
    for column, frame in enumerate(some):
        sheet.paste(frame, (column * frame.width, 0))
    return sheet
