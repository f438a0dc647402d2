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

"""A node as a child process: watched, told of, and gone afterwards."""

from pathlib import Path
import sys
import time

import pytest
from rlrc_training.node_process import NodeDied, NodeProcess

LAUNCHER = 'import sys, time\n{body}\n'


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a module of our own making; whatever it does, it is killed afterwards."""
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    started = []

    def start(body: str) -> NodeProcess:
        (tmp_path / 'a_node.py').write_text(LAUNCHER.format(body=body))
        process = NodeProcess('a_node', 'a_node', ['-p', 'x:=1'], tmp_path / 'a_node.log', {})
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


def test_a_node_that_dies_is_told_with_its_last_words(start):
    """The error names the node, its exit code and what it said last."""
    process = start('print("no camera"); sys.exit(3)')
    assert process.wait(60.0)
    with pytest.raises(NodeDied, match='a_node ended with exit code 3') as told:
        process.check()
    assert 'no camera' in str(told.value)


def test_a_node_gets_its_arguments(start):
    """ROS arguments reach the node after --ros-args; ending with 0 is no death."""
    process = start('print(sys.argv[1:])')
    assert process.wait(60.0)
    process.check()
    assert "['--ros-args', '-p', 'x:=1']" in process.log.read_text()


def _runs(pid: int) -> bool:
    """Return whether a process runs: neither gone nor a zombie (state `Z` or `X` of proc(5))."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.timeout(120)
def test_stop_ends_even_who_ignores_it(start, monkeypatch):
    """A node that ignores SIGINT is killed, and what it had started with it."""
    monkeypatch.setattr('rlrc_training.node_process.END_S', 1.0)
    process = start(
        'import signal, subprocess; signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        f'child = subprocess.Popen([{sys.executable!r}, "-c", "import time; time.sleep(600)"])\n'
        'print("child", child.pid, flush=True); time.sleep(600)')
    while 'child' not in process.log.read_text():
        process.check()
    child = int(process.log.read_text().split()[1])
    process.stop()
    assert process.exit_code == -9
    # The orphan is init's to reap: gone, or a zombie that no longer runs.
    deadline = time.monotonic() + 30.0
    while _runs(child):
        assert time.monotonic() < deadline, f'process {child} outlived its node'
        time.sleep(0.05)
