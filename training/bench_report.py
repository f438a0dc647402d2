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
What `rlrc bench` makes of its times: percentiles, the limit, gains apart, a table and a picture.

A gain is the median over blocks of (one row's median / another's) in that block, with the range of
80 % of the blocks beside it: rows of one block met the same machine.
"""

from pathlib import Path

import matplotlib
from matplotlib import pyplot
import numpy as np
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.roofline import Device, INT4_BYTES, step_stages
from rlrc_training.bench_rows import Row, ROWS

matplotlib.use('Agg')  # a backend without a screen

Times = dict[str, list[list[float]]]
GAINS = (
    ('pruning', 'A', 'E', 'both in Hugging Face eager'),
    ('pruning', 'C', 'F', 'both in our runtime'),
    ('engineering', 'A', 'C', 'both dense'),
    ('engineering', 'E', 'F', 'both pruned'),
    ('VLA-Cache', 'C', 'D', 'both dense, against our runtime'),
    ('VLA-Cache', 'A', 'D', 'both dense, against Hugging Face eager'),
    ('bitsandbytes NF4', 'A', 'B', 'both dense, in Hugging Face eager'),
    ('bitsandbytes NF4', 'E', 'E4', 'both pruned, in Hugging Face eager'),
    ('quantisation, int8', 'F', 'F8', 'both pruned, one token by one'),
    ('quantisation, NF4', 'F', 'F4', 'both pruned, one token by one'),
    ('quantisation, int4', 'F', 'G', 'both pruned, one token by one'),
    ('quantisation, int4', 'F', 'Gp', 'both pruned, one by one; bf16 prefill'),
    ('quantisation, int4', 'Hb', 'H', 'both pruned, one pass'),
    ('quantisation, int4', 'Ib', 'I', 'both pruned, one pass of 8 actions'),
    ('decoding', 'F', 'Hb', 'one pass against one by one, unquantised'),
    ('decoding', 'G', 'H', 'one pass against one by one, int4'),
    ('decoding', 'F', 'Ib', 'one pass of 8 actions against one action one by one, unquantised'),
    ('decoding', 'G', 'I', 'one pass of 8 actions against one action one by one, int4'),
    ('all but decoding', 'A', 'G', 'pruning, engineering and quantisation, one by one'),
    ('pruning and engineering', 'A', 'F', 'one by one'))
"""What each ratio says: name, slower row, faster row, how they are alike."""
BYTES = {'nf4': 0.5 + 4 / 64, 'int8': 1.0, 'int4': INT4_BYTES}
"""Of a weight with its share of the scales."""
MIB = 2 ** 20


def gains(times: Times) -> list[dict]:
    """Return the ratios of the rows that ran."""
    found = []
    for name, slow, fast, alike in GAINS:
        if slow in times and fast in times:
            ratios = [float(np.median(one) / np.median(other))
                      for one, other in zip(times[slow], times[fast])]
            found.append({'gain': name, 'rows': f'{slow}/{fast}', 'alike': alike,
                          'ratio': float(np.median(ratios)),
                          'low': float(np.percentile(ratios, 10)),
                          'high': float(np.percentile(ratios, 90)), 'blocks': len(ratios)})
    return found


def row_results(row: Row, blocks: list[list[float]], measured: dict, config: VlaConfig,
                device: Device, dtype: str) -> dict:
    """Return what the table says of one row; milliseconds and bytes."""
    times = np.concatenate(blocks)
    size = 2.0 if dtype == 'bfloat16' else 4.0
    decoder = BYTES.get(row.scheme, size)
    theirs = row.way == 'huggingface'
    stages = step_stages(
        config, decoder_bytes=decoder, vision_bytes=decoder if theirs else size, head_bytes=size,
        prefill_bytes=2.0 if row.prefill == 'bf16' else None,
        head_rows=config.decoder.vocab_size if theirs else None, one_pass=row.actions > 0)
    limit_ms = device.seconds(stages) * 1e3
    p50, p95, p99 = (float(np.percentile(times, each)) for each in (50, 95, 99))
    return {'row': row.name, 'words': row.words, 'n': len(times), 'p50_ms': p50, 'p95_ms': p95,
            'p99_ms': p99, 'limit_ms': limit_ms, 'share_of_limit': limit_ms / p50, **measured}


def markdown(document: dict) -> str:
    """Return the table in Markdown, with what it was measured on below."""
    lines = [
        '| row | what runs | p50 ms | p95 | p99 | limit ms | share | weights MiB | peak MiB | '
        'process MiB | operations | launches |', '|' + '---|' * 12]

    def mib(count: int | None) -> str:
        return '-' if count is None else f'{count / MIB:.0f}'

    for each in document['rows']:
        lines.append(
            f'| {each["row"]} | {each["words"]} | {each["p50_ms"]:.2f} | {each["p95_ms"]:.2f} | '
            f'{each["p99_ms"]:.2f} | {each["limit_ms"]:.2f} | {each["share_of_limit"]:.0%} | '
            f'{mib(each["weight_bytes"])} | {mib(each["peak_bytes"])} | '
            f'{mib(each["process_bytes"])} | {each["operations"]} | {each["launches"] or "-"} |')
    for name, reason in document['left_out'].items():
        lines.append(f'| {name} | {ROWS[name].words}: {reason} |' + ' |' * 10)
    lines += ['', '| gain | rows | alike | ratio | 80 % of the blocks |',
              '|---|---|---|---|---|']
    lines += [f'| {each["gain"]} | {each["rows"]} | {each["alike"]} | {each["ratio"]:.2f} | '
              f'{each["low"]:.2f} ... {each["high"]:.2f} (n = {each["blocks"]}) |'
              for each in document['gains']]
    lines += ['', *verdicts(document)]
    device, config = document['device'], document['config']
    lines += ['', f'{document["machine"]}; {device["bytes_per_s"] / 1e9:.1f} GB/s and '
              f'{device["operations_per_s"] / 1e12:.2f} T {document["dtype"]} operations/s '
              f'measured; n = {config["blocks"]} blocks x {config["steps"]} steps, rows in turns; '
              f'load at the end {document["busy"]} a core; commit {document["commit"]}; '
              f'`{document["command"]}`']
    return '\n'.join(lines) + '\n'


def verdicts(document: dict) -> list[str]:
    """
    Say of every quantised row of ours whether it is slower than the same in the run's dtype.

    A ratio counts where nine of ten blocks agree on its side of 1.
    """
    said = []
    for each in document['gains']:
        plain, packed = each['rows'].split('/')
        if not each['gain'].startswith('quantisation'):
            continue
        about = f'* {packed} ({ROWS[packed].words}), x{each["ratio"]:.2f} of {plain}:'
        if each['high'] < 1.0:
            said.append(f'{about} slower here. Where memory allows, serve the '
                        f'{document["dtype"]} checkpoint.')
        elif each['low'] > 1.0:
            said.append(f'{about} faster here.')
        else:
            said.append(f"{about} no difference here beyond the blocks' own.")
    return said


def picture(document: dict, path: Path) -> None:
    """Draw a bar a row, its limit inside it, and name the machine."""
    rows = document['rows']
    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(rows) + 1.8))
    labels = [f'{each["row"]}  {each["words"]}' for each in rows]
    axes.barh(labels, [each['p50_ms'] for each in rows], color='#9db4c0', label='p50')
    axes.barh(labels, [each['limit_ms'] for each in rows], color='#253237', height=0.35,
              label='limit of this device')
    for index, each in enumerate(rows):
        axes.text(each['p50_ms'], index, f' {each["p50_ms"]:.1f} ms', va='center', fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel('milliseconds a step')
    axes.set_title(f'{document["config"]["size"]} on {document["machine"]}, n = {rows[0]["n"]}, '
                   f'{document["dtype"]}', fontsize=9)
    axes.legend(fontsize=8)
    axes.set_xlim(0, 1.25 * max(each['p50_ms'] for each in rows))  # room for the numbers
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
