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

"""The Wilson interval, against published numbers and its own properties."""

from math import comb

import pytest
from rlrc_training.intervals import compare_paired, rate_with_interval, wilson_interval


@pytest.mark.parametrize(('successes', 'tries', 'low', 'high'), [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634),
    (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998), table I
    (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718),
])
def test_known_intervals(successes, tries, low, high):
    """Numbers from Newcombe (1998) and the closed form at 0 and n come out."""
    assert wilson_interval(successes, tries) == pytest.approx((low, high), abs=5e-5)


def test_it_holds_the_rate_and_narrows_with_tries():
    """The rate lies inside, the interval within 0 ... 1, and ten times the tries narrow it."""
    for tries in (1, 5, 50):
        for successes in range(tries + 1):
            low, high = wilson_interval(successes, tries)
            assert 0.0 <= low <= successes / tries <= high <= 1.0
            wide = high - low
            low, high = wilson_interval(10 * successes, 10 * tries)
            assert high - low < wide


@pytest.mark.parametrize(('successes', 'tries'), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, tries):
    """No tries, or more successes than tries, is an error that says so."""
    with pytest.raises(ValueError, match='successes'):
        wilson_interval(successes, tries)


def test_a_rate_is_told_with_its_n():
    """A report names k, n, percent and interval."""
    assert rate_with_interval(41, 50) == '41/50 (82 %, 95 % CI 69-90)'


def test_two_policies_that_differ_clearly_are_told_apart():
    """The p of McNemar is the binomial tail of the episodes that parted the two."""
    first = [True] * 30 + [False] * 12 + [True] * 2 + [False] * 6
    second = [True] * 30 + [True] * 12 + [False] * 2 + [False] * 6
    compared = compare_paired(first, second)
    assert (compared.both, compared.only_first, compared.only_second, compared.neither) == (
        30, 2, 12, 6)
    assert compared.mcnemar_p == pytest.approx(2 * sum(comb(14, k) for k in range(3)) / 2**14)
    assert compared.difference == pytest.approx(0.2)
    low, high = compared.interval_95
    assert 0 < low < 0.2 < high < 0.36


def test_a_large_sample_has_the_textbook_interval():
    """Agresti's approval survey (n=1600: 794, 150, 86, 570): -4 points, about +-1.9."""
    first = [True] * 944 + [False] * 656
    second = [True] * 794 + [False] * 150 + [True] * 86 + [False] * 570
    low, high = compare_paired(first, second).interval_95
    assert (low, high) == pytest.approx((-0.0587, -0.0213), abs=2e-3)


def test_equal_policies_have_a_difference_of_nothing():
    """No episode parts them: p is 1, and the interval holds 0."""
    for outcome in ([True] * 20, [False] * 20, [True, False] * 10):
        compared = compare_paired(outcome, outcome)
        assert compared.mcnemar_p == 1.0 and compared.difference == 0.0
        assert compared.interval_95[0] <= 0.0 <= compared.interval_95[1]


def test_a_comparison_needs_the_same_episodes():
    """Different numbers, or none at all, are refused."""
    for first, second in (([True], [True, False]), ([], [])):
        with pytest.raises(ValueError, match='paired'):
            compare_paired(first, second)
