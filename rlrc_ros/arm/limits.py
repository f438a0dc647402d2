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
The numbers of the WidowX-250S: names, limits, poses, and what its gripper command means.

Angles in radians, lengths in metres, frames: `base_link` and `ee_gripper_link`. Joint limits are
the published joint table of the arm (Interbotix `wx250s`), the same that stands in
`urdf/wx250s.urdf`; a test compares the two.
"""

from math import pi

import numpy as np

ARM_JOINTS = ('waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle', 'wrist_rotate')
"""The six joints between `base_link` and `gripper_link`, in the order of every (6,) array."""

FINGER_JOINT = 'left_finger'
"""The finger that is commanded and read; `right_finger` mirrors it."""


def _constant(*values: float) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


JOINT_LOWER_RAD = _constant(-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158)
JOINT_UPPER_RAD = _constant(3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158)
JOINT_SPEED_RAD_S = pi
"""Every joint's velocity limit in the joint table."""

EFFORT_LIMITS = (1370.0, 1710.0, 1030.0, 1030.0, 1030.0, 1200.0)
"""Effort beyond which BridgeData's controller gives up, joint by joint, in the driver's unit (mA):
(800, 1000, 600, 600, 600, 700) * 1.7 + 10."""

FINGER_OPEN_M = 0.037
FINGER_CLOSED_M = 0.015
"""Distance of one finger from the middle plane at its two limits (joint table)."""

GRIPPER_THRESHOLD = 0.5
"""A gripper value above it opens the hand: OpenVLA's rule for its binary gripper."""

HOME_RAD = _constant(0, 0, 0, 0, 0, 0)
"""Interbotix' home pose: the end effector at (0.458325, 0, 0.36065), R = I."""
SLEEP_RAD = _constant(0, -1.80, 1.55, 0, 0.8, 0)
"""Interbotix' resting pose."""
INITIAL_RAD = _constant(-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398)
"""Where an episode of the simulated task begins (RL4VLA's put-on-plate suite)."""

WORKSPACE_LOWER_M = _constant(0.10, -0.20, -0.01)
WORKSPACE_UPPER_M = _constant(0.45, 0.25, 0.30)
"""Box for the end effector in `base_link`: the one of OpenVLA's BridgeData evaluation."""


def into_box(xyz_m, xyz_last_m, lower_m, upper_m):
    """
    Return the nearest points (..., 3) of a box to `xyz_m`, as arrays or as tensors, as they came.

    On no axis farther out than the last points `xyz_last_m`: what begins outside may come in.
    """
    return xyz_m.clip(xyz_last_m.clip(max=lower_m), xyz_last_m.clip(min=upper_m))


def finger_target_m(gripper: float) -> float:
    """Return the finger position in metres for a policy's `gripper` (1 open ... 0 closed)."""
    return FINGER_OPEN_M if gripper > GRIPPER_THRESHOLD else FINGER_CLOSED_M
