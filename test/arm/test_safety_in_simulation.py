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

"""The gate's joint commands move the simulated arm as the task suite's own controller does."""

import numpy as np
import pytest
from rlrc_ros.arm.limits import WORKSPACE_LOWER_M, WORKSPACE_UPPER_M
from rlrc_ros.arm.safety import JointCommand, SafetyGate, SafetyLimits
from rlrc_ros.types import Action

pytestmark = pytest.mark.sim
SEED, STEPS = 3, 15
LARGEST_DIFFERENCE_RAD = 1e-3
"""Two solvers agree on the joints to their tolerances; a wrong axis order or a target that is
built on the measured pose gives a hundred times as much."""


def test_the_same_actions_give_the_same_joints() -> None:
    """Step by step, IK and joint targets end where the end-effector controller ends."""
    world = pytest.importorskip('rlrc_sim.world').World
    random = np.random.default_rng(1)
    actions = [Action(random.uniform(-0.02, 0.02, 3), random.uniform(-0.2, 0.2, 3),
                      float(step % 7 < 4)) for step in range(STEPS)]
    by_controller = world(control='ee')
    by_controller.reset(SEED)
    wanted = []
    for action in actions:
        by_controller.step(action)
        wanted.append(by_controller.joint_state().position[:7])
    by_controller.close()
    by_joints = world(control='joint')
    by_joints.reset(SEED)
    gate = SafetyGate(SafetyLimits(
        workspace_lower_m=tuple(WORKSPACE_LOWER_M - 0.1),
        workspace_upper_m=tuple(WORKSPACE_UPPER_M + 0.1)))
    T, q_commanded = gate.kinematics.forward(by_joints.joint_state().position[:6]), None
    for action, expected in zip(actions, wanted, strict=True):
        command = gate.check(action, T, by_joints.joint_state().position[:6], q_commanded)
        assert isinstance(command, JointCommand), command
        T, q_commanded = command.T_base_ee, command.arm_rad
        by_joints.step_joints(command.arm_rad, command.finger_m)
        reached = by_joints.joint_state().position[:7]
        assert np.abs(reached - expected).max() < LARGEST_DIFFERENCE_RAD
    by_joints.close()
