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
The options of `rlrc rl`, under CleanRL's names where CleanRL has them.

Defaults are RL4VLA's recipe (arXiv 2505.19789), but for what two cores cannot hold: environments
and minibatches are fewer. docs/recover.md explains every option and metric that is not CleanRL's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rlrc_sim.suites import EPISODE_SETS
import tyro

POSITIVE = ('total_timesteps', 'num_envs', 'num_steps', 'update_epochs', 'num_minibatches',
            'eval_every', 'save_every', 'critic_warmup_epochs')
NOT_NEGATIVE = ('bc_coef', 'ent_coef', 'vf_coef', 'lora_rank', 'microbatch_size', 'processes',
                'critic_warmup_updates', 'eval_episodes', 'updates_without_reward', 'threads',
                'eval_temperature', 'weight_decay', 'bc_sigma')


@dataclass(frozen=True)
class RlConfig:
    """Where to start, what to play, how to learn from it."""

    # Run
    init: Path = Path('checkpoints/nano')
    """Checkpoint to start from: `rlrc sft`'s. Without SFT first, PPO stays at zero."""
    out: Path = Path('runs/rl')
    """Folder for everything this run writes."""
    unnorm_key: str | None = None
    """Which of the checkpoint's statistics scale the actions; needed if it has several."""
    seed: int = 0
    """Of episodes, sampled actions and minibatches."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    precision: Literal['fp32', 'bf16'] = 'fp32'
    """bf16 keeps the frozen weights in bf16 and needs --lora-rank; adapters stay in fp32."""
    threads: int = 0
    """CPU threads for torch; 0 leaves its default."""

    # Rollouts
    total_timesteps: int = 100_000
    """Environment steps in all."""
    num_envs: int = 8
    """Environments at once, over all ranks."""
    num_steps: int = 80
    """Steps of each environment between two updates; 80 is the suite's whole episode."""
    episode_set: str = 'ind'
    """Which family of worlds (see rlrc_sim.suites)."""
    end_on_success: bool = False
    """End an episode at its first success (RLinf) instead of after 80 steps (RL4VLA)."""
    temperature: float = 1.0
    """Actions are drawn at this temperature, and judged at it in the update."""
    processes: int = 0
    """Processes that simulate, a rank; 0 means one for each of its cores."""
    exact_resets: bool = False
    """Build every scene anew: a run then repeats to the last bit, at 0.2 s more an episode."""

    # Learning
    learning_rate: float = 1e-4
    """AdamW's rate of the policy."""
    value_learning_rate: float = 3e-3
    """AdamW's rate of the critic's head."""
    weight_decay: float = 0.0
    """AdamW's."""
    anneal_lr: bool = False
    """Lower both rates linearly to zero."""
    gamma: float = 0.99
    """Discount."""
    bootstrap: bool = True
    """What is cut off, by the rollout's end or after 80 steps, is worth what the critic says of
    its last state; False (RL4VLA): nothing more, so that not to succeed costs something."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    num_minibatches: int = 4
    """Optimiser steps an epoch; RL4VLA has 160 samples in each."""
    update_epochs: int = 1
    """Passes over a rollout."""
    microbatch_size: int = 0
    """Samples through the trunk at once on a rank; 0 takes a whole minibatch."""
    gradient_checkpointing: bool = False
    """Keep no activations inside a block and compute them again: less memory, more time."""
    norm_adv: bool = True
    """Normalise advantages over the whole rollout."""
    clip_coef: float = 0.2
    """The surrogate's clipping, and the values'."""
    clip_vloss: bool = True
    """Clip the value loss around the old values."""
    ent_coef: float = 0.0
    """Weight of the entropy."""
    vf_coef: float = 1.0
    """Weight of the value loss."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm."""
    target_kl: float | None = 0.1
    """A minibatch whose approximate KL exceeds this ends the update; None never does."""
    detach_critic: bool = False
    """Keep the critic's gradient out of the trunk."""
    lora_rank: int = 0
    """Train adapters of this rank on every linear layer; 0 trains all weights. RL4VLA: 32."""
    lora_alpha: float = 16.0
    """Scale of the adapters, over their rank."""

    # Critic warm-up
    critic_warmup_updates: int = 10
    """The policy is frozen for at most so many updates at first; 0 never."""
    critic_warmup_explained_variance: float = 0.5
    """The critic explains this share of a fresh rollout's returns: the policy is set free."""
    critic_warmup_epochs: int = 8
    """Passes of the critic's head over a rollout while the policy is frozen."""

    # Behaviour cloning beside PPO
    bc: Literal['none', 'demonstrations', 'kl'] = 'none'
    """What the policy is held to: nothing, --data's actions, or the policy it began as."""
    bc_coef: float = 0.1
    """Weight of the imitation term (RLinf mixes its SFT loss at 0.1)."""
    bc_decay: float = 1.0
    """Factor on bc_coef after each update of the policy."""
    bc_sigma: float = 3.0
    """Imitated bins are softened by this, as `rlrc sft --bin-sigma` does; 0 is the exact bin, to
    which a softened policy would first have to sharpen. With --bc demonstrations."""
    bc_batch_size: int = 32
    """Demonstrated frames in each minibatch, with --bc demonstrations."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = ()
    """Folders made by `rlrc collect`, or LeRobotDatasets, for --bc demonstrations."""
    episodes: int | None = None
    """Use at most so many demonstrations of each folder; all of them by default."""
    camera: str = ''
    """Which images of a LeRobotDataset; needed where it has several."""

    # Evaluation
    eval_every: int = 5
    """Updates between evaluations on held-out validation seeds; the last is always evaluated."""
    eval_episodes: int = 40
    """Episodes of an evaluation; 0 keeps the last weights instead of the best."""
    eval_temperature: float = 0.0
    """0 takes the most likely tokens; RL4VLA evaluates at 0.6."""
    eval_stop_on_success: bool = False
    """End an evaluation's episodes at their first success: several times cheaper, and nothing but
    success_once is known."""
    best_by: Literal['success_once', 'success_at_end'] = 'success_at_end'
    """Which success decides on the best checkpoint."""
    save_every: int = 1
    """Updates between saved states to go on from."""
    updates_without_reward: int = 5
    """Stop after so many updates in which no reward was ever other than zero; 0 goes on."""

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        for name in NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f'{name} must be 0 or more, got {getattr(self, name)}')
        for name in ('gamma', 'gae_lambda', 'bc_decay'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f'{name} must be between 0 and 1, got {getattr(self, name)}')
        for name in ('temperature', 'clip_coef', 'max_grad_norm'):
            if not getattr(self, name) > 0.0:
                raise ValueError(f'{name} must be above 0, got {getattr(self, name)}')
        if self.episode_set not in EPISODE_SETS:
            raise ValueError(f'episode_set {self.episode_set!r} is not known; '
                             f'there are: {", ".join(EPISODE_SETS)}')
        if self.eval_stop_on_success and self.best_by != 'success_once':
            raise ValueError(f'best_by {self.best_by!r} is not known to evaluations that end with '
                             'success; set --best-by success_once, or leave away '
                             '--eval-stop-on-success')
        if self.total_timesteps < self.batch_size:
            raise ValueError(
                f'total_timesteps {self.total_timesteps} are less than one update takes: '
                f'num_envs {self.num_envs} x num_steps {self.num_steps} = {self.batch_size}')
        if self.num_minibatches > self.batch_size:
            raise ValueError(f'num_minibatches {self.num_minibatches} are more than the '
                             f'{self.batch_size} samples of an update')
        if (self.bc == 'demonstrations') != bool(self.data):
            raise ValueError('demonstrations for --bc come from --data; give both --bc '
                             f'demonstrations and --data DIR, or neither; got bc {self.bc!r} '
                             f'and {len(self.data)} folders')
        if self.precision == 'bf16' and not self.lora_rank:
            raise ValueError('precision bf16 rounds away the steps of weights that train; '
                             'use --lora-rank 32 with it, or --precision fp32')

    @property
    def batch_size(self) -> int:
        """Return the environment steps of an update."""
        return self.num_envs * self.num_steps

    @property
    def num_updates(self) -> int:
        """Return how many updates the timesteps suffice for."""
        return self.total_timesteps // self.batch_size

    @property
    def warms_up(self) -> bool:
        """Say whether the critic is trained alone at first."""
        return self.critic_warmup_updates > 0
