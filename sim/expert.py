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
The scripted expert: a smooth funnel from the present state to the next action.

It reads nothing but the present moment and has no phases, so that a policy that sees one image can
imitate it. The height it aims for grows continuously with the horizontal and the yaw error: far
from the object the gripper travels high, above it the funnel's mouth opens downwards. The same
funnel, with the object in hand, leads onto the plate. Frames: the arm's base.

(What is told to clone badly: thresholds at which the action jumps, and phases that an image does
not show. Hence ramps everywhere but for the gripper, which is binary by nature.)
"""

from dataclasses import dataclass

import numpy as np
from rlrc_ros.types import Action
from rlrc_sim.world import Truth
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Funnel:
    """The numbers of the expert; lengths in metres, angles in radians."""

    max_step_m: float = 0.03
    max_step_rad: float = 0.25
    gain: float = 0.45
    """Share of the remaining error that a step takes: the drives lag the target by about one
    step, a larger share would overshoot."""
    travel_height_m: float = 0.075
    """How high above the goal the gripper travels when it is far from it."""
    slope: float = 2.2
    """Metres of height per metre of horizontal error beyond the mouth."""
    slope_yaw: float = 0.10
    """Metres of height per radian of yaw error beyond the mouth."""
    mouth_m: float = 0.008
    mouth_rad: float = 0.10
    lowest_ee_m: float = 0.021
    """The fingertips end 16 mm below the end effector; 5 mm are left above the table."""
    grip_depth_m: float = 0.024
    """How far below an object's top the end effector grips at most."""
    close_m: float = 0.014
    """The gripper closes when it is this near the grip point in the plane and in height."""
    close_rad: float = 0.25
    closing_rise_m: float = 0.002
    """How far a step lifts the hand while the fingers close. A picture hardly tells fingers that
    hold from fingers that still close; a clone that waits then waits for ever."""
    place_gap_m: float = 0.006
    """Gap between the object's underside and the plate at which it is let go at the latest."""
    release_m: float = 0.03
    """Horizontal distance from the plate's centre within which the object may be let go."""

    def height_m(self, distance_m: float, yaw_error_rad: float = 0.0) -> float:
        """Return how high above its goal the gripper is to be, this far from it."""
        return float(np.clip(
            self.slope * (distance_m - self.mouth_m)
            + self.slope_yaw * max(0.0, abs(yaw_error_rad) - self.mouth_rad),
            0.0, self.travel_height_m))


DEFAULT_FUNNEL = Funnel()
DOWN = Rotation.from_euler('y', np.pi / 2)
"""Gripper straight down, fingers closing along the base's y axis."""
SEAM_RAD, BEYOND_SEAM_RAD = -np.pi / 3, np.pi / 6
"""Yaws count from here for half a turn, and how far beyond either end a goal may lie."""


def wrap_half_turn(angle_rad: float) -> float:
    """
    Wrap an angle to (-60, 120] degrees.

    Two fingers look the same after half a turn. The seam lies far from 0, 45, 90 and 135 degrees,
    where the suite's yaws are, so that equal pictures get equal answers.
    """
    return (angle_rad - SEAM_RAD) % np.pi + SEAM_RAD


def turn_to(grip_yaw_rad: float, hand_yaw_rad: float) -> float:
    """
    Return how far the hand is to turn, one of the two ways that are equal to two fingers.

    A hand after half a turn looks the same, so it counts as the same and gets the same answer.
    Of the two goals that are equal the one in (-60, 120] degrees, up to 30 beyond it where that is
    nearer; so a hand that is moved across the seam is not sent all the way back.
    """
    hand, goal = wrap_half_turn(hand_yaw_rad), wrap_half_turn(grip_yaw_rad)
    low, high = SEAM_RAD - BEYOND_SEAM_RAD, SEAM_RAD + np.pi + BEYOND_SEAM_RAD
    equal = [each for each in (goal - np.pi, goal, goal + np.pi) if low < each < high]
    return float(min((each - hand for each in equal), key=abs))


def _clipped(vector: np.ndarray, longest: float) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector if length <= longest else vector * (longest / length)


def hand_rad(truth: Truth) -> float:
    """
    Return how the hand is turned: 0 as it starts, at a long thing's heading astride it.

    It is the heading of the finger axis in the base plane, from the base's y axis.
    """
    rotation = Rotation.from_quat(truth.ee_wxyz, scalar_first=True)
    finger_axis = rotation.apply([0.0, 1.0, 0.0])
    return float(np.arctan2(-finger_axis[0], finger_axis[1]))


def where_to_grip(truth: Truth, funnel: Funnel = DEFAULT_FUNNEL) -> tuple[np.ndarray, float]:
    """Return where the end effector takes hold of the object (3,), and the yaw it has there."""
    if truth.grip_m is None:
        object_top = truth.object_position_m[2] + truth.object_height_m / 2
        point = np.append(truth.object_position_m[:2], object_top - funnel.grip_depth_m)
    else:
        point = truth.grip_m
    point = np.append(point[:2], max(funnel.lowest_ee_m, point[2]))
    if not truth.object_long:
        return point, 0.0
    axis = truth.grip_long_axis
    if axis is None:
        axis = Rotation.from_quat(truth.object_wxyz, scalar_first=True).apply([1.0, 0.0, 0.0])
    return point, wrap_half_turn(float(np.arctan2(axis[1], axis[0])))


def expert_action(truth: Truth, funnel: Funnel = DEFAULT_FUNNEL) -> Action:
    """Return the next action from the simulator's own state; it never fails to answer."""
    ee = truth.ee_position_m
    ee_rotation = Rotation.from_quat(truth.ee_wxyz, scalar_first=True)
    hand_yaw = hand_rad(truth)
    holds = truth.is_grasped
    done = truth.on_plate and not holds

    grip, grip_yaw = where_to_grip(truth, funnel)
    if holds or done:
        below_ee = ee[2] - truth.object_position_m[2] + truth.object_height_m / 2 if holds else 0.0
        offset = truth.object_position_m[:2] - ee[:2] if holds else np.zeros(2)
        goal_xy = truth.plate_position_m[:2] - offset
        goal_z = truth.plate_position_m[2] + 0.003 + below_ee + funnel.place_gap_m / 3
        yaw_error = 0.0
    else:
        goal_xy, goal_z = grip[:2], grip[2]
        yaw_error = turn_to(grip_yaw, hand_yaw)

    error_xy = goal_xy - ee[:2]
    distance = float(np.linalg.norm(error_xy))
    height = funnel.travel_height_m if done else funnel.height_m(distance, yaw_error)
    error = np.append(error_xy, goal_z + height - ee[2])

    near = (distance < funnel.close_m and abs(ee[2] - grip[2]) < funnel.close_m
            and abs(yaw_error) < funnel.close_rad)
    if done:
        closed = False
    elif holds:
        underside = truth.object_position_m[2] - truth.object_height_m / 2
        over_plate = np.linalg.norm(
            truth.object_position_m[:2] - truth.plate_position_m[:2]) < funnel.release_m
        low = underside - truth.plate_position_m[2] - 0.003 < funnel.place_gap_m
        closed = not (over_plate and low)
    else:
        closed = near

    step_m = _clipped(funnel.gain * error, funnel.max_step_m)
    if closed and not holds:
        step_m = np.append(step_m[:2], funnel.closing_rise_m)

    upright = (down_at(hand_yaw) * ee_rotation.inv()).as_rotvec()
    rotation_step = _clipped(
        funnel.gain * (upright + np.array([0.0, 0.0, yaw_error])), funnel.max_step_rad)
    return Action(
        delta_xyz_m=step_m,
        delta_rpy_rad=Rotation.from_rotvec(rotation_step).as_euler('XYZ'),
        gripper=0.0 if closed else 1.0)


def down_at(yaw_rad: float) -> Rotation:
    """Return the orientation that points straight down with the fingers at this yaw."""
    return Rotation.from_euler('z', yaw_rad) * DOWN
