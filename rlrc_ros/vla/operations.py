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
Count what one step asks of the device: operations, the same number on every machine.

An operation is a call of torch that computes or copies; on a GPU each is a kernel launch or more.
Views cost nothing and are not counted; operations that torch itself takes apart are counted by
their parts.
"""

from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = frozenset({'aten._local_scalar_dense', 'aten.nonzero', 'aten.lift_fresh'})
"""Operations that make the host wait for the device or bring a host's number to it: a captured
step can have none of them."""

COSTLESS = frozenset({'aten._unsafe_view', 'aten.detach_', 'aten.detach'})
"""Views by another name."""


class OperationCounter(TorchDispatchMode):
    """Counts operations by name while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: D105
        kwargs = kwargs or {}
        with self:  # so that the parts are counted
            parts = function.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        if not function.is_view and str(function.overloadpacket) not in COSTLESS:
            self.counts[str(function.overloadpacket)] += 1
        return function(*args, **kwargs)

    @property
    def total(self) -> int:
        """Return how many there were."""
        return self.counts.total()


@torch.inference_mode()
def count_operations(step: Callable[[], object]) -> Counter[str]:
    """Run a step once and return its operations by name."""
    with OperationCounter() as counter:
        step()
    return counter.counts
