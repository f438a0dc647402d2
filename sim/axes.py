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
The axes of PutOnPlate25: in distribution, and away from it one thing at a time.

Sets are named `put25_AXIS` (things made here) and `official_AXIS` (RL4VLA's assets); both draw the
same placements from the same seed. Axes and numbers follow RL4VLA (arXiv 2505.19789); `ood` is
RLRC's (arXiv 2506.17639): unseen objects on unseen tables. Where the papers leave a number open
(the ring's cells, which texture, where the second thing stands) it is ours and said at its place.
Lengths in metres, angles in radians.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rlrc_sim.objects_25 import SEEN_OBJECTS, UNSEEN_OBJECTS
from rlrc_sim.placements import (
    CELL_PAIRS,
    CELLS_M,
    Extra,
    GRID_CENTRE_M,
    MIN_DISTANCE_M,
    Placement,
    YAWS_RAD,
)
from rlrc_sim.receptacles_25 import RECEPTACLES_25

Sampler = Callable[[np.random.Generator], Placement]

SEEN_TABLES, UNSEEN_TABLES, TEXTURES = range(0, 16), range(16, 21), range(0, 21)
SEEN_RECEPTACLES, UNSEEN_RECEPTACLES = (
    tuple(RECEPTACLES_25)[:1], tuple(RECEPTACLES_25)[1:])

RING_HALF_M = 0.10
"""Half the side of the ring of new positions: 2.5 cm outside the square (ours)."""
RING_CELLS_A_SIDE = 8
NEW_YAWS_RAD = tuple(np.deg2rad((22.5, 67.5, 112.5, 157.5)))
"""Halfway between the yaws that training shows (ours)."""
JOINT_OFFSET_RAD, WRIST_OFFSET_RAD = 0.15, 0.6

CHOICE_OBJECTS = ('carrot', 'bread', 'plastic bottle', '7up can', 'zucchini', 'banana',
                  'hamburger', 'golf ball')
CHOICE_RECEPTACLES = ('plate', 'cloth', 'pizza', 'gramophone disk')
"""Eight of the seen objects and four receptacles (ours), unlike in shape and colour."""
CHOICE_HALF_M, CHOICE_STEP_M = (0.09, 0.12), 0.03
CHOICE_RECEPTACLES_APART_M, CHOICE_APART_M = 0.125, 0.085
"""Least distances of two receptacles, and of an object from anything (ours): nothing overlaps."""

PARAPHRASES = (
    'place {object} on {receptacle}', 'set {object} down on {receptacle}',
    'move {object} onto {receptacle}', 'lay {object} on top of {receptacle}',
    'pick up {object} and put it on {receptacle}', 'take {object} to {receptacle}',
    'grab {object} and leave it on {receptacle}', 'could you put {object} on {receptacle}?',
    'please place {object} onto {receptacle}', 'let {object} rest on {receptacle}',
    '{object} belongs on {receptacle}', 'on {receptacle}, put {object}',
    'I want {object} on {receptacle}', 'transfer {object} to {receptacle}',
    'lift {object}, then lower it onto {receptacle}', '{receptacle} is where {object} should go')
"""Sixteen other ways to say it (our wording)."""


@dataclass(frozen=True)
class Axis:
    """One axis: the group it counts to, and what it shows."""

    group: str
    """`IND`, `Vision`, `Semantics`, `Execution`, `OOD`; ours: `Choice`, `Choice OOD`, `Choice
    shifted`, and `Choice Vision` and so on."""
    shows: str


def _ring() -> np.ndarray:
    side = np.linspace(-RING_HALF_M, RING_HALF_M, RING_CELLS_A_SIDE)
    x, y = np.meshgrid(side, side, indexing='ij')
    cells = np.stack([x.ravel(), y.ravel()], axis=1)
    outer = np.abs(cells).max(axis=1) > RING_HALF_M - 1e-9
    return cells[outer] + GRID_CENTRE_M


def _choice_cells() -> np.ndarray:
    x, y = (np.arange(-half, half + 1e-9, CHOICE_STEP_M) for half in CHOICE_HALF_M)
    return np.stack(np.meshgrid(x, y, indexing='ij'), axis=-1).reshape(-1, 2) + GRID_CENTRE_M


CHOICE_CELLS_M = _choice_cells()
"""(63, 2) world x, y of the sets in which the words choose."""
RING_M = _ring()
"""(28, 2) world x, y of the positions that training never shows."""


def _pick(rng: np.random.Generator, among) -> object:
    return among[rng.integers(len(among))]


def _base(rng: np.random.Generator, objects=SEEN_OBJECTS, receptacles=SEEN_RECEPTACLES,
          tables=SEEN_TABLES) -> Placement:
    object_cell, receptacle_cell = CELL_PAIRS[rng.integers(len(CELL_PAIRS))]
    return Placement(
        suite='put25', object_name=_pick(rng, objects), receptacle_name=_pick(rng, receptacles),
        object_xy_m=tuple(CELLS_M[object_cell].tolist()),
        receptacle_xy_m=tuple(CELLS_M[receptacle_cell].tolist()),
        object_yaw_rad=float(_pick(rng, YAWS_RAD)), table=int(_pick(rng, tables)))


def _texture(rng: np.random.Generator, share: float, everywhere: bool,
             base: Sampler = _base) -> Placement:
    return replace(base(rng), texture=int(_pick(rng, TEXTURES)), texture_share=share,
                   texture_everywhere=everywhere)


def _paraphrase(rng: np.random.Generator, base: Sampler = _base) -> Placement:
    return replace(base(rng), template=_pick(rng, PARAPHRASES))


def _free_cells(taken: list[tuple[float, float]]) -> np.ndarray:
    gaps = np.linalg.norm(CELLS_M[:, None] - np.array(taken)[None], axis=-1)
    return CELLS_M[(gaps > MIN_DISTANCE_M).all(axis=1)]


def _second(rng: np.random.Generator, names: tuple[str, ...]) -> Placement:
    """Add a thing that the instruction does not name, more than 7 cm from the two (ours)."""
    while True:
        base = _base(rng)
        free = _free_cells([base.object_xy_m, base.receptacle_xy_m])
        if len(free):
            break
    others = [name for name in names if name not in (base.object_name, base.receptacle_name)]
    extra = Extra(_pick(rng, others), tuple(_pick(rng, free).tolist()),
                  float(_pick(rng, YAWS_RAD)) if names is SEEN_OBJECTS else 0.0)
    return replace(base, extras=(extra,))


def _choice(rng: np.random.Generator, objects: tuple[str, ...] = CHOICE_OBJECTS,
            receptacles: tuple[str, ...] = CHOICE_RECEPTACLES, tables=SEEN_TABLES) -> Placement:
    """Put two objects and two receptacles anywhere; which of them counts, only the words say."""
    while True:
        spots = CHOICE_CELLS_M[rng.choice(len(CHOICE_CELLS_M), 4, replace=False)]
        gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1)
        if (gaps[2, 3] > CHOICE_RECEPTACLES_APART_M
                and min(gaps[0, 1], gaps[:2, 2:].min()) > CHOICE_APART_M):
            break
    things = [objects[index] for index in rng.choice(len(objects), 2, replace=False)]
    places = [receptacles[index] for index in rng.choice(len(receptacles), 2, replace=False)]
    spot = [tuple(each.tolist()) for each in spots]
    return Placement(
        suite='put25', object_name=things[0], receptacle_name=places[0], object_xy_m=spot[0],
        receptacle_xy_m=spot[2], object_yaw_rad=float(_pick(rng, YAWS_RAD)),
        table=int(_pick(rng, tables)),
        extras=(Extra(things[1], spot[1], float(_pick(rng, YAWS_RAD))),
                Extra(places[1], spot[3])))


def _position(rng: np.random.Generator) -> Placement:
    while True:
        thing, place = (tuple(_pick(rng, RING_M).tolist()) for _ in range(2))
        if np.linalg.norm(np.subtract(thing, place)) > MIN_DISTANCE_M:
            break
    return replace(_base(rng), object_xy_m=thing, receptacle_xy_m=place,
                   object_yaw_rad=float(_pick(rng, NEW_YAWS_RAD)))


def _initial_pose(rng: np.random.Generator, base: Sampler = _base) -> Placement:
    bound = np.array([JOINT_OFFSET_RAD] * 5 + [WRIST_OFFSET_RAD])
    return replace(base(rng), joint_offset_rad=tuple(rng.uniform(-bound, bound).tolist()))


def _object_moved(rng: np.random.Generator) -> Placement:
    base = _base(rng)
    free = _free_cells([base.receptacle_xy_m])
    free = free[np.linalg.norm(free - base.object_xy_m, axis=1) > 1e-6]
    return replace(base, moved_xy_m=tuple(_pick(rng, free).tolist()))


def _choice_position(rng: np.random.Generator) -> Placement:
    """Put everything halfway between the places and yaws that training shows (ours)."""
    base = _choice(rng)

    def between(xy_m: tuple[float, float]) -> tuple[float, float]:
        return xy_m[0] + CHOICE_STEP_M / 2, xy_m[1] + CHOICE_STEP_M / 2
    other, place = base.extras
    return replace(
        base, object_xy_m=between(base.object_xy_m), receptacle_xy_m=between(base.receptacle_xy_m),
        object_yaw_rad=float(_pick(rng, NEW_YAWS_RAD)), extras=(
            replace(other, xy_m=between(other.xy_m), yaw_rad=float(_pick(rng, NEW_YAWS_RAD))),
            replace(place, xy_m=between(place.xy_m))))


def _choice_moved(rng: np.random.Generator) -> Placement:
    """Let the object jump to where nothing else stands."""
    while True:
        base = _choice(rng)
        taken = [base.receptacle_xy_m, base.object_xy_m, *(each.xy_m for each in base.extras)]
        gaps = np.linalg.norm(CHOICE_CELLS_M[:, None] - np.array(taken)[None], axis=-1)
        if len(free := CHOICE_CELLS_M[(gaps > CHOICE_APART_M).all(axis=1)]):
            return replace(base, moved_xy_m=tuple(_pick(rng, free).tolist()))


_CHOICE_SHIFTS: dict[str, tuple[str, Sampler]] = {
    'unseen_table': ('Vision', partial(_choice, tables=UNSEEN_TABLES)),
    'texture_weak': ('Vision', partial(_texture, share=0.3, everywhere=False, base=_choice)),
    'texture_strong': ('Vision', partial(_texture, share=0.5, everywhere=False, base=_choice)),
    'whole_weak': ('Vision', partial(_texture, share=0.3, everywhere=True, base=_choice)),
    'whole_strong': ('Vision', partial(_texture, share=0.5, everywhere=True, base=_choice)),
    'paraphrase': ('Semantics', partial(_paraphrase, base=_choice)),
    'position': ('Execution', _choice_position),
    'initial_pose': ('Execution', partial(_initial_pose, base=_choice)),
    'object_moved': ('Execution', _choice_moved)}
"""RL4VLA's axes for the things of `choice`: group and sampler. Unseen names are `choice_ood`'s."""


def _choice_shift(rng: np.random.Generator, name: str) -> Placement:
    return replace(_CHOICE_SHIFTS[name][1](rng), shift=name)


def _choice_shifted(rng: np.random.Generator) -> Placement:
    """Draw one of the shifts, then an episode of it."""
    return _choice_shift(rng, _pick(rng, tuple(_CHOICE_SHIFTS)))


_AXES: dict[str, tuple[Axis, Sampler]] = {
    'ind': (Axis('IND', 'seen objects, the plate, seen tables'), _base),
    'unseen_table': (Axis('Vision', 'five unseen tables'), partial(_base, tables=UNSEEN_TABLES)),
    'texture_weak': (Axis('Vision', 'texture over arm and things, 0.3'),
                     partial(_texture, share=0.3, everywhere=False)),
    'texture_strong': (Axis('Vision', 'texture over arm and things, 0.5'),
                       partial(_texture, share=0.5, everywhere=False)),
    'whole_weak': (Axis('Vision', 'texture over the whole picture, 0.3'),
                   partial(_texture, share=0.3, everywhere=True)),
    'whole_strong': (Axis('Vision', 'texture over the whole picture, 0.5'),
                     partial(_texture, share=0.5, everywhere=True)),
    'unseen_object': (Axis('Semantics', 'nine unseen objects'),
                      partial(_base, objects=UNSEEN_OBJECTS)),
    'unseen_receptacle': (Axis('Semantics', 'sixteen unseen receptacles'),
                          partial(_base, receptacles=UNSEEN_RECEPTACLES)),
    'paraphrase': (Axis('Semantics', 'sixteen other sentences'), _paraphrase),
    'second_object': (Axis('Semantics', 'another object on the table'),
                      partial(_second, names=SEEN_OBJECTS)),
    'second_receptacle': (Axis('Semantics', 'another receptacle on the table'),
                          partial(_second, names=UNSEEN_RECEPTACLES)),
    'position': (Axis('Execution', 'a ring outside the square, new yaws'), _position),
    'initial_pose': (Axis('Execution', 'another first pose of the arm'), _initial_pose),
    'object_moved': (Axis('Execution', 'the object jumps at step 5'), _object_moved),
    'ood': (Axis('OOD', 'unseen objects on unseen tables'),
            partial(_base, objects=UNSEEN_OBJECTS, tables=UNSEEN_TABLES)),
    'choice': (Axis('Choice', 'two of eight objects, two of four receptacles: words decide'),
               _choice),
    'choice_ood': (Axis('Choice OOD', 'the same with unseen objects on unseen tables'),
                   partial(_choice, objects=UNSEEN_OBJECTS, tables=UNSEEN_TABLES)),
    'choice_shifted': (Axis('Choice shifted', 'one of the nine shifts below, drawn evenly'),
                       _choice_shifted),
}
_AXES |= {f'choice_{name}': (Axis(f'Choice {group}', f'choice: {_AXES[name][0].shows}'),
                             partial(_choice_shift, name=name))
          for name, (group, _) in _CHOICE_SHIFTS.items()}
CHOICE_AXES = tuple(f'put25_choice_{name}' for name in _CHOICE_SHIFTS)
"""Sets that are `put25_choice` but for one thing."""


def _officially(sampler: Sampler, rng: np.random.Generator) -> Placement:
    return replace(sampler(rng), suite='official')


def _bridge(rng: np.random.Generator) -> Placement:
    """Name what is on the table; where it stands is ManiSkill's to say."""
    return Placement('carrot', 'plate', (0.0, 0.0), (0.0, 0.0), 0.0, suite='bridge')


BRIDGE_SET = 'bridge_put_carrot'
"""ManiSkill's own PutCarrotOnPlateInScene-v1."""

SAMPLERS: dict[str, Sampler] = {
    **{f'put25_{name}': sampler for name, (_, sampler) in _AXES.items()},
    **{f'official_{name}': partial(_officially, sampler) for name, (_, sampler) in _AXES.items()},
    BRIDGE_SET: _bridge}
"""The sets by name."""

AXES: dict[str, Axis] = {
    'ind': Axis('IND', 'the small task: six objects, four plates'),
    **{f'{suite}_{name}': axis for name, (axis, _) in _AXES.items()
       for suite in ('put25', 'official')},
    BRIDGE_SET: Axis('Official', 'PutCarrotOnPlateInScene-v1 of ManiSkill')}
"""What each set shows, by its name."""


def group_of(episode_set: str) -> str:
    """Return the group that a set counts to; LIBERO's suites are one of their own."""
    return AXES[episode_set].group if episode_set in AXES else 'LIBERO'
