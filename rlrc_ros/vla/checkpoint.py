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
Open and save a checkpoint folder; refuse a wrong one before memory is spent.

    config.json               the architecture (vla/config.py)
    model.safetensors         the weights, OpenVLA's key names
    tokenizer.json            the tokenizer
    dataset_statistics.json   action statistics, OpenVLA's format
    provenance.json           how it came about: command, config, seed, commit, versions, measures

A folder is written beside its final place and moved there when it is whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil

from rlrc_ros.vla.actions import NormStats
from rlrc_ros.vla.config import ConfigError, VlaConfig
from rlrc_ros.vla.model import Vla
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
import torch

CONFIG, WEIGHTS, TOKENIZER = 'config.json', 'model.safetensors', 'tokenizer.json'
STATISTICS, PROVENANCE = 'dataset_statistics.json', 'provenance.json'
DTYPES = ('F32', 'BF16', 'F16')


class CheckpointError(ValueError):
    """A folder that cannot be opened; the message says what is wrong and what to type."""


@dataclass(frozen=True)
class CheckpointSummary:
    """What a folder says of itself, read without its weights."""

    folder: Path
    config: VlaConfig
    norm_stats: dict[str, NormStats]
    """Action statistics by data set."""
    parameters: int
    weight_bytes: int
    provenance: dict

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Return (height, width) of the image that the model takes; others are resized."""
        return (self.config.image_size, self.config.image_size)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the names of the cameras that the policy reads."""
        return ('image',)

    @property
    def reads_proprio(self) -> bool:
        """Return whether the policy reads the robot's state."""
        return False

    @property
    def action_horizon(self) -> int:
        """Return the number of actions in one answer."""
        return self.config.action.horizon

    @property
    def control_hz(self) -> float:
        """Return the policy steps per second that the model was trained for."""
        return self.config.control_hz

    @property
    def unnorm_keys(self) -> tuple[str, ...]:
        """Return the data sets whose statistics the checkpoint holds."""
        return tuple(self.norm_stats)

    @property
    def instructions(self) -> tuple[str, ...]:
        """Return examples of instructions that the policy was trained on."""
        return self.config.instructions


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint."""

    summary: CheckpointSummary
    model: Vla
    tokenizer: Tokenizer


def _read_json(folder: Path, name: str) -> dict:
    try:
        document = json.loads((folder / name).read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f'{folder} has no {name}; a checkpoint folder holds {CONFIG}, {WEIGHTS}, {TOKENIZER} '
            f'and {STATISTICS}. Check the path, or make one with `rlrc sft`') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f'{folder / name} is not readable JSON ({error}); '
                              'copy the folder again') from error
    if not isinstance(document, dict):
        raise CheckpointError(f'{folder / name} does not hold a JSON object; '
                              'copy the folder again')
    return document


def inspect(folder: str | Path) -> CheckpointSummary:
    """
    Read and check everything but the weights' values.

    :raises CheckpointError: missing, truncated or foreign; the weights do not fit the config
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f'there is no checkpoint folder {folder}; give the path of a folder '
                              f'with {CONFIG} and {WEIGHTS}')
    document = _read_json(folder, CONFIG)
    if document.get('model_type') == 'openvla':
        raise CheckpointError(f'{folder} is an official OpenVLA folder, which this version does '
                              'not open yet; it opens folders made by `rlrc sft`')
    try:
        config = VlaConfig.from_json(document)
    except ConfigError as error:
        raise CheckpointError(f'{folder / CONFIG}: {error}') from error
    norm_stats = {}
    for key, entry in _read_json(folder, STATISTICS).items():
        try:
            norm_stats[key] = NormStats.from_json(entry)
        except ValueError as error:
            raise CheckpointError(f'{folder / STATISTICS}, {key!r}: {error}') from error
    if not norm_stats:
        raise CheckpointError(f'{folder / STATISTICS} holds no data set; without statistics an '
                              'action has no unit. Copy the file from the training run')
    for key, stats in norm_stats.items():
        if len(stats.q01) != config.action.dim:
            raise CheckpointError(
                f'{folder / STATISTICS}, {key!r} has {len(stats.q01)} action dimensions, the '
                f'model {config.action.dim}; the file belongs to another checkpoint')
    parameters, weight_bytes = _check_weights(folder / WEIGHTS, config)
    provenance = _read_json(folder, PROVENANCE) if (folder / PROVENANCE).exists() else {}
    return CheckpointSummary(folder, config, norm_stats, parameters, weight_bytes, provenance)


def _check_weights(path: Path, config: VlaConfig) -> tuple[int, int]:
    """Compare names, shapes and dtypes with the config; return parameters and bytes."""
    with torch.device('meta'):
        wanted = {name: tuple(tensor.shape) for name, tensor in Vla(config).state_dict().items()}
    try:
        with safe_open(path, framework='pt') as file:
            found = {name: file.get_slice(name) for name in file.keys()}
            shapes = {name: tuple(each.get_shape()) for name, each in found.items()}
            dtypes = {name: each.get_dtype() for name, each in found.items()}
    except FileNotFoundError:
        raise CheckpointError(f'{path} is missing; copy the whole folder') from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is not a whole safetensors file ({error}); it was cut '
                              'short or is of another format: copy it again') from error
    missing, extra = sorted(wanted.keys() - shapes.keys()), sorted(shapes.keys() - wanted.keys())
    if missing or extra:
        raise CheckpointError(
            f'{path} does not fit its {CONFIG}: {len(missing)} tensors missing '
            f'({", ".join(missing[:3])} ...), {len(extra)} unknown ({", ".join(extra[:3])} ...); '
            'the files come from different checkpoints')
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise CheckpointError(f'{path}: {name} has shape {shapes[name]}, {CONFIG} says '
                                  f'{shape}; the files come from different checkpoints')
        if dtypes[name] not in DTYPES:
            raise CheckpointError(f'{path}: {name} has dtype {dtypes[name]}; this version reads '
                                  f'{", ".join(DTYPES)}')
    return sum(torch.Size(shape).numel() for shape in wanted.values()), path.stat().st_size


def open_checkpoint(folder: str | Path, device: str | torch.device = 'cpu',
                    dtype: torch.dtype = torch.float32) -> Checkpoint:
    """
    Open a checkpoint folder; weights go straight to the device in the wanted dtype.

    :raises CheckpointError: as inspect(), or a weight that is not finite, or no tokenizer
    """
    summary = inspect(folder)
    tokenizer_path = summary.folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    except Exception as error:  # the library raises bare Exception for every failure
        raise CheckpointError(f'{tokenizer_path} cannot be read ({error}); '
                              'copy it from the training run') from error
    with torch.device('meta'):
        model = Vla(summary.config)
    weights = {}
    with safe_open(summary.folder / WEIGHTS, framework='pt', device=str(device)) as file:
        for name in file.keys():
            tensor = file.get_tensor(name).to(dtype)
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f'{summary.folder / WEIGHTS}: {name} holds NaN or infinity; '
                                      'the training that made it diverged')
            weights[name] = tensor
    model.load_state_dict(weights, assign=True)
    return Checkpoint(summary, model.eval().requires_grad_(False), tokenizer)


def write_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let write(path) fill a folder beside the final place, then move it there, all or nothing."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    old = folder.with_name(f'.{folder.name}.old')
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def save_checkpoint(folder: Path, model: Vla, tokenizer: Tokenizer, statistics: dict,
                    provenance: dict, dtype: torch.dtype = torch.bfloat16) -> Path:
    """
    Write a checkpoint folder.

    :param statistics: dataset_statistics.json's content, one entry a data set
    :param provenance: what made it; one entry a stage
    :param dtype: of the weights on disk
    """
    def write(path: Path) -> None:
        (path / CONFIG).write_text(json.dumps(model.config.to_json(), indent=1))
        weights = {name: tensor.detach().to('cpu', dtype).contiguous()
                   for name, tensor in model.state_dict().items()}
        save_file(weights, path / WEIGHTS, metadata={'format': 'pt'})
        tokenizer.save(str(path / TOKENIZER))
        (path / STATISTICS).write_text(json.dumps(statistics, indent=1))
        (path / PROVENANCE).write_text(json.dumps(provenance, indent=1, default=str))
    return write_folder(folder, write)
