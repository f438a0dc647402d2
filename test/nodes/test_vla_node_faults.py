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

"""Everything that can go wrong around vla_node: the arm holds, the reason is said, it goes on."""

from collections.abc import Callable
import json
from pathlib import Path
from threading import Event

from nodes.vla_rig import Bench, PATIENCE_S, ScriptedPolicy, small_step, Summary, VlaRig, wait_for
import numpy as np
import pytest
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rlrc_ros.types import Action, ActionChunk, Observation
from sensor_msgs.msg import CompressedImage, Image

WIDE = {'workspace_lower_m': [-1.0, -1.0, -1.0], 'workspace_upper_m': [1.0, 1.0, 1.0]}


def one(xyz_m: tuple[float, float, float]) -> ActionChunk:
    """Return a chunk of one translation."""
    return ActionChunk((Action(np.array(xyz_m), np.zeros(3), 1.0),))


def raise_error(observation: Observation) -> ActionChunk:
    """Fail as a policy may."""
    raise RuntimeError('out of memory')


def spoil(bench: Bench, **changes: object) -> None:
    """Change what the bench publishes."""
    for name, value in changes.items():
        assert hasattr(bench, name)
        setattr(bench, name, value)


def assert_holds_then_recovers(rig: VlaRig, reason: str, recover: Callable[[], object]) -> dict:
    """Check that the reason is said, nothing new is commanded, and recovery drives again."""
    bench = rig.bench
    status = bench.wait_reason(reason)
    assert status['state'] == 'active'
    assert status['detail']
    count = len(bench.arm_commands)
    # Until the node has reported once more, at most the one hold has been sent.
    wait_for(lambda: bench.statuses[-1] is not status)
    assert len(bench.arm_commands) - count <= 1
    recover()
    bench.wait_reason('none')
    bench.wait_more(bench.arm_commands)
    return status


@pytest.mark.parametrize(('fault', 'cure', 'reason', 'said'), [
    ({'encoding': 'bayer_rggb8'}, {'encoding': 'rgb8'}, 'image_invalid', 'bayer_rggb8'),
    ({'size_px': (16, 16)}, {'size_px': (32, 32)}, 'image_invalid', '16x16'),
    ({'camera_on': False}, {'camera_on': True}, 'image_stale', 'newest image'),
    ({'joints_on': False}, {'joints_on': True}, 'joint_state_stale', 'joint state'),
    ({'joint_names': ['panda_joint1', 'panda_joint2']}, None, 'joint_state_invalid',
     'panda_joint1'),
], ids=['encoding', 'size', 'camera stops', 'joints stop', 'foreign joints'])
def test_a_bad_or_missing_stream_holds_the_arm_until_it_is_back(
    fault: dict, cure: dict | None, reason: str, said: str,
) -> None:
    """Wrong encoding, wrong size, a camera or joints that stop, foreign joints: held, then on."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 2)
        before = {name: getattr(bench, name) for name in fault}
        spoil(bench, **fault)
        status = assert_holds_then_recovers(
            rig, reason, lambda: spoil(bench, **(cure or before)))
        assert said in status['detail']


@pytest.mark.parametrize(('answer', 'reason', 'said', 'limits'), [
    (lambda seen: one((np.nan, 0, 0)), 'action_not_finite', 'nan', {}),
    (lambda seen: one((0.2, 0, 0)), 'action_too_large', '0.200 m', {}),
    (lambda seen: one((0.0, 0, -0.05)), 'outside_workspace', 'target z',
     {'clamp_to_workspace': False}),
    (lambda seen: one((0.5, 0, 0)), 'unreachable', 'reach', {**WIDE, 'max_step_m': 0.5}),
    (lambda seen: one((0.0, 0.05, 0)), 'joint_speed', 'rad/s', {'max_joint_speed_rad_s': 0.3}),
    (raise_error, 'inference_failed', 'RuntimeError: out of memory', {}),
], ids=['nan', 'jump', 'box', 'reach', 'speed', 'exception'])
def test_a_bad_answer_is_refused_and_the_next_good_one_drives(
    answer: Callable[[Observation], ActionChunk], reason: str, said: str, limits: dict,
) -> None:
    """NaN, jumps, the box, the arm's reach, its speed, an exception: refused, then driven on."""
    policy = ScriptedPolicy(answer)
    with VlaRig(policy, **limits) as rig:
        bench = rig.drive().bench
        status = bench.wait_reason(reason)
        assert said in status['detail']
        held = bench.arm_commands[-1].points[0].positions
        bench.wait_more(bench.arm_commands, 2)
        assert bench.arm_commands[-1].points[0].positions == held
        policy.answer = lambda seen: one((-0.002, 0.0, 0.002))
        bench.wait_reason('none')
        wait_for(lambda: bench.arm_commands[-1].points[0].positions != held)


def test_a_policy_that_hangs_is_late_and_the_node_stays_in_control() -> None:
    """While the policy is stuck ~/stop still answers; when it returns, the arm drives again."""
    stuck, free = Event(), Event()

    def hang(observation: Observation) -> ActionChunk:
        stuck.set()
        assert free.wait(PATIENCE_S)
        return small_step()

    policy = ScriptedPolicy()
    with VlaRig(policy, max_inference_s=0.3) as rig:
        try:
            bench = rig.drive().bench
            bench.wait_more(bench.arm_commands)
            policy.answer = hang
            assert stuck.wait(PATIENCE_S)
            assert 'max_inference_s' in bench.wait_reason('inference_late')['detail']
            bench.trigger('stop')
            bench.wait_reason('stopped_by_user')
            bench.trigger('reset_stop')
            bench.wait_reason('inference_late')
            policy.answer = lambda observation: small_step()
            free.set()
            bench.wait_reason('none')
            bench.wait_more(bench.arm_commands)
        finally:
            free.set()


def write_json(path: Path, content: object) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content), encoding='utf-8')


def missing(folder: Path) -> None:
    """Leave nothing."""
    folder.rmdir()


def empty(folder: Path) -> None:
    """Leave a folder without files."""


def truncated(folder: Path) -> None:
    """Leave a config that ends in the middle."""
    (folder / 'config.json').write_text('{"model_type": ', encoding='utf-8')


def foreign(folder: Path) -> None:
    """Leave a checkpoint of something else."""
    write_json(folder / 'config.json', {'model_type': 'bert', 'hidden_size': 768})


@pytest.mark.parametrize('make', [missing, empty, truncated, foreign])
def test_a_wrong_checkpoint_fails_the_configuration_and_the_node_lives(
    make: Callable[[Path], None], tmp_path: Path,
) -> None:
    """The transition fails, ~/status says why with the folder's name, and nothing has died."""
    folder = tmp_path / 'wrong'
    folder.mkdir()
    make(folder)
    with VlaRig(ScriptedPolicy(), checkpoint=str(folder), real_checkpoint=True) as rig:
        assert not rig.configure()
        status = rig.bench.wait_reason('not_active')
        wait_for(lambda: 'wrong' in rig.bench.statuses[-1]['detail'])
        assert status['state'] == 'unconfigured'
        assert not rig.configure()
        assert not rig.activate()


def test_without_a_checkpoint_the_error_says_what_to_set() -> None:
    """The first thing a new user forgets has its own sentence."""
    with VlaRig(ScriptedPolicy(), checkpoint='') as rig:
        assert not rig.configure()
        wait_for(lambda: 'checkpoint:=' in rig.bench.statuses[-1]['detail'])


def test_after_a_failed_configuration_a_corrected_parameter_works() -> None:
    """Set the parameter and configure again: no restart is needed."""
    with VlaRig(ScriptedPolicy(), image_transport='theora') as rig:
        assert not rig.configure()
        wait_for(lambda: 'raw, compressed' in rig.bench.statuses[-1]['detail'])
        assert rig.node.set_parameters([Parameter('image_transport', value='raw')])[0].successful
        rig.drive()
        rig.bench.wait_more(rig.bench.arm_commands)


@pytest.mark.parametrize(('summary', 'said'), [
    (Summary(cameras=('image', 'wrist')), 'Set camera_topics:=wrist=/wrist/image_raw'),
    (Summary(reads_proprio=True, proprio_dim=8), 'proprio_layout:=xyz_axis_angle_fingers'),
    (Summary(reads_proprio=True, proprio_dim=14), 'vla_node can give'),
    (Summary(reads_proprio=True, proprio_dim=7, proprio_layout='xyz_axis_angle_fingers'),
     'xyz_rpy_gripper, joints_gripper'),
    (Summary(unnorm_keys=('bridge', 'fractal')), 'bridge, fractal'),
    (Summary(control_hz=0.0), 'control_hz')])
def test_a_checkpoint_that_needs_more_than_the_node_gives_is_refused(
    summary: Summary, said: str,
) -> None:
    """Cameras, robot state or a rate that vla_node has not are found before weights load."""
    policy = ScriptedPolicy()
    with VlaRig(policy, summary) as rig:
        opened = []
        rig.node._open_policy = lambda folder, device, **choice: opened.append(folder)
        assert not rig.configure()
        wait_for(lambda: said in rig.bench.statuses[-1]['detail'])
        assert not opened


def test_a_parameter_that_the_checkpoint_does_not_know_is_refused() -> None:
    """An unnorm_key or a camera of another checkpoint; corrected, the node configures."""
    with VlaRig(ScriptedPolicy(), unnorm_key='bridge', camera_topics='wrist=w') as rig:
        for said, name in (('it has: scripted. Set unnorm_key:=scripted', 'unnorm_key'),
                           ('camera_topics names wrist', 'camera_topics')):
            assert not rig.configure()
            wait_for(lambda said=said: said in rig.bench.statuses[-1]['detail'])
            assert rig.node.set_parameters([Parameter(name, value='')])[0].successful
        assert rig.configure()


def test_a_topic_of_another_type_is_found_when_configuring() -> None:
    """A compressed camera on a raw subscription would stay silent; the node says what to set."""
    with VlaRig(ScriptedPolicy(), image_type=CompressedImage) as rig:
        bench = rig.bench
        wait_for(lambda: rig.node.get_publishers_info_by_topic('image'))
        assert not rig.configure()
        wait_for(lambda: 'image_transport:=compressed' in bench.statuses[-1]['detail'])
        change = [Parameter('image_transport', value='compressed')]
        assert rig.node.set_parameters(change)[0].successful
        rig.drive()
        bench.wait_more(bench.arm_commands)


def test_a_best_effort_camera_is_heard_when_asked_for() -> None:
    """sensor_reliability best_effort matches the usual camera drivers."""
    with VlaRig(ScriptedPolicy(), sensor_reliability='best_effort') as rig:
        bench = rig.bench
        bench.destroy_publisher(bench.images)
        bench.images = bench.create_publisher(Image, 'image', qos_profile_sensor_data)
        rig.drive()
        bench.wait_more(bench.arm_commands)


def test_the_qos_of_a_topic_can_be_overridden() -> None:
    """The usual parameters, qos_overrides./TOPIC.subscription.reliability, reach the topic."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench, topic = rig.bench, f'{rig.bench.get_namespace()}/image'
        name = f'qos_overrides.{topic}.subscription.reliability'
        rig.node._parameter_overrides[name] = Parameter(name, value='best_effort')
        bench.destroy_publisher(bench.images)
        bench.images = bench.create_publisher(Image, 'image', qos_profile_sensor_data)
        rig.drive()
        bench.wait_more(bench.arm_commands)
        assert rig.deactivate()
        assert rig.clean_up()
        assert rig.configure(), 'the parameters are declared already'
