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
The 17 receptacles of PutOnPlate25, made here: the plate that training shows, 16 that it does not.

Kinds and sizes are those of RL4VLA's suite (flat, about 110 mm across); shapes and patterns are
our own. Lengths in millimetres in this table. Frame: z up, the origin in the middle of the box.
"""

from math import cos, pi, sin

from rlrc_sim.objects_25 import box, egg, mm, touched, turned
from rlrc_sim.scene import Kind, Shape

_WHITE, _BLACK, _STEEL = (0.85, 0.85, 0.82), (0.02, 0.02, 0.025), (0.50, 0.52, 0.55)
_RED, _BLUE, _GREY = (0.62, 0.05, 0.03), (0.05, 0.14, 0.50), (0.22, 0.22, 0.23)
_CREAM, _WOOD, _CRUST = (0.82, 0.66, 0.36), (0.48, 0.25, 0.09), (0.55, 0.28, 0.08)


def _disc(name: str, half_z: float, shapes: tuple[Shape, ...], density: float) -> Kind:
    """Return a round receptacle of 110 mm."""
    return Kind(name, (*shapes, touched('cylinder', (55, half_z), stands=True)),
                mm(110, 110, 2 * half_z), long=False, density=density)


def _slab(name: str, half: tuple[float, float, float], colour: tuple,
          pattern: tuple[Shape, ...], density: float) -> Kind:
    """Return a rectangular receptacle with a pattern on its top."""
    return Kind(name, (box(half, colour, solid=True), *pattern),
                mm(*(2 * length for length in half)), density=density)


def _face(half_z: float, radius: float, colour: tuple) -> Shape:
    """Return a round face of a disc."""
    return turned([(0, -half_z), (radius, -half_z), (radius, half_z), (0, half_z)], colour)


def _ring(radius: float, width: float, z: float, colour: tuple) -> Shape:
    return turned([(radius - width, z), (radius, z)], colour)


def _around(count: int, radius: float) -> list[tuple[float, float]]:
    return [(radius * cos(2 * pi * i / count), radius * sin(2 * pi * i / count))
            for i in range(count)]


_KINDS = (
    _disc('plate', 3, (
        turned([(0, -3), (34, -3), (55, 2), (55, 3), (38, -0.5), (0, -0.5)], _WHITE),
        _ring(53, 4, 2.9, _BLUE), _ring(36, 1.5, 0.2, _BLUE)), 1003.0),
    _slab('cloth', (55, 55, 3), _WHITE, tuple(
        box((7, 55, 0.3), _RED, (x, 0, 3)) for x in (-44, -15, 15, 44)) + tuple(
        box((55, 7, 0.35), (0.70, 0.25, 0.22), (0, y, 3)) for y in (-44, -15, 15, 44)), 1500.0),
    _slab('carpet', (52, 44, 2), (0.40, 0.04, 0.05), (
        box((44, 36, 0.3), _CREAM, (0, 0, 2)), box((41, 33, 0.4), (0.06, 0.10, 0.28), (0, 0, 2)),
        box((17, 17, 0.5), _CREAM, (0, 0, 2), yaw=45),
        box((13, 13, 0.6), (0.40, 0.04, 0.05), (0, 0, 2), yaw=45), *(
            box((2, 0.8, 0.5), _CREAM, (x, y, 1)) for x in (-54, 54) for y in range(-40, 41, 10))),
          2000.0),
    _slab('newspaper', (40, 55, 2), (0.72, 0.70, 0.64), (
        box((34, 5, 0.3), _BLACK, (0, 46, 2)), box((15, 14, 0.3), _GREY, (-18, 22, 2)), *(
            box((15, 1.1, 0.3), _GREY, (x, y, 2)) for x, first in ((-18, 0), (18, 36))
            for y in range(first, -52, -5))), 1500.0),
    _slab('sheet metal', (55, 47, 2), (0.62, 0.64, 0.67), tuple(
        box((5, 1.2, 0.4), (0.75, 0.77, 0.80), (x, y, 2), yaw=45 if (x + y) % 40 else -45)
        for x in range(-40, 41, 20) for y in range(-30, 31, 20)) + tuple(
        egg((3, 3, 1), _GREY, (x, y, 2)) for x in (-49, 49) for y in (-41, 41)), 2389.0),
    _slab('drawing tablet', (56, 42, 2), _BLACK, (
        box((42, 34, 0.3), (0.16, 0.17, 0.19), (8, 0, 2)), *(
            box((3, 4, 0.5), _STEEL, (-47, y, 2)) for y in (-24, -12, 0, 12, 24)),
        box((40, 1.4, 0.6), _WHITE, (10, 8, 2), yaw=30)), 1500.0),
    _disc('tomato slice', 3, (
        _face(2.8, 55, _RED), _face(3.0, 51, (0.78, 0.16, 0.08)), *(
            egg((11, 9, 1), (0.85, 0.42, 0.20), (x, y, 2.6)) for x, y in _around(6, 31)),
        *(egg((2, 1.4, 1), _CREAM, (x, y, 3.2)) for x, y in _around(18, 32))), 1500.0),
    _disc('pizza', 3.5, (
        turned([(0, -3.5), (52, -3.5), (55, 0), (53, 3.5), (48, 2), (0, 2)], _CRUST),
        _ring(48, 48, 2.4, (0.85, 0.58, 0.14)), *(
            turned([(0, 3), (8, 3), (8, 2)], _RED, (x, y, 0)) for x, y in (
                *_around(6, 33), (0, 0))), *(
            egg((3.4, 2, 1), (0.06, 0.30, 0.05), (x, y, 2.6))
            for x, y in _around(5, 18))), 1500.0),
    Kind('flat bowl', (
        turned([(0, -6), (30, -6), (50, 2), (55, 6), (52, 6), (47, 2), (28, -3), (0, -3)],
               (0.10, 0.38, 0.36)), _ring(54.5, 3, 6.05, _CREAM),
        touched('cylinder', (44, 3), (0, 0, -3), stands=True)),
        mm(110, 110, 12), long=False, density=2000.0),
    _disc('gramophone disk', 2, (
        _face(1.7, 55, _BLACK),
        *(_ring(r, 0.8, 1.8, (0.09, 0.09, 0.10)) for r in range(24, 54, 4)),
        _face(1.9, 17, (0.72, 0.12, 0.05)), _face(2.0, 3, _WHITE)), 2193.0),
    Kind('frying pan', (
        turned([(0, -4), (40, -4), (44, 4), (42, 4), (38, -2), (0, -2)], _GREY),
        box((26, 6, 2), _BLACK, (64, 0, 2), solid=True), _ring(37, 37, -1.9, _BLACK),
        touched('cylinder', (41, 3), (0, 0, -1), stands=True)),
        mm(132, 88, 8), density=2500.0),
    _slab('mouse pad', (55, 46, 2.5), (0.03, 0.04, 0.06), (
        box((53, 44, 0.3), (0.05, 0.10, 0.22), (0, 0, 2.5)),
        *(turned([(r - 2, 3), (r, 3)], (0.20, 0.55, 0.75)) for r in (12, 24, 36))), 1500.0),
    _slab('cutting board', (58, 42, 3), _WOOD, (
        *(box((58, 3, 0.2), (0.56, 0.32, 0.13), (0, y, 3)) for y in (-30, -10, 10, 30)),
        turned([(0, 3.4), (5, 3.4)], _BLACK, (48, 0, 0))), 1000.0),
    _slab('chess board', (55, 55, 3), _WOOD, tuple(
        box((6, 6, 0.4), _WHITE if (i + j) % 2 else _BLACK, (12 * i - 42, 12 * j - 42, 3))
        for i in range(8) for j in range(8)), 1500.0),
    _disc('manhole cover', 2.5, (
        _face(2, 55, (0.16, 0.15, 0.15)), _ring(54, 3, 2.4, (0.33, 0.31, 0.30)),
        _ring(30, 3, 2.4, (0.33, 0.31, 0.30)), *(
            egg((3.5, 3.5, 1), (0.33, 0.31, 0.30), (x, y, 2)) for r, n in ((42, 14), (17, 7))
            for x, y in _around(n, r))), 3743.0),
    _slab('envelope', (55, 40, 2), (0.80, 0.74, 0.60), (
        *(box((34, 0.7, 0.3), _GREY, (x, 18, 2), yaw=yaw) for x, yaw in ((-27, -36), (27, 36))),
        box((8, 8, 0.4), _RED, (0, -4, 2)), box((50, 0.8, 0.3), _BLUE, (0, -36, 2)),
        box((50, 0.8, 0.3), _RED, (0, -33, 2))), 1000.0),
    _slab('notepad', (55, 40, 2.5), (0.88, 0.82, 0.40), (
        box((4, 40, 0.5), _RED, (-50, 0, 2.5)), *(
            box((44, 0.5, 0.3), _BLUE, (6, y, 2.5)) for y in range(-32, 33, 8)), *(
            egg((2, 2, 2), _STEEL, (-50, y, 2.5)) for y in range(-32, 33, 16))), 1000.0),
)

RECEPTACLES_25: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
"""The receptacles by name, in the suite's order; the first is the seen one."""
