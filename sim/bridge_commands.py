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
The door of sim_bridge: joint trajectories are checked here and wait here for the simulation.

The executor's thread puts commands in, the simulation's thread takes them out. A trajectory is
taken by joint *name*, so the order in which a client lists the joints does not matter; a wrong
one is refused as a whole, with a sentence that says what is wrong. Metres and radians. No rclpy:
a message is anything that is shaped like trajectory_msgs/JointTrajectory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import threading
import time

import numpy as np
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M

LARGEST_ANGLE_RAD = 2 * np.pi
"""A revolute target beyond a full turn is a mistake in units; the arm's own limits are the
business of whoever commands it, as they are with the real driver, which checks none."""
_SLACK_M = 1e-6


class BadTrajectory(ValueError):
    """A trajectory that the arm cannot follow; the text says why."""


class EpisodeInterrupted(Exception):
    """The running episode shall end: see the two kinds below."""


class ResetRequested(EpisodeInterrupted):
    """Somebody called ~/reset: end this episode, begin the next."""


class ShutdownRequested(EpisodeInterrupted):
    """The process was asked to end."""


@dataclass(frozen=True)
class JointCommand:
    """What the arm shall do next; None where nothing has been commanded yet."""

    arm_rad: np.ndarray | None
    """(6,), base to wrist."""
    finger_m: float | None
    """Half the opening, 0.015 ... 0.037."""


def positions_by_name(trajectory, required: Sequence[str],
                      optional: Sequence[str] = ()) -> np.ndarray:
    """
    Return the positions of the required joints, in their order.

    :param trajectory: shaped like trajectory_msgs/JointTrajectory, with exactly one point
    :param optional: joints that may be listed too (a mimic joint, say); their values are dropped
    :raises BadTrajectory: wrong names, lengths, number of points, or a number that is not finite
    """
    names = list(trajectory.joint_names)
    missing = [name for name in required if name not in names]
    foreign = [name for name in names if name not in (*required, *optional)]
    if missing or foreign or len(set(names)) != len(names):
        raise BadTrajectory(
            f'joint_names {names} do not fit: missing {missing}, not of this controller '
            f'{foreign}; it takes {list(required)}, each once, in any order')
    if len(trajectory.points) != 1:
        raise BadTrajectory(f'{len(trajectory.points)} points; this arm takes exactly one, '
                            f'with time_from_start 0.2 s')
    positions = np.asarray(trajectory.points[0].positions, dtype=np.float64)
    if positions.shape != (len(names),):
        raise BadTrajectory(f'{positions.size} positions for {len(names)} joint_names; '
                            f'give one position per joint')
    if not np.isfinite(positions).all():
        wrong = [name for name, value in zip(names, positions) if not np.isfinite(value)]
        raise BadTrajectory(f'positions of {wrong} are not finite numbers')
    by_name = dict(zip(names, positions))
    return np.array([by_name[name] for name in required])


def arm_target(trajectory, joint_names: Sequence[str]) -> np.ndarray:
    """
    Return the six joint angles (6,) of an arm command, radians.

    :raises BadTrajectory: see positions_by_name; also an angle beyond a full turn
    """
    arm_rad = positions_by_name(trajectory, joint_names)
    if np.abs(arm_rad).max() > LARGEST_ANGLE_RAD:
        raise BadTrajectory(f'positions {arm_rad.round(3).tolist()} reach beyond a full turn; '
                            f'they are radians within +-{LARGEST_ANGLE_RAD:.3f}')
    return arm_rad


def finger_target(trajectory, joint_names: Sequence[str]) -> float:
    """
    Return half the gripper's opening that a gripper command asks for, metres.

    :param joint_names: the commanded finger, then those that may come along (mimic joints)
    :raises BadTrajectory: see positions_by_name; also a finger beyond its range
    """
    finger_m = float(positions_by_name(trajectory, joint_names[:1], joint_names[1:])[0])
    if not FINGER_CLOSED_M - _SLACK_M <= finger_m <= FINGER_OPEN_M + _SLACK_M:
        raise BadTrajectory(
            f'{joint_names[0]} at {finger_m:.4f} m; a finger goes from {FINGER_CLOSED_M} '
            f'(closed) to {FINGER_OPEN_M} (open), half the opening')
    return float(np.clip(finger_m, FINGER_CLOSED_M, FINGER_OPEN_M))


class CommandInbox:
    """
    The one locked place where the executor's thread and the simulation's thread meet.

    It holds the newest arm and the newest gripper command with the stamps they carry, and the
    two requests that may end an episode early. Every wait of the simulation happens here, so a
    request is noticed at once, whatever it is waiting for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: dict[str, tuple[int, object]] = {}
        self._reset = False
        self._shutdown = False
        self.rejected = 0
        """How many trajectories were refused since the start."""

    def put_arm(self, stamp_ns: int, arm_rad: np.ndarray) -> None:
        """Keep an arm command (6,) that answers the image with this stamp."""
        self._put('arm', stamp_ns, arm_rad)

    def put_gripper(self, stamp_ns: int, finger_m: float) -> None:
        """Keep a gripper command that answers the image with this stamp."""
        self._put('gripper', stamp_ns, finger_m)

    def _put(self, part: str, stamp_ns: int, target: object) -> None:
        with self._changed:
            self._newest[part] = (stamp_ns, target)
            self._changed.notify_all()

    def request_reset(self) -> None:
        """Ask the simulation to begin the next episode."""
        with self._changed:
            self._reset = True
            self._changed.notify_all()

    def request_shutdown(self, *_) -> None:
        """
        Ask the simulation to end. Safe in a signal handler: it takes no lock.

        Without the lock a waiting thread is not notified; waits look up every 50 ms instead.
        """
        self._shutdown = True

    def wait_answer(self, stamp_ns: int, timeout_s: float) -> JointCommand | None:
        """
        Return the commands that both carry this stamp, or None when time is up.

        :raises ResetRequested: and likewise ShutdownRequested
        """
        def answer() -> JointCommand | None:
            if all(self._newest.get(part, (None,))[0] == stamp_ns
                   for part in ('arm', 'gripper')):
                return JointCommand(self._newest['arm'][1], self._newest['gripper'][1])
            return None
        return self._wait(answer, timeout_s)

    def newest_since(self, stamp_ns: int) -> JointCommand:
        """
        Return the newest command of each part that is stamped stamp_ns or later.

        A command without a stamp (zero) means "now", as with ros2_control, and counts too.
        """
        with self._changed:
            fresh = {part: target for part, (stamp, target) in self._newest.items()
                     if stamp == 0 or stamp >= stamp_ns}
        return JointCommand(fresh.get('arm'), fresh.get('gripper'))

    def begin_episode(self) -> None:
        """Drop what came before: commands, and requests for the episode that begins now."""
        with self._changed:
            self._newest.clear()
            self._reset = False

    def newest_stamps_ns(self) -> dict[str, int]:
        """Return the stamp of the newest command of each part that has sent one."""
        with self._changed:
            return {part: stamp for part, (stamp, _) in self._newest.items()}

    def wait_for_reset(self, timeout_s: float) -> bool:
        """
        Wait until ~/reset is called and clear the request; False when time is up.

        :raises ShutdownRequested: the process shall end
        """
        try:
            self._wait(lambda: None, timeout_s)
        except ResetRequested:
            return True
        return False

    def pause(self, seconds: float) -> None:
        """
        Sleep.

        :raises ResetRequested: and likewise ShutdownRequested
        """
        self._wait(lambda: None, seconds)

    def _wait(self, ready, timeout_s: float):
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._shutdown:
                    raise ShutdownRequested
                if self._reset:
                    self._reset = False
                    raise ResetRequested
                result = ready()
                left_s = deadline - time.monotonic()
                if result is not None or left_s <= 0:
                    return result
                self._changed.wait(min(left_s, 0.05))
