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

"""Packaging and set-up: what is installed, what is pinned, which apt source would be added."""

from email.utils import parseaddr
import os
from pathlib import Path
import re
import runpy
import shutil
import subprocess
import sys
from unittest import mock
from xml.etree import ElementTree

import pytest
from rlrc_ros import paths
import setuptools

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_FOLDERS = {'rlrc_ros': 'rlrc_ros', 'rlrc_training': 'training', 'rlrc_sim': 'sim'}
pytestmark = pytest.mark.skipif(
    not (ROOT / 'setup.py').is_file(), reason='needs the source tree, not an installation')


@pytest.fixture(scope='module')
def setup_arguments() -> dict:
    """Return the arguments that setup.py gives to setuptools."""
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        with mock.patch.object(setuptools, 'setup') as setup:
            runpy.run_path('setup.py')
    finally:
        os.chdir(here)
    return setup.call_args.kwargs


def pins(name: str) -> dict[str, str]:
    """Return the version of each package in one file of requirements/."""
    lines = (ROOT / 'requirements' / name).read_text(encoding='utf-8').splitlines()
    return dict(line.split('==') for line in lines if line and not line.startswith('#'))


def test_every_folder_with_code_is_installed(setup_arguments: dict) -> None:
    """A new sub-package that setup.py does not name would be missing on the robot."""
    found = set()
    for package, folder in PACKAGE_FOLDERS.items():
        for path in (ROOT / folder).rglob('*.py'):
            found.add('.'.join([package, *path.parent.relative_to(ROOT / folder).parts]))
    assert found == set(setup_arguments['packages'])


def test_everything_ros_needs_is_installed(setup_arguments: dict) -> None:
    """The resource marker, package.xml and every launch, config and checkpoint file is shipped."""
    installed = {file for _, files in setup_arguments['data_files'] for file in files}
    wanted = {'resource/rlrc_ros', 'package.xml'}
    for folder in ('launch', 'config', 'checkpoints'):
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob('*')
                   if path.is_file() and '__pycache__' not in path.parts}
    assert installed == wanted
    shares = {target for target, _ in setup_arguments['data_files']}
    assert 'share/ament_index/resource_index/packages' in shares


def test_assets_beside_the_code_are_package_data(setup_arguments: dict) -> None:
    """The URDF and the simulation's assets go along with the modules that read them."""
    package_data = setup_arguments['package_data']
    assert any((ROOT / 'rlrc_ros').glob(pattern) for pattern in package_data['rlrc_ros'])
    assets = {str(path.relative_to(ROOT / 'sim')) for path in (ROOT / 'sim/assets').rglob('*')
              if path.is_file()}
    assert set(package_data['rlrc_sim']) == assets


def test_every_entry_point_names_a_function_main(setup_arguments: dict) -> None:
    """Each console script and verb leads to a file that defines main."""
    entry_points = setup_arguments['entry_points']
    for entry in entry_points['console_scripts'] + entry_points['rlrc.verbs']:
        module, function = entry.split('=')[1].strip().split(':')
        package, _, name = module.partition('.')
        path = ROOT / PACKAGE_FOLDERS[package] / f'{name.replace(".", "/")}.py'
        assert path.is_file(), f'{entry}: {path} is missing'
        assert re.search(rf'^def {function}\(', path.read_text(encoding='utf-8'), re.MULTILINE)


def test_package_xml_agrees_with_setup_py(setup_arguments: dict) -> None:
    """Name, version, licence and maintainer are the same in both; colcon accepts the e-mail."""
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.get('format') == '3'
    assert package.findtext('name') == setup_arguments['name']
    assert package.findtext('version') == setup_arguments['version']
    assert package.findtext('license') == setup_arguments['license'] == 'Apache-2.0'
    email = package.find('maintainer').get('email')
    assert email == setup_arguments['maintainer_email']
    # catkin_pkg's rule; an address that fails it turns the package into a plain Python one.
    assert re.match(r'^[-a-zA-Z0-9_%+]+(\.[-a-zA-Z0-9_%+]+)*@[-a-zA-Z0-9%]+'
                    r'(\.[-a-zA-Z0-9%]+)*\.[a-zA-Z]{2,}$', parseaddr(email)[1])
    assert package.findtext('export/build_type') == 'ament_python'


def test_package_xml_declares_every_ros_package_we_import() -> None:
    """Each message package, launch package and rclpy that our code imports is a dependency."""
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for tag in ('depend', 'exec_depend')
                for element in package.iter(tag)}
    imported = set()
    for folder in (*PACKAGE_FOLDERS.values(), 'launch'):
        for path in (ROOT / folder).rglob('*.py'):
            imported |= set(re.findall(
                r'^\s*(?:from|import)\s+(rclpy|launch|launch_ros|\w+_msgs|std_srvs)\b',
                path.read_text(encoding='utf-8'), re.MULTILINE))
    assert 'rclpy' in imported
    # builtin_interfaces and its like come with rclpy.
    optional = {'interbotix_xs_msgs'}  # imported only when command_style asks for it
    assert imported - optional <= declared


def test_everything_is_pinned_exactly() -> None:
    """Every requirement has one version, and the same one where two files name it."""
    everything: dict[str, str] = {}
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        for name, version in pins(path.name).items():
            key = re.sub('[-_.]+', '-', name).lower()
            assert everything.setdefault(key, version) == version, f'{name} in {path.name}'
    assert 'torchvision' not in everything
    assert 'timm' not in everything


def test_torch_comes_first_and_no_ros_wheel_is_general() -> None:
    """The torch pin has a file of its own, and ROS wheels are only in theirs."""
    assert pins('torch.txt') == {'torch': '2.13.0'}
    assert not [name for name in pins('runtime.txt') if name.startswith('ros-')]
    assert all(name.startswith('ros-') for name in pins('ros.txt'))


def test_shared_files_are_found_in_the_source_tree() -> None:
    """Configuration is found from where the code lies."""
    assert (paths.share_folder() / 'package.xml').is_file()
    with pytest.raises(FileNotFoundError, match="'no_such.yaml' is not in"):
        paths.config_file('no_such.yaml')
    with pytest.raises(FileNotFoundError, match="checkpoint 'no_such' did not come"):
        paths.shipped_checkpoint('no_such')


@pytest.mark.parametrize('where', ['prefix', 'ament'])
def test_shared_files_are_found_in_an_installed_prefix(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Beside site-packages first, and through the ament index where the code lies elsewhere."""
    prefix = tmp_path / 'prefix'
    share = prefix / 'share' / 'rlrc_ros'
    checkpoint = share / 'checkpoints' / paths.SHIPPED_CHECKPOINT
    checkpoint.mkdir(parents=True)
    (checkpoint / 'config.json').write_text('{}')
    (share / 'package.xml').write_text('<package><name>rlrc_ros</name></package>')
    code_prefix = prefix if where == 'prefix' else tmp_path / 'elsewhere'
    monkeypatch.setattr(paths, '__file__', str(
        code_prefix / 'lib' / 'python3.12' / 'site-packages' / 'rlrc_ros' / 'paths.py'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'no_prefix'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix) if where == 'ament' else '')
    assert paths.share_folder() == share
    assert paths.shipped_checkpoint() == checkpoint


def test_an_incomplete_installation_says_so(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shared files the error names where they were looked for."""
    monkeypatch.setattr(paths, '__file__', str(tmp_path / 'a' / 'b' / 'rlrc_ros' / 'paths.py'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setenv('AMENT_PREFIX_PATH', '')
    with pytest.raises(FileNotFoundError, match='install it again'):
        paths.share_folder()


KEY = '/usr/share/keyrings/mirror.gpg'
DEB822 = """\
# the release
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {signed_by}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
STANZA = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
"""


def derive(folder: Path) -> subprocess.CompletedProcess:
    """Ask the set-up which source it would add for a machine with this apt folder."""
    return subprocess.run(
        [sys.executable, ROOT / 'scripts/backports_source.py', folder, 'bookworm'],
        capture_output=True, text=True, check=False)


def apt_folder(tmp_path: Path, **files: str) -> Path:
    """Write an apt folder; `list` becomes sources.list, others go into sources.list.d/."""
    (tmp_path / 'sources.list.d').mkdir()
    for name, text in files.items():
        path = {'list': 'sources.list', 'deb822': 'sources.list.d/debian.sources',
                'extra': 'sources.list.d/extra.sources',
                'off': 'sources.list.d/old.list.disabled'}[name]
        (tmp_path / path).write_text(text, encoding='utf-8')
    return tmp_path


@pytest.mark.parametrize(('files', 'signed_by'), [
    ({'deb822': DEB822.format(signed_by=KEY)}, f'Signed-By: {KEY}\n'),
    ({'deb822': DEB822.format(signed_by='\n -----BEGIN\n .\n mQIN\n -----END')},
     'Signed-By:\n -----BEGIN\n .\n mQIN\n -----END\n'),
    ({'list': 'deb http://mirror.example/debian bookworm main\n'}, ''),
    ({'list': '# deb http://old.example/debian bookworm main\n'
              f'deb [arch=amd64 signed-by={KEY}] http://mirror.example/debian bookworm main #\n'},
     f'Signed-By: {KEY}\n'),
    ({'list': 'deb-src http://old.example/debian bookworm main\n',
      'deb822': 'Enabled: no\n' + DEB822.format(signed_by=KEY).replace('mirror', 'old'),
      'extra': DEB822.format(signed_by=KEY)}, f'Signed-By: {KEY}\n'),
], ids=['deb822', 'embedded key', 'one line', 'one line with options', 'disabled entries'])
def test_backports_come_from_the_machines_own_mirror(
        tmp_path: Path, files: dict[str, str], signed_by: str) -> None:
    """Mirror and key are those of the machine's entry for the release, in either form."""
    answer = derive(apt_folder(tmp_path, **files))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == STANZA + signed_by


def test_backports_are_not_added_twice(tmp_path: Path) -> None:
    """A machine that has backports already gets no second source."""
    answer = derive(apt_folder(
        tmp_path, deb822=DEB822.format(signed_by=KEY),
        list='deb http://mirror.example/debian bookworm-backports main\n'))
    assert (answer.returncode, answer.stdout) == (0, '')


def test_no_release_entry_is_an_error(tmp_path: Path) -> None:
    """Without an entry for the release there is no mirror to derive from, and it is said."""
    answer = derive(apt_folder(
        tmp_path, off='deb http://mirror.example/debian bookworm main\n'))
    assert answer.returncode == 1
    assert 'no apt source' in answer.stderr


@pytest.mark.skipif(not shutil.which('apt-get'), reason='the commands are those of apt')
def test_without_root_the_commands_are_printed_and_nothing_is_installed(tmp_path: Path) -> None:
    """A user without root or sudo gets the exact commands and a failure, not a half set-up."""
    touched = tmp_path / 'apt-get was called'
    commands = {
        'python': f'case "$*" in *vulkan_probe*) echo no device; exit 1;; esac\n'
                  f'exec {sys.executable} "$@"',
        'id': 'echo 1000',
        'sudo': 'exit 1',
        'apt-get': f'touch "{touched}"; exit 1',
    }
    for name, script in commands.items():
        (tmp_path / name).write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path / name).chmod(0o755)
    answer = subprocess.run(
        ['bash', ROOT / 'scripts/vulkan.sh', tmp_path / 'python', tmp_path / 'log'],
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
        capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert 'Vulkan: no device' in answer.stdout
    assert 'sudo apt-get update' in answer.stderr
    assert re.search(r'sudo apt-get install .*mesa-vulkan-drivers\n', answer.stderr)
    assert answer.stderr.endswith('make setup\n')
    assert not touched.exists()


def test_a_device_that_renders_is_left_alone(tmp_path: Path) -> None:
    """Where the probe succeeds, nothing is installed and the device is named."""
    (tmp_path / 'python').write_text('#!/bin/sh\necho some GPU\n')
    (tmp_path / 'python').chmod(0o755)
    answer = subprocess.run(
        ['bash', ROOT / 'scripts/vulkan.sh', tmp_path / 'python', tmp_path / 'log'],
        capture_output=True, text=True, check=False)
    assert answer.returncode == 0
    assert 'Vulkan: some GPU' in answer.stdout
