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
Rates and delays of a running node, for /diagnostics and ~/status.

Delays are kept for the newest 500 samples, rates over the newest 5 s. Seconds in, numbers with
their units in the name out.
"""

from collections import deque
from threading import Lock

import numpy as np

_SAMPLES = 500
_RATE_WINDOW_S = 5.0


class Timings:
    """Counts events and measures delays by name; safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._lock = Lock()
        self._events: dict[str, deque[float]] = {}
        self._delays_s: dict[str, deque[float]] = {}
        self._totals: dict[str, int] = {}

    def count(self, event: str, steady_s: float) -> None:
        """Note that `event` happened now."""
        with self._lock:
            self._events.setdefault(event, deque(maxlen=10_000)).append(steady_s)
            self._totals[event] = self._totals.get(event, 0) + 1

    def measure(self, delay: str, value_s: float) -> None:
        """Add one sample of `delay`."""
        with self._lock:
            self._delays_s.setdefault(delay, deque(maxlen=_SAMPLES)).append(value_s)

    def summary(self, steady_s: float) -> dict[str, float]:
        """Return `<event>_hz`, `<event>_total`, `<delay>_p50_ms` and `<delay>_p95_ms`."""
        numbers: dict[str, float] = {}
        with self._lock:
            for event, times_s in self._events.items():
                while times_s and times_s[0] < steady_s - _RATE_WINDOW_S:
                    times_s.popleft()
                numbers[f'{event}_hz'] = round(_rate_hz(times_s), 2)
                numbers[f'{event}_total'] = self._totals[event]
            for delay, samples_s in self._delays_s.items():
                p50, p95 = np.percentile(samples_s, [50, 95])
                numbers[f'{delay}_p50_ms'] = round(float(p50) * 1e3, 2)
                numbers[f'{delay}_p95_ms'] = round(float(p95) * 1e3, 2)
        return numbers


def _rate_hz(times_s: deque[float]) -> float:
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return 0.0
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])
