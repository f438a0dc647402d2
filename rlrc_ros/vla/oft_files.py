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
What an official OpenVLA-OFT folder has beyond OpenVLA's: its .pt files, and what no file says.

    action_head--STEP_checkpoint.pt          the L1 head; without it the folder is no L1 policy
    proprio_projector--STEP_checkpoint.pt    where the policy reads the robot's state

They are read with weights_only=True, which refuses whatever is no tensor, and mapped, so that
their shapes are known before memory is spent. The length of a chunk, the cameras and the
normalisation are stored nowhere: official code takes them from constants of the robot that was
trained on, and so do we, recognised by the sizes of action and state. The key "rlrc" in
config.json says them for any other robot, or where a fine-tune differs:

    "rlrc": {"action_horizon": 8, "cameras": ["image", "wrist"], "normalisation": "bounds_q99",
             "proprio_layout": "xyz_axis_angle_fingers", "action_head": "discrete"}

Source: moojink/openvla-oft, prismatic/vla/constants.py and vla-scripts/finetune.py.
"""

from dataclasses import dataclass
from pathlib import Path
import re

from rlrc_ros.vla.config import ConfigError, ParallelConfig
from rlrc_ros.vla.shards import CheckpointError, DTYPES, StoredTensor
import torch

PARTS = ('action_head', 'proprio_projector')
UNBUILT = {'noisy_action_projector': 'the diffusion head', 'vision_backbone': 'FiLM'}
"""Parts of variants that are not built, by the file that gives them away."""
PART_FILE = re.compile(r'(?P<part>.+?)--(?P<step>.+?)(?:_checkpoint)?\.pt')
OWN_FIELDS = ('action_head', 'action_horizon', 'cameras', 'normalisation', 'proprio_layout')
WIDENED_BY = 1e-8
"""What official OpenVLA-OFT adds to the range of an action when it brings it back."""


@dataclass(frozen=True)
class Robot:
    """Official constants of a robot that OpenVLA-OFT was trained on."""

    action_horizon: int
    normalisation: str
    cameras: tuple[str, ...]
    """As many as its published models read; a fine-tune can differ."""


ROBOTS = {
    (7, 8): Robot(8, 'bounds_q99', ('image', 'wrist')),  # LIBERO
    (14, 14): Robot(25, 'bounds', ('image', 'left_wrist', 'right_wrist')),  # ALOHA
    (7, 7): Robot(5, 'bounds_q99', ('image',)),  # BridgeData
}
"""By the numbers in an action and in a state."""


def list_parts(folder: Path) -> dict[str, StoredTensor]:
    """
    Return the tensors of a folder's .pt files, named as in our model.

    :raises CheckpointError: two files of one part, parts of different steps, a part that is not
        built, a file that holds more than tensors or is cut short
    """
    found: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.glob('*--*.pt')):
        match = PART_FILE.fullmatch(path.name)
        part = match['part'] if match else path.name
        if part not in PARTS:
            raise CheckpointError(
                f'{path} belongs to {UNBUILT.get(part, "a part that this version does not know")},'
                f' which is not built; of OpenVLA-OFT there are: {", ".join(PARTS)}. Train with '
                'the L1 head and without FiLM, or move the file away if it is not of this policy')
        if part in found:
            raise CheckpointError(
                f'{folder} holds {found[part][1].name} and {path.name}; which of them belongs to '
                'the weights? Keep the one of the same step and move the other away')
        found[part] = (match['step'], path)
    steps = {step for step, _ in found.values()}
    if len(steps) > 1:
        raise CheckpointError(
            f'{", ".join(path.name for _, path in found.values())} in {folder} come from '
            'different steps of training; keep the files of one step')
    return {f'{part}.{name}': stored for part, (_, path) in found.items()
            for name, stored in _read_part(path).items()}


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """
    Return a .pt file's tensors by the names in it, mapped from the file.

    :raises CheckpointError: it holds more than tensors, or is no whole file that torch wrote
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception as error:  # whatever strange bytes make torch raise
        if type(error).__name__ == 'UnpicklingError':
            raise CheckpointError(
                f'{path} holds more than tensors ({str(error).splitlines()[0]}); code in a file '
                'is never run. Save its state_dict() anew where you trust it') from error
        raise CheckpointError(
            f'{path} is not a whole file as torch.save() writes it ({error}); bare pickles are '
            'not opened. Copy it again') from error
    if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(each, torch.Tensor)
            for name, each in state.items()):
        raise CheckpointError(f'{path} does not hold tensors by name; it should be a state_dict()')
    return state


def _read_part(path: Path) -> dict[str, StoredTensor]:
    """Return a part's tensors; `module.`, which data-parallel training adds, is taken off."""
    dtypes = {dtype: name for name, dtype in DTYPES.items()}
    return {name.removeprefix('module.'): StoredTensor(
        path, dtypes.get(each.dtype, str(each.dtype)), tuple(each.shape), 0, each)
        for name, each in read_state(path).items()}


def read_parallel(own: dict, parts: dict[str, StoredTensor], action_dim: int,
                  state_dim: int) -> tuple[ParallelConfig, int] | None:
    """
    Return how a folder decodes in parallel and its action_horizon, or None for plain OpenVLA.

    :param own: our own key in config.json
    :param parts: what list_parts() returned
    :param action_dim: numbers in an action, by the statistics
    :param state_dim: numbers in a robot state, by the statistics; 0 where they have none
    :raises ConfigError: a file missing, or something that neither the folder nor our key says
    """
    has_head = any(name.startswith('action_head.') for name in parts)
    head = own.get('action_head', 'l1' if has_head else None)
    if head is None and not parts:
        if own.keys() & set(OWN_FIELDS):
            raise ConfigError(
                'its "rlrc" describes a policy of OpenVLA-OFT, but there is no '
                'action_head--STEP_checkpoint.pt. Copy that file, or for the discrete head add '
                '"action_head": "discrete"')
        return None
    if head != 'discrete' and not has_head:
        raise ConfigError(
            'action_head--STEP_checkpoint.pt is missing. Copy it from the training run, or for a '
            'policy without one say "rlrc": {"action_head": "discrete"}')
    if head == 'discrete' and has_head:
        raise ConfigError('"rlrc" says "action_head": "discrete", but there is an '
                          'action_head--STEP_checkpoint.pt; take one of them away')
    projector = parts.get('proprio_projector.fc1.weight')
    if any(name.startswith('proprio_projector.') for name in parts) and (
            projector is None or len(projector.shape) != 2):
        raise ConfigError('proprio_projector--STEP_checkpoint.pt has no matrix fc1.weight; it is '
                          'not of OpenVLA-OFT')
    proprio_dim = projector.shape[1] if projector else 0
    robot = ROBOTS.get((action_dim, proprio_dim or state_dim))
    unsaid = [name for name in ('action_horizon', 'cameras') if name not in own]
    if robot is None and unsaid:
        raise ConfigError(
            f'no file says {" and ".join(unsaid)} of this OpenVLA-OFT policy, and {action_dim} '
            f'numbers an action with {proprio_dim or state_dim} a state are none of the robots '
            'whose constants are known. Add "rlrc": {"action_horizon": 8, "cameras": ["image"]} '
            'with the values of the training run')
    horizon = own.get('action_horizon', robot and robot.action_horizon)
    cameras = own.get('cameras', robot and robot.cameras)
    if not isinstance(cameras, (list, tuple)) or type(horizon) is not int:
        raise ConfigError(f'"rlrc" holds action_horizon {horizon!r} and cameras {cameras!r}; they '
                          'are a whole number and a list of names')
    normalisation = own.get('normalisation', robot.normalisation if robot else 'bounds_q99')
    return ParallelConfig(head, tuple(cameras), proprio_dim, own.get('proprio_layout', ''),
                          normalisation), horizon
