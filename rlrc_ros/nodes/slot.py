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
Where the two clocks meet: one locked slot between the control timer and the inference worker.

The control side never waits: it puts a question in (a newer one replaces one that nobody has
begun) and looks whether an answer is out. The worker owns the policy: it opens it, warms it up and
runs it, all on one thread, so that a policy that hangs or raises costs an answer and nothing else.
Seconds on the steady clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Event, Thread
from time import monotonic
from typing import Protocol

from rlrc_ros.types import Action, ActionChunk, Observation


class ActingPolicy(Protocol):
    """What the worker asks of a policy; `rlrc_ros.vla.policy.Policy` is one."""

    def act(self, observation: Observation) -> ActionChunk:
        """Return what to do now."""

    def warm_up(self) -> None:
        """Run once on invented input, so that the first true answer is not the slow one."""

    def reset(self) -> None:
        """Forget what was carried over from earlier observations."""


@dataclass(frozen=True, eq=False)
class Question:
    """One observation that wants an answer; compared by identity, as only one is waited for."""

    observation: Observation
    step: int
    """The control step that the first action of the answer belongs to."""
    stamp_ns: int
    """Stamp of the observation's image."""
    asked_s: float


@dataclass(frozen=True)
class Answer:
    """What became of a question."""

    question: Question
    chunk: ActionChunk | None
    """None where the policy raised; `error` then says what."""
    error: str
    inference_s: float


class InferenceSlot:
    """One place for a question, one for an answer, one lock for both."""

    def __init__(self) -> None:
        """Begin empty and open."""
        self._changed = Condition()
        self._question: Question | None = None
        self._answer: Answer | None = None
        self._forget_s: float | None = None
        self._closed = False

    def forget(self) -> None:
        """Let the policy forget what it has seen before it sees what comes from now on."""
        with self._changed:
            self._forget_s = monotonic()

    def ask(self, question: Question) -> None:
        """Put a question in; one that the worker has not begun is replaced."""
        with self._changed:
            self._question = question
            self._changed.notify()

    def take_answer(self) -> Answer | None:
        """Return the answer that lies ready, once; None without waiting where there is none."""
        with self._changed:
            answer, self._answer = self._answer, None
            return answer

    def next_question(self) -> tuple[Question, bool] | None:
        """
        Wait for a question; return it and whether to forget first (worker side).

        :return: None when the slot is closed
        """
        with self._changed:
            self._changed.wait_for(lambda: self._question is not None or self._closed)
            question, self._question = self._question, None
            if self._closed:
                return None
            forget = self._forget_s is not None
            if forget and question.asked_s >= self._forget_s:
                self._forget_s = None  # an older question may still show what is to be forgotten
            return question, forget

    def answer(self, answer: Answer) -> None:
        """Lay an answer ready (worker side)."""
        with self._changed:
            self._answer = answer

    def close(self) -> None:
        """Let the worker go home."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class InferenceWorker:
    """The thread that owns the policy."""

    def __init__(
        self, open_policy: Callable[[], ActingPolicy], on_answer: Callable[[], None],
    ) -> None:
        """Start a thread that opens a policy; `on_answer` is called on it after each answer."""
        self.slot = InferenceSlot()
        self._open_policy = open_policy
        self._on_answer = on_answer
        self._opened = Event()
        self._error: Exception | None = None
        # A daemon: a policy that never returns must not keep the process from ending.
        self._thread = Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def wait_until_open(self) -> None:
        """Wait until the policy is open and warm; raises what opening it raised."""
        self._opened.wait()
        if self._error is not None:
            raise self._error

    def close(self, timeout_s: float = 2.0) -> bool:
        """End the thread; False where the policy holds it: it then ends with the policy's call."""
        self.slot.close()
        if not self._opened.is_set():
            self._error = RuntimeError('ended while the policy was being opened')
            self._opened.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            policy = self._open_policy()
            policy.warm_up()
        except Exception as error:  # raised again where the user waits, in wait_until_open
            self._error = error
            return
        finally:
            self._opened.set()
        while (asked := self.slot.next_question()) is not None:
            self.slot.answer(_infer(policy, *asked))
            self._on_answer()


def _infer(policy: ActingPolicy, question: Question, forget: bool) -> Answer:
    begin_s = monotonic()
    try:
        if forget:
            policy.reset()
        chunk, error = policy.act(question.observation), ''
        for action in chunk.actions:
            Action.from_vector(action.to_vector())  # raises where it is not seven numbers
    except Exception as raised:  # whatever a policy raises becomes INFERENCE_FAILED, said in words
        chunk, error = None, f'{type(raised).__name__}: {raised}'
    return Answer(question, chunk, error, monotonic() - begin_s)
