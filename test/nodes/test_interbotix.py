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

"""vla_node against a driver with Interbotix' interfaces and manners."""

from collections.abc import Iterator
from contextlib import contextmanager

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nodes.vla_rig import ScriptedPolicy, VlaRig, wait_for
import numpy as np
import pytest
from rlrc_ros.nodes.robot_probe import check_profile

pytest.importorskip(
    'interbotix_xs_msgs.msg', reason='bash scripts/interbotix_interfaces.sh builds '
    'interbotix_xs_msgs; then source scripts/interbotix_env.sh')
FakeXsSdk = __import__('nodes.fake_xs_sdk', fromlist=['FakeXsSdk']).FakeXsSdk


@contextmanager
def driven(**parameters: object) -> Iterator[tuple[VlaRig, FakeXsSdk]]:
    """Run vla_node with the Interbotix backend beside a fake driver."""
    with VlaRig(ScriptedPolicy(), command_style='interbotix', **parameters) as rig:
        driver = FakeXsSdk(rig.bench.context, rig.bench.get_namespace().rstrip('/'))
        rig.bench.joints_on = False
        rig._executors[1].add_node(driver)
        try:
            yield rig, driver
        finally:
            rig._executors[1].remove_node(driver)
            driver.destroy_node()


def start(rig: VlaRig) -> None:
    """Configure, feed the camera, activate."""
    assert rig.configure(), rig.bench.statuses[-1:]
    wait_for(lambda: rig.bench.images.get_subscription_count() > 0)
    rig.bench.feed()
    assert rig.activate()


def test_it_settles_the_profile_and_drives() -> None:
    """A 250/100 ms profile, the gripper's factor of two, commands in joint order, 5 Hz."""
    with driven() as (rig, driver):
        start(rig)
        wait_for(lambda: len(driver.commands) >= 3)
        assert driver.modes == {
            'arm': ('position', 'time'), 'gripper': ('linear_position', 'time')}
        assert driver.profile_s == {'arm': (0.25, 0.1), 'gripper': (0.25, 0.1)}
        # The arm was in its mode: changing it would have let it sag.
        assert driver.mode_changes == ['gripper']
        wait_for(lambda: driver.finger_distances_m)
        assert driver.finger_distances_m[-1] == pytest.approx(0.074)
        first, last = driver.commands[0][1], driver.commands[-1][1]
        assert 0 < np.abs(last - first).max() < 0.2
        wait_for(lambda: np.abs(driver.q_rad(driver.commands[0][0] + 1.0) - first).max() < 0.5)


def test_the_doctor_reads_the_drivers_profile() -> None:
    """2000 ms before vla_node was configured: said, no fault; 250 ms after it."""
    with driven() as (rig, driver):
        robot = 'wx250s'
        wait_for(lambda: check_profile(rig.node, robot))
        before = check_profile(rig.node, robot)
        assert before['ok']
        assert '[2000]: not fit for 5 Hz' in before['found']
        assert rig.configure()
        assert check_profile(rig.node, robot)['found'] == (
            'mode position, time profile [250] ms')
        assert check_profile(rig.node, 'nobody') is None


def test_an_arm_in_another_mode_is_put_into_position_mode() -> None:
    """With a velocity profile, milliseconds would be read as a speed: the mode is changed."""
    with driven() as (rig, driver):
        driver.modes['arm'] = ('position', 'velocity')
        assert rig.configure()
        assert driver.mode_changes == ['arm', 'gripper']
        assert driver.modes['arm'] == ('position', 'time')


def test_a_dry_run_leaves_the_driver_alone() -> None:
    """No mode changes, so that torque stays on, and no profile; so it cannot be switched off."""
    with driven(dry_run=True) as (rig, driver):
        driver.modes['arm'] = ('velocity', 'time')
        start(rig)
        wait_for(lambda: rig.bench.statuses[-1]['reason'] == 'none')
        assert driver.mode_changes == []
        assert driver.profile_s['arm'] == (2.0, 0.3)
        answer = rig.bench.ask_dry_run(False)
        assert not answer.success
        assert 'launch again with dry_run:=false' in answer.message
        assert driver.commands == []
        assert rig.bench.ask_dry_run(True).success


def test_a_driver_that_was_restarted_is_not_driven_until_it_is_configured() -> None:
    """The new one knows no profile: the arm is held while vla_node has not given it one."""
    with driven() as (rig, driver):
        start(rig)
        wait_for(lambda: driver.commands)
        successor = FakeXsSdk(rig.bench.context, rig.bench.get_namespace().rstrip('/'))
        rig._executors[1].add_node(successor)
        rig._executors[1].remove_node(driver)
        driver.destroy_node()
        try:
            rig.bench.wait_reason('driver_gone')
            count = len(successor.commands)
            assert rig.deactivate()
            assert rig.activate()
            rig.bench.wait_reason('driver_gone')
            assert len(successor.commands) <= count + 1  # a hold at most
            assert rig.deactivate()
            assert rig.bench.change_state(Transition.TRANSITION_CLEANUP)
            assert rig.configure()
            assert rig.activate()
            wait_for(lambda: len(successor.commands) >= count + 4)
            assert successor.profile_s['arm'] == (0.25, 0.1)
        finally:
            rig._executors[1].remove_node(successor)
            successor.destroy_node()


def test_a_driver_that_is_restarted_while_the_policy_loads_is_noticed() -> None:
    """The profile was given to the one before it."""
    with driven() as (rig, driver):
        successors = []

        def load(*_: object, **__: object) -> ScriptedPolicy:
            successors.append(FakeXsSdk(rig.bench.context, rig.bench.get_namespace().rstrip('/')))
            rig._executors[1].add_node(successors[0])
            rig._executors[1].remove_node(driver)
            driver.destroy_node()
            return ScriptedPolicy()

        rig.node._open_policy = load
        try:
            start(rig)
            rig.bench.wait_reason('driver_gone')
            assert len(successors[0].commands) <= 1  # a hold at most
        finally:
            rig._executors[1].remove_node(successors[0])
            successors[0].destroy_node()


def test_the_motors_temperatures_are_in_the_diagnostics() -> None:
    """They come from the driver's registers; a hot motor is a warning."""
    with driven() as (rig, driver):
        heard = []
        rig.bench.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
        driver.celsius = [30, 70, 32, 33, 34, 35]
        start(rig)
        wait_for(lambda: any(
            pair.key == 'motor_celsius_shoulder' and pair.value == '70'
            for message in heard for pair in message.status[0].values))
        newest = heard[-1].status[0]
        assert newest.level == DiagnosticStatus.WARN
        assert 'shoulder' in newest.message
        keys = {pair.key for pair in newest.values}
        assert {'image_age_s', 'joint_state_age_s', 'inference_p95_ms', 'gate_p50_ms'} <= keys


@pytest.mark.parametrize(('change', 'said'), [
    ({'joint_names': ['waist', 'shoulder', 'elbow']}, 'robot_model:=wx250s'),
    ({'upper_rad': np.full(6, 1.0)}, 'upper limit'),
    ({'ignores_modes': True}, 'linear_position'),
], ids=['joints', 'limits', 'mode'])
def test_a_driver_of_another_arm_fails_the_configuration(change: dict, said: str) -> None:
    """What the driver answers is compared with the arm's numbers; empty answers count."""
    with driven() as (rig, driver):
        for name, value in change.items():
            setattr(driver, name, value)
        assert not rig.configure()
        wait_for(lambda: said in rig.bench.statuses[-1]['detail'])


def test_a_motor_that_pushes_too_hard_stops_the_arm_until_it_is_reset() -> None:
    """Beyond max_effort: held, also when the effort is gone; ~/reset_stop drives again."""
    with driven() as (rig, driver):
        start(rig)
        wait_for(lambda: driver.commands)
        driver.effort = 1500.0
        rig.bench.wait_reason('effort_limit')
        driver.effort = 50.0
        count = len(driver.commands)
        rig.bench.trigger('stop')
        rig.bench.wait_reason('stopped_by_user')
        assert len(driver.commands) <= count + 1
        rig.bench.trigger('reset_stop')
        rig.bench.wait_reason('none')


def test_a_stream_has_bounded_speed_acceleration_and_jerk() -> None:
    """At 50 Hz the commands themselves keep the limits, as their differences show."""
    pytest.importorskip('ruckig')
    with driven(stream_hz=50.0, max_joint_speed_rad_s=1.0) as (rig, driver):
        start(rig)
        wait_for(lambda: len(driver.commands) >= 60)
        assert driver.profile_s['arm'][0] == pytest.approx(0.04)
        q = np.array([command for _, command in driver.commands])
        for order, most in ((1, 1.0), (2, 15.0), (3, 300.0)):
            # The messages carry float32: 1e-7 rad, times 50**3 at the third difference.
            slack = 1.01 * most + 4e-7 * 50.0**order
            assert np.abs(np.diff(q, order, axis=0)).max() * 50.0**order < slack
