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

"""vla_node as a user runs it: a process, a checkpoint folder, signals."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys

from lifecycle_msgs.msg import Transition
from nodes.vla_rig import Bench, DOMAIN, PATIENCE_S, PATIENT, VlaRig, wait_for
import pytest
import rclpy
from rlrc_ros.nodes.lifetime import spun
from rlrc_ros.vla.config import QuantizationConfig

make_tiny_checkpoint = pytest.importorskip('tiny_vla').make_tiny_checkpoint
INSTRUCTION = 'put carrot on red plate'
NAMESPACE = '/process'
SIZE_PX = (128, 128)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random tiny checkpoint."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('checkpoint') / 'tiny')


@contextmanager
def vla_process(log: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """Run vla_node as a process of its own; it is killed at the end whatever happens."""
    with log.open('w', encoding='utf-8') as output:
        process = subprocess.Popen(
            [sys.executable, '-m', 'rlrc_ros.nodes.vla_node', '--ros-args', '-r',
             f'__ns:={NAMESPACE}', *arguments],
            stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def lone_bench() -> Iterator[Bench]:
    """Run a bench without a node in this process."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    bench = Bench(context, NAMESPACE)
    bench.size_px = SIZE_PX
    with spun(bench):
        try:
            yield bench
        finally:
            bench.rest()


@pytest.mark.parametrize('stored', ['bf16', 'int4'])
def test_a_real_policy_answers_images_over_dds(
    stored: str, checkpoint: Path, tmp_path: Path,
) -> None:
    """A checkpoint folder, quantised or not, is opened and answers each lockstep image."""
    if stored == 'int4':
        checkpoint = make_tiny_checkpoint(tmp_path / 'int4', quantization=QuantizationConfig(
            'int4', 'bf16', 'int4', 'int4', group_size=32))
    with VlaRig(None, checkpoint=str(checkpoint), real_checkpoint=True, lockstep=True,
                instruction=INSTRUCTION) as rig:
        bench = rig.bench
        bench.size_px = SIZE_PX
        rig.drive(lockstep=True)
        for step in range(3):
            count = len(bench.arm_commands)
            bench.show_joints(step * 200_000_000)
            bench.show_image(step * 200_000_000)
            wait_for(lambda: len(bench.arm_commands) > count)
        wait_for(lambda: len(bench.actions) == 3)
        assert all(len(action) == 7 for action in bench.actions)
        wait_for(lambda: bench.statuses[-1]['rates'].get('inference_p50_ms', 0.0) > 0)


@pytest.mark.parametrize('name', ['model.safetensors', 'dataset_statistics.json'])
def test_a_truncated_file_fails_the_configuration(name: str, tmp_path: Path) -> None:
    """Half a file is found when the node is configured, and the message names it."""
    folder = make_tiny_checkpoint(tmp_path / 'tiny')
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:len(whole) // 2])
    with VlaRig(None, checkpoint=str(folder), real_checkpoint=True) as rig:
        assert not rig.configure()
        wait_for(lambda: name in rig.bench.statuses[-1]['detail'])
        assert rig.bench.statuses[-1]['state'] == 'unconfigured'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_holds_the_arm_and_ends_without_a_traceback(
    number: signal.Signals, checkpoint: Path, tmp_path: Path,
) -> None:
    """While driving, two signals in a row end the process with 0, a last command, and peace."""
    log = tmp_path / 'vla_node.log'
    patiently = [word for name, value in PATIENT.items() for word in ('-p', f'{name}:={value}')]
    with lone_bench() as bench, vla_process(
            log, '-p', f'checkpoint:={checkpoint}', '-p', f'instruction:={INSTRUCTION}',
            '-p', 'max_step_m:=0.5', '-p', 'max_step_rad:=3.0', *patiently) as process:
        assert bench.change_state(Transition.TRANSITION_CONFIGURE)
        bench.wait_matched()
        bench.feed()
        assert bench.change_state(Transition.TRANSITION_ACTIVATE)
        bench.wait_more(bench.actions, 2)
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    text = log.read_text(encoding='utf-8')
    assert 'Traceback' not in text, text
    assert 'state=active' in text or 'holding' in text


@pytest.mark.parametrize(('argument', 'said'), [
    ('max_step_m:=1', 'max_step_m'), ('tick_hz:=1e9', 'tick_hz')])
def test_a_parameter_of_a_wrong_type_or_range_ends_with_a_sentence(
    argument: str, said: str, tmp_path: Path,
) -> None:
    """Exit code 2, the parameter's name, no traceback."""
    log = tmp_path / 'vla_node.log'
    with vla_process(log, '-p', argument) as process:
        assert process.wait(PATIENCE_S) == 2
    text = log.read_text(encoding='utf-8')
    assert said in text
    assert 'Traceback' not in text
