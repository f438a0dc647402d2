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

"""The code that can change a number is told from all that cannot."""

import ast
from collections.abc import Iterator
import os
from pathlib import Path

import pytest
from rlrc_training.provenance import code_hash, COMPUTES_NOTHING, machine, own_folders
from rlrc_training.stages.plan import CONFIGS
from rlrc_training.stages.sources import by_source, Source, source_now, sources_of


def test_only_code_that_computes_counts(tmp_path):
    """Edits and new files of code change the hash; documents, reports and bytecode do not."""
    lab = tmp_path / 'training'
    for name in ('sft.py', 'report.py', 'reporting/page.py', 'stages/plan.py'):
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        (lab / name).write_text('')
    folders = {'rlrc_training': lab}
    before = code_hash(folders)
    for name in ('report.py', 'reporting/page.py', 'stages/plan.py', 'README.md', 'sft.pyc',
                 '.cache.py'):
        (lab / name).write_text('told = 1')
        assert code_hash(folders) == before, name
    seen = {before}
    for name, text in (('sft.py', 'rate = 1'), ('sft.py', 'rate = 2'), ('new.py', ''),
                       ('arm.urdf', '<robot/>')):
        (lab / name).write_text(text)
        seen.add(code_hash(folders))
    assert len(seen) == 5
    (lab / 'sft.py').rename(lab / 'tfs.py')
    assert code_hash(folders) not in seen
    assert len(code_hash()) == 12 and code_hash() != code_hash({})


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f'{node.module}.{each.name}' for each in node.names)


def test_what_is_left_out_is_imported_by_no_verb_that_computes():
    """Followed through every import, those inside functions too, from the stages' own verbs."""
    folders, seen = own_folders(), set()
    waiting = [f'rlrc_training.{verb}' for verb in (*CONFIGS, 'bench_rows') if verb != 'report']
    while waiting:
        top, *rest = waiting.pop().split('.')
        path = folders.get(top, Path('none')).joinpath(*rest).with_suffix('.py')
        if path.is_file() and path not in seen:
            seen.add(path)
            waiting += _imports(path)
    inside = {f'{name}/{path.relative_to(folder).as_posix()}'
              for name, folder in folders.items() for path in seen if folder in path.parents}
    assert {'rlrc_training/sft.py', 'rlrc_sim/world.py', 'rlrc_ros/vla/model.py'} <= inside
    assert not [each for each in inside if each.startswith(COMPUTES_NOTHING)]


@pytest.mark.parametrize(('first', 'second', 'same'), [
    (Source('a', '1'), Source('b', '1'), True), (Source('a+', '1'), Source('a+', '2'), False),
    (Source('a'), Source('a', '1'), True), (Source('a'), Source('b', '1'), False)])
def test_two_states_are_told_apart_by_code_or_else_by_commit(first, second, same):
    """A commit of documents is the same code; two edits of one commit are not."""
    assert first.same(second) is same
    assert len(by_source({'one': {'commit': '', 'sources': [vars(first)]},
                          'two': {'commit': '', 'sources': [vars(second)]}})) == 2 - same


def test_edits_are_allowed_by_their_hash_only():
    """`+` names any edit; a commit without edits, or an old record's, is name enough."""
    assert Source('a', '1').is_named(['a']) and Source('a+', '1').is_named(['1'])
    assert not Source('a+', '1').is_named(['a+']) and Source('a+').is_named(['a+'])
    assert sources_of({'commit': 'a'}) == (Source('a'),)
    assert source_now().code == code_hash()


@pytest.mark.parametrize(('flags', 'words'), [
    ('avx2 avx512_bf16', 'X 9, {} cores'), ('avx2', 'X 9, {} cores, no bf16 arithmetic')])
def test_a_machine_without_bf16_says_so(flags, words, tmp_path):
    """Its times in bf16 are those of emulation, and processors of one name differ in that."""
    cpuinfo = tmp_path / 'cpuinfo'
    cpuinfo.write_text(f'model name\t: X 9\nflags\t\t: fpu {flags}\n')
    assert machine(cpuinfo) == words.format(os.cpu_count())
