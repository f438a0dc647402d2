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
loses twice. Many worlds in two processes cost little more memory than two, and while some
simulate, others are answered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os

import torch

WORLDS_A_PROCESS = 4
"""At least; they share what a process costs."""
WORLD_BYTES = 10_000_000
"""What one more world adds to a process that has one (`put25_choice` at 128 px, rounded up)."""
ROWS = 16
"""
Observations in one batch of the policy, always as many: see Policy.act_batch.

Short products wait for their weights: of the policies that ship, an observation in sixteen costs
half of one in four on a CPU.
"""


def worlds_for(processes: int) -> int:
    """Return how many worlds to play: a full batch is answered while as many simulate."""
    return max(processes * WORLDS_A_PROCESS, 2 * ROWS)


def batching(worlds: int) -> tuple[int, int]:
    """Return the rows of a batch, and how many worlds to wait for so that others simulate."""
    return ROWS, max(1, min(ROWS, worlds // 2))


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
