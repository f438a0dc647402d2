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

"""The slot between the two clocks, with a real worker thread behind it."""

from threading import Event
from time import monotonic

import numpy as np
import pytest
from rlrc_ros.nodes.slot import InferenceWorker, Question
from rlrc_ros.types import Action, ActionChunk, Observation

PATIENCE_S = 60.0


class Gated:
    """A policy that answers when it is let, with the instruction's length as its gripper."""

    def __init__(self) -> None:
        self.begun, self.go = Event(), Event()
        self.warmed, self.resets = False, 0

    def warm_up(self) -> None:
        """Note it."""
        self.warmed = True

    def reset(self) -> None:
        """Count it."""
        self.resets += 1

    def act(self, observation: Observation) -> ActionChunk:
        """Wait to be let, then answer."""
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return ActionChunk((Action(np.zeros(3), np.zeros(3), len(observation.instruction)),))


def question(instruction: str) -> Question:
    """Return a question that differs by its instruction."""
    image = np.zeros((2, 2, 3), np.uint8)
    return Question(Observation(image, instruction), 0, 0, monotonic())


def test_the_latest_question_wins_and_asking_never_waits() -> None:
    """While the policy is busy, questions replace each other; only the newest is answered."""
    policy, answered = Gated(), Event()
    worker = InferenceWorker(lambda: policy, answered.set)
    try:
        worker.wait_until_open()
        assert policy.warmed
        worker.slot.ask(question('a'))
        assert policy.begun.wait(PATIENCE_S)
        for instruction in ('bb', 'ccc', 'dddd'):
            worker.slot.ask(question(instruction))
        assert worker.slot.take_answer() is None
        policy.go.set()
        grippers = []
        while len(grippers) < 2:
            assert answered.wait(PATIENCE_S)
            answered.clear()
            answer = worker.slot.take_answer()
            if answer is not None:
                grippers.append(answer.chunk.actions[0].gripper)
            if grippers and grippers[-1] == 4:
                break
        assert grippers in ([1, 4], [4])
        assert worker.slot.take_answer() is None
    finally:
        policy.go.set()
        assert worker.close()


def test_an_answer_that_is_no_action_is_an_error_not_a_crash() -> None:
    """A policy that answers five numbers, or nothing, is reported like one that raises."""
    class Odd(Gated):
        def act(self, observation: Observation) -> ActionChunk:
            if observation.instruction == 'none':
                return None
            return ActionChunk((Action(np.zeros(2), np.zeros(2), 1.0),))
    for instruction, said in (('five', '7 numbers'), ('none', 'AttributeError')):
        answered = Event()
        worker = InferenceWorker(Odd, answered.set)
        worker.wait_until_open()
        worker.slot.ask(question(instruction))
        assert answered.wait(PATIENCE_S)
        answer = worker.slot.take_answer()
        assert answer.chunk is None
        assert said in answer.error
        assert worker.close()


def test_what_opening_raises_is_raised_to_who_waits() -> None:
    """A checkpoint that cannot be opened ends in an error, not in a silent thread."""
    def refuse() -> Gated:
        raise ValueError('no such checkpoint')
    worker = InferenceWorker(refuse, lambda: None)
    with pytest.raises(ValueError, match='no such checkpoint'):
        worker.wait_until_open()
    assert worker.close()


def test_closing_while_the_policy_is_opened_frees_who_waits() -> None:
    """Ctrl-C during a long load ends the waiting with an error."""
    go = Event()

    def open_slowly() -> Gated:
        assert go.wait(PATIENCE_S)
        return Gated()
    worker = InferenceWorker(open_slowly, lambda: None)
    assert not worker.close(timeout_s=0.05)
    with pytest.raises(RuntimeError, match='while the policy was being opened'):
        worker.wait_until_open()
    go.set()
    assert worker.close()


def test_a_policy_that_hangs_does_not_hang_the_closing() -> None:
    """Closing gives up after its timeout and says so."""
    policy = Gated()
    worker = InferenceWorker(lambda: policy, lambda: None)
    worker.wait_until_open()
    worker.slot.ask(question('a'))
    assert policy.begun.wait(PATIENCE_S)
    assert not worker.close(timeout_s=0.05)
    policy.go.set()
    assert worker.close()


def test_the_policy_forgets_before_the_first_question_after_it_was_told_to() -> None:
    """Also before one that was asked earlier and had not begun, and not again after that."""
    policy, answered = Gated(), Event()
    policy.go.set()
    worker = InferenceWorker(lambda: policy, answered.set)
    try:
        worker.wait_until_open()
        old, counts = question('old'), []
        worker.slot.forget()
        for asked in (old, question('new'), question('next')):
            worker.slot.ask(asked)
            assert answered.wait(PATIENCE_S)
            answered.clear()
            counts.append(policy.resets)
        assert counts == [1, 2, 2]
    finally:
        assert worker.close()
