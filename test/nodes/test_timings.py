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

"""Rates and delays as they are reported."""

import pytest
from rlrc_ros.nodes.timings import Timings


def test_rates_are_those_of_the_newest_seconds_and_totals_of_all() -> None:
    """A burst long ago counts in the total but not in the rate."""
    timings = Timings()
    for index in range(100):
        timings.count('images', index * 0.001)
    for index in range(11):
        timings.count('images', 100.0 + index * 0.2)
    summary = timings.summary(102.0)
    assert summary['images_hz'] == pytest.approx(5.0)
    assert summary['images_total'] == 111


def test_a_rate_falls_to_zero_when_nothing_comes() -> None:
    """A dead camera has 0 Hz, not its last rate."""
    timings = Timings()
    for index in range(5):
        timings.count('images', index * 0.2)
    assert timings.summary(60.0)['images_hz'] == 0.0


def test_delays_are_reported_in_milliseconds() -> None:
    """p50 and p95 of 1 ... 100 ms."""
    timings = Timings()
    for index in range(1, 101):
        timings.measure('inference', index / 1000)
    summary = timings.summary(0.0)
    assert summary['inference_p50_ms'] == pytest.approx(50.5)
    assert summary['inference_p95_ms'] == pytest.approx(95.05)
