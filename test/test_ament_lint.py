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

"""The linters of ament find nothing, where they are installed: on a machine with ROS 2, mostly."""

from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [str(ROOT / name) for name in (
    'rlrc_ros', 'training', 'sim', 'launch', 'test', 'scripts', 'setup.py')]


@pytest.mark.parametrize(('linter', 'arguments'), [
    # setup.cfg has its rules and leaves out one of newer plug-ins: A005 on rlrc_ros/types.py.
    ('flake8', ['--config', str(ROOT / 'setup.cfg'), *FOLDERS]),
    ('pep257', FOLDERS), ('copyright', FOLDERS)])
def test_an_ament_linter_finds_nothing(linter: str, arguments: list[str]) -> None:
    """Run as `ament_LINTER` runs."""
    pytest.importorskip(f'ament_{linter}')
    main = __import__(f'ament_{linter}.main', fromlist=['main']).main
    assert main(argv=arguments) == 0


def test_xml_is_well_formed() -> None:
    """package.xml, the robot description and the DDS profile parse with xmllint."""
    if shutil.which('xmllint') is None:
        pytest.skip('xmllint is not here: apt install libxml2-utils')
    files = [ROOT / 'package.xml', ROOT / 'config' / 'fastdds_shm.xml',
             *sorted((ROOT / 'rlrc_ros' / 'arm' / 'urdf').glob('*.urdf'))]
    found = subprocess.run(['xmllint', '--noout', *map(str, files)], check=False,
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
