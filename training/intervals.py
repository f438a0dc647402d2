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
How sure a success rate is, and a difference between two policies on the same episodes.

Wilson's score interval for one rate; for two policies that played the same seeds, McNemar's test
and Newcombe's interval of the paired difference, which use that most episodes end alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy.stats import binomtest

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def wilson_interval(successes: int, tries: int, z: float = Z_95) -> tuple[float, float]:
    """
    Return the interval (low, high) in which the true rate lies with 95 % confidence.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927). Unlike the textbook's p +- z*sqrt(p(1-p)/n) it stays within 0 ... 1 and has a width
    at 0 of n and at n of n as well, where demonstrations usually are.

    :raises ValueError: tries below 1, or successes outside 0 ... tries
    """
    if tries < 1 or not 0 <= successes <= tries:
        raise ValueError(f'{successes} successes in {tries} tries: tries must be at least 1, '
                         f'successes 0 ... tries')
    rate, z2 = successes / tries, z * z
    centre = (rate + z2 / (2 * tries)) / (1 + z2 / tries)
    half = z / (1 + z2 / tries) * sqrt(rate * (1 - rate) / tries + z2 / (4 * tries * tries))
    # Exact at the ends, where rounding would leave 1e-17.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == tries else min(1.0, centre + half)
    return low, high


def rate_with_interval(successes: int, tries: int) -> str:
    """Return a rate as it is reported: `41/50 (82 %, 95 % CI 69-90)`."""
    low, high = wilson_interval(successes, tries)
    return (f'{successes}/{tries} ({100 * successes / tries:.0f} %, '
            f'95 % CI {100 * low:.0f}-{100 * high:.0f})')


@dataclass(frozen=True)
class PairedComparison:
    """Two policies on the same episodes."""

    episodes: int
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    """Rate of the second minus rate of the first."""
    interval_95: tuple[float, float]
    """Newcombe's interval of the difference."""
    mcnemar_p: float
    """Two-sided exact McNemar: how often a fair coin parts the two this far or further."""


def compare_paired(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """
    Compare two policies' successes on the same episodes, in the same order.

    McNemar, Psychometrika 12 (1947), in its exact binomial form; the interval is method 10 of
    Newcombe, Statistics in Medicine 17 (1998) 2635: Wilson's intervals of the two rates, joined
    with their correlation.

    :raises ValueError: no episodes, or not as many on both sides
    """
    if len(first) != len(second) or not first:
        raise ValueError(f'{len(first)} and {len(second)} episodes: a paired comparison needs '
                         'the same episodes on both sides, at least one')
    n = len(first)
    both = sum(one and other for one, other in zip(first, second))
    only_first, only_second = sum(map(bool, first)) - both, sum(map(bool, second)) - both
    neither = n - both - only_first - only_second
    apart = only_first + only_second
    p = binomtest(min(only_first, only_second), apart).pvalue if apart else 1.0

    rate_1, rate_2 = (both + only_first) / n, (both + only_second) / n
    (low_1, high_1), (low_2, high_2) = (
        wilson_interval(both + only, n) for only in (only_first, only_second))
    spread = sqrt(rate_1 * (1 - rate_1) * rate_2 * (1 - rate_2)) * n * n
    phi = 0.0
    if spread > 0:
        agreement = both * neither - only_first * only_second
        # Newcombe's continuity correction, for a positive correlation only.
        phi = (max(agreement - n / 2, 0.0) if agreement > 0 else float(agreement)) / spread
    difference = rate_2 - rate_1

    def reach(toward_2: float, toward_1: float) -> float:
        return sqrt(max(0.0, toward_2 ** 2 - 2 * phi * toward_2 * toward_1 + toward_1 ** 2))

    low = difference - reach(rate_2 - low_2, high_1 - rate_1)
    high = difference + reach(high_2 - rate_2, rate_1 - low_1)
    return PairedComparison(n, both, only_first, only_second, neither, difference,
                            (max(-1.0, low), min(1.0, high)), float(p))
