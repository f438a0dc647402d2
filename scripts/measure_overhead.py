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
Measure what vla_node adds to its model's time: image in to command out, over DDS.

    python scripts/measure_overhead.py --steps 600

vla_node runs in a process of its own, as it always does, with a policy that answers at once. This
process is camera, joints and arm: it shows an image, waits for the command that answers it, and
shows the next. Two spans, in milliseconds: `node`, from the image callback to the published
command, as ~/timing reports it; and `round trip`, from publishing the image here to the command's
arrival here, which has DDS and this process in it as well.
"""

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'test'))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

from lifecycle_msgs.msg import Transition  # noqa: E402
from nodes.vla_rig import Bench, DOMAIN, ScriptedPolicy, Summary, wait_for  # noqa: E402
import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from rlrc_ros.nodes import vla_node  # noqa: E402
from rlrc_ros.nodes.lifetime import spun  # noqa: E402
from rlrc_ros.types import Action, ActionChunk  # noqa: E402
from rlrc_training.provenance import machine  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

NAMESPACE = '/overhead'
STILL = ActionChunk((Action(np.zeros(3), np.zeros(3), 1.0),))
WARM_UP_STEPS = 20


def node_process(size_px: int) -> int:
    """Be vla_node, with a policy that costs nothing."""
    def make() -> vla_node.VlaNode:
        return vla_node.VlaNode(
            open_policy=lambda *_, **__: ScriptedPolicy(lambda seen: STILL),
            inspect_checkpoint=lambda folder: Summary(image_size_px=(size_px, size_px)))
    return vla_node.main([
        'vla_node', '--ros-args', '-r', f'__ns:={NAMESPACE}', '-p', 'lockstep:=true', '-p',
        'command_stamp:=image', '-p', 'checkpoint:=none', '-p', 'instruction:=go', '-p',
        'max_frozen_image_s:=0.0'], make)


def measure(bench: Bench, steps: int) -> tuple[list[float], list[float]]:
    """Return the node's spans and the round trips of `steps` steps, in seconds."""
    spans_s, trips_s = [], []
    bench.create_subscription(
        Float64MultiArray, 'vla_node/timing',
        lambda message: spans_s.append(message.data[2]), 10)
    assert bench.change_state(Transition.TRANSITION_CONFIGURE)
    bench.wait_matched()
    assert bench.change_state(Transition.TRANSITION_ACTIVATE)
    for step in range(WARM_UP_STEPS + steps):
        bench.show_joints(step * 200_000_000)
        sent_s = monotonic()
        bench.show_image(step * 200_000_000)
        wait_for(lambda step=step: len(bench.arm_commands) > step)
        trips_s.append(bench.arrived_s[step] - sent_s)
    wait_for(lambda: len(spans_s) >= WARM_UP_STEPS + steps)
    return spans_s[WARM_UP_STEPS:], trips_s[WARM_UP_STEPS:]


def main() -> int:
    """Start the node, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--size-px', type=int, default=128, help='of the square image')
    parser.add_argument('--as-node', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_node:
        return node_process(options.size_px)
    process = subprocess.Popen(
        [sys.executable, __file__, '--as-node', '--size-px', str(options.size_px)],
        stderr=subprocess.DEVNULL, env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)})
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    bench = Bench(context, NAMESPACE)
    bench.size_px = (options.size_px, options.size_px)
    with spun(bench):
        try:
            spans = measure(bench, options.steps)
        finally:
            process.terminate()
            process.wait(10)
    for name, values_s in zip(('node', 'round trip'), spans, strict=True):
        p50, p95, p99 = np.percentile(np.array(values_s) * 1e3, (50, 95, 99))
        print(json.dumps({'span': name, 'n': len(values_s), 'p50_ms': round(p50, 2),
                          'p95_ms': round(p95, 2), 'p99_ms': round(p99, 2),
                          'image_px': options.size_px, 'load': round(os.getloadavg()[0], 1),
                          'machine': machine()}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
