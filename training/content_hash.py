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
SHA-256 of a folder's contents, and files written whole or not at all.

A folder of demonstrations has thousands of files: its hash is remembered as long as names, sizes
and times of its files stay the same. Files that only tell of the others do not count.
"""

import hashlib
import json
import os
from pathlib import Path

RECORDS, MEMORY = 'pipeline', 'hashes.cache'
"""Folder of a pipeline's records in its own, and where hashes are remembered in it."""
BEGUN, DONE = 'begun', 'done'
"""States of a record."""
BESIDE = ('provenance.json', 'README.md', 'collection.json', 'pruning.json', 'pruning.png',
          'fidelity.json', 'fidelity.md', 'metrics.jsonl')
"""Files in a product that tell of it and change nothing for who reads it."""


def write_json(path: Path, document: object) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(document, indent=1, default=str))
    os.replace(partial, path)


class Hashes:
    """
    Content hashes of folders; listings that did not change are not read again.

    :param memory: file that keeps them for the next time; None: nothing is kept
    """

    def __init__(self, memory: Path | None = None):
        self._memory = memory
        try:
            self._known = json.loads(memory.read_text()) if memory else {}
        except (OSError, ValueError):
            self._known = {}

    def of(self, folder: Path, only: str = '') -> str | None:
        """Return the hash of a folder's files, or of `only` one, or None if there is nothing."""
        files = [folder / only] if only else sorted(
            path for path in folder.rglob('*') if path.is_file() and path.name not in BESIDE
            and not any(part.startswith('.') for part in path.relative_to(folder).parts))
        files = [path for path in files if path.is_file()]
        if not files:
            return None
        listing = hashlib.sha256()
        for path in files:
            stat = path.stat()
            listing.update(f'{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns}\n'
                           .encode())
        key = str(folder.resolve() / only)
        remembered = self._known.get(key)
        if remembered and remembered[0] == listing.hexdigest():
            return remembered[1]
        content = hashlib.sha256()
        for path in files:
            content.update(f'{path.relative_to(folder)}\n'.encode())
            with path.open('rb') as file:
                content.update(hashlib.file_digest(file, 'sha256').digest())
        self._known[key] = [listing.hexdigest(), content.hexdigest()]
        if self._memory:
            write_json(self._memory, self._known)
        return content.hexdigest()
