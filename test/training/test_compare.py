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

"""Two evaluations side by side."""

import json

import pytest
from rlrc_training.compare import paired, print_comparison, read_results, suite_of


def _write(folder, outcomes: dict[int, bool], episode_set: str = 'put25_ind'):
    folder.mkdir()
    (folder / 'results.json').write_text(json.dumps({
        'checkpoint': folder.name, 'machine': 'here', 'alone': {
            'memory_bytes': 5e6, 'memory_is': 'weights in RAM', 'single_ms': {'p50': 4.0},
            'actions_per_s': 250.0},
        'episodes': [{'episode_set': episode_set, 'seed': seed, 'success_once': once}
                     for seed, once in outcomes.items()]}))
    return folder


def test_only_equal_episodes_are_compared(tmp_path):
    """Seeds that one side alone played do not count; order in the file does not matter."""
    first = _write(tmp_path / 'a', {0: True, 1: False, 2: True})
    second = _write(tmp_path / 'b', {2: True, 1: True, 7: False})
    compared = paired(read_results(first), read_results(second))
    assert (compared.episodes, compared.only_second, compared.both) == (2, 1, 1)


def test_the_table_names_both_and_their_difference(tmp_path, capsys):
    """Rates with n, memory, and the paired difference with McNemar's p are printed."""
    first = _write(tmp_path / 'a', {seed: seed % 2 == 0 for seed in range(40)})
    second = _write(tmp_path / 'b', dict.fromkeys(range(40), True))
    print_comparison([first, second])
    printed = ' '.join(capsys.readouterr().out.split())
    assert '+50.0 points' in printed and 'McNemar p=1.91e-06' in printed


def test_suites_and_axes_have_their_own_cells(tmp_path, capsys):
    """Equal axes of two suites are not added up; an axis that nobody played has no column."""
    folders = [_write(tmp_path / name, {}) for name in 'ab']
    for folder in folders:
        document = json.loads((folder / 'results.json').read_text())
        document['episodes'] = [
            {'episode_set': name, 'seed': seed, 'success_once': once}
            for name, once in (('ind', True), ('put25_ind', False), ('put25_unseen_table', True))
            for seed in range(3)]
        document['not_the_originals'] = ['plate/texture.png']
        (folder / 'results.json').write_text(json.dumps(document))
    print_comparison(folders)
    printed = capsys.readouterr().out
    assert printed.count('3/3') == 4 and printed.count('0/3') == 2
    assert 'Vision' in printed and 'OOD' in printed and 'Execution' not in printed
    assert suite_of('ind') == 'small task' and suite_of('official_ood') == 'official'
    assert 'not for comparison' in ' '.join(printed.split())


def test_sets_in_which_words_choose_have_their_columns(tmp_path, capsys):
    """Seen and unseen things apart; a set that nobody played has no column."""
    print_comparison([_write(tmp_path / name, {0: True, 1: name == 'a'}, 'put25_choice_ood')
                      for name in 'ab'])
    printed = ' '.join(capsys.readouterr().out.split())
    assert '2/2 (100' in printed and '1/2 (50' in printed
    assert 'Choice OOD' in printed and 'Vision' not in printed


@pytest.mark.parametrize(
    ('outcomes', 'words'), [({9: True}, 'in common'), (None, 'rlrc evaluate')])
def test_what_cannot_be_compared_is_refused(tmp_path, outcomes, words):
    """No common episode, or no results at all: the error says what to type."""
    first = _write(tmp_path / 'a', {0: True})
    second = tmp_path / 'b' if outcomes is None else _write(tmp_path / 'b', outcomes)
    with pytest.raises(ValueError, match=words):
        print_comparison([first, second])


def test_one_folder_is_no_comparison(tmp_path):
    """At least two."""
    with pytest.raises(ValueError, match='two or more'):
        print_comparison([tmp_path])
