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

"""Curves are drawn from logs as `rlrc rl` writes them, and only of what belongs together."""

import csv
from dataclasses import asdict
import json
from pathlib import Path

import numpy as np
import pytest
from rlrc_training.report import main
from rlrc_training.reporting.ablations import ablations, curve, read_run, read_runs, smoothed
from rlrc_training.resume import append_metrics
from rlrc_training.rl_config import RlConfig


def _log(folder: Path, arm: str, seed: int, shares: list, evaluated: tuple = (0.5, 0.7),
         **changes) -> Path:
    """Write a run's log as rl.Progress does: an evaluation, updates, an evaluation."""
    run = folder / f'{arm}-{seed}'
    run.mkdir(parents=True)
    config = RlConfig(out=run, seed=seed, num_envs=4, num_steps=10, total_timesteps=400,
                      eval_episodes=20, **changes)
    (run / 'config.json').write_text(json.dumps(asdict(config), default=str))
    path = run / 'metrics.jsonl'

    def judge(update: int, once: float) -> None:
        append_metrics(path, {'update': update, 'env_steps': 40 * update, 'eval': {
            'success_once': once, 'success_at_end': once / 2, 'episodic_return': once}})
    judge(0, evaluated[0])
    for update, share in enumerate(shares, 1):
        append_metrics(path, {'update': update, 'env_steps': 40 * update,
                              'charts/first_success': share, 'losses/value_loss': 0.1})
    judge(len(shares), evaluated[1])
    return run


def test_curves_are_means_between_the_lowest_and_the_highest_seed(tmp_path):
    """Three seeds, one a step ahead: only steps that all reached; NaN where the log has none."""
    for seed, shares in enumerate(([0.0, 0.5, 1.0], [0.25, 0.5, 0.75, 1.0], [0.5, None, 0.5])):
        _log(tmp_path, 'full', seed, shares)
    line = curve(read_runs(tmp_path))
    assert line['env_steps'].tolist() == [40, 80, 120]
    np.testing.assert_allclose(line['mean'], [0.25, (0.25 + 0.375 + 0.5) / 3, 0.5])
    np.testing.assert_allclose(line['low'], [0.0, 0.25, 0.5])
    np.testing.assert_allclose(line['high'], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(smoothed(np.array([np.nan, 1.0, 0.0]), 2), [np.nan, 1.0, 0.5])


def test_the_page_has_every_arm_with_its_seeds_and_intervals(tmp_path, capsys):
    """Picture, numbers and a table that pools the seeds' evaluations; SFT alone is update 0."""
    for seed in range(3):
        _log(tmp_path, 'full', seed, [0.4, 0.6], (0.5, 0.7 + 0.05 * seed))
        _log(tmp_path, 'no_bc', seed, [0.4, 0.3], bc='kl')
    _log(tmp_path, 'scratch', 0, [0.0, 0.0], (0.0, 0.0))
    picture = ablations(tmp_path, tmp_path / 'page')
    assert picture.read_bytes()[:4] == b'\x89PNG' and picture.stat().st_size > 10_000
    table = capsys.readouterr().out
    assert (tmp_path / 'page' / 'ablations.md').read_text() == table
    rows = {row.split(' | ')[0].strip('| '): row for row in table.splitlines()[2:]}
    full = rows['SFT, then RL: warm-up and imitation']
    full = rows['SFT, then RL: warm-up and imitation']
    assert '| 3 | 80 | 0.50 (0.50-0.50) | 45/60 (75 %' in full
    assert '| 1 | 80 | 0.00 (0.00-0.00) | 0/20 (0 %' in rows['RL from scratch (pruned, no SFT)']
    assert '10/20 (50 %' in rows['SFT alone'] and 'no critic warm-up' not in rows
    with open(tmp_path / 'page' / 'ablations.csv') as file:
        numbers = list(csv.DictReader(file))
    assert len(numbers) == 6 and numbers[1] == {
        'arm': 'full', 'seeds': '3', 'env_steps': '80', 'mean': '0.5', 'low': '0.5', 'high': '0.5'}


def test_the_evaluation_of_a_run_that_goes_on_is_not_its_end(tmp_path, capsys):
    """One of two seeds lacks its last evaluation: the arm has none yet."""
    for seed in range(2):
        run = _log(tmp_path, 'full', seed, [0.4, 0.6])
    lines = (run / 'metrics.jsonl').read_text().splitlines(keepends=True)
    (run / 'metrics.jsonl').write_text(''.join(lines[:-1]))
    ablations(tmp_path, tmp_path / 'page')
    full, alone = capsys.readouterr().out.splitlines()[2:]
    assert '| not evaluated | not evaluated |' in full and '10/20 (50 %' in alone


def test_an_evaluation_that_stops_on_success_knows_no_end(tmp_path, capsys):
    """--eval-stop-on-success: what was not seen is called so."""
    run = _log(tmp_path, 'full', 0, [0.4, 0.6], eval_stop_on_success=True,
               best_by='success_once')
    path = run / 'metrics.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.get('eval', {}).pop('success_at_end', None)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    ablations(tmp_path, tmp_path / 'page')
    full, alone = capsys.readouterr().out.splitlines()[2:]
    assert full.endswith('14/20 (70 %, 95 % CI 48-85) | not evaluated |')
    assert alone.endswith('| not evaluated |')


def test_runs_that_differ_in_more_than_their_seed_are_refused(tmp_path, capsys):
    """The option and both of its values are named."""
    _log(tmp_path, 'full', 0, [0.4])
    _log(tmp_path, 'full', 1, [0.4], learning_rate=3e-4)
    assert main(['ablations', str(tmp_path), '--out', str(tmp_path / 'page')]) == 1
    assert 'differ in learning_rate 0.0001 and 0.0003' in capsys.readouterr().err
    assert not (tmp_path / 'page').exists()


def test_a_folder_without_runs_and_a_run_without_an_update_say_what_to_do(tmp_path):
    """A line that a kill cut short is no update."""
    with pytest.raises(ValueError, match='recipes/ablations.sh'):
        read_runs(tmp_path)
    run = _log(tmp_path, 'full', 0, [])
    with open(run / 'metrics.jsonl', 'a') as file:
        file.write('{"update": 1, "env_st')
    with pytest.raises(ValueError, match='has no update yet; let `rlrc rl --out'):
        read_run(run)
