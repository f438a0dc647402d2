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
The update of `rlrc rl`: actor and critic on one trunk, demonstrations in the same pass.

A minibatch goes through the trunk once. Its rows are samples of the rollout and, behind them,
demonstrated frames; the seven hidden states of a row give the policy's log-probabilities, the
first of them the value. A minibatch is the same whatever the number of ranks: each takes its own
environments' part of it, losses are divided by the whole's size and gradients added up.

Legend: B rows, A action tokens, E hidden_size, V action ids.
"""

from collections.abc import Iterator
from contextlib import nullcontext
import copy

import numpy as np
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_ros.vla.model import Vla
from rlrc_training import ranks
from rlrc_training.lora import add_lora, without_lora
from rlrc_training.memory import checkpoint_activations
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
from rlrc_training.resume import optimiser_tensors, restore_optimiser
from rlrc_training.rl_config import RlConfig
from rlrc_training.rl_demonstrations import DemonstratedFrames
from rlrc_training.rl_rollout import Batcher, Rollout
from rlrc_training.sft_loss import soft_targets, wanted_bins
import torch
from torch.nn import functional

SUMS = ('policy_loss', 'value_loss', 'entropy', 'approx_kl', 'clipfrac', 'ratio', 'bc_loss')


class Learner:
    """Policy, critic and optimiser."""

    def __init__(self, config: RlConfig, model: Vla, batcher: Batcher, envs: range,
                 demonstrations: DemonstratedFrames | None):
        self.config, self.model, self._batcher = config, model, batcher
        self._envs, self._demonstrations = envs, demonstrations
        self.reference: Vla | None = None
        if config.bc == 'kl' and not config.lora_rank:
            self.reference = copy.deepcopy(model).requires_grad_(False)
        if config.lora_rank:
            add_lora(model, config.lora_rank, config.lora_alpha, config.seed)
        else:
            model.requires_grad_(True)
        if config.gradient_checkpointing:
            checkpoint_activations(model)
        device = next(model.parameters()).device
        self._soft = soft_targets(model.config, config.bc_sigma).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.head = ValueHead(model.config.decoder.hidden_size).to(device)
        self.named = {f'policy.{name}': each for name, each in model.named_parameters()
                      if each.requires_grad}
        self.named |= {f'critic.{name}': each for name, each in self.head.named_parameters()}
        policy = [each for name, each in self.named.items() if name.startswith('policy.')]
        self.optimiser = torch.optim.AdamW(
            [{'params': policy, 'lr': config.learning_rate},
             {'params': list(self.head.parameters()), 'lr': config.value_learning_rate}],
            weight_decay=config.weight_decay, fused=True)
        self.warming_up = config.warms_up
        self.policy_updates = 0
        self.device = device

    # ------------------------------------------------------------------ update

    def learn(self, rollout: Rollout, update: int) -> dict[str, float]:
        """Update critic, and policy if it is free, from a rollout; return what to log."""
        config = self.config
        advantages, returns = gae(rollout.rewards, rollout.values, rollout.next_values,
                                  rollout.dones, config.gamma, config.gae_lambda)
        # Of values that were estimated before any training on these returns.
        explained = explained_variance(ranks.gather(rollout.values), ranks.gather(returns))
        if config.norm_adv:
            advantages = self._normalise(advantages)
        if config.anneal_lr:
            left = 1.0 - update / config.num_updates
            self.optimiser.param_groups[0]['lr'] = left * config.learning_rate
            self.optimiser.param_groups[1]['lr'] = left * config.value_learning_rate
        if self.warming_up and (explained >= config.critic_warmup_explained_variance
                                or update >= config.critic_warmup_updates):
            self.warming_up = False
        if self.warming_up:
            metrics = self._warm_up_critic(rollout, returns, update)
        else:
            metrics = self._update(rollout, advantages, returns, update)
            self.policy_updates += 1
        return metrics | {'explained_variance': explained,
                          'learning_rate': self.optimiser.param_groups[0]['lr'],
                          'critic_warmup': float(self.warming_up),
                          'bc_coef': self.bc_coef}

    @property
    def bc_coef(self) -> float:
        """Return the present weight of the imitation term."""
        if self.config.bc == 'none':
            return 0.0
        return self.config.bc_coef * self.config.bc_decay ** self.policy_updates

    def _normalise(self, advantages: torch.Tensor) -> torch.Tensor:
        """Centre and scale over the rollouts of all ranks, population deviation as RL4VLA."""
        sums = ranks.add_up(torch.stack([
            advantages.double().sum(), advantages.double().square().sum(),
            torch.tensor(float(advantages.numel()), dtype=torch.double)]).to(self.device)).cpu()
        mean = sums[0] / sums[2]
        deviation = (sums[1] / sums[2] - mean.square()).clamp(min=0).sqrt()
        return ((advantages.double() - mean) / (deviation + NORM_EPSILON)).float()

    def _minibatches(self, update: int, epochs: int) -> Iterator[tuple[torch.Tensor, int]]:
        """Yield this rank's rows of each minibatch, flat over (T, N), and the whole's size."""
        config, own = self.config, len(self._envs)
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(
                int(np.random.default_rng([config.seed, update, epoch]).integers(2**62)))
            order = torch.randperm(config.batch_size, generator=generator)
            for chunk in order.chunk(config.num_minibatches):
                step, env = chunk // config.num_envs, chunk % config.num_envs
                mine = (env >= self._envs.start) & (env < self._envs.stop)
                yield step[mine] * own + env[mine] - self._envs.start, len(chunk)

    def _warm_up_critic(self, rollout: Rollout, returns: torch.Tensor,
                        update: int) -> dict[str, float]:
        """Train the critic's head alone; the trunk stands still, so its answers are reused."""
        hidden, values, returns = (each.flatten(0, 1).to(self.device) for each in (
            rollout.hidden, rollout.values, returns))
        sums = torch.zeros(3, device=self.device)
        for rows, whole in self._minibatches(update, self.config.critic_warmup_epochs):
            self.optimiser.zero_grad(set_to_none=True)
            if len(rows):
                # Not clipped around old values: over many epochs they would hold it back.
                loss = value_loss(self.head(hidden[rows]), values[rows], returns[rows], None)
                (loss * len(rows) / whole).backward()
                sums += torch.stack([loss.detach() * len(rows), loss.new_tensor(len(rows)),
                                     loss.new_zeros(())])
            self._step()
        sums = ranks.add_up(sums)
        return {'value_loss': float(sums[0] / sums[1])}

    def _update(self, rollout: Rollout, advantages: torch.Tensor, returns: torch.Tensor,
                update: int) -> dict[str, float]:
        """Run PPO's epochs; stop early where the policy has moved too far."""
        config = self.config
        flat = {name: each.flatten(0, 1) for name, each in (
            ('bins', rollout.bins), ('logprobs', rollout.logprobs), ('values', rollout.values),
            ('advantages', advantages), ('returns', returns))}
        moments = rollout.moments.ravel()
        totals, counted, first_ratio = dict.fromkeys(SUMS, 0.0), 0, None
        norm, stopped = 0.0, False
        for index, (rows, whole) in enumerate(self._minibatches(update, config.update_epochs)):
            frames = self._demonstrated(update, index)
            parts = max(1, -(-len(rows) // (config.microbatch_size or max(1, len(rows)))))
            self.optimiser.zero_grad(set_to_none=True)
            sums = torch.zeros(len(SUMS), device=self.device)
            for part, shown in zip(np.array_split(rows.numpy(), parts),
                                   np.array_split(frames, parts)):
                if len(part) + len(shown):
                    sums += self._backward(flat, moments, part, shown, whole)
            means = dict(zip(SUMS, ranks.add_up(sums).tolist()))
            if first_ratio is None:
                first_ratio = means['ratio']
            if config.target_kl is not None and means['approx_kl'] > config.target_kl:
                stopped = True
                break
            norm = self._step()
            counted += 1
            for name in SUMS:
                totals[name] += means[name]
        self.optimiser.zero_grad(set_to_none=True)
        metrics = {name: each / counted for name, each in totals.items()} if counted else means
        return metrics | {'grad_norm': norm, 'first_ratio': first_ratio,
                          'early_stop': float(stopped), 'optimiser_steps': float(counted)}

    def _demonstrated(self, update: int, minibatch: int) -> np.ndarray:
        """Return this rank's share of the demonstrated frames of a minibatch."""
        if self._demonstrations is None:
            return np.zeros(0, dtype=int)
        rng = np.random.default_rng([self.config.seed, update, minibatch, 3])
        drawn = rng.integers(len(self._demonstrations), size=self.config.bc_batch_size)
        return drawn[ranks.rank()::ranks.world_size()]

    def _backward(self, flat: dict[str, torch.Tensor], moments: np.ndarray, rows: np.ndarray,
                  shown: np.ndarray, whole: int) -> torch.Tensor:
        """Add the gradient of some rows; return their share (len(SUMS),) of the means."""
        config, count = self.config, len(rows)
        seen, bins = list(moments[rows]), flat['bins'][rows]
        if len(shown):
            seen += self._demonstrations.moments(shown)
            bins = torch.cat([bins, self._demonstrations.bins(shown)])
        ids, where = self._batcher.sequences(seen, bins)
        pixels = self._batcher.pixels(seen)
        bins = bins.to(self.device)
        hidden = self.model(pixels, ids, where)  # (B, A, E)
        logits = self.model.action_logits(hidden)  # (B, A, V)
        loss, sums = hidden.new_zeros((), dtype=torch.float32), {}
        share = count / whole
        if count:
            old, old_values, advantages, returns = (
                flat[name][rows].to(self.device)
                for name in ('logprobs', 'values', 'advantages', 'returns'))
            logprobs, entropy = action_logprobs(logits[:count], bins[:count], config.temperature)
            first = hidden[:count, 0]
            values = self.head(first.detach() if config.detach_critic else first)
            policy = policy_loss(logprobs, old, advantages, config.clip_coef)
            value = value_loss(values, old_values, returns,
                               config.clip_coef if config.clip_vloss else None)
            loss = loss + share * (policy.loss + config.vf_coef * value
                                   - config.ent_coef * entropy.mean())
            sums = {'policy_loss': policy.loss, 'value_loss': value, 'entropy': entropy.mean(),
                    'approx_kl': policy.approx_kl, 'clipfrac': policy.clipfrac,
                    'ratio': policy.ratio}
            sums = {name: share * each.detach() for name, each in sums.items()}
        if len(shown):
            share = len(shown) / config.bc_batch_size
            wanted = wanted_bins(self.model.config, bins[count:], self._soft)
            imitation = functional.cross_entropy(
                logits[count:].float().flatten(0, 1), wanted.flatten(0, 1))
        elif config.bc == 'kl' and count:
            imitation = kl_to_reference(logits, self._reference_logits(pixels, ids, where))
        if len(shown) or (config.bc == 'kl' and count):
            loss = loss + self.bc_coef * share * imitation
            sums['bc_loss'] = share * imitation.detach()
        loss.backward()
        nothing = loss.new_zeros(())
        return torch.stack([sums.get(name, nothing) for name in SUMS]).detach()

    @torch.no_grad()
    def _reference_logits(self, pixels: torch.Tensor, ids: torch.Tensor,
                          where: torch.Tensor) -> torch.Tensor:
        with nullcontext(self.reference) if self.reference else without_lora(self.model) as model:
            return model.action_logits(model(pixels, ids, where))

    def _step(self) -> float:
        """
        Take an optimiser step with the gradients of all ranks; return their norm before scaling.

        :raises FloatingPointError: it is not finite; the weights are as they were
        """
        ranks.add_up_gradients(self.named.values())
        norm = torch.nn.utils.clip_grad_norm_(
            [each for each in self.named.values() if each.grad is not None],
            self.config.max_grad_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f'the gradient is {float(norm)}; nothing of it was applied and the last state in '
                f'{self.config.out / "state"} is good. Lower --learning-rate')
        self.optimiser.step()
        return float(norm)

    # ------------------------------------------------------------------- state

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that is trained, and the optimiser's moments."""
        return {**{f'weight.{name}': each for name, each in self.named.items()},
                **dict(optimiser_tensors(self.optimiser, self.named))}

    @torch.no_grad()
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take back what state() gave."""
        for name, each in self.named.items():
            each.copy_(tensors[f'weight.{name}'])
        restore_optimiser(self.optimiser, self.named, tensors)


def open_for_learning(config: RlConfig, device: torch.device):
    """Open the checkpoint to start from, in the precision asked for."""
    dtype = torch.bfloat16 if config.precision == 'bf16' else torch.float32
    return open_checkpoint(config.init, device, dtype)
