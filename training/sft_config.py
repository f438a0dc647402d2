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

"""The options of `rlrc sft`. docs/recover.md says which to take for what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rlrc_sim.suites import check_episode_set
from rlrc_training.presets import PRESETS
import tyro


@dataclass(frozen=True)
class SftConfig:
    """What to train, on what, for how long."""

    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = (
        Path('runs/demos'),)
    """Folders made by `rlrc collect` or `rlrc import-bags`, or LeRobotDatasets (v3)."""
    out: Path = Path('runs/nano')
    """Folder for everything this run writes."""
    preset: str = 'nano'
    """Size of a model trained from scratch; ignored with --init."""
    init: Path | None = None
    """Checkpoint to start from instead of fresh weights."""
    warm_start: Path | None = None
    """With --preset: checkpoint whose tensors are copied where name and shape are the same; what
    it lacks, further layers for example, begins fresh."""
    decoding: Literal['own', 'parallel'] = 'own'
    """`parallel`: all action tokens in one pass, over empty slots that see everything, by
    OpenVLA-OFT's discrete head; `own`: as --init decodes, token after token from scratch."""
    action_horizon: int = 0
    """Actions in one answer; 0: as --init has it, 1 from scratch."""
    dataset_name: str = 'rlrc_put_on_plate'
    """The unnorm_key under which the action statistics are saved."""
    episodes: int | None = None
    """Use at most so many episodes of each folder; all of them by default."""
    camera: str = ''
    """Which images of a LeRobotDataset; needed where it has several."""
    steps: int = 4000
    """Optimiser steps in all."""
    batch_size: int = 64
    """Frames in a step."""
    sentences: int = 1
    """Sentences asked about a picture, where the demonstrations answer more than their own: fewer
    pictures a batch, and the words alone tell their answers apart."""
    learning_rate: float = 1e-3
    """Peak of AdamW's rate, after the warm-up and before the cosine decay to a hundredth."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """AdamW's, on matrices alone."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    ema_decay: float = 0.998
    """Decay of the averaged weights that are evaluated and kept; 0 keeps the plain ones."""
    keep_zeros: bool = False
    """Hold weights at zero that are zero in --init: masks of `rlrc prune --method wanda`."""
    bin_sigma: float = 3.0
    """Targets are softened over neighbouring bins with this deviation; 0 is OpenVLA's hard bin."""
    gripper_weight: float = 1.0
    """How many tokens the gripper's counts for in the action loss; of eight it is the one that
    lets go, and the soft targets of the rest drown it in a small policy."""
    token_jitter: float = 0.0
    """Standard deviation, in bins, of what is added to the action tokens that are read, not to
    those that are asked for: answers of one image then do not hang on each other's very bins."""
    auxiliary_weight: float = 2.0
    """Weight of the auxiliary losses, of where things are; 0 leaves the head away."""
    augmentation: Literal['colour', 'openvla'] = 'colour'
    """`colour`: --colour-jitter alone; `openvla`: its random crop, brightness, contrast,
    saturation and hue; the checkpoint then crops what it acts on (center_crop)."""
    colour_jitter: float = 0.15
    """Largest relative change of an image's brightness and contrast, with `colour`."""
    data_weights: Annotated[tuple[float, ...], tyro.conf.arg(metavar='W [W ...]')] = ()
    """How often pictures of each folder of --data are drawn, relative to the others; by default
    as many as it has. With --sentences a picture brings as many answers as it has, up to that."""
    keep_statistics: bool = False
    """Scale actions by --init's statistics of dataset_name, not by the data's own."""
    distill: Path | None = None
    """Dense checkpoint whose action-bin probabilities are targets beside the demonstrations."""
    distill_weight: float = 0.5
    """Share of those targets in the action loss."""
    lora_rank: int = 0
    """Train adapters of this rank on every linear layer; 0 trains all. OpenVLA: 32."""
    lora_alpha: float = 16.0
    """Scale of the adapters, over their rank."""
    accumulate: int = 1
    """Parts that a batch is run through the model in, one after another."""
    gradient_checkpointing: bool = False
    """Keep no activations inside a block and compute them again: less memory, more time."""
    shard: bool = False
    """Under torchrun: each process holds a share of the blocks (FSDP2), not all of them; for
    weights that one device cannot train."""
    precision: Literal['fp32', 'bf16'] = 'fp32'
    """bf16: matrices are multiplied in it, weights that train stay in fp32."""
    eval_every: int = 500
    """Steps between closed-loop evaluations; the last step is always evaluated."""
    eval_episodes: int = 40
    """Episodes of an evaluation; 0 keeps the last weights instead of the best."""
    episode_set: str = 'ind'
    """Which family of worlds evaluations play (see rlrc_sim.suites)."""
    save_every: int = 100
    """Steps between saved states to go on from."""
    processes: int = 2
    """Processes that simulate during evaluation, many worlds in each."""
    threads: int = 0
    """CPU threads that train; 0 leaves torch's default. Evaluation leaves cores to the worlds."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    seed: int = 0
    """Of initial weights, batches and jitter."""

    def __post_init__(self) -> None:
        if self.init is None and self.preset not in PRESETS:
            raise ValueError(f'preset {self.preset!r} is not known; '
                             f'there are: {", ".join(PRESETS)}')
        for name in ('steps', 'batch_size', 'sentences', 'eval_every', 'save_every', 'processes'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        for name in ('lora_rank', 'distill_weight', 'action_horizon', 'gripper_weight',
                     'token_jitter'):
            if getattr(self, name) < 0:
                raise ValueError(f'{name} must be 0 or more, got {getattr(self, name)}')
        if not 1 <= self.accumulate <= self.batch_size:
            raise ValueError(f'accumulate must be 1 ... batch_size {self.batch_size}, '
                             f'got {self.accumulate}')
        if self.distill_weight > 1:
            raise ValueError(f'distill_weight is a share, at most 1, got {self.distill_weight}')
        if self.data_weights and (len(self.data_weights) != len(self.data)
                                  or min(self.data_weights) < 0 or not sum(self.data_weights)):
            raise ValueError(f'data_weights {self.data_weights} must be one number a folder of '
                             f'--data ({len(self.data)}), 0 or more, not all 0')
        if self.shard and self.lora_rank:
            raise ValueError(f'adapters of lora_rank {self.lora_rank} train few weights, which '
                             'every process can hold; leave --shard or --lora-rank away')
        if self.keep_zeros and self.lora_rank:
            raise ValueError('keep_zeros holds weights at zero, adapters of lora_rank '
                             f'{self.lora_rank} would be added to them; choose one')
        if self.warm_start is not None and self.init is not None:
            raise ValueError(f'--init {self.init} begins with all of a checkpoint, --warm-start '
                             f'{self.warm_start} with what fits a preset; choose one')
        if self.keep_statistics and self.init is None:
            raise ValueError('keep_statistics takes those of --init; give --init CHECKPOINT')
        check_episode_set(self.episode_set)
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f'ema_decay must be 0 or more and below 1, got {self.ema_decay}')
