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
A checkpoint folder in words, for people: `rlrc doctor CHECKPOINT` prints them.

The memory on a GPU is arithmetic, not measured: weights in bf16, the KV cache of one answer, the
largest activations, and an allowance for what CUDA and its libraries take.
"""

from rlrc_ros.vla.config import QuantizationConfig, QUANTIZED_PARTS, VlaConfig
from rlrc_ros.vla.inspection import CheckpointSummary

BF16_BYTES = 2
PROMPT_TOKENS = 64
"""A long sentence with the words around it."""
CUDA_BYTES = 600 * 2**20
"""Assumed for the CUDA context, kernels and library workspaces."""


def gpu_bytes(config: VlaConfig, parameters: int) -> dict[str, int]:
    """
    Estimate what answering one image takes on a GPU in bf16, bytes by purpose.

    :param parameters: those that are loaded
    """
    tokens = config.context_tokens + PROMPT_TOKENS + config.action_tokens
    decoder = config.decoder
    heads = sum(layer.num_heads for layer in decoder.layers)
    widest = max(3 * layer.intermediate_size + 4 * layer.num_heads * decoder.head_dim
                 for layer in decoder.layers)
    towers = max((tower.mlp_hidden + 4 * tower.embed_dim) * tower.num_patches
                 for tower in config.towers) * len(config.cameras)
    return {'weights': parameters * BF16_BYTES,
            'KV cache': (0 if config.parallel  # one pass keeps no keys and values
                         else 2 * heads * decoder.head_dim * tokens * BF16_BYTES),
            'activations': max(tokens * (widest + 4 * decoder.hidden_size), towers) * BF16_BYTES,
            'CUDA': CUDA_BYTES}


def _parallel_in_words(config: VlaConfig) -> str:
    """Say how an OpenVLA-OFT decodes and what it reads."""
    parallel, action = config.parallel, config.action
    state = (f'{parallel.proprio_dim} numbers ({parallel.proprio_layout or "layout not said"})'
             if parallel.proprio_dim else 'none')
    return (f'parallel (OpenVLA-OFT), {parallel.head} head: {action.horizon} actions of '
            f'{action.dim} numbers in one pass; cameras {", ".join(parallel.cameras)}; robot '
            f'state {state}; normalisation {parallel.normalisation}')


def weights_on_gpu(summary: CheckpointSummary) -> int:
    """Return the bytes of the weights that a GPU holds: all but a table left on the host."""
    record, parts = summary.config.quantization, summary.bf16_bytes
    size = sum(parts.values())
    if record is None:
        return size
    if record.prefill == 'bf16' and record.decoder != 'bf16':
        size += summary.parts['decoder'] * BF16_BYTES  # the norms, counted too, are next to none
    if record.host_embeddings:  # but for the rows that decoding reads
        rows = summary.config.action.bins * summary.config.decoder.hidden_size
        size += rows * BF16_BYTES - parts['embeddings']
    return size


def quantization_line(record: QuantizationConfig) -> str:
    """Return what is quantised, in one line."""
    group = f' in groups of {record.group_size}'
    parts = [f'{part} {getattr(record, part)}' + group * (getattr(record, part) == 'int4')
             for part in QUANTIZED_PARTS]
    parts += ['head of action ids alone'] * record.action_head
    scheme = '' if record.embeddings == 'bf16' else f' {record.embeddings}'
    parts += [f'embeddings{scheme} on the host'] * record.host_embeddings
    return ', '.join([*parts, f'prefill {record.prefill}'])


def describe(summary: CheckpointSummary) -> dict[str, str]:
    """Return a few lines by their headings."""
    config, decoder = summary.config, summary.config.decoder
    widths = {(layer.num_heads, layer.intermediate_size) for layer in decoder.layers}
    shape = ', '.join(f'{heads} {"head" if heads == 1 else "heads"} and {channels} channels'
                      for heads, channels in sorted(widths, reverse=True)[:3])
    shape += ' ...' if len(widths) > 3 else ''
    needs = {**gpu_bytes(config, summary.parameters), 'weights': weights_on_gpu(summary)}
    options = [name for name in ('center_crop', 'jpeg', 'lanczos') if getattr(config.image, name)]
    lines = {
        '  format': f'model_type {summary.layout}, {summary.weight_bytes / 2**30:.2f} GiB of '
                    'weights on disk',
        '  towers': '; '.join(
            f'{tower.used_blocks} blocks of {tower.embed_dim}, {tower.num_patches} patches'
            for tower in config.towers),
        '  decoder': f'{len(decoder.layers)} layers of {decoder.hidden_size}, {shape}; '
                     f'vocabulary {decoder.vocab_size}',
        '  parameters': ', '.join(f'{part} {count / 1e6:.1f} M'
                                  for part, count in summary.parts.items() if count),
        '  GPU memory': f'about {sum(needs.values()) / 2**30:.2f} GiB in bf16, one image at a '
                        'time: ' + ', '.join(
                            f'{name} {size / 2**30:.2f}' for name, size in needs.items()),
        '  images': ' + '.join([config.image.resize_strategy, *options]),
        '  statistics': '; '.join(
            f'{key} ({len(stats.q01)} dimensions, {int(stats.mask.sum())} scaled)'
            for key, stats in summary.norm_stats.items())}
    if config.parallel:
        lines['  decoding'] = _parallel_in_words(config)
    if config.quantization is not None:
        lines['  quantised'] = quantization_line(config.quantization)
    if summary.unused_parameters:
        lines['  parameters'] += (f'; {summary.unused_parameters / 1e6:.1f} M in the folder play '
                                  'no part and are not loaded')
    if summary.auto_map:
        lines['  auto_map'] = f'names code ({", ".join(summary.auto_map)}); it is never run'
    return lines
