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
The 25 objects of PutOnPlate25, made here: 16 that training shows, 9 that it does not.

Kinds and rough sizes are those of RL4VLA's suite (arXiv 2505.19789); the shapes are our own,
turned profiles to be seen and primitives to be touched. Lengths in millimetres in this table,
metres in the kinds it makes. Frame: z up, the long side along x, the origin in the middle of the
box.
"""

from math import cos, pi, sin

from rlrc_sim.scene import Kind, OBJECTS, Shape

_ALONG_X = (0.70710678, 0.0, 0.70710678, 0.0)
"""wxyz; turns a profile's z (and a cylinder's x, to upright) into the other of the two."""


def mm(*lengths: float) -> tuple[float, ...]:
    return tuple(length / 1000 for length in lengths)


def turned(profile: list[tuple[float, float]], colour: tuple, at: tuple = (0, 0, 0),
           lies: bool = False, stretch: tuple = (1.0, 1.0)) -> Shape:
    """Return a turned profile of (radius, z), upright or lying along x."""
    flat = [length for point in profile for length in point]
    return Shape('lathe', mm(*flat), colour, mm(*at),
                 _ALONG_X if lies else (1.0, 0.0, 0.0, 0.0), solid=False, stretch=stretch)


def egg(half: tuple[float, float, float], colour: tuple, at: tuple = (0, 0, 0)) -> Shape:
    """Return an ellipsoid of three half axes, only to be seen."""
    profile = [(half[0] * cos(a), half[2] * sin(a)) for a in (
        pi * step / 12 - pi / 2 for step in range(13))]
    return turned(profile, colour, at, stretch=(1.0, half[1] / half[0]))


def touched(form: str, size: tuple, at: tuple = (0, 0, 0), stands: bool = False) -> Shape:
    """Return a primitive that is only touched."""
    return Shape(form, mm(*size), (0.5, 0.5, 0.5), mm(*at),
                 _ALONG_X if stands else (1.0, 0.0, 0.0, 0.0), seen=False)


def rod(radius: float, half: float, colour: tuple, at: tuple = (0, 0, 0),
        stands: bool = False, solid: bool = False, pitch: float = 0.0) -> Shape:
    """Return a capsule along x, upright, or pitched by so many degrees."""
    tilt = pi / 2 if stands else pitch * pi / 180
    return Shape('capsule', mm(radius, half), colour, mm(*at),
                 (cos(tilt / 2), 0.0, sin(tilt / 2), 0.0), solid=solid)


def box(half: tuple, colour: tuple, at: tuple = (0, 0, 0), solid: bool = False,
        yaw: float = 0.0) -> Shape:
    angle = yaw * pi / 360
    return Shape('box', mm(*half), colour, mm(*at), (cos(angle), 0.0, 0.0, sin(angle)), solid)


_ORANGE, _GREEN, _DARK_GREEN = (0.90, 0.28, 0.02), (0.08, 0.42, 0.06), (0.03, 0.22, 0.04)
_RED, _WHITE, _BLACK = (0.70, 0.03, 0.02), (0.88, 0.88, 0.86), (0.02, 0.02, 0.025)
_STEEL, _BROWN, _TAN = (0.55, 0.57, 0.60), (0.13, 0.05, 0.02), (0.62, 0.36, 0.13)
_YELLOW, _BLUE, _TEAL = (0.90, 0.68, 0.05), (0.03, 0.09, 0.50), (0.05, 0.45, 0.55)
_CRUST, _CREAM, _TERRACOTTA = (0.55, 0.26, 0.07), (0.86, 0.66, 0.36), (0.58, 0.17, 0.07)


def _can(name: str, radius: float, half: float, body: tuple, mark: tuple) -> Kind:
    """Return a standing drinks can with steel ends and a band."""
    return Kind(name, (
        turned([(0, -half), (0.8 * radius, -half), (radius, 4 - half)], _STEEL),
        turned([(radius, 4 - half), (radius, half - 7)], body),
        turned([(radius + 0.2, -0.3 * half), (radius + 0.2, 0.3 * half)], mark),
        turned([(radius, half - 7), (0.78 * radius, half), (0.7 * radius, half - 1.5),
               (0, half - 1.5)], _STEEL),
        touched('cylinder', (radius, half), stands=True)),
        mm(2 * radius, 2 * radius, 2 * half), long=False, density=500.0)


def _bear() -> Kind:
    fur, snout = (0.30, 0.13, 0.04), (0.72, 0.50, 0.26)
    paws = [egg((7, 6, 7), fur, (x, y, z)) for x, y, z in (
        (12, 11, -21), (12, -11, -21), (8, 16, -3), (8, -16, -3))]
    ears = [egg((3, 5, 5), fur, (0, y, 24)) for y in (10, -10)]
    eyes = [egg((2, 2, 2), _BLACK, (13.5, y, 17)) for y in (5, -5)]
    return Kind('toy bear', (
        egg((15, 16, 17), fur, (0, 0, -11)), egg((13, 14, 13), fur, (1, 0, 14)),
        egg((6, 6, 5), snout, (12, 0, 11)), egg((8, 10, 10), snout, (9, 0, -10)),
        egg((2, 2.4, 2), _BLACK, (17.5, 0, 13)), *paws, *ears, *eyes,
        touched('box', (15, 15, 14), (1, 0, -14)), touched('sphere', (13,), (1, 0, 14))),
        mm(38, 42, 56), density=667.0, grip_m=mm(0, 0, -8))


def _plant() -> Kind:
    leaves = [egg((5, 12, 7), _GREEN if turn % 2 else _DARK_GREEN,
                  (11 * cos(turn), 11 * sin(turn), 12 + 5 * (turn % 3))) for turn in range(6)]
    return Kind('plant', (
        turned([(0, -37), (14, -37), (18, -12), (20, -12), (20, -6), (0, -6)], _TERRACOTTA),
        egg((9, 9, 17), _GREEN, (0, 0, 19)), *leaves,
        rod(2, 10, _DARK_GREEN, (0, 0, 2), stands=True),
        touched('cylinder', (16.5, 15.5), (0, 0, -21.5), stands=True),
        touched('cylinder', (12, 16), (0, 0, 20), stands=True)),
        mm(42, 42, 74), long=False, density=1051.0, grip_m=mm(0, 0, -17))


def _watering_can() -> Kind:
    handle = [rod(3, 8, _TEAL, (-29, 0, z), pitch=pitch) for z, pitch in (
        (13, -15), (-11, 15))] + [rod(3, 10, _TEAL, (-38, 0, 1), stands=True)]
    return Kind('watering can', (
        turned([(0, -24), (21, -24), (18, 16), (16, 16), (17, 10), (0, 10)], _TEAL),
        rod(4.5, 22, _TEAL, (32, 0, 1), pitch=-42),
        turned([(3, -3), (9, 4), (0, 4)], _STEEL, (50, 0, 19)), *handle,
        touched('cylinder', (19.5, 20), (0, 0, -4), stands=True),
        touched('box', (13, 4, 4), (32, 0, 1)), touched('box', (9, 3, 12), (-30, 0, 1))),
        mm(106, 42, 48), density=900.0, grip_m=mm(0, 0, 0))


def _burger() -> Kind:
    bun = (0.66, 0.33, 0.08)
    seeds = [egg((1.6, 1.1, 0.8), _CREAM, (13 * cos(1.3 * i), 13 * sin(1.3 * i), 16.5))
             for i in range(5)]
    return Kind('hamburger', (
        turned([(0, -20), (22, -20), (24.5, -15), (24.5, -9), (0, -9)], bun),
        turned([(0, -9), (26, -9), (26, -6), (0, -6)], (0.15, 0.50, 0.05)),
        turned([(0, -6), (25, -6), (25, 1), (0, 1)], _BROWN),
        box((19, 19, 1.2), _YELLOW, (0, 0, 2)),
        turned([(0, 2), (25, 2), (25, 6), (21, 14), (12, 19), (0, 20.5)], bun), *seeds,
        touched('cylinder', (24, 12), (0, 0, -8), stands=True),
        touched('cylinder', (20, 6), (0, 0, 10), stands=True)),
        mm(50, 50, 41), long=False, density=500.0, grip_m=mm(0, 0, -2))


def _cup() -> Kind:
    ring = [rod(2.6, 6, _BLUE, (x, 0, z), pitch=pitch) for x, z, pitch in (
        (25, 10, 20), (25, -8, -20))] + [rod(2.6, 8, _BLUE, (31, 0, 1), stands=True)]
    return Kind('cup', (
        turned([(0, -20), (16, -20), (21, -12), (21.5, 20), (19, 20), (18, -14), (0, -16)], _BLUE),
        turned([(21.7, -4), (21.7, 8)], _WHITE), *ring,
        touched('cylinder', (21, 20), stands=True), touched('box', (6, 3, 9), (27, 0, 1))),
        mm(55, 43, 40), density=500.0)


_SEEN = (
    Kind('carrot', (
        turned([(0, -60), (4, -56), (9, -25), (14, 10), (16.5, 34), (14, 45), (0, 47)], _ORANGE,
               lies=True),
        *(rod(2.5, 7, _GREEN, (53, y, z), pitch=-6 * z) for y, z in ((0, 3), (4, 0), (-4, 1))),
        *(Shape(each.form, each.size, each.colour, each.centre, each.wxyz, seen=False)
          for each in OBJECTS['carrot'].shapes if each.solid)),
         mm(118, 33, 33)),
    Kind('kitchen shovel', (
        box((26, 22, 1.5), _STEEL, (47, 0, -5.5), solid=True),
        *(box((14, 1.6, 0.4), _BLACK, (48, y, -3.8)) for y in (-12, -4, 4, 12)),
        rod(3, 14, _STEEL, (12, 0, -3)), touched('box', (16, 3, 3), (10, 0, -3)),
        rod(7, 28, _BLACK, (-38, 0, 0)), touched('box', (34, 6.5, 7), (-38, 0, 0))),
        mm(146, 44, 14), density=557.0, grip_m=mm(-32, 0, 0)),
    Kind('bread', (
        turned([(0, -40), (11, -39), (16.5, -32), (17, 0), (16.5, 32), (11, 39), (0, 40)],
               _CRUST, lies=True, stretch=(0.95, 1.0)),
        *(box((2, 11, 1.5), _CREAM, (x, 0, 15.3), yaw=25) for x in (-22, 0, 22)),
        touched('box', (36, 16, 15))), mm(80, 34, 32), density=400.0),
    Kind('plastic bottle', (
        turned([(0, -60), (15, -60), (18, -56), (18, -22), (16.5, -18), (18, -14), (18, 18),
               (8, 44), (7, 50)], (0.30, 0.62, 0.80), lies=True),
        turned([(18.3, -12), (18.3, 10)], _WHITE, lies=True),
        turned([(8.5, 48), (8.5, 61), (0, 61)], _BLUE, lies=True),
        touched('capsule', (17.5, 30), (-12, 0, 0)), touched('cylinder', (9, 14), (46, 0, 0))),
        mm(122, 36, 36), density=500.0, grip_m=mm(-8, 0, 0)),
    _can('7up can', 17.0, 30.0, (0.02, 0.45, 0.12), _RED),
    Kind('zucchini', (
        turned([(0, -50), (10, -49), (15, -42), (16, 0), (14, 38), (7, 46), (0, 46)],
               _DARK_GREEN, lies=True),
        *(rod(1.6, 34, (0.25, 0.50, 0.12), (-4, 15 * sin(a), 15 * cos(a) - 0.6))
          for a in (-0.9, 0.0, 0.9)),
        rod(5, 4, (0.35, 0.45, 0.10), (49, 0, 0)), touched('capsule', (16, 31), (-3, 0, 0))),
        mm(110, 32, 32)),
    Kind('ketchup bottle', (
        turned([(0, -52), (15, -52), (18, -46), (18, 10), (9, 30)], _RED, lies=True,
               stretch=(0.72, 1.0)),
        turned([(7, 28), (9.5, 28), (8, 42), (2.5, 53), (0, 53)], _WHITE, lies=True),
        box((16, 12, 0.6), _WHITE, (-20, 0, 13.2)), box((9, 5, 0.9), _RED, (-20, 0, 13.4)),
        touched('box', (32, 17, 12.8), (-20, 0, 0)), touched('box', (20, 8, 8), (32, 0, 0))),
        mm(105, 36, 26), density=500.0, grip_m=mm(-14, 0, 0)),
    _watering_can(),
    Kind('pipe', (
        turned([(11, -37), (17, -37), (17, -28), (14.5, -28), (14.5, 28), (17, 28), (17, 37),
               (11, 37), (11, -37)], (0.42, 0.30, 0.20), lies=True),
        touched('cylinder', (14.5, 37)), touched('cylinder', (17, 4.5), (-32.5, 0, 0)),
        touched('cylinder', (17, 4.5), (32.5, 0, 0))), mm(74, 34, 34), density=800.0),
    _bear(),
    Kind('fast food cup', (
        turned([(0, -32), (13, -32), (17.5, 18)], _RED),
        turned([(15.2, -8), (16.6, 8)], _YELLOW, stretch=(1.02, 1.02)),
        turned([(17.5, 18), (19, 18), (19, 21), (16, 24), (0, 24)], _WHITE),
        rod(1.8, 9, _RED, (4, 0, 28), stands=True),
        touched('cylinder', (15.5, 28), (0, 0, -4), stands=True)),
        mm(38, 38, 64), long=False, density=500.0, grip_m=mm(0, 0, -2)),
    _plant(), OBJECTS['banana'], _burger(),
    Kind('golf ball', (
        Shape('sphere', mm(19), (0.92, 0.92, 0.90)),
        *(egg((2.2, 2.2, 1.0), (0.62, 0.62, 0.62),
              (10 * cos(i * 1.05), 10 * sin(i * 1.05), 15.6)) for i in range(6))),
         mm(38, 38, 38), long=False),
    Kind('BBQ sauce', (
        turned([(0, -38), (22, -38), (23, -34), (23, 8), (9, 20), (7, 26)], _BROWN,
               stretch=(1.0, 0.68)),
        turned([(23.3, -28), (23.3, -2)], _YELLOW, stretch=(1.0, 0.68)),
        turned([(8, 24), (8, 38), (0, 38)], _RED),
        touched('box', (20, 14.5, 24), (0, 0, -14)),
        touched('cylinder', (8, 14), (0, 0, 24), stands=True)),
        mm(46, 31, 76), density=700.0, grip_m=mm(0, 0, -12)),
)

_UNSEEN = (
    Kind('travel cup', (
        turned([(0, -39), (15, -39), (16, -34), (19, 26)], _STEEL),
        turned([(17.4, -6), (18.6, 16)], (0.30, 0.03, 0.30), stretch=(1.01, 1.01)),
        turned([(20, 26), (20, 32), (14, 39), (0, 39)], _BLACK),
        touched('cylinder', (17, 38.5), stands=True)),
        mm(40, 40, 78), long=False, density=600.0, grip_m=mm(0, 0, 8)),
    Kind('pepper', (
        *(egg((13, 13, 21), (0.75, 0.04, 0.02), (9 * cos(a), 9 * sin(a), -2))
          for a in (0.4, 1.97, 3.54, 5.11)),
        turned([(8, 17), (3, 18), (2.5, 27), (0, 27)], _GREEN),
        touched('cylinder', (19, 16), (0, 0, -7), stands=True),
        touched('cylinder', (14, 5), (0, 0, 12), stands=True)),
        mm(44, 44, 50), long=False, density=600.0, grip_m=mm(0, 0, -1)),
    _can('nonstop can', 17.5, 38.0, (0.02, 0.04, 0.22), _STEEL),
    Kind('potato', (
        egg((36, 23, 21), (0.52, 0.34, 0.14)), egg((3, 3, 1), _BROWN, (14, 4, 18.6)),
        egg((3, 2, 1), _BROWN, (-12, -6, 18.6)), egg((2, 2, 1), _BROWN, (2, -10, 18.3)),
        touched('capsule', (21, 14))), mm(72, 46, 42), density=900.0),
    Kind('baguette', (
        turned([(0, -70), (7, -66), (14, -50), (17, 0), (14, 50), (7, 66), (0, 70)], _CRUST,
               lies=True, stretch=(0.82, 1.0)),
        *(box((3, 10, 1), _CREAM, (x, 0, 12.6 - abs(x) / 22), yaw=55)
          for x in (-44, -22, 0, 22, 44)),
        touched('box', (44, 14, 13)), touched('box', (66, 8, 10))),
        mm(140, 34, 28), density=400.0),
    Kind('champagne glass', (
        turned([(0, -42), (16, -42), (15, -40), (2.5, -37), (2.2, -12), (9, -2), (13, 14),
               (12, 42), (11, 42), (12, 14), (8, 0), (0, -4)], (0.72, 0.84, 0.90)),
        turned([(0, 28), (11.6, 28), (12, 14), (8, 0), (0, -4)], _YELLOW),
        touched('cylinder', (16, 2), (0, 0, -40), stands=True),
        touched('cylinder', (4, 18), (0, 0, -20), stands=True),
        touched('cylinder', (12.5, 22), (0, 0, 20), stands=True)),
        mm(32, 32, 84), long=False, density=500.0, grip_m=mm(0, 0, 16)),
    Kind('kitchen spoon', (
        turned([(0, -6), (10, -5), (17, 0), (18.5, 2), (16, 2), (9, -3), (0, -4)], _TAN,
               (44, 0, -0.5), stretch=(1.1, 0.95)),
        rod(5, 46, _TAN, (-18, 0, 1)), touched('box', (19, 15, 3), (44, 0, -3.5)),
        touched('box', (48, 5, 6.5), (-18, 0, 0))),
        mm(130, 36, 14), density=500.0, grip_m=mm(-6, 0, 0)),
    Kind('onion', (
        turned([(0, -21), (12, -20), (22, -11), (24, -2), (20, 9), (10, 16), (4, 21), (2, 28),
               (0, 28)], (0.55, 0.22, 0.08)),
        *(turned([(24.3, -3), (24.3, -2)], (0.35, 0.10, 0.04), (0, 0, z), stretch=(s, s))
          for z, s in ((-7, 0.93), (8, 0.90))),
        turned([(0, -24), (4, -22), (5, -20)], _CREAM),
        touched('cylinder', (21, 13), (0, 0, -8), stands=True),
        touched('cylinder', (12, 6), (0, 0, 11), stands=True)),
        mm(48, 48, 50), long=False, density=600.0, grip_m=mm(0, 0, -2)),
    _cup(),
)

OBJECTS_25: dict[str, Kind] = {kind.name: kind for kind in (*_SEEN, *_UNSEEN)}
"""The objects by name, in the suite's order."""
SEEN_OBJECTS = tuple(kind.name for kind in _SEEN)
UNSEEN_OBJECTS = tuple(kind.name for kind in _UNSEEN)
