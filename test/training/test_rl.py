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

"""`rlrc rl` with the simulator: killed with -9 in the middle, it ends as the run that was not."""

from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from deadly_action import Deadly
import numpy as np
import pytest
from rlrc_ros.vla.checkpoint import inspect, open_checkpoint
from rlrc_sim.rollout import play, WorldPool, WorldProcessEndedError
from rlrc_training import rl as rl_module
from rlrc_training.rl import rl
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_rollout import Collector
from safetensors.torch import load_file
from tiny_vla import make_tiny_checkpoint
import torch
from training_rig import make_learner

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.timeout(280)]
OPTIONS = {'num_envs': 2, 'num_steps': 3, 'total_timesteps': 18, 'num_minibatches': 2,
           'eval_episodes': 0, 'processes': 1, 'threads': 1, 'critic_warmup_updates': 1,
           'updates_without_reward': 0, 'target_kl': None, 'device': 'cpu'}


def _arguments(init: Path, out: Path) -> list[str]:
    options = {'init': init, 'out': out, **OPTIONS}
    return [part for name, value in options.items()
            for part in (f'--{name.replace("_", "-")}', str(value))] + ['--exact-resets']


def test_a_run_killed_with_minus_nine_goes_on_and_ends_alike(tmp_path):
    """
    Weights, moments and metrics after three updates equal those of a run that nobody killed.

    The worlds of the killed run end by themselves.
    """
    tiny = make_tiny_checkpoint(tmp_path / 'tiny')
    killed, whole = tmp_path / 'killed', tmp_path / 'whole'
    process = subprocess.Popen(
        [sys.executable, '-m', 'rlrc_training.rl', *_arguments(tiny, killed)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 200
        while not (killed / 'state' / 'progress.json').exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    at = json.loads((killed / 'state' / 'progress.json').read_text())['update']
    assert 1 <= at < 3
    with WorldPool(2, (64, 64), processes=1) as pool:
        rl(RlConfig(init=tiny, out=killed, exact_resets=True, **OPTIONS), pool)
        checkpoint = rl(RlConfig(init=tiny, out=whole, exact_resets=True, **OPTIONS), pool)
    first, second = (load_file(each / 'state' / 'tensors.safetensors')
                     for each in (killed, whole))
    assert first.keys() == second.keys() and len(first) > 100
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-6, rtol=1e-5, msg=name)
    lines = [[json.loads(line) for line in (each / 'metrics.jsonl').read_text().splitlines()]
             for each in (killed, whole)]
    assert [each['update'] for each in lines[0]] == [1, 2, 3]
    for ours, theirs in zip(*lines):
        for name in ('losses/value_loss', 'losses/explained_variance'):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6)
    stage = inspect(checkpoint).provenance['stages'][-1]
    assert stage['name'] == 'rl' and stage['env_steps'] == 18
    assert rl_module.main([*_arguments(tiny, killed), '--gamma', '0.5']) == 1


def test_rollouts_are_cut_off_and_policies_judged_as_asked(tmp_path, monkeypatch):
    """Without bootstrap a cut-off state is worth nothing; what is judged is what is kept."""
    tiny = make_tiny_checkpoint(tmp_path / 'tiny')
    summary = inspect(tiny)
    config = RlConfig(init=tiny, out=tmp_path / 'run', eval_stop_on_success=True,
                      best_by='success_once', **{**OPTIONS, 'eval_episodes': 2})
    learner = make_learner(config)
    with torch.no_grad():
        for each in learner.model.parameters():
            each.mul_(1 + 1e-4)  # off the grid of bf16
    learner.head.apply(lambda part: getattr(part, 'bias', None) is not None
                       and torch.nn.init.constant_(part.bias, 0.5))
    tokenizer, played = open_checkpoint(tiny).tokenizer, {}

    def short(pool, act, seeds, **options):
        played.update(seeds=list(seeds), **options)
        return play(pool, act, seeds, **{**options, 'max_steps': 2})
    monkeypatch.setattr(rl_module, 'play', short)
    with WorldPool(2, (64, 64), processes=1) as pool:
        for bootstrap in (True, False):
            collector = Collector(replace(config, bootstrap=bootstrap), pool, range(2),
                                  learner._batcher, summary.norm_stats[summary.unnorm_keys[0]])
            rollout = collector.collect(learner.model, learner.head, 0)
            assert bool((rollout.next_values[-1] != 0).all()) is bootstrap
        scores = rl_module.evaluate(learner, summary, tokenizer, summary.unnorm_keys[0], pool)
    assert set(scores) == {'success_once'} and played['stop_on_success']
    assert min(played['seeds']) >= 95_000
    kept = rl_module.as_kept(learner).state_dict()
    rl_module.save_best(tmp_path / 'best', learner, tokenizer, summary, config,
                        rl_module.Progress(config), scores)
    for name, tensor in load_file(tmp_path / 'best' / 'model.safetensors').items():
        assert torch.equal(tensor.float(), kept[name].float()), name


def test_a_rollout_in_which_a_world_dies_is_played_with_other_episodes(tmp_path, monkeypatch):
    """One death: whole, of other seeds, and no answer of the old worlds in it; three: it ends."""
    tiny = make_tiny_checkpoint(tmp_path / 'tiny')
    summary = inspect(tiny)
    learner = make_learner(RlConfig(init=tiny, out=tmp_path / 'run', **OPTIONS))
    with WorldPool(2, (64, 64), processes=1) as pool:
        collector = Collector(learner.config, pool, range(2), learner._batcher,
                              summary.norm_stats[summary.unnorm_keys[0]])
        send, sent, deaths = pool.send, [], [1]

        def deadly(index, verb, *arguments):
            sent.append(verb)
            if deaths[0] and sent.count('step') == 3:
                deaths[0] -= 1
                sent.clear()
                arguments = (Deadly(),)
            send(index, verb, *arguments)
        whole = collector.collect(learner.model, learner.head, 0)
        monkeypatch.setattr(pool, 'send', deadly)
        other = collector.collect(learner.model, learner.head, 0)
        assert deaths == [0] and None not in other.moments
        for n in range(2):
            assert not np.array_equal(other.moments[0, n].image, whole.moments[0, n].image)
        again = collector.collect(learner.model, learner.head, 0)
        torch.testing.assert_close(again.rewards, whole.rewards)
        assert torch.equal(again.bins, whole.bins)
        sent.clear()
        deaths[0] = 3
        with pytest.raises(WorldProcessEndedError, match='ended'):
            collector.collect(learner.model, learner.head, 0)
