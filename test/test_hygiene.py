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

"""What holds for every file of the repository: header, size, no trace of a machine, no pickle."""

from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE_BYTES = 16 * 2**20
NOT_OURS = {'.git', '.venv', '.venv-libero', '.setup', 'build', 'install', 'log', 'out', 'runs',
            '__pycache__', '.pytest_cache', '.ruff_cache'}
TEXT_SUFFIXES = {'', '.cfg', '.json', '.md', '.py', '.rst', '.rviz', '.sh', '.toml', '.txt',
                 '.urdf', '.xml', '.yaml'}

# Written in two halves, so that this file does not find itself.
MACHINE_PATH = re.compile(r'(?<![\w.~}])/(?:ro' r'ot|ho' r'me/\w+|wo' r'rk|Us' r'ers/\w+)/')
PACKAGE_INDEX = re.compile(r'(?:extra-)?index' r'-url|pypi\.' r'org|pythonhosted\.' r'org|'
                           r'download\.py' r'torch|deb\.deb' r'ian|archive\.ub' r'untu')
UNSAFE_LOAD = re.compile(r'^\s*(?:import|from)\s+(?:c?pick' r'le|dill)\b|'
                         r'trust_remote' r'_code\s*=\s*True|'
                         r'torch\.lo' r'ad\((?!.*weights_only=True)', re.MULTILINE)
APACHE_HEADER = re.compile(
    r'# Copyright \d{4} The rlrc_ros Authors\n#\n'
    r'# Licensed under the Apache License, Version 2\.0 \(the "License"\);\n')


def our_files() -> list[Path]:
    """Return the files of the repository: git's answer, or a walk where there is no git."""
    listing = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True,
        text=True, check=False) if (ROOT / '.git').exists() else None
    if listing and listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.split('\0') if name]
    else:
        paths = [path for path in ROOT.rglob('*')
                 if not any(part in NOT_OURS or part.endswith('.egg-info')
                            for part in path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[Path, str]]:
    """Return the text files of the repository with their content."""
    return [(path, path.read_text(encoding='utf-8'))
            for path in our_files() if path.suffix in TEXT_SUFFIXES]


def matches(pattern: re.Pattern, suffix: str | None = None) -> list[str]:
    """Return file and text of each match of `pattern` in our text files."""
    return [f'{path.relative_to(ROOT)}: {match.group(0).strip()}' for path, text in texts()
            if suffix in (None, path.suffix) for match in pattern.finditer(text)]


def test_every_python_file_has_the_licence_header() -> None:
    """Each file that is not empty begins with the Apache header that ament_copyright wants."""
    python_files = [(path, text) for path, text in texts() if path.suffix == '.py']
    assert len(python_files) > 10
    bare = [str(path.relative_to(ROOT)) for path, text in python_files
            if text and not APACHE_HEADER.match(text)]
    assert not bare


def test_no_file_is_too_large() -> None:
    """No file outgrows what a clone should carry."""
    large = {str(path.relative_to(ROOT)): path.stat().st_size for path in our_files()
             if path.stat().st_size > LARGEST_FILE_BYTES}
    assert not large


def test_no_path_of_one_machine() -> None:
    """No file names a folder that exists on one machine only."""
    assert not matches(MACHINE_PATH)


def test_no_package_index_is_named() -> None:
    """No file names a host that packages come from: that is the user's pip and apt to say."""
    assert not matches(PACKAGE_INDEX)


def test_nothing_is_unpickled() -> None:
    """No Python file imports a pickler, trusts remote code or loads weights unsafely."""
    assert not matches(UNSAFE_LOAD, suffix='.py')


@pytest.mark.parametrize(('pattern', 'text'), [
    (MACHINE_PATH, 'open("/ho' 'me/me/model")'),
    (MACHINE_PATH, 'data in /ro' 'ot/data'),
    (PACKAGE_INDEX, 'pip install --index' '-url x'),
    (UNSAFE_LOAD, 'import pick' 'le'),
    (UNSAFE_LOAD, 'torch.lo' 'ad(path)'),
    (UNSAFE_LOAD, 'f(trust_remote' '_code=True)'),
])
def test_the_patterns_find_what_they_forbid(pattern: re.Pattern, text: str) -> None:
    """Each pattern matches an offence."""
    assert pattern.search(text)


@pytest.mark.parametrize(('pattern', 'text'), [
    (MACHINE_PATH, 'rlrc_ros/nodes, ./wo' 'rk/x, ~/ho' 'me'),
    (UNSAFE_LOAD, 'torch.lo' 'ad(path, weights_only=True)'),
])
def test_the_patterns_let_the_harmless_through(pattern: re.Pattern, text: str) -> None:
    """No pattern matches what is allowed."""
    assert not pattern.search(text)


def test_style_is_clean() -> None:
    """Ruff, with the rules of ament_flake8 in pyproject.toml, finds nothing."""
    pytest.importorskip('ruff')
    ruff = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise',
                           str(ROOT)], capture_output=True, text=True, check=False)
    assert ruff.returncode == 0, ruff.stdout + ruff.stderr
