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
The arm's state as the numbers that a policy reads: one place, for simulation and robot.

A checkpoint that reads proprio was trained on one of these layouts; PROPRIO_LAYOUTS in
vla/config.py names them with their lengths. The pose is that of the end effector in the base
frame. Metres and radians; the gripper counts 1 open ... 0 closed as an action does.

    xyz_rpy_gripper           position, XYZ Euler angles, opening
    xyz_axis_angle_fingers    position, rotation vector, left finger, right finger (negative)
    joints_gripper            the six joints, opening
"""

from math import asin, atan2

import numpy as np
import pinocchio as pin
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M


def proprio_of(layout: str, T_base_ee: np.ndarray, arm_rad: np.ndarray,
               finger_m: float) -> np.ndarray:
    """
    Return the state as float32, its length as the layout's.

    :param layout: one of PROPRIO_LAYOUTS
    :param T_base_ee: (4, 4) measured pose of the end effector
    :param arm_rad: (6,) measured joints
    :param finger_m: measured left finger, 0.015 closed ... 0.037 open
    :raises ValueError: an unknown layout
    """
    opening = np.clip((finger_m - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M), 0.0, 1.0)
    position, rotation = T_base_ee[:3, 3], T_base_ee[:3, :3]
    if layout == 'xyz_rpy_gripper':
        parts = [position, rpy_of(rotation), [opening]]
    elif layout == 'xyz_axis_angle_fingers':
        parts = [position, pin.log3(rotation), [finger_m, -finger_m]]
    elif layout == 'joints_gripper':
        parts = [arm_rad, [opening]]
    else:
        raise ValueError(f'proprio_layout {layout!r} is not known')
    return np.concatenate(parts).astype(np.float32)


def rpy_of(rotation: np.ndarray) -> np.ndarray:
    """Return XYZ Euler angles (3,) of a rotation (3, 3): what rotation_from_rpy() takes."""
    return np.array([
        atan2(-rotation[1, 2], rotation[2, 2]), asin(min(1.0, max(-1.0, rotation[0, 2]))),
        atan2(-rotation[0, 1], rotation[0, 0])])
