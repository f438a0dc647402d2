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

"""How sure a success rate is: the Wilson score interval of k successes in n tries."""

from math import sqrt

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
