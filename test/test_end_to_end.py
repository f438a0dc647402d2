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

"""`rlrc demo`: two nodes over DDS, from an instruction to a film, and every way out."""

import json
import os
from pathlib import Path
import signal
import time

from demo_run import demo, nodes_writing_to
import pytest
from rlrc_ros.paths import shipped_checkpoint
from tiny_vla import make_tiny_checkpoint

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope='module')
def untrained(tmp_path_factory) -> Path:
    """Write a checkpoint with random weights: it moves the arm, to no purpose."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('checkpoint') / 'tiny')


def wait_for(path: Path, text: str, process, limit_s: float = 180.0) -> None:
    """Wait until a log says something."""
    deadline = time.monotonic() + limit_s
    while not path.is_file() or text not in path.read_text():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, f'{path} never said {text!r}'
        time.sleep(0.2)


def test_the_shipped_policy_succeeds_over_dds(tmp_path):
    """The shipped checkpoint puts objects on plates; film, numbers and table are there."""
    try:
        shipped_checkpoint()
    except FileNotFoundError as error:
        pytest.skip(f'no shipped checkpoint yet: {error}')
    with demo('--episodes', 3, '--out', tmp_path) as process:
        text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    record = json.loads((tmp_path / 'demo.json').read_text())
    episodes = record['episodes']
    assert len({episode['instruction'] for episode in episodes}) == 3
    assert sum(episode['success_once'] for episode in episodes) >= 1
    assert all(episode['rejected_commands'] == 0 for episode in episodes)
    assert float(record['vla_node']['inference_p50_ms']) > 0
    assert float(record['vla_node']['image_age_p95_ms']) > 0
    for word in ('success', '95 % CI', 'control rate', 'inference p50', 'image age', 'demo.mp4'):
        assert word in text
    assert (tmp_path / 'demo.mp4').stat().st_size > 10_000
    assert 10_000 < (tmp_path / 'demo.gif').stat().st_size < 2_000_000
    for log in ('vla_node.log', 'sim_bridge.log'):
        assert 'Traceback' not in (tmp_path / log).read_text()
    assert nodes_writing_to(tmp_path) == []


@pytest.mark.parametrize('mode', ['lockstep', 'real_time'])
def test_a_demo_without_success_fails_and_says_so(tmp_path, untrained, mode):
    """
    Random weights: everything runs and is filmed, and the exit code says it was in vain.

    In lockstep a second policy plays the same episodes and stands beside the first.
    """
    second = make_tiny_checkpoint(tmp_path / 'second', 1) if mode == 'lockstep' else None
    with demo('--checkpoint', untrained, '--episodes', 2, '--max-steps', 8, '--mode', mode,
              '--out', tmp_path, *(('--compare', second) if second else ())) as process:
        text, _ = process.communicate(timeout=300)
    assert process.returncode == 1, text
    assert 'none of 2 episodes succeeded' in text
    record = json.loads((tmp_path / 'demo.json').read_text())
    assert [episode['steps'] for episode in record['episodes']] == [8, 8]
    assert record['summary']['mode'] == mode
    assert int(record['vla_node']['images_total']) >= 16
    if second:
        other = json.loads((tmp_path / 'compare' / 'demo.json').read_text())
        assert other['checkpoint'] == str(second) != record['checkpoint']
        assert [each['instruction'] for each in other['episodes']] == [
            each['instruction'] for each in record['episodes']]
        assert 'weights' in text and text.count(' MB') == 2
    assert (tmp_path / 'demo.gif').is_file()
    assert nodes_writing_to(tmp_path) == []


def test_ctrl_c_ends_everything_without_a_traceback(tmp_path, untrained):
    """Ctrl-C, pressed twice, in the middle of an episode: both nodes end, nobody shows a trace."""
    with demo('--checkpoint', untrained, '--max-steps', 1000, '--out', tmp_path) as process:
        wait_for(tmp_path / 'vla_node.log', 'state=active reason=none', process)
        assert len(nodes_writing_to(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 130, text
    for said in (text, *(log.read_text() for log in tmp_path.glob('*.log'))):
        assert 'Traceback' not in said
    assert nodes_writing_to(tmp_path) == []


def test_a_node_that_dies_ends_the_demo_with_the_reason(tmp_path, untrained):
    """vla_node is killed in mid-episode: exit code 1, its name and its last words."""
    with demo('--checkpoint', untrained, '--max-steps', 1000, '--out', tmp_path) as process:
        wait_for(tmp_path / 'vla_node.log', 'state=active reason=none', process)
        for pid in nodes_writing_to(tmp_path):
            if b'vla_node' in Path(f'/proc/{pid}/cmdline').read_bytes():
                os.kill(pid, signal.SIGKILL)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 1, text
    assert 'vla_node ended with signal SIGKILL' in text
    assert 'Traceback' not in text
    assert nodes_writing_to(tmp_path) == []


@pytest.mark.parametrize(('options', 'said', 'code'), [
    (('--checkpoint', '/nowhere/nano'), 'there is no checkpoint folder', 1),
    (('--episodes', '0'), 'episodes must be 1', 2),
    (('--seed', '100000'), 'seed must be 0', 2),
    (('--mode', 'dreamlike'), 'lockstep', 2),
    (('--compare', 'a', '--single'), 'single runs one', 2),
    (('--compare', '/nowhere/dense'), 'there is no checkpoint folder', 1),
])
def test_a_wrong_option_is_named_before_anything_starts(tmp_path, options, said, code):
    """A missing checkpoint or an option out of bounds ends the demo at once, in words."""
    with demo(*options, '--out', tmp_path) as process:
        text, _ = process.communicate(timeout=120)
    assert process.returncode == code
    assert said in text
    assert 'Traceback' not in text
    assert list(tmp_path.iterdir()) == []
