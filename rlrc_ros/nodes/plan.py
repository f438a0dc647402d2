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
When the next step is due, and which action of a chunk belongs to it.

A policy answers T actions for the T steps that begin with the first one after its image. It is
asked just before the arm runs out of actions, so that it answers when the last one is done: all T
are then executed. A policy that needs longer than a step is asked while some are still left; those
go on meanwhile, and of the new chunk as many are skipped as were executed, never more.
"""

from dataclasses import dataclass

from rlrc_ros.types import Action


@dataclass(frozen=True)
class Plan:
    """A chunk of actions with its place in time."""

    actions: tuple[Action, ...]
    first_step: int
    """The control step that `actions[0]` belongs to."""
    stamp_ns: int
    """Stamp of the image that the policy saw."""

    def at(self, step: int) -> Action | None:
        """Return the action for `step`, None before the plan or after its end."""
        index = step - self.first_step
        return self.actions[index] if 0 <= index < len(self.actions) else None

    def after(self, step: int) -> tuple[Action, ...]:
        """Return the actions that are planned for later steps than `step`."""
        return self.actions[max(0, step + 1 - self.first_step):]

    def left_after(self, step: int) -> int:
        """Return how many actions are planned for later steps than `step`."""
        return max(0, self.first_step + len(self.actions) - 1 - step)


class Pacer:
    """
    Says when a step is due, so that steps keep the policy's rate on average.

    A step may begin a quarter period early: a camera at the same rate then never makes it miss an
    image by its jitter. Nanoseconds on whatever clock the caller keeps to.
    """

    def __init__(self, period_ns: int) -> None:
        """Begin with a step due at once."""
        self._period_ns = period_ns
        self._due_ns: int | None = None

    def is_due(self, now_ns: int) -> bool:
        """Return whether a step may begin now. A clock that jumped back makes one due."""
        if self._due_ns is None:
            return True
        ahead_ns = self._due_ns - now_ns
        return ahead_ns <= self._period_ns // 4 or ahead_ns > 2 * self._period_ns

    def due_in_ns(self, now_ns: int) -> int:
        """Return how long until a step is due, 0 or less where one is."""
        return 0 if self._due_ns is None else self._due_ns - now_ns

    def begin(self, now_ns: int) -> None:
        """Note that a step begins now and set when the next one is due."""
        on_time = self._due_ns is not None and abs(now_ns - self._due_ns) < self._period_ns
        self._due_ns = (self._due_ns if on_time else now_ns) + self._period_ns
