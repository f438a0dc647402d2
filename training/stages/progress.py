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
How far a pipeline is and how long it will still take, read from what the verbs write anyway.

A running stage's share is counted in its own folder (episodes, saved steps, lines of a journal).
Time left adds up the running stage's rest and, for every waiting stage, its size times what a unit
of the same verb took before; kinds of work that have not been timed yet are counted, not guessed.
Seconds of wall clock.
"""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path

from rlrc_training.stages.plan import Stage


def units(stage: Stage) -> int:
    """Return how much work a stage is, in its verb's own unit."""
    config = stage.config()
    if stage.verb == 'evaluate':
        return len(config.tasks)
    if stage.verb == 'timing':
        return len(config.checkpoints)
    name = {'collect': 'episodes', 'sft': 'steps', 'rl': 'total_timesteps'}.get(stage.verb)
    return getattr(config, name) if name else 1


def _last_line(path: Path) -> dict:
    lines = path.read_text().splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue  # being written
    return {}


def share_done(stage: Stage) -> float | None:
    """Return how much of a running stage is done (0 ... 1), or None where it does not say."""
    try:
        if stage.verb == 'collect':
            done = sum(1 for _ in stage.out.glob('episode_*.safetensors'))
        elif stage.verb == 'sft':
            path = stage.out / 'state' / 'progress.json'
            done = json.loads(path.read_text())['step'] if path.exists() else 0
        elif stage.verb == 'rl':
            done = _last_line(stage.out / 'metrics.jsonl').get('env_steps', 0)
        elif stage.verb == 'evaluate':
            path = stage.out / 'episodes.jsonl'
            done = len(path.read_bytes().splitlines()) if path.exists() else 0
        else:
            return None
    except (OSError, ValueError, KeyError):  # between two of the verb's own writes
        return None
    return min(1.0, done / units(stage))


def in_words(seconds: float) -> str:
    """Return a duration as one says it."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f'{seconds:.0f} s'
    if minutes < 90:
        return f'{minutes} min'
    return f'{minutes // 60} h {minutes % 60:02d} min'


class Outlook:
    """The time that is left, from the seconds that finished stages took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._units: dict[str, int] = {}

    def learn(self, stage: Stage, seconds: float) -> None:
        """Count a finished stage."""
        self._seconds[stage.verb] = self._seconds.get(stage.verb, 0.0) + seconds
        self._units[stage.verb] = self._units.get(stage.verb, 0) + units(stage)

    def expected(self, stage: Stage) -> float | None:
        """Return the seconds that a whole stage should take, None if its kind is new."""
        if stage.verb not in self._units:
            return None
        return units(stage) * self._seconds[stage.verb] / self._units[stage.verb]

    def left(self, waiting: Iterable[Stage], running: Stage | None = None,
             elapsed: float = 0.0, share: float | None = None,
             share_before: float = 0.0) -> tuple[float, int]:
        """
        Return the seconds that are left and how many stages are not in them.

        :param elapsed: seconds since the running stage was started, with share_before done
        """
        total, unknown = 0.0, 0
        if running is not None:
            expected = self.expected(running)
            if share is not None and share > share_before:
                total += elapsed * (1.0 - share) / (share - share_before)
            elif expected is not None:
                total += max(0.0, expected * (1.0 - share_before) - elapsed)
            else:
                unknown += 1
        for stage in waiting:
            expected = self.expected(stage)
            if expected is None:
                unknown += 1
            else:
                total += expected
        return total, unknown


def left_in_words(left: tuple[float, int]) -> str:
    """Return what left() says as a sentence."""
    seconds, unknown = left
    if not unknown:
        return f'about {in_words(seconds)} left'
    kind = 'stages of kinds' if unknown > 1 else 'stage of a kind'
    least = f'at least {in_words(seconds)} left, and ' if seconds else 'left: '
    return f'{least}{unknown} {kind} not timed yet'


def wall_clock(records: Mapping[str, dict]) -> float:
    """Return the seconds that all recorded stages took."""
    return sum(record.get('seconds', 0.0) for record in records.values())
