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
What has been played so far, one line an episode, so that an evaluation can stop and go on.

OUT/episodes.jsonl grows as episodes end; OUT/run.json says which run it belongs to. A line that
was cut off in the middle of writing is dropped, an episode that stands there twice counts once.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
import json
import logging
import os
from pathlib import Path

from rlrc_sim.rollout import EpisodeResult

EPISODES, IDENTITY = 'episodes.jsonl', 'run.json'
CODE = 'code'
log = logging.getLogger('rlrc.evaluate')
_FIELDS = [each.name for each in fields(EpisodeResult) if each.name != 'frames']


def as_json(result: EpisodeResult) -> dict:
    """Return an episode's numbers without its images."""
    return {name: value for name, value in asdict(result).items() if name != 'frames'}


class Journal:
    """
    The episodes of one run, on disk.

    :param folder: made if missing
    :param identity: what must be equal for two runs' episodes to be counted together
    :param fresh: forget what lies there
    :param code: the code that plays now; another one may go on, which is said and noted
    :raises ValueError: the folder holds episodes of another run
    """

    def __init__(self, folder: Path, identity: dict, fresh: bool = False, code: str = ''):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / EPISODES
        identity = json.loads(json.dumps(identity, default=str))
        known = folder / IDENTITY
        if fresh:
            self._path.unlink(missing_ok=True)
        self.code = [code]
        """Every state of the code that has played, in their order."""
        if self._path.exists() and known.exists():
            before = json.loads(known.read_text())
            earlier = before.pop(CODE, [])
            if earlier and code not in earlier:
                log.warning('%s holds episodes that other code played (%s, this is %s): they are '
                            'kept, and results.json names both; --fresh plays all anew', folder,
                            ', '.join(earlier), code)
            self.code = list(dict.fromkeys([*earlier, code]))
            differing = sorted(key for key in {*before, *identity}
                               if before.get(key) != identity.get(key))
            if differing:
                raise ValueError(
                    f'{folder} holds episodes of another run ({", ".join(differing)} differ); '
                    'choose another --out, or --fresh to begin anew there')
        partial = known.with_suffix('.partial')
        partial.write_text(json.dumps({**identity, CODE: self.code}, indent=1))
        os.replace(partial, known)
        self.results = self._read()

    def _read(self) -> dict[tuple[str, int], EpisodeResult]:
        """Return the whole lines' episodes, and cut off what follows them."""
        results, whole = {}, 0
        if not self._path.exists():
            return results
        content = self._path.read_bytes()
        for line in content.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                result = EpisodeResult(**{name: entry[name] for name in _FIELDS if name in entry})
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b'\n'):
                break
            whole += len(line)
            results.setdefault((result.episode_set, result.seed), result)
        if whole < len(content):
            with self._path.open('r+b') as file:
                file.truncate(whole)
        return results

    def add(self, result: EpisodeResult) -> bool:
        """Write an episode down and return True; False if it stood there already."""
        key = (result.episode_set, result.seed)
        if key in self.results:
            return False
        with self._path.open('a') as file:
            file.write(json.dumps(as_json(result)) + '\n')
            file.flush()
            os.fsync(file.fileno())
        self.results[key] = result
        return True

    def missing(self, tasks: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return those of the (set, seed) pairs that are still to be played, in order."""
        return [task for task in tasks if task not in self.results]
