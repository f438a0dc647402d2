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

"""How far the expert turns the hand: what looks the same is answered the same."""

from types import SimpleNamespace

import numpy as np
import pytest
from rlrc_sim.expert import down_at, hand_rad, turn_to
from scipy.spatial.transform import Rotation

GOALS = np.radians(np.arange(-59.5, 120, 7.0))
HANDS = np.radians(np.arange(-59.5, 120, 7.0))


@pytest.mark.parametrize('half_turns', [-2, -1, 1])
def test_a_hand_or_a_thing_after_half_a_turn_is_answered_the_same(half_turns):
    """Two fingers look the same then, and so does a long thing."""
    for goal in GOALS:
        for hand in HANDS:
            wanted = turn_to(goal, hand)
            assert turn_to(goal, hand + half_turns * np.pi) == pytest.approx(wanted, abs=1e-9)
            assert turn_to(goal + half_turns * np.pi, hand) == pytest.approx(wanted, abs=1e-9)


def test_the_turn_leads_to_the_goal_and_not_about_the_wrist():
    """Afterwards fingers and thing are in line, the hand at most 30 degrees off its half."""
    for goal in GOALS:
        for hand in HANDS:
            after = hand + turn_to(goal, hand)
            assert np.sin(after - goal) == pytest.approx(0.0, abs=1e-9)
            assert np.radians(-90) < after < np.radians(150)


def test_the_first_hand_turns_as_far_as_the_suite_s_yaws_say():
    """From a hand that is not turned: 0, 45, 90 and, for 135, 45 back."""
    turns = [np.degrees(turn_to(np.radians(yaw), 0.0)) for yaw in (0, 45, 90, 135)]
    np.testing.assert_allclose(turns, [0, 45, 90, -45], atol=1e-9)


def test_a_hand_beside_the_seam_takes_the_short_way():
    """Pushed over it, it is not sent back by nearly half a turn."""
    for goal, hand, wanted in ((115, 125, -10), (-55, -65, 10), (-50, 110, 20)):
        turned = np.degrees(turn_to(np.radians(goal), np.radians(hand)))
        assert turned == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize('yaw_rad', [-1.2, 0.0, 0.7, 3.0])
def test_the_hand_is_turned_as_what_it_stands_astride(yaw_rad):
    """A little tilt does not change the heading much."""
    for tilt, within in ((0.0, 1e-9), (0.05, 0.01)):
        rotation = Rotation.from_rotvec([tilt, 0.0, 0.0]) * down_at(yaw_rad)
        truth = SimpleNamespace(ee_wxyz=rotation.as_quat(scalar_first=True))
        assert hand_rad(truth) == pytest.approx(yaw_rad, abs=within)
