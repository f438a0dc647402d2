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
The words every room shares: what a policy sees, what it answers, why the arm stops.

Legend: H, W image height and width; T action_horizon.
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

CONTROL_HZ = 5.0
"""Policy steps per second: BridgeData V2 and the task suite both step every 0.2 s."""

RUNTIMES = ('eager', 'fast', 'fast-bf16', 'fast-int8', 'vla-cache', 'auto')
"""Ways to run a policy; vla/runtime_choice.py says what each is."""


@dataclass(frozen=True)
class Observation:
    """One moment as the policy sees it."""

    image: np.ndarray
    """Camera image, uint8 (H, W, 3), RGB."""
    instruction: str
    """The user's sentence, not yet a prompt."""
    proprio: np.ndarray | None = None
    """Robot state, float32, or None for a policy that does not read it."""
    stamp_s: float = 0.0
    """When the image was taken, seconds on the clock of its source."""
    extra_images: dict[str, np.ndarray] = field(default_factory=dict)
    """Further cameras by name (a wrist camera, say), each uint8 (H, W, 3), RGB."""


@dataclass(frozen=True)
class Action:
    """One step of 0.2 s, added to the last *target* end-effector pose."""

    delta_xyz_m: np.ndarray
    """Translation (3,) in base axes, metres."""
    delta_rpy_rad: np.ndarray
    """Rotation (3,) about the end effector: XYZ Euler angles in base axes, radians."""
    gripper: float
    """1 open ... 0 closed. Everywhere; drivers that differ convert at their own door."""

    def to_vector(self) -> np.ndarray:
        """Return the seven numbers as float32 (7,): xyz, rpy, gripper."""
        return np.concatenate(
            [self.delta_xyz_m, self.delta_rpy_rad, [self.gripper]]).astype(np.float32)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> 'Action':
        """Split seven numbers (7,) into an action; the values are not checked here."""
        vector = np.asarray(vector, dtype=np.float64)
        if vector.shape != (7,):
            raise ValueError(f'an action has 7 numbers (xyz, rpy, gripper), got {vector.shape}')
        return cls(vector[:3], vector[3:6], float(vector[6]))


@dataclass(frozen=True)
class ActionChunk:
    """What a policy answers: T >= 1 actions, to be executed one per 0.2 s, in order."""

    actions: tuple[Action, ...]

    def __post_init__(self) -> None:
        if not self.actions:
            raise ValueError('an action chunk holds at least one action')


class StopReason(Enum):
    """Why the arm is held. Published on ~/status and logged once per change."""

    NONE = 'none'
    """Not stopped: the policy drives the arm."""
    NOT_ACTIVE = 'not_active'
    """The node is not in the active lifecycle state."""
    NO_INSTRUCTION = 'no_instruction'
    """No instruction yet, or an empty one: nothing to do."""
    NO_IMAGE = 'no_image'
    """No image has arrived yet."""
    IMAGE_STALE = 'image_stale'
    """The newest image is older than `max_image_age_s`."""
    IMAGE_FROZEN = 'image_frozen'
    """Images arrive, but they have shown the same picture for longer than `max_frozen_image_s`."""
    IMAGE_INVALID = 'image_invalid'
    """The image has an encoding or size that the checkpoint cannot take."""
    NO_JOINT_STATE = 'no_joint_state'
    """No joint state with the arm's joints has arrived yet."""
    JOINT_STATE_STALE = 'joint_state_stale'
    """The newest joint state is older than `max_joint_state_age_s`."""
    JOINT_STATE_INVALID = 'joint_state_invalid'
    """A joint state without the arm's joint names, with a number that is not finite, or that
    jumped farther than a joint can turn."""
    EFFORT_LIMIT = 'effort_limit'
    """A motor pushed harder than `max_effort`; only ~/reset_stop releases it."""
    DEADMAN = 'deadman'
    """The deadman switch is not pressed, or has not been heard of for too long."""
    DRIVER_GONE = 'driver_gone'
    """Nobody listens to the commands: the arm's driver or controller is not there."""
    OTHER_COMMANDER = 'other_commander'
    """Somebody else publishes on the topics that command the arm."""
    WATCHDOG = 'watchdog'
    """The control loop itself has not run for longer than `max_control_gap_s`."""
    ACTION_NOT_FINITE = 'action_not_finite'
    """The policy answered NaN or infinity."""
    ACTION_TOO_LARGE = 'action_too_large'
    """The step exceeds `max_step_m` or `max_step_rad`."""
    OUTSIDE_WORKSPACE = 'outside_workspace'
    """The target leaves the workspace box."""
    UNREACHABLE = 'unreachable'
    """Inverse kinematics found no joint configuration near the present one."""
    JOINT_LIMIT = 'joint_limit'
    """A joint target lies outside its limits less the margin."""
    JOINT_SPEED = 'joint_speed'
    """A joint would have to move faster than allowed."""
    JOINT_ACCELERATION = 'joint_acceleration'
    """A joint would have to change its speed faster than allowed."""
    COLLISION = 'collision'
    """A link would come too close to another one or to the table."""
    INFERENCE_FAILED = 'inference_failed'
    """The policy raised an exception."""
    INFERENCE_LATE = 'inference_late'
    """No answer from the policy within `max_inference_s`."""
    STOPPED_BY_USER = 'stopped_by_user'
    """~/stop was called; only ~/reset_stop releases it."""
