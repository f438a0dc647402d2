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
Measure what a control step costs and how near the limit that is: `rlrc bench --size nano`.

Rows A-I are ways to run one policy: Hugging Face's own eager generate on dense shapes first, ours
on pruned, 4-bit, one-pass ones last; letters behind mark a row's variants. Every row is a process
of its own; rows take turns in blocks, so that a busy machine is busy for all of them. Printed:
p50, p95, p99, three kinds of memory, operations and launches a step, the least time that the
present device could take (bandwidth and peak are measured first) and the share of it reached; then
the gains of pruning, engineering and decoding apart, each a ratio of two rows within the same
blocks. Writes OUT/bench_SIZE_DEVICE.json, .md and .png. On a machine where other work runs, only
ratios count.

    rlrc bench --size 7b            # on a GPU: the exact 7B shapes, bf16
    rlrc bench --size 7b --projected    # the least milliseconds on a Jetson and others
    rlrc bench --size nano --blocks 40 --steps 5
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
import json
import math
import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import psutil
from rlrc_ros.vla.roofline import (
    decoder_parameters,
    measure_device,
    projected_table,
    projector_parameters,
)
from rlrc_ros.vla.runtime_choice import resolved_device
from rlrc_training.bench_report import gains, markdown, picture, row_results
from rlrc_training.bench_rows import dense_config, pruned_config, Row, row_config, ROWS, SIZES
from rlrc_training.command_line import run_verb
from rlrc_training.provenance import machine, package_versions, source_commit
import torch


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how long."""

    size: str = 'nano'
    """`nano`: `checkpoints/nano`'s shapes; `eighth`: OpenVLA-7B's, all widths / 8; `7b`."""
    rows: tuple[str, ...] = tuple(ROWS)
    """Which rows; what cannot run here is named and left out."""
    device: str = 'auto'
    """`auto` (CUDA where it is), `cpu` or `cuda`."""
    dtype: str = 'auto'
    """Of weights and arithmetic: `bfloat16` (auto on CUDA) or `float32` (auto on a CPU)."""
    blocks: int = 40
    """Turns that every row takes; short ones meet the same machine."""
    steps: int = 5
    """Timed steps a row takes in a turn."""
    warm_ups: int = 20
    """Untimed steps before the first turn."""
    threads: int = 0
    """CPU threads a process; 0 means one for each core."""
    weights: tuple[str, ...] = ()
    """Checkpoints of real weights in the place of random ones, ROW=FOLDER ROW=FOLDER ..."""
    projected: bool = False
    """Measure nothing: print the least time on devices that are not here, by vendors' figures."""
    out: Path = Path('docs/results')
    """Folder for the table, the numbers and the picture."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f'size {self.size!r} is not known; there are: {", ".join(SIZES)}')
        unknown = [name for name in self.rows if name not in ROWS]
        if unknown or not self.rows:
            raise ValueError(f'rows {", ".join(unknown) or "none"} are not known; there are: '
                             f'{", ".join(ROWS)}')
        if self.dtype not in ('auto', 'bfloat16', 'float32'):
            raise ValueError(f'dtype {self.dtype!r} is not one of: auto, bfloat16, float32')
        if self.blocks < 1 or self.steps < 1 or self.warm_ups < 0 or self.threads < 0:
            raise ValueError('blocks and steps are at least 1, warm_ups and threads at least 0, '
                             f'got {self.blocks}, {self.steps}, {self.warm_ups}, {self.threads}')
        for each in self.weights:
            name, _, folder = each.partition('=')
            if name not in ROWS or not folder:
                raise ValueError(f'weights {each!r} is not ROW=FOLDER with one of the rows '
                                 f'{", ".join(ROWS)}')
            row_config(ROWS[name], self.size, Path(folder))
        if self.device.startswith('cuda') and not torch.cuda.is_available():
            raise ValueError(f'device {self.device!r} was asked for, but torch sees no CUDA '
                             'device; set --device cpu')

    @property
    def where(self) -> str:
        """Return the device to measure on."""
        return resolved_device(self.device)

    @property
    def arithmetic(self) -> str:
        """Return the dtype's name in torch."""
        if self.dtype != 'auto':
            return self.dtype
        return 'bfloat16' if self.where.startswith('cuda') else 'float32'

    def folder(self, row: Row) -> Path | None:
        """Return the checkpoint of a row, None for random weights."""
        given = dict(each.split('=', 1) for each in self.weights)
        return Path(given[row.name]) if row.name in given else None


class RowProcess:
    """
    A row's own process, spoken to line by line.

    :param folder: the checkpoint to run, whatever the row is of; by default what config says
    """

    def __init__(self, row: Row, config: BenchConfig, folder: Path | None = None):
        folder = folder or config.folder(row)
        settings = {'row': row.name, 'size': config.size, 'device': config.where,
                    'dtype': config.arithmetic, 'threads': config.threads or os.cpu_count() or 1,
                    'checkpoint': str(folder) if folder else None}
        self._row = row
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'rlrc_training.bench_rows', json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _answer(self) -> object:
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f'row {self._row.name} ({self._row.words}) ended with status '
                             f'{self._process.wait()}; its message is above. Leave it out with '
                             '--rows, or give it more memory')
        return json.loads(line)

    def wait_until_ready(self) -> None:
        """Return when the weights are there."""
        self._answer()

    def ask(self, question: object) -> object:
        """Send a line and return the answer to it."""
        self._process.stdin.write(f'{question}\n')
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def choose_rows(config: BenchConfig) -> tuple[list[Row], dict[str, str]]:
    """Return the rows that can be run, and why each other one cannot."""
    chosen = [ROWS[name] for name in ROWS if name in config.rows]
    missing = find_spec('bitsandbytes') is None
    left_out = {row.name: 'bitsandbytes is not installed: pip install bitsandbytes==0.50.2'
                for row in chosen if row.scheme == 'nf4' and missing}
    return [row for row in chosen if row.name not in left_out], left_out


def check_room(config: BenchConfig, rows: Sequence[Row]) -> None:
    """
    Refuse rows that do not fit beside each other, before any is built.

    :raises ValueError: what they need, what there is, and what to type
    """
    def parameters(row: Row) -> int:
        shapes = row_config(row, config.size, config.folder(row))
        vision = sum(tower.used_blocks * (4 * tower.embed_dim ** 2
                                          + 2 * tower.embed_dim * tower.mlp_hidden)
                     for tower in shapes.towers)
        return (decoder_parameters(shapes) + projector_parameters(shapes) + vision
                + 2 * shapes.decoder.vocab_size * shapes.decoder.hidden_size)

    cuda = config.where.startswith('cuda')
    size = 2 if config.arithmetic == 'bfloat16' else 4
    needed = sum(parameters(row) * size + 2 ** 29 for row in rows)
    free = torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available
    if needed > free:
        raise ValueError(f'rows {", ".join(row.name for row in rows)} need '
                         f'{needed / 2 ** 30:.1f} GiB beside each other, {free / 2 ** 30:.1f} are '
                         'free; take fewer with --rows, or a smaller --size')


def bench(config: BenchConfig) -> dict:
    """Measure all rows, write the results and return them."""
    rows, left_out = choose_rows(config)
    if not rows:
        raise ValueError('no row is left: ' + '; '.join(
            f'{name} {reason}' for name, reason in left_out.items()))
    check_room(config, rows)
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    device = measure_device(config.where, getattr(torch, config.arithmetic))
    print(f'{device.name}: {device.bytes_per_s / 1e9:.1f} GB/s, '
          f'{device.operations_per_s / 1e12:.2f} T {config.arithmetic} operations/s, measured')
    processes: dict[str, RowProcess] = {}
    times: dict[str, list[list[float]]] = {row.name: [] for row in rows}
    try:
        for row in rows:
            processes[row.name] = RowProcess(row, config)
            processes[row.name].wait_until_ready()
        for row in rows:
            if config.warm_ups:
                processes[row.name].ask(config.warm_ups)
        for block in range(config.blocks):
            order = rows if block % 2 == 0 else rows[::-1]
            for row in order:
                times[row.name].append(processes[row.name].ask(config.steps))
            print(f'block {block + 1}/{config.blocks}: ' + ', '.join(
                f'{row.name} {np.median(times[row.name][-1]):.1f} ms' for row in rows))
        measures = {row.name: processes[row.name].ask('measure') for row in rows}
    finally:
        for process in processes.values():
            process.close()
    shapes = {row.name: row_config(row, config.size, config.folder(row)) for row in rows}
    document = {
        'command': 'rlrc bench ' + ' '.join(sys.argv[1:]),
        'config': json.loads(json.dumps(asdict(config), default=str)),
        'machine': machine() if not config.where.startswith('cuda') else device.name,
        'busy': busy(), 'device': asdict(device), 'dtype': config.arithmetic,
        'rows': [row_results(row, times[row.name], measures[row.name], shapes[row.name], device,
                             config.arithmetic) for row in rows],
        'left_out': left_out, 'gains': gains(times), 'commit': source_commit(),
        'packages': package_versions()}
    write(document, config)
    return document


def busy() -> float | None:
    """Return the load of the last minute a core, or None where the system does not say."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return round(load, 2) if math.isfinite(load) else None


def write(document: dict, config: BenchConfig) -> None:
    """Write numbers, table and picture beside each other."""
    config.out.mkdir(parents=True, exist_ok=True)
    name = re.sub(r'[^a-z0-9]+', '-', document['device']['name'].lower()).strip('-')
    path = config.out / f'bench_{config.size}_{name}'
    for suffix, text in (('.json', json.dumps(document, indent=1) + '\n'),
                         ('.md', markdown(document))):
        partial = path.with_suffix(f'{suffix}.partial')
        partial.write_text(text, encoding='utf-8')
        os.replace(partial, path.with_suffix(suffix))
    picture(document, path.with_suffix('.png'))


def projection(size: str) -> str:
    """Return the projected tables of a size, dense and pruned."""
    dense = dense_config(size)
    return '\n\n'.join(f'{size}, {name}\n\n{projected_table(shapes)}' for name, shapes in (
        ('dense', dense), ('pruned', pruned_config(dense))))


def run(config: BenchConfig) -> None:
    """Print what is asked for."""
    print(projection(config.size) if config.projected else markdown(bench(config)))


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc bench`."""
    return run_verb('bench', BenchConfig, run, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
