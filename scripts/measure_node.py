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
Measure vla_node's latency, jitter and deadline misses at several control rates, over DDS.

    python scripts/measure_node.py --rates 5 10 20 --seconds 12

The node is a process of its own with the shipped policy and its own parameters, `control_hz` of
the checkpoint apart; this process is camera (at the control rate, a picture never the same twice)
and arm (50 Hz, follows each command). Latency: from the image's stamp to the moment its command is
published (~/timing). Jitter: p95 less p5 of the time between two commands' arrivals. The last two
columns are the node's own counts. Prints a table.
"""

import argparse
import json
import os
from pathlib import Path
import sys
import tempfile
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'test'))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from nodes.vla_rig import Bench  # noqa: E402
import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rlrc_ros.paths import shipped_checkpoint  # noqa: E402
from rlrc_ros.vla.checkpoint import inspect  # noqa: E402
from rlrc_training.demo import arguments  # noqa: E402
from rlrc_training.node_process import NodeProcess  # noqa: E402
from rlrc_training.provenance import machine  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

DOMAIN = 1 + os.getpid() % 100
UP_S = 90.0


class Robot(Bench):
    """Camera and arm; hears the node's timing and diagnostics."""

    def __init__(self, context: rclpy.Context, namespace: str, hz: float, size_px: tuple[int, int],
                 checkpoint: Path) -> None:
        super().__init__(context, namespace)
        self._checkpoint = str(checkpoint)
        self.follows, self._rng, self._size_px = True, np.random.default_rng(0), size_px
        self.timings: list[list[float]] = []
        self.diagnostics: dict[str, str] = {}
        self.ears += [
            self.create_subscription(Float64MultiArray, 'vla_node/timing',
                                     lambda message: self.timings.append(list(message.data)), 10),
            self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)]
        self._callbacks = [(1.0 / hz, self._show), (0.02, self._feel)]

    def begin(self) -> None:
        """Publish from now on."""
        for period_s, callback in self._callbacks:
            self.create_timer(period_s, callback)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {each.key: each.value for each in status.values}
            if values.get('checkpoint') == self._checkpoint:  # /diagnostics is everybody's
                self.diagnostics = values

    def _feel(self) -> None:
        self.show_joints(self.get_clock().now().nanoseconds)

    def _show(self) -> None:
        height, width = self._size_px
        picture = self._rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
        message = Image(height=height, width=width, step=width * 3, encoding='rgb8',
                        data=picture.tobytes())
        message.header.stamp = self.get_clock().now().to_msg()
        self.images.publish(message)


def at_rate(policy: Path, folder: Path, hz: float) -> Path:
    """Return the checkpoint with another control rate, its files linked."""
    own = folder / f'{hz:g}_hz'
    own.mkdir()
    for file in policy.iterdir():
        if file.name != 'config.json':
            (own / file.name).symlink_to(file.resolve())
    document = json.loads((policy / 'config.json').read_text())
    (own / 'config.json').write_text(json.dumps({**document, 'control_hz': hz}))
    return own


def measure(policy: Path, hz: float, seconds: float, folder: Path, runtime: str) -> str:
    """Return one rate's line of the table."""
    checkpoint, namespace = at_rate(policy, folder, hz), f'/measured_{os.getpid()}_{round(hz)}_hz'
    parameters = {'checkpoint': str(checkpoint), 'instruction': 'put carrot on plate',
                  'runtime': runtime, 'max_frozen_image_s': 0.0}
    process = NodeProcess(
        'vla_node', 'rlrc_ros.nodes.vla_node',
        [*arguments('vla.yaml', parameters), '-r', f'__ns:={namespace}'], folder / f'{hz:g}.log',
        {'ROS_DOMAIN_ID': str(DOMAIN), 'OMP_NUM_THREADS': '1'})
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    robot = Robot(context, namespace, hz, inspect(checkpoint).image_size_px, checkpoint)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(robot)

    def spin(until_s: float) -> None:
        while monotonic() < until_s:
            executor.spin_once(timeout_sec=0.05)
            process.check()

    def change(transition: int) -> None:
        deadline_s = monotonic() + UP_S
        while not robot._state_client.service_is_ready():
            if monotonic() > deadline_s:
                raise SystemExit(f'vla_node did not come up; see {process.log}')
            spin(monotonic() + 0.1)
        future = robot._state_client.call_async(robot_request(transition))
        while not future.done() and monotonic() < deadline_s:
            spin(monotonic() + 0.05)
        if not future.done() or not future.result().success:
            raise SystemExit(f'vla_node did not configure; {process.last_words()}')
    try:
        change(Transition.TRANSITION_CONFIGURE)
        robot.begin()
        change(Transition.TRANSITION_ACTIVATE)
        spin(monotonic() + 2.0)  # the first answers
        robot.timings.clear()
        robot.arrived_s.clear()
        before = int(robot.diagnostics.get('missed_deadlines', 0))
        spin(monotonic() + seconds)
        missed = int(robot.diagnostics.get('missed_deadlines', 0)) - before
    finally:
        process.stop()
        executor.shutdown(timeout_sec=2.0)
        robot.destroy_node()
        context.try_shutdown()
    age, inference, overhead = np.array(robot.timings).T * 1e3
    gaps = np.diff(robot.arrived_s) * 1e3
    return (f'| {hz:g} | {len(age)} | {quantiles(age)} | {quantiles(inference)} | '
            f'{quantiles(overhead)} | {np.percentile(gaps, 95) - np.percentile(gaps, 5):.1f} | '
            f'{missed} | {robot.diagnostics.get("gc_pauses")}, '
            f'{robot.diagnostics.get("gc_pause_max_ms")} '
            f'({robot.diagnostics.get("gc_pause_cpu_max_ms")}) |')


def robot_request(transition: int) -> object:
    """Return a request for a lifecycle transition."""
    from lifecycle_msgs.srv import ChangeState
    return ChangeState.Request(transition=Transition(id=transition))


def quantiles(values: np.ndarray) -> str:
    """Return p50 / p95 / p99."""
    return ' / '.join(f'{each:.1f}' for each in np.percentile(values, (50, 95, 99)))


def main() -> None:
    """Measure every rate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--rates', type=float, nargs='+', default=[5.0, 10.0, 20.0])
    parser.add_argument('--seconds', type=float, default=12.0)
    parser.add_argument('--runtime', default='fast')
    parser.add_argument('--checkpoint', type=Path, default=shipped_checkpoint(),
                        help='policy that drives; the shipped one')
    options = parser.parse_args()
    print('| Hz | answers | image to command, ms: p50 / p95 / p99 | inference | node alone | '
          'jitter | missed deadlines | collections: number, '
          'longest ms (own CPU time) |\n|' + '---|' * 8)
    with tempfile.TemporaryDirectory() as folder:
        for hz in options.rates:
            print(measure(options.checkpoint, hz, options.seconds, Path(folder),
                          options.runtime), flush=True)
    print(f'{machine()}; runtime {options.runtime}; load {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
