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
Who may import whom, read from the syntax tree of every file; DESIGN: robot, lab and simulator.

A robot installs the robot side alone, and a lab without ROS trains: so each room keeps to its own
imports. The checker is tried on files that break each rule before it is trusted with ours.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_FOLDERS = {'rlrc_ros': 'rlrc_ros', 'rlrc_training': 'training', 'rlrc_sim': 'sim'}

SHARED_BY_ALL = ('rlrc_ros.types', 'rlrc_ros.paths')
OWN_IMPORTS = {
    'rlrc_ros': ('rlrc_ros',),
    'rlrc_training': ('rlrc_training', 'rlrc_sim', 'rlrc_ros.vla', *SHARED_BY_ALL),
    'rlrc_sim': ('rlrc_sim', 'rlrc_ros.vla.actions', 'rlrc_ros.arm', *SHARED_BY_ALL),
}
"""What each package may import of the three packages, as prefixes of module names."""

MODULES_OF = {
    'rclpy': ('rlrc_ros.nodes', 'rlrc_ros.arm.commands', 'rlrc_sim.bridge_node'),
    'mani_skill': ('rlrc_sim',),
    'sapien': ('rlrc_sim',),
    'bitsandbytes': ('rlrc_ros.vla.bitsandbytes_ops',),
}
"""Which modules, as prefixes, may import a heavy library."""


@dataclass(frozen=True)
class Import:
    """One import: who imports what, and where."""

    importer: str
    imported: str
    line: int


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether `module` is one of `prefixes` or lies below one."""
    return any(module == prefix or module.startswith(f'{prefix}.') for prefix in prefixes)


def imports_of(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """Yield every import in `source`, also inside functions and through importlib."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                parts = parts[:len(parts) - node.level + (1 if is_package else 0)]
                base = '.'.join([*parts, *([base] if base else [])])
            # `from rlrc_ros import vla` imports rlrc_ros.vla; `from rlrc_ros.types import Action`
            # names a class, and its longer name lies below the same prefix.
            for alias in node.names:
                yield Import(module, f'{base}.{alias.name}', node.lineno)
        elif (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)):
            called = ast.unparse(node.func)
            if called in ('importlib.import_module', 'import_module', '__import__'):
                yield Import(module, node.args[0].value, node.lineno)


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return one line for each import in `source` that its room does not allow."""
    found = []
    package = module.partition('.')[0]
    for entry in imports_of(source, module, is_package):
        library = entry.imported.partition('.')[0]
        if library in OWN_IMPORTS and not within(entry.imported, OWN_IMPORTS[package]):
            found.append(f'{module}:{entry.line} imports {entry.imported}; {package} may import '
                         f'{", ".join(OWN_IMPORTS[package])}')
        if library in MODULES_OF and not within(module, MODULES_OF[library]):
            found.append(f'{module}:{entry.line} imports {entry.imported}; only '
                         f'{", ".join(MODULES_OF[library])} may import {library}')
    return found


def our_files() -> list[tuple[Path, str, bool]]:
    """Return each Python file of the three packages with its module name."""
    files = []
    for package, folder in PACKAGE_FOLDERS.items():
        for path in sorted((ROOT / folder).rglob('*.py')):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix('').parts]
            is_package = parts[-1] == '__init__'
            files.append((path, '.'.join(parts[:-1] if is_package else parts), is_package))
    return files


def test_every_room_keeps_to_its_imports() -> None:
    """No file of the three packages imports what its room may not."""
    files = our_files()
    assert {module.partition('.')[0] for _, module, _ in files} == set(PACKAGE_FOLDERS)
    found = [line for path, module, is_package in files
             for line in violations(path.read_text(encoding='utf-8'), module, is_package)]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize(('module', 'source'), [
    ('rlrc_ros.vla.policy', 'import rlrc_sim'),
    ('rlrc_ros.vla.policy', 'from rlrc_training.sft import main'),
    ('rlrc_ros.doctor', 'def probe():\n    from rlrc_sim import world'),
    ('rlrc_ros.doctor', "import importlib\nimportlib.import_module('rlrc_sim.world')"),
    ('rlrc_training.demo', 'import rlrc_ros.nodes.vla_node'),
    ('rlrc_training.demo', 'from rlrc_ros import arm'),
    ('rlrc_training.demo', 'import rclpy.node'),
    ('rlrc_training.collect', 'import mani_skill.envs'),
    ('rlrc_training.collect', 'from sapien import Pose'),
    ('rlrc_sim.world', 'from rlrc_training import data'),
    ('rlrc_sim.world', 'from rlrc_ros.vla.policy import Policy'),
    ('rlrc_sim.world', 'from rclpy.node import Node'),
    ('rlrc_ros.arm.safety', 'import rclpy'),
    ('rlrc_ros.vla.model', 'import bitsandbytes'),
])
def test_the_checker_sees_a_violation(module: str, source: str) -> None:
    """Each rule, broken on purpose, is reported."""
    assert len(violations(source, module)) == 1


def test_the_checker_resolves_relative_imports() -> None:
    """A relative import counts as the module that it reaches."""
    relative = list(imports_of('from ..vla import policy', 'rlrc_ros.arm.safety', False))
    in_package = list(imports_of('from .policy import Policy', 'rlrc_ros.vla', True))
    assert [entry.imported for entry in relative] == ['rlrc_ros.vla.policy']
    assert [entry.imported for entry in in_package] == ['rlrc_ros.vla.policy.Policy']


@pytest.mark.parametrize(('module', 'source'), [
    ('rlrc_ros.nodes.vla_node', 'import rclpy\nfrom rlrc_ros.vla.policy import Policy'),
    ('rlrc_ros.arm.commands', 'from rclpy.time import Time'),
    ('rlrc_training.sft', 'from rlrc_ros.vla import model\nfrom rlrc_sim.world import World'),
    ('rlrc_sim.world', 'import mani_skill\nfrom rlrc_ros.vla.actions import clip'),
    ('rlrc_sim.world', 'from rlrc_ros.types import Action'),
    ('rlrc_sim.bridge_node', 'import rclpy'),
])
def test_the_checker_lets_the_allowed_through(module: str, source: str) -> None:
    """What DESIGN allows is not reported."""
    assert violations(source, module) == []
