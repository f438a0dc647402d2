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
End-effector pose of the WidowX-250S ↔ its six joint angles.

Pinocchio gives poses and Jacobians from the packaged URDF; the solver is a damped Newton iteration
that starts at the present joints and so stays in the present elbow and wrist configuration. The
damping shrinks with the square of the error (Levenberg-Marquardt as in Sugihara, "Solvability-
Unconcerned Inverse Kinematics by the Levenberg-Marquardt Method", IEEE T-RO 2011), so it converges
fast and still survives the wrist singularity that the home pose sits in.

`T_base_ee` is the (4, 4) pose of `ee_gripper_link` in `base_link`. Metres and radians. One
instance belongs to one thread at a time.
"""

from importlib.resources import files

import numpy as np
import pinocchio as pin
from rlrc_ros.arm.limits import ARM_JOINTS
from rlrc_ros.types import Action

EE_FRAME = 'ee_gripper_link'

POSITION_TOLERANCE_M = 1e-8
ROTATION_TOLERANCE_RAD = 1e-7
"""A solution is one when it is this close. Far finer than the arm's encoders resolve (1.5e-3 rad),
so that the answer hardly depends on where the search began; it costs one more Newton step."""

GOOD_POSITION_M = 1e-5
GOOD_ROTATION_RAD = 1e-4
"""What is still a solution when the iterations are used up: in a singular wrist the last digits
come slowly, and this is below what the encoders resolve."""

MAX_ITERATIONS = 60
MAX_NEWTON_STEP_RAD = 0.4
"""Longest move of one joint in one iteration: keeps the solver on the branch it began on."""


def urdf_text() -> str:
    """Return the packaged robot description (XML)."""
    return files('rlrc_ros.arm').joinpath('urdf', 'wx250s.urdf').read_text(encoding='utf-8')


class Kinematics:
    """Forward and inverse kinematics of the six arm joints; the fingers do not matter here."""

    def __init__(self) -> None:
        """Build the model from the packaged URDF with the fingers locked."""
        whole = pin.buildModelFromXML(urdf_text())
        fingers = [i for i, name in enumerate(whole.names) if i and name not in ARM_JOINTS]
        self._model = pin.buildReducedModel(whole, fingers, pin.neutral(whole))
        assert tuple(self._model.names)[1:] == ARM_JOINTS, tuple(self._model.names)
        self._data = self._model.createData()
        self._ee = self._model.getFrameId(EE_FRAME)

    def forward(self, q_rad: np.ndarray) -> np.ndarray:
        """Return `T_base_ee` (4, 4) for the joint angles (6,)."""
        return self._pose(np.asarray(q_rad, dtype=np.float64)).homogeneous

    def inverse(self, T_base_ee: np.ndarray, q_seed_rad: np.ndarray) -> np.ndarray | None:
        """
        Return joint angles (6,) that reach `T_base_ee`, or None where the solver finds none.

        The search starts at `q_seed_rad` (6,). Joint limits are not looked at here: the safety
        gate does that, so that it can say which joint left them.
        """
        goal = pin.SE3(np.asarray(T_base_ee, dtype=np.float64))
        q = np.array(q_seed_rad, dtype=np.float64)
        for _ in range(MAX_ITERATIONS):
            error = pin.log6(self._pose(q).actInv(goal)).vector  # (6,) metres then radians
            if _within(error, POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD):
                return q
            jacobian = pin.computeFrameJacobian(
                self._model, self._data, q, self._ee, pin.ReferenceFrame.LOCAL)  # (6, 6)
            damping = 0.1 * float(error @ error) + 1e-9
            step = np.linalg.solve(
                jacobian.T @ jacobian + damping * np.eye(6), jacobian.T @ error)
            q += step * min(1.0, MAX_NEWTON_STEP_RAD / max(np.abs(step).max(), 1e-12))
        error = pin.log6(self._pose(q).actInv(goal)).vector
        return q if _within(error, GOOD_POSITION_M, GOOD_ROTATION_RAD) else None

    def _pose(self, q_rad: np.ndarray) -> pin.SE3:
        pin.forwardKinematics(self._model, self._data, q_rad)
        return pin.updateFramePlacement(self._model, self._data, self._ee)


def _within(error: np.ndarray, position_m: float, rotation_rad: float) -> bool:
    return (np.linalg.norm(error[:3]) < position_m
            and np.linalg.norm(error[3:]) < rotation_rad)


def rotation_from_rpy(rpy_rad: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of XYZ Euler angles (3,): Rx @ Ry @ Rz."""
    x, y, z = (float(angle) for angle in rpy_rad)
    return pin.utils.rotate('x', x) @ pin.utils.rotate('y', y) @ pin.utils.rotate('z', z)


def next_target(T_base_ee_target: np.ndarray, action: Action) -> np.ndarray:
    """
    Add one action to the last *target* pose (4, 4) and return the next target (4, 4).

    The translation is in base axes. The rotation is about the end effector, with axes aligned to
    the base: R_next = R_delta @ R_last. BridgeData V2 and RL4VLA's suite both integrate like this.
    """
    rotation = rotation_from_rpy(action.delta_rpy_rad) @ T_base_ee_target[:3, :3]
    # A product of thousands of rotations drifts off SO(3): take the nearest rotation.
    u, _, vt = np.linalg.svd(rotation)
    T_next = np.eye(4)
    T_next[:3, :3] = u @ vt
    T_next[:3, 3] = T_base_ee_target[:3, 3] + action.delta_xyz_m
    return T_next
