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
A pipeline's folder: its plan, its records, and which of its results are of today's checkpoints.

A result is outdated when the folder that its stage read has another content now than was recorded,
or is being made again, or was itself made from something that has changed since. Demonstrations
that were given are left out of that: adding to them makes no checkpoint another one.
"""

from collections.abc import Iterable, Sequence
import json
from pathlib import Path

from rlrc_training.content_hash import DONE, Hashes, MEMORY, RECORDS
from rlrc_training.reporting.kept import Strip
from rlrc_training.stages.plan import TIMED_FIRST
from rlrc_training.stages.sources import by_source, in_words
from rlrc_training.strips import LISTING
from rlrc_training.table_rows import ROWS


def read_json(path: Path, default: object = None) -> object:
    """Return what a file holds, `default` if there is none; ValueError if it is no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ValueError(f'{path} is not readable JSON ({error}); run the stage that wrote it '
                         'again') from error


def read_lines(path: Path) -> list[dict]:
    """Return the lines of a log that are whole; none if there is no log."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # a line that a kill cut short
    return found


def given_of(plan: dict) -> dict[str, str]:
    """Return a plan's checkpoints that were given, by stage, without the dense policy."""
    return plan.get('given', {})


def check_commits(records: dict[str, dict], allowed: Sequence[str]) -> None:
    """Raise ValueError if results of different code stand beside each other, naming them."""
    found = by_source(records)
    strange = [each for each in found if not each[0].is_named(allowed)]
    if len(strange) > 1:
        fewest = sorted(strange, key=lambda each: len(each[1]))[:-1]
        raise ValueError(f'results of {len(found)} sources make no table ({in_words(found)}). Do '
                         'them again with one, or if the difference does not matter, name it: '
                         + ' '.join(['--allow-commit', *(each.name for each, _ in fewest)]))


class PipelineFolder:
    """
    What `rlrc pipeline` wrote.

    :raises ValueError: no pipeline's folder, or results of different code
    """

    def __init__(self, folder: Path, allowed: Sequence[str] = ()):
        plan = read_json(folder / 'plan.json')
        if plan is None:
            raise ValueError(f'{folder} has no plan.json; run `rlrc pipeline nano --out {folder}`')
        self.plan, self._stages = plan, {each['name']: each for each in plan['stages']}
        self.records: dict[str, dict] = {}
        for name in self._stages:
            record = read_json(folder / RECORDS / f'{name}.json')
            if record is not None:
                self.records[name] = record
        check_commits(self.records, allowed)
        self.hashes = Hashes(folder / RECORDS / MEMORY)
        self.outs = {name: Path(each['out']) for name, each in self._stages.items()}
        self._makers = {each['product']: name for name, each in self._stages.items()}
        self._outdated: dict[str, bool] = {}

    def given_policy(self) -> Path | None:
        """Return the dense policy, where it was not trained here."""
        given = self.plan.get('dense')
        return Path(given) if given and 'dense' not in self._stages else None

    def given_products(self) -> dict[str, Path]:
        """Return every checkpoint that was given, the dense policy first, by its like's stage."""
        dense = self.given_policy()
        return ({'dense': dense} if dense else {}) | {
            name: Path(each) for name, each in given_of(self.plan).items()}

    def product(self, stage: str) -> Path | None:
        """Return the folder of the checkpoint that a stage makes, or that was given for it."""
        if stage in self._stages:
            return Path(self._stages[stage]['product'])
        return self.given_products().get(stage)

    def content(self, stage: str) -> str | None:
        """
        Return the hash of what a stage made, or of what was given for it; None: not known.

        Of what is gone it is the one that was recorded when it was made, or by all who read it.
        """
        folder = self.product(stage)
        if now := folder and self.hashes.of(folder):
            return now
        read = {self.records[name]['inputs'].get(key) for name, each in self._stages.items()
                if name in self.records
                for key, path in each['inputs'].items() if path == str(folder)}
        return (self.records.get(stage, {}).get('product')
                or (read.pop() if len(read) == 1 else None))

    def made_anew(self, stage: str, content: str) -> bool:
        """Tell whether a stage's checkpoint is here another one than was played elsewhere."""
        folder = self.product(stage)
        return folder is not None and self._differs(str(folder), content)

    def stages_of(self, measures: Iterable[str]) -> list[str]:
        """Return the recorded stages that measures depend on, and these, in the plan's order."""
        wanted, todo = set(), list(measures)
        while todo:
            name = todo.pop()
            if name in self._stages and name not in wanted:
                wanted.add(name)
                todo += [self._makers[each] for each in self._stages[name]['inputs'].values()
                         if each in self._makers]
        return [name for name in self._stages if name in wanted and name in self.records]

    def results(self, name: str, file: str) -> dict | None:
        """
        Return what a stage measured, None where it is not done.

        :raises ValueError: the file is not what the stage wrote
        """
        record = self.records.get(name)
        if record is None or record['state'] != DONE or not (self.outs[name] / file).exists():
            return None
        if self.hashes.of(self.outs[name], file) != record['product']:
            raise ValueError(f'{self.outs[name] / file} is not what stage {name} wrote; run '
                             '`rlrc pipeline` again, which does that stage again')
        return read_json(self.outs[name] / file)

    def strips(self, row: str) -> dict[str, Strip]:
        """Return a row's episodes that are shown, by `SET_SEED`, whose pictures are there."""
        if f'evaluate-{row}' not in self.outs:
            return {}
        where = self.outs[f'evaluate-{row}'] / 'strips'
        return {key: Strip(**each, path=path) for key, each in read_json(
            where / LISTING, {}).items() if (path := where / f'{key}.jpg').exists()}

    def played(self, row: str) -> str | None:
        """Return the hash of the checkpoint that a row's evaluation read."""
        return self.records[f'evaluate-{row}']['inputs'].get('checkpoint')

    def outdated(self, name: str) -> bool:
        """Tell whether a stage's result comes from another checkpoint than lies there today."""
        record = self.records.get(name)
        if record is None:
            return False
        if name not in self._outdated:
            self._outdated[name] = False
            folders = self._stages[name].get('inputs') or record.get('folders', {})
            self._outdated[name] = any(
                self._differs(folder, record['inputs'].get(each))
                for each, folder in folders.items()
                if not each.startswith('data') or folder in self._makers)
        return self._outdated[name]

    def timed_by(self) -> str:
        """
        Return the stage whose times are shown: all rows', or as yet RLRC's own rows'.

        Rows are told apart by times of the same turns, so one stage's are taken whole.
        """
        for name in ('timing', TIMED_FIRST):
            if self.records.get(name, {}).get('state') == DONE and not self.outdated(name):
                return name
        return 'timing'

    def times_outdated(self, row: str) -> bool:
        """Tell whether a row was timed on another checkpoint than lies there today."""
        name, folder = self.timed_by(), self.product(ROWS[row].stage)
        record = self.records.get(name)
        names = list(record['options'].get('names', ())) if record else []
        if row not in names or folder is None:
            return False
        index = names.index(row)
        return self._differs(str(folder), record['inputs'].get(
            f'checkpoints {index}' if index else 'checkpoints'))

    def _differs(self, folder: str, recorded: str | None) -> bool:
        name = self._makers.get(folder, '')
        maker = self.records.get(name)
        if maker and (maker['state'] != DONE or self.outdated(name)):
            return True
        # A checkpoint that was deleted is still the one that its stage made.
        now = self.hashes.of(Path(folder)) or (maker or {}).get('product')
        return None not in (recorded, now) and recorded != now
