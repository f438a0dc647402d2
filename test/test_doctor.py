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

"""`rlrc doctor`: each check finds what is there, and says what to type for what is not."""

from pathlib import Path
import sys

import pytest
from rlrc_ros import doctor
from rlrc_ros.doctor import Check, Status


def test_a_probe_returns_its_last_line() -> None:
    """What a probe prints last is what was found."""
    assert doctor.run_probe('-c', 'print("noise"); print("found")') == (True, 'found')


def test_a_probe_that_raises_returns_the_error() -> None:
    """An exception in a probe becomes one line, its last."""
    succeeded, line = doctor.run_probe('-c', 'import no_such_library')
    assert not succeeded
    assert line == "ModuleNotFoundError: No module named 'no_such_library'"


def test_a_probe_that_crashes_does_not_take_the_doctor_along() -> None:
    """A segmentation fault in a driver is reported by its signal."""
    succeeded, line = doctor.run_probe('-c', 'import os, signal; os.kill(os.getpid(), 11)')
    assert not succeeded
    assert line == 'the process was ended by signal 11'


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that never answers is reported, not waited for."""
    monkeypatch.setattr(doctor, 'PROBE_TIMEOUT_S', 0.5)
    succeeded, line = doctor.run_probe('-c', 'import time; time.sleep(60)')
    assert not succeeded
    assert 'no answer' in line


@pytest.mark.parametrize(('required', 'status'), [(True, Status.MISSING), (False, Status.NOTE)])
def test_a_failed_probe_says_what_to_type(required: bool, status: Status) -> None:
    """A check that fails carries its cure; on a robot a lab library is only a note."""
    check = doctor.check_by_probe('X', ['-c', 'raise SystemExit("no X")'], 'get X', required)
    assert check == Check('X', status, 'no X', 'get X')


def test_the_cpu_check_tells_bf16_from_int8(tmp_path: Path) -> None:
    """The flags are sorted by the arithmetic that they speed up."""
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text('processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\nprocessor\t: 1\n')
    found = doctor.check_cpu(cpuinfo).found
    assert found.startswith('2 cores')
    assert found.endswith('bf16: none; int8: avx_vnni')


@pytest.mark.parametrize(('free_kib', 'status'), [(8 * 2**20, Status.OK), (2**20, Status.NOTE)])
def test_little_memory_is_a_note(tmp_path: Path, free_kib: int, status: Status) -> None:
    """Memory below what the demo takes is said, and does not fail the doctor."""
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text(f'MemTotal: 99 kB\nMemAvailable:   {free_kib} kB\n')
    check = doctor.check_memory(meminfo)
    assert check.status is status
    assert f'{free_kib / 2**20:.1f} GiB free' in check.found


def test_a_missing_checkpoint_is_reported_with_its_path(tmp_path: Path) -> None:
    """A folder that holds no checkpoint fails the check and is named."""
    pytest.importorskip('rlrc_ros.vla.checkpoint')
    check = doctor.check_checkpoint(tmp_path / 'nothing')
    assert check.status is Status.MISSING
    assert 'nothing' in check.found
    assert check.to_type


def test_a_good_checkpoint_is_described(tmp_path: Path) -> None:
    """A checkpoint that opens is described by what a user chooses it for."""
    make_tiny_checkpoint = pytest.importorskip('tiny_vla').make_tiny_checkpoint
    check = doctor.check_checkpoint(make_tiny_checkpoint(tmp_path / 'tiny'))
    assert check.status is Status.OK, check.found
    assert 'parameters' in check.found
    assert 'Hz' in check.found


def test_an_official_folder_is_described(tmp_path: Path) -> None:
    """Sizes, parameters by part, memory on a GPU and statistics; and that its code is not run."""
    pytest.importorskip('rlrc_ros.vla.checkpoint')
    from official_folders import tiny_official_folder
    folder = tiny_official_folder(tmp_path / 'official')
    check = doctor.check_checkpoint(folder)
    assert check.status is Status.OK, check.found
    lines = {each.name.strip(): each.found for each in doctor.describe_checkpoint(folder)}
    assert lines['format'].startswith('model_type openvla')
    for part in ('vision towers', 'projector', 'embeddings', 'decoder', 'head', 'play no part'):
        assert part in lines['parameters']
    assert 'GiB in bf16' in lines['GPU memory']
    assert lines['statistics'] == 'robot (7 dimensions, 7 scaled)'
    assert 'never run' in lines['auto_map']


def test_seven_billion_parameters_need_their_weights_and_little_more() -> None:
    """OpenVLA-7B in bf16: 14 GiB of weights, and less than 1.5 GiB for everything else."""
    pytest.importorskip('rlrc_ros.vla.checkpoint')
    from rlrc_ros.vla import description, official
    config = official.read_config(
        {'vision_backbone_id': 'dinosiglip-vit-so-224px', 'llm_backbone_id': 'llama2-7b-pure',
         'text_config': {'vocab_size': 32064}}, {}, {}, 'openvla-7b', 7)
    needs = description.gpu_bytes(config, 7_498_156_704)
    assert 13.9 < needs['weights'] / 2**30 < 14.1
    # 32 layers x 4096 x (keys, values) x 2 bytes = 512 KiB a token
    assert needs['KV cache'] == 2**19 * (256 + description.PROMPT_TOKENS + 7)
    assert sum(needs.values()) - needs['weights'] < 1.5 * 2**30


def test_this_python_passes() -> None:
    """The interpreter that runs the tests is one that the doctor accepts."""
    check = doctor.check_python()
    assert check.status is Status.OK
    assert sys.prefix in check.found


def test_ros_works_here() -> None:
    """The probe's message between two DDS participants arrives."""
    check = doctor.check_by_probe('ROS 2', ['-m', 'rlrc_ros.nodes.dds_probe'], 'source ROS 2')
    assert check.status is Status.OK, check.found
    assert 'messages come through' in check.found


def test_ros_that_cannot_talk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A middleware that is not there fails the check with the reason."""
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_no_such_cpp')
    check = doctor.check_by_probe('ROS 2', ['-m', 'rlrc_ros.nodes.dds_probe'], 'source ROS 2')
    assert check.status is Status.MISSING
    assert 'rmw_no_such_cpp' in check.found


@pytest.mark.sim
def test_vulkan_renders_here() -> None:
    """SAPIEN draws a red box on this machine."""
    check = doctor.check_vulkan(required=True)
    assert check.status is Status.OK, check.found


@pytest.mark.sim
def test_vulkan_without_a_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every Vulkan driver hidden, the check fails and says what to type."""
    monkeypatch.setenv('VK_DRIVER_FILES', 'no_such_driver.json')
    monkeypatch.setenv('VK_ICD_FILENAMES', 'no_such_driver.json')
    check = doctor.check_vulkan(required=True)
    assert check.status is Status.MISSING
    assert 'scripts/vulkan.sh' in check.to_type


@pytest.mark.parametrize(('status', 'exit_status'), [
    (Status.OK, 0), (Status.NOTE, 0), (Status.MISSING, 1)])
def test_the_exit_status_counts_what_is_required(
        monkeypatch: pytest.MonkeyPatch, capsys, status: Status, exit_status: int) -> None:
    """Only something required that is missing fails the command."""
    checks = [Check('hammer', status, 'in the box', 'buy a hammer')]
    monkeypatch.setattr(doctor, 'run_checks', lambda folder, robot: checks)
    assert doctor.main([]) == exit_status
    printed = capsys.readouterr().out
    assert 'hammer  in the box' in printed
    assert 'type: buy a hammer' in printed
