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

"""PPO's formulas equal the official code's (../shared/goldens/ppo_a) and slow plain Python."""

import math
from pathlib import Path

import numpy as np
from official_folders import golden, golden_ppo_folder
import pytest
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_training.ppo import (
    action_logprobs,
    explained_variance,
    gae,
    kl_to_reference,
    NORM_EPSILON,
    policy_loss,
    value_loss,
    ValueHead,
)
import torch
from torch.nn import functional


def _arrays(name: str) -> dict[str, torch.Tensor]:
    loaded = np.load(golden('ppo_a') / name)
    return {key: torch.as_tensor(loaded[key]) for key in loaded.files
            if loaded[key].dtype.kind in 'fiub'}


def _value_head(arrays: dict[str, torch.Tensor]) -> ValueHead:
    prefix = 'value_head::weight::'
    weights = {key.removeprefix(prefix): each for key, each in arrays.items()
               if key.startswith(prefix)}
    head = ValueHead(weights['head_l1.weight'].shape[1])
    head.load_state_dict(weights)
    return head


def _near(ours, theirs, rel: float = 1e-5, abs_: float = 1e-6) -> None:
    torch.testing.assert_close(ours.float(), theirs.float().reshape(ours.shape),
                               rtol=rel, atol=abs_)


@pytest.mark.parametrize('case', ['random', 'episode', 'none'])
def test_advantages_equal_the_official_ones(case):
    """Returns, raw and normalised advantages; there the end of an episode is a termination."""
    theirs = _arrays('gae.npz')
    dones = theirs[f'{case}::done'][..., 0]
    values, rewards = theirs['values'][..., 0], theirs['rewards'][..., 0]
    following = torch.cat([values[1:], theirs['next_value'].T])
    advantages, returns = gae(rewards, values, following * ~dones, dones, 0.99, 0.95)
    _near(returns, theirs[f'{case}::returns'])
    _near(advantages, theirs[f'{case}::raw_advantages'])
    normalised = (advantages - advantages.mean()) / (
        advantages.std(correction=0) + NORM_EPSILON)
    _near(normalised, theirs[f'{case}::advantages'])


def test_losses_equal_the_plain_formulas():
    """Policy loss, ratio, share clipped, Huber value loss; not the official sevenfold one."""
    given = _arrays('ppo_loss.npz')
    new, old, advantages, entropy = (given[name][:, 0] for name in (
        'logprob_new', 'logprob_old', 'advantages', 'entropy'))
    policy = policy_loss(new, old, advantages, 0.2)
    value = value_loss(given['values_new'][:, 0], given['values_old'][:, 0],
                       given['returns'][:, 0], 0.2)
    _near(policy.loss, given['plain::policy_loss'])
    _near(policy.ratio, given['plain::ratio'].mean())
    _near(policy.clipfrac, given['plain::clip_fraction'])
    _near(value, given['plain::value_loss'])
    _near(policy.loss + value, given['plain::loss_ent0.0'])
    _near(policy.loss + value - 0.01 * entropy.mean(), given['plain::loss_ent0.01'])
    assert abs(float(policy.loss) - float(given['quirk7::policy_loss_expected'])) > 1


def test_gradients_of_the_losses_equal_the_official_ones():
    """With one column of log-probabilities the official code has the plain gradients, over 20."""
    given = _arrays('ppo_loss.npz')
    new, values = (given[name].clone().requires_grad_(True)
                   for name in ('logprob_new', 'values_new'))
    (policy_loss(new, given['logprob_old'], given['advantages'], 0.2).loss
     + value_loss(values, given['values_old'], given['returns'], 0.2)).backward()
    prefix = 'official_onecol::fp32::ent0.0::accum20::grad::'
    _near(new.grad / 20, given[prefix + 'logprob'], abs_=1e-7)
    _near(values.grad / 20, given[prefix + 'values'], abs_=1e-7)


def test_token_log_probabilities_and_values_equal_the_official_ones():
    """Over the 256 ids, summed over 7 tokens, at two temperatures; the critic at token one."""
    given = _arrays('token_logprob_value.npz')
    columns = [given['logits_token_ids'].tolist().index(each) for each in range(31744, 32000)]
    # The logits at positions -9 ... -3 predict the seven action tokens, -2 and -1 what follows.
    logits = given['logits'][:, 1:8][..., columns]
    bins = given['action_ids'] - 31744
    for temperature in (1.0, 0.6):
        logprob, entropy = action_logprobs(logits, bins, temperature)
        _near(logprob, given[f'rederived::T{temperature}::logprob_sum'])
        _near(entropy, given[f'rederived::T{temperature}::entropy_mean'])
    logprob, entropy = action_logprobs(logits, bins)
    _near(logprob, given['official::logprob_sum'])
    _near(entropy, given['official::entropy_mean'])
    head = _value_head(given)
    _near(head(given['value_head::x']), given['value_head::y'], abs_=1e-5)
    _near(head(given['hidden'][:, 1]), given['official::value_a0'], abs_=1e-5)


def test_a_whole_step_of_the_model_equals_the_official_one(tmp_path: Path):
    """Log-probabilities, value, loss and its gradients in trunk and critic, from raw images."""
    given = _arrays('model_step.npz')
    inputs = dict(np.load(golden('oft_a') / 'inputs.npz'))
    model = open_checkpoint(golden_ppo_folder(tmp_path / 'ppo')).model.requires_grad_(True)
    head = _value_head(given)
    ids, lengths = prompt.pad([[*inputs[name].ravel().tolist(), 29871]
                               for name in ('input_ids', 'input_ids2')], 32000)
    pixels = images.to_pixels(
        torch.from_numpy(np.stack([inputs['image0'], inputs['image1']])), model.config.towers)
    where = lengths[:, None] + torch.arange(7)
    sequence = functional.pad(ids, (0, 7), value=32000).scatter(
        1, where, given['eval_action_ids'])
    hidden = model(pixels, sequence, where)
    logprob, entropy = action_logprobs(
        model.action_logits(hidden), given['eval_action_ids'] - 31744)
    values = head(hidden[:, 0])
    _near(logprob, given['eval_logprob'], abs_=1e-4)
    _near(entropy, given['eval_entropy'], abs_=1e-4)
    _near(values, given['eval_value'], abs_=1e-4)
    policy = policy_loss(logprob, given['ppo_logprob_old'][:, 0],
                         given['ppo_advantages'][:, 0], 0.2)
    value = value_loss(values, given['ppo_values_old'][:, 0], given['ppo_returns'][:, 0], 0.2)
    loss = policy.loss + value - 0.01 * entropy.mean()
    # Of logits that agree to 1e-4: the rounding of a processor's products is in them.
    _near(policy.loss, given['ppo::onecol::info::policy_loss'], rel=1e-3)
    _near(value, given['ppo::onecol::info::value_loss'], rel=1e-4)
    _near(loss / 20, given['ppo::onecol::info::loss'], rel=1e-3)
    (loss / 20).backward()
    named = dict(model.named_parameters()) | {
        f'value_head.{name}': each for name, each in head.named_parameters()}
    compared = 0
    for key, theirs in given.items():
        if key.startswith('ppo::onecol::grad::'):
            gradient = named[key.removeprefix('ppo::onecol::grad::')].grad
            _near(gradient, theirs, rel=0, abs_=1e-4 * float(theirs.abs().max()))
            compared += 1
    assert compared >= 7
    total = torch.stack([each.grad.norm() for each in named.values()
                         if each.grad is not None]).norm()
    _near(total, given['ppo::onecol::total_grad_norm'], rel=1e-4)


def _slow_gae(rewards, values, following, terminated, truncated, gamma, gae_lambda):
    """Sum discounted errors episode by episode, in plain Python."""
    steps, count = len(rewards), len(rewards[0])
    advantages = [[0.0] * count for _ in range(steps)]
    for env in range(count):
        for start in range(steps):
            total, weight = 0.0, 1.0
            for step in range(start, steps):
                expected = 0.0 if terminated[step][env] else following[step][env]
                total += weight * (rewards[step][env] + gamma * expected - values[step][env])
                weight *= gamma * gae_lambda
                if terminated[step][env] or truncated[step][env]:
                    break
            advantages[start][env] = total
    return advantages


def test_advantages_equal_slow_plain_python_with_both_kinds_of_end():
    """A truncated episode counts the value of where it got to, a terminated one counts none."""
    rng = np.random.default_rng(3)
    rewards, values, following = rng.normal(size=(3, 12, 5))
    terminated, truncated = rng.random((2, 12, 5)) < 0.15
    assert terminated.any() and (truncated & ~terminated).any()
    expected = _slow_gae(rewards, values, following, terminated, truncated, 0.9, 0.8)
    advantages, returns = gae(
        torch.from_numpy(rewards), torch.from_numpy(values),
        torch.from_numpy(np.where(terminated, 0.0, following)),
        torch.from_numpy(terminated | truncated), 0.9, 0.8)
    np.testing.assert_allclose(advantages.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(returns.numpy(), expected + values, atol=1e-12)


def test_the_kl_to_the_reference_is_the_sum_over_its_distribution():
    """Zero for the reference itself, and the textbook sum for another policy."""
    rng = np.random.default_rng(5)
    ours, theirs = (torch.from_numpy(rng.normal(size=(2, 3, 4))) for _ in range(2))
    assert float(kl_to_reference(theirs, theirs)) == pytest.approx(0.0, abs=1e-7)
    total = 0.0
    for policy, reference in zip(ours.flatten(0, 1).tolist(), theirs.flatten(0, 1).tolist()):
        p = [math.exp(each) / sum(map(math.exp, reference)) for each in reference]
        q = [math.exp(each) / sum(map(math.exp, policy)) for each in policy]
        total += sum(a * math.log(a / b) for a, b in zip(p, q))
    assert float(kl_to_reference(ours, theirs)) == pytest.approx(total / 6, rel=1e-5)


def test_explained_variance_is_one_for_a_perfect_critic_and_nothing_without_variance():
    """A constant offset does not matter; returns that do not vary explain nothing."""
    returns = torch.tensor([0.0, 1.0, 2.0, 4.0])
    assert explained_variance(returns + 3, returns) == pytest.approx(1.0)
    assert explained_variance(torch.zeros(4), returns) == pytest.approx(0.0)
    assert math.isnan(explained_variance(returns, torch.ones(4)))
