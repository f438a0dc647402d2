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
Who gets the processor while worlds simulate in processes of their own.

A small policy's operations are too short to be worth two threads; what it takes from the worlds it
loses twice. Eight worlds in two processes cost no more memory than two, and while some simulate,
others are answered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os

import torch

WORLDS_A_PROCESS = 4
"""They share what a process costs: 10 MB more for each."""
WORLD_BYTES = 10_000_000
"""What one more world adds to a process that has one (`put25_choice` at 128 px, rounded up)."""
ROWS = {'cpu': 4, 'cuda': 16}
"""Observations in one batch of the policy, always as many: see Policy.act_batch."""


def batching(worlds: int, device: str) -> tuple[int, int]:
    """Return the rows of a batch, and how many worlds to wait for so that others simulate."""
    rows = ROWS[device.split(':')[0]]
    return rows, max(1, min(rows, worlds // 2))


@contextmanager
def beside_worlds(processes: int, threads: int = 0) -> Iterator[None]:
    """
    Let torch compute on `threads` cores; 0: on those that do not simulate, at least one.

    Processes that torchrun started share the machine's cores.
    """
    before = torch.get_num_threads()
    cores = (os.cpu_count() or 1) // int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    torch.set_num_threads(threads or max(1, cores - processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)
