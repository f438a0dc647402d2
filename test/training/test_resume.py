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

"""A state on disk is whole at any moment: kill -9, a full disk, another configuration."""

from dataclasses import dataclass, replace
import json
import multiprocessing
import os
from pathlib import Path
import resource
import signal
import time

import numpy as np
import pytest
from rlrc_ros.vla.model import Vla
from rlrc_training.presets import preset
from rlrc_training.resume import (
    append_metrics,
    check_same_run,
    keep_checkpoint,
    load_state,
    save_state,
    settle,
    trim_metrics,
)
import torch

FORK = multiprocessing.get_context('fork')
LENGTH = 30_000
"""Numbers in a tensor: few enough for one thread, as OpenMP's other ones are not forked."""


def _save_for_ever(folder: Path) -> None:
    step = 0
    while True:
        step += 1
        save_state(folder, {'x': torch.full((LENGTH,), float(step))}, {'step': step})


def test_a_process_killed_at_any_moment_leaves_a_whole_state(tmp_path):
    """Twelve times kill -9 in the middle of writing: tensors and progress belong together."""
    folder, seen = tmp_path / 'state', set()
    rng = np.random.default_rng(0)
    for _ in range(12):
        process = FORK.Process(target=_save_for_ever, args=(folder,))
        process.start()
        deadline = time.monotonic() + 30
        while not folder.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0.01, 0.06)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        tensors, progress = load_state(folder)
        assert (tensors['x'] == progress['step']).all()
        seen.add(progress['step'])
    assert len(seen) > 1


def test_a_kill_between_the_two_moves_is_mended(tmp_path):
    """The former state lies under its other name, and is put back."""
    folder = tmp_path / 'state'
    save_state(folder, {'x': torch.ones(3)}, {'step': 1})
    os.replace(folder, tmp_path / '.state.old')
    tensors, progress = load_state(folder)
    assert progress == {'step': 1} and tensors['x'].sum() == 3
    assert settle(folder).exists() and not (tmp_path / '.state.old').exists()


def _run_out_of_room(folder: Path, answers) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        save_state(folder, {'x': torch.zeros(LENGTH)}, {'step': 2})
    except OSError as error:
        answers.put(str(error))
    vla, tokenizer = preset('tiny')
    try:
        keep_checkpoint(folder.with_name('checkpoint'), Vla(vla), tokenizer, {}, {})
    except OSError as error:
        answers.put(str(error))


def test_a_full_disk_leaves_the_last_state_and_says_so(tmp_path):
    """The file may not grow beyond 10 kB: the error names the state that is still whole."""
    folder = tmp_path / 'state'
    save_state(folder, {'x': torch.ones(1000)}, {'step': 1})
    answers = FORK.Queue()
    process = FORK.Process(target=_run_out_of_room, args=(folder, answers))
    process.start()
    message, about_checkpoint = answers.get(timeout=120), answers.get(timeout=120)
    process.join()
    assert 'checkpoint cannot be written' in about_checkpoint
    assert 'there is no earlier one' in about_checkpoint
    assert not (tmp_path / 'checkpoint').exists()
    assert 'cannot be written' in message and f'whole in {folder}' in message
    assert load_state(folder)[1] == {'step': 1}


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """The state before them stays."""
    folder = tmp_path / 'state'
    save_state(folder, {'x': torch.ones(2)}, {'step': 1})
    with pytest.raises(FloatingPointError, match='y and 0 other tensors are not finite'):
        save_state(folder, {'x': torch.ones(2), 'y': torch.tensor([float('inf')])}, {'step': 2})
    assert load_state(folder)[1] == {'step': 1}


@dataclass(frozen=True)
class _Config:
    out: Path
    rate: float = 0.1
    processes: int = 2
    later: int = 7


def test_another_configuration_is_refused_and_every_difference_named(tmp_path):
    """How fast may change; an option that a former version did not know had its default."""
    config = _Config(tmp_path / 'run')
    check_same_run(config)
    check_same_run(replace(config, processes=5))
    with pytest.raises(ValueError, match=r'rate 0.1 → 0.5, later 7 → 8'):
        check_same_run(replace(config, rate=0.5, later=8))
    path = config.out / 'config.json'
    known = json.loads(path.read_text())
    del known['later']
    path.write_text(json.dumps(known))
    check_same_run(config)
    path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match='later 7 → 8'):
        check_same_run(replace(config, later=8))


def test_metrics_beyond_the_state_are_dropped(tmp_path):
    """A resumed run writes them again; a line that a kill cut short goes as well."""
    path = tmp_path / 'metrics.jsonl'
    for update in (1, 2, 3):
        append_metrics(path, {'update': update})
    path.write_text(path.read_text() + '{"upda')
    trim_metrics(path, 'update', 2)
    assert [json.loads(line)['update'] for line in path.read_text().splitlines()] == [1, 2]
