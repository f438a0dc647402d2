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

"""sim_bridge as a process, commanded over DDS by a scripted client."""

import os
import signal

import numpy as np
import pytest
from rlrc_ros.arm.limits import ARM_JOINTS
from rlrc_training.node_process import NodeProcess
from sim_client import own_domain, ScriptedClient, sim_bridge, stamp_ns, trajectory

pytestmark = [pytest.mark.sim, pytest.mark.timeout(240)]

START_RAD = np.array([-0.018, 0.040, 0.222, -0.005, 1.365, 0.002])
STEPS = 5


def targets(seed: int = 0) -> list[tuple[np.ndarray, float]]:
    """Return small moves away from the start, the gripper closing half-way."""
    rng = np.random.default_rng(seed)
    return [(START_RAD + rng.uniform(-0.15, 0.15, 6), 0.037 if step < 2 else 0.015)
            for step in range(STEPS)]


@pytest.fixture(scope='module')
def bridge(tmp_path_factory):
    """Run one lockstep bridge for this module: one short episode for each ~/reset."""
    folder = tmp_path_factory.mktemp('bridge')
    with sim_bridge(folder, own_domain(), autostart=False, episodes=1, max_steps=STEPS,
                    first_seed=3, step_timeout_s=3.0, max_timeouts=2, stop_on_success=False,
                    image_height_px=96, image_width_px=128) as process:
        yield process


@pytest.fixture(scope='module')
def client(bridge):
    """Offer a client of the module's bridge; one for all tests, as old results are latched."""
    client = ScriptedClient(own_domain(), bridge.check)
    try:
        yield client
    finally:
        client.close()


def test_an_episode_looks_like_a_real_arm(client):
    """Image, joint state, instruction and episode number come as a driver and a user give them."""
    _, result = client.play(targets())
    image, joints = client.images[-1], client.joints[-1]
    assert (image.encoding, image.height, image.width, image.step) == ('rgb8', 96, 128, 384)
    pixels = np.frombuffer(image.data, np.uint8).reshape(96, 128, 3)
    assert pixels.std() > 5, 'the camera sees one colour only'
    assert list(joints.name) == [*ARM_JOINTS, 'gripper', 'left_finger', 'right_finger']
    assert len(joints.position) == len(joints.velocity) == 9
    assert 0.013 < joints.position[7] < 0.039
    assert joints.position[8] == pytest.approx(-joints.position[7], abs=2e-3)
    assert client.instructions[-1] == result['instruction'] == result['task']
    assert len(set(client.episodes)) >= 1
    assert result['seed'] == 3
    assert result['steps'] == STEPS
    assert result['ended_by'] == 'max_steps'
    assert result['success_at_end'] is False
    assert client.until(lambda: client.summaries, 'summary')[-1]['episodes'] == 1


def test_commands_move_the_arm(client):
    """After a few steps towards one pose the measured joints are near it."""
    goal = START_RAD + [0.2, -0.1, 0.1, 0.2, -0.2, 0.3]
    seen, _ = client.play([(goal, 0.037)] * STEPS)
    assert np.abs(seen[0][:6] - START_RAD).max() < 0.01
    assert np.abs(seen[-1][:6] - goal).max() < 0.03


def test_joints_are_taken_by_name(client):
    """A client that lists the joints in another order moves the arm alike, to the last bit."""
    ordered, _ = client.play(targets())
    permuted, _ = client.play(targets(), order=(3, 0, 5, 1, 4, 2))
    other, _ = client.play(targets(seed=1))
    np.testing.assert_array_equal(ordered, permuted)
    assert np.abs(np.array(ordered) - other).max() > 1e-3


def test_wrong_trajectories_are_refused_and_counted(client, bridge):
    """A wrong command is ignored and explained; the episode goes on with the right one."""
    begun = len(client.results)
    newest = max([stamp_ns(image) for image in client.images], default=0)
    client.reset()
    stamp = stamp_ns(client.image_after(newest))
    before = np.array(client.joints_at(stamp).position)
    nan = [*START_RAD[:5], float('nan')]
    for names, positions in ((ARM_JOINTS, nan), (ARM_JOINTS, START_RAD[:5]),
                             (ARM_JOINTS[:5], START_RAD[:5]),
                             ((*ARM_JOINTS[:5], 'joint6'), START_RAD)):
        message = trajectory(names, positions, stamp)
        told = bridge.log.read_text().count('trajectory ignored')
        client.arm.publish(message)
        client.arm.wait_for_all_acked()
        if told == 0:
            client.until(lambda: 'trajectory ignored' in bridge.log.read_text(), 'warning')
    assert len(client.results) == begun, 'a wrong command moved the simulation'
    np.testing.assert_array_equal(before, client.joints[-1].position)
    for arm_rad, finger_m in targets():
        client.command(stamp, arm_rad, finger_m)
        if arm_rad is not targets()[-1][0]:
            later = client.until(lambda stamp=stamp: client.results[begun:] or next(
                (i for i in client.images if stamp_ns(i) > stamp), None), 'image or result')
            if isinstance(later, list):
                break
            stamp = stamp_ns(later)
    result = client.until(lambda: client.results[begun:], 'episode result')[0]
    assert result['steps'] == STEPS
    assert 1 <= result['rejected_commands'] <= 4


def test_silence_ends_the_episode_and_joint_states_go_on(client, bridge):
    """Without an answer the episode ends as a failure; the driver's stream never pauses."""
    begun = len(client.results)
    client.reset()
    heard = len(client.joints)
    result = client.until(lambda: client.results[begun:], 'episode result')[0]
    assert result['ended_by'] == 'no_command'
    assert result['success_once'] is False
    assert result['steps'] == 0
    assert result['timeouts'] >= 1
    assert len(client.joints) - heard > 20
    assert 'no answer' in bridge.log.read_text()


def test_reset_ends_a_running_episode(client):
    """~/reset in the middle of an episode ends it and says so."""
    begun = len(client.results)
    newest = max([stamp_ns(image) for image in client.images], default=0)
    client.reset()
    stamp = stamp_ns(client.image_after(newest))
    client.command(stamp, START_RAD, 0.037)
    client.image_after(stamp)
    client.reset()
    result = client.until(lambda: client.results[begun:], 'episode result')[0]
    assert (result['ended_by'], result['steps']) == ('reset', 1)


def test_ctrl_c_twice_ends_it_without_a_traceback(bridge):
    """SIGINT from the terminal and again from launch: exit code 0, no traceback."""
    os.kill(bridge.pid, signal.SIGINT)
    os.kill(bridge.pid, signal.SIGINT)
    assert bridge.wait(30.0), 'sim_bridge ignores SIGINT'
    assert bridge.exit_code == 0, bridge.last_words()
    assert 'Traceback' not in bridge.log.read_text()


def test_real_time_passes_without_commands_and_films(tmp_path):
    """In real time the clock runs by itself, a command takes effect, a film is written."""
    domain = own_domain(1)
    film = tmp_path / 'film'
    with sim_bridge(tmp_path, domain, mode='real_time', autostart=False, episodes=1,
                    max_steps=4, record=True, record_path=str(film), exit_when_done=True,
                    real_time_factor=2.0) as bridge:
        client = ScriptedClient(domain, bridge.check)
        try:
            client.reset()
            stamps = set()
            client.until(lambda: stamps.update(stamp_ns(i) for i in client.images)
                         or len(stamps) >= 3, 'three images without a command')
            gaps = np.diff(sorted(stamps))
            assert np.allclose(gaps % 200_000_000, 0, atol=2)
            goal = START_RAD + [0.2, 0, 0, 0, 0, 0]
            client.command(max(stamps), goal, 0.037)
            result = client.until(lambda: client.results, 'episode result')[0]
            assert result['steps'] == 4
            assert client.joints[-1].position[0] > START_RAD[0] + 0.1
        finally:
            client.close()
        assert bridge.wait(60.0)
        assert bridge.exit_code == 0, bridge.last_words()
    assert film.with_suffix('.mp4').stat().st_size > 1000
    assert film.with_suffix('.gif').stat().st_size > 1000


@pytest.mark.parametrize(('parameter', 'value', 'said'), [
    ('mode', 'backwards', 'lockstep, real_time'),
    ('step_timeout_s', 3, 'DOUBLE'),
])
def test_a_wrong_parameter_is_named(tmp_path, parameter, value, said):
    """A parameter that cannot be ends the node with code 2 and a sentence, not a traceback."""
    with sim_bridge(tmp_path, own_domain(2), **{parameter: value}) as bridge:
        assert bridge.wait(60.0)
        assert bridge.exit_code == 2, bridge.last_words()
        text = bridge.log.read_text()
    assert parameter in text
    assert said in text
    assert 'Traceback' not in text


def test_a_missing_parameter_file_is_named(tmp_path):
    """A parameter file that is not there ends the node with code 2 and its path."""
    missing = tmp_path / 'missing.yaml'
    bridge = NodeProcess('sim_bridge', 'rlrc_sim.bridge_node', ['--params-file', str(missing)],
                         tmp_path / 'sim_bridge.log', {'ROS_DOMAIN_ID': str(own_domain(2))})
    try:
        assert bridge.wait(60.0)
        assert bridge.exit_code == 2, bridge.last_words()
        assert str(missing) in bridge.log.read_text()
        assert 'Traceback' not in bridge.log.read_text()
    finally:
        bridge.stop()
