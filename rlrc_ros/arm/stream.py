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
From targets five times a second to a stream of joint positions that an arm can follow.

A policy's targets are steps; sent as they are, they ask the motors for whatever speed and
acceleration their own profile has. Ruckig (Berscheid and Kroeger, "Jerk-limited Real-time
Trajectory Generation with Arbitrary Target States", RSS 2021) finds, from where the stream is now,
the fastest way to rest at the newest target within bounds on speed, acceleration and jerk; each
call of `next_rad` is one tick further along it. All six joints arrive together. A target that
comes before the last one was reached bends the way without a jump in speed or acceleration.

Radians and seconds. One instance belongs to one thread at a time.
"""

import numpy as np

try:
    from ruckig import InputParameter, OutputParameter, Result, Ruckig
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'stream_hz needs the Python package ruckig. Type:  pip install ruckig   (or set '
        'stream_hz:=0.0)', name='ruckig') from error

_JOINTS = 6
NEAR_RAD = 0.1
"""The simulated arm, loaded by its own weight, stands up to 0.06 rad from its target."""


class JointStream:
    """Moves towards the newest target, one tick at a time."""

    def __init__(
        self, rate_hz: float, max_speed_rad_s: float, max_acceleration_rad_s2: float,
        max_jerk_rad_s3: float,
    ) -> None:
        """Begin nowhere: the first `aim` says where the arm is."""
        self._otg = Ruckig(_JOINTS, 1.0 / rate_hz)
        self._now, self._next = InputParameter(_JOINTS), OutputParameter(_JOINTS)
        self._now.max_velocity = [max_speed_rad_s] * _JOINTS
        self._now.max_acceleration = [max_acceleration_rad_s2] * _JOINTS
        self._now.max_jerk = [max_jerk_rad_s3] * _JOINTS
        self._aimed = self._arrived = False
        self._commanded_rad: np.ndarray | None = None

    @property
    def is_aimed(self) -> bool:
        """Whether there is anything to stream."""
        return self._aimed

    @property
    def has_arrived(self) -> bool:
        """Whether the last tick ended at rest at the target."""
        return self._arrived

    def aim(self, target_rad: np.ndarray, measured_rad: np.ndarray) -> None:
        """
        Take a new target (6,).

        A stream that has ended begins where the arm was last told to be, for it still stands there
        (a little lower, perhaps: its motors sag), or at `measured_rad` (6,) where that is farther
        than NEAR_RAD: somebody has moved it.
        """
        if not self._aimed:
            last_rad = self._commanded_rad
            stands = last_rad is not None and np.abs(measured_rad - last_rad).max() <= NEAR_RAD
            self._now.current_position = (last_rad if stands else measured_rad).tolist()
            self._now.current_velocity = self._now.current_acceleration = [0.0] * _JOINTS
            self._aimed = True
        self._arrived = False
        self._now.target_position = target_rad.tolist()
        self._now.target_velocity = self._now.target_acceleration = [0.0] * _JOINTS

    def end(self, commanded_rad: np.ndarray | None = None) -> None:
        """Stream nothing until the next `aim`; `commanded_rad` (6,) was sent past the stream."""
        self._aimed = False
        if commanded_rad is not None:
            self._commanded_rad = commanded_rad

    def next_rad(self) -> np.ndarray:
        """Return the positions (6,) one tick on; at the target it stays there."""
        result = self._otg.update(self._now, self._next)
        if int(result) < 0:
            raise RuntimeError(f'ruckig found no way to the target: {result}')
        self._arrived = result == Result.Finished
        self._next.pass_to_input(self._now)
        self._commanded_rad = np.array(self._next.new_position)
        return self._commanded_rad
