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
Inject every fault into a real vla_node over DDS, measure, and write the table of docs/safety.md.

    python scripts/measure_faults.py            # all, with the shipped defaults; two minutes
    python scripts/measure_faults.py --overhead # 600 steps: what the node adds to the model's time

The policy answers at once, so the times are the node's. The arm on the other side follows each
command exactly; camera 25 Hz, joint states 50 Hz.
"""

import argparse
import os
from pathlib import Path
import sys

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'test'))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

from nodes.faults import Course, driving, Fault, FAULTS, play  # noqa: E402
from nodes.vla_rig import ScriptedPolicy, VlaRig, wait_for  # noqa: E402
import numpy as np  # noqa: E402
from rlrc_ros.nodes.parameters import defaults  # noqa: E402

BEGIN, END = '<!-- measured: begin -->', '<!-- measured: end -->'
TIMES = ('max_image_age_s', 'max_joint_state_age_s', 'max_inference_s', 'max_frozen_image_s',
         'max_control_gap_s', 'max_joint_jump_rad')


def row(fault: Fault, courses: list[Course]) -> str:
    """Return a line of the table: the worst of several courses."""
    said = ', '.join(f'`{reason}`' for reason in sorted(
        {course.said for course in courses if course.said})) or 'none needed'
    hold, told, back = (max(getattr(course, name) for course in courses)
                        for name in ('hold_s', 'said_s', 'back_s'))
    return (f'| {fault.name} | {said} | {told:.2f} | {hold:.2f} | {back:.2f} | '
            f'{fault.recovery} |')


def measure_table(times: int) -> str:
    """Return the table of all faults, each injected `times` times."""
    shipped = {name: defaults()[name] for name in TIMES}
    lines = [
        '| fault | reason published | reason after, s | last motion commanded after, s | driving '
        'again after the cure, s | way back |', '|---|---|---|---|---|---|']
    for fault in FAULTS:
        courses = []
        for _ in range(times):
            with driving(fault, **shipped) as rig:
                courses.append(play(fault, rig, watch_s=1.2))
        lines.append(row(fault, courses))
        print(lines[-1], flush=True)
    return '\n'.join(lines)


def measure_overhead(steps: int) -> str:
    """Return the node's own time from image callback to published command, in milliseconds."""
    overheads_s: list[float] = []
    with VlaRig(ScriptedPolicy(), lockstep=True, max_step_m=0.5) as rig:
        from std_msgs.msg import Float64MultiArray
        rig.policy.answer = lambda seen: _still()
        rig.bench.create_subscription(
            Float64MultiArray, 'vla_node/timing',
            lambda message: overheads_s.append(message.data[2]), 10)
        rig.drive(lockstep=True)
        for step in range(steps):
            rig.bench.show_joints(step * 200_000_000)
            rig.bench.show_image(step * 200_000_000)
            wait_for(lambda step=step: len(rig.bench.arm_commands) > step)
    p50, p95, p99 = np.percentile(np.array(overheads_s) * 1e3, (50, 95, 99))
    return f'n={len(overheads_s)} p50={p50:.2f} ms p95={p95:.2f} ms p99={p99:.2f} ms'


def _still() -> object:
    from rlrc_ros.types import Action, ActionChunk
    return ActionChunk((Action(np.zeros(3), np.zeros(3), 1.0),))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--times', type=int, default=1, help='how often each fault is injected')
    parser.add_argument('--overhead', action='store_true', help='measure the overhead instead')
    parser.add_argument('--steps', type=int, default=600)
    options = parser.parse_args()
    if options.overhead:
        sys.setswitchinterval(1e-4)  # as vla_node's main does
        print(measure_overhead(options.steps))
        return
    page = ROOT / 'docs' / 'safety.md'
    before, _, rest = page.read_text(encoding='utf-8').partition(BEGIN)
    _, _, after = rest.partition(END)
    table = measure_table(options.times)
    page.write_text(f'{before}{BEGIN}\n{table}\n{END}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
