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
The sizes of `rlrc pipeline`: what each stage is asked for, by group of stages.

`nano` trains on two CPU cores. `small` (about 48 M parameters) is for one GPU, `openvla-7b` for an
official checkpoint folder on one with 80 GB; their figures are RLRC's and RL4VLA's where those
papers have them (arXiv 2506.17639, 2505.19789), and have not been run here. `tiny` proves in tests
that everything fits together.
"""

from dataclasses import dataclass, field

from rlrc_sim.axes import CHOICE_AXES

AXES = tuple(f'put25_{name}' for name in (
    'unseen_table', 'texture_weak', 'texture_strong', 'whole_weak', 'whole_strong',
    'unseen_object', 'unseen_receptacle', 'paraphrase', 'second_object', 'second_receptacle',
    'position', 'initial_pose', 'object_moved'))

Options = dict[str, object]


@dataclass(frozen=True)
class Settings:
    """Options of each group of stages, by the verbs' own names."""

    collect: Options
    """Played demonstrations."""
    dense: Options
    prune: Options
    """Of everything that is pruned by 90 %."""
    recover: Options
    """SFT of everything that was pruned."""
    rl: Options
    int4: Options
    int8: Options
    nf4: Options
    keep_layers: int
    """Of the arm with fewer and wider layers."""
    scatter: Options = field(default_factory=dict)
    """Scattered states beside the played demonstrations; nothing: none."""
    dagger: Options = field(default_factory=dict)
    """Frames that the first dense policy gets to, answered by the expert; nothing: none."""
    dense_again: Options = field(default_factory=dict)
    """What differs from `dense` where training goes on with them."""
    rival: Options = field(default_factory=lambda: {'ratio': 0.2, 'ratio_of': 'decoder'})
    evaluate: Options = field(default_factory=dict)
    timing: Options = field(default_factory=dict)
    report: Options = field(default_factory=dict)
    distill: bool = True
    """Whether the dense policy's probabilities are half of the targets in recovery."""
    ind_set: str = 'put25_choice'
    ood_set: str = 'put25_choice_shifted'
    axes: tuple[str, ...] = (*CHOICE_AXES, 'put25_choice_ood')

    @property
    def sets(self) -> tuple[str, str]:
        """Return both sets that every row plays."""
        return self.ind_set, self.ood_set


def _schemes(group_size: int, vision: str, int4_alone: Options | None = None,
             **also: object) -> dict[str, Options]:
    """
    Return int4 (calibrated), int8 and NF4, on decoder, vision and projector.

    :param int4_alone: further options of int4; `also`: of all three
    """
    return {
        'int4': {'decoder': 'int4', 'vision': vision, 'projector': vision,
                 'group_size': group_size, 'rounding': 'gptq', **also,
                 **(int4_alone or {})},
        'int8': {'decoder': 'int8', 'vision': 'int8', 'projector': 'int8',
                 'rounding': 'nearest', **also},
        'nf4': {'decoder': 'nf4', 'vision': 'nf4', 'projector': 'nf4', 'rounding': 'nearest',
                **also}}


CHOICE = {'episode_set': 'put25_choice'}
SMALL_TABLES = {'stem': True, 'embeddings': 'int8'}
"""Of a small model what is no linear layer weighs something."""


def _scattered(files: int, **also: object) -> Options:
    """Return scattered states, forty in a file, of seeds that no played episode has."""
    return {**CHOICE, 'episodes': files, 'scatter': 40, 'first_seed': 50_000_000, **also}


DAGGER = {**CHOICE, 'first_seed': 2_000_000, 'policy_steps': 60, 'max_steps': 100,
          'noise_m': 0.003, 'noise_rad': 0.02, 'burst_probability': 0.03}
"""The policy acts for up to 60 steps; less noise than the expert's own, since it errs itself."""

SETTINGS: dict[str, Settings] = {
    'nano': Settings(
        # bf16 pays on a processor that multiplies it; docs/pipeline.md says what to set elsewhere.
        collect={**CHOICE, 'episodes': 3200}, scatter=_scattered(2500),
        dense={**CHOICE, 'preset': 'choice', 'steps': 16_000, 'batch_size': 32, 'sentences': 2,
               'learning_rate': 8e-4, 'gripper_weight': 4, 'precision': 'bf16',
               'eval_every': 4000, 'eval_episodes': 60},
        dagger={**DAGGER, 'episodes': 700},
        # The words are learnt by then, and a picture's other answers are of hands far away.
        dense_again={'steps': 6000, 'sentences': 1, 'learning_rate': 6e-4, 'warmup_steps': 100,
                     'eval_every': 2000, 'data_weights': (0.35, 0.35, 0.3)},
        # For 8x fewer bytes: of so small a policy one layer more and a quarter of the towers.
        prune={'ratio': 0.9, 'ratio_of': 'layer', 'layers': (1, 12), 'round_to': 32,
               'vision_ratio': 0.25},
        recover={**CHOICE, 'steps': 12_000, 'batch_size': 32, 'sentences': 2,
                 'learning_rate': 8e-4, 'warmup_steps': 100, 'gripper_weight': 4,
                 'token_jitter': 4, 'precision': 'bf16', 'eval_every': 3000,
                 'eval_episodes': 60},
        # 160 samples a minibatch. Small, even steps: a small policy wavers at 1e-4.
        rl={**CHOICE, 'total_timesteps': 76_800, 'num_envs': 16, 'num_steps': 80,
            'num_minibatches': 8, 'update_epochs': 2, 'learning_rate': 5e-5, 'anneal_lr': True,
            'target_kl': 0.3, 'bootstrap': False, 'critic_warmup_updates': 4,
            'end_on_success': True, 'eval_stop_on_success': True, 'best_by': 'success_once',
            'eval_every': 15, 'eval_episodes': 200},
        # A CPU's own arithmetic is fp32; the goal is against bf16, told by its range over blocks.
        timing={'dtype': 'bfloat16', 'blocks': 12},
        # Of a pruned layer one head of 32 inputs stays, half a group; a first convolution has 288.
        keep_layers=3, **_schemes(
            64, 'int4', {'head': 'int4', 'short_groups': ('decoder', 'vision', 'projector')},
            **SMALL_TABLES)),
    'small': Settings(
        collect={**CHOICE, 'episodes': 16_384, 'image_size_px': 192},
        scatter=_scattered(16_384, image_size_px=192),
        dense={**CHOICE, 'preset': 'small', 'steps': 60_000, 'batch_size': 256,
               'learning_rate': 5e-4, 'warmup_steps': 1000, 'gripper_weight': 4,
               'precision': 'bf16', 'eval_every': 10_000, 'eval_episodes': 100, 'processes': 8},
        dagger={**DAGGER, 'episodes': 2000, 'image_size_px': 192},
        dense_again={'steps': 20_000, 'learning_rate': 3e-4, 'eval_every': 5000},
        prune={'ratio': 0.9, 'ratio_of': 'layer', 'round_to': 64},
        recover={**CHOICE, 'steps': 10_000, 'batch_size': 256, 'learning_rate': 3e-4,
                 'gripper_weight': 4, 'precision': 'bf16', 'eval_every': 2500,
                 'eval_episodes': 100, 'processes': 8},
        rl={**CHOICE, 'total_timesteps': 604_160, 'num_envs': 64, 'num_minibatches': 32,
            'end_on_success': True, 'best_by': 'success_once', 'eval_every': 10,
            'eval_episodes': 100},
        keep_layers=3, **_schemes(64, 'int4', **SMALL_TABLES)),
    'openvla-7b': Settings(
        collect={'episode_set': 'official_ind', 'episodes': 16_384, 'image_size_px': 224},
        # OpenVLA's own loss and RL4VLA's adapters.
        dense={'episode_set': 'official_ind', 'steps': 10_000, 'batch_size': 64, 'accumulate': 8,
               'learning_rate': 5e-4, 'bin_sigma': 0.0, 'auxiliary_weight': 0.0,
               'augmentation': 'openvla', 'ema_decay': 0.0, 'lora_rank': 32, 'precision': 'bf16',
               'eval_every': 2500, 'eval_episodes': 64, 'processes': 16},
        prune={'ratio': 0.9, 'ratio_of': 'decoder', 'round_to': 128},
        recover={'episode_set': 'official_ind', 'steps': 10_000, 'batch_size': 64,
                 'accumulate': 8, 'learning_rate': 5e-4, 'bin_sigma': 0.0,
                 'auxiliary_weight': 0.0, 'augmentation': 'openvla', 'ema_decay': 0.0,
                 'lora_rank': 32, 'precision': 'bf16', 'eval_every': 2500, 'eval_episodes': 64,
                 'processes': 16},
        rl={'episode_set': 'official_ind', 'total_timesteps': 604_160, 'num_envs': 64,
            'num_minibatches': 32, 'microbatch_size': 20, 'lora_rank': 32, 'precision': 'bf16',
            'bc_sigma': 0.0,  # as its SFT
            'eval_every': 10, 'eval_episodes': 64, 'processes': 16},
        keep_layers=8, distill=False, ind_set='official_ind', ood_set='official_ood',
        axes=tuple(name.replace('put25', 'official') for name in AXES),
        **_schemes(128, 'int4')),
    'tiny': Settings(
        collect={'episodes': 2, 'image_size_px': 64, 'processes': 1, 'max_steps': 60},
        dense={'preset': 'tiny', 'steps': 4, 'batch_size': 8, 'eval_episodes': 0, 'threads': 1},
        prune={'ratio': 0.5, 'ratio_of': 'layer', 'round_to': 32, 'layers': (0, 2), 'samples': 2},
        rival={'ratio': 0.2, 'ratio_of': 'layer', 'layers': (0, 2), 'round_to': 16, 'samples': 2},
        recover={'steps': 2, 'batch_size': 8, 'eval_episodes': 0, 'threads': 1},
        rl={'total_timesteps': 4, 'num_envs': 2, 'num_steps': 2, 'num_minibatches': 1,
            'critic_warmup_updates': 0, 'bc_batch_size': 2, 'eval_episodes': 0, 'processes': 1,
            'threads': 1},
        int4={'decoder': 'int4', 'group_size': 32, 'rounding': 'nearest'},
        int8={'decoder': 'int8', 'rounding': 'nearest'}, nf4={'decoder': 'nf4'},
        evaluate={'processes': 1, 'stop_on_success': True}, keep_layers=1,
        timing={'blocks': 1, 'steps': 2, 'warm_ups': 1, 'threads': 1},
        ind_set='ind', ood_set='put25_ood', axes=()),
}
