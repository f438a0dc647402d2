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

"""The update of `rlrc rl`: one trunk pass, adapters, imitation, warm-up, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from rlrc_ros.vla.checkpoint import inspect, save_checkpoint
from rlrc_ros.vla.config import QuantizationConfig
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.policy import Policy
from rlrc_training.data import DemonstrationError, Episode, save_episode
from rlrc_training.lora import merged_weights, without_lora
from rlrc_training.rl import Progress, rl
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_demonstrations import DemonstratedFrames
from rlrc_training.sft_loss import soft_targets, wanted_bins
from tiny_vla import make_tiny_checkpoint, make_tiny_oft_checkpoint, tiny_statistics
import torch
from training_rig import make_learner, play_noise, rl_config


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Write a random checkpoint once for this file."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('rl') / 'tiny')


def _weights(learner) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in learner.named.items()}


def test_the_first_minibatch_has_ratio_one_and_the_policy_moves(tiny, tmp_path):
    """Acting and judging agree on the log-probability; afterwards the KL is not zero."""
    config = rl_config(tiny, tmp_path, update_epochs=2, learning_rate=1e-3)
    learner = make_learner(config)
    metrics = learner.learn(play_noise(learner, config), 0)
    assert metrics['first_ratio'] == pytest.approx(1.0, abs=1e-4)
    assert metrics['optimiser_steps'] == 4 and metrics['approx_kl'] > 1e-6


def test_what_is_paid_for_becomes_more_frequent(tiny, tmp_path):
    """Paid for tokens of the lower half: fresh answers earn more and more."""
    config = rl_config(tiny, tmp_path, num_envs=8, num_steps=10, total_timesteps=80,
                       learning_rate=2e-3, update_epochs=2, gamma=0.0)
    learner = make_learner(config)
    earned = []
    for update in range(10):
        rollout = play_noise(learner, config, seed=update)
        rollout.rewards = (rollout.bins < 128).float().mean(-1)
        earned.append(float(rollout.rewards.mean()))
        learner.learn(rollout, update)
    assert earned[0] == pytest.approx(0.5, abs=0.06)
    assert np.mean(earned[-2:]) > 0.7


def test_a_policy_that_answers_in_one_pass_is_judged_as_it_acted(tmp_path):
    """Its slots' log-probabilities are the drawn ones, and its policy moves."""
    tiny = make_tiny_oft_checkpoint(tmp_path / 'one_pass', horizon=1, head='discrete')
    config = rl_config(tiny, tmp_path, update_epochs=2, learning_rate=1e-3)
    learner = make_learner(config)
    metrics = learner.learn(play_noise(learner, config), 0)
    assert metrics['first_ratio'] == pytest.approx(1.0, abs=1e-4)
    assert metrics['approx_kl'] > 1e-6


@pytest.mark.parametrize('temperature', [1.0, 0.6])
def test_the_ratio_is_one_at_any_temperature(tiny, tmp_path, temperature):
    """What is drawn at a temperature is judged at it."""
    config = rl_config(tiny, tmp_path, temperature=temperature, target_kl=0.0)
    learner = make_learner(config)
    metrics = learner.learn(play_noise(learner, config), 0)
    assert metrics['first_ratio'] == pytest.approx(1.0, abs=1e-4)


def test_the_trunk_runs_once_a_minibatch_for_policy_value_and_demonstrations(tiny, tmp_path):
    """Two minibatches with demonstrated frames behind them: two passes of the decoder."""
    demos = tmp_path / 'demos'
    demos.mkdir()
    _demonstrate(demos)
    config = rl_config(tiny, tmp_path, bc='demonstrations', data=(demos,), bc_batch_size=5)
    learner = make_learner(config)
    learner._demonstrations = DemonstratedFrames(
        config, learner.model.config, _stats(tiny))
    rollout, passes = play_noise(learner, config), []
    learner.model.language_model.model.register_forward_hook(
        lambda module, inputs, output: passes.append(len(output)))
    metrics = learner.learn(rollout, 0)
    assert passes == [12 + 5, 12 + 5]
    assert metrics['bc_loss'] > 1.0 and metrics['bc_coef'] == 0.1


def _stats(checkpoint):
    return Policy.open(checkpoint, 'cpu')._stats


def _demonstrate(folder, dim: int = 7) -> None:
    rng = np.random.default_rng(2)
    save_episode(folder, Episode(
        1_000_000, 'ind', 'put can on red plate',
        rng.integers(0, 255, (6, 64, 64, 3)).astype(np.uint8),
        rng.normal(0, 0.01, (6, dim)).astype(np.float32), np.zeros((6, 9), np.float32)))


def test_imitation_alone_brings_the_demonstrated_actions_nearer(tiny, tmp_path):
    """With a heavy weight, the loss on the demonstrations falls."""
    demos = tmp_path / 'demos'
    demos.mkdir()
    _demonstrate(demos)
    config = rl_config(tiny, tmp_path, bc='demonstrations', data=(demos,), bc_coef=10.0,
                       learning_rate=3e-3)
    learner = make_learner(config)
    learner._demonstrations = DemonstratedFrames(config, learner.model.config, _stats(tiny))
    rollout = play_noise(learner, config)
    losses = [learner.learn(rollout, update)['bc_loss'] for update in range(8)]
    assert losses[-1] < losses[0] - 1.0


def test_imitation_leaves_a_policy_as_wide_as_it_was_trained(tiny, tmp_path):
    """At the softened distribution that SFT fits, imitation pulls nowhere; the exact bin does."""
    vla = inspect(tiny).config
    bins = torch.randint(20, vla.action.bins - 20, (5, 7))
    fitted = wanted_bins(vla, bins, soft_targets(vla, 3.0)).clamp(min=1e-12)
    pull = {}
    for sigma in (3.0, 0.0):
        logits = fitted.log().requires_grad_()
        wanted = wanted_bins(vla, bins, soft_targets(vla, sigma))
        torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(0, 1)).backward()
        pull[sigma] = float(logits.grad[:, :6].norm())
    assert pull[3.0] < 1e-6 < 0.1 < pull[0.0]


@pytest.mark.parametrize('rank', [0, 4])
def test_the_kl_to_where_it_began_starts_at_zero_and_decays(tiny, tmp_path, rank):
    """Full training keeps a frozen copy, adapters are switched off; both say zero at first."""
    config = rl_config(tiny, tmp_path, bc='kl', bc_coef=0.5, bc_decay=0.5, lora_rank=rank,
                       num_minibatches=1, learning_rate=1e-2)
    learner = make_learner(config)
    rollout = play_noise(learner, config)
    first, second = (learner.learn(rollout, update) for update in (0, 1))
    assert first['bc_loss'] == pytest.approx(0.0, abs=1e-6)
    assert second['bc_loss'] > 1e-6
    assert (first['bc_coef'], second['bc_coef']) == (0.25, 0.125)


def test_microbatches_give_the_gradient_of_the_whole_minibatch(tiny, tmp_path):
    """Five rows at a time or all at once: the gradients are the same, and so is what is told."""
    gradients, told = [], []
    for size in (0, 5):
        config = rl_config(tiny, tmp_path, microbatch_size=size, num_minibatches=1)
        learner = make_learner(config)
        told.append(learner.learn(play_noise(learner, config), 0))
        gradients.append({name: learner.optimiser.state[each]['exp_avg']
                          for name, each in learner.named.items()})
    assert told[0] == pytest.approx(told[1], rel=1e-4, abs=1e-6)
    for name, each in gradients[0].items():
        torch.testing.assert_close(each, gradients[1][name], atol=1e-6, rtol=1e-4, msg=name)


def test_the_policy_is_frozen_while_the_critic_warms_up(tiny, tmp_path):
    """Only the head changes and explains more; at the step limit the policy is set free."""
    config = rl_config(tiny, tmp_path, critic_warmup_updates=3, critic_warmup_epochs=40,
                       critic_warmup_explained_variance=2.0)
    learner = make_learner(config)
    before = _weights(learner)
    losses = []
    for update in range(3):
        metrics = learner.learn(play_noise(learner, config), update)
        losses.append(metrics['value_loss'])
        assert metrics['critic_warmup'] == 1.0
    assert losses[-1] < losses[0]
    after = _weights(learner)
    assert all(torch.equal(before[name], each) == name.startswith('policy.')
               for name, each in after.items())
    assert learner.learn(play_noise(learner, config), 3)['critic_warmup'] == 0.0
    assert not torch.equal(learner.named['policy.projector.fc1.weight'],
                           before['policy.projector.fc1.weight'])


def test_warm_up_ends_when_the_critic_explains_enough(tiny, tmp_path):
    """A threshold below what it explains now: the policy trains at once."""
    config = rl_config(tiny, tmp_path, critic_warmup_updates=9,
                       critic_warmup_explained_variance=-1e9)
    learner = make_learner(config)
    assert learner.learn(play_noise(learner, config), 0)['critic_warmup'] == 0.0


def test_a_kl_beyond_the_target_ends_the_update(tiny, tmp_path):
    """Large steps: the second epoch's first minibatch says that it is enough."""
    config = rl_config(tiny, tmp_path, update_epochs=5, learning_rate=3e-2, target_kl=0.01)
    learner = make_learner(config)
    metrics = learner.learn(play_noise(learner, config), 0)
    assert metrics['early_stop'] == 1.0 and metrics['optimiser_steps'] < 10


def test_adapters_train_alone_and_merge_into_a_checkpoint_that_acts_alike(tiny, tmp_path):
    """The base is untouched, and the merged folder gives the adapted model's tokens."""
    config = rl_config(tiny, tmp_path, lora_rank=4, learning_rate=1e-2)
    learner = make_learner(config)
    base = {name: each.clone() for name, each in merged_weights(learner.model).items()}
    rollout = play_noise(learner, config)
    learner.learn(rollout, 0)
    merged = merged_weights(learner.model)
    assert set(merged) == set(skeleton(learner.model.config).state_dict())
    changed = [name for name in base if not torch.equal(base[name], merged[name])]
    assert 'language_model.lm_head.weight' in changed and len(changed) > 20
    assert not any('embed_tokens' in name or 'norm' in name for name in changed)
    seen = list(rollout.moments[0])
    ids, lengths = learner._batcher.prompts(seen)
    pixels = learner._batcher.pixels(seen)
    model = skeleton(learner.model.config)
    model.load_state_dict(merged, assign=True)
    ours, theirs = (each.act(pixels, ids, lengths) for each in (learner.model, model))
    torch.testing.assert_close(ours.action_logprobs, theirs.action_logprobs, atol=1e-4, rtol=0)
    with without_lora(learner.model) as plain:
        theirs = plain.act(pixels, ids, lengths)
    assert not torch.allclose(ours.action_logprobs, theirs.action_logprobs, atol=1e-3)
    folder = save_checkpoint(tmp_path / 'merged', model, learner._batcher._tokenizer,
                             tiny_statistics(), {})
    assert np.isfinite(_stats(folder).q01).all()


def test_adapters_learn_over_a_base_in_bf16(tiny, tmp_path):
    """Acting and judging round differently, a few per cent of the ratio; adapters stay in fp32."""
    config = rl_config(tiny, tmp_path, lora_rank=4, precision='bf16', learning_rate=1e-3)
    learner = make_learner(config)
    assert next(learner.model.parameters()).dtype == torch.bfloat16
    assert {each.dtype for each in learner.named.values()} == {torch.float32}
    metrics = learner.learn(play_noise(learner, config), 0)
    assert metrics['first_ratio'] == pytest.approx(1.0, abs=0.1)
    assert metrics['optimiser_steps'] == 2
    assert {each.dtype for each in merged_weights(learner.model).values()} == {torch.bfloat16}


def test_a_gradient_that_is_not_finite_changes_nothing(tiny, tmp_path):
    """The error names the state to go on from."""
    config = rl_config(tiny, tmp_path)
    learner = make_learner(config)
    rollout = play_noise(learner, config)
    rollout.rewards[2, 1] = float('nan')
    before = _weights(learner)
    with pytest.raises(FloatingPointError, match='the last state in .*state is good'):
        learner.learn(rollout, 0)
    assert all(torch.equal(before[name], each) for name, each in _weights(learner).items())


def test_a_reward_that_is_never_other_than_zero_ends_the_run(tiny, tmp_path, caplog):
    """It is said after every update, and the third is the last."""
    config = rl_config(tiny, tmp_path, updates_without_reward=3)
    learner = make_learner(config)
    rollout = play_noise(learner, config)
    rollout.rewards.zero_()
    run = Progress(config)
    for _ in range(2):
        run.check_reward(rollout, learner)
        run.update += 1
    assert 'no reward in the first 48 steps' in caplog.text
    with pytest.raises(ValueError, match='zero in all 72 steps of 3 updates.*rlrc sft'):
        run.check_reward(rollout, learner)
    rollout.rewards[0, 0] = 0.1
    run.check_reward(rollout, learner)
    rollout.rewards.zero_()
    run.check_reward(rollout, learner)


def test_first_success_is_of_the_episodes_that_begin_with_the_rollout(tiny, tmp_path):
    """Success at once, after the first episode's end, and never: one of three counts."""
    config = rl_config(tiny, tmp_path, num_envs=3, num_steps=4)
    rollout = play_noise(make_learner(config), config)
    rollout.dones = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]).bool()
    rollout.successes = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]).bool()
    assert rollout.first_success.tolist() == [True, False, False]


def test_quantised_and_parallel_checkpoints_are_refused_before_anything_is_written(tmp_path):
    """Codes have no gradient, and a chunk is not one action: each error says where to start."""
    quantised = make_tiny_checkpoint(tmp_path / 'int4', quantization=QuantizationConfig(
        'int4', 'bf16', 'int4', 'int4', group_size=32))
    parallel = make_tiny_oft_checkpoint(tmp_path / 'oft', horizon=1)
    for folder, words in ((quantised, 'quantised already, and rl wants real weights'),
                          (parallel, "answers 1 actions by OpenVLA-OFT's l1 head")):
        with pytest.raises(ValueError, match=words):
            rl(rl_config(folder, tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_demonstrations_of_another_arm_are_refused(tiny, tmp_path):
    """Six numbers where the checkpoint takes seven."""
    _demonstrate(tmp_path, dim=6)
    config = rl_config(tiny, tmp_path / 'run', bc='demonstrations', data=(tmp_path,))
    with pytest.raises(DemonstrationError, match='6 numbers, the checkpoint takes 7'):
        make_learner(config, demonstrations=DemonstratedFrames(
            config, make_learner(replace(config, bc='none', data=())).model.config,
            _stats(tiny)))


@pytest.mark.parametrize(('change', 'words'), [
    ({'num_envs': 0}, 'num_envs must be at least 1, got 0'),
    ({'gamma': 1.5}, 'gamma must be between 0 and 1, got 1.5'),
    ({'temperature': 0.0}, 'temperature must be above 0'),
    ({'episode_set': 'moon'}, "'moon' is not known; there are: ind"),
    ({'total_timesteps': 100}, '8 x num_steps 80 = 640'),
    ({'bc': 'demonstrations'}, 'give both'),
    ({'eval_stop_on_success': True}, "'success_at_end' is not known .* --best-by success_once"),
    ({'bc_sigma': -1.0}, 'bc_sigma must be 0 or more'),
    ({'precision': 'bf16'}, '--lora-rank 32')])
def test_a_wrong_rl_option_is_refused(change, words):
    """Each error names the value and what would do."""
    with pytest.raises(ValueError, match=words):
        RlConfig(**change)
