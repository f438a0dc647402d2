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
Table looks and textures made here: 21 patterns, each a function of the place on the table.

The suite replaces every pixel that is neither arm nor thing by a photo of a table. Here the table
is painted instead: each pixel's ray is cut with the table's plane and the pattern evaluated there,
so that a look is right in perspective at any image size. The first sixteen are seen in training,
the last five are not. A texture is the same pattern laid flat over the picture.

Lengths in metres, colours linear 0 ... 1 before the display's gamma. Legend: H, W image size.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from rlrc_sim.scene import TABLE_TOP_M
from rlrc_sim.widowx import camera_matrix, CAMERA_POSITION_M, CAMERA_WXYZ
from scipy.spatial.transform import Rotation

Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""x, y (H, W) in metres → RGB (H, W, 3), 0 ... 1."""

ROBOT_BASE_M = (0.147, 0.028, 0.870)
SAMPLES = 2
"""Samples a pixel side: fine patterns far away would flicker otherwise."""


def _hash(cell_x: np.ndarray, cell_y: np.ndarray, salt: int) -> np.ndarray:
    """Return a number 0 ... 1 for each integer cell, always the same one."""
    mixed = (cell_x.astype(np.int64) * 374761393 + cell_y.astype(np.int64) * 668265263
             + salt * 974634543) & 0xffffffff
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xffffffff
    return ((mixed ^ (mixed >> 16)) & 0xffff) / 65535.0


def _noise(x: np.ndarray, y: np.ndarray, scale_m: float, salt: int) -> np.ndarray:
    """Return smooth noise 0 ... 1 with features of scale_m (value noise, two octaves)."""
    total = np.zeros_like(x)
    for octave, share in ((1.0, 0.7), (2.3, 0.3)):
        u, v = x * octave / scale_m, y * octave / scale_m
        i, j = np.floor(u), np.floor(v)
        fu, fv = (f * f * (3 - 2 * f) for f in (u - i, v - j))
        low = _hash(i, j, salt) * (1 - fu) + _hash(i + 1, j, salt) * fu
        high = _hash(i, j + 1, salt) * (1 - fu) + _hash(i + 1, j + 1, salt) * fu
        total += share * (low * (1 - fv) + high * fv)
    return total


def _blend(share: np.ndarray, low: tuple, high: tuple) -> np.ndarray:
    share = np.clip(share, 0.0, 1.0)[..., None]
    return (1 - share) * np.array(low) + share * np.array(high)


def _plain(colour: tuple, salt: int, depth: float = 0.12) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shade = 1 - depth * _noise(x, y, 0.05, salt)
        return np.array(colour) * shade[..., None]
    return pattern


def _wood(low: tuple, high: tuple, salt: int, plank_m: float = 0.12) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        plank = np.floor(y / plank_m)
        grain = _noise(x / 9 + 3 * plank, y, 0.008, salt)
        tone = 0.55 * grain + 0.45 * _hash(plank, plank * 0, salt)
        seam = np.abs(y / plank_m - plank) < 0.02
        return _blend(tone, low, high) * np.where(seam, 0.5, 1.0)[..., None]
    return pattern


def _checks(one: tuple, other: tuple, side_m: float) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _blend((np.floor(x / side_m) + np.floor(y / side_m)) % 2, one, other)
    return pattern


def _gingham(colour: tuple, side_m: float) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        share = ((np.floor(x / side_m) % 2) + (np.floor(y / side_m) % 2)) / 2
        return _blend(share, (0.85, 0.85, 0.82), colour)
    return pattern


def _stripes(colours: tuple[tuple, ...], width_m: float, along: float) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        across = x * np.cos(along) + y * np.sin(along)
        return np.array(colours)[np.floor(across / width_m).astype(int) % len(colours)]
    return pattern


def _marble(low: tuple, high: tuple, salt: int) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        vein = np.abs(np.sin(22 * (x + 0.6 * y) + 7 * _noise(x, y, 0.11, salt)))
        return _blend(vein ** 0.35, low, high)
    return pattern


def _speckled(ground: tuple, grains: tuple[tuple, ...], side_m: float, salt: int) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        i, j = np.floor(x / side_m), np.floor(y / side_m)
        drawn = _hash(i, j, salt)
        colours = np.array((ground, *grains))
        which = np.where(drawn < 0.6, 0, 1 + np.floor((drawn - 0.6) / 0.4001 * len(grains)))
        return colours[which.astype(int)]
    return pattern


def _tiles(colour: tuple, grout: tuple, side_m: float, salt: int) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        i, j = np.floor(x / side_m), np.floor(y / side_m)
        edge = np.minimum(*(np.minimum(f, 1 - f) for f in (x / side_m - i, y / side_m - j)))
        tone = (0.85 + 0.15 * _hash(i, j, salt))[..., None] * np.array(colour)
        return np.where((edge < 0.05)[..., None], np.array(grout), tone)
    return pattern


def _dots(ground: tuple, dot: tuple, step_m: float) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shift = 0.5 * (np.floor(y / step_m) % 2)
        u, v = (x / step_m + shift) % 1 - 0.5, (y / step_m) % 1 - 0.5
        return _blend((np.hypot(u, v) < 0.27).astype(float), ground, dot)
    return pattern


def _grass(salt: int) -> Pattern:
    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        blade = _noise(x, 0.25 * y, 0.006, salt)
        return _blend(0.6 * blade + 0.4 * _noise(x, y, 0.06, salt), (0.02, 0.13, 0.02),
                      (0.22, 0.48, 0.08))
    return pattern


LOOKS: dict[str, Pattern] = {
    'oak': _wood((0.36, 0.22, 0.11), (0.58, 0.40, 0.22), 1),
    'blue plastic': _plain((0.10, 0.28, 0.58), 2), 'walnut': _wood(
        (0.08, 0.04, 0.02), (0.20, 0.11, 0.05), 3, 0.09),
    'red gingham': _gingham((0.60, 0.05, 0.05), 0.03), 'beech desk': _wood(
        (0.62, 0.46, 0.28), (0.78, 0.62, 0.42), 4, 0.4),
    'white laminate': _plain((0.80, 0.80, 0.78), 5, 0.06),
    'yellow desk': _plain((0.78, 0.58, 0.10), 6),
    'grey slate': _marble((0.14, 0.15, 0.17), (0.24, 0.26, 0.28), 7),
    'terrazzo': _speckled((0.72, 0.70, 0.66), (
        (0.35, 0.32, 0.30), (0.60, 0.35, 0.25), (0.30, 0.42, 0.40)), 0.012, 8),
    'white tiles': _tiles((0.76, 0.78, 0.78), (0.35, 0.35, 0.34), 0.08, 9),
    'cork': _speckled((0.50, 0.32, 0.16), ((0.40, 0.24, 0.11), (0.60, 0.42, 0.24)), 0.006, 10),
    'pink table': _plain((0.76, 0.40, 0.46), 11), 'pine planks': _wood(
        (0.60, 0.38, 0.16), (0.76, 0.54, 0.28), 12, 0.07),
    'lawn': _grass(13), 'striped cloth': _stripes(
        ((0.78, 0.75, 0.66), (0.16, 0.30, 0.42)), 0.035, 0.4),
    'many colours': _stripes(((0.70, 0.20, 0.15), (0.80, 0.62, 0.15), (0.18, 0.45, 0.28),
                              (0.16, 0.28, 0.55)), 0.05, 1.2),
    'glass green': _marble((0.10, 0.34, 0.30), (0.34, 0.60, 0.54), 17),
    'green baize': _plain((0.04, 0.28, 0.12), 18, 0.25),
    'dotted cloth': _dots((0.62, 0.20, 0.40), (0.88, 0.82, 0.84), 0.04),
    'pebbles': _speckled((0.38, 0.36, 0.33), (
        (0.22, 0.21, 0.20), (0.55, 0.52, 0.47), (0.46, 0.40, 0.34)), 0.02, 20),
    'black and white': _checks((0.06, 0.06, 0.06), (0.80, 0.80, 0.80), 0.045),
}
"""The looks by name, in the suite's order: 0-15 seen, 16-20 unseen."""


def _displayed(colour: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3) with the display's gamma, each pixel the mean of its samples."""
    height, width = colour.shape[0] // SAMPLES, colour.shape[1] // SAMPLES
    mean = colour.reshape(height, SAMPLES, width, SAMPLES, 3).mean(axis=(1, 3))
    return np.round(255 * np.clip(mean, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def _pixels(height_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = ((np.arange(n * SAMPLES) + 0.5) / SAMPLES for n in (height_px, width_px))
    v, u = np.meshgrid(rows, columns, indexing='ij')
    return u, v


@lru_cache(maxsize=64)
def table_picture(look: int, height_px: int, width_px: int) -> np.ndarray:
    """Return the empty table as the arm's camera sees it, uint8 (H, W, 3)."""
    u, v = _pixels(height_px, width_px)
    matrix = camera_matrix(height_px, width_px)
    # SAPIEN's cameras look along x, with y to the left and z up.
    rays = np.stack([np.ones_like(u), -(u - matrix[0, 2]) / matrix[0, 0],
                     -(v - matrix[1, 2]) / matrix[1, 1]], axis=-1)
    half_turn = np.array([-1.0, -1.0, 1.0])  # the base is turned by 180 degrees
    rays = Rotation.from_quat(CAMERA_WXYZ, scalar_first=True).apply(
        rays.reshape(-1, 3)).reshape(rays.shape) * half_turn
    eye = np.array(ROBOT_BASE_M) + half_turn * CAMERA_POSITION_M
    down = np.minimum(rays[..., 2], -1e-3)
    distance = np.minimum((TABLE_TOP_M - eye[2]) / down, 20.0)
    x, y = eye[0] + distance * rays[..., 0], eye[1] + distance * rays[..., 1]
    return _displayed(tuple(LOOKS.values())[look](x, y))


@lru_cache(maxsize=64)
def texture_picture(look: int, height_px: int, width_px: int) -> np.ndarray:
    """Return a pattern laid flat over the picture (40 cm wide), uint8 (H, W, 3)."""
    u, v = _pixels(height_px, width_px)
    return _displayed(tuple(LOOKS.values())[look](0.4 * u / width_px, 0.3 * v / height_px))


def composed(image: np.ndarray, things: np.ndarray, background: np.ndarray,
             texture: np.ndarray | None = None, share: float = 0.0,
             everywhere: bool = False) -> np.ndarray:
    """
    Replace all that is neither arm nor thing, then blend a texture over it.

    :param image: uint8 (H, W, 3), rendered; `background` and `texture` likewise
    :param things: bool (H, W), True where arm or things are
    :param everywhere: blend the texture over the background as well
    """
    picture = np.where(things[..., None], image, background)
    if texture is None:
        return picture
    mixed = np.round((1 - share) * picture + share * texture).astype(np.uint8)
    return mixed if everywhere else np.where(things[..., None], mixed, picture)
