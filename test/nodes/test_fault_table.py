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

"""Each fault over DDS: the reason is said, the arm holds, and it comes back as documented."""

from nodes.faults import driving, Fault, FAULTS, play
import pytest

ELSEWHERE = ('camera stops', 'joint states stop', 'inference raises', 'policy answers NaN',
             'policy answers 0.5 m', '`~/stop`')
"""Faults that test_vla_node_faults.py goes through already."""


@pytest.mark.parametrize(
    'fault', [fault for fault in FAULTS if fault.name not in ELSEWHERE],
    ids=lambda fault: fault.name)
def test_the_arm_holds_and_comes_back(fault: Fault) -> None:
    """Nothing moves after the fault was noticed, and after its cure the policy drives again."""
    with driving(fault) as rig:
        course = play(fault, rig, watch_s=0.7)
        assert course.said in (fault.reasons or ('',))
