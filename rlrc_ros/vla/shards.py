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
The weights of a checkpoint folder as they lie on disk: one safetensors file, or several.

Files are checked by their headers alone; weights are read piece by piece straight into their final
tensor. Ours does not map a file into memory as the safetensors library does: mapped pages count as
the process's memory, which would then hold every weight twice while a folder opens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
import json
import math
from pathlib import Path

from safetensors import safe_open, SafetensorError
import torch

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
DTYPES = {'F32': torch.float32, 'BF16': torch.bfloat16, 'F16': torch.float16}
PACKED_DTYPES = {'U8': torch.uint8, 'I8': torch.int8}
"""Of quantised weights, beside those above."""
PICKLE_SUFFIXES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl')
PICKLE_STARTS = (b'PK\x03\x04', *(bytes([0x80, protocol]) for protocol in range(2, 6)))
"""A zip archive, which torch writes, and pickle's own protocols."""
CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS = 2**15, 2**22
"""What is read at once. On a CPU at most 128 KiB: had the C library's allocator seen larger blocks
come and go, it would keep the final tensors on its heap, where the gaps between them count too
(measured: 3 % instead of 0.2 % beside the weights). A GPU's tensors are elsewhere, and it likes
larger pieces."""


class CheckpointError(ValueError):
    """A folder that cannot be opened; the message says what is wrong and what to type."""


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies."""

    path: Path
    dtype: str
    """As safetensors names it: a key of DTYPES, if we read it."""
    shape: tuple[int, ...]
    offset: int
    """Its first byte in the file."""
    mapped: torch.Tensor | None = None
    """The tensor itself, on pages of the file, where that is an official .pt (oft_files.py)."""

    @property
    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)


def weight_files(folder: Path) -> list[Path]:
    """
    Return the safetensors files of a folder, one or all shards.

    :raises CheckpointError: none, a shard missing, a pickle in their place
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        names = sorted(set(_weight_map(folder).values()))
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise CheckpointError(f'{folder} lacks {len(absent)} of its {len(names)} shards: '
                                  f'{", ".join(absent)}; copy the whole folder')
        return [folder / name for name in names]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f'{folder} holds {", ".join(pickles)} and no {WEIGHTS}: pickles, which can run code '
            'when they are opened, so they are not. Take the safetensors files of the same model, '
            'or convert it where you trust it: model.save_pretrained(FOLDER)')
    raise CheckpointError(f'{folder / WEIGHTS} is missing; copy the whole folder')


def _weight_map(folder: Path) -> dict[str, str]:
    """Return which shard holds which tensor, as the index says."""
    try:
        weight_map = json.loads((folder / INDEX).read_text())['weight_map']
        pairs = dict(weight_map)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{folder / INDEX} is not a readable index of shards ({error}); '
                              'copy it again') from error
    strange = [name for name in pairs.values()
               if not isinstance(name, str) or Path(name).name != name
               or not name.endswith('.safetensors')]
    if strange or not pairs:
        raise CheckpointError(f'{folder / INDEX} must name safetensors files beside it, got '
                              f'{strange[:1] or "none"}; copy it again')
    return pairs


def list_tensors(folder: Path) -> dict[str, StoredTensor]:
    """
    Return where every tensor of a folder lies; no weight is read.

    :raises CheckpointError: a file missing, cut short, of another format, or not as the index says
    """
    tensors = {}
    for path in weight_files(folder):
        for name, stored in _read_header(path).items():
            if name in tensors:
                raise CheckpointError(f'{name} lies in {tensors[name].path} and again in {path}; '
                                      'the shards come from different checkpoints')
            tensors[name] = stored
    if not (folder / WEIGHTS).exists():
        for name, shard in _weight_map(folder).items():
            if name not in tensors or tensors[name].path.name != shard:
                raise CheckpointError(f'{folder / shard} lacks {name}, which {INDEX} says it '
                                      'holds; the files come from different checkpoints')
    return tensors


def _read_header(path: Path) -> dict[str, StoredTensor]:
    """Return a file's tensors by name."""
    try:
        with safe_open(path, framework='pt'):
            pass  # it compares the header with the file's length
        with path.open('rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            header = json.loads(file.read(length))
    except (SafetensorError, OSError) as error:
        with path.open('rb') as file:
            pickled = file.read(8).startswith(PICKLE_STARTS)
        if pickled:
            raise CheckpointError(f'{path} is a pickle under the name of a safetensors file; '
                                  'pickles can run code, so it is not opened') from error
        raise CheckpointError(f'{path} is not a whole safetensors file ({error}); it was cut '
                              'short or is of another format: copy it again') from error
    return {name: StoredTensor(path, entry['dtype'], tuple(entry['shape']),
                               8 + length + entry['data_offsets'][0])
            for name, entry in header.items() if name != '__metadata__'}


def read_metadata(path: Path) -> dict[str, str]:
    """Return the free text that a safetensors file carries, usually {'format': 'pt'}."""
    with safe_open(path, framework='pt') as file:
        return file.metadata() or {}


def check_dtypes(tensors: dict[str, StoredTensor], names: Iterable[str]) -> None:
    """
    Check that the named tensors are of a floating-point type that we read.

    :raises CheckpointError: another one
    """
    for name in names:
        if tensors[name].dtype not in DTYPES:
            raise CheckpointError(f'{tensors[name].path}: {name} has dtype {tensors[name].dtype}; '
                                  f'this version reads {", ".join(DTYPES)}')


def check_packed(tensors: dict[str, StoredTensor], wanted: dict[str, torch.dtype]) -> None:
    """
    Check that quantised tensors are of the type that their scheme says.

    :raises CheckpointError: another one
    """
    names = {dtype: name for name, dtype in {**DTYPES, **PACKED_DTYPES}.items()}
    for name, dtype in wanted.items():
        if tensors[name].dtype != names[dtype]:
            raise CheckpointError(f'{tensors[name].path}: {name} has dtype {tensors[name].dtype}, '
                                  f'its scheme wants {names[dtype]}; quantise the model again')


def read_tensor(name: str, stored: StoredTensor, dtype: torch.dtype,
                device: str | torch.device = 'cpu', finite: bool = True) -> torch.Tensor:
    """
    Read one tensor into the wanted type and place; beside the result little is used.

    :param finite: refuse NaN and infinity
    :raises CheckpointError: not finite, or the file ended early
    """
    if stored.mapped is not None:
        if finite and not torch.isfinite(stored.mapped).all():
            raise CheckpointError(f'{stored.path}: {name} holds NaN or infinity; the training '
                                  'that made it diverged')
        return stored.mapped.to(device, dtype, copy=True).contiguous()
    result = torch.empty(stored.shape, dtype=dtype, device=device)
    flat = result.view(-1)
    chunk = CPU_CHUNK_ELEMENTS if flat.device.type == 'cpu' else GPU_CHUNK_ELEMENTS
    staging = torch.empty(min(stored.numel, chunk),
                          dtype=(DTYPES | PACKED_DTYPES)[stored.dtype])
    with stored.path.open('rb', buffering=0) as file:
        file.seek(stored.offset)
        for start in range(0, stored.numel, chunk):
            piece = staging[:stored.numel - start]
            _fill(file, memoryview(piece.view(torch.uint8).numpy()), stored.path)
            target = flat[start:start + len(piece)]
            target.copy_(piece)
            if finite and not torch.isfinite(target).all():
                if torch.isfinite(piece).all():
                    raise CheckpointError(f'{stored.path}: {name} does not fit into {dtype}; open '
                                          'it as bfloat16 or float32')
                raise CheckpointError(f'{stored.path}: {name} holds NaN or infinity; the training '
                                      'that made it diverged')
    return result


def _fill(file, view: memoryview, path: Path) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise CheckpointError(f'{path} became shorter while it was read; copy it again')
        view = view[count:]
