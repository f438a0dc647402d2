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
A ROS node as a child process: started, watched, ended, whatever happens to its parent's code.

The child gets a session of its own, so that Ctrl-C in the terminal reaches the parent alone, which
then ends its children in order; what the child prints goes to a log file.
"""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys

END_S = 8.0
"""How long a node may take to end by itself before it is killed."""
TAIL_LINES = 12


class NodeDied(Exception):
    """A node ended though it should run; the text says which, how, and its last words."""


class NodeProcess:
    """
    Run `python -m <module> --ros-args <arguments>` until stop().

    :param name: for messages
    :param log: file for what it prints
    :param environment: added to this process's own
    """

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path,
                 environment: Mapping[str, str]):
        self.name, self.log = name, log
        with log.open('wb') as file:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, '--ros-args', *arguments],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', 'RCUTILS_COLORIZED_OUTPUT': '0',
                     **environment})

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """
        Return if it runs, or has ended with exit code 0.

        :raises NodeDied: it has ended otherwise
        """
        if self.exit_code not in (None, 0):
            raise NodeDied(f'{self.name} ended with {_in_words(self.exit_code)}; '
                           f'the end of {self.log}:\n{self.last_words()}')

    def last_words(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(f'    {line}' for line in lines[-TAIL_LINES:]) or '    (nothing)'

    def wait(self, timeout_s: float) -> bool:
        """Wait for it to end by itself; return whether it has."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it and everything it started: ask with SIGINT, then kill."""
        if self.exit_code is None:
            self._signal(signal.SIGINT)
            self.wait(END_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)  # its session's leader, hence its group's
        except ProcessLookupError:
            pass


def _in_words(exit_code: int) -> str:
    if exit_code >= 0:
        return f'exit code {exit_code}'
    return f'signal {signal.Signals(-exit_code).name}'
