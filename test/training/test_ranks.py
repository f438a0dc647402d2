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

"""Two processes train as one does: the same seed and global batch give the same losses."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import ranks_run
from rlrc_training import ranks
from rlrc_training.data import Episode, save_episode
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from safetensors.torch import load_file
from tiny_vla import make_tiny_checkpoint
import torch
from torch.distributed.distributed_c10d import Backend, BackendConfig

TEST = Path(__file__).resolve().parents[1]


def _demonstrate(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(2)
    actions = rng.normal(0, 0.01, (10, 7))
    actions[:, 6] = rng.integers(0, 2, 10)
    save_episode(folder, Episode(
        1_000_000, 'ind', 'put can on red plate',
        rng.integers(0, 255, (10, 64, 64, 3)).astype(np.uint8), actions.astype(np.float32),
        rng.normal(size=(10, 9)).astype(np.float32)))
    return folder


@pytest.mark.parametrize('cuda', [False, True])
def test_tensors_of_the_cpu_are_added_up_beside_those_of_a_gpu(monkeypatch, cuda):
    """PPO counts episodes on the CPU, which NCCL alone would refuse."""
    started = []
    monkeypatch.setattr(ranks.distributed, 'init_process_group',
                        lambda backend, **_: started.append(backend))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda _: None)
    monkeypatch.setenv('WORLD_SIZE', '2')
    ranks.start('auto')
    assert BackendConfig(Backend(started[0])).get_device_backend_map()['cpu'] == 'gloo'
    assert ('nccl' in started[0]) is cuda


@pytest.mark.timeout(240)
def test_two_processes_give_the_losses_of_one(tmp_path):
    """
    PPO and SFT under torchrun with gloo: every metric, the last SFT step's losses, the weights.

    SFT also with a share of the model on each, interrupted and taken up.
    """
    checkpoint, demos = make_tiny_checkpoint(tmp_path / 'tiny'), _demonstrate(tmp_path / 'demos')
    one, two = tmp_path / 'one', tmp_path / 'two'
    process = subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
         str(TEST / 'ranks_run.py'), str(checkpoint), str(demos), str(two)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(
            [str(TEST), os.environ.get('PYTHONPATH', '')]), 'OMP_NUM_THREADS': '1'})
    try:
        ranks_run.main(checkpoint, demos, one)
        said, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 0, said
    alone, together = (json.loads((each / 'told.json').read_text()) for each in (one, two))
    assert len(alone['rl']) == 3 and alone['rl'][2]['bc_loss'] > 0
    for ours, theirs in zip(alone['rl'], together['rl']):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert 'error' not in alone
    assert together['error'].startswith('num_envs 5 cannot be shared by 2 processes evenly; use 4')
    runs = [one / 'sft', two / 'sft', two / 'shares']
    losses = [json.loads((each / 'metrics.jsonl').read_text().splitlines()[-1]) for each in runs]
    assert losses[0]['step'] == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] == pytest.approx(losses[2], rel=1e-3)
    assert said.count('step=4 success_once=None') == 2, 'one rank tells'
    states = [load_file(each / 'state' / 'tensors.safetensors') for each in runs[1:]]
    for name, each in states[0].items():
        # A bias in front of a norm has rounding for a gradient, and AdamW makes a step of that.
        if name.endswith('.bias') and 'patch_embed' in name:
            continue
        torch.testing.assert_close(states[1][name], each, rtol=1e-4, atol=1e-4, msg=name)
    saved = [load_file(each / 'checkpoint' / 'model.safetensors') for each in runs[1:]]
    assert {name: each.shape for name, each in saved[0].items()} == {
        name: each.shape for name, each in saved[1].items()}


def test_one_process_is_the_first_and_the_only_one():
    """Without torchrun nothing is waited for and everything is one's own."""
    assert (ranks.rank(), ranks.world_size(), ranks.is_first()) == (0, 1, True)
    assert ranks.share('num_envs', 5) == range(5)


def test_shares_for_one_process_are_refused(tmp_path):
    """And for adapters, which every process can hold."""
    checkpoint, demos = make_tiny_checkpoint(tmp_path / 'tiny'), _demonstrate(tmp_path / 'demos')
    config = {'data': (demos,), 'init': checkpoint, 'out': tmp_path / 'out', 'device': 'cpu'}
    with pytest.raises(ValueError, match='torchrun'):
        sft(SftConfig(**config, shard=True))
    with pytest.raises(ValueError, match='leave --shard or --lora-rank away'):
        SftConfig(**config, shard=True, lora_rank=4)
