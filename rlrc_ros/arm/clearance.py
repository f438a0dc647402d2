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
How far the arm is from itself and from the table, on the packaged model's boxes and cylinders.

Pinocchio carries the shapes to a joint configuration and coal measures between them: 48 pairs of
links that are not neighbours, and a table slab against every link that can reach it. The fingers
are judged apart from the other links, because to pick something up they must come down to the
table. Their tips reach 15 mm beyond `ee_gripper_link`.

The shapes are the ones in `urdf/wx250s.urdf`: close to the arm, not its exact hull; the margins
cover that. Metres and radians, frame `base_link`. One instance belongs to one thread at a time.
"""

from dataclasses import dataclass

import coal
import numpy as np
import pinocchio as pin
from rlrc_ros.arm.kinematics import urdf_text
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_OPEN_M

_TABLE = 'table'
_TABLE_SIZE_M = (2.0, 2.0, 0.5)
"""Larger than the arm's reach on every side."""


@dataclass(frozen=True)
class Clearances:
    """The smallest distance of each kind at one configuration; negative where shapes overlap."""

    self_m: float
    self_pair: tuple[str, str]
    """The two links that are `self_m` apart."""
    table_m: float
    table_link: str
    """The link, fingers aside, that is `table_m` above the table."""
    finger_m: float
    """How far the lower finger is above the table."""


class ClearanceModel:
    """The arm's collision shapes and a table."""

    def __init__(self, table_height_m: float) -> None:
        """Build the shapes; `table_height_m` is the table's top in base_link."""
        text = urdf_text()
        self._model = pin.buildModelFromXML(text)
        self._data = self._model.createData()
        self._shapes = pin.buildGeomFromUrdfString(self._model, text, pin.GeometryType.COLLISION)
        shapes = list(self._shapes.geometryObjects)
        below = pin.SE3(np.eye(3), np.array(
            [0.0, 0.0, table_height_m - _TABLE_SIZE_M[2] / 2]))
        table = self._shapes.addGeometryObject(
            pin.GeometryObject(_TABLE, 0, 0, below, coal.Box(*_TABLE_SIZE_M)))
        hand = self._model.getJointId(ARM_JOINTS[-1])
        for first, a in enumerate(shapes):
            for second, b in enumerate(shapes[:first]):
                near, far = sorted((a.parentJoint, b.parentJoint))
                # Neighbours touch at their joint; hand and fingers are one rigid thing here.
                if far - near >= 2 and near < hand:
                    self._shapes.addCollisionPair(pin.CollisionPair(second, first))
            if a.parentJoint >= 2:  # the waist only turns, always as far above the table
                self._shapes.addCollisionPair(pin.CollisionPair(first, table))
        self._measured = pin.GeometryData(self._shapes)
        links = [shape.name.rpartition('_link_')[0] for shape in shapes] + [_TABLE]
        self._pairs = [(links[pair.first], links[pair.second])
                       for pair in self._shapes.collisionPairs]

    def at(self, q_rad: np.ndarray, finger_m: float = FINGER_OPEN_M) -> Clearances:
        """Return the clearances at joint angles (6,); `finger_m` is half the opening."""
        configuration = np.concatenate([q_rad, [finger_m, finger_m]])
        pin.computeDistances(
            self._model, self._data, self._shapes, self._measured, configuration)
        own, table, fingers = [], [], []
        for result, (first, second) in zip(
                self._measured.distanceResults, self._pairs, strict=True):
            if second != _TABLE:
                own.append((result.min_distance, (first, second)))
            elif first.endswith('finger'):
                fingers.append(result.min_distance)
            else:
                table.append((result.min_distance, first))
        (self_m, pair), (table_m, link) = min(own), min(table)
        return Clearances(self_m, pair, table_m, link, min(fingers))
