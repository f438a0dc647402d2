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
Which way of running a model is the fastest here: measured once, remembered, said aloud.

`fast` never changes the arithmetic: the step runtime in the model's own dtype, captured on CUDA.
`fast-bf16` and `fast-int8` are for CPUs: bf16 throughout, and bf16 with int8 matrices while
decoding. `vla-cache` is the paper's rival, not exact (vla/vla_cache.py). `auto` times the ways
that this device has, in turns, drops those whose logits leave the plain model's, and keeps the
fastest; a quantised model that is slower than its own shapes in bf16 is told so; the answer lies
in the user's cache folder under a key of device, threads, torch and architecture. Milliseconds of
wall clock.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
import hashlib
import json
import logging
import os
from pathlib import Path
import time

import numpy as np
import psutil
from rlrc_ros.types import RUNTIMES
from rlrc_ros.vla.checkpoint import CheckpointError, CheckpointSummary
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.machine import cpu_name, cpu_speeds
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.one_pass import OnePassRuntime
from rlrc_ros.vla.random_weights import random_model
from rlrc_ros.vla.runtime import Reuse, StepRuntime
from rlrc_ros.vla.vla_cache import VlaCacheRuntime
from rlrc_ros.vla.widths import width_warnings
import torch
from torch.nn import functional

LEAST_COSINE = 0.999
"""Of each token's centred logits against the plain model; `auto` takes nothing below."""
UNQUANTISED = 'unquantised'
ROUNDS = 7
KEY_NUMBERS = 64
"""Of each tensor of the last layer, they tell one checkpoint from another of the same sizes."""
PROBE_TOKENS = 20
GIB = 2 ** 30
ROOM_BYTES = GIB // 2
"""Context, workspaces, activations and cache: the paper's tables imply 476 MiB."""
SCHEMES = {'int8': 1.0, 'int4': 0.5 + 4 / 128}
"""Bytes a weight; int4 with a bf16 scale and zero for each 128."""
WORDS = {torch.bfloat16: 'bf16', torch.float32: 'fp32'}
"""What a dtype is called to users."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What `auto` found."""

    runtime: str
    milliseconds: dict[str, float]
    """Median of a step by runtime."""
    cosines: dict[str, float]
    """The least of an answer's tokens, centred logits against the plain model's, by runtime."""
    unquantised_ms: float | None = None
    """Median of the same shapes unquantised, where the model is quantised."""
    unquantised_dtype: str = 'bf16'
    """In which they were timed: fp32 where the device multiplies no bf16."""
    remembered: bool = False

    def __str__(self) -> str:
        """Say it in one line."""
        times = ', '.join(f'{name} {value:.1f} ms (cosine {self.cosines[name]:.5f})'
                          for name, value in self.milliseconds.items())
        return f'runtime={self.runtime} {"remembered" if self.remembered else "measured"}: {times}'

    @property
    def advice(self) -> str | None:
        """Return what to do where quantised weights are slower than plain ones, else None."""
        plain = self.unquantised_ms
        if plain is None or (ours := self.milliseconds[self.runtime]) <= plain:
            return None
        again = ', or quantise with --prefill bf16' if self.unquantised_dtype == 'bf16' else ''
        return (f'these quantised weights take {ours:.1f} ms a step here, the same shapes in '
                f'{self.unquantised_dtype} {plain:.1f} ms: where memory allows, serve the '
                'checkpoint that they were quantised from (its folder is the last `parent` in '
                f'provenance.json){again}')


def check_runtime(name: str, device: str) -> str:
    """
    Return the runtime to use on a device: `name`, or what stands in where the device lacks it.

    :raises CheckpointError: unknown name
    """
    if name not in RUNTIMES:
        raise CheckpointError(f'runtime {name!r} is not known; there are: {", ".join(RUNTIMES)}. '
                              'Set runtime:=fast')
    if name in ('fast-bf16', 'fast-int8'):
        if device.startswith('cuda'):
            logger.warning('runtime %s is for CPUs; on %s, fast is in bf16 already', name, device)
            return 'fast'
        if not has_bf16('cpu'):
            logger.warning('this CPU has no bf16 arithmetic, so runtime %s would be slower than '
                           'fp32; runtime fast is used', name)
            return 'fast'
    return name


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 natively: Ampere on; CPU_FLAGS of bf16."""
    if device.startswith('cuda'):
        return torch.cuda.get_device_capability(torch.device(device))[0] >= 8
    return bool(cpu_speeds()['bf16'])


def resolved_device(device: str) -> str:
    """Return what `auto` stands for here: CUDA where torch sees it; anything else as it is."""
    if device != 'auto':
        return device
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def dtype_for(device: str, runtime: str) -> torch.dtype:
    """Return the dtype to open a checkpoint in; says so where a GPU has to compute in fp32."""
    if device.startswith('cuda'):
        if has_bf16(device):
            return torch.bfloat16
        logger.warning('%s multiplies no bf16 (it came with Ampere); weights are opened in fp32, '
                       'which takes twice the memory', torch.cuda.get_device_name(device))
        return torch.float32
    return torch.bfloat16 if runtime in ('fast-bf16', 'fast-int8') else torch.float32


def check_memory(summary: CheckpointSummary, free_bytes: int, bytes_per_weight: float = 2.0,
                 device: str = 'cuda') -> None:
    """
    Refuse a model that the GPU cannot hold, before anything is loaded.

    :raises CheckpointError: naming what is needed, what there is, and the scheme that fits
    """
    record, weights = summary.config.quantization, summary.parameters * bytes_per_weight
    if record is not None:  # packed: nothing is widened to the dtype that the rest computes in
        weights = min(weights, summary.weight_bytes)
    if record is not None and record.prefill == 'bf16':
        weights += 2 * summary.parts['decoder']
    if weights + ROOM_BYTES <= free_bytes:
        return
    fitting = [name for name, size in SCHEMES.items()
               if summary.parameters * size + ROOM_BYTES <= free_bytes
               and summary.parameters * size < weights]
    prune = f'prune it first (rlrc prune {summary.folder})'
    advice = (f'{device} computes in fp32, 4 bytes a weight: {prune}' if bytes_per_weight > 2 else
              f'{fitting[0]} weights would fit: rlrc quantize {summary.folder}' if fitting else
              f'no 4-bit weights would fit either: {prune}')
    raise CheckpointError(
        f'{summary.folder} needs {(weights + ROOM_BYTES) / GIB:.1f} GiB, '
        f'{device} has {free_bytes / GIB:.1f} GiB free; {advice}, or set device:=cpu')


def make_runtime(model: Vla, name: str, action_tokens: int | None = None,
                 reuse: Reuse = Reuse()) -> StepRuntime | None:
    """
    Build a runtime of a model that is in dtype_for()'s dtype.

    :return: None for `eager`, and for an OpenVLA-OFT that regresses, which runs as it is
    """
    if name != 'eager' and not has_runtime(model.config, name):
        logger.info('runtime=eager asked=%s: this model decodes in parallel', name)
        name = 'eager'
    if name == 'eager':
        return None
    for warning in width_warnings(model):
        logger.warning('%s', warning)
    if model.config.parallel is not None:
        return OnePassRuntime(model, action_tokens, reuse=reuse)
    if name == 'vla-cache':
        return VlaCacheRuntime(model, action_tokens)
    return StepRuntime(model, action_tokens, int8=name == 'fast-int8', reuse=reuse)


def has_runtime(config: VlaConfig, name: str = 'fast') -> bool:
    """Tell whether a runtime is built for the way in which a model decodes."""
    parallel = config.parallel
    if parallel is None:
        return True
    return name != 'vla-cache' and parallel.is_one_picture_to_tokens


def candidates(device: str, config: VlaConfig | None = None) -> tuple[str, ...]:
    """Return the runtimes that `auto` compares on a device; packed kernels have their dtype."""
    packed = config is not None and config.quantization is not None
    if not device.startswith('cuda') and has_bf16('cpu') and not packed:
        return ('eager', 'fast', 'fast-bf16', 'fast-int8')
    return ('eager', 'fast')


def choose(model: Vla, device: str, memory: Path | None = None) -> Choice:
    """
    Return the fastest runtime for a model on its device, from memory or by measuring.

    :param model: in the device's usual dtype
    :param memory: the JSON file of earlier answers; by default the user's
    """
    if not has_runtime(model.config):
        return Choice('eager', {}, {})
    memory = memory or memory_file()
    key, known = _key(model, device), _read(memory)
    if key in known and known[key]['runtime'] in candidates(device, model.config):
        choice = Choice(**known[key], remembered=True)
    else:
        choice = measure(model, candidates(device, model.config))
        entry = {name: value for name, value in vars(choice).items() if name != 'remembered'}
        _write(memory, {**known, key: entry})
    logger.info('%s', choice)
    if choice.advice:
        logger.warning('%s', choice.advice)
    return choice


@torch.inference_mode()
def measure(model: Vla, names: tuple[str, ...]) -> Choice:
    """Time the runtimes in turns on one random image; keep the fastest that agrees."""
    config, rng = model.config, np.random.default_rng(0)
    image = rng.integers(0, 256, (config.image_size,) * 2 + (3,), dtype=np.uint8)
    ids = [config.bos_token_id, *rng.integers(4, config.action.lowest_id, PROBE_TOKENS).tolist()]
    parameter = model.language_model.model.norm.weight
    dtype = _plain_dtype(parameter.device.type)
    prompt, length = torch.tensor([ids], device=parameter.device), torch.tensor(
        [len(ids)], device=parameter.device)

    def pixels() -> torch.Tensor:
        return to_pixels(torch.from_numpy(image)[None].to(parameter.device),
                         config.towers).to(parameter.dtype)

    def eager() -> torch.Tensor:
        return model.act(pixels(), prompt, length).action_logprobs[0].cpu()

    def taught(answer: np.ndarray) -> torch.Tensor:
        """Return the plain model's logits (A, bins) of a runtime's own answer (A,)."""
        following = torch.from_numpy(answer).to(parameter.device)[None]
        where = length[:, None] + torch.arange(len(answer), device=parameter.device)
        hidden = model(pixels(), torch.cat([prompt, following], dim=1), where)
        return model.action_logits(hidden)[0].float().cpu()

    steps: dict[str, Callable[[], object]] = {}
    cosines = {}
    for name in names:
        if name == 'eager':
            steps[name], cosines[name] = eager, 1.0
            continue
        wanted = dtype_for(parameter.device.type, name)
        own = deepcopy(model).to(wanted) if wanted != parameter.dtype else model
        runtime = make_runtime(own, name, reuse=Reuse(enabled=False))
        steps[name] = lambda runtime=runtime: runtime.act(image, ids)
        answer = steps[name]()
        cosines[name] = cosine(runtime.last_logits, taught(answer))
    if config.quantization is not None and (
            unquantised := _unquantised(model, dtype)) is not None:
        twin = make_runtime(unquantised, 'fast', reuse=Reuse(enabled=False))
        steps[UNQUANTISED] = lambda: twin.act(image, ids)
        steps[UNQUANTISED]()
    times = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: round(float(np.median(each)), 3) for name, each in times.items()}
    agreeing = [name for name in names if cosines[name] >= LEAST_COSINE]
    unquantised_ms = medians.pop(UNQUANTISED, None)
    return Choice(min(agreeing, key=medians.get), medians, cosines, unquantised_ms, WORDS[dtype])


def _unquantised(model: Vla, dtype: torch.dtype) -> Vla | None:
    """Return random weights of a quantised model's shapes, None where they do not fit."""
    device = model.language_model.model.norm.weight.device
    config = replace(model.config, quantization=None)
    # The embedding table is not timed, but it is made.
    weights = sum(each.numel() for each in skeleton(config).parameters())
    free = (torch.cuda.mem_get_info(device)[0] if device.type == 'cuda'
            else psutil.virtual_memory().available)
    if dtype.itemsize * weights + ROOM_BYTES > free:
        return None
    return random_model(config, device, dtype)


def _plain_dtype(device: str) -> torch.dtype:
    """Return the dtype in which a device is fastest with weights that are not quantised."""
    return torch.bfloat16 if has_bf16(device) else torch.float32


def cosine(logits: torch.Tensor, reference: torch.Tensor) -> float:
    """
    Return the least cosine of rows of logits (A, bins) and (A, bins).

    Each row is taken less its mean, which no softmax sees. Rows that are not finite have 0.
    """
    rows = functional.cosine_similarity(logits - logits.mean(-1, keepdim=True),
                                        reference - reference.mean(-1, keepdim=True), dim=-1)
    return float(rows.nan_to_num(0.0, 0.0, 0.0).min())


def memory_file() -> Path:
    """Return where the answers are kept."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'rlrc_ros' / 'runtime.json'


def _key(model: Vla, device: str) -> str:
    """
    Name device, its arithmetic, sizes and weights.

    Processors of one name differ in bf16; a fine-tune of the same sizes may round differently.
    """
    name = torch.cuda.get_device_name(device) if device.startswith('cuda') else cpu_name()
    sizes = model.config.to_json()
    digest = hashlib.sha256(json.dumps({part: sizes.get(part) for part in (
        'towers', 'decoder', 'action', 'parallel', 'quantization')}, sort_keys=True).encode())
    layer = model.language_model.model.layers[-1]
    for _, part in sorted([*layer.named_parameters(), *layer.named_buffers()]):
        # A full fine-tune and a merged adapter both change these.
        numbers = part.detach().flatten()[:KEY_NUMBERS].cpu().contiguous()
        digest.update(numbers.view(torch.uint8).numpy())
    return (f'{name} | {WORDS[_plain_dtype(device)]} | {torch.get_num_threads()} threads | '
            f'torch {torch.__version__} | {digest.hexdigest()[:16]}')


def _read(path: Path) -> dict:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, known: dict) -> None:
    """Remember, all or nothing; a folder that cannot be written costs a measurement next time."""
    partial = path.with_suffix(f'.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known, indent=1))
        os.replace(partial, path)
    except OSError as error:
        logger.warning('the choice of runtime is not remembered: %s', error)
