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

"""A stage of `rlrc pipeline` as a process of its own, and a folder for one pipeline alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys

from rlrc_training.content_hash import RECORDS
from rlrc_training.stages.plan import Stage

PATIENCE_S = 60.0
"""How long an interrupted stage has to save what it can."""
Tell = Callable[[], None]
Run = Callable[[Stage, Path, Tell], int]
"""Runs a stage, given its log and what to call meanwhile; returns its exit status."""


def in_child(stage: Stage, log: Path, tell: Tell) -> int:
    """
    Run a stage in a process of its own; return its exit status.

    Ctrl-C reaches this process alone, which passes it on and waits until the stage has saved.

    :param log: everything that the stage prints goes to its end
    :param tell: called a few times a second
    """
    with log.open('ab') as file:
        child = subprocess.Popen(
            [sys.executable, '-m', 'rlrc_training.stages.process', stage.verb, *stage.arguments],
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True)
        try:
            while True:
                try:
                    return child.wait(0.3)
                except subprocess.TimeoutExpired:
                    tell()
        finally:
            end(child)


def end(child: subprocess.Popen) -> None:
    """End a stage that still runs: first so that it can save, then surely."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if child.poll() is not None:
                return
            os.killpg(child.pid, number)
            try:
                child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        signal.signal(signal.SIGINT, before)


def last_lines(log: Path, count: int = 12) -> str:
    text = log.read_text(errors='replace') if log.exists() else ''
    lines = [line.rpartition('\r')[2] for line in text.splitlines()]
    return '\n'.join(line for line in lines[-count:] if line.strip())


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold OUT/pipeline/lock; two pipelines in one folder would undo each other's work."""
    path = folder / RECORDS / 'lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ValueError(f'a pipeline is at work in {folder} (process {file.read().strip()}); '
                             'wait for it, or give another --out') from None
        file.truncate(0)
        file.write(f'{os.getpid()}\n')
        file.flush()
        yield
