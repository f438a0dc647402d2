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
What a checkpoint folder says of itself, read and checked without its weights.

checkpoint.py is the door that others use; this is its first half.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
import json
from pathlib import Path

from rlrc_ros.checkpoint_view import episode_set_of
from rlrc_ros.vla import official, oft_files
from rlrc_ros.vla.actions import NormStats
from rlrc_ros.vla.config import ConfigError, MODEL_TYPE, ParallelConfig, VlaConfig
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.quantized import bytes_by_part, parameters_by_part
from rlrc_ros.vla.shards import (
    check_dtypes,
    check_packed,
    CheckpointError,
    list_tensors,
    StoredTensor,
    WEIGHTS,
)

CONFIG, TOKENIZER, PREPROCESSOR = 'config.json', 'tokenizer.json', 'preprocessor_config.json'
STATISTICS, PROVENANCE = 'dataset_statistics.json', 'provenance.json'
ADAPTER, PEFT_PREFIX = 'adapter_config.json', 'base_model.model.'
"""Checkpoints whose provenance names no family of worlds are from before there was another."""
PARTS = {'vision_backbone.': 'vision towers', 'projector.': 'projector',
         'language_model.model.embed_tokens.': 'embeddings',
         'language_model.model.': 'decoder', 'language_model.lm_head.': 'head',
         'action_head.': 'action head', 'proprio_projector.': 'proprio projector'}
"""Parts of the model by how their tensors' names begin; the first that fits counts."""


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
    layout: str = MODEL_TYPE
    """The folder's model_type: ours, or `openvla`."""
    parts: dict[str, int] = field(default_factory=dict)
    """Parameters by part of the model."""
    unused_parameters: int = 0
    """Parameters that lie in the folder and play no part; they are not loaded."""
    auto_map: tuple[str, ...] = ()
    """Code that the folder names for others to run; never run here."""
    proprio_stats: dict[str, NormStats] = field(default_factory=dict)
    """Statistics of the robot's state by data set, where the policy reads it."""
    bf16_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes of the loaded weights by part: bf16, and what is quantised as it is stored."""

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Return (height, width) of the image that the model takes; others are resized."""
        return (self.config.image_size, self.config.image_size)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the names of the cameras that the policy reads."""
        return self.config.cameras

    @property
    def reads_proprio(self) -> bool:
        """Return whether the policy reads the robot's state."""
        return self.config.proprio_dim > 0

    @property
    def proprio_dim(self) -> int:
        """Return how many numbers of robot state the policy reads."""
        return self.config.proprio_dim

    @property
    def proprio_layout(self) -> str:
        """Return what those numbers are (config.PROPRIO_LAYOUTS), or nothing if not known."""
        return self.config.parallel.proprio_layout if self.config.parallel else ''

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

    @property
    def episode_set(self) -> str:
        """Return the family of simulated worlds that the policy was last trained on."""
        return episode_set_of(self.provenance)


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
    if not (folder / CONFIG).is_file() and (folder / ADAPTER).is_file():
        raise CheckpointError(
            f'{folder} holds a LoRA adapter ({ADAPTER}) and no whole model; merge it into the one '
            'that it was trained on: PeftModel.from_pretrained(base, FOLDER).merge_and_unload() '
            'and save_pretrained(), then open what that wrote')
    document = _read_json(folder, CONFIG)
    auto_map = _auto_map(document)
    kind = document.get('model_type')
    if auto_map and kind not in (MODEL_TYPE, official.MODEL_TYPE):
        raise CheckpointError(
            f'{folder / CONFIG}: model_type {kind!r} wants the code {", ".join(auto_map)} that '
            f'its auto_map names; code in a folder is never run. This version opens '
            f'{MODEL_TYPE!r} and {official.MODEL_TYPE!r}')
    tensors: dict[str, StoredTensor] = {}
    try:
        if kind == official.MODEL_TYPE:
            path, statistics = _official_statistics(folder, document)
            tensors = stored_tensors(folder, kind)
            _check_merged(folder, tensors)
            parallel, horizon, dim = _read_parallel(document, tensors, path, statistics)
            norm_stats = _norm_stats(path, statistics, parallel)
            config = official.read_config(
                document,
                _read_json(folder, PREPROCESSOR) if (folder / PREPROCESSOR).exists() else {},
                {name: each.shape for name, each in tensors.items()}, _model_name(folder),
                dim, parallel, horizon)
            unused = official.unused_shapes(config)
        else:
            config, unused = VlaConfig.from_json(document), {}
            path, statistics = folder / STATISTICS, _read_json(folder, STATISTICS)
            norm_stats = _norm_stats(path, statistics, config.parallel)
            _check_dims(folder, norm_stats, config)
            tensors = list_tensors(folder)
    except ConfigError as error:
        raise CheckpointError(f'{folder / CONFIG}: {error}') from error
    proprio_stats = _proprio_stats(path, statistics, config)
    model = _check_weights(folder, tensors, config, unused)
    parts = parameters_by_part(model, PARTS)
    provenance = _read_json(folder, PROVENANCE) if (folder / PROVENANCE).exists() else {}
    return CheckpointSummary(
        folder, config, norm_stats, sum(parts.values()),
        sum(path.stat().st_size for path in {each.path for each in tensors.values()}), provenance,
        kind, parts, sum(tensors[name].numel for name in unused.keys() & tensors.keys()), auto_map,
        proprio_stats, bytes_by_part(model, PARTS))


def stored_tensors(folder: Path, kind: str) -> dict[str, StoredTensor]:
    """
    Return where every tensor of a folder lies, those of OpenVLA-OFT's .pt files included.

    :param kind: the folder's model_type
    :raises CheckpointError: as list_tensors() and oft_files.list_parts()
    """
    parts = oft_files.list_parts(folder) if kind == official.MODEL_TYPE else {}
    return list_tensors(folder) | parts


def _read_parallel(document: dict, tensors: dict[str, StoredTensor], path: Path,
                   statistics: dict) -> tuple[ParallelConfig | None, int, int]:
    """Return how an official folder decodes in parallel, if so; its horizon; its action_dim."""
    stats = _norm_stats(path, statistics)
    parts = {name: each for name, each in tensors.items()
             if name.startswith(tuple(f'{part}.' for part in oft_files.PARTS))}
    own = official.own_fields(document)
    answers = parts.get('action_head.model.fc2.bias')
    dims = sorted({len(each.q01) for each in stats.values()})
    if answers is not None and answers.numel not in dims:
        raise CheckpointError(
            f'{answers.path} answers actions of {answers.numel} numbers, {path} has statistics of '
            f'{", ".join(map(str, dims))}; the files come from different checkpoints')
    dim = _main_dim(stats) if answers is None else answers.numel
    states = [len(entry['proprio'].get('q01', ())) for entry in statistics.values()
              if isinstance(entry.get('proprio'), dict)]
    parallel, horizon = oft_files.read_parallel(
        own, parts, dim, states[0] if states else 0) or (None, 1)
    return parallel, horizon, dim


def _model_name(folder: Path) -> str:
    """Return the folder's name, or the model's where it lies in Hugging Face's cache."""
    folder = folder.absolute()
    return folder.parents[1].name if folder.parent.name == 'snapshots' else folder.resolve().name


def _auto_map(document: dict) -> tuple[str, ...]:
    entries = document.get('auto_map')
    return tuple(map(str, entries.values())) if isinstance(entries, dict) else ()


def statistics_document(folder: Path) -> dict:
    """
    Return a checkpoint's statistics as OpenVLA writes them, {data set: {'action': ...}}.

    :raises CheckpointError: no such file, or no JSON
    """
    return _official_statistics(folder, _read_json(folder, CONFIG))[1]


def _official_statistics(folder: Path, document: dict) -> tuple[Path, dict]:
    """Return where an official folder's statistics lie, and them: a fine-tune's file first."""
    if (folder / STATISTICS).exists():
        return folder / STATISTICS, _read_json(folder, STATISTICS)
    statistics = document.get('norm_stats')
    return folder / CONFIG, statistics if isinstance(statistics, dict) else {}


def _norm_stats(path: Path, statistics: dict,
                parallel: ParallelConfig | None = None) -> dict[str, NormStats]:
    norm_stats = {}
    options = (parallel.normalisation, oft_files.WIDENED_BY) if parallel else ()
    for key, entry in statistics.items():
        try:
            norm_stats[key] = NormStats.from_json(entry, 'action', *options)
        except ValueError as error:
            raise CheckpointError(f'{path}, {key!r}: {error}') from error
    if not norm_stats:
        raise CheckpointError(f'{path} holds statistics of no data set; without them an action '
                              f'has no unit. Copy {STATISTICS} from the training run')
    return norm_stats


def _proprio_stats(path: Path, statistics: dict, config: VlaConfig) -> dict[str, NormStats]:
    """Return the statistics of robot states that fit the policy; none where it reads no state."""
    if not config.proprio_dim:
        return {}
    fitting = {}
    for key, entry in statistics.items():
        try:
            stats = NormStats.from_json(entry, 'proprio', config.parallel.normalisation)
        except ValueError as error:
            raise CheckpointError(
                f'{path}, {key!r}: {error}; the policy reads the state of the robot, so its '
                'statistics are needed') from error
        if len(stats.q01) != config.proprio_dim:
            raise CheckpointError(
                f'{path}, {key!r} has states of {len(stats.q01)} numbers, the policy reads '
                f'{config.proprio_dim}; the files come from different checkpoints')
        fitting[key] = stats
    return fitting


def _main_dim(norm_stats: dict[str, NormStats]) -> int:
    """Return the action dimensions: the arm's 7 where some data set has them, or the first's."""
    dims = [len(stats.q01) for stats in norm_stats.values()]
    return 7 if 7 in dims else dims[0]


def _check_dims(folder: Path, norm_stats: dict[str, NormStats], config: VlaConfig) -> None:
    """Refuse statistics none of which fit: data sets of one model may be of several robots."""
    if config.action.dim not in (len(stats.q01) for stats in norm_stats.values()):
        found = ', '.join(f'{key!r} has {len(stats.q01)}' for key, stats in norm_stats.items())
        raise CheckpointError(
            f'{folder / STATISTICS}: {found} action dimensions, the model {config.action.dim}; '
            'the file belongs to another checkpoint')


def _check_merged(folder: Path, names: Iterable[str]) -> None:
    unmerged = next((name for name in names if name.startswith(PEFT_PREFIX)), None)
    if unmerged is not None:
        raise CheckpointError(
            f'{folder}: {unmerged} and others were saved from inside a PEFT model; call '
            'merge_and_unload() before save_pretrained(), and open what that wrote')


def _check_weights(folder: Path, tensors: dict[str, StoredTensor], config: VlaConfig,
                   unused: official.Shapes) -> Vla:
    """Compare names, shapes and dtypes with the config; return the skeleton that they fit."""
    model = skeleton(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    extra = sorted(name for name in tensors.keys() - wanted.keys() - unused.keys()
                   if not official.IGNORED.search(name))
    missing = sorted(wanted.keys() - tensors.keys())
    if missing or extra:
        raise CheckpointError(
            f'the weights in {folder} do not fit its {CONFIG}: {len(missing)} tensors missing '
            f'({", ".join(missing[:3])} ...), {len(extra)} unknown ({", ".join(extra[:3])} ...); '
            'the files come from different checkpoints')
    for name, shape in (wanted | unused).items():
        if name in tensors and tensors[name].shape != shape:
            raise CheckpointError(
                f'{tensors[name].path}: {name} has shape {tensors[name].shape}, {CONFIG} says '
                f'{shape}; the files come from different checkpoints')
    packed = {name: each.dtype for name, each in model.named_buffers() if name in wanted}
    check_dtypes(tensors, [name for name in wanted | unused
                           if name in tensors and name not in packed])
    check_packed(tensors, packed)
    return model
