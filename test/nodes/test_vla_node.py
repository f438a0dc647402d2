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

"""vla_node over DDS: it drives, and its lifecycle, stop and dry run do what they say."""


import gc
from threading import Event, Thread
from time import monotonic

from nodes.vla_rig import ScriptedPolicy, small_step, stamp_ns, Summary, VlaRig, wait_for
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import ARM_JOINTS, INITIAL_RAD
from rlrc_ros.types import Action, ActionChunk
from std_msgs.msg import String

KINEMATICS = Kinematics()
START_X_M = KINEMATICS.forward(INITIAL_RAD)[0, 3]


def commanded_x_m(message: object) -> float:
    """Return where an arm command puts the end effector along x."""
    return float(KINEMATICS.forward(np.array(message.points[0].positions))[0, 3])


def test_it_drives_the_arm() -> None:
    """Arm and gripper get the same stamps, those of images; targets add up step by step."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 4)
        bench.wait_reason('none')
        wait_for(lambda: len(bench.gripper_commands) >= 4)
        arm, gripper = bench.arm_commands[:4], bench.gripper_commands[:4]
        assert [stamp_ns(message) for message in arm] == [stamp_ns(message) for message in gripper]
        seen_s = {observation.stamp_s for observation in rig.policy.seen}
        assert all(stamp_ns(message) * 1e-9 in seen_s for message in arm)
        assert tuple(arm[0].joint_names) == ARM_JOINTS
        assert [commanded_x_m(message) for message in arm] == pytest.approx(
            [START_X_M + 0.002 * count for count in (1, 2, 3, 4)], abs=2e-5)
        assert bench.actions[0] == pytest.approx([0.002, 0, 0, 0, 0, 0, 1.0])
        assert all(seen.instruction == 'put carrot on plate' for seen in rig.policy.seen)


def test_lockstep_answers_each_image_once_with_its_stamp() -> None:
    """Twelve images, some refused, one shown twice: twelve answers, one for each stamp."""
    answers = iter([small_step(), small_step(0.2)] * 6)
    policy = ScriptedPolicy(lambda observation: next(answers))
    with VlaRig(policy, lockstep=True, use_sim_time=False) as rig:
        bench = rig.drive(lockstep=True).bench
        bench.begin_episode(1)
        for step in range(12):
            stamp = 1_000_000_000 + step * 200_000_000
            count = len(bench.arm_commands)
            bench.show_joints(stamp)
            bench.show_image(stamp)
            wait_for(lambda: len(bench.arm_commands) > count)
            assert stamp_ns(bench.arm_commands[-1]) == stamp
        moved = [commanded_x_m(message) - START_X_M for message in bench.arm_commands]
        assert moved == pytest.approx([0.002 * (1 + step // 2) for step in range(12)], abs=5e-5)
        assert len(policy.seen) == 12
        last = bench.arm_commands[-1]
        bench.show_image(stamp)
        wait_for(lambda: len(bench.arm_commands) == 13)
        assert bench.arm_commands[-1] == last
        assert len(policy.seen) == 12


def test_a_chunk_is_executed_one_action_per_image() -> None:
    """With an action horizon of 4, eight images in lockstep take two inferences."""
    chunk = ActionChunk(tuple(
        Action(np.array([0.001 * count, 0, 0]), np.zeros(3), 0.0) for count in (1, 2, 3, 4)))
    policy = ScriptedPolicy(lambda observation: chunk)
    with VlaRig(policy, Summary(action_horizon=4), lockstep=True) as rig:
        bench = rig.drive(lockstep=True).bench
        for step in range(8):
            count = len(bench.actions)
            bench.show_joints(step * 200_000_000)
            bench.show_image(step * 200_000_000)
            wait_for(lambda: len(bench.actions) > count)
        moves = [action[0] for action in bench.actions]
        assert moves == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3] * 2)
        assert len(policy.seen) == 2


def test_a_second_instruction_starts_at_the_measured_pose() -> None:
    """Mid-episode the policy reads the new sentence, and the target goes back to the arm."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 3)
        bench.say('put can on plate')
        wait_for(lambda: rig.policy.seen[-1].instruction == 'put can on plate')
        bench.wait_status('instruction', 'put can on plate')
        wait_for(lambda: any(
            later < earlier - 1e-3 for earlier, later in zip(
                map(commanded_x_m, bench.arm_commands), map(commanded_x_m, bench.arm_commands[1:]),
                strict=False)))
        drops = [commanded_x_m(message) for message in bench.arm_commands]
        assert min(drops[2:]) == pytest.approx(START_X_M + 0.002, abs=2e-5)


def test_a_scaled_velocity_stretches_time_and_keeps_the_way() -> None:
    """At 0.4 each step gets 0.5 s, to reach the same targets; nothing is refused for it."""
    with VlaRig(ScriptedPolicy(), velocity_scaling=0.4) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 2)
        began_s = monotonic()
        bench.wait_more(bench.arm_commands, 4)
        # A step may begin a quarter early, once.
        assert monotonic() - began_s >= 3 * 0.5 - 0.25
        point = bench.arm_commands[-1].points[0].time_from_start
        assert point.sec + 1e-9 * point.nanosec == pytest.approx(0.5)
        steps = np.diff([commanded_x_m(message) for message in bench.arm_commands])
        assert steps == pytest.approx(0.002, abs=2e-5)


def test_a_new_episode_starts_at_the_measured_pose() -> None:
    """When `episode` changes, what was on its way is dropped and the target is the arm's pose."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 3)
        count = len(bench.arm_commands)
        bench.begin_episode(7)
        bench.wait_more(bench.arm_commands, 3)
        following = [commanded_x_m(message) for message in bench.arm_commands[count:]]
        assert min(following) == pytest.approx(START_X_M + 0.002, abs=2e-5)


def test_an_empty_instruction_holds_the_arm() -> None:
    """Whitespace means: nothing to do. The next sentence drives again."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands)
        bench.say('   ')
        bench.wait_reason('no_instruction')
        bench.say('put carrot on plate')
        bench.wait_reason('none')
        bench.wait_more(bench.arm_commands)


def test_a_stop_is_latched_until_it_is_reset() -> None:
    """Stopped stays stopped through deactivation and activation; only ~/reset_stop releases it."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 2)
        bench.trigger('stop')
        bench.wait_reason('stopped_by_user')
        wait_for(lambda: np.allclose(bench.arm_commands[-1].points[0].positions, INITIAL_RAD))
        assert rig.deactivate()
        bench.wait_reason('not_active')
        count = len(bench.arm_commands)
        assert rig.activate()
        assert bench.wait_reason('stopped_by_user')['stopped']
        seen = len(rig.policy.seen)
        bench.wait_status('rates', bench.statuses[-1]['rates'])
        assert len(bench.arm_commands) == count
        assert len(rig.policy.seen) == seen
        bench.trigger('reset_stop')
        bench.wait_reason('none')
        bench.wait_more(bench.arm_commands)
        assert commanded_x_m(bench.arm_commands[count]) == pytest.approx(
            START_X_M + 0.002, abs=2e-5)


def test_a_dry_run_shows_everything_and_sends_nothing() -> None:
    """~/action goes on, the command topics fall silent, and switching back drives again."""
    with VlaRig(ScriptedPolicy(), dry_run=True) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.actions, 3)
        assert not bench.arm_commands
        assert not bench.gripper_commands
        assert bench.statuses[-1]['dry_run']
        bench.set_dry_run(False)
        bench.wait_more(bench.arm_commands)


def test_a_dry_run_that_is_asked_for_while_the_policy_loads_is_one() -> None:
    """The service has answered that nothing will be sent."""
    loads, may_open = Event(), Event()

    def open_slowly(*_: object, **__: object) -> ScriptedPolicy:
        loads.set()
        assert may_open.wait(10.0)
        return ScriptedPolicy()

    with VlaRig(ScriptedPolicy()) as rig:
        rig.node._open_policy = open_slowly
        configured: list[bool] = []
        configuring = Thread(target=lambda: configured.append(rig.configure()))
        configuring.start()
        assert loads.wait(10.0)
        rig.bench.set_dry_run(True)
        may_open.set()
        configuring.join(10.0)
        assert configured == [True]
        rig.bench.wait_matched()
        rig.bench.feed()
        assert rig.activate()
        rig.bench.wait_more(rig.bench.actions, 3)
        assert not rig.bench.arm_commands


def test_deactivating_leaves_one_hold_and_then_silence() -> None:
    """The last command is the measured joints; nothing follows, though images go on."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 2)
        assert rig.deactivate()
        wait_for(lambda: np.allclose(bench.arm_commands[-1].points[0].positions, INITIAL_RAD))
        count = len(bench.arm_commands)
        status = bench.wait_status('state', 'inactive')
        wait_for(lambda: bench.statuses[-1]['rates']['images_total']
                 > status['rates']['images_total'] + 10)
        assert len(bench.arm_commands) == count


def test_an_impossible_transition_is_refused_and_the_node_lives() -> None:
    """Activating before configuring, and twice, answers false instead of ending the process."""
    with VlaRig(ScriptedPolicy()) as rig:
        assert not rig.activate()
        rig.drive()
        assert not rig.activate()
        rig.bench.wait_more(rig.bench.arm_commands)


def test_parameters_are_settled_once_configured() -> None:
    """A change that would not be read is refused with what to do; before configuring it works."""
    with VlaRig(ScriptedPolicy()) as rig:
        change = [Parameter('max_step_m', value=0.01)]
        assert rig.node.set_parameters(change)[0].successful
        assert rig.configure()
        refused = rig.node.set_parameters([Parameter('max_step_m', value=0.02)])[0]
        assert not refused.successful
        assert 'cleanup' in refused.reason


def test_a_publisher_without_latching_is_heard() -> None:
    """`ros2 topic pub` offers volatile durability; the instruction arrives all the same."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        plain = bench.create_publisher(String, 'instruction', 1)
        wait_for(lambda: plain.get_subscription_count() > 0)
        plain.publish(String(data='put corn on plate'))
        bench.wait_status('instruction', 'put corn on plate')


def test_an_instruction_given_before_the_node_was_configured_is_followed() -> None:
    """A latched sentence is delivered once, at once, and is not lost while the node starts."""
    with VlaRig(ScriptedPolicy(), instruction='') as rig:
        rig.bench.say('put eggplant on plate')
        rig.drive()
        rig.bench.wait_status('instruction', 'put eggplant on plate')
        rig.bench.wait_more(rig.bench.arm_commands)


def test_what_configuring_made_is_kept_out_of_garbage_collection() -> None:
    """In its own process only: a full collection stopped the stream; cleaning up undoes it."""
    with VlaRig(ScriptedPolicy()) as rig:
        assert rig.configure()
        assert gc.get_freeze_count() == 0
        assert rig.clean_up()
        rig.node.owns_process = True
        assert rig.configure()
        assert gc.get_freeze_count() > 1000
        assert rig.clean_up()
        assert gc.get_freeze_count() == 0
