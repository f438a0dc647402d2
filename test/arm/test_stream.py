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

"""The stream between targets keeps to its bounds and arrives."""

import numpy as np
import pytest

pytest.importorskip('ruckig')
JointStream = __import__('rlrc_ros.arm.stream', fromlist=['JointStream']).JointStream
RATE_HZ, SPEED, ACCELERATION, JERK = 50.0, 2.0, 15.0, 300.0


def streamed(targets: list[np.ndarray], ticks: int = 10) -> np.ndarray:
    """Aim at one target after another, `ticks` apart, and return all positions (N, 6)."""
    stream, positions = JointStream(RATE_HZ, SPEED, ACCELERATION, JERK), [np.zeros(6)]
    for target in targets:
        stream.aim(target, np.zeros(6))
        positions += [stream.next_rad() for _ in range(ticks)]
    positions += [stream.next_rad() for _ in range(60)]
    return np.array(positions)


def test_speed_acceleration_and_jerk_stay_within_their_bounds() -> None:
    """Finite differences of what is sent, over targets that reverse while it moves."""
    random = np.random.default_rng(3)
    positions = streamed([random.uniform(-0.25, 0.25, 6) for _ in range(20)])
    for order, most in ((1, SPEED), (2, ACCELERATION), (3, JERK)):
        derivative = np.diff(positions, order, axis=0) * RATE_HZ**order
        assert np.abs(derivative).max() <= most * (1 + 1e-6)


def test_it_arrives_and_stays() -> None:
    """The last target is reached exactly, and the stream rests there."""
    target = np.linspace(-0.2, 0.2, 6)
    stream = JointStream(RATE_HZ, SPEED, ACCELERATION, JERK)
    stream.aim(target, np.zeros(6))
    ticks = 0
    while not stream.has_arrived:
        reached, ticks = stream.next_rad(), ticks + 1
    assert ticks > 5
    assert reached == pytest.approx(target, abs=1e-9)
    stream.aim(-target, np.zeros(6))
    assert not stream.has_arrived
    positions = streamed([np.zeros(6), target])
    assert positions[-1] == pytest.approx(target, abs=1e-9)
    assert positions[-2] == pytest.approx(target, abs=1e-9)


def test_after_its_end_it_begins_where_the_arm_was_told_to_be() -> None:
    """No jump down to joints that sag; but to those of an arm that somebody has moved."""
    stream = JointStream(RATE_HZ, SPEED, ACCELERATION, JERK)
    stream.aim(np.full(6, 0.1), np.zeros(6))
    while not stream.has_arrived:
        last = stream.next_rad()
    stream.end()
    stream.aim(np.full(6, 0.2), np.full(6, 0.07))
    assert stream.next_rad() == pytest.approx(last, abs=5e-3)
    stream.end(np.full(6, 0.5))
    stream.aim(np.full(6, 0.5), np.full(6, 0.47))
    assert stream.next_rad() == pytest.approx(np.full(6, 0.5))


def test_after_its_end_it_begins_at_the_joints_of_an_arm_that_was_moved() -> None:
    """Nothing of the old motion is left."""
    stream = JointStream(RATE_HZ, SPEED, ACCELERATION, JERK)
    stream.aim(np.ones(6), np.zeros(6))
    for _ in range(5):
        stream.next_rad()
    stream.end()
    assert not stream.is_aimed
    stream.aim(np.full(6, 0.5), np.full(6, 0.5))
    assert stream.next_rad() == pytest.approx(np.full(6, 0.5))
