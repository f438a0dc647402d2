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
Measure the host memory that pruning takes: python scripts/measure_pruning.py --layers 8.

Ranks and cuts a random bf16 decoder of LLaMA's proportions on token ids, on the CPU, and prints
one JSON line: bytes of the weights, of one layer's, and how far the process grew beyond what it
took with the weights loaded. `in_layers` is that growth in bytes of one bf16 layer. Linux only.
"""

import argparse
import json
from pathlib import Path
import sys

from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_ros.vla.language import LanguageModel
from rlrc_training.pruning.calibration import from_token_ids
from rlrc_training.pruning.importance import rank
from rlrc_training.pruning.options import IMPORTANCES, PruneConfig
from rlrc_training.pruning.plan import make_plan
from rlrc_training.pruning.structure import cut_decoder
import torch

VOCABULARY = 1024


def memory_bytes(field: str) -> int:
    """Return VmRSS (now) or VmHWM (highest so far) of this process."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field + ':'):
            return int(line.split()[1]) * 1024
    raise OSError(f'no {field} in /proc/self/status; this measurement needs Linux')


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--hidden', type=int, default=2048)
    parser.add_argument('--channels', type=int, default=5504)
    parser.add_argument('--layers', type=int, default=8)
    parser.add_argument('--samples', type=int, default=2)
    parser.add_argument('--tokens', type=int, default=32)
    parser.add_argument('--importance', choices=IMPORTANCES, default='param_first')
    options = parser.parse_args()
    config = DecoderConfig(VOCABULARY, options.hidden, 128, (
        LayerWidths(options.hidden // 128, options.channels),) * options.layers)
    with torch.device('meta'):
        model = LanguageModel(config)
    model = model.to(torch.bfloat16).to_empty(device='cpu').eval().requires_grad_(False)
    for each in model.parameters():
        each.normal_(0, 0.02)
    samples = from_token_ids(model, torch.randint(
        VOCABULARY, (options.samples, options.tokens))).samples
    choice = PruneConfig(importance=options.importance)
    plan = make_plan(config, choice)
    Path('/proc/self/clear_refs').write_text('5')  # VmHWM starts again from here
    loaded = memory_bytes('VmRSS')
    ranking = rank(model, samples, plan, choice)
    cut_decoder(model, ranking.decisions, ranking.dropped)
    grown = memory_bytes('VmHWM') - loaded
    layer = 2 * (4 * options.hidden ** 2 + 3 * options.hidden * options.channels)
    print(json.dumps({'importance': options.importance, 'weights': layer * options.layers,
                      'layer': layer, 'loaded': loaded, 'grown': grown,
                      'in_layers': round(grown / layer, 2)}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
