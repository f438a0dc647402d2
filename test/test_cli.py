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

"""The command `rlrc`: verbs listed without importing them, statuses passed on, help given."""

from importlib import metadata
from pathlib import Path
import signal
import subprocess
import sys

import pytest
from rlrc_ros import cli


@pytest.fixture
def verb_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a verb of some source, importable and not installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def make(name: str, source: str) -> dict[str, metadata.EntryPoint]:
        module = f'{name}_stage_for_test'
        names.append(module)
        (tmp_path / f'{module}.py').write_text(source, encoding='utf-8')
        return {name: metadata.EntryPoint(name, f'{module}:main', cli.VERB_GROUP)}

    yield make
    for module in names:
        sys.modules.pop(module, None)


def run_cli(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the installed command as a user does."""
    return subprocess.run([sys.executable, '-m', 'rlrc_ros.cli', *arguments], check=False,
                          capture_output=True, text=True, timeout=120, **options)


def test_help_lists_each_installed_verb_with_its_first_docstring_line() -> None:
    """`rlrc --help` names every registered verb and says what `doctor` does."""
    answer = run_cli('--help')
    assert answer.returncode == 0, answer.stderr
    for verb in cli.find_verbs():
        assert f'  {verb}' in answer.stdout
    assert 'doctor' in cli.find_verbs()
    assert 'Say what this machine has' in answer.stdout


def test_describing_a_verb_does_not_import_it(verb_in) -> None:
    """The first docstring line is read from source that would fail when imported."""
    verbs = verb_in('fold', '"""Fold a towel.\n\nSlowly."""\nraise RuntimeError\n')
    assert cli.describe(verbs['fold']) == 'Fold a towel.'


def test_a_verb_that_is_not_installed_is_listed_as_such() -> None:
    """A robot without the lab side sees which verbs it lacks."""
    absent = metadata.EntryPoint('sft', 'no_such_package.sft:main', cli.VERB_GROUP)
    assert cli.describe(absent) == '(not part of this installation)'


def test_the_verb_gets_its_arguments_and_its_status_passes_through(verb_in) -> None:
    """What a verb returns is the status of the command; None means success."""
    verbs = verb_in('count', '"""Count."""\ndef main(argv=None):\n    return len(argv)\n')
    assert cli.run('count', verbs['count'], ['a', 'b', 'c']) == 3
    verbs = verb_in('quiet', '"""Keep quiet."""\ndef main(argv=None):\n    pass\n')
    assert cli.run('quiet', verbs['quiet'], []) == 0


def test_no_verb_prints_the_list_and_fails() -> None:
    """`rlrc` alone teaches, and does not look like success to a script."""
    answer = run_cli()
    assert answer.returncode == cli.EXIT_USAGE
    assert 'usage: rlrc VERB' in answer.stdout


def test_an_unknown_verb_gets_the_closest_one() -> None:
    """A typing mistake is answered with the verb that was meant and with all of them."""
    answer = run_cli('docter')
    assert answer.returncode == cli.EXIT_USAGE
    assert "no verb 'docter'" in answer.stderr
    assert 'Did you mean:  rlrc doctor' in answer.stderr


def test_a_missing_library_is_named_with_what_to_type(verb_in, capsys) -> None:
    """A verb whose library is absent says which one and how to get it, without a traceback."""
    verbs = verb_in('dig', '"""Dig."""\nimport no_such_spade\n')
    assert cli.run('dig', verbs['dig'], []) == 1
    message = capsys.readouterr().err
    assert "'no_such_spade'" in message
    assert 'make setup' in message


def test_a_missing_stage_is_told_from_a_missing_library(capsys) -> None:
    """A verb of a side that is not installed is not answered with the name of a library."""
    absent = metadata.EntryPoint('sft', 'no_such_package.sft:main', cli.VERB_GROUP)
    assert cli.run('sft', absent, []) == 1
    assert 'not part of this installation' in capsys.readouterr().err


def test_without_any_verb_the_help_says_how_to_install() -> None:
    """A source tree that was never installed says what to type."""
    assert 'make setup' in cli.usage({})


def test_ctrl_c_ends_a_verb_without_a_traceback(tmp_path: Path) -> None:
    """SIGINT during a verb gives the shells' status 130 and one line."""
    (tmp_path / 'endless.py').write_text(
        '"""Wait."""\nimport time\n'
        'def main(argv=None):\n    print("waiting", flush=True)\n    time.sleep(60)\n')
    source = (
        'import sys; sys.path.insert(0, sys.argv[1])\n'
        # A shell's background job begins with SIGINT ignored, and hands that on.
        'import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from importlib.metadata import EntryPoint\n'
        'from rlrc_ros import cli\n'
        "cli.find_verbs = lambda: {'wait': EntryPoint('wait', 'endless:main', 'rlrc.verbs')}\n"
        "sys.exit(cli.main(['wait']))\n")
    process = subprocess.Popen([sys.executable, '-c', source, str(tmp_path)], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline() == 'waiting\n'
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == cli.EXIT_INTERRUPTED
    assert 'Traceback' not in errors
    assert 'interrupted' in errors
