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
Time finished checkpoints in turns: `rlrc timing runs/dense/checkpoint runs/int4 --out DIR`.

Every checkpoint is a process of its own that runs `rlrc bench`'s step on our runtime (its row C;
D, with VLA-Cache's published reuse, for those named by --vla-cache): an image and token ids on the
host go in, seven token ids on the host come out. They take turns in blocks, forwards and
backwards, so that a busy machine is busy for all of them alike; each block has its own ratio to
the first one. If they do not fit into memory
beside each other, as many as fit take turns at once, the first one in every group. Writes
OUT/timing.json: milliseconds (p50, p95), bytes of the weights, of the process and at its peak.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import shlex
import sys
from typing import Annotated

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from rlrc_ros.vla.checkpoint import inspect
from rlrc_training.bench import BenchConfig, busy, RowProcess
from rlrc_training.bench_rows import PUBLISHED_REUSE, ROWS
from rlrc_training.command_line import run_verb
from rlrc_training.provenance import machine, package_versions, source_commit
import torch
import tyro

RESULT = 'timing.json'
PROCESS_BYTES = 2 ** 29
"""Of a process beside its weights; the paper's tables imply 476 MiB on a GPU."""


@dataclass(frozen=True)
class TimingConfig:
    """What to time, and how long."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Checkpoint folders; the first is what the others are compared with."""
    names: tuple[str, ...] = ()
    """What they are called; their folders' names by default."""
    vla_cache: tuple[str, ...] = ()
    """Names of those that run with VLA-Cache."""
    out: Path = Path('runs/timing')
    """Folder for timing.json."""
    blocks: int = 5
    """Turns that every checkpoint takes."""
    steps: int = 40
    """Timed steps in a turn."""
    warm_ups: int = 20
    """Untimed steps before the first turn."""
    threads: int = 0
    """CPU threads a process; 0 means one for each core."""
    device: str = 'auto'
    """`auto`, `cpu` or `cuda`."""
    dtype: str = 'auto'
    """`bfloat16` (auto on CUDA) or `float32` (auto on a CPU)."""

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise ValueError('there is no checkpoint to time; give one or more folders')
        if self.names and len(self.names) != len(self.checkpoints):
            raise ValueError(f'{len(self.names)} names for {len(self.checkpoints)} checkpoints; '
                             'give one each, or none')
        if len(set(self.titles)) < len(self.titles):
            raise ValueError(f'two checkpoints are called alike ({", ".join(self.titles)}); give '
                             '--names')
        if strange := set(self.vla_cache) - set(self.titles):
            raise ValueError(f'vla_cache {min(strange)!r} is not one of the names: '
                             f'{", ".join(self.titles)}')
        self.bench()  # its bounds are ours

    @property
    def titles(self) -> tuple[str, ...]:
        """Return what the checkpoints are called."""
        return self.names or tuple(each.name for each in self.checkpoints)

    def bench(self) -> BenchConfig:
        """Return what `rlrc bench` would be asked for."""
        return BenchConfig(
            rows=('C', 'D'), device=self.device, dtype=self.dtype, blocks=self.blocks,
            steps=self.steps, warm_ups=self.warm_ups, threads=self.threads)


def groups(sizes: list[int], free: int) -> Iterator[list[int]]:
    """
    Yield indices that fit beside each other, the first one in every group.

    :param sizes: bytes that each needs
    :param free: bytes that there are
    :raises ValueError: the first and one other do not fit together
    """
    if sizes[0] + max(sizes[1:], default=0) > free:
        raise ValueError(f'two checkpoints need {(sizes[0] + max(sizes[1:], default=0)) / 1e9:.1f}'
                         f' GB beside each other, {free / 1e9:.1f} GB are free')
    rest = list(range(1, len(sizes)))
    while True:
        group, used = [0], sizes[0]
        while rest and used + sizes[rest[0]] <= free:
            used += sizes[rest[0]]
            group.append(rest.pop(0))
        yield group
        if not rest:
            return


def _time_group(config: TimingConfig, group: list[int]) -> tuple[dict, dict]:
    """Return milliseconds by block, and memory, of each index."""
    processes: dict[int, RowProcess] = {}
    times: dict[int, list[list[float]]] = {index: [] for index in group}
    try:
        for index in group:
            row = ROWS['D' if config.titles[index] in config.vla_cache else 'C']
            processes[index] = RowProcess(row, config.bench(), config.checkpoints[index])
        for index in group:
            processes[index].wait_until_ready()
        for index in group:
            if config.warm_ups:
                processes[index].ask(config.warm_ups)
        for block in range(config.blocks):
            for index in group if block % 2 == 0 else group[::-1]:
                times[index].append(processes[index].ask(config.steps))
        return times, {index: processes[index].ask('measure') for index in group}
    finally:
        for process in processes.values():
            process.close()


def timing(config: TimingConfig) -> dict:
    """Time all checkpoints, write timing.json and return its content."""
    summaries = [inspect(folder) for folder in config.checkpoints]
    bench = config.bench()
    cuda = bench.where.startswith('cuda')
    free = torch.cuda.mem_get_info()[0] if cuda else psutil.virtual_memory().available
    size = 2 if bench.arithmetic == 'bfloat16' else 4
    # Files hold bf16, and few bits stay packed in memory.
    sizes = [min(each.parameters * size, each.weight_bytes * size // 2) + PROCESS_BYTES
             for each in summaries]
    entries: dict[str, dict] = {}
    for number, group in enumerate(groups(sizes, free)):
        times, measured = _time_group(config, group)
        for index in group:
            name = config.titles[index]
            if name in entries:
                continue
            every = np.concatenate(times[index])
            p50, p95 = (float(np.percentile(every, each)) for each in (50, 95))
            ratios = [float(np.median(own) / np.median(first))
                      for own, first in zip(times[index], times[0])]
            entries[name] = {
                'checkpoint': str(config.checkpoints[index]), 'n': len(every), 'group': number,
                'p50_ms': p50, 'p95_ms': p95,
                'actions_per_s': 1e3 * summaries[index].action_horizon / p50,
                'of_first': float(np.median(ratios)), 'of_first_by_block': ratios,
                'file_bytes': summaries[index].weight_bytes,
                'parameters': summaries[index].parameters, **measured[index],
                **({'forced_reuse': PUBLISHED_REUSE} if name in config.vla_cache else {})}
    document = {
        'command': shlex.join(['rlrc', 'timing', *sys.argv[1:]]), 'rows': entries,
        'dtype': bench.arithmetic, 'config': json.loads(json.dumps(asdict(config), default=str)),
        'machine': torch.cuda.get_device_name() if cuda else machine(), 'busy': busy(),
        'commit': source_commit(), 'packages': package_versions()}
    config.out.mkdir(parents=True, exist_ok=True)
    partial = config.out / f'{RESULT}.partial'
    partial.write_text(json.dumps(document, indent=1))
    os.replace(partial, config.out / RESULT)
    return document


def print_table(document: dict) -> None:
    """Print a row a checkpoint."""
    table = Table(title=f"in turns, {document['dtype']}, {document['machine']}")
    for heading in ('', 'ms p50', 'p95', 'of the first', 'actions/s', 'weights MB',
                    'process MB', 'n'):
        table.add_column(heading)
    for name, each in document['rows'].items():
        process = each['process_bytes']
        table.add_row(name, f"{each['p50_ms']:.2f}", f"{each['p95_ms']:.2f}",
                      f"{each['of_first']:.2f}", f"{each['actions_per_s']:.1f}",
                      f"{each['file_bytes'] / 1e6:.2f}",
                      '-' if process is None else f'{process / 1e6:.0f}', str(each['n']))
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc timing`."""
    return run_verb('timing', TimingConfig, lambda config: print_table(timing(config)), argv,
                    __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
