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
Rollouts: one batched policy over many simulated worlds, physics and inference side by side.

The environments of a rank are two halves. While the policy answers one half, the other simulates
in processes of its own. What an episode shows and which action is drawn is a function of (seed,
update, environment) alone, and of how often the simulator crashed in this rollout: neither the
number of ranks nor who answers first changes it, and nothing of the simulator has to be saved.
Every update therefore begins with fresh episodes; one that an update's end cuts off is truncated,
like one whose time is up.

Legend: T num_steps, N environments of this rank, A action tokens, E hidden_size.
"""

from dataclasses import dataclass, field
import logging
import time

import numpy as np
from rlrc_ros.types import Observation
from rlrc_ros.vla import images, prompt
from rlrc_ros.vla.actions import action_chunk, ActionTokenizer, NormStats
from rlrc_ros.vla.model import Vla
from rlrc_sim.rollout import MAX_CRASHES_IN_SUCCESSION, WorldPool, WorldProcessEndedError
from rlrc_sim.suites import TRAIN_SEEDS
from rlrc_sim.world import Step
from rlrc_training.ppo import ValueHead
from rlrc_training.rl_config import RlConfig
from tokenizers import Tokenizer
import torch

RL_SEEDS = range(10_000_000, TRAIN_SEEDS.stop)
"""Training seeds that played demonstrations, which count up from a million, do not reach."""
EPISODE_DRAW, ACTION_DRAW = 1, 2
"""So that seeds and actions are drawn from different streams."""
log = logging.getLogger('rlrc.rl')


@dataclass(frozen=True)
class Moment:
    """What the policy saw: the picture, in the model's size, and the words."""

    image: np.ndarray
    instruction: str


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode that ended within a rollout."""

    episodic_return: float
    length: int
    success_once: bool
    success_at_end: bool


@dataclass
class Rollout:
    """T steps of N environments; tensors live on the CPU."""

    moments: np.ndarray
    """(T, N) of Moment."""
    bins: torch.Tensor
    """(T, N, A) chosen action ids, counted from the lowest."""
    logprobs: torch.Tensor
    """(T, N) of whole actions."""
    values: torch.Tensor
    """(T, N)"""
    hidden: torch.Tensor
    """(T, N, E) what the critic read."""
    rewards: torch.Tensor
    """(T, N)"""
    dones: torch.Tensor
    """(T, N) bool: an episode ended with this step, or the rollout did."""
    next_values: torch.Tensor
    """(T, N) of where each step led to; 0 where it terminated."""
    successes: torch.Tensor
    """(T, N) bool: the step's episode has succeeded, then or before."""
    episodes: list[PlayedEpisode] = field(default_factory=list)
    simulate_s: float = 0.0
    """Time spent waiting for worlds."""
    infer_s: float = 0.0
    """Time the policy took."""
    seconds: float = 0.0

    @property
    def first_success(self) -> torch.Tensor:
        """
        Return (N,) bool: the episode that an environment began the rollout with succeeded in it.

        Unlike the episodes that ended, of which a short rollout sees the successes alone, these
        are all that began at one moment.
        """
        first = self.dones.cumsum(0) - self.dones.long() == 0
        return (self.successes & first).any(0)


class Batcher:
    """Moments and answers → what the model takes; the same in rollouts and in updates."""

    def __init__(self, model: Vla, tokenizer: Tokenizer):
        self.config = model.config
        self._model = model
        self._tokenizer = tokenizer
        self._prompts: dict[str, list[int]] = {}
        self.low_id = self.config.action.lowest_id

    def prompt_ids(self, instruction: str) -> list[int]:
        """Return an instruction's prompt, prefix token included."""
        if instruction not in self._prompts:
            self._prompts[instruction] = prompt.encode(
                instruction, self._tokenizer, self.config)
        return self._prompts[instruction]

    def pixels(self, moments: list[Moment]) -> torch.Tensor:
        """Return normalised pictures (B, 3 x towers, H, W) on the model's device."""
        weight = next(self._model.parameters())
        stacked = torch.from_numpy(np.stack([each.image for each in moments]))
        return images.to_pixels(stacked.to(weight.device), self.config.towers).to(weight.dtype)

    def prompts(self, moments: list[Moment]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return padded token ids (B, L) and their lengths (B,)."""
        device = next(self._model.parameters()).device
        ids, lengths = prompt.pad([self.prompt_ids(each.instruction) for each in moments],
                                  self.config.pad_token_id)
        return ids.to(device), lengths.to(device)

    def sequences(self, moments: list[Moment],
                  bins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prompts followed by given answers (B, A), and where the answers stand (B, A)."""
        ids, lengths = self.prompts(moments)
        where = lengths[:, None] + torch.arange(bins.shape[1], device=ids.device)
        ids = torch.nn.functional.pad(ids, (0, bins.shape[1]), value=self.config.pad_token_id)
        return ids.scatter(1, where, bins.to(ids.device) + self.low_id), where


class Collector:
    """
    Plays this rank's environments.

    :param envs: their numbers among all environments
    """

    def __init__(self, config: RlConfig, pool: WorldPool, envs: range, batcher: Batcher,
                 stats: NormStats):
        self._config, self._pool, self._envs, self._batcher = config, pool, envs, batcher
        self._stats = stats
        self._actions = ActionTokenizer(batcher.config.action)
        # Halves that both use every process: worlds lie in the processes in turn.
        processes = max(1, pool.processes)
        halves = [[n for n in range(len(envs)) if n // processes % 2 == half] for half in (0, 1)]
        self._groups = [half for half in halves if half]

    def collect(self, model: Vla, head: ValueHead, update: int) -> Rollout:
        """
        Play num_steps in every environment, from fresh episodes on.

        PhysX crashes on some contacts, always on the same: the rollout is then played with other
        episodes, drawn by the attempt too.

        :raises WorldDiedError: a world raised, or MAX_CRASHES_IN_SUCCESSION attempts crashed
        """
        for attempt in range(MAX_CRASHES_IN_SUCCESSION):
            try:
                return self._play(model, head, [update, attempt] if attempt else [update])
            except WorldProcessEndedError as error:
                if attempt == MAX_CRASHES_IN_SUCCESSION - 1:
                    raise
                log.warning('world died, the rollout is played with other episodes: update=%d '
                            'attempt=%d (%s)', update, attempt + 1, error)
                self._pool.restart()

    @torch.no_grad()
    def _play(self, model: Vla, head: ValueHead, draw: list[int]) -> Rollout:
        config, count = self._config, len(self._envs)
        started = time.perf_counter()
        shape = (config.num_steps, count)
        tokens = self._batcher.config.action_tokens
        rollout = Rollout(
            np.empty(shape, dtype=object), torch.zeros(*shape, tokens, dtype=torch.long),
            torch.zeros(shape), torch.zeros(shape),
            torch.zeros(*shape, self._batcher.config.decoder.hidden_size), torch.zeros(shape),
            torch.zeros(shape, dtype=torch.bool), torch.zeros(shape),
            torch.zeros(shape, dtype=torch.bool))
        uniforms = np.stack([np.random.default_rng(
            [config.seed, *draw, env, ACTION_DRAW]).random((config.num_steps, tokens))
            for env in self._envs], axis=1)  # (T, N, A)
        seeds = [np.random.default_rng([config.seed, *draw, env, EPISODE_DRAW])
                 for env in self._envs]
        returns = np.zeros(count)
        cut: list[tuple[int, int, Moment]] = []
        for n in range(count):
            self._reset(n, seeds[n])
        for t in range(config.num_steps):
            for group in self._groups:
                moments = []
                for n in group:
                    answer = self._wait(n, rollout)
                    if t:
                        answer = self._take(t - 1, n, answer, rollout, returns, cut, seeds)
                    moments.append(self._moment(answer))
                self._act(model, head, t, group, moments, uniforms[t, group], rollout)
        for n in range(count):
            self._take(config.num_steps - 1, n, self._wait(n, rollout), rollout, returns, cut,
                       seeds)
        ended = time.perf_counter()
        if not config.bootstrap:
            cut.clear()
        for first in range(0, len(cut), count):
            part = cut[first:first + count]
            values = self._values(model, head, [moment for _, _, moment in part])
            for (t, n, _), value in zip(part, values):
                rollout.next_values[t, n] = value
        going_on = ~rollout.dones[:-1]
        rollout.next_values[:-1][going_on] = rollout.values[1:][going_on]
        rollout.infer_s += time.perf_counter() - ended
        rollout.seconds = time.perf_counter() - started
        return rollout

    def _reset(self, n: int, rng: np.random.Generator) -> None:
        seed = int(rng.integers(RL_SEEDS.start, RL_SEEDS.stop))
        self._pool.send(n, 'reset', seed, self._config.episode_set, self._config.exact_resets)

    def _wait(self, n: int, rollout: Rollout) -> Observation | Step:
        started = time.perf_counter()
        answer = self._pool.receive(n)
        rollout.simulate_s += time.perf_counter() - started
        return answer

    def _moment(self, seen: Observation) -> Moment:
        return Moment(images.prepare(seen.image, self._batcher.config), seen.instruction)

    def _take(self, t: int, n: int, step: Step, rollout: Rollout, returns: np.ndarray,
              cut: list[tuple[int, int, Moment]],
              seeds: list[np.random.Generator]) -> Observation:
        """Note what step t of environment n led to; return what is seen next."""
        config = self._config
        rollout.rewards[t, n], rollout.successes[t, n] = step.reward, step.success_once
        returns[n] += step.reward
        terminated = config.end_on_success and step.success
        over = terminated or step.truncated
        last = t == config.num_steps - 1
        rollout.dones[t, n] = over or last
        if (over or last) and not terminated:
            cut.append((t, n, self._moment(step.observation)))
        if over:
            rollout.episodes.append(PlayedEpisode(
                float(returns[n]), step.steps, step.success_once, step.success))
            returns[n] = 0.0
            if not last:
                self._reset(n, seeds[n])
                return self._wait(n, rollout)
        return step.observation

    def _act(self, model: Vla, head: ValueHead, t: int, group: list[int], moments: list[Moment],
             uniforms: np.ndarray, rollout: Rollout) -> None:
        """Draw an action for each environment of a group and send it off."""
        started = time.perf_counter()
        pixels = self._batcher.pixels(moments)
        ids, lengths = self._batcher.prompts(moments)
        decoded = model.act(pixels, ids, lengths, self._config.temperature,
                            uniforms=torch.from_numpy(uniforms).to(pixels.device))
        action_ids = decoded.action_ids.cpu()
        for row, (n, moment) in enumerate(zip(group, moments)):
            numbers = self._actions.decode(action_ids[row].numpy()).reshape(
                self._batcher.config.action.horizon, -1)
            chunk = action_chunk(self._stats.unnormalise(numbers))
            self._pool.send(n, 'step', chunk.actions[0])
            rollout.moments[t, n] = moment
        rollout.bins[t, group] = action_ids - self._batcher.low_id
        rollout.logprobs[t, group] = decoded.logprobs.sum(1).cpu()
        rollout.hidden[t, group] = decoded.first_hidden.float().cpu()
        rollout.values[t, group] = head(decoded.first_hidden).cpu()
        rollout.infer_s += time.perf_counter() - started

    def _values(self, model: Vla, head: ValueHead, moments: list[Moment]) -> torch.Tensor:
        ids, lengths = self._batcher.prompts(moments)
        hidden = model(self._batcher.pixels(moments), ids, lengths[:, None])[:, 0]
        return head(hidden).cpu()
