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

"""What `rlrc pipeline` shows while it is at work."""

import time

from rich.console import Console
from rlrc_training.stages.plan import Stage
from rlrc_training.stages.progress import in_words, left_in_words, Outlook, share_done

TELL_EVERY_S = 60.0
"""Between two lines of progress where no terminal shows it live."""


class View:
    """The one view of the whole: a line a stage, and below it where the running one is."""

    def __init__(self, console: Console, stages: list[Stage]):
        self.console, self.stages, self.outlook = console, stages, Outlook()
        self._status = console.status('') if console.is_terminal else None
        self._told_s = time.monotonic()
        self._done: set[str] = set()

    def note(self, words: str) -> None:
        """Say something of the whole."""
        self.console.print(f'         {words}', highlight=False, markup=False, soft_wrap=True)

    def settled(self, stage: Stage, seconds: float, words: str) -> None:
        """Say that a stage is done, now or earlier."""
        self.outlook.learn(stage, seconds)
        self._done.add(stage.name)
        self.console.print(
            f'{len(self._done):>3}/{len(self.stages)}  {stage.name:<22} {words}, '
            f'{in_words(seconds)}', highlight=False, markup=False, soft_wrap=True)

    def began(self, stage: Stage, words: str) -> None:
        """Say that a stage begins, and why it does."""
        self._began_s, self._before = time.monotonic(), share_done(stage) or 0.0
        self.console.print(f'         {stage.name:<22} {words}', highlight=False, markup=False,
                           soft_wrap=True)
        if self._status:
            self._status.start()

    def tell(self, stage: Stage) -> None:
        """Show how far the running stage and the whole are."""
        now = time.monotonic()
        if self._status is None and now - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now
        share = share_done(stage)
        waiting = [each for each in self.stages
                   if each.name not in self._done and each is not stage]
        left = self.outlook.left(waiting, stage, now - self._began_s, share, self._before)
        far = '' if share is None else f' {share:.0%}'
        line = (f'{len(self._done)} of {len(self.stages)} stages, {stage.name}{far} for '
                f'{in_words(now - self._began_s)}; {left_in_words(left)}')
        if self._status:
            self._status.update(line)
        else:
            self.console.print(f'         {line}', highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the live line away."""
        if self._status:
            self._status.stop()
