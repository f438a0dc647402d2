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
Say what this machine has, what it lacks, and what to type for each thing that is missing.

usage: rlrc doctor [CHECKPOINT] [--robot]

Each check that imports something runs in a process of its own, because a broken driver or library
can end the process that loads it; so this file needs the standard library only and imports no lab
side. Vulkan is checked by rendering, ROS 2 by a message from a node to itself. A checkpoint is
described by its sizes, its memory on a GPU and its statistics. Exit status 1 if
something is missing that is required: on a robot (--robot) the simulated arm is not.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from importlib import util
import json
from pathlib import Path
import platform
import subprocess
import sys

from rlrc_ros import paths
from rlrc_ros.vla.machine import cpu_speeds, CPUINFO

PROBE_TIMEOUT_S = 180.0  # the first import of torch from a cold disk takes most of a minute
NEEDED_MEMORY_GIB = 3.0  # simulation, policy and both nodes of the demo together, with room
SETUP = 'make setup (in a clone), or pip install'

TORCH_PROBE = """
import torch
line = torch.__version__
if torch.cuda.is_available():
    properties = torch.cuda.get_device_properties(0)
    torch.ones(8, 8, device='cuda').sum().item()
    line += f', CUDA {torch.version.cuda}, {properties.name}'
    line += f', {properties.total_memory / 2**30:.0f} GiB'
else:
    line += ', no CUDA device: the policy runs on the CPU'
print(line)
"""
PINOCCHIO_PROBE = 'import pinocchio; print(pinocchio.__version__)'
MANI_SKILL_PROBE = """
from importlib.metadata import version
import mani_skill
print(version('mani_skill'), 'on SAPIEN', version('sapien'))
"""


class Status(Enum):
    """What a check came to."""

    OK = 'ok'
    NOTE = 'note'
    MISSING = 'MISSING'


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    status: Status
    found: str
    to_type: str = ''
    """What to type to mend it; empty where there is nothing to mend."""


def run_probe(*arguments: str) -> tuple[bool, str]:
    """Run this Python with `arguments`; return whether it succeeded and its last line."""
    try:
        process = subprocess.run([sys.executable, *arguments], capture_output=True, text=True,
                                 timeout=PROBE_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return False, f'no answer within {PROBE_TIMEOUT_S:.0f} s'
    if process.returncode < 0:
        return False, f'the process was ended by signal {-process.returncode}'
    lines = (process.stdout.strip() or process.stderr.strip()).splitlines()
    return process.returncode == 0, lines[-1] if lines else 'no output'


def check_by_probe(name: str, arguments: list[str], to_type: str, required: bool = True) -> Check:
    """Return the check that `arguments` to this Python perform."""
    succeeded, line = run_probe(*arguments)
    if succeeded:
        return Check(name, Status.OK, line)
    return Check(name, Status.MISSING if required else Status.NOTE, line, to_type)


def check_python() -> Check:
    """Check the interpreter: the pinned wheels exist for 3.11 and 3.12."""
    found = f'{platform.python_version()} in {sys.prefix}'
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Check('Python', Status.OK, found)
    return Check('Python', Status.MISSING, found,
                 'PYTHON=/path/to/python3.12 make setup, after rm -rf .venv')


def check_cpu(cpuinfo: Path = CPUINFO) -> Check:
    """Report the cores and the instructions for bfloat16 and int8 arithmetic."""
    text = cpuinfo.read_text(encoding='utf-8') if cpuinfo.is_file() else ''
    speeds = [f'{kind}: {" ".join(names) or "none"}'
              for kind, names in cpu_speeds(cpuinfo).items()]
    cores = text.count('processor\t')
    return Check('CPU', Status.OK, f'{cores} cores, {platform.machine()}; {"; ".join(speeds)}')


def check_memory(meminfo: Path = Path('/proc/meminfo')) -> Check:
    """Check the memory that is free now."""
    fields = dict(line.split(':', 1) for line in meminfo.read_text('utf-8').splitlines())
    free_gib = int(fields['MemAvailable'].split()[0]) / 2**20  # the file counts in KiB
    found = f'{free_gib:.1f} GiB free'
    if free_gib >= NEEDED_MEMORY_GIB:
        return Check('memory', Status.OK, found)
    return Check('memory', Status.NOTE, f'{found}; the demo wants {NEEDED_MEMORY_GIB:.0f} GiB',
                 'close other programs')


def check_vulkan(required: bool) -> Check:
    """Check that SAPIEN renders, where the simulated arm is installed."""
    if util.find_spec('rlrc_sim') is None:
        return Check('Vulkan', Status.MISSING if required else Status.NOTE,
                     'not checked: rlrc_sim is not installed', SETUP + " 'rlrc_ros[sim]'")
    return check_by_probe('Vulkan', ['-m', 'rlrc_sim.vulkan_probe'],
                          'bash scripts/vulkan.sh .venv/bin/python', required)


def check_checkpoint(folder: Path | None) -> Check:
    """Check that the checkpoint, or the shipped one, can be opened; weights are not read."""
    try:
        from rlrc_ros.vla import checkpoint  # imports torch: not before torch was checked
    except ImportError as error:
        return Check('checkpoint', Status.MISSING, f'not checked: {error}', SETUP + ' .')
    try:
        summary = checkpoint.inspect(folder or paths.shipped_checkpoint())
    except (checkpoint.CheckpointError, FileNotFoundError) as error:
        return Check('checkpoint', Status.MISSING, str(error),
                     'rlrc doctor FOLDER, with a folder that `rlrc sft` wrote or an official '
                     'OpenVLA folder')
    height, width = summary.image_size_px
    return Check(
        'checkpoint', Status.OK,
        f'{summary.folder}: {summary.parameters / 1e6:.1f} M parameters, {height}x{width} px, '
        f'{summary.control_hz:g} Hz, action_horizon {summary.action_horizon}, '
        f'unnorm_key {" ".join(summary.unnorm_keys)}')


def describe_checkpoint(folder: Path | None) -> list[Check]:
    """Return what the checkpoint holds and needs; nothing where it cannot be opened."""
    try:
        from rlrc_ros.vla import checkpoint, description
        lines = description.describe(checkpoint.inspect(folder or paths.shipped_checkpoint()))
    except (ImportError, ValueError, FileNotFoundError):
        return []  # check_checkpoint() says why
    return [Check(name, Status.OK, text) for name, text in lines.items()]


def check_robot(arguments: list[str]) -> list[Check]:
    """Return what the robot's topics say: camera, joint states, who listens to commands."""
    try:
        process = subprocess.run(
            [sys.executable, '-m', 'rlrc_ros.nodes.robot_probe', *arguments], check=False,
            capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, stdin=subprocess.DEVNULL)
        rows = [json.loads(row) for row in process.stdout.splitlines() if row.startswith('{')]
    except subprocess.TimeoutExpired:
        rows, process = [], None
    if not rows:
        said = process.stderr.strip().splitlines()[-1:] if process else ['no answer']
        return [Check('robot', Status.MISSING, ' '.join(said) or 'no output',
                      'python -m rlrc_ros.nodes.robot_probe')]
    return [Check(row['name'], Status.OK if row['ok'] else Status.MISSING, row['found'],
                  row['to_type']) for row in rows]


def run_checks(folder: Path | None, robot: bool) -> list[Check]:
    """Run all checks, the slow ones side by side, and return them in reading order."""
    jobs: list[Callable[[], Check]] = [
        check_python,
        lambda: check_by_probe('torch', ['-c', TORCH_PROBE], SETUP + ' torch==2.13.0'),
        lambda: check_by_probe(
            'ROS 2', ['-m', 'rlrc_ros.nodes.dds_probe'],
            'source /opt/ros/jazzy/setup.bash, or make setup in a shell that sources no ROS 2'),
        lambda: check_by_probe('pinocchio', ['-c', PINOCCHIO_PROBE], SETUP + ' pin'),
        lambda: check_by_probe('ManiSkill', ['-c', MANI_SKILL_PROBE],
                               SETUP + ' mani_skill==3.0.1', required=not robot),
        lambda: check_vulkan(required=not robot),
        check_cpu,
        check_memory,
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:
        checks = [future.result() for future in [pool.submit(job) for job in jobs]]
    return [*checks, check_checkpoint(folder), *describe_checkpoint(folder)]


def table(checks: list[Check]) -> str:
    """Return the checks as text, each with what to type under it."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f'{check.status.value:8}{check.name:{width}}  {check.found}')
        if check.to_type:
            lines.append(f'{"":8}{"":{width}}  type: {check.to_type}')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if something required is missing."""
    parser = argparse.ArgumentParser(
        description='Say what this machine has, what it lacks, and what to type.')
    parser.add_argument('checkpoint', nargs='?', type=Path,
                        help='a checkpoint folder; without it, the one that came along')
    parser.add_argument('--robot', action='store_true',
                        help='this machine runs beside a real arm and needs no simulated one')
    topics = parser.add_argument_group('with --robot')
    topics.add_argument('--image', default='image', help='topic of the camera image')
    topics.add_argument('--joint-states', default='wx250s/joint_states')
    topics.add_argument('--robot-name', default='wx250s', help='namespace of the driver')
    topics.add_argument('--view', type=Path, help='a picture of the view the policy was trained '
                        'on; the camera is laid over it in out/camera_overlay.png')
    options = parser.parse_args(argv)
    checks = run_checks(options.checkpoint, options.robot)
    if options.robot:
        checks += check_robot([
            '--image', options.image, '--joint-states', options.joint_states,
            '--robot-name', options.robot_name,
            *(['--view', str(options.view)] if options.view else [])])
    print(table(checks))
    missing = [check.name for check in checks if check.status is Status.MISSING]
    print(f'\nmissing: {", ".join(missing)}' if missing else '\nall that is required is here')
    return 1 if missing else 0


if __name__ == '__main__':
    sys.exit(main())
