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
States that nobody had to play to: arm, things and table scattered anew for every picture.

The expert reads nothing but the present moment, so it answers in any state. Playing costs physics
and yields some thirty pictures of one scene; a scattered state costs one rendering and shows a
scene of its own, and it is scenes that a policy lacks which must find the thing that the words
name. Things are as the set's own sampler places them, lying as they came to rest in a played
reset; the arm stands somewhere on the way of a task, from its first pose to after the release.
What only physics shows (fingers that close, things that are pushed) is in played episodes.

Frames: the arm's base, metres and radians, unless a name says world.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M, INITIAL_RAD
from rlrc_ros.types import Observation
from rlrc_sim.expert import DEFAULT_FUNNEL, down_at, where_to_grip
from rlrc_sim.placements import Placement
from rlrc_sim.suites import EPISODE_SETS
from rlrc_sim.world import Arrangement, Truth, World
from scipy.spatial.transform import Rotation, Slerp

SCATTERED_SETS = 'put25_'
"""How the names of the sets begin whose simulator can be arranged."""
MOMENTS = {'first': 0.08, 'way': 0.25, 'near': 0.15, 'astray': 0.25, 'holding': 0.22,
           'released': 0.05}
"""How often each part of the task is shown (ours)."""
DETOUR = 0.3
"""Share of ways that begin anywhere, not at the first pose."""
ANYWHERE_M = ((0.12, -0.18, 0.04), (0.46, 0.20, 0.20))
"""Corners of the box that such ways begin in: over the table's part in view."""
LOWERED, TAKEN = 0.4, 0.25
"""Shares of held moments over the receptacle, on the way down, and where the object lay, with
fingers that have just closed: a picture tells it from the moment before by the fingers alone."""
XY_NOISE_M, HEIGHT_NOISE_M, YAW_NOISE_RAD, TILT_NOISE_RAD = 0.018, 0.010, 0.12, 0.03
NEAR_XY_M, NEAR_HEIGHT_M, RELEASED_XY_M = 0.010, 0.025, 0.010
LOWERED_XY_M = 0.02
TAKEN_XY_M, TAKEN_HEIGHT_M = 0.004, 0.008
CLIMB = 2.0
"""Metres up per metre aside while the object is taken away from where it lay."""
HELD_SHIFT_M = 0.005
"""How far from the middle a thing is held, along the fingers' faces."""
ASTRAY_M, ASTRAY_HEIGHT_M, ASTRAY_OPEN = (0.02, 0.07), 0.025, 0.6
"""How far beside the grip a hand that missed stands at most, astride the object or beside it, and
how far above it, as a deviation; turned anyhow. Share of open hands."""
FINGERTIP_M, FINGER_M = 0.016, 0.012
"""The fingertips end this far below the end effector; a finger is so thick."""
TRIES = 50
"""Poses are drawn anew where the arm cannot reach; so often at most."""


@dataclass(frozen=True)
class Scattered:
    """One state: what the camera shows and what the simulator knows."""

    observation: Observation
    truth: Truth
    things_m: dict[str, np.ndarray]
    """Where everything is (3,), by name."""
    things_rad: dict[str, float]
    """How everything is turned, by name; see World.things_rad()."""
    moment: str
    """One of MOMENTS."""
    others: dict[str, Truth]
    """The same state as other sentences about what is on the table see it."""


def check_can_scatter(episode_set: str) -> None:
    """Raise ValueError, listing those that can, for a set whose scenes cannot be arranged."""
    if not episode_set.startswith(SCATTERED_SETS):
        raise ValueError(f'episode_set {episode_set!r} cannot be scattered; take one of '
                         + ', '.join(each for each in EPISODE_SETS
                                     if each.startswith(SCATTERED_SETS)))


def scattered(world: World, seed: int, episode_set: str, count: int) -> Iterator[Scattered]:
    """
    Yield `count` states of the kinds of things that the episode (set, seed) has.

    The sentence and the kinds are the episode's; places, yaws and table are drawn anew each time.

    :raises ValueError: see check_can_scatter()
    """
    check_can_scatter(episode_set)
    world.reset(seed, episode_set)
    kinematics, rng = Kinematics(), np.random.default_rng([seed, 11])
    played, resting = world.placement, world.resting()
    spots_played = _spots(played)
    names, odds = list(MOMENTS), list(MOMENTS.values())
    for _ in range(count):
        chosen = _drawn_anew(played, EPISODE_SETS[episode_set], rng)
        spots = _spots(chosen)
        lying = {name: _laid(T_world, spots_played[name][1], *spots[name])
                 for name, T_world in resting.items()}
        moment = names[rng.choice(len(names), p=odds)]
        world.arrange(_arrangement(world, chosen, lying, moment, kinematics, rng))
        truth = world.truth()
        yield Scattered(world.look(), truth, world.things_m(truth), world.things_rad(truth),
                        moment, dict(world.truth_of_others()))


def _drawn_anew(played: Placement, sampler: Callable[[np.random.Generator], Placement],
                rng: np.random.Generator) -> Placement:
    """Return the set's next placement with the names of the played one."""
    drawn = sampler(rng)
    extras = tuple(replace(new, name=old.name)
                   for old, new in zip(played.extras, drawn.extras, strict=True))
    return replace(drawn, object_name=played.object_name, receptacle_name=played.receptacle_name,
                   template=played.template, extras=extras)


def _spots(placement: Placement) -> dict[str, tuple[tuple[float, float], float]]:
    """Return where everything stands and how it is turned, by name."""
    return {placement.receptacle_name: (placement.receptacle_xy_m, 0.0),
            placement.object_name: (placement.object_xy_m, placement.object_yaw_rad),
            **{extra.name: (extra.xy_m, extra.yaw_rad) for extra in placement.extras}}


def _laid(T_world: np.ndarray, yaw_before: float, xy_m: tuple[float, float],
          yaw_rad: float) -> np.ndarray:
    """Return a resting pose (4, 4) at another place, turned about the vertical."""
    turn = Rotation.from_euler('z', yaw_rad - yaw_before).as_matrix()
    return _pose((*xy_m, T_world[2, 3]), turn @ T_world[:3, :3])


def _arrangement(world: World, chosen: Placement, lying: dict[str, np.ndarray], moment: str,
                 kinematics: Kinematics, rng: np.random.Generator) -> Arrangement:
    """Return a whole state for a moment of the task."""
    first_rad = np.array(INITIAL_RAD)
    plain = Arrangement(chosen, lying, first_rad, FINGER_OPEN_M)
    if moment == 'first':
        return plain
    world.arrange(plain)
    task = _Task.of(world.truth(), kinematics.forward(first_rad), world.in_world(np.eye(4)))
    for _ in range(TRIES):
        state, T_base_ee = _MAKERS[moment](plain, task, rng)
        q_rad = kinematics.inverse(T_base_ee, first_rad)
        if q_rad is not None:
            return replace(state, q_rad=q_rad)
    return plain  # nothing in reach: a first moment is always one


@dataclass(frozen=True)
class _Task:
    """What has to be done in a scene, poses (4, 4) in the arm's base frame."""

    first: np.ndarray
    """The end effector's first pose."""
    grip: np.ndarray
    """Where it takes hold of the object."""
    plate_m: np.ndarray
    """The receptacle (3,)."""
    width_m: float
    """Half the fingers' opening around the object."""
    half_m: float
    """Half of the object's width across `axis`, or its radius."""
    axis: np.ndarray | None
    """Horizontal direction (3,) along which the object is long; None: it is round."""
    top_m: float
    """Height of the object's top."""
    T_world_base: np.ndarray

    def in_the_way(self, T: np.ndarray, finger_m: float) -> bool:
        """Tell whether a finger of a hand at T (4, 4) would stand in the object, if it is low."""
        for side in (-1.0, 1.0):
            finger = T[:3, 3] + side * (finger_m + FINGER_M / 2) * T[:3, 1]
            aside = (finger - self.grip[:3, 3])[:2]
            if self.axis is not None:  # as if it were long without end
                aside = aside - (aside @ self.axis[:2]) * self.axis[:2]
            if np.linalg.norm(aside) < self.half_m + FINGER_M / 2:
                return True
        return False

    @classmethod
    def of(cls, truth: Truth, first: np.ndarray, T_world_base: np.ndarray) -> '_Task':
        point, yaw = where_to_grip(truth)
        width = np.clip(truth.grip_width_m / 2, FINGER_CLOSED_M, FINGER_OPEN_M)
        return cls(first, _pose(point, down_at(yaw).as_matrix()), truth.plate_position_m,
                   float(width), truth.grip_width_m / 2, truth.grip_long_axis,
                   float(truth.object_position_m[2] + truth.object_height_m / 2), T_world_base)


def _way(plain: Arrangement, task: _Task,
         rng: np.random.Generator) -> tuple[Arrangement, np.ndarray]:
    """Fly from the first pose, or from anywhere, to the mouth of the funnel."""
    begin = task.first.copy()
    if rng.random() < DETOUR:
        begin[:3, 3] = rng.uniform(*ANYWHERE_M)
    share, grip = rng.random(), task.grip[:3, 3]
    turning = Slerp([0.0, 1.0], Rotation.from_matrix(np.stack([begin[:3, :3], task.grip[:3, :3]])))
    xy = begin[:2, 3] + share * (grip[:2] - begin[:2, 3])
    over = grip[2] + DEFAULT_FUNNEL.height_m(float(np.linalg.norm(grip[:2] - xy)))
    z = begin[2, 3] + min(1.0, 1.5 * share) * (over - begin[2, 3])
    T = _pose(np.append(xy, z), turning(min(1.0, 2.0 * share)).as_matrix())
    return plain, _shaken(T, XY_NOISE_M, rng)


def _near(plain: Arrangement, task: _Task,
          rng: np.random.Generator) -> tuple[Arrangement, np.ndarray]:
    """
    Stand about the object with open fingers.

    Fingers on their way are left to played episodes, which show them for one step. Pictures of
    them are hardly other than those of a held object, and as many made a clone hold and wait.
    """
    raised = task.grip.copy()
    raised[2, 3] += abs(rng.normal(0, NEAR_HEIGHT_M))
    return plain, _shaken(raised, NEAR_XY_M, rng)


def _astray(plain: Arrangement, task: _Task,
            rng: np.random.Generator) -> tuple[Arrangement, np.ndarray]:
    """
    Stand by the object and miss it: beside it, or turned wrongly, with the fingers anywhere.

    A player who is right never shows it, so a clone that comes near takes itself to be right and
    closes. Fingers that would stand in the object stand over it: closed, they would seem to hold.
    """
    fingers = float(rng.uniform(FINGER_CLOSED_M, FINGER_OPEN_M))
    if rng.random() < ASTRAY_OPEN:
        fingers = FINGER_OPEN_M
    away, angle = rng.uniform(0, rng.choice(ASTRAY_M)), rng.uniform(0, 2 * np.pi)
    turn = Rotation.from_euler('z', rng.uniform(-np.pi / 2, np.pi / 2)).as_matrix()
    T = _pose(task.grip[:3, 3] + away * np.array([np.cos(angle), np.sin(angle), 0.0]),
              turn @ task.grip[:3, :3])
    lowest = task.grip[2, 3]
    if task.in_the_way(T, fingers):
        lowest = task.top_m + FINGERTIP_M
    T[2, 3] = lowest + abs(rng.normal(0, ASTRAY_HEIGHT_M))
    T = _shaken(T, 0.0, rng)
    T[2, 3] = max(T[2, 3], lowest)
    return replace(plain, finger_m=fingers), T


def _holding(plain: Arrangement, task: _Task,
             rng: np.random.Generator) -> tuple[Arrangement, np.ndarray]:
    """Take the object, carry it to the receptacle, or lower it onto that."""
    name, grip, plate = plain.placement.object_name, task.grip[:3, 3], task.plate_m
    lift = plate[2] + 0.005 + grip[2]
    part = rng.random()
    if part < LOWERED:
        away, angle = abs(rng.normal(0, LOWERED_XY_M)), rng.uniform(0, 2 * np.pi)
        xy = plate[:2] + away * np.array([np.cos(angle), np.sin(angle)])
        z = lift + rng.uniform(0.0, NEAR_HEIGHT_M) + DEFAULT_FUNNEL.height_m(away)
    elif part < LOWERED + TAKEN:
        xy = grip[:2] + rng.normal(0, TAKEN_XY_M, 2)
        z = grip[2] + abs(rng.normal(0, TAKEN_HEIGHT_M))
    else:
        xy = grip[:2] + rng.random() * (plate[:2] - grip[:2]) + rng.normal(0, XY_NOISE_M, 2)
        risen = grip[2] + CLIMB * float(np.linalg.norm(xy - grip[:2]))
        z = min(risen, lift + DEFAULT_FUNNEL.height_m(float(np.linalg.norm(xy - plate[:2]))))
        z += rng.normal(0, HEIGHT_NOISE_M)
    T = _shaken(_pose(np.append(xy, max(z, grip[2])), task.grip[:3, :3]), 0.0, rng)
    T[2, 3] = max(T[2, 3], grip[2])
    shift = np.eye(4)
    shift[2, 3] = rng.normal(0, HELD_SHIFT_M)  # the end effector's z lies along the fingers' faces
    T_ee_object = np.linalg.inv(task.T_world_base @ task.grip) @ plain.lying[name]
    lying = {**plain.lying, name: task.T_world_base @ T @ shift @ T_ee_object}
    return replace(plain, lying=lying, finger_m=task.width_m, is_grasped=True), T


def _released(plain: Arrangement, task: _Task,
              rng: np.random.Generator) -> tuple[Arrangement, np.ndarray]:
    """Leave the object on the receptacle."""
    name = plain.placement.object_name
    there = np.append(task.plate_m[:2] + rng.normal(0, RELEASED_XY_M, 2), 0.0)
    T_object = plain.lying[name].copy()
    T_object[:2, 3] = (task.T_world_base @ np.append(there, 1.0))[:2]
    T_object[2, 3] += task.plate_m[2]
    above = there + [0.0, 0.0, task.grip[2, 3] + rng.uniform(0.0, DEFAULT_FUNNEL.travel_height_m)]
    T = _shaken(_pose(above, task.grip[:3, :3]), NEAR_XY_M, rng)
    return replace(plain, lying={**plain.lying, name: T_object}, on_plate=True), T


_MAKERS = {'way': _way, 'near': _near, 'astray': _astray, 'holding': _holding,
           'released': _released}


def _shaken(T: np.ndarray, xy_noise_m: float, rng: np.random.Generator) -> np.ndarray:
    """Return a pose that was nudged and turned a little, never into the table."""
    turn = Rotation.from_euler('z', rng.normal(0, YAW_NOISE_RAD))
    tilt = Rotation.from_rotvec(rng.normal(0, TILT_NOISE_RAD, 3))
    position = T[:3, 3] + np.append(rng.normal(0, 1.0, 2) * xy_noise_m,
                                    rng.normal(0, HEIGHT_NOISE_M))
    position[2] = max(position[2], DEFAULT_FUNNEL.lowest_ee_m)
    return _pose(position, (turn * tilt).as_matrix() @ T[:3, :3])


def _pose(position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = rotation
    T[:3, 3] = position_m
    return T
