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
Print the apt source of Debian's backports, derived from the machine's own entry for the release.

usage: python backports_source.py APT_FOLDER CODENAME

Reads `sources.list` and `sources.list.d/` in APT_FOLDER, in the one-line and in the deb822 form,
and prints one deb822 stanza with the same mirror and the same key; nothing if backports are there
already. Only the standard library: it runs while the set-up is still going on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
import re
import sys

ONE_LINE = re.compile(r'^deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*'
                      r'(?P<components>[^#]*)')


@dataclass(frozen=True)
class Source:
    """One apt source of binary packages."""

    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ''
    """A key file, or an embedded key with its indented lines; empty: apt's default keys."""

    def stanza(self) -> str:
        """Return this source in deb822 form."""
        lines = ['Types: deb', f'URIs: {self.uris}', f'Suites: {" ".join(self.suites)}',
                 f'Components: {" ".join(self.components)}']
        if self.signed_by:
            lines.append(f'Signed-By:{self.signed_by}')
        return '\n'.join(lines)


def read_one_line(text: str) -> Iterator[Source]:
    """Yield the sources of a classic .list file."""
    for line in text.splitlines():
        match = ONE_LINE.match(line.strip())
        if match:
            options = dict(option.split('=', 1)
                           for option in (match['options'] or '').split() if '=' in option)
            signed_by = options.get('signed-by', '')
            yield Source(match['uri'], (match['suite'],), tuple(match['components'].split()),
                         f' {signed_by}' if signed_by else '')


def read_deb822(text: str) -> Iterator[Source]:
    """Yield the enabled sources of a .sources file."""
    for stanza in re.split(r'\n[ \t]*\n', text):
        fields: dict[str, str] = {}
        name = ''
        for line in stanza.splitlines():
            if line.startswith('#'):
                continue
            if line[:1] in (' ', '\t') and name:
                fields[name] += f'\n{line}'
            elif ':' in line:
                name, value = line.split(':', 1)
                name = name.strip().lower()
                fields[name] = f' {value.strip()}' if value.strip() else ''
        if 'deb' not in fields.get('types', '').split():
            continue
        if fields.get('enabled', 'yes').strip().lower() in ('no', 'false', '0'):
            continue
        yield Source(' '.join(fields.get('uris', '').split()),
                     tuple(fields.get('suites', '').split()),
                     tuple(fields.get('components', '').split()), fields.get('signed-by', ''))


def read_folder(apt_folder: Path) -> list[Source]:
    """Return every enabled source of binary packages that apt would read in `apt_folder`."""
    parts = sorted((apt_folder / 'sources.list.d').glob('*'))
    sources: list[Source] = []
    for path in [apt_folder / 'sources.list', *parts]:
        if path.is_file() and path.suffix in ('.list', '.sources'):
            read = read_deb822 if path.suffix == '.sources' else read_one_line
            sources += read(path.read_text(encoding='utf-8'))
    return sources


def backports(apt_folder: Path, codename: str) -> Source | None:
    """Return the source to add, or None if the backports of `codename` are already there."""
    suite = f'{codename}-backports'
    sources = read_folder(apt_folder)
    if any(suite in source.suites for source in sources):
        return None
    for source in sources:
        if codename in source.suites and 'main' in source.components:
            return replace(source, suites=(suite,), components=('main',))
    raise LookupError(
        f'no apt source in {apt_folder} has the suite {codename} with the component main; '
        f'add {suite} by hand, then type: make setup')


def main() -> int:
    """Print the stanza for the folder and codename of the command line."""
    if len(sys.argv) != 3:
        print('usage: python backports_source.py APT_FOLDER CODENAME', file=sys.stderr)
        return 2
    try:
        source = backports(Path(sys.argv[1]), sys.argv[2])
    except LookupError as error:
        print(f'set-up stopped: {error}', file=sys.stderr)
        return 1
    if source:
        print(source.stanza())
    return 0


if __name__ == '__main__':
    sys.exit(main())
