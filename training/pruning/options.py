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
What `rlrc prune` can be asked for: one dataclass, every choice by name, bounds checked.

The fields' docstrings are the text of `rlrc prune --help`.
"""

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Annotated

import tyro

METHODS = ('llm-pruner', 'magnitude', 'magnitude-sp', 'wanda', 'wanda-sp', 'flap')
STRUCTURED = ('llm-pruner', 'magnitude-sp', 'wanda-sp', 'flap')
TAYLOR = ('param_first', 'param_second', 'param_mix', 'vectorize')
IMPORTANCES = (*TAYLOR, 'l1', 'l2')
REDUCTIONS = ('sum', 'mean', 'max', 'prod', 'first')
FLAP_METRICS = ('WIFV', 'IFV', 'WIFN')
FLAP_STRUCTURES = ('AL-AM', 'AL-MM', 'UL-UM', 'UL-MM')
CHOICES = {
    'method': METHODS, 'ratio_of': ('layer', 'decoder'), 'importance': IMPORTANCES,
    'reduction': REDUCTIONS, 'loss': ('policy', 'robot'), 'flap_metric': FLAP_METRICS,
    'flap_structure': FLAP_STRUCTURES, 'dtype': ('auto', 'float32', 'bfloat16')}


class PruneError(ValueError):
    """A pruning that cannot be done; the message names the value and the nearest valid one."""


@dataclass(frozen=True)
class PruneConfig:
    """What to prune, how much of it, and by which importance."""

    checkpoint: Annotated[Path, tyro.conf.Positional] = Path('checkpoints/nano')
    """Dense checkpoint folder, ours or an official OpenVLA's."""
    out: Path = Path('runs/pruned')
    """The new checkpoint folder; it must not exist."""
    method: str = 'llm-pruner'
    """llm-pruner, magnitude-sp, wanda-sp, flap: whole heads and channels go. magnitude, wanda:
    single weights become zero, shapes stay."""
    ratio: float = 0.9
    """Share of the weights that goes."""
    ratio_of: str = 'layer'
    """layer: of each listed layer (LLM-Pruner's). decoder: of all decoder layers' weights, the
    listed layers being pruned so much harder (RLRC's 90 %)."""
    max_layer_ratio: float = 0.95
    """With --ratio-of decoder no listed layer loses more than this. RLRC's 90 % at 7B ends here:
    2 heads and 550 channels a layer (512 with the default --round-to), 88.7 % of the decoder's
    layers."""
    layers: tuple[int, int] | None = None
    """First layer to prune and the one after the last; by default all but the first and last."""
    importance: str = 'param_first'
    """llm-pruner: param_first, param_second, param_mix or vectorize (Taylor), or l1, l2."""
    reduction: str = 'sum'
    """llm-pruner: sum, mean, max, prod or first of the matrices that lose a channel together."""
    loss: str = 'policy'
    """policy: the action tokens' loss of `rlrc sft`. robot: the same, weighted by what moves the
    arm (gripper toggles, contact)."""
    robot_weight: float = 4.0
    """With --loss robot: how many times more a frame near a toggle or in contact counts."""
    keep_layers: int = 0
    """llm-pruner: keep so many of the listed layers, the most important ones, and prune them less,
    to the same number of weights; 0 keeps all."""
    vision_ratio: float = 0.0
    """llm-pruner: share of every vision block's heads and channels that goes as well."""
    round_to: int = 0
    """Channels left are a multiple of this, for 4-bit kernels; 0: 128 at 7B, 32 for nano."""
    pattern: str = 'unstructured'
    """magnitude and wanda: unstructured, or N:M such as 2:4, N zeros in every M inputs (which then
    is the ratio)."""
    wanda_variant: bool = False
    """wanda: a threshold on each row's cumulated metric in the place of an equal count."""
    flap_metric: str = 'WIFV'
    """flap: WIFV, IFV or WIFN."""
    flap_structure: str = 'AL-AM'
    """flap: AL-AM or AL-MM (one threshold for all layers), UL-UM or UL-MM (every layer alike)."""
    remove_heads: int = 0
    """flap, -MM structures: heads removed in all; 0: the ratio's share of them."""
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar='DIR [DIR ...]')] = (
        Path('runs/demos'),)
    """Demonstrations of your task to calibrate with, made by `rlrc collect`."""
    token_ids: Path | None = None
    """Calibrate with these token ids and a language model's loss instead: a safetensors file with
    int64 input_ids (samples, tokens)."""
    unnorm_key: str | None = None
    """Which of the checkpoint's data sets scales the demonstrations' actions; needed if several.
    """
    samples: int = 10
    """Calibration samples of LLM-Pruner's size ..."""
    sample_tokens: int = 64
    """... and tokens in each. From demonstrations as many frames are taken as have this number of
    action tokens in all (80 frames by default)."""
    episodes: int = 40
    """Draw the frames from at most so many episodes of each folder."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    dtype: str = 'auto'
    """Of the weights while they are pruned: float32, bfloat16, or auto (bfloat16 above 1e9)."""
    seed: int = 0
    """Of the choice of calibration frames."""

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise PruneError(f'{name} {getattr(self, name)!r} is not known; there are: '
                                 f'{", ".join(valid)}')
        if not 0.0 < self.ratio < 1.0:
            raise PruneError(f'ratio {self.ratio} would leave '
                             f'{"everything" if self.ratio <= 0 else "layers without heads"}; it '
                             'lies between 0 and 1, for example 0.9')
        if not 0.0 <= self.vision_ratio < 1.0:
            raise PruneError(f'vision_ratio lies between 0 and 1, got {self.vision_ratio}; '
                             '0 leaves the towers as they are')
        if not 0.0 < self.max_layer_ratio < 1.0:
            raise PruneError(f'max_layer_ratio lies between 0 and 1, got {self.max_layer_ratio}')
        for name, least in (('samples', 1), ('sample_tokens', 1), ('episodes', 1),
                            ('round_to', 0), ('keep_layers', 0), ('remove_heads', 0)):
            if getattr(self, name) < least:
                raise PruneError(f'{name} is at least {least}, got {getattr(self, name)}')
        if self.robot_weight < 1.0:
            raise PruneError(f'robot_weight is at least 1, got {self.robot_weight}')
        self._check_pattern()
        self._check_together()

    def _check_pattern(self) -> None:
        match = re.fullmatch(r'(\d+):(\d+)', self.pattern)
        if self.pattern != 'unstructured' and not (
                match and 0 < int(match[1]) < int(match[2])):
            raise PruneError(f'pattern {self.pattern!r} is not known; there are: unstructured, or '
                             'N:M with N below M, for example 2:4')

    def _check_together(self) -> None:
        """Refuse options that the method would silently ignore."""
        for name, neutral, methods in (
                ('keep_layers', 0, ('llm-pruner',)), ('vision_ratio', 0.0, ('llm-pruner',)),
                ('loss', 'policy', ('llm-pruner',)), ('reduction', 'sum', ('llm-pruner',)),
                ('importance', 'param_first', ('llm-pruner',)), ('flap_metric', 'WIFV', ('flap',)),
                ('flap_structure', 'AL-AM', ('flap',)), ('remove_heads', 0, ('flap',)),
                ('wanda_variant', False, ('wanda',)),
                ('pattern', 'unstructured', ('magnitude', 'wanda'))):
            if getattr(self, name) != neutral and self.method not in methods:
                raise PruneError(f'{name} {getattr(self, name)!r} is not for method '
                                 f'{self.method!r}; it is for: {", ".join(methods)}')
        if self.remove_heads and not self.flap_structure.endswith('MM'):
            raise PruneError(f'remove_heads {self.remove_heads} is not for flap_structure '
                             f'{self.flap_structure!r}; it is for: AL-MM, UL-MM')
        if self.wanda_variant and self.pattern != 'unstructured':
            raise PruneError(f'wanda_variant knows no pattern {self.pattern!r}; '
                             'leave one of the two away')
        if self.loss == 'robot' and self.importance not in TAYLOR:
            raise PruneError(f'importance {self.importance!r} reads no loss; with --loss robot '
                             f'use one of: {", ".join(TAYLOR)}')
        if self.token_ids is not None and not self.calibrates:
            raise PruneError(f'{self.method} reads weights alone; leave --token-ids away')
        if self.token_ids is not None and (self.loss == 'robot' or self.vision_ratio):
            raise PruneError('token ids hold no images and no actions; with --loss robot or '
                             '--vision-ratio calibrate with demonstrations (--data)')

    @property
    def zeros_per_group(self) -> tuple[int, int] | None:
        """Return (N, M) of an N:M pattern, or None."""
        if self.pattern == 'unstructured':
            return None
        zeros, size = self.pattern.split(':')
        return int(zeros), int(size)

    @property
    def calibrates(self) -> bool:
        """Return whether the method looks at data at all."""
        if self.method == 'llm-pruner':
            return self.importance in TAYLOR
        return self.method in ('wanda', 'wanda-sp', 'flap')

    @property
    def fewest_samples(self) -> int:
        """Return how many calibration sequences the method needs at least."""
        return 2 if self.method == 'flap' and self.flap_metric != 'WIFN' else 1
