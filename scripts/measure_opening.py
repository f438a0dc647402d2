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
Measure the host memory that opening an official folder takes: python scripts/measure_opening.py.

Writes a synthetic folder of at least --gib in shards (OpenVLA-7B's two towers, a decoder as deep
as it takes), opens it in a process of its own, in every dtype asked for, and prints one JSON line
each: the final weights, the process's memory before and at its highest, and two ratios to the
weights. `opening` leaves out what torch itself took before; `process` counts it. Linux only.
"""

import argparse
import json
from pathlib import Path
import subprocess
import sys
import tempfile

from rlrc_ros.vla import official
from rlrc_ros.vla.checkpoint import open_checkpoint
from safetensors.torch import save_file
from tokenizers import models, Tokenizer
import torch

DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}
LAYER_PARAMETERS = 4 * 2048 ** 2 + 3 * 2048 * 5504
SHARD_BYTES = 2 ** 30


def write_folder(folder: Path, gib: float) -> None:
    """Write an official folder of random bf16 weights, at least `gib` GiB of them."""
    towers_and_ends = 1.7e9  # bytes of two towers, projector, embeddings and head
    layers = max(1, round((gib * 2 ** 30 - towers_and_ends) / (2 * LAYER_PARAMETERS) + 1))
    config = {
        'model_type': 'openvla', 'vision_backbone_id': 'dinosiglip-vit-so-224px',
        'llm_backbone_id': 'llama2-7b-pure', 'image_resize_strategy': 'resize-naive',
        'text_config': {'vocab_size': 32064, 'hidden_size': 2048, 'intermediate_size': 5504,
                        'num_hidden_layers': layers, 'num_attention_heads': 16},
        'norm_stats': {'synthetic': {'action': {'q01': [-1.0] * 7, 'q99': [1.0] * 7}}}}
    (folder / 'config.json').write_text(json.dumps(config))
    Tokenizer(models.WordLevel({'<unk>': 0}, unk_token='<unk>')).save(
        str(folder / 'tokenizer.json'))
    shapes = official.layout(official.read_config(config, {}, {}, folder.name, 7))
    noise = (torch.randn(2 ** 20) * 0.02).to(torch.bfloat16)
    shards, size = [{}], 0
    for name, shape in shapes.items():
        numel = torch.Size(shape).numel()
        if size + 2 * numel > SHARD_BYTES and shards[-1]:
            shards, size = [*shards, {}], 0
        shards[-1][name], size = shape, size + 2 * numel
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = f'model-{number:05d}-of-{len(shards):05d}.safetensors'
        save_file({name: noise.repeat(-(-torch.Size(shape).numel() // len(noise)))[
            :torch.Size(shape).numel()].reshape(shape).clone() for name, shape in shard.items()},
            folder / file, metadata={'format': 'pt'})
        weight_map |= dict.fromkeys(shard, file)
    (folder / 'model.safetensors.index.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': weight_map}))


def memory_bytes(field: str) -> int:
    """Return VmRSS (now) or VmHWM (highest so far) of this process."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field + ':'):
            return int(line.split()[1]) * 1024
    raise OSError(f'no {field} in /proc/self/status; this measurement needs Linux')


def measure(folder: Path, dtype: str) -> dict:
    """Open the folder and return what it took, bytes; call it in a fresh process."""
    torch.isfinite(torch.zeros(8)).all()  # loads what torch loads late
    before = memory_bytes('VmRSS')
    opened = open_checkpoint(folder, dtype=DTYPES[dtype])
    peak = memory_bytes('VmHWM')
    weights = sum(each.nbytes for each in opened.model.parameters())
    return {'dtype': dtype, 'on_disk': opened.summary.weight_bytes, 'weights': weights,
            'before': before, 'peak': peak, 'opening': round((peak - before) / weights, 4),
            'process': round(peak / weights, 4)}


def main() -> int:
    """Write, measure, print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--gib', type=float, default=2.5, help='size of the folder on disk')
    parser.add_argument('--dtype', choices=DTYPES, nargs='+', default=['bfloat16'])
    parser.add_argument('--folder', type=Path, help='measure this folder, write none')
    parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.folder, options.dtype[0])), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.folder is None:
            write_folder(folder, options.gib)
        for dtype in options.dtype:
            subprocess.run([sys.executable, __file__, '--here', '--folder', str(folder),
                            '--dtype', dtype], check=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
