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
Lockstep over DDS: an episode that succeeds in process succeeds as joint commands, and repeats.

The commands are the scripted expert's, worked out in process through the robot side's own
kinematics and safety gate, then sent to sim_bridge by a scripted client. So this is also the
parity of the two ways to command the simulated arm, with no policy in between.
"""

import numpy as np
import pytest
from rlrc_ros.arm.limits import finger_target_m
from rlrc_ros.arm.safety import JointCommand, SafetyGate
from rlrc_sim.expert import expert_action
from rlrc_sim.world import World
from sim_client import own_domain, ScriptedClient, sim_bridge

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(240)]

SEED, STEPS = 5, 30
JOINT_TOLERANCE_RAD = 5e-4
"""Both ways solve the same inverse kinematics with the same solver and command the same drives;
what is left is the end-effector target, which the simulator keeps in single precision: up to
7e-5 rad in the joints over an episode of the expert (seeds 0 to 3)."""


@pytest.fixture(scope='module')
def expert_run():
    """Play the expert in process: joint targets for each step, measured joints, success."""
    world, gate = World(control='ee'), SafetyGate()
    world.reset(SEED)
    targets, measured = [], [world.joint_state().position]
    T_target, q_before = gate.kinematics.forward(measured[0][:6]), None
    for _ in range(STEPS):
        action = expert_action(world.truth())
        command = gate.check(action, T_target, measured[-1][:6], q_before)
        assert isinstance(command, JointCommand), command
        T_target, q_before = command.T_base_ee, command.arm_rad
        targets.append((command.arm_rad, finger_target_m(action.gripper)))
        step = world.step(action)
        measured.append(world.joint_state().position)
        if step.success:
            break
    world.close()
    assert step.success, 'the expert failed: choose another seed for this test'
    return targets, np.array(measured[:-1])


@pytest.fixture(scope='module')
def two_runs(expert_run, tmp_path_factory):
    """Send the expert's joint targets to two fresh sim_bridge processes, one after the other."""
    runs = []
    for number in range(2):
        domain = own_domain(3 + number)
        with sim_bridge(tmp_path_factory.mktemp('bridge'), domain, autostart=False, episodes=1,
                        first_seed=SEED, max_steps=len(expert_run[0]), step_timeout_s=20.0,
                        exit_when_done=True) as bridge:
            client = ScriptedClient(domain, bridge.check)
            try:
                runs.append(client.play(expert_run[0]))
            finally:
                client.close()
    return runs


def test_the_experts_episode_succeeds_through_joint_commands(two_runs):
    """What put the object on the plate in process does so over DDS, in as many steps."""
    _, result = two_runs[0]
    assert result['success_once'], result
    assert result['ended_by'] == 'success'
    assert result['timeouts'] == 0


def test_joints_follow_as_with_the_end_effector_controller(expert_run, two_runs):
    """Step by step the joints are where the simulator's own end-effector controller has them."""
    seen = np.array(two_runs[0][0])[:, :6]
    assert np.abs(seen - expert_run[1][:len(seen), :6]).max() < JOINT_TOLERANCE_RAD


def test_a_run_repeats_exactly(two_runs):
    """The same seed and commands give the same joints to the last bit in another process."""
    (first, result), (again, result_again) = two_runs
    np.testing.assert_array_equal(first, again)
    assert result['steps'] == result_again['steps']
