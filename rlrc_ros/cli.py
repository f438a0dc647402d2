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
One command for every stage: rlrc VERB [OPTIONS].

The verbs are entry points of the group `rlrc.verbs`, found when the command runs; so the robot
side imports no lab side, a robot without the lab still has its verbs, and another package can add
one. `rlrc --help` lists them, reading each one's first docstring line without importing it. Each
verb is a function main(argv: list[str] | None) -> int | None; its exit status passes through.
"""

import ast
import difflib
from importlib import metadata, util
import os
from pathlib import Path
import sys

VERB_GROUP = 'rlrc.verbs'
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # what shells report for a process ended by SIGINT
EXIT_BROKEN_PIPE = 141  # likewise by SIGPIPE


def find_verbs() -> dict[str, metadata.EntryPoint]:
    """Return the installed verbs by name, in the order of their names."""
    entry_points = metadata.entry_points(group=VERB_GROUP)
    # A source tree beside its own installation is listed twice; both name the same function.
    return {entry_point.name: entry_point
            for entry_point in sorted(entry_points, key=lambda entry_point: entry_point.name)}


def describe(entry_point: metadata.EntryPoint) -> str:
    """Return the first docstring line of a verb's module, read from its source, not imported."""
    try:
        spec = util.find_spec(entry_point.module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        return '(not part of this installation)'
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding='utf-8')))
    return (docstring or '').partition('\n')[0]


def usage(verbs: dict[str, metadata.EntryPoint]) -> str:
    """Return the text of `rlrc --help`."""
    if not verbs:
        return ('rlrc: no verbs are registered, so the package is not installed here.\n'
                'Type:  make setup        (or: pip install -e . --no-deps)')
    width = max(len(name) for name in verbs)
    lines = ['usage: rlrc VERB [OPTIONS]', '']
    lines += [f'  {name:{width}}  {describe(verb)}'.rstrip() for name, verb in verbs.items()]
    return '\n'.join([*lines, '', 'rlrc VERB --help teaches each one.'])


def unknown_verb(name: str, verbs: dict[str, metadata.EntryPoint]) -> str:
    """Return the message for a verb that does not exist, with the closest one that does."""
    closest = difflib.get_close_matches(name, verbs, n=1, cutoff=0.5)
    hint = f' Did you mean:  rlrc {closest[0]}' if closest else ''
    return f'rlrc has no verb {name!r}; it has: {", ".join(verbs)}.{hint}'


def missing_module(verb: str, entry_point: metadata.EntryPoint, missing: str) -> str:
    """Return the message for a verb whose module, or something that it imports, is absent."""
    own_package = entry_point.module.partition('.')[0]
    if missing.partition('.')[0] == own_package:
        return (f'rlrc {verb} is not part of this installation: {missing} is missing. '
                f'In a clone of the repository, type:  make setup')
    return (f'rlrc {verb} needs the Python package {missing!r}, which is not installed. '
            f"In a clone, type:  make setup   elsewhere:  pip install 'rlrc_ros[train,sim]'")


def run(verb: str, entry_point: metadata.EntryPoint, arguments: list[str]) -> int:
    """Load one verb, run it and return its exit status."""
    try:
        verb_main = entry_point.load()
    except ModuleNotFoundError as error:
        if error.name is None:
            raise
        print(missing_module(verb, entry_point, error.name), file=sys.stderr)
        return 1
    sys.argv = [f'rlrc {verb}', *arguments]  # what argparse and tyro print after `usage:`
    return verb_main(arguments) or 0


def main(argv: list[str] | None = None) -> int:
    """Run the verb that the command line names; return the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    verbs = find_verbs()
    if not arguments or arguments[0] in ('-h', '--help', 'help'):
        print(usage(verbs))
        return 0 if arguments and verbs else EXIT_USAGE
    verb, *rest = arguments
    if verb not in verbs:
        print(unknown_verb(verb, verbs) if verbs else usage(verbs), file=sys.stderr)
        return EXIT_USAGE
    try:
        return run(verb, verbs[verb], rest)
    except KeyboardInterrupt:
        print(f'\nrlrc {verb}: interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `rlrc doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


if __name__ == '__main__':
    sys.exit(main())
