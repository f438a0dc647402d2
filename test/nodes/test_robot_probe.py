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

"""`rlrc doctor --robot`: what it says of a robot that is there, and of one that is not."""

import json
import os
from pathlib import Path
import subprocess
import sys
from threading import Timer

import cv2
from nodes.test_vla_node_process import lone_bench, NAMESPACE
from nodes.vla_rig import DOMAIN
import numpy as np
import pytest
from rlrc_ros.nodes import robot_probe

LATE_S = 4.0
"""Longer than rates are counted, shorter than a robot is waited for."""


def probe(*arguments: str) -> dict[str, dict]:
    """Run the probe as the doctor does; return its checks by name."""
    process = subprocess.run(
        [sys.executable, '-m', 'rlrc_ros.nodes.robot_probe', *arguments], check=False,
        capture_output=True, text=True, timeout=120, env={
            **os.environ, 'ROS_DOMAIN_ID': str(DOMAIN),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'})
    checks = [json.loads(row) for row in process.stdout.splitlines() if row.startswith('{')]
    assert checks, process.stderr
    assert process.returncode == (0 if all(check['ok'] for check in checks) else 1)
    return {check['name']: check for check in checks}


def test_a_robot_that_comes_late_is_described_and_its_camera_overlaid(tmp_path: Path) -> None:
    """Size, encoding, rates, who listens; half the camera's picture over half the view's."""
    view, laid = tmp_path / 'view.png', tmp_path / 'overlay.png'
    cv2.imwrite(str(view), np.full((48, 64, 3), 200, np.uint8))
    with lone_bench() as bench:
        bench.size_px = (48, 64)
        late = Timer(LATE_S, bench.feed)
        late.start()
        checks = probe('--image', f'{NAMESPACE}/image', '--joint-states',
                       f'{NAMESPACE}/joint_states', '--robot-name', NAMESPACE.strip('/'),
                       '--view', str(view), '--overlay', str(laid))
    assert '64x48 rgb8' in checks['camera']['found']
    assert '9 joints' in checks['joint states']['found']
    assert 'no efforts' in checks['joint states']['found']
    assert checks['commands']['found'] == 'arm:=ros2_control'
    assert checks['camera view']['ok']
    assert cv2.imread(str(laid)).mean() == pytest.approx(100, abs=2)


def test_a_robot_that_is_not_there_gets_what_to_type() -> None:
    """Each of the three says what was looked for, and the next thing to type."""
    checks = probe('--image', '/nowhere/image', '--robot-name', 'nobody')
    assert [check['ok'] for check in checks.values()] == [False] * 3
    assert checks['camera']['to_type'] == 'rlrc doctor --robot --image TOPIC'
    assert 'nobody' in checks['commands']['found']
    assert checks['joint states']['to_type'].startswith('start the driver')


def test_a_view_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    """The error names the file and what it should be."""
    message = robot_probe.Image(height=2, width=2, step=6, encoding='rgb8', data=bytes(12))
    with pytest.raises(ValueError, match='no picture; give a PNG or JPEG'):
        robot_probe.overlay(message, tmp_path / 'missing.png', tmp_path / 'out.png')
