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
What the node knows of the world, and whether that is fit to act on.

Keeps the newest image, joint state and instruction. Ages are taken twice: by the header's stamp on
the ROS clock, which sees a slow camera or two clocks that disagree, and by arrival on the steady
clock, which still runs when the ROS clock stands. In lockstep the simulation waits for us, so its
clock says nothing about age: there the joint state must carry the image's stamp or a newer one,
and only silence counts. Stamps in nanoseconds, arrivals in seconds on the steady clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT, JOINT_SPEED_RAD_S
from rlrc_ros.arm.safety import Rejection
from rlrc_ros.types import StopReason

LOCKSTEP_SILENCE_S = 10.0
"""In lockstep, silence this long means that the simulation is gone (a reset takes 1-2 s)."""
LOCKSTEP_GRACE_S = 0.5
"""In lockstep, an image waits this long for the instruction and joint state sent before it:
topics overtake each other."""


@dataclass(frozen=True)
class Now:
    """One moment on both clocks."""

    ros_ns: int
    steady_s: float


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera image that passed the door."""

    image: np.ndarray
    """uint8 (H, W, 3) RGB."""
    stamp_ns: int
    arrived_s: float


@dataclass(frozen=True)
class JointReading:
    """The arm's measured joints."""

    arm_rad: np.ndarray
    """(6,) in the order of `ARM_JOINTS`."""
    finger_m: float
    stamp_ns: int
    arrived_s: float


@dataclass(frozen=True)
class Guards:
    """What a real arm is watched for besides age."""

    max_frozen_image_s: float = 0.0
    """How long a camera may show the same pixels; 0: as long as it likes."""
    max_effort: tuple[float, ...] | None = None
    """Largest effort of each arm joint; None: efforts are not looked at."""
    max_joint_jump_rad: float = 0.0
    """How far a joint may move between two joint states beyond what it can turn meanwhile; 0: as
    far as it likes."""
    max_deadman_age_s: float | None = None
    """How old the deadman's `true` may be; None: there is no deadman switch."""


class Senses:
    """The newest of everything, and what is wrong with it."""

    def __init__(
        self, max_image_age_s: float, max_joint_state_age_s: float, *, lockstep: bool,
        guards: Guards = Guards(), extra_cameras: Sequence[str] = (),
    ) -> None:
        """Begin knowing nothing; the policy reads `extra_cameras` beside the first."""
        self._guards = guards
        self._deadman_s: float | None = None
        self._extra_cameras = tuple(extra_cameras)
        self.max_image_age_s = max_image_age_s
        self._max_joint_state_age_s = max_joint_state_age_s
        self._lockstep = lockstep
        self.instruction = ''
        self._latched: Rejection | None = None
        self.forget()

    @property
    def latched(self) -> Rejection | None:
        """Return a fault that lasts until `forgive`, however well all looks again."""
        return self._latched

    def latch(self, fault: Rejection | None) -> None:
        """Take over a lasting fault that was found before these senses were made."""
        self._latched = fault

    def forget(self) -> None:
        """Drop image and joint state: whatever comes next is from another scene."""
        self.frame: Frame | None = None
        self.joints: JointReading | None = None
        self._extra_frames: dict[str, Frame] = {}
        self._extra_invalid: dict[str, str] = {}
        self.newest_stamp_ns: int | None = None
        """Stamp of the newest image, fit or not."""
        self._newest_arrived_s = 0.0
        self._image_invalid: str | None = None
        self._joints_invalid: str | None = None
        self._foreign: tuple[str, float] | None = None
        self._changed_s: dict[str, float] = {}

    def forgive(self) -> None:
        """Forget a motor that pushed too hard and joints that jumped."""
        if self._latched is not None:
            self.joints = None  # whatever comes next is believed
        self._latched = None

    def press(self, pressed: bool, arrived_s: float) -> None:
        """Take note of the deadman switch."""
        self._deadman_s = arrived_s if pressed else None

    def see(self, frame: Frame) -> None:
        """Take the newest image."""
        self._watch_change('', self.frame, frame)
        self.frame = frame
        self.newest_stamp_ns, self._newest_arrived_s = frame.stamp_ns, frame.arrived_s
        self._image_invalid = None

    def see_extra(self, camera: str, frame: Frame) -> None:
        """Take the newest image of a further camera."""
        self._watch_change(camera, self._extra_frames.get(camera), frame)
        self._extra_frames[camera] = frame
        self._extra_invalid.pop(camera, None)

    def _watch_change(self, camera: str, before: Frame | None, frame: Frame) -> None:
        same = (before is not None and self._guards.max_frozen_image_s > 0
                and np.array_equal(before.image, frame.image))
        if not same:
            self._changed_s[camera] = frame.arrived_s

    def see_extra_invalid(self, camera: str, detail: str) -> None:
        """Take note of a further camera's image that cannot be used."""
        self._extra_invalid[camera] = f'camera {camera}: {detail}'

    def extra_images(self) -> dict[str, np.ndarray]:
        """Return the newest image (H, W, 3) of each further camera, by name."""
        return {camera: self._extra_frames[camera].image for camera in self._extra_cameras}

    def see_invalid(self, detail: str, stamp_ns: int, arrived_s: float) -> None:
        """Take note of an image that cannot be used; the arm is held until one that can."""
        self.newest_stamp_ns, self._newest_arrived_s = stamp_ns, arrived_s
        self._image_invalid = detail

    def feel(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, arrived_s: float,
        efforts: Sequence[float] = (),
    ) -> None:
        """
        Take a joint state, in any order of names.

        One without the arm's joints may come from another robot part on the same topic: it counts
        against us only while none of the arm's own is fresh. A number that is not finite counts
        at once.
        """
        wanted = (*ARM_JOINTS, FINGER_JOINT)
        missing = [name for name in wanted if name not in names]
        if missing or len(names) != len(positions):
            self._foreign = (
                f'joint state has {list(names)} with {len(positions)} positions; '
                f'missing: {missing}. Remap joint_states to the topic of the WidowX', arrived_s)
            return
        by_name = dict(zip(names, positions, strict=True))
        values = np.array([by_name[name] for name in wanted], dtype=np.float64)  # (7,)
        if not np.isfinite(values).all():
            bad = [name for name, value in zip(wanted, values, strict=True)
                   if not np.isfinite(value)]
            self._joints_invalid = f'joint state has no finite position for {bad}'
            return
        self._joints_invalid = None
        self._watch_effort(names, efforts)
        if self._jumped(values[:6], arrived_s):
            return  # not believed: a hold at these joints would be the very jump
        self.joints = JointReading(values[:6], float(values[6]), stamp_ns, arrived_s)

    def _jumped(self, arm_rad: np.ndarray, arrived_s: float) -> bool:
        if self.joints is None or not self._guards.max_joint_jump_rad:
            return False
        if self._latched is not None and (
                self._latched.reason is StopReason.JOINT_STATE_INVALID):
            return True  # until somebody has looked
        moved = np.abs(arm_rad - self.joints.arm_rad)  # (6,)
        possible = (self._guards.max_joint_jump_rad
                    + JOINT_SPEED_RAD_S * (arrived_s - self.joints.arrived_s))
        joint = int(moved.argmax())
        if moved[joint] <= possible:
            return False
        # It has not turned: the driver lost its zero, or is another arm's.
        self._latched = Rejection(
            StopReason.JOINT_STATE_INVALID,
            f'{ARM_JOINTS[joint]} jumped by {moved[joint]:.2f} rad from one joint state to '
            'the next. See that the joint states are true, then call ~/reset_stop')
        return True

    def _watch_effort(self, names: Sequence[str], efforts: Sequence[float]) -> None:
        if self._guards.max_effort is None or len(efforts) != len(names):
            return  # a driver that measures none leaves the field empty
        by_name = dict(zip(names, efforts, strict=True))
        if all(np.isnan(by_name[name]) for name in ARM_JOINTS):
            return  # ros2_control's joint_state_broadcaster writes NaN for what is not measured
        for name, most in zip(ARM_JOINTS, self._guards.max_effort, strict=True):
            if not abs(by_name[name]) <= most:  # a single NaN too
                self._latched = Rejection(
                    StopReason.EFFORT_LIMIT, f'{name} pushed with {by_name[name]:.0f}; at most '
                    f'{most:.0f}. Free the arm, then call ~/reset_stop')

    def in_step(self) -> bool:
        """Return whether all else belongs to the image (always so outside lockstep)."""
        return not self._lockstep or all(
            other.stamp_ns >= self.frame.stamp_ns
            for other in (self.joints, *self._extra_frames.values()))

    def feels(self, now: Now) -> bool:
        """Return whether the newest joint state is fresh by arrival."""
        limit_s = LOCKSTEP_SILENCE_S if self._lockstep else self._max_joint_state_age_s
        return self.joints is not None and now.steady_s - self.joints.arrived_s <= limit_s

    def waited_s(self, now: Now) -> float:
        """Return how long ago the newest image arrived, in steady seconds."""
        return now.steady_s - self._newest_arrived_s

    def ages_s(self, now: Now) -> dict[str, float]:
        """Return how long ago the newest image and joint state arrived, where one has."""
        arrived = {'image': self.frame, 'joint_state': self.joints, **{
            f'{camera}_image': frame for camera, frame in self._extra_frames.items()}}
        return {f'{name}_age_s': round(now.steady_s - entry.arrived_s, 3)
                for name, entry in arrived.items() if entry is not None}

    def image_age_s(self, stamp_ns: int, now: Now) -> float:
        """Return the age of an image by its stamp; 0 in lockstep, where time waits for us."""
        return 0.0 if self._lockstep else (now.ros_ns - stamp_ns) * 1e-9

    def fault(self, now: Now) -> Rejection | None:
        """Return why nothing can be decided now, or None."""
        if self._latched is not None:
            return self._latched
        if self._guards.max_deadman_age_s is not None and (
                self._deadman_s is None
                or now.steady_s - self._deadman_s > self._guards.max_deadman_age_s):
            return Rejection(
                StopReason.DEADMAN, 'press the deadman switch: std_msgs/Bool true on `deadman`')
        if not self.instruction:
            return Rejection(
                StopReason.NO_INSTRUCTION, 'say what to do: publish a String on `instruction`')
        return self._image_fault(now) or self._extra_fault(now) or self._joint_fault(now)

    def _image_fault(self, now: Now) -> Rejection | None:
        if self._image_invalid is not None:
            return Rejection(StopReason.IMAGE_INVALID, self._image_invalid)
        if self.frame is None:
            return Rejection(StopReason.NO_IMAGE, 'no image on `image` yet')
        too_old = self._too_old(
            'image', self.frame.stamp_ns, self.frame.arrived_s, self.max_image_age_s, now)
        if too_old:
            return Rejection(StopReason.IMAGE_STALE, too_old)
        return self._frozen('', 'images arrive', now)

    def _frozen(self, camera: str, what: str, now: Now) -> Rejection | None:
        frozen_s = now.steady_s - self._changed_s[camera]
        if 0 < self._guards.max_frozen_image_s < frozen_s:
            return Rejection(
                StopReason.IMAGE_FROZEN, f'{what} but have shown the same pixels for '
                f'{frozen_s:.2f} s; at most {self._guards.max_frozen_image_s:g} s')
        return None

    def _extra_fault(self, now: Now) -> Rejection | None:
        for camera in self._extra_cameras:
            if camera in self._extra_invalid:
                return Rejection(StopReason.IMAGE_INVALID, self._extra_invalid[camera])
            frame = self._extra_frames.get(camera)
            if frame is None:
                return Rejection(StopReason.NO_IMAGE, f'no image of the camera {camera} yet')
            if self._lockstep:
                late = (frame.stamp_ns < self.frame.stamp_ns
                        and self.waited_s(now) > LOCKSTEP_GRACE_S)
                too_old = late and (f'the newest image of the camera {camera} is older than the '
                                    'image it should come with')
            else:
                too_old = self._too_old(f'image of the camera {camera}', frame.stamp_ns,
                                        frame.arrived_s, self.max_image_age_s, now)
            if too_old:
                return Rejection(StopReason.IMAGE_STALE, too_old)
            frozen = self._frozen(camera, f'images of the camera {camera} arrive', now)
            if frozen is not None:
                return frozen
        return None

    def _joint_fault(self, now: Now) -> Rejection | None:
        if self._joints_invalid is not None:
            return Rejection(StopReason.JOINT_STATE_INVALID, self._joints_invalid)
        foreign = None
        if self._foreign is not None and (
                now.steady_s - self._foreign[1] <= max(1.0, self._max_joint_state_age_s)):
            foreign = Rejection(StopReason.JOINT_STATE_INVALID, self._foreign[0])
        if self.joints is None:
            return foreign or Rejection(
                StopReason.NO_JOINT_STATE, 'no joint state on `joint_states` yet')
        if self._lockstep:
            if self.in_step() or self.waited_s(now) <= LOCKSTEP_GRACE_S:
                return None
            too_old = 'the newest joint state is older than the image it should come with'
        else:
            too_old = self._too_old(
                'joint state', self.joints.stamp_ns, self.joints.arrived_s,
                self._max_joint_state_age_s, now)
        if not too_old:
            return None
        return foreign or Rejection(StopReason.JOINT_STATE_STALE, too_old)

    def _too_old(
        self, what: str, stamp_ns: int, arrived_s: float, limit_s: float, now: Now,
    ) -> str:
        silence_s, age_s = now.steady_s - arrived_s, (now.ros_ns - stamp_ns) * 1e-9
        if self._lockstep:
            age_s, limit_s = silence_s, LOCKSTEP_SILENCE_S
        elif abs(age_s) <= limit_s:
            age_s = silence_s
        if abs(age_s) <= limit_s:
            return ''
        if 0 < age_s < silence_s + limit_s:
            return f'the newest {what} is {age_s:.2f} s old; at most {limit_s:g} s'
        side = 'before' if age_s > 0 else 'after'
        return (f'the {what} came {silence_s:.2f} s ago with a stamp {abs(age_s):.3g} s {side} '
                'now: two clocks. Check its header stamp and use_sim_time')
