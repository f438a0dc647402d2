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

"""The script that compares the rivals: what it asks for, what it writes, where it goes on."""

from dataclasses import asdict
import importlib.util
import json
from pathlib import Path
import sys

import pytest
from rlrc_training.intervals import compare_paired
from rlrc_training.presets import preset
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.plan import make_plan

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'compare_rivals.py'


@pytest.fixture(scope='module')
def script():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location('compare_rivals', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('size', ['nano', 'choice'])
def test_every_rival_has_a_plan_at_every_ratio(script, size):
    """Each cell is a valid `rlrc prune` of the same ratio, or says why there is none."""
    decoder = preset(size)[0].decoder
    layers, refused = len(decoder.layers), []
    for name in script.RIVALS:
        for ratio in (0.2, 0.5, 0.9):
            try:
                options = script.prune_options(name, ratio, layers)
            except PruneError as error:
                refused.append((name, ratio, str(error)))
                continue
            plan = make_plan(decoder, PruneConfig(
                ratio=ratio, layers=(0, layers), round_to=1, **options))
            kept = plan.keep_layers * (1 - plan.layer_ratio)
            assert kept == pytest.approx(layers * (1 - ratio))
            assert (plan.keep_layers < layers) == (name == 'ours: fewer-wider')
    expected = [('ours: fewer-wider', 0.2)] if size == 'nano' else []
    assert [each[:2] for each in refused] == expected


def test_fewer_layers_are_midway_between_all_and_dense_ones(script):
    """At 50 % of 12 layers 6 could stay dense, so 9 stay."""
    assert [script.keep_layers(ratio, 12) for ratio in (0.2, 0.5, 0.9)] == [11, 9, 7]
    assert [script.keep_layers(ratio, 4) for ratio in (0.5, 0.9)] == [3, 2]
    with pytest.raises(PruneError, match='of 4 layers none can go at a ratio of 0.2'):
        script.keep_layers(0.2, 4)


def _document(successes: list[bool]) -> dict:
    count = sum(successes)
    return {'checkpoint': 'x', 'summary': {
        'episodes': len(successes), 'grasped': {'count': count},
        'success_once': {'count': count, 'rate': count / len(successes), 'wilson_95': [0, 1]}},
        'episodes': [{'episode_set': 'ind', 'seed': seed, 'success_once': each}
                     for seed, each in enumerate(successes)]}


def test_the_table_pairs_every_cell_with_the_dense_policy(script, tmp_path, monkeypatch):
    """Success, interval, difference and share; a refusal says its nearest valid ratio."""
    dense, ours = _document([True] * 10), _document([True] * 6 + [False] * 4)
    record = {'dense': script._success(dense), 'set': 'ind', 'commit': 'c', 'machine': 'm',
              'command': 'python scripts/compare_rivals.py', 'cells': [
                  {'rival': 'wanda', 'ratio': 0.2, 'removed': 0.2, **script._success(ours),
                   'against_dense': asdict(script.paired(dense, ours))},
                  {'rival': 'wanda', 'ratio': 0.9, 'refused': 'most is 0.88. Or else'}]}
    low, high = compare_paired([True] * 10, [True] * 6 + [False] * 4).interval_95
    script._write(tmp_path, record, [0.2, 0.9])
    lines = (tmp_path / 'table.md').read_text().splitlines()
    assert lines[0] == '| rival | 20 % | 90 % |'
    assert lines[2].startswith('| dense | 10/10 (100 %')
    assert f'6/10 (60 %, 95 % CI 31-83); -40 points ({100 * low:+.0f} to ' in lines[3]
    assert lines[3].endswith('20 % gone | refused: most is 0.88 |') and low < -0.4 < high
    assert json.loads((tmp_path / 'rivals.json').read_text()) == json.loads(json.dumps(record))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['rivals.json', 'table.md']


def test_a_finished_cell_is_not_played_again(script, tmp_path, monkeypatch):
    """results.json with the asked seeds is enough; with fewer the evaluation goes on."""
    done = _document([True, False])
    (tmp_path / 'evaluation').mkdir()
    (tmp_path / 'evaluation' / 'results.json').write_text(json.dumps(done))
    played = []

    def evaluate(config, pool):
        played.append((config.episodes, config.stop_on_success, config.videos))

    monkeypatch.setattr(script, 'evaluate', evaluate)
    for episodes in ('2', '3'):
        options = script._options(['--episodes', episodes])
        assert script._played(Path('checkpoint'), tmp_path, options, None) == done
    assert played == [(3, True, 0)]
    assert 'compare_rivals' not in sys.modules
