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
What was made from what: the record of each stage, and whether it may be skipped.

OUT/pipeline/STAGE.json holds a stage's resolved options, the hash of every input and of its
product, every state of the source that it worked under, versions, machine and seconds. A stage is
skipped when all of that is as it would be made now. Otherwise it goes on, or what is there is
moved to OUT/outdated/STAGE and it is done again; each decision has its reason in words. Hashes are
SHA-256 of contents; those of a folder are remembered as long as names, sizes and times of its
files stay the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, MISSING
import json
import os
from pathlib import Path
import shutil
import time

from rlrc_training.content_hash import BEGUN, DONE, Hashes, MEMORY, RECORDS, write_json
from rlrc_training.provenance import machine, package_versions
from rlrc_training.resume import resolved
from rlrc_training.stages.plan import GROWING, HOW_FAST, INPUTS, RESUMABLE, Stage
from rlrc_training.stages.sources import by_source, in_words, source_now, sources_of

OUTDATED, LOGS = 'outdated', RECORDS
ONLY = {'evaluate': 'results.json', 'timing': 'timing.json'}
"""The one file of a product that counts, where it is one."""


class StageHashes(Hashes):
    """Hashes of what stages made."""

    def of_product(self, stage: Stage) -> str | None:
        """Return the hash of what a stage made."""
        return self.of(stage.product, ONLY.get(stage.verb, ''))


def _defaults(config: object) -> dict:
    return json.loads(json.dumps({each.name: each.default for each in fields(config)
                                  if each.default is not MISSING}, default=str))


NOTE_EVERY_S = 60.0
"""Seconds of a running stage that a kill may lose."""


@dataclass(frozen=True)
class Decision:
    """What to do with a stage, and why."""

    act: str
    """`skip`, `begin`, `go on` or `redo`."""
    why: str = ''


class Records:
    """All records of one pipeline's folder."""

    def __init__(self, out: Path):
        self.out, self.source = out, source_now()
        self.hashes = StageHashes(out / RECORDS / MEMORY)

    def path(self, stage: str) -> Path:
        """Return where a stage's record lies."""
        return self.out / RECORDS / f'{stage}.json'

    def read(self, stage: str) -> dict | None:
        """
        Return a stage's record, or None.

        :raises ValueError: not what begin() and finish() write
        """
        path = self.path(stage)
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text())
            record['state'], record['options'], record['inputs'], record['commit']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is not the record of a stage ({error!r}); delete it, and '
                             'the stage is done again') from error
        return record

    def check_commits(self, stages: Iterable[Stage], allowed: tuple[str, ...] = (),
                      kept: Mapping[str, Mapping] | None = None) -> None:
        """
        Refuse results that other code made.

        :param allowed: states of the source whose results may stand beside those of this one
        :param kept: what the report takes over from earlier ones, by a name for each, with the
            `sources` that it was measured under
        :raises ValueError: naming them, and what to type
        """
        records = {stage.name: record for stage in stages if (record := self.read(stage.name))}
        strange = [(source, names) for source, names in by_source({**records, **(kept or {})})
                   if not source.same(self.source) and not source.is_named(allowed)]
        if strange:
            where = f'{self.out} and the kept rows hold' if kept else f'{self.out} holds'
            raise ValueError(
                f'{where} results of other code ({in_words(strange)}); the source is at '
                f'{self.source}. Results of two sources make no table. Take another --out'
                + (', leave --keep away, give the report another --name (--set report.name=NAME)'
                   if kept else '') + ', or if '
                'the difference does not matter, name it (a code, or a commit without edits): '
                + ' '.join(['--allow-commit', *(source.name for source, _ in strange)]))

    def check_source(self) -> None:
        """
        Refuse to begin a stage under other code than the pipeline began with.

        :raises ValueError: naming both, and what to type
        """
        now = source_now()
        if not now.same(self.source):
            raise ValueError(
                f'the source changed while the pipeline was at work: {self.source} → {now}. Undo '
                'that and run the same command again, or run it with '
                f'--allow-commit {self.source.name}')

    def _now(self, stage: Stage) -> tuple[dict, dict]:
        config = stage.config()
        free = (*INPUTS, 'out') if stage.verb == 'timing' else HOW_FAST
        options = {name: value for name, value in resolved(config).items() if name not in free}
        inputs = {name: self.hashes.of(folder) for name, folder in stage.inputs.items()}
        return options, inputs

    def decide(self, stage: Stage) -> Decision:
        """
        Say what is to be done with a stage; its inputs are final.

        :raises ValueError: an input is not there
        """
        options, inputs = self._now(stage)
        for name, found in inputs.items():
            if found is None:
                raise ValueError(f'stage {stage.name} wants {stage.inputs[name]} ({name}), which '
                                 'is not there or empty')
        record, there = self.read(stage.name), stage.out.exists()
        if record is None:
            if there and any(stage.out.iterdir()):
                return Decision('redo', f'{stage.out} is there and no record says how it was made')
            return Decision('begin')
        # An option that the record does not know came with a later version, and had its default.
        before = {**_defaults(stage.config()), **record['options']}
        changed = [name for name in options if before.get(name) != options[name]]
        growing = [name for name in changed if name in GROWING.get(stage.verb, ())
                   # A folder of demonstrations does not shrink; fewer results are a prefix.
                   and not (stage.verb == 'collect' and options[name] < before[name])]
        told = ', '.join(f'{name} {before.get(name)!r} → {options[name]!r}'
                         for name in changed)
        if set(changed) - set(growing):
            return Decision('redo', f'its options changed: {told}')
        altered = [name for name, digest in inputs.items()
                   if record['inputs'].get(name) != digest]
        if altered or set(record['inputs']) - set(inputs):
            name = (altered or sorted(set(record['inputs']) - set(inputs)))[0]
            was, now = record['inputs'].get(name), inputs.get(name)
            return Decision('redo', f'its input {name} {stage.inputs.get(name, "")} changed: '
                            f'{(was or "none")[:8]} → {(now or "none")[:8]}')
        if record['state'] == BEGUN:
            if stage.verb in RESUMABLE:
                return Decision('go on', 'it was interrupted')
            return Decision('redo', 'it was interrupted')
        product = self.hashes.of_product(stage)
        if product is None:
            return Decision('redo', f'{stage.product} is gone')
        if product != record['product']:
            return Decision('redo', f'{stage.product} is not what the stage wrote: '
                            f'{record["product"][:8]} → {product[:8]}')
        if growing:
            return Decision('go on', told)
        return Decision('skip')

    def set_aside(self, stage: Stage) -> None:
        """Move what a stage left to OUT/outdated/STAGE, in the place of what was there."""
        if not stage.out.exists():
            return
        aside = self.out / OUTDATED / stage.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(stage.out, aside)

    def begin(self, stage: Stage, goes_on: bool) -> dict:
        """Write down that a stage is being made, from what; return the record."""
        options, inputs = self._now(stage)
        before = self.read(stage.name) if goes_on else None
        sources = sources_of(before) if before else ()
        if not any(each == self.source for each in sources):
            sources = (*sources, self.source)
        record = {
            'stage': stage.name, 'verb': stage.verb, 'state': BEGUN, 'options': options,
            'inputs': inputs, 'folders': {name: str(each) for name, each in stage.inputs.items()},
            'out': str(stage.out), 'command': stage.command,
            'commit': self.source.commit, 'sources': [asdict(each) for each in sources],
            'packages': package_versions(), 'machine': machine(),
            'seconds': before['seconds'] if before else 0.0,
            'starts': (before['starts'] if before else 0) + 1}
        write_json(self.path(stage.name), record)
        return record

    def finish(self, stage: Stage, record: dict) -> None:
        """
        Write down that a stage is done, and what it made.

        :raises ValueError: the verb ended well and left nothing
        """
        product = self.hashes.of_product(stage)
        if product is None:
            raise ValueError(f'stage {stage.name} ended well, but {stage.product} is empty')
        write_json(self.path(stage.name), {**record, 'state': DONE, 'product': product})


class Stopwatch:
    """The wall-clock of a running stage, noted in its record often enough to survive a kill."""

    def __init__(self, records: Records, record: dict):
        self._records, self._record = records, record
        self._before_s = record['seconds']
        self._began_s = self._noted_s = time.monotonic()

    def tick(self) -> None:
        """Note the seconds if it is time to; may be called as often as one likes."""
        if time.monotonic() - self._noted_s >= NOTE_EVERY_S:
            self.note()

    def note(self) -> None:
        """Note the seconds up to now, those of earlier starts included."""
        self._noted_s = time.monotonic()
        self._record['seconds'] = round(self._before_s + self._noted_s - self._began_s, 1)
        write_json(self._records.path(self._record['stage']), self._record)
