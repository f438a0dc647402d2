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

"""Garbage collection beside the control path: set aside, counted, given back."""

import gc

from rlrc_ros.nodes.pauses import CollectorPauses


def test_what_is_there_is_set_aside_and_collections_are_counted_until_the_end():
    """A full collection then visits few objects; afterwards all of them again."""
    ballast = [[number] for number in range(20_000)]
    pauses = CollectorPauses()
    pauses.begin()
    try:
        assert gc.get_freeze_count() >= len(ballast)
        assert len(gc.get_objects()) < len(ballast)
        gc.collect()
        assert pauses.count >= 1 and pauses.longest_s > 0.0
        assert pauses.longest_cpu_s > 0.0
    finally:
        pauses.end()
    counted = pauses.count
    gc.collect()
    assert pauses.count == counted and gc.get_freeze_count() == 0
    pauses.end()  # a second time does nothing


def test_beginning_again_counts_from_zero():
    """A node that is configured anew starts a new count."""
    pauses = CollectorPauses()
    pauses.begin()
    gc.collect()
    pauses.begin()
    assert pauses.count == 0 and gc.callbacks.count(pauses._on_collection) == 1
    pauses.end()
