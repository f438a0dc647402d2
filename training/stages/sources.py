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
Under which states of the source a stage worked, and whether they may stand beside each other.

A state is the code that can change a result (provenance.code_hash) and the commit that people know
it by. Records from before code was hashed have the commit alone, and are told apart by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlrc_training.provenance import code_hash, source_commit


@dataclass(frozen=True)
class Source:
    """A state of the source."""

    commit: str
    """Short hash, with `+` where tracked files differed from it."""
    code: str | None = None
    """Hash of the code that computes; None in records of old form."""

    def __str__(self) -> str:
        """Say both."""
        return self.commit + (f' (code {self.code})' if self.code else '')

    @property
    def name(self) -> str:
        """Return what --allow-commit takes it by."""
        return self.code or self.commit

    def same(self, other: 'Source') -> bool:
        """Tell whether both compute alike."""
        if self.code and other.code:
            return self.code == other.code
        return self.commit == other.commit

    def is_named(self, names: Iterable[str]) -> bool:
        """Tell whether one of the names means it; `+` alone does not say which edits."""
        own = {self.name} | ({self.commit} if not self.commit.endswith('+') else set())
        return not own.isdisjoint(names)


def source_now() -> Source:
    """Return the state of the source as it lies there."""
    return Source(source_commit(), code_hash())


def sources_of(record: Mapping) -> tuple[Source, ...]:
    """Return the states that a recorded stage worked under, in their order."""
    if 'sources' in record:
        return tuple(Source(**each) for each in record['sources'])
    return (Source(record['commit']),)


def by_source(records: Mapping[str, Mapping]) -> list[tuple[Source, list[str]]]:
    """Return the states that records name, each once, with the stages that worked under it."""
    found: list[tuple[Source, list[str]]] = []
    for stage, record in records.items():
        for source in sources_of(record):
            names = next((names for each, names in found if each.same(source)), None)
            if names is None:
                found.append((source, names := []))
            if stage not in names:
                names.append(stage)
    return found


def in_words(found: Sequence[tuple[Source, Sequence[str]]]) -> str:
    """Return by_source()'s answer in words."""
    return '; '.join(f'{source}: {", ".join(names)}' for source, names in found)
