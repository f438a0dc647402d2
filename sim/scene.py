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
What stands on the table: objects and plates built from primitives, the table, the light.

Nothing is downloaded: each kind is a list of coloured boxes, capsules, cylinders and spheres that
serve as picture and as collision shape alike. Lengths in metres, in the object's own frame: z up,
the long side along x, the origin at the centre of the bounding box.
"""

from dataclasses import dataclass

import numpy as np
import sapien

TABLE_TOP_M = 0.8695
"""Height of the table in the world (derived from the suite's table mesh)."""
PARKING_M = (6.0, 0.0, 0.5)
"""Where objects that an episode does not use rest, out of the camera's sight."""

_LIE = (1.0, 0.0, 0.0, 0.0)
_STAND = (0.70710678, 0.0, 0.70710678, 0.0)
"""wxyz; SAPIEN's capsules and cylinders lie along x, this puts them upright."""


@dataclass(frozen=True)
class Shape:
    """One primitive of an object."""

    form: str
    """`box` (half sizes), `capsule` or `cylinder` (radius, half length), `sphere` (radius) or,
    only to be seen, `lathe` (radius, z, radius, z ...: a profile turned about z)."""
    size: tuple[float, ...]
    """In metres, as the form says."""
    colour: tuple[float, float, float]
    """RGB, 0 ... 1, linear."""
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    wxyz: tuple[float, float, float, float] = _LIE
    solid: bool = True
    """False: only to be seen."""
    seen: bool = True
    """False: only to be touched."""
    stretch: tuple[float, float] = (1.0, 1.0)
    """Of a lathe: factors along its own x and y."""


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its name in instructions, its shapes, its bounding box."""

    name: str
    shapes: tuple[Shape, ...]
    size_m: tuple[float, float, float]
    """Bounding box (x, y, z)."""
    long: bool = True
    """Whether its yaw shows; round things can be grasped from any side."""
    density: float = 700.0
    """kg/m^3; 700 is what the suite gives its carrot."""
    grip_m: tuple[float, float, float] | None = None
    """Where the end effector grips, in the object's frame; None: its middle, 24 mm deep."""
    centre_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Middle of the bounding box in the object's frame (meshes that others made)."""


def _yaw(angle: float) -> tuple[float, float, float, float]:
    return (float(np.cos(angle / 2)), 0.0, 0.0, float(np.sin(angle / 2)))


_ORANGE, _LEAF, _YELLOW = (0.90, 0.28, 0.02), (0.10, 0.40, 0.05), (0.90, 0.72, 0.05)
_DARK_GREEN, _STEEL, _LIME = (0.03, 0.22, 0.04), (0.60, 0.62, 0.64), (0.02, 0.55, 0.22)
_WHITE, _CRUST, _CRUMB, _BROWN = (0.9, 0.9, 0.9), (0.50, 0.22, 0.06), (0.80, 0.55, 0.25), (
    0.20, 0.10, 0.03)

OBJECTS: dict[str, Kind] = {kind.name: kind for kind in (
    Kind('carrot', (
        Shape('capsule', (0.0165, 0.014), _ORANGE, (0.016, 0, 0)),
        Shape('capsule', (0.0140, 0.014), _ORANGE, (-0.010, 0, -0.0015)),
        Shape('capsule', (0.0105, 0.012), _ORANGE, (-0.031, 0, -0.004)),
        Shape('box', (0.012, 0.009, 0.004), _LEAF, (0.052, 0, 0), solid=False)),
        (0.110, 0.033, 0.033)),
    Kind('banana', (
        Shape('capsule', (0.0145, 0.020), _YELLOW, (0.0, 0.006, 0)),
        Shape('capsule', (0.0130, 0.020), _YELLOW, (0.030, -0.004, 0), _yaw(-0.55)),
        Shape('capsule', (0.0130, 0.020), _YELLOW, (-0.030, -0.004, 0), _yaw(0.55)),
        Shape('sphere', (0.0075,), _BROWN, (0.054, -0.019, 0), solid=False)),
        (0.112, 0.046, 0.029)),
    Kind('zucchini', (
        Shape('capsule', (0.0165, 0.036), _DARK_GREEN),
        Shape('cylinder', (0.007, 0.007), _LEAF, (0.055, 0, 0), solid=False)),
        (0.110, 0.033, 0.033)),
    Kind('can', (
        Shape('cylinder', (0.019, 0.024), _LIME, wxyz=_STAND),
        Shape('cylinder', (0.0175, 0.0245), _STEEL, wxyz=_STAND, solid=False)),
        (0.038, 0.038, 0.049), long=False, density=500.0),
    Kind('golf ball', (Shape('sphere', (0.020,), _WHITE),), (0.040, 0.040, 0.040),
         long=False),
    Kind('bread', (
        Shape('box', (0.040, 0.017, 0.012), _CRUST, (0, 0, -0.004)),
        Shape('capsule', (0.0155, 0.022), _CRUMB, (0, 0, 0.0005), solid=False)),
        (0.080, 0.034, 0.032), density=400.0),
)}
"""The objects, by the name that instructions use."""


def _plate(colour_name: str, colour: tuple[float, float, float]) -> Kind:
    well = tuple(0.72 * channel for channel in colour)
    return Kind(f'{colour_name} plate', (
        Shape('cylinder', (0.055, 0.003), colour, wxyz=_STAND),
        Shape('cylinder', (0.040, 0.0032), well, wxyz=_STAND, solid=False)),
        (0.110, 0.110, 0.006), long=False, density=1000.0)


RECEPTACLES: dict[str, Kind] = {kind.name: kind for kind in (
    _plate('red', (0.65, 0.03, 0.03)), _plate('blue', (0.03, 0.10, 0.60)),
    _plate('purple', (0.28, 0.04, 0.38)), _plate('white', (0.85, 0.85, 0.82)))}
"""The receptacles, by the name that instructions use. Plate size as the suite's (110 mm)."""


ROLLING_DAMPING = 3.0
"""1/s. The physics has no rolling resistance: without this a ball put down at rest creeps off a
plate within ten seconds."""


def _material(colour: tuple[float, float, float]) -> sapien.render.RenderMaterial:
    return sapien.render.RenderMaterial(
        base_color=[*colour, 1.0], roughness=0.6, specular=0.3, metallic=0.0)


def _turned(shape: Shape, sides: int = 24) -> sapien.render.RenderShapeTriangleMesh:
    """Turn a lathe's profile about z; seen from both sides, so that cups are hollow."""
    radius, z = np.array(shape.size).reshape(-1, 2).T
    # Each band has vertices of its own along the profile: edges stay sharp, the round smooth.
    along = np.stack([np.arange(len(radius) - 1), np.arange(1, len(radius))], axis=1).ravel()
    slope = np.repeat(np.stack([np.diff(z), -np.diff(radius)], axis=1), 2, axis=0)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1) * shape.stretch  # (S + 1, 2)
    vertices = np.concatenate([
        radius[along, None, None] * around, np.broadcast_to(
            z[along, None, None], (len(along), sides + 1, 1))], axis=2)
    outward = np.stack([np.cos(angle), np.sin(angle)], axis=1) / shape.stretch
    normals = np.concatenate([
        slope[:, None, :1] * outward, np.broadcast_to(
            slope[:, None, 1:], (len(along), sides + 1, 1))], axis=2)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    triangles = []
    for band in range(0, len(along), 2):
        low = band * (sides + 1) + np.arange(sides)
        high = low + sides + 1
        triangles += [np.stack([low, low + 1, high + 1], 1), np.stack([low, high + 1, high], 1)]
    faces = np.concatenate(triangles)
    flat, up = vertices.reshape(-1, 3), normals.reshape(-1, 3)
    mesh = sapien.render.RenderShapeTriangleMesh(
        np.concatenate([flat, flat]).astype(np.float32),
        np.concatenate([faces, faces[:, ::-1] + len(flat)]).astype(np.uint32),
        np.concatenate([up, -up]).astype(np.float32),
        np.zeros((2 * len(flat), 2), np.float32), _material(shape.colour))
    mesh.local_pose = sapien.Pose(shape.centre, shape.wxyz)
    return mesh


def build_kind(scene, kind: Kind, name: str, parked_at: tuple[float, float, float]):
    """Add one dynamic actor of a kind to every sub-scene; friction 1, restitution 0 (suite)."""
    builder = scene.create_actor_builder()
    friction = sapien.physx.PhysxMaterial(
        static_friction=1.0, dynamic_friction=1.0, restitution=0.0)
    for shape in kind.shapes:
        pose = sapien.Pose(shape.centre, shape.wxyz)
        if shape.form == 'lathe':
            builder._procedural_shapes.append(_turned(shape))
            continue
        if shape.form == 'box':
            size = {'half_size': shape.size}
        elif shape.form == 'sphere':
            size = {'radius': shape.size[0]}
        else:
            size = {'radius': shape.size[0], 'half_length': shape.size[1]}
        if shape.seen:
            getattr(builder, f'add_{shape.form}_visual')(
                pose=pose, material=_material(shape.colour), **size)
        if shape.solid:
            getattr(builder, f'add_{shape.form}_collision')(
                pose=pose, material=friction, density=kind.density, **size)
    builder.initial_pose = sapien.Pose(parked_at)
    actor = builder.build(name=name)
    if any(shape.form == 'sphere' and shape.solid for shape in kind.shapes):
        actor.set_angular_damping(ROLLING_DAMPING)
    return actor


def parking_place(slot: int, height_m: float) -> tuple[float, float, float]:
    """Return where the slot-th unused thing of this height rests (world, metres)."""
    x, y, z = PARKING_M
    return (x, y + 0.25 * slot, z + height_m / 2)


def build_table(scene):
    """Add the table (its top TABLE_TOP_M high) and the parking shelf; return the table."""
    table = scene.create_actor_builder()
    half = (0.75, 1.0, 0.03)
    pose = sapien.Pose((-0.15, 0.0, TABLE_TOP_M - half[2]))
    table.add_box_collision(pose=pose, half_size=half)
    table.add_box_visual(pose=pose, half_size=half, material=_material((0.46, 0.33, 0.20)))
    table.initial_pose = sapien.Pose()
    built = table.build_static(name='table')

    shelf = scene.create_actor_builder()
    x, y, z = PARKING_M
    shelf.add_box_collision(pose=sapien.Pose((x, y + 2.0, z - 0.05)), half_size=(0.5, 3.0, 0.05))
    shelf.initial_pose = sapien.Pose()
    shelf.build_static(name='shelf')
    return built


def build_light(scene) -> None:
    """Light the scene as the suite does (three directional lights, no shadows)."""
    scene.set_ambient_light([0.3, 0.3, 0.3])
    for direction, strength in (
            ([0, 0, -1], 2.2), ([-1, -0.5, -1], 0.7), ([1, 1, -1], 0.7)):
        scene.add_directional_light(direction, [strength] * 3)
