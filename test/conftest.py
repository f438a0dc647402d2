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
Tests against the clock, run again where the machine itself stood still.

The tests of REAL_TIME drive real nodes over DDS, with limits of tenths of a second. On a shared
machine every thread may stand for as long, and then a node does right to hold its arm where the
test expects it to move. `StallMeter` is one more thread of the process, which only sleeps 10 ms
at a time: by how much it oversleeps is how long all stood. A test that fails in such a run says so
with `MachineStoodStill`, and is run again, at most RERUNS times; one that fails in a run without
such a gap fails at once.
"""

from collections.abc import Generator
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest

STALL_S = 0.05
RERUNS = 3
NAP_S = 0.01
HERE = Path(__file__).parent
REAL_TIME = ('nodes/', 'sim/test_bridge', 'sim/test_conductor', 'test_end_to_end', 'test_parity')
"""How the paths of these tests begin, below this folder."""


class MachineStoodStill(AssertionError):
    """The test failed, and while it ran the whole process had no processor for a while."""


class StallMeter:
    """Measures, as a context manager, the longest time that no thread of this process ran."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._over = Event()
        self._thread = Thread(target=self._nap, daemon=True)

    def __enter__(self) -> 'StallMeter':
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=2.0)

    def _nap(self) -> None:
        asleep_s = monotonic()
        while not self._over.wait(NAP_S):
            awake_s = monotonic()
            self.longest_s = max(self.longest_s, awake_s - asleep_s - NAP_S)
            asleep_s = awake_s


def in_real_time(item: pytest.Item) -> bool:
    """Tell whether a test runs against the clock."""
    return (item.path.is_relative_to(HERE)
            and item.path.relative_to(HERE).as_posix().startswith(REAL_TIME))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what failed while the machine stood still be run again."""
    for item in items:
        if in_real_time(item):
            item.add_marker(pytest.mark.flaky(
                reruns=RERUNS, only_rerun=[MachineStoodStill.__name__]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Measure beside each of these tests; name a stall as the reason of a failure."""
    if not in_real_time(item):
        return (yield)
    with StallMeter() as meter:
        try:
            return (yield)
        except Exception as error:
            if meter.longest_s > STALL_S:
                raise MachineStoodStill(
                    f'failed while no thread ran for {meter.longest_s:.2f} s: {error}') from error
            raise
