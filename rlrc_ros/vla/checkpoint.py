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

An official OpenVLA folder opens through the same door (vla/official.py): its weights may lie in
shards and its statistics in config.json; OpenVLA-OFT's has .pt files beside them, which are
converted (vla/oft_files.py). A folder is written beside its final place and moved
there when it is whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil

from rlrc_ros.vla import official, oft_files
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.inspection import (
    CheckpointSummary,
    CONFIG,
    inspect,
    PROVENANCE,
    STATISTICS,
    stored_tensors,
    TOKENIZER,
)
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.quantized import EMBEDDINGS, pack
from rlrc_ros.vla.shards import (
    CheckpointError,
    DTYPES,
    PICKLE_SUFFIXES,
    read_metadata,
    read_tensor,
    WEIGHTS,
)
from safetensors.torch import save_file
from tokenizers import Tokenizer
import torch


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint."""

    summary: CheckpointSummary
    model: Vla
    tokenizer: Tokenizer


def open_checkpoint(folder: str | Path, device: str | torch.device = 'cpu',
                    dtype: torch.dtype = torch.float32) -> Checkpoint:
    """
    Open a checkpoint folder; weights go tensor by tensor to the device in the wanted dtype.

    :raises CheckpointError: as inspect(), or a weight that is not finite, or no tokenizer
    """
    summary = inspect(folder)
    tokenizer = _open_tokenizer(summary.folder / TOKENIZER, summary.config)
    model = skeleton(summary.config)
    tensors = stored_tensors(summary.folder, summary.layout)
    packed = {name: buffer.dtype for name, buffer in model.named_buffers()}
    record = summary.config.quantization
    on_host = EMBEDDINGS if record is not None and record.host_embeddings else ()
    model.load_state_dict({
        name: read_tensor(name, tensors[name], packed.get(name, dtype),
                          'cpu' if name.startswith(on_host) else device)
        for name in model.state_dict()}, assign=True)
    if record is not None:
        try:
            pack(model, summary.config, torch.device(device))
        except ValueError as error:  # bitsandbytes is not installed
            raise CheckpointError(f'{summary.folder}: {error}') from error
    return Checkpoint(summary, model.eval().requires_grad_(False), tokenizer)


def refuse_quantized(summary: CheckpointSummary, verb: str) -> CheckpointSummary:
    """
    Return the summary of a folder whose weights can be changed.

    :param verb: what wants to change them
    :raises CheckpointError: quantised; quantising comes last
    """
    if summary.config.quantization is None:
        return summary
    stages = summary.provenance.get('stages') or [{}]
    raise CheckpointError(
        f'{summary.folder} is quantised already, and {verb} wants real weights; the order is: '
        'prune, sft, rl, quantize. Start from the checkpoint that it was made of: '
        f'{stages[-1].get("parent") or "its provenance.json may name it"}')


def _open_tokenizer(path: Path, config: VlaConfig) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f'{path} cannot be read ({error}); copy it from the training run, '
                              'or for an official model from its own repository') from error
    # A trainer's last settings, saved with the tokenizer, would fill up or cut short every prompt.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= config.decoder.vocab_size:
        raise CheckpointError(f'{path} gives ids up to {highest}, the vocabulary of the model '
                              f'ends at {config.decoder.vocab_size - 1}; they do not belong '
                              'together')
    return tokenizer


def write_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Let write(path) fill a folder beside the final place, then move it there, all or nothing."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
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
        packed = {name: buffer.dtype for name, buffer in model.named_buffers()}
        weights = {name: tensor.detach().to('cpu', packed.get(name, dtype)).contiguous()
                   for name, tensor in model.state_dict().items()}
        save_file(weights, path / WEIGHTS, metadata={'format': 'pt'})
        shutil.copymode(path / CONFIG, path / WEIGHTS)  # safetensors gives it to its owner alone
        tokenizer.save(str(path / TOKENIZER))
        (path / STATISTICS).write_text(json.dumps(statistics, indent=1))
        (path / PROVENANCE).write_text(json.dumps(provenance, indent=1, default=str))
    return write_folder(folder, write)


def save_official(folder: Path, model: Vla, source: str | Path) -> Path:
    """
    Write weights in the layout of the official folder that they were opened from.

    Shards, OpenVLA-OFT's .pt files, dtypes, config.json, tokenizer and statistics are the
    source's. Tensors that play no part are not kept in memory; they are read from the source
    again. An unchanged model comes back bit for bit.

    :param model: opened from `source`, its weights perhaps trained since, its shape the same
    :param source: an official folder
    :raises CheckpointError: another layout, or a model whose layers were pruned
    """
    summary = inspect(source)
    if summary.layout != official.MODEL_TYPE:
        raise CheckpointError(f'{source} is not an official OpenVLA folder; use save_checkpoint()')
    tensors = stored_tensors(summary.folder, summary.layout)
    weights = model.state_dict()
    for name, tensor in weights.items():
        if name not in tensors or tensors[name].shape != tuple(tensor.shape):
            raise CheckpointError(
                f'{name} of shape {tuple(tensor.shape)} has no place in {source}; the official '
                'layout cannot describe a pruned model, save_checkpoint() can')

    def current(name: str) -> torch.Tensor:
        dtype = DTYPES[tensors[name].dtype]
        if name in weights:
            return weights[name].detach().to('cpu', dtype).contiguous()
        return read_tensor(name, tensors[name], dtype, finite=False)

    def write(path: Path) -> None:
        for file in sorted(summary.folder.iterdir()):
            if file.is_file() and not file.name.endswith(('.safetensors', *PICKLE_SUFFIXES)):
                shutil.copyfile(file, path / file.name)
        for shard in sorted({each.path for each in tensors.values()}):
            if shard.suffix == '.pt':  # a part of OpenVLA-OFT, under the names that it had
                part = shard.name.partition('--')[0]
                torch.save({name: current(f'{part}.{name.removeprefix("module.")}')
                            for name in oft_files.read_state(shard)}, path / shard.name)
                continue
            save_file({name: current(name) for name, each in tensors.items()
                       if each.path == shard}, path / shard.name, metadata=read_metadata(shard))
    return write_folder(folder, write)
