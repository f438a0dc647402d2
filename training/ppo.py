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

"""
The formulas of PPO for a policy that answers in action tokens; no model, no simulator.

Schulman et al. (arXiv 1707.06347) as RL4VLA runs it (arXiv 2505.19789), without two quirks of its
code: the policy loss is not multiplied by the number of tokens through a broadcast, and nothing is
rounded to bf16 before the ratio.

Legend: T steps of a rollout, N environments, B samples of a minibatch, A action tokens, V action
ids, E hidden size.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

HUBER_DELTA = 10.0
NORM_EPSILON = 1e-5
"""Both as RL4VLA; values beyond delta do not occur with the suite's rewards."""


class ValueHead(nn.Module):
    """
    The critic: hidden state (B, E) that predicts the first action token → value (B,).

    RL4VLA's three layers under its names; the last has no bias.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.head_l1 = nn.Linear(hidden_size, 512)
        self.head_l2 = nn.Linear(512, 128)
        self.head_l3 = nn.Linear(128, 1, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return values (...), fp32, of hidden states (..., E)."""
        x = functional.gelu(self.head_l1(hidden.float()))
        return self.head_l3(functional.gelu(self.head_l2(x)))[..., 0]


def action_logprobs(logits: torch.Tensor, bins: torch.Tensor,
                    temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the log-probability of whole actions and the entropy of their tokens.

    :param logits: (B, A, V) over the action ids alone
    :param bins: (B, A) index of the chosen id among them
    :return: (B,) summed over the A tokens, and (B,) entropy averaged over them; both fp32
    """
    scores = functional.log_softmax(logits.float() / temperature, dim=-1)
    chosen = scores.gather(-1, bins[..., None])[..., 0]
    return chosen.sum(-1), -(scores.exp() * scores).sum(-1).mean(-1)


def gae(rewards: torch.Tensor, values: torch.Tensor, next_values: torch.Tensor,
        dones: torch.Tensor, gamma: float, gae_lambda: float) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Generalised advantage estimation (arXiv 1506.02438).

    An episode that is cut off (truncated, or the rollout's end) did not fail: its last step counts
    the value of where it got to. One that terminated has nothing left to expect.

    :param rewards: (T, N)
    :param values: (T, N) of the observation that each step began with
    :param next_values: (T, N) of the observation that each step led to, before any reset; 0 where
        the episode terminated
    :param dones: (T, N) bool: an episode ended with this step, terminated or truncated
    :return: advantages and returns, both (T, N)
    """
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        delta = rewards[step] + gamma * next_values[step] - values[step]
        running = delta + gamma * gae_lambda * (~dones[step]).to(delta) * running
        advantages[step] = running
    return advantages, advantages + values


@dataclass(frozen=True)
class PolicyLoss:
    """The clipped surrogate and what to watch about it; 0-dim tensors, means over the samples."""

    loss: torch.Tensor
    approx_kl: torch.Tensor
    """KL(old || new), Schulman's estimator (ratio - 1) - log ratio."""
    clipfrac: torch.Tensor
    ratio: torch.Tensor


def policy_loss(logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor,
                clip_coef: float) -> PolicyLoss:
    """Return PPO's clipped surrogate of samples (B,)."""
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped).mean()
    with torch.no_grad():
        return PolicyLoss(loss, ((ratio - 1) - log_ratio).mean(),
                          ((ratio - 1).abs() > clip_coef).float().mean(), ratio.mean())


def value_loss(values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor,
               clip_coef: float | None) -> torch.Tensor:
    """
    Return the mean Huber loss of values (B,), the worse of plain and clipped around the old ones.

    :param clip_coef: how far a value may move from the old one unpunished; None does not clip
    """
    plain = functional.huber_loss(values, returns, reduction='none', delta=HUBER_DELTA)
    if clip_coef is None:
        return plain.mean()
    near = old_values + (values - old_values).clamp(-clip_coef, clip_coef)
    clipped = functional.huber_loss(near, returns, reduction='none', delta=HUBER_DELTA)
    return torch.maximum(plain, clipped).mean()


def kl_to_reference(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """
    Return KL(reference || policy) of token distributions, both logits (B, A, V); mean, 0-dim.

    This direction is imitation: it asks the policy to keep what the reference would do.
    """
    wanted = functional.log_softmax(reference.float(), dim=-1)
    ours = functional.log_softmax(logits.float(), dim=-1)
    return (wanted.exp() * (wanted - ours)).sum(-1).mean()


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> float:
    """Return 1 - Var(returns - values) / Var(returns); NaN where the returns do not vary."""
    variance = returns.double().var(correction=0)
    if variance == 0:
        return float('nan')
    return float(1 - (returns.double() - values.double()).var(correction=0) / variance)
