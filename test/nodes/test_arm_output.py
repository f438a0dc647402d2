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

"""vla_node streams between targets, and keeps silent where a stream would be in the way."""

from nodes.vla_rig import ScriptedPolicy, VlaRig, wait_for
import numpy as np
import pytest
from rlrc_ros.arm.limits import INITIAL_RAD

pytest.importorskip('ruckig')
WIDE = {'workspace_lower_m': [-1.0, -1.0, -1.0], 'workspace_upper_m': [1.0, 1.0, 1.0]}


def goes_silent(rig: VlaRig) -> None:
    """Wait until two reports have passed without a command."""
    bench = rig.bench

    def quiet() -> bool:
        count, reports = len(bench.arm_commands), len(bench.statuses)
        wait_for(lambda: len(bench.statuses) >= reports + 2)
        return len(bench.arm_commands) == count
    wait_for(quiet)


def joint_states_heard(rig: VlaRig) -> int:
    """Return how many joint states the node says it has had."""
    return rig.bench.statuses[-1]['rates']['joint_states_total']


def test_a_held_stream_comes_to_rest_and_then_keeps_silent() -> None:
    """After the camera stops, and in a dry run, nothing fights whoever else moves the arm."""
    # With older joints the node holds at its last target, which is another test's matter.
    with VlaRig(ScriptedPolicy(), stream_hz=50.0, max_joint_jump_rad=0.0,
                max_joint_state_age_s=5.0, **WIDE) as rig:
        bench = rig.drive().bench
        bench.wait_more(bench.arm_commands, 20)
        bench.camera_on = False
        bench.wait_reason('image_stale')
        goes_silent(rig)
        steps = np.diff([list(command.points[0].positions)
                         for command in bench.arm_commands[-4:]], axis=0)
        assert np.abs(steps[-1]).max() < 1e-3, 'it did not end at rest'
        bench.q_rad = np.array(INITIAL_RAD) + 0.2  # somebody moved the arm
        heard = joint_states_heard(rig)
        wait_for(lambda: joint_states_heard(rig) > heard + 10)  # before the picture comes
        count = len(bench.arm_commands)
        bench.camera_on = True
        bench.wait_more(bench.arm_commands, 20)
        first = np.array(bench.arm_commands[count].points[0].positions)
        assert first == pytest.approx(bench.q_rad, abs=5e-3), 'it began where the arm was before'
        bench.set_dry_run(True)
        goes_silent(rig)
        assert bench.arm_commands[-1].points[0].positions == pytest.approx(bench.q_rad)


def test_an_effort_beyond_its_limit_stays_through_a_new_configuration() -> None:
    """Cleaning up and configuring again does not release it; ~/reset_stop does."""
    with VlaRig(ScriptedPolicy()) as rig:
        bench = rig.drive().bench
        bench.effort = 5000.0
        bench.wait_reason('effort_limit')
        bench.effort = 0.0
        assert rig.deactivate()
        assert rig.clean_up()
        assert rig.configure()
        assert rig.activate()
        bench.wait_reason('effort_limit')
        bench.trigger('reset_stop')
        bench.wait_reason('none')
