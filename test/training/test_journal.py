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

"""A run that stopped goes on, and counts nothing twice."""

from dataclasses import replace
import json

import pytest
from rlrc_sim.rollout import EpisodeResult
from rlrc_training.journal import EPISODES, Journal

RUN = {'policy': 'abc', 'stop_on_success': False}
TASKS = [('ind', seed) for seed in range(4)]


def _result(seed: int, once: bool = True) -> EpisodeResult:
    return EpisodeResult(seed, 'ind', 'put can on red plate', once, once, once, 80, 20, 1.2,
                         object_name='can')


def test_a_second_run_plays_what_the_first_left(tmp_path):
    """Two of four episodes lie there: they come back as they were, the other two are missing."""
    first = Journal(tmp_path, RUN)
    assert first.add(_result(2)) and first.add(_result(0, once=False))
    second = Journal(tmp_path, RUN)
    assert second.missing(TASKS) == [('ind', 1), ('ind', 3)]
    assert second.results['ind', 0] == _result(0, once=False)


def test_a_line_cut_off_by_a_kill_is_played_again(tmp_path):
    """Half a line is dropped from the file, whole lines before it stay, later ones append."""
    first = Journal(tmp_path, RUN)
    first.add(_result(0))
    first.add(_result(1))
    path = tmp_path / EPISODES
    path.write_bytes(path.read_bytes()[:-20])
    second = Journal(tmp_path, RUN)
    assert second.missing(TASKS[:2]) == [('ind', 1)]
    second.add(_result(1))
    assert [json.loads(line)['seed'] for line in path.read_text().splitlines()] == [0, 1]


def test_an_episode_counts_once(tmp_path):
    """The same episode added twice, or standing in the file twice, is one episode."""
    journal = Journal(tmp_path, RUN)
    assert journal.add(_result(0)) and not journal.add(replace(_result(0), success_once=False))
    path = tmp_path / EPISODES
    path.write_text(path.read_text() * 2)
    assert len(Journal(tmp_path, RUN).results) == 1


def test_episodes_of_other_code_are_kept_and_said(tmp_path, caplog):
    """Every state of the code that has played is noted; one that is there again is nothing new."""
    Journal(tmp_path, RUN, code='a').add(_result(0))
    assert not caplog.messages
    second = Journal(tmp_path, RUN, code='b')
    assert 'other code played (a, this is b)' in caplog.text
    assert second.code == ['a', 'b'] and second.missing(TASKS) == TASKS[1:]
    assert Journal(tmp_path, RUN, code='a').code == ['a', 'b']
    assert Journal(tmp_path, RUN, fresh=True, code='c').code == ['c']


def test_episodes_of_another_policy_are_not_mixed_in(tmp_path):
    """Another fingerprint is refused, saying how to begin anew; --fresh does."""
    Journal(tmp_path, RUN).add(_result(0))
    other = {**RUN, 'policy': 'xyz'}
    with pytest.raises(ValueError, match='policy differ.*--fresh'):
        Journal(tmp_path, other)
    assert Journal(tmp_path, other, fresh=True).missing(TASKS) == TASKS
