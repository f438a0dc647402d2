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
Say where a control step's time goes: by stage, by operation, and what reuse leaves of it.

    python scripts/profile_step.py --size nano --row F

Runs a row of `rlrc bench` (one that decodes token after token, in our runtime) with random
weights. Stages take turns, so a busy machine is busy for all; operations are torch's profiler's
own time. Milliseconds are those of this machine at this moment; shares and counts are what to
read. With --compile the decoding step is also timed as torch.compile makes it.
"""

import argparse
import os
from time import perf_counter

import numpy as np
from rlrc_ros.vla.operations import count_operations
from rlrc_ros.vla.random_weights import random_model
from rlrc_ros.vla.runtime import Reuse, StepRuntime
from rlrc_training.bench_rows import row_config, ROWS, SIZES
from rlrc_training.provenance import machine
import torch
from torch.profiler import profile, ProfilerActivity

PROMPT = [1, *range(10, 29)]
OTHER_PROMPT = [1, *range(40, 59)]


def timed(steps: dict, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each step; steps take turns."""
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = perf_counter()
            step()
            times[name].append((perf_counter() - start) * 1e3)
    return {name: float(np.median(each)) for name, each in times.items()}


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--size', choices=SIZES, default='nano')
    parser.add_argument('--row', choices=[
        name for name, row in ROWS.items() if row.way == 'runtime' and not row.actions],
        default='F')
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='bfloat16')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--compile', action='store_true')
    options = parser.parse_args()
    torch.set_num_threads(1)
    row = ROWS[options.row]
    model = random_model(row_config(row, options.size), 'cpu', getattr(torch, options.dtype))
    runtime = StepRuntime(model, reuse=Reuse())
    rng, size = np.random.default_rng(0), model.config.image_size
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    bucket = runtime._bucket(len(PROMPT))
    whole = count_operations(lambda: runtime.act(image, PROMPT)).total()
    text = count_operations(lambda: runtime.act(image, OTHER_PROMPT)).total()
    again = count_operations(lambda: runtime.act(image, OTHER_PROMPT)).total()
    steps = {'vision': runtime._encode, 'vision and prefill': lambda: runtime._prefill(bucket),
             'new text on the same image': lambda: runtime._read_text(bucket),
             'one decoded token': lambda: one_token(runtime, runtime._decode)}
    if options.compile:
        compiled = torch.compile(runtime._decode)
        steps['one decoded token, compiled'] = lambda: one_token(runtime, compiled)
    for step in steps.values():
        step()
    times = timed(steps, options.rounds)
    tokens = model.config.action_tokens
    total = times['vision and prefill'] + (tokens - 1) * times['one decoded token']
    print(f'{options.size}, row {row.name} ({row.words}), {options.dtype}, {machine()}, one '
          f'thread, n = {options.rounds} in turns, load {os.getloadavg()[0]:.1f}')
    print(f'step {total:.1f} ms: vision {times["vision"] / total:.0%}, prefill '
          f'{(times["vision and prefill"] - times["vision"]) / total:.0%}, {tokens - 1} decoded '
          f'tokens {(tokens - 1) * times["one decoded token"] / total:.0%}')
    for name, value in times.items():
        print(f'  {name}: {value:.2f} ms')
    print(f'operations: whole step {whole}, new instruction on the same image {text}, the same '
          f'moment again {again}')
    runtime.reset()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        runtime.act(image, PROMPT)
    events = sorted(profiler.key_averages(), key=lambda each: -each.self_cpu_time_total)
    spent = sum(each.self_cpu_time_total for each in events)
    print('own time by operation: ' + ', '.join(
        f'{each.key} {each.self_cpu_time_total / spent:.0%} ({each.count} calls)'
        for each in events[:6]))


def one_token(runtime: StepRuntime, decode) -> None:
    """Decode one token behind the prompt, always the same."""
    runtime._position.fill_(runtime._patches + len(PROMPT))
    runtime._step.zero_()
    decode()


if __name__ == '__main__':
    main()
