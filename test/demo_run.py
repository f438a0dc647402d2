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

"""`rlrc demo` as a user runs it: a process of its own, ended whatever the test does."""

from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys

NODE_MODULES = (b'rlrc_ros.nodes.vla_node', b'rlrc_sim.bridge_node')


@contextmanager
def demo(*options: object):
    """Start `rlrc demo` with these options; it is interrupted, then killed, at the end."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'rlrc_training.demo', *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'COLUMNS': '200', 'TERM': 'dumb'},
        # A runner may have put itself in the background with SIGINT ignored; a user has not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def nodes_writing_to(folder: Path) -> list[int]:
    """Return the processes that run one of our nodes and have a log in this folder open."""
    found = []
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / 'cmdline').read_bytes()
            output = os.readlink(entry / 'fd' / '1')
        except OSError:
            continue
        if any(module in command for module in NODE_MODULES) and output.startswith(str(folder)):
            found.append(int(entry.name))
    return found
