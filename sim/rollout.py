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
Many worlds at once, in other processes, and episodes played through them by one batched policy.

Physics on a CPU does not batch, so worlds run in processes, one or more in each (ManiSkill's own
GPU batching takes over where a GPU simulates). A seed that is free goes to the first world that is
free; results come back in the order of the seeds, whatever the number of processes. Messages pass
through anonymous pipes between a parent and the children that it started itself.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
import ctypes
from dataclasses import dataclass, field
import gc
import logging
import multiprocessing
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
import os
import traceback
from typing import Protocol

from rlrc_ros.types import Action, ActionChunk, Observation
from rlrc_sim.suites import object_of
from rlrc_sim.world import Step, Truth, World
import torch

log = logging.getLogger('rlrc.rollout')

BatchPolicy = Callable[[list[Observation]], Sequence[ActionChunk | Action]]
"""
Observations of several worlds → what to do in each, in the same order.

A chunk is executed to its end before its world asks again; an action is a chunk of one.
"""


class PolicyWithMemory(Protocol):
    """What carries something over from step to step of one episode."""

    def reset(self) -> None:
        """Forget it; an episode begins."""

    def act(self, observation: Observation) -> ActionChunk | Action:
        """Return what to do next."""


class WorldDiedError(RuntimeError):
    """A world's process ended or raised; the message carries its traceback."""


class WorldProcessEndedError(WorldDiedError):
    """A world's process is gone: killed, out of memory, crashed. Its episode can be redone."""


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went."""

    seed: int
    episode_set: str
    instruction: str
    success_once: bool
    success_at_end: bool
    grasped: bool
    steps: int
    """Control steps played."""
    steps_to_success: int | None
    """Control steps until the first success, or None."""
    total_reward: float
    frames: tuple = field(default=(), repr=False, compare=False)
    """Images (H, W, 3) uint8 when the run was asked to keep them."""
    object_name: str = ''
    """What the episode's object is called, however the instruction puts it."""
    crashed: bool = False
    """The simulator crashed in it, time and again; it counts as failed."""


NOBODY = -1
"""What a process says that works for none of its worlds."""


def prepare_process() -> None:
    """
    Make this process one that simulates and does nothing else; before any of its torch work.

    Worlds share cores by processes, not by threads. ManiSkill collects garbage at every reset, and
    visits all that torch and SciPy brought unless that is set aside.
    """
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _serve(pipes: list[Connection], at_work: ctypes.c_int, image_size_px: tuple[int, int],
           control: str, episode_set: str, proprio_layout: str) -> None:
    """
    Run one world a pipe in a child process until a pipe closes or `None` arrives.

    :param at_work: shared; which of the pipes is being served, for whoever outlives a crash
    """
    prepare_process()
    pipe = pipes[0]
    try:
        worlds = {}
        for pipe in pipes:
            worlds[pipe] = World(image_size_px, control, episode_set, proprio_layout)
            pipe.send(('answer', os.getpid()))
        while True:
            for pipe in wait(pipes):
                at_work.value = pipes.index(pipe)
                if (message := pipe.recv()) is None:
                    for world in worlds.values():
                        world.close()
                    return
                verb, *arguments = message
                answer = getattr(worlds[pipe], verb)(*arguments)
                at_work.value = NOBODY
                pipe.send(('answer', answer))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    except Exception:
        pipe.send(('error', traceback.format_exc()))


class WorldPool:
    """
    Worlds in processes of their own; use as a context manager.

    :param count: how many
    :param image_size_px: (height, width)
    :param episode_set: the first set that will be asked for
    :param proprio_layout: what observations tell of the arm, see World
    :param processes: how many processes share them (world i runs in process i modulo that); by
        default each world has its own
    :raises WorldDiedError: a world could not be made, or died later
    """

    def __init__(self, count: int, image_size_px: tuple[int, int] = (128, 128),
                 control: str = 'ee', episode_set: str = 'ind', proprio_layout: str = '',
                 processes: int | None = None):
        if count < 1:
            raise ValueError(f'a pool holds at least one world, got {count}')
        self._context = multiprocessing.get_context('spawn')
        self._arguments = (tuple(image_size_px), control, episode_set, proprio_layout)
        self._pipes: list[Connection | None] = [None] * count
        self._processes: list[BaseProcess | None] = [None] * min(processes or count, count)
        self._at_work = [self._context.RawValue('i', NOBODY) for _ in self._processes]
        for process in range(len(self._processes)):
            self._start(process)
        for index in range(count):
            self.receive(index)

    def _worlds_of(self, process: int) -> range:
        return range(process, len(self._pipes), len(self._processes))

    def _start(self, process: int) -> None:
        ends = [self._context.Pipe() for _ in self._worlds_of(process)]
        self._at_work[process].value = NOBODY
        started = self._context.Process(
            target=_serve, daemon=True,
            args=([theirs for _, theirs in ends], self._at_work[process], *self._arguments))
        started.start()
        self._processes[process] = started
        for index, (ours, theirs) in zip(self._worlds_of(process), ends):
            theirs.close()
            self._pipes[index] = ours

    def at_work(self, index: int) -> int | None:
        """Return which world a process that has ended was serving, given one of its worlds."""
        process = index % len(self._processes)
        place = self._at_work[process].value
        return None if place == NOBODY else self._worlds_of(process)[place]

    def revive(self, index: int) -> list[int]:
        """
        Put new worlds in the place of those whose process has ended; they have no episode yet.

        :param index: one of them
        :return: all of them
        """
        return self._renew(index % len(self._processes))

    def restart(self) -> None:
        """End every process, whatever it is doing, and put new worlds in; none has an episode."""
        for process in self._processes:
            process.kill()
        for process in range(len(self._processes)):
            self._renew(process)

    def _renew(self, process: int) -> list[int]:
        worlds = list(self._worlds_of(process))
        for each in worlds:
            self._pipes[each].close()
        self._processes[process].join(timeout=5)
        self._start(process)
        for each in worlds:
            self.receive(each)
        return worlds

    def __len__(self) -> int:
        """Return the number of worlds."""
        return len(self._pipes)

    @property
    def processes(self) -> int:
        """Return how many processes share the worlds."""
        return len(self._processes)

    def __enter__(self) -> 'WorldPool':
        """Return the pool itself."""
        return self

    def __exit__(self, *_) -> None:
        """Close every world."""
        self.close()

    def send(self, index: int, verb: str, *arguments) -> None:
        """Ask world `index` to do something; the answer comes by receive()."""
        try:
            self._pipes[index].send((verb, *arguments))
        except (BrokenPipeError, OSError):
            return  # whoever waits for the answer learns that the process has ended

    def receive(self, index: int) -> Observation | Step | Truth:
        """Return world `index`'s next answer."""
        try:
            kind, answer = self._pipes[index].recv()
        except (EOFError, OSError) as error:
            process = self._processes[index % len(self._processes)]
            process.join(timeout=5)  # its pipes close before it can be asked how it ended
            code = process.exitcode
            raise WorldProcessEndedError(
                f'the process of world {index} ended (exit code {code}); '
                'run `rlrc doctor` to check rendering and free memory') from error
        if kind == 'error':
            raise WorldDiedError(f'world {index} failed:\n{answer}')
        return answer

    def ready(self, indices: Sequence[int], timeout_s: float | None = None) -> list[int]:
        """Return those of the worlds whose answers have arrived, waiting for at least one."""
        arrived = wait([self._pipes[index] for index in indices], timeout_s)
        return [index for index in indices if self._pipes[index] in arrived]

    def close(self) -> None:
        """End every process."""
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except (BrokenPipeError, OSError):
                continue
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()


class _Played:
    """One world's present episode."""

    def __init__(self, episode_set: str, seed: int, observation: Observation):
        self.episode_set = episode_set
        self.seed = seed
        self.observation = observation
        self.last: Step | None = None
        self.reward = 0.0
        self.first_success: int | None = None
        self.frames: list = []
        self.planned: deque[Action] = deque()

    def take(self, step: Step) -> None:
        self.last, self.observation = step, step.observation
        self.reward += step.reward
        if step.success and self.first_success is None:
            self.first_success = step.steps


MAX_DEATHS_AN_EPISODE = 3
"""How often an episode's process may end. In the middle of a step it is the episode's own: PhysX
crashes on some contacts, always on the same, and it has failed. Otherwise nobody knows which of a
process's episodes ended it, all are counted, and the run gives up."""
MAX_CRASHES_IN_SUCCESSION = 3
"""Episodes that may fail so, one after the other, before the run gives up as well."""


def play(pool: WorldPool, policy: BatchPolicy | Sequence[PolicyWithMemory],
         seeds: Iterable[int | tuple[str, int]], *,
         episode_set: str = 'ind', stop_on_success: bool = False, keep_frames: bool = False,
         max_steps: int = World.max_episode_steps,
         together: int = 1) -> Iterator[EpisodeResult]:
    """
    Play one episode for each seed and yield results as they end.

    Worlds that answered are served together: one policy call for all of them, while the others
    simulate. An episode's outcome depends on its seed alone, provided that the policy answers an
    observation alike in any batch. An episode whose world's process ends is played again from its
    beginning in a new one; one that ends it MAX_DEATHS_AN_EPISODE times has failed.

    :param policy: one for all worlds, or one with a memory for each
    :param seeds: of episode_set; or pairs (set, seed)
    :param together: the policy is asked about a multiple of so many worlds, or about all that play
    :raises WorldDiedError: a world raised, processes ended MAX_DEATHS_AN_EPISODE times between
        steps, or MAX_CRASHES_IN_SUCCESSION episodes crashed
    """
    waiting = iter(seeds)
    playing: dict[int, _Played | tuple[str, int]] = {}
    asking: list[int] = []
    deaths: Counter = Counter()
    crashes = 0

    def begin(index: int, again: tuple[str, int] | None = None) -> None:
        task = again or next(waiting, None)
        if task is not None:
            task = task if isinstance(task, tuple) else (episode_set, task)
            pool.send(index, 'reset', task[1], task[0])
            playing[index] = task

    for index in range(len(pool)):
        begin(index)
    while playing:
        revived: set[int] = set()
        for index in pool.ready([each for each in playing if each not in asking]):
            if index in revived:
                continue
            state = playing[index]
            try:
                answer = pool.receive(index)
            except WorldProcessEndedError as error:
                guilty = pool.at_work(index)
                anew = [each for each in pool.revive(index) if each in playing]
                for each in anew:
                    state, task = playing[each], _task(playing[each])
                    deaths[task] += guilty in (None, each)
                    if deaths[task] < MAX_DEATHS_AN_EPISODE:
                        log.warning('world died, its episode is played again: set=%s seed=%d '
                                    '(%s)', *task, error)
                        begin(each, task)
                        continue
                    crashes += 1
                    if (guilty is None or crashes == MAX_CRASHES_IN_SUCCESSION
                            or not isinstance(state, _Played)):
                        raise
                    log.warning('the simulator crashes in this episode, it counts as failed: '
                                'set=%s seed=%d', *task)
                    yield _result(state, crashed=True)
                    del playing[each]
                    begin(each)
                revived.update(anew)
                asking = [each for each in asking if each not in revived]
                continue
            if isinstance(state, _Played):
                state.take(answer)
            else:
                state = playing[index] = _Played(*state, answer)
            if keep_frames:
                state.frames.append(state.observation.image)
            if state.last and (state.last.steps >= max_steps
                               or (stop_on_success and state.last.success)):
                crashes = 0
                yield _result(state)
                del playing[index]
                begin(index)
            elif state.planned:
                pool.send(index, 'step', state.planned.popleft())
            else:
                asking.append(index)
        count = (len(asking) if len(asking) == len(playing)
                 else len(asking) - len(asking) % together)
        if count:
            served, asking = asking[:count], asking[count:]
            answers = (policy([playing[index].observation for index in served])
                       if callable(policy) else
                       [_ask(policy[index], playing[index]) for index in served])
            for index, answer in zip(served, answers, strict=True):
                actions = answer.actions if isinstance(answer, ActionChunk) else (answer,)
                playing[index].planned.extend(actions)
                pool.send(index, 'step', playing[index].planned.popleft())


def _ask(policy: PolicyWithMemory, state: _Played) -> ActionChunk | Action:
    if state.last is None:
        policy.reset()
    return policy.act(state.observation)


def _task(state: _Played | tuple[str, int]) -> tuple[str, int]:
    return (state.episode_set, state.seed) if isinstance(state, _Played) else state


def _result(state: _Played, crashed: bool = False) -> EpisodeResult:
    """Return how an episode ended; one that crashed never did, and has failed."""
    last, instruction = state.last, state.observation.instruction
    return EpisodeResult(
        seed=state.seed, episode_set=state.episode_set, instruction=instruction,
        success_once=not crashed and last.success_once,
        success_at_end=not crashed and last.success,
        grasped=last.grasped if last else False, steps=last.steps if last else 0,
        steps_to_success=None if crashed else state.first_success, total_reward=state.reward,
        frames=tuple(state.frames),
        object_name=object_of(state.episode_set, state.seed, instruction), crashed=crashed)
