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
Let the shipped policy drive the simulated arm in real time for long, and watch what grows.

    python scripts/soak.py --minutes 60

Starts sim_bridge (no end of episodes) and vla_node as two processes, samples memory, threads and
open handles of vla_node once a minute (or a tenth of the run), and prints one line a sample and a
verdict. Exit status 1 when handles or threads grew, memory grew by more than 5 percent after the
first fifth of the run, or a node ended.
"""

import argparse
import json
import os
from pathlib import Path
import sys
import tempfile
from time import monotonic

import psutil
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.vla.checkpoint import inspect
from rlrc_sim.bridge_node import Conductor
from rlrc_training.demo import arguments, BRING_UP_S
from rlrc_training.node_process import NodeProcess
from rlrc_training.provenance import machine

LARGEST_GROWTH = 1.05
COUNTED = ('missed_deadlines', 'steps_hz', 'steps_total', 'overhead_p50_ms', 'overhead_p95_ms',
           'inference_p50_ms', 'inference_p95_ms')


def sample(process: psutil.Process, conductor: Conductor, began_s: float) -> dict:
    """Return one line of the log."""
    return {
        'minutes': round((monotonic() - began_s) / 60, 2),
        'rss_mib': round(process.memory_info().rss / 2**20, 1),
        'threads': process.num_threads(), 'handles': process.num_fds(),
        'episodes': len(conductor.results), 'load': round(os.getloadavg()[0], 1),
        **{name: conductor.diagnostics.get(name) for name in COUNTED}}


def verdict(samples: list[dict]) -> list[str]:
    """Return what grew; nothing where the run was flat."""
    warm, last = samples[len(samples) // 5], samples[-1]
    grown = [f'{name} {warm[name]} -> {last[name]}' for name in ('threads', 'handles')
             if last[name] > warm[name]]
    if last['rss_mib'] > LARGEST_GROWTH * warm['rss_mib']:
        grown.append(f'rss_mib {warm["rss_mib"]} -> {last["rss_mib"]}')
    return grown


def soak(minutes: float, checkpoint: Path, folder: Path) -> int:
    """Run, print, return the exit status."""
    domain = 1 + os.getpid() % 100
    summary = inspect(checkpoint)
    height_px, width_px = summary.image_size_px
    environment = {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                   'OMP_NUM_THREADS': '1'}
    policy = {'checkpoint': str(summary.folder), 'use_sim_time': True, 'lockstep': False}
    arm = {'mode': 'real_time', 'episodes': 0, 'episode_set': summary.episode_set,
           'image_height_px': height_px, 'image_width_px': width_px, 'autostart': False,
           'start_timeout_s': 300.0}
    vla_node = NodeProcess(
        'vla_node', 'rlrc_ros.nodes.vla_node',
        [*arguments('vla.yaml', {}), *arguments('vla_sim.yaml', policy)],
        folder / 'vla_node.log', environment)
    sim_bridge = NodeProcess('sim_bridge', 'rlrc_sim.bridge_node', arguments('sim.yaml', arm),
                             folder / 'sim_bridge.log', environment)

    def check() -> None:
        vla_node.check()
        sim_bridge.check()
    samples: list[dict] = []
    try:
        with Conductor(domain) as conductor:
            conductor.bring_up(BRING_UP_S, check)
            conductor.begin_episodes(BRING_UP_S, check)
            process = psutil.Process(vla_node.pid)
            began_s = monotonic()
            pause_s = min(60.0, minutes * 6.0)
            while (monotonic() - began_s) / 60 < minutes:
                conductor.listen(pause_s)
                check()
                samples.append(sample(process, conductor, began_s))
                print(json.dumps(samples[-1]), flush=True)
    finally:
        for node in (sim_bridge, vla_node):
            node.stop()
    grown = verdict(samples)
    print(f'{machine()}: ' + ('flat' if not grown else 'grew: ' + ', '.join(grown)))
    return 1 if grown else 0


def main() -> int:
    """Parse the command line and soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--minutes', type=float, default=60.0)
    parser.add_argument('--checkpoint', type=Path, default=shipped_checkpoint(),
                        help='policy that drives; the shipped one')
    options = parser.parse_args()
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    with tempfile.TemporaryDirectory() as folder:
        return soak(options.minutes, options.checkpoint, Path(folder))


if __name__ == '__main__':
    sys.exit(main())
