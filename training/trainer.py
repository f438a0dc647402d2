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

"""Model, averaged weights and optimiser of `rlrc sft`: one step, one state on disk."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import product
import math
import time

from rlrc_ros.vla.model import skeleton, Vla
from rlrc_training import ranks
from rlrc_training.grounding import AuxiliaryHead
from rlrc_training.lora import add_lora, merged_weights
from rlrc_training.memory import checkpoint_activations
from rlrc_training.resume import load_state, optimiser_tensors, restore_optimiser, save_state
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import Losses
from rlrc_training.sharding import as_part_of, clip_gradients, gathered, is_shared, own_part, shard
import torch


def learning_rate(step: int, config: SftConfig) -> float:
    """Return AdamW's rate at a step: linear warm-up, cosine decay to a hundredth."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _groups(parameters: Iterable[torch.nn.Parameter], decay: float) -> Iterator[dict]:
    """Yield AdamW's groups: matrices decay; a fused step takes whole tensors or shares of them."""
    parameters = list(parameters)
    for matrix, shared in product((True, False), repeat=2):
        group = [each for each in parameters
                 if (each.dim() >= 2) is matrix and is_shared(each) is shared]
        if group:
            yield {'params': group, 'weight_decay': decay if matrix else 0.0}


class Trainer:
    """Model, averaged weights and optimiser, and how they are saved and restored."""

    def __init__(self, config: SftConfig, model: Vla, device: torch.device, kinds: int = 0,
                 data: dict | None = None):
        """
        Begin at step 0.

        :param kinds: how many kinds of things the auxiliary head is asked for
        :param data: what must be equal, as JSON, for another start to be of the same run:
            `answers`, their number, and `statistics`; None: it is not compared
        """
        self.config, self.model, self._data = config, model.to(device), data
        if config.lora_rank:
            add_lora(model, config.lora_rank, config.lora_alpha, config.seed)
        if config.gradient_checkpointing:
            checkpoint_activations(model)
        if config.shard:
            shard(model)
        self.auxiliary = (AuxiliaryHead(model.config, kinds).to(device)
                          if config.auxiliary_weight else None)
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        parameters = dict(trained)
        if self.auxiliary is not None:
            parameters |= {f'auxiliary.{name}': each
                           for name, each in self.auxiliary.named_parameters()}
        self._parameters, self._trained = parameters, trained
        self.optimiser = torch.optim.AdamW(
            list(_groups(parameters.values(), config.weight_decay)),
            lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
        self.averaged = {name: each.detach().clone() for name, each in trained.items()}
        self._kept = {name: each.detach() != 0 for name, each in parameters.items()
                      if each.dim() >= 2} if config.keep_zeros else {}
        self.step = 0
        self.best_success = -1.0
        self._seconds_before, self._began_s = 0.0, time.monotonic()

    def update(self, parts: list[tuple[float, Callable[[], Losses]]]) -> tuple[Losses, float]:
        """
        Take one optimiser step.

        :param parts: shares of the whole batch, and what computes the loss of each
        :return: the whole batch's losses, over all parts and ranks, and the gradient's norm
        :raises FloatingPointError: loss or gradient is not finite; the weights are as they were
        """
        for group in self.optimiser.param_groups:
            group['lr'] = learning_rate(self.step, self.config)
        self.optimiser.zero_grad(set_to_none=True)
        device = next(iter(self._parameters.values())).device
        sums = torch.zeros(len(fields(Losses)), device=device)
        for share, compute in parts:
            losses = compute()
            (share * losses.total).backward()
            sums += share * torch.stack([
                getattr(losses, each.name).detach() for each in fields(Losses)]).float()
        total = Losses(*ranks.add_up(sums))
        ranks.add_up_gradients(self._parameters.values())
        norm = clip_gradients(self._parameters.values(), self.config.max_grad_norm)
        if not (torch.isfinite(total.total) and torch.isfinite(norm)):
            raise FloatingPointError(
                f'loss is {float(total.total)} and its gradient {float(norm)} at step '
                f'{self.step}; nothing of it was applied and the last state in '
                f'{self.config.out / "state"} is good. Lower --learning-rate')
        self.optimiser.step()
        with torch.no_grad():
            for name, kept in self._kept.items():
                self._parameters[name].mul_(kept)
        self.step += 1
        decay = min(self.config.ema_decay, self.step / (self.step + 10.0))
        with torch.no_grad():
            torch._foreach_lerp_(*(
                [own_part(each) for each in weights.values()]
                for weights in (self.averaged, self._trained)), 1.0 - decay)
        return total, float(norm)

    @torch.no_grad()
    def averaged_model(self) -> Vla | None:
        """
        Return a copy of the model with the averaged weights, adapters merged, ready to act.

        Every process must ask; the first one gets it.
        """
        if not self.config.shard and not ranks.is_first():
            return None  # the first one has all that it needs
        own = {name: each.detach().clone() for name, each in self._trained.items()}
        for name, each in self._trained.items():
            each.copy_(self.averaged[name])
        weights = {name: each.clone() for name, each in gathered(
            merged_weights(self.model).items()).items()}
        for name, each in self._trained.items():
            each.copy_(own[name])
        if not weights:
            return None
        copy = skeleton(self.model.config)
        copy.load_state_dict(weights, assign=True)
        device = next(iter(self._parameters.values())).device
        return copy.to(device).eval().requires_grad_(False)

    @property
    def seconds(self) -> float:
        """Return how long the run has trained, all that it was taken up again together."""
        return self._seconds_before + time.monotonic() - self._began_s

    def save(self) -> None:
        """
        Write all that a resumed run needs, all or nothing; every process must call.

        :raises OSError: see save_state()
        """
        tensors = {f'averaged.{name}': each for name, each in self.averaged.items()}
        tensors |= {f'weight.{name}': each for name, each in self._parameters.items()}
        tensors |= dict(optimiser_tensors(self.optimiser, self._parameters))
        tensors = gathered(tensors.items())
        if ranks.is_first():
            save_state(self.config.out / 'state', tensors,
                       {'step': self.step, 'best_success': self.best_success,
                        'seconds': self.seconds, 'data': self._data})

    def restore(self) -> bool:
        """
        Go on from OUT/state if it is there; return whether it was.

        :raises ValueError: it was trained on other demonstrations
        """
        found = load_state(self.config.out / 'state')
        if found is None:
            return False
        tensors, progress = found
        before = progress.get('data')
        if before is not None and self._data is not None and before != self._data:
            counts = before['answers'], self._data['answers']
            how = ('their actions have another range' if counts[0] == counts[1] else
                   f'{counts[0]} answers then, {counts[1]} now')
            raise ValueError(f'the demonstrations have changed since {self.config.out} began '
                             f'({how}); put them back, or use another --out')
        with torch.no_grad():
            for name, each in self.averaged.items():
                each.copy_(as_part_of(each, tensors[f'averaged.{name}']))
            for name, each in self._parameters.items():
                each.copy_(as_part_of(each, tensors[f'weight.{name}']))
        restore_optimiser(self.optimiser, self._parameters, tensors)
        self.step, self.best_success = progress['step'], progress['best_success']
        self._seconds_before, self._began_s = progress.get('seconds', 0.0), time.monotonic()
        return True
