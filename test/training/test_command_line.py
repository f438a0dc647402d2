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

"""What a user gets wrong is told in one line."""

import pytest
from rlrc_training import collect, evaluate, sft


@pytest.mark.parametrize(('main', 'arguments', 'words'), [
    (sft.main, ['--preset', 'giant'], "preset 'giant' is not known; there are: small, nano"),
    (collect.main, ['--first-seed', '3'], 'first_seed 3 is not a training seed')])
def test_a_wrong_option_is_told_with_the_valid_ones(main, arguments, words, capsys):
    """Exit status 2, no traceback, and the message names the value."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    written = ' '.join(capsys.readouterr().err.replace('│', ' ').split())
    assert exit_.value.code == 2
    assert words in written and 'Traceback' not in written


@pytest.mark.parametrize(('main', 'arguments', 'words'), [
    (evaluate.main, ['no/such/folder'], 'rlrc evaluate: there is no checkpoint folder'),
    (sft.main, ['--data', 'nowhere', '--preset', 'tiny'], 'rlrc sft: no demonstrations in')])
def test_what_is_missing_ends_in_one_line_and_status_1(main, arguments, words, capsys, tmp_path,
                                                       monkeypatch):
    """No traceback, and the message names the path."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    written = capsys.readouterr().err
    assert words in written and 'Traceback' not in written


def test_help_teaches_every_option(capsys):
    """Each field's docstring stands in --help."""
    with pytest.raises(SystemExit):
        sft.main(['--help'])
    assert 'softened over neighbouring bins' in ' '.join(capsys.readouterr().out.split())
