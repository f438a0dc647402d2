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
The last gate before the arm: one action in, one joint command or one reason out.

The order is the order of the questions a person would ask: is it a number, is the step small, does
the target stay in the box, can the arm reach it and is the answer near, within its joint limits,
at its speed and acceleration, clear of itself and of the table. A command
is refused whole, but for a target beyond the box, which stops at its face: nothing else is
clipped, because a clipped step is no longer what the policy decided
and its next delta would build on a pose that the policy never chose. After a refusal the last
accepted target stays and the next image brings a new decision, so a policy at the edge of the box
is held there, not locked out.

ros2_control can enforce joint limits too, but on Jazzy that is off unless asked for, and the
WidowX driver checks nothing: this gate does not rely on either. Metres, radians, seconds.
"""

from dataclasses import dataclass, field

import numpy as np
from rlrc_ros.arm.clearance import ClearanceModel, Clearances
from rlrc_ros.arm.kinematics import Kinematics, next_target
from rlrc_ros.arm.limits import (
    ARM_JOINTS,
    finger_target_m,
    into_box,
    JOINT_LOWER_RAD,
    JOINT_SPEED_RAD_S,
    JOINT_UPPER_RAD,
    WORKSPACE_LOWER_M,
    WORKSPACE_UPPER_M,
)
from rlrc_ros.types import Action, CONTROL_HZ, StopReason

ROUNDING = 1e-6
"""A policy that saturates answers its limit in float32: 0.25 arrives as 0.25000001."""


@dataclass(frozen=True)
class SafetyLimits:
    """What the gate allows. The defaults suit the WidowX-250S at a table."""

    max_step_m: float = 0.05
    """Largest translation along one base axis in one step (BridgeData V2's controller: 0.05)."""
    max_step_rad: float = 0.25
    """Largest rotation about one base axis in one step (BridgeData V2's controller: 0.25)."""
    workspace_lower_m: tuple[float, float, float] = tuple(WORKSPACE_LOWER_M.tolist())
    """Lowest corner of the box that the end-effector target must stay in, in base_link."""
    workspace_upper_m: tuple[float, float, float] = tuple(WORKSPACE_UPPER_M.tolist())
    """Highest corner of that box."""
    clamp_to_workspace: bool = True
    """A target that would leave the box stops at its face, as in BridgeData V2's controller
    (`action_clipping`); else the step is refused. A policy that presses a little too low sees the
    same picture while it is held, and asks for the same again."""
    joint_margin_rad: float = 0.02
    """Joint targets keep this distance from the joint's mechanical limits."""
    max_joint_speed_rad_s: float = JOINT_SPEED_RAD_S
    """Fastest allowed joint; the motors' own limit is pi."""
    max_joint_step_rad: float = 0.6
    """Inverse kinematics is `near` when no joint is farther than this from where it is now."""
    max_joint_acceleration_rad_s2: float = 15.0
    """Largest change of a joint's mean speed from one step to the next, per second. BridgeData's
    controller lets the motors do 16 for its largest step (0.25 rad in 0.25 s, 0.1 s of it to speed
    up); `checkpoints/nano`'s steps reach 12.2 (717 steps of 30 episodes)."""
    self_clearance_m: float = 0.01
    """Links that are not neighbours keep this distance."""
    table_height_m: float = -0.0005
    """The table's top in base_link; the base plate stands on it."""
    table_clearance_m: float = 0.005
    """Every link but the fingers keeps this distance from the table."""
    finger_clearance_m: float = -0.03
    """Likewise the fingers' tips. Below zero a target may press into the table: the box's floor
    of BridgeData lets tips go to -0.026, and `checkpoints/nano` was taught to (-0.025 reached)."""
    period_s: float = 1.0 / CONTROL_HZ
    """Time that one step has to reach its joint target."""

    def __post_init__(self) -> None:
        """Refuse limits that allow nothing or more than the arm can do (ValueError)."""
        bounds = (
            ('max_step_m', 0.0, 0.5), ('max_step_rad', 0.0, 3.2), ('joint_margin_rad', -1e-9, 0.5),
            ('max_joint_speed_rad_s', 0.0, JOINT_SPEED_RAD_S), ('period_s', 0.0, 10.0),
            ('max_joint_step_rad', 0.0, 3.2), ('max_joint_acceleration_rad_s2', 0.0, 1000.0),
            ('self_clearance_m', -0.1, 0.2), ('table_height_m', -1.0, 1.0),
            ('table_clearance_m', -0.1, 0.2), ('finger_clearance_m', -0.1, 0.2))
        for name, above, most in bounds:
            value = getattr(self, name)
            if not above < value <= most:
                least = 0.0 if above == -1e-9 else above
                raise ValueError(
                    f'{name} is {value}; it must be above {least:g} and at most {most:g}')
        for name in ('workspace_lower_m', 'workspace_upper_m'):
            corner = getattr(self, name)
            if len(corner) != 3 or not np.isfinite(corner).all():
                raise ValueError(f'{name} is {list(corner)}; it must be three numbers x, y, z')
        if not np.all(np.less(self.workspace_lower_m, self.workspace_upper_m)):
            raise ValueError(
                f'the workspace box is empty: workspace_lower_m {list(self.workspace_lower_m)} '
                f'must be below workspace_upper_m {list(self.workspace_upper_m)} on every axis')


@dataclass(frozen=True)
class JointCommand:
    """Where the arm shall be one period from now."""

    arm_rad: np.ndarray
    """Joint targets (6,) in the order of `ARM_JOINTS`."""
    finger_m: float
    """Target of each finger: 0.015 closed ... 0.037 open."""
    T_base_ee: np.ndarray
    """The end-effector target (4, 4) that the joints reach."""
    clamped: bool = False
    """The action asked for more, and the target stopped at a face of the workspace box."""


@dataclass(frozen=True)
class Rejection:
    """Why there is no command."""

    reason: StopReason
    detail: str
    """What was measured and what is allowed, in words for the user."""


@dataclass
class SafetyGate:
    """Checks one action at a time; it keeps nothing between two calls."""

    limits: SafetyLimits = field(default_factory=SafetyLimits)
    kinematics: Kinematics = field(default_factory=Kinematics)

    def __post_init__(self) -> None:
        """Build the collision shapes (a millisecond)."""
        self.clearance = ClearanceModel(self.limits.table_height_m)

    def check(
        self, action: Action, T_base_ee_target: np.ndarray, q_measured_rad: np.ndarray,
        q_commanded_rad: np.ndarray | None = None, v_commanded_rad_s: np.ndarray | None = None,
    ) -> JointCommand | Rejection:
        """
        Return the joint command for `action`, or the first reason against it.

        `T_base_ee_target` (4, 4) is the last target, to which the action is added;
        `q_measured_rad` (6,) seeds the inverse kinematics; `q_commanded_rad` (6,) is the last
        joint command, None before the first one; `v_commanded_rad_s` (6,) is the mean speed of
        the step that led there, None for an arm at rest.
        """
        rejection = self._check_step(action)
        if rejection is not None:
            return rejection
        T_next = next_target(T_base_ee_target, action)
        asked_m = T_next[:3, 3].copy()
        if self.limits.clamp_to_workspace:
            T_next[:3, 3] = into_box(asked_m, T_base_ee_target[:3, 3],
                                     self.limits.workspace_lower_m, self.limits.workspace_upper_m)
        rejection = self._check_workspace(T_next[:3, 3], T_base_ee_target[:3, 3])
        if rejection is not None:
            return rejection
        q = self.kinematics.inverse(T_next, q_measured_rad)
        if q is None:
            x, y, z = T_next[:3, 3]
            return Rejection(
                StopReason.UNREACHABLE,
                f'no joint angles near the present ones reach ({x:.3f}, {y:.3f}, {z:.3f}) m '
                'with the wanted orientation')
        q_from_rad = q_measured_rad if q_commanded_rad is None else q_commanded_rad
        finger_m = finger_target_m(action.gripper)
        rejection = (
            self._check_near(q, q_measured_rad)
            or self._check_joints(q, q_measured_rad, q_commanded_rad)
            or self._check_acceleration(q, q_from_rad, v_commanded_rad_s)
            or self._check_clearance(q, q_from_rad, finger_m))
        if rejection is not None:
            return rejection
        clamped = bool((np.abs(T_next[:3, 3] - asked_m) > ROUNDING).any())
        return JointCommand(q, finger_m, T_next, clamped)

    def _check_near(self, q_rad: np.ndarray, q_measured_rad: np.ndarray) -> Rejection | None:
        far = np.abs(q_rad - q_measured_rad)  # (6,)
        joint = int(far.argmax())
        if far[joint] <= self.limits.max_joint_step_rad:
            return None
        return Rejection(
            StopReason.UNREACHABLE,
            f'the nearest joint angles that reach the target turn {ARM_JOINTS[joint]} by '
            f'{far[joint]:.2f} rad from where it is; at most {self.limits.max_joint_step_rad:g}')

    def _check_acceleration(
        self, q_rad: np.ndarray, q_from_rad: np.ndarray, v_from_rad_s: np.ndarray | None,
    ) -> Rejection | None:
        before = np.zeros(6) if v_from_rad_s is None else v_from_rad_s
        change = np.abs((q_rad - q_from_rad) / self.limits.period_s - before)  # (6,)
        acceleration = change / self.limits.period_s
        joint = int(acceleration.argmax())
        if acceleration[joint] <= self.limits.max_joint_acceleration_rad_s2:
            return None
        return Rejection(
            StopReason.JOINT_ACCELERATION,
            f'{ARM_JOINTS[joint]} would change its speed by {acceleration[joint]:.1f} rad/s2; at '
            f'most {self.limits.max_joint_acceleration_rad_s2:g}')

    def _check_clearance(
        self, q_rad: np.ndarray, q_from_rad: np.ndarray, finger_m: float,
    ) -> Rejection | None:
        start = None
        # Half-way too: the longest step turns a joint by 0.6 rad, some 15 cm at full stretch.
        for q in ((q_from_rad + q_rad) / 2, q_rad):
            there = self.clearance.at(q, finger_m)
            shortfalls = self._shortfalls(there)
            if not any(shortfalls):
                continue
            # As with the box: an arm that begins too close (folded to sleep) may move apart.
            start = start or self._shortfalls(self.clearance.at(q_from_rad, finger_m))
            if all(short <= max(0.0, before - ROUNDING)
                   for short, before in zip(shortfalls, start, strict=True)):
                continue
            return Rejection(StopReason.COLLISION, self._too_close(there, shortfalls))
        return None

    def _shortfalls(self, there: Clearances) -> tuple[float, float, float]:
        """Return by how much each clearance (self, table, fingers) falls short; 0 where kept."""
        limits = self.limits
        return (max(0.0, limits.self_clearance_m - there.self_m),
                max(0.0, limits.table_clearance_m - there.table_m),
                max(0.0, limits.finger_clearance_m - there.finger_m))

    def _too_close(self, there: Clearances, shortfalls: tuple[float, float, float]) -> str:
        limits = self.limits
        return (
            f'{" and ".join(there.self_pair)} would be {there.self_m * 1e3:.0f} mm apart; at '
            f'least {limits.self_clearance_m * 1e3:g} mm',
            f'{there.table_link} would be {there.table_m * 1e3:.0f} mm above the table; at least '
            f'{limits.table_clearance_m * 1e3:g} mm',
            f'a finger would be {there.finger_m * 1e3:.0f} mm above the table; at least '
            f'{limits.finger_clearance_m * 1e3:g} mm')[int(np.argmax(shortfalls))]

    def _check_step(self, action: Action) -> Rejection | None:
        if not np.isfinite(action.to_vector()).all():
            return Rejection(
                StopReason.ACTION_NOT_FINITE, f'the policy answered {action.to_vector().tolist()}')
        for name, delta, most, unit in (
                ('translation', action.delta_xyz_m, self.limits.max_step_m, 'm'),
                ('rotation', action.delta_rpy_rad, self.limits.max_step_rad, 'rad')):
            largest = float(np.abs(delta).max())
            if largest > most + ROUNDING:
                return Rejection(
                    StopReason.ACTION_TOO_LARGE,
                    f'{name} of {largest:.3f} {unit} in one step; at most {most:g} {unit}')
        return None

    def _check_workspace(self, xyz_m: np.ndarray, xyz_last_m: np.ndarray) -> Rejection | None:
        outside = self._distance_outside(xyz_m)  # (3,)
        # An arm that starts outside (its home pose does) may come in, but not go further out.
        before = np.linalg.norm(self._distance_outside(xyz_last_m))
        if not outside.any() or np.linalg.norm(outside) < before - ROUNDING:
            return None
        axis = int(outside.argmax())
        low, high = self.limits.workspace_lower_m[axis], self.limits.workspace_upper_m[axis]
        return Rejection(
            StopReason.OUTSIDE_WORKSPACE,
            f'target {"xyz"[axis]} = {xyz_m[axis]:.3f} m; the box allows {low:g} ... {high:g} m')

    def _distance_outside(self, xyz_m: np.ndarray) -> np.ndarray:
        below = np.subtract(self.limits.workspace_lower_m, xyz_m)
        above = np.subtract(xyz_m, self.limits.workspace_upper_m)
        return np.maximum(np.maximum(below, above), 0.0)

    def _check_joints(
        self, q_rad: np.ndarray, q_measured_rad: np.ndarray, q_commanded_rad: np.ndarray | None,
    ) -> Rejection | None:
        lower = JOINT_LOWER_RAD + self.limits.joint_margin_rad
        upper = JOINT_UPPER_RAD - self.limits.joint_margin_rad
        for name, value, low, high in zip(ARM_JOINTS, q_rad, lower, upper, strict=True):
            if not low <= value <= high:
                return Rejection(
                    StopReason.JOINT_LIMIT,
                    f'{name} would go to {value:.3f} rad; it may move in {low:.3f} ... {high:.3f}')
        # From the measured joints: what the motors must do now, and an arm that is blocked does
        # not wind its target up. From the last command: a jump of the solver to another branch.
        for origin, q_from in (('measured', q_measured_rad), ('commanded', q_commanded_rad)):
            if q_from is None:
                continue
            speed = np.abs(q_rad - q_from) / self.limits.period_s  # (6,)
            fastest = int(speed.argmax())
            if speed[fastest] > self.limits.max_joint_speed_rad_s:
                return Rejection(
                    StopReason.JOINT_SPEED,
                    f'{ARM_JOINTS[fastest]} would need {speed[fastest]:.2f} rad/s from its '
                    f'{origin} position; at most {self.limits.max_joint_speed_rad_s:.2f}')
        return None
