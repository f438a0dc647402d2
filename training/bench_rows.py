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
One row of `rlrc bench` in a process of its own: build it, then step when told.

    python -m rlrc_training.bench_rows '{"row": "C", "size": "nano", ...}'

Reads a number of steps a line from standard input and answers with their milliseconds as a JSON
list; `measure` answers with memory and counts. A step is what a robot waits for: an image and
token ids on the host go in, the answer's token ids on the host come out; the image is another one
each time. Rows differ in nothing else. Random weights: values change neither time nor memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import sys
import time

import numpy as np
import psutil
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.vla.checkpoint import inspect, open_checkpoint
from rlrc_ros.vla.config import (
    ActionConfig,
    DecoderConfig,
    LayerWidths,
    ParallelConfig,
    QuantizationConfig,
    VlaConfig,
)
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.linear import QuantizedLinear
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.official import BACKBONES, PREFIX_TOKEN_ID
from rlrc_ros.vla.one_pass import OnePassRuntime
from rlrc_ros.vla.operations import count_operations
from rlrc_ros.vla.random_weights import random_model
from rlrc_ros.vla.roofline import PROMPT_TOKENS
from rlrc_ros.vla.runtime import Reuse, StepRuntime
from rlrc_ros.vla.vla_cache import VlaCacheConfig, VlaCacheRuntime
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

SIZES = ('nano', 'eighth', '7b')
KEPT_HEADS, KEPT_CHANNELS = 2 / 32, 550 / 11008
"""Of a middle layer, after RLRC's pruning (arXiv 2506.17639)."""
PUBLISHED_REUSE = 80 / 256
"""Patches reused from the third layer of 32 on: 27 % of the prefill's operations saved, as
VLA-Cache reports (1.864 to 1.355 TFLOP); random weights would choose at random."""
IMAGES = 5
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One way of running one shape."""

    name: str
    """A ... I, as the fair comparison numbers them, and letters behind for their variants."""
    words: str
    pruned: bool = False
    way: str = 'runtime'
    """`huggingface`, `runtime`, `vla-cache`."""
    scheme: str = ''
    """Of the weights: `nf4`, `int8`, `int4`; empty: the run's dtype."""
    prefill: str = 'packed'
    """`bf16`: the decoder's weights in bf16 as well, for prefills."""
    actions: int = 0
    """Actions answered in one pass; 0: one action, token after token."""


ROWS = {row.name: row for row in (
    Row('A', 'Hugging Face eager generate, dense', way='huggingface'),
    Row('B', 'the same in bitsandbytes NF4, dense', way='huggingface', scheme='nf4'),
    Row('C', 'ours, dense'),
    Row('D', 'VLA-Cache at its published reuse, dense', way='vla-cache'),
    Row('E', 'Hugging Face eager generate, pruned', pruned=True, way='huggingface'),
    Row('E4', 'the same in bitsandbytes NF4, pruned', pruned=True, way='huggingface',
        scheme='nf4'),
    Row('F', 'ours, pruned', pruned=True),
    Row('F8', 'ours, pruned, int8', pruned=True, scheme='int8'),
    Row('F4', 'ours, pruned, NF4', pruned=True, scheme='nf4'),
    Row('G', 'ours, pruned, int4', pruned=True, scheme='int4'),
    Row('Gp', 'ours, pruned, int4 decode and bf16 prefill', pruned=True, scheme='int4',
        prefill='bf16'),
    Row('Hb', 'ours, pruned, one pass', pruned=True, actions=1),
    Row('H', 'ours, pruned, int4, one pass', pruned=True, scheme='int4', actions=1),
    Row('Ib', 'ours, pruned, one pass, chunk of 8', pruned=True, actions=8),
    Row('I', 'ours, pruned, int4, one pass, chunk of 8', pruned=True, scheme='int4', actions=8))}
GROUPS = {'nano': 64, 'eighth': 64, '7b': 128}
"""Weights that share an int4 scale, by size: narrow layers would be filled up with zeros."""


def row_config(row: Row, size: str, folder: Path | None = None) -> VlaConfig:
    """
    Return the architecture that a row runs, quantised where it says so.

    bitsandbytes quantises as `load_in_4bit` does: all linear layers but the head, nothing cut;
    ours the decoder, with the head cut to the action rows and the table on the host.

    :param folder: a checkpoint whose shapes count in the place of the size's
    :raises ValueError: the checkpoint is of another kind than the row
    """
    if folder:
        return _checked(row, inspect(folder).config, folder)
    config = dense_config(size)
    if row.pruned:
        config = pruned_config(config)
    if row.actions:
        config = replace(config, parallel=ParallelConfig('discrete'),
                         action=replace(config.action, horizon=row.actions))
    if not row.scheme:
        return config
    if row.way == 'huggingface':
        record = QuantizationConfig(row.scheme, vision=row.scheme, projector=row.scheme,
                                    action_head=False, host_embeddings=False)
    else:
        record = QuantizationConfig(  # a discrete one-pass head answers from the whole vocabulary
            row.scheme, group_size=GROUPS[size], prefill=row.prefill, action_head=not row.actions)
    return replace(config, quantization=record)


def _checked(row: Row, config: VlaConfig, folder: Path) -> VlaConfig:
    """Return a checkpoint's config if it is what the row runs."""
    record = config.quantization
    scheme = '' if record is None else record.decoder
    actions = 0 if config.parallel is None else config.action.horizon
    if (scheme, actions) != (row.scheme, row.actions):
        raise ValueError(
            f'row {row.name} ({row.words}) runs scheme {row.scheme or "none"} and '
            f'{row.actions or "no"} actions in one pass; {folder} has {scheme or "none"} and '
            f'{actions or "no"}')
    if row.way == 'huggingface' and record is not None and record.action_head:
        raise ValueError(f"row {row.name} is Hugging Face's, whose head is whole; quantise "
                         f'{folder} with --no-action-head --no-host-embeddings')
    return config


def dense_config(size: str) -> VlaConfig:
    """
    Return the shapes of a size: checkpoints/nano's, OpenVLA-7B's, or those with widths / 8.

    :raises ValueError: unknown size
    """
    if size not in SIZES:
        raise ValueError(f'size {size!r} is not known; there are: {", ".join(SIZES)}')
    if size == 'nano':
        return inspect(shipped_checkpoint('nano')).config
    part = 8 if size == 'eighth' else 1
    towers = tuple(
        replace(tower, embed_dim=tower.embed_dim // part, mlp_hidden=tower.mlp_hidden // part)
        for tower in BACKBONES['dinosiglip-vit-so-224px'])
    return VlaConfig(towers, DecoderConfig(
        32064, 4096 // part, 128 // part, (LayerWidths(32, 11008 // part),) * 32),
        ActionConfig(vocab_end=32000, prefix_token_id=PREFIX_TOKEN_ID))


def pruned_config(config: VlaConfig) -> VlaConfig:
    """Return a decoder pruned as the paper's: the first and the last layer stay whole."""
    first, *middle, last = config.decoder.layers
    kept = [LayerWidths(max(1, round(each.num_heads * KEPT_HEADS)),
                        max(1, round(each.intermediate_size * KEPT_CHANNELS)))
            for each in middle]
    return replace(config, decoder=replace(config.decoder, layers=(first, *kept, last)))


def huggingface(model: Vla) -> LlamaForCausalLM:
    """
    Return transformers' own LLaMA around the model's decoder weights, pruned ones too.

    It counts heads by the weights' shapes, so a layer of its own width runs as it is.
    """
    decoder, ours = model.config.decoder, model.language_model
    first = decoder.layers[0]
    config = LlamaConfig(
        vocab_size=decoder.vocab_size, hidden_size=decoder.hidden_size,
        intermediate_size=first.intermediate_size, num_hidden_layers=len(decoder.layers),
        num_attention_heads=first.num_heads, head_dim=decoder.head_dim,
        max_position_embeddings=decoder.max_length, rms_norm_eps=decoder.rms_norm_eps,
        rope_theta=decoder.rope_theta, pad_token_id=model.config.pad_token_id)
    with torch.device('meta'):
        theirs = LlamaForCausalLM(config).eval()
    for layer, own in zip(theirs.model.layers, ours.model.layers):
        for name in ('q_proj', 'k_proj', 'v_proj', 'o_proj'):
            setattr(layer.self_attn, name, getattr(own.self_attn, name))
        for name in ('gate_proj', 'up_proj', 'down_proj'):
            setattr(layer.mlp, name, getattr(own.mlp, name))
        layer.input_layernorm.weight = own.input_layernorm.weight
        layer.post_attention_layernorm.weight = own.post_attention_layernorm.weight
    theirs.model.norm.weight = ours.model.norm.weight
    theirs.model.embed_tokens, theirs.lm_head = ours.model.embed_tokens, ours.lm_head
    theirs.model.rotary_emb = LlamaRotaryEmbedding(config).to(ours.model.norm.weight.device)
    theirs.generation_config.eos_token_id = None  # exactly seven tokens
    return theirs


def huggingface_step(model: Vla, image: Callable[[], np.ndarray], ids: list[int]) -> Step:
    """Return a step as the paper's baseline runs it: eager towers, then generate()."""
    theirs, config = huggingface(model), model.config
    parameter = model.language_model.model.norm.weight

    @torch.inference_mode()
    def step() -> np.ndarray:
        pixels = to_pixels(torch.from_numpy(image())[None].to(parameter.device), config.towers)
        prompt = torch.tensor([ids], device=parameter.device)
        embeddings = model.embed(prompt, model.encode_image(pixels.to(parameter.dtype)))
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=parameter.device)
        answer = theirs.generate(inputs_embeds=embeddings, attention_mask=mask, do_sample=False,
                                 max_new_tokens=config.action_tokens)
        return answer[0].cpu().numpy()
    return step


def make_step(row: Row, model: Vla) -> tuple[Step, int]:
    """Return the row's step and the bytes of weights beyond the model's."""
    config, rng = model.config, np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (config.image_size,) * 2 + (3,), dtype=np.uint8)
                for _ in range(IMAGES)]
    ids = [config.bos_token_id, *rng.integers(4, 300, PROMPT_TOKENS - 1).tolist()]
    turn = iter(range(sys.maxsize))

    def image() -> np.ndarray:
        return pictures[next(turn) % IMAGES]

    if row.way == 'huggingface':
        return huggingface_step(model, image, ids), 0
    if config.parallel is not None:
        runtime = OnePassRuntime(model, reuse=Reuse(enabled=False))
    elif row.way == 'vla-cache':
        layers, patches = len(config.decoder.layers), config.num_patches
        runtime = VlaCacheRuntime(model, settings=VlaCacheConfig.for_model(
            layers, patches, forced=max(1, round(PUBLISHED_REUSE * patches))))
    else:
        runtime = StepRuntime(model, reuse=Reuse(enabled=False))
    runtime.prepare(len(ids))
    return (lambda: runtime.act(image(), ids)), runtime.extra_weight_bytes


def weight_bytes(model: Vla) -> int:
    """Return the bytes of weights, dense copies too, on the model's device; each storage once."""
    tensors = [*model.parameters(), *model.buffers(), *(
        layer.dense for layer in model.modules()
        if isinstance(layer, QuantizedLinear) and layer.dense is not None)]
    device = model.language_model.model.norm.weight.device
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes()
                for each in tensors if each.device == device}
    return sum(storages.values())


def process_bytes(cuda: bool) -> int | None:
    """Return the memory of this process: on the GPU by NVML, else resident; None if unknown."""
    if not cuda:
        return psutil.Process().memory_info().rss
    try:
        import pynvml
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except Exception:  # no NVML, or a container that hides processes
        return None
    return next((each.usedGpuMemory for each in processes if each.pid == os.getpid()), None)


def peak_bytes() -> int | None:
    """Return the most memory that was resident; getrusage would tell the parent's."""
    status = Path('/proc/self/status')
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')), None)


def launches(step: Step) -> int:
    """Return how many kernels, copies and graphs the host launches on the GPU in one step."""
    from torch.profiler import profile, ProfilerActivity
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    return sum(event.count for event in profiler.key_averages()
               if event.key.startswith(('cudaLaunch', 'cuLaunch', 'cudaGraphLaunch',
                                        'cudaMemcpyAsync', 'cudaMemsetAsync')))


def serve(settings: dict) -> None:
    """Build the row, then answer standard input line by line."""
    torch.manual_seed(0)
    row, device = ROWS[settings['row']], settings['device']
    dtype = getattr(torch, settings['dtype'])
    torch.set_num_threads(settings['threads'])
    if settings.get('checkpoint'):
        model = open_checkpoint(Path(settings['checkpoint']), device, dtype).model
    else:
        model = random_model(row_config(row, settings['size']), device, dtype)
    own_bytes = weight_bytes(model)
    step, extra = make_step(row, model)
    cuda = device.startswith('cuda')
    print(json.dumps({'ready': row.name}), flush=True)
    for line in sys.stdin:
        if line.strip() == 'measure':
            answer = {
                'weight_bytes': own_bytes + extra, 'process_bytes': process_bytes(cuda),
                'peak_bytes': torch.cuda.max_memory_allocated() if cuda else peak_bytes(),
                'operations': sum(count_operations(step).values()),
                'launches': launches(step) if cuda else None}
        else:
            answer = []
            for _ in range(int(line)):
                start = time.perf_counter()
                step()
                answer.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    serve(json.loads(sys.argv[1]))
