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

"""The arm's numbers: equal to the URDF's, and what the gripper command means."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rlrc_ros.arm import limits
from rlrc_ros.arm.kinematics import urdf_text


def test_joint_limits_are_those_of_the_urdf() -> None:
    """Names, bounds and speeds in limits.py and in the URDF are the same numbers."""
    joints = {joint.get('name'): joint.find('limit')
              for joint in ElementTree.fromstring(urdf_text()).iter('joint')}
    for index, name in enumerate(limits.ARM_JOINTS):
        limit = joints[name]
        assert float(limit.get('lower')) == limits.JOINT_LOWER_RAD[index]
        assert float(limit.get('upper')) == limits.JOINT_UPPER_RAD[index]
        assert float(limit.get('velocity')) == pytest.approx(limits.JOINT_SPEED_RAD_S, abs=1e-5)
    finger = joints[limits.FINGER_JOINT]
    assert float(finger.get('lower')) == limits.FINGER_CLOSED_M
    assert float(finger.get('upper')) == limits.FINGER_OPEN_M


def test_known_poses_lie_within_the_joint_limits() -> None:
    """Home, sleep and the task's initial pose can be held."""
    for pose in (limits.HOME_RAD, limits.SLEEP_RAD, limits.INITIAL_RAD):
        assert np.all(pose > limits.JOINT_LOWER_RAD)
        assert np.all(pose < limits.JOINT_UPPER_RAD)


def test_constants_cannot_be_changed_by_accident() -> None:
    """Writing into a limit raises."""
    with pytest.raises(ValueError, match='read-only'):
        limits.JOINT_LOWER_RAD[0] = 0.0


@pytest.mark.parametrize(('gripper', 'finger_m'), [
    (1.0, 0.037), (0.51, 0.037), (0.5, 0.015), (0.0, 0.015)])
def test_the_gripper_opens_above_one_half(gripper: float, finger_m: float) -> None:
    """As OpenVLA has it: open above 0.5, closed otherwise."""
    assert limits.finger_target_m(gripper) == finger_m
