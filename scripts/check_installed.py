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
Check one installation of rlrc_ros; scripts/check_install.sh runs this after each way to install.

usage: python check_installed.py --prefix FOLDER --scripts FOLDER --kind copied|source

`copied`: modules and shared files lie below the prefix. `source`: they are those of a source tree
(an editable install, or colcon's symbolic links). Only the standard library is needed.
"""

import argparse
from importlib import import_module, metadata
import os
from pathlib import Path
import subprocess
import sys

PACKAGES = ('rlrc_ros', 'rlrc_training', 'rlrc_sim')
COMMANDS = ('rlrc', 'vla_node', 'sim_bridge')


class Incomplete(Exception):
    """Something that an installation must have is not there."""


def expect(condition: bool, message: str) -> None:
    """Raise Incomplete with `message` unless `condition` holds."""
    if not condition:
        raise Incomplete(message)


def check_modules(prefix: Path, kind: str) -> None:
    """Import the three packages and see that they are the ones just installed."""
    for name in PACKAGES:
        origin = Path(import_module(name).__file__)
        if kind == 'copied':
            expect(prefix in origin.parents, f'{name} came from {origin}, not from {prefix}')
        else:
            expect((origin.resolve().parents[1] / 'package.xml').is_file(),
                   f'{name} came from {origin}, which is no source tree')
    urdf = Path(import_module('rlrc_ros').__file__).parent / 'arm' / 'urdf' / 'wx250s.urdf'
    expect(urdf.is_file(), f'{urdf} is missing')


def check_commands(scripts: Path) -> None:
    """See that the commands are there and that `rlrc --help` lists the verbs."""
    for name in COMMANDS:
        expect(os.access(scripts / name, os.X_OK), f'{scripts / name} is missing')
    verbs = [entry_point.name for entry_point in metadata.entry_points(group='rlrc.verbs')]
    expect('doctor' in verbs and 'demo' in verbs, f'the verbs are only {verbs}')
    listing = subprocess.run([scripts / 'rlrc', '--help'], capture_output=True, text=True,
                             check=False)
    expect(listing.returncode == 0, f'rlrc --help failed: {listing.stderr}')
    for verb in verbs:
        expect(f'  {verb}' in listing.stdout, f'rlrc --help does not list {verb}')


def check_shared_files(prefix: Path, kind: str) -> None:
    """See that launch, config and the ament marker are where ROS and our code look for them."""
    paths = import_module('rlrc_ros.paths')
    share = paths.share_folder()
    expect(share == prefix / 'share' / 'rlrc_ros' if kind == 'copied'
           else (share / 'setup.py').is_file(), f'the shared files were found in {share}')
    for pattern in ('config/*.yaml', 'launch/*.launch.py'):
        expect(bool(list(share.glob(pattern))), f'{share} holds no {pattern}')
    if (prefix / 'lib').is_dir():  # a prefix of its own, which an editable install has not
        marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rlrc_ros'
        expect(marker.is_file(), f'{marker} is missing: ros2 would not find the package')
        for name in ('package.xml', 'config/vla.yaml', 'launch/vla.launch.py'):
            file = prefix / 'share' / 'rlrc_ros' / name
            expect(file.is_file(), f'{file} is missing')


def main() -> int:
    """Check the installation that the command line describes; return 0 if it is complete."""
    parser = argparse.ArgumentParser(description='Check one installation of rlrc_ros.')
    parser.add_argument('--prefix', type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument('--scripts', type=Path, required=True)
    parser.add_argument('--kind', choices=('copied', 'source'), required=True)
    options = parser.parse_args()
    try:
        check_modules(options.prefix, options.kind)
        check_commands(options.scripts)
        check_shared_files(options.prefix, options.kind)
    except (Incomplete, ImportError, FileNotFoundError) as error:
        print(f'incomplete installation: {error}', file=sys.stderr)
        return 1
    print('         three packages, three commands, verbs, shared files: all there')
    return 0


if __name__ == '__main__':
    sys.exit(main())
