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
The motion that the policy intends, as markers for RViz and Foxglove on ~/intended_motion.

A line from where the hand is through the next target and, where the policy answers chunks, through
all that it has planned; a bar across the fingers at the next target, as wide as they will be; and
in words why a step was refused. Green is commanded, orange only shown (a dry run), red refused.
Metres, in the frame of the arm's base.
"""

from geometry_msgs.msg import Point
import numpy as np
from rlrc_ros.arm.commands import to_stamp
from rlrc_ros.arm.kinematics import next_target
from rlrc_ros.arm.limits import finger_target_m
from rlrc_ros.nodes.pilot import Outcome
from rlrc_ros.types import StopReason
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

GREEN, ORANGE, RED = (0.1, 0.8, 0.2), (1.0, 0.6, 0.0), (0.9, 0.1, 0.1)
LINE_WIDTH_M, BAR_WIDTH_M, LETTER_M = 0.004, 0.008, 0.02
LETTERS_ABOVE_M = 0.06


def intended_motion(outcome: Outcome, T_base_ee: np.ndarray, frame: str) -> MarkerArray:
    """
    Return the markers of one closed step.

    :param outcome: with an action
    :param T_base_ee: (4, 4) measured pose of the end effector
    :param frame: of the arm's base
    """
    refused = outcome.reason is not StopReason.NONE
    color = RED if refused else ORANGE if outcome.dry_run else GREEN
    if refused or outcome.command is None:
        # Finite, or RViz drops it: what was refused may be NaN.
        poses = [T_base_ee, T_base_ee]
        action = outcome.action
        if np.isfinite(action.to_vector()).all():
            poses = [T_base_ee, next_target(T_base_ee, action)]
    else:
        poses = [T_base_ee, outcome.command.T_base_ee]
        for action in outcome.upcoming:
            poses.append(next_target(poses[-1], action))
    way = _marker(0, Marker.LINE_STRIP, outcome, frame, color)
    way.scale.x = LINE_WIDTH_M
    way.points = [_point(pose[:3, 3]) for pose in poses]
    target = poses[1]
    across_m = target[:3, 1] * finger_target_m(outcome.action.gripper)
    bar = _marker(1, Marker.LINE_LIST, outcome, frame, color)
    bar.scale.x = BAR_WIDTH_M
    bar.points = [_point(target[:3, 3] + across_m), _point(target[:3, 3] - across_m)]
    words = _marker(2, Marker.TEXT_VIEW_FACING, outcome, frame, color)
    words.scale.z = LETTER_M
    words.pose.position = _point(T_base_ee[:3, 3] + (0.0, 0.0, LETTERS_ABOVE_M))
    words.text = outcome.reason.value if refused else ''
    words.action = Marker.ADD if refused else Marker.DELETE
    return MarkerArray(markers=[way, bar, words])


def _marker(
    number: int, kind: int, outcome: Outcome, frame: str, color: tuple[float, float, float],
) -> Marker:
    marker = Marker(ns='intended_motion', id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id = frame
    marker.header.stamp = to_stamp(outcome.stamp_ns)
    red, green, blue = color
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=0.9)
    marker.pose.orientation.w = 1.0
    return marker


def _point(xyz_m: np.ndarray) -> Point:
    x, y, z = (float(value) for value in xyz_m)
    return Point(x=x, y=y, z=z)
