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

    python scripts/measure_faults.py    # all, with the shipped defaults; two minutes

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
from rlrc_ros.nodes.parameters import defaults  # noqa: E402
from rlrc_training.provenance import machine  # noqa: E402

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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--times', type=int, default=1, help='how often each fault is injected')
    options = parser.parse_args()
    table = measure_table(options.times)
    said = (f'{machine()}, load {os.getloadavg()[0]:.1f}; n = {options.times} '
            f'injection{"s" * (options.times > 1)} of each, the slowest counts.')
    page = ROOT / 'docs' / 'safety.md'
    before, _, rest = page.read_text(encoding='utf-8').partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f'{before}{BEGIN}\n{table}\n\n{said}\n{END}{after}', encoding='utf-8')


if __name__ == '__main__':
    main()
