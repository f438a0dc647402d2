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

"""A short soak: many steps over DDS leave no thread, handle or memory behind."""

from nodes.vla_rig import ScriptedPolicy, VlaRig, wait_for
import psutil

WARM_STEPS, STEPS = 60, 240
LARGEST_GROWTH = 1.05


def test_many_steps_leave_nothing_behind() -> None:
    """After the first steps, threads and handles stay and memory grows by less than 5 percent."""
    process = psutil.Process()

    def sample() -> tuple[int, int, int]:
        return process.num_threads(), process.num_fds(), process.memory_info().rss
    policy = ScriptedPolicy()
    with VlaRig(policy, lockstep=True) as rig:
        bench = rig.drive(lockstep=True).bench
        for step in range(WARM_STEPS + STEPS):
            if step == WARM_STEPS:
                before = sample()
            bench.show_joints(step * 200_000_000)
            bench.show_image(step * 200_000_000)
            wait_for(lambda step=step: len(bench.arm_commands) > step)
            policy.seen.clear()
        after = sample()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] <= LARGEST_GROWTH * before[2]
