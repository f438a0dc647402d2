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

"""The markers of the intended motion: where they begin, lead and end, and their colours."""

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics, next_target
from rlrc_ros.arm.limits import INITIAL_RAD
from rlrc_ros.arm.safety import JointCommand
from rlrc_ros.nodes.motion_markers import intended_motion
from rlrc_ros.nodes.pilot import Outcome
from rlrc_ros.types import Action, StopReason
from visualization_msgs.msg import Marker

HERE = Kinematics().forward(INITIAL_RAD)


def step(x_m: float, gripper: float = 1.0) -> Action:
    """Return a move along x."""
    return Action(np.array([x_m, 0.0, 0.0]), np.zeros(3), gripper)


def test_a_chunk_is_drawn_to_its_end() -> None:
    """The line begins at the hand, and each planned action adds its delta; the bar is the hand."""
    action = step(0.01, gripper=0.0)
    command = JointCommand(INITIAL_RAD, 0.015, next_target(HERE, action))
    outcome = Outcome(StopReason.NONE, command=command, stamp_ns=1_500_000_000, action=action,
                      upcoming=(step(0.02), step(0.03)))
    way, bar, words = intended_motion(outcome, HERE, 'wx250s/base_link').markers
    assert way.header.frame_id == 'wx250s/base_link'
    assert (way.header.stamp.sec, way.header.stamp.nanosec) == (1, 500_000_000)
    assert [point.x - HERE[0, 3] for point in way.points] == pytest.approx([0, 0.01, 0.03, 0.06])
    left, right = bar.points
    assert np.hypot(left.x - right.x, left.y - right.y) == pytest.approx(0.03, abs=1e-4)
    assert words.action == Marker.DELETE


@pytest.mark.parametrize(('dry_run', 'reason', 'strongest'), [
    (False, StopReason.NONE, 'g'), (True, StopReason.NONE, 'r'),
    (False, StopReason.COLLISION, 'r')])
def test_the_colour_says_whether_it_is_commanded(
    dry_run: bool, reason: StopReason, strongest: str,
) -> None:
    """Green drives, orange is shown only, red is refused and says why."""
    command = JointCommand(INITIAL_RAD, 0.037, next_target(HERE, step(0.01)))
    way, _, words = intended_motion(
        Outcome(reason, command=command, action=step(0.01), dry_run=dry_run), HERE, 'b').markers
    assert max('rgb', key=lambda name: getattr(way.color, name)) == strongest
    assert words.text == ('' if reason is StopReason.NONE else 'collision')


def test_a_refused_action_that_is_not_finite_draws_no_nan() -> None:
    """A marker with NaN is dropped by RViz; the hand's place is drawn, and the words."""
    outcome = Outcome(StopReason.ACTION_NOT_FINITE, action=step(float('nan')))
    way, _, words = intended_motion(outcome, HERE, 'b').markers
    assert all(np.isfinite((point.x, point.y, point.z)).all() for point in way.points)
    assert words.text == 'action_not_finite'
