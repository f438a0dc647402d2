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


"""What the demo says of one policy, and of two beside each other."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rlrc_ros import paths
from rlrc_ros.vla.checkpoint import inspect
from rlrc_training.demo import arm_parameters, DemoConfig, second_checkpoint
from rlrc_training.demo_report import report
from tiny_vla import make_tiny_checkpoint

OUTCOME = {'episodes': [{'success_once': True, 'steps': 20, 'wall_s': 1.0}],
           'vla_node': {'inference_p50_ms': '21', 'inference_p95_ms': '30'},
           'seconds': {'total': 30.0, 'until_up': 12.0}}


def _said(*folders: Path) -> str:
    console = Console(file=StringIO(), width=200)
    report([(folder.parent, 'lockstep', inspect(folder), OUTCOME) for folder in folders], console)
    return console.file.getvalue()


def test_two_policies_stand_side_by_side(tmp_path):
    """Names above, success, MB and ms in one row each; a folder `checkpoint` has its parent's."""
    first = make_tiny_checkpoint(tmp_path / 'rlrc-4bit')
    second = make_tiny_checkpoint(tmp_path / 'dense' / 'checkpoint')
    text = _said(first, second)
    assert 'rlrc-4bit' in text and 'dense' in text
    for row, words in (('success', '1/1 ('), ('weights', ' MB'), ('inference', '21 / 30 ms')):
        line = next(each for each in text.splitlines() if row in each)
        assert line.count(words) == 2, line
    assert 'rlrc-4bit' not in _said(first), 'one policy needs no heading'


def test_the_worlds_are_those_that_the_checkpoint_was_trained_on(tmp_path):
    """The last stage that names a set decides; none does in a checkpoint that was not trained."""
    plain = inspect(make_tiny_checkpoint(tmp_path / 'plain'))
    assert plain.episode_set == 'ind'
    stages = [{'name': 'sft', 'config': {'episode_set': 'ind'}}, {'name': 'quantize'},
              {'name': 'rl', 'config': {'episode_set': 'put25_choice'}},
              {'name': 'quantize', 'config': {'group_size': 32}}]
    trained = replace(plain, provenance={'stages': stages})
    assert trained.episode_set == 'put25_choice'
    for config, wanted in ((DemoConfig(out=tmp_path), 'put25_choice'),
                           (DemoConfig(out=tmp_path, episode_set='ind'), 'ind')):
        assert arm_parameters(config, trained)['episode_set'] == wanted


def test_the_dense_policy_is_compared_where_it_is_shipped(tmp_path, monkeypatch):
    """By default only beside the shipped checkpoint; --single and --checkpoint leave it out."""
    (tmp_path / 'package.xml').write_text('<name>rlrc_ros</name>')
    monkeypatch.setattr(paths, 'candidate_folders', lambda: iter([tmp_path]))
    assert second_checkpoint(DemoConfig()) is None
    dense = make_tiny_checkpoint(tmp_path / 'checkpoints' / paths.DENSE_CHECKPOINT)
    assert second_checkpoint(DemoConfig()) == dense
    assert second_checkpoint(DemoConfig(single=True)) is None
    assert second_checkpoint(DemoConfig(checkpoint=dense)) is None
    assert second_checkpoint(DemoConfig(checkpoint=dense, compare=tmp_path)) == tmp_path
    with pytest.raises(ValueError, match='single runs one'):
        DemoConfig(compare=dense, single=True)
