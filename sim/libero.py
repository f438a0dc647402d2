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
LIBERO's suites through the same evaluation: episodes, conventions, worlds in its own Python.

An episode's seed counts task by task, then trial by trial: seed 23 of ten tasks is task 3, trial
2, so that the first n seeds spread over all tasks. A `LiberoPool` answers as rlrc_sim.rollout's
WorldPool does, so that `play` serves both. Conventions are OpenVLA's: see rlrc_sim.libero_worker,
and for the gripper `command_of`. Messages pass through pipes as JSON and bare pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import json
from multiprocessing.connection import wait
import os
from pathlib import Path
import subprocess
import tempfile

import numpy as np
from rlrc_ros.types import Action, Observation
from rlrc_sim import libero_assets
from rlrc_sim.rollout import WorldDiedError, WorldProcessEndedError
from rlrc_sim.world import Step

LIBERO_TASKS, LIBERO_TRIALS = 10, 50
LIBERO_HZ = 20.0
LIBERO_STEPS = {'libero_spatial': 220, 'libero_10': 520}
"""Policy steps of an episode by suite, as OpenVLA's evaluation counts."""
LIBERO_CAMERAS = ('image', 'wrist')
LIBERO_PROPRIO = 'xyz_axis_angle_fingers'
LIBERO_WORLD_BYTES = 1_400_000_000
"""What one world's process needs (1.24 GB resident with both cameras; rounded up)."""
WORKER = Path(__file__).with_name('libero_worker.py')


def task_and_trial(seed: int) -> tuple[int, int]:
    """
    Return which task and which recorded first state an episode's seed stands for.

    :raises ValueError: beyond the 500 episodes of a suite
    """
    if not 0 <= seed < LIBERO_TASKS * LIBERO_TRIALS:
        raise ValueError(f'a LIBERO suite has the episodes 0 ... '
                         f'{LIBERO_TASKS * LIBERO_TRIALS - 1}, got {seed}')
    return seed % LIBERO_TASKS, seed // LIBERO_TASKS


def command_of(action: Action) -> list[float]:
    """
    Return LIBERO's seven numbers of an action.

    A LIBERO policy's statistics are in the controller's own units (-1 ... 1), not in metres, so
    translation and rotation pass as they are. The gripper counts 1 open ... 0 closed in an action
    and -1 open, +1 closed there, and is driven all the way, as OpenVLA does.
    """
    gripper = -float(np.sign(2.0 * action.gripper - 1.0))
    return [*map(float, action.delta_xyz_m), *map(float, action.delta_rpy_rad), gripper]


@dataclass
class _Worker:
    """One world's process and what its present episode came to."""

    process: subprocess.Popen
    complaints: object
    """What it printed: a file without a name."""
    steps: int = 0
    success_once: bool = False

    def last_words(self) -> str:
        """Return the end of what the process printed."""
        self.complaints.seek(0)
        return self.complaints.read().decode(errors='replace')[-2000:]


class LiberoPool:
    """
    Worlds of one LIBERO suite, each in a process of LIBERO's own Python; a context manager.

    :param count: how many
    :param suite: one of LIBERO_STEPS
    :param cameras: what the policy sees: `image`, and by any second name the wrist camera
    :param proprio: whether observations carry the arm's state (LIBERO_PROPRIO)
    :raises ValueError: no environment or assets, with what to type
    :raises WorldDiedError: a world could not be made, or died later
    """

    def __init__(self, count: int, suite: str, cameras: Sequence[str] = ('image',),
                 proprio: bool = False):
        if count < 1:
            raise ValueError(f'a pool holds at least one world, got {count}')
        self._python, self._root = libero_assets.interpreter(), libero_assets.folder()
        libero_assets.differing(suite, self._root)
        self._suite, self._cameras, self._proprio = suite, tuple(cameras), proprio
        self._scratch = tempfile.TemporaryDirectory(prefix='rlrc-libero-')
        self._workers: list[_Worker | None] = [None] * count
        try:
            for index in range(count):
                self._start(index)
            for index in range(count):
                self._read(index)
        except BaseException:
            self.close()
            raise

    def _start(self, index: int) -> None:
        scratch = Path(self._scratch.name) / str(index)
        scratch.mkdir(exist_ok=True)
        settings = {'suite': self._suite, 'assets': str(self._root), 'scratch': str(scratch),
                    'cameras': list(LIBERO_CAMERAS[:len(self._cameras)])}
        complaints = tempfile.TemporaryFile()
        process = subprocess.Popen(
            # Isolated: this folder's libero.py and a PYTHONPATH would hide LIBERO's own modules.
            [self._python, '-I', WORKER, json.dumps(settings)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=complaints,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'TMPDIR': str(scratch)},
            start_new_session=True)  # Ctrl-C is for the parent alone, which then closes the pipes
        self._workers[index] = _Worker(process, complaints)

    def _read(self, index: int) -> tuple[dict, list[np.ndarray]]:
        """Return the next answer of a world and its images."""
        worker = self._workers[index]
        line = worker.process.stdout.readline()
        answer = json.loads(line) if line.endswith(b'\n') else None
        images = []
        for shape in (answer or {}).get('shapes', []):
            raw = worker.process.stdout.read(int(np.prod(shape)))
            if len(raw) < np.prod(shape):
                answer = None
                break
            images.append(np.frombuffer(raw, np.uint8).reshape(shape))
        if answer is None:
            raise WorldProcessEndedError(
                f'the process of LIBERO world {index} ended (exit code '
                f'{worker.process.wait()}); it printed:\n{worker.last_words()}')
        if 'error' in answer:
            raise WorldDiedError(f"LIBERO world {index} failed:\n{answer['error']}")
        return answer, images

    def __len__(self) -> int:
        """Return the number of worlds."""
        return len(self._workers)

    def __enter__(self) -> 'LiberoPool':
        """Return the pool itself."""
        return self

    def __exit__(self, *_) -> None:
        """End every world."""
        self.close()

    def send(self, index: int, verb: str, *arguments) -> None:
        """Ask a world for `reset` (seed, set) or `step` (action); the answer: receive()."""
        worker = self._workers[index]
        if verb == 'reset':
            worker.steps, worker.success_once = 0, False
            question = {'reset': task_and_trial(arguments[0])}
        else:
            question = {'step': command_of(arguments[0])}
        try:
            worker.process.stdin.write(json.dumps(question).encode() + b'\n')
            worker.process.stdin.flush()
        except (BrokenPipeError, OSError):
            return  # whoever waits for the answer learns that the process has ended
        worker.steps += verb == 'step'

    def receive(self, index: int) -> Observation | Step:
        """Return a world's next answer: what it shows, after a step with what that led to."""
        answer, images = self._read(index)
        worker = self._workers[index]
        observation = Observation(
            images[0], answer['instruction'], stamp_s=worker.steps / LIBERO_HZ,
            proprio=np.array(answer['proprio'], np.float32) if self._proprio else None,
            extra_images=dict(zip(self._cameras[1:], images[1:])))
        if worker.steps == 0:
            return observation
        worker.success_once |= answer['success']
        return Step(observation, reward=float(answer['success']), success=answer['success'],
                    success_once=worker.success_once, grasped=False, steps=worker.steps,
                    truncated=worker.steps >= LIBERO_STEPS[self._suite])

    def ready(self, indices: Sequence[int], timeout_s: float | None = None) -> list[int]:
        """Return those of the worlds whose answers have arrived, waiting for at least one."""
        pipes = {index: self._workers[index].process.stdout for index in indices}
        arrived = wait(list(pipes.values()), timeout_s)
        return [index for index, pipe in pipes.items() if pipe in arrived]

    def at_work(self, index: int) -> int:
        """Return which world a process that has ended was serving: it has but one."""
        return index

    def revive(self, index: int) -> list[int]:
        """Put a new world in the place of one whose process has ended; return its index."""
        self._end(self._workers[index])
        self._start(index)
        self._read(index)
        return [index]

    @staticmethod
    def _end(worker: _Worker) -> None:
        try:
            worker.process.stdin.close()
        except OSError:
            pass  # a dead reader leaves something unsent
        try:
            worker.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        worker.process.stdout.close()
        worker.complaints.close()

    def close(self) -> None:
        """End every process and remove what they wrote."""
        for worker in self._workers:
            if worker is not None:
                self._end(worker)
        self._workers = [None] * len(self._workers)
        self._scratch.cleanup()
