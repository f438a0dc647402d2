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
Let the shipped policy play the same seeds through each backend, in real time, and count.

    bash scripts/interbotix_interfaces.sh && source scripts/interbotix_env.sh
    python scripts/compare_backends.py --episodes 50
    python scripts/compare_backends.py --episodes 1 --only interbotix --stream-hz 50 \
        --plot docs/images/command_stream.png

sim: vla_node commands sim_bridge, in lockstep, as `rlrc demo` does. ros2_control: in real time, on
the topics of the controllers below /wx250s, with stamps that say `now`. interbotix: in real time,
through the fake xs_sdk driver of the tests, which has the simulated arm in its hands. Writes
out/backends.json; `--plot` draws what the driver was told in the first episode against the limits.
Simulated time, the fake motors' too, passes at `--real-time-factor` of the clock's: on a busy
machine less than 1 gives the policy the time that it has on an idle one; the file says which.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
import json
import os
from pathlib import Path
import sys
import tempfile
from time import monotonic

import numpy as np
import rclpy
from rlrc_ros.arm.limits import ARM_JOINTS, JOINT_LOWER_RAD, JOINT_UPPER_RAD
from rlrc_ros.nodes.lifetime import spun
from rlrc_ros.nodes.parameters import defaults
from rlrc_ros.paths import config_file, shipped_checkpoint
from rlrc_ros.vla.checkpoint import inspect
from rlrc_sim.bridge_node import Conductor
from rlrc_training.demo import arguments, BRING_UP_S
from rlrc_training.intervals import rate_with_interval
from rlrc_training.node_process import NodeProcess
from rlrc_training.provenance import machine, source_commit
import yaml

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ('sim', 'ros2_control', 'interbotix')
CONTROLLERS = [f'{part}_controller/joint_trajectory' for part in ('arm', 'gripper')]
EPISODE_S = 120.0


def remapped(*names: str) -> list[str]:
    """Return ROS arguments that put topics below /wx250s."""
    return [word for name in names for word in ('-r', f'{name}:=wx250s/{name}')]


@contextmanager
def driver(domain: int) -> Iterator[object]:
    """Run the fake xs_sdk driver on a thread of this process."""
    sys.path.insert(0, str(ROOT / 'test'))
    try:
        from nodes.xs_relay import XsRelay
    except ModuleNotFoundError as error:
        raise SystemExit(f'{error}. Type:  bash scripts/interbotix_interfaces.sh && source '
                         'scripts/interbotix_env.sh') from error
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, args=[])
    node = XsRelay(context)
    with spun(node):
        yield node


def nodes_of(backend: str, options: argparse.Namespace, folder: Path,
             domain: int) -> list[NodeProcess]:
    """Start vla_node and sim_bridge with what the backend asks for."""
    summary = inspect(options.checkpoint)
    height_px, width_px = summary.image_size_px
    lockstep = backend == 'sim'
    vla_sim = yaml.safe_load(config_file('vla_sim.yaml').read_text(encoding='utf-8'))[
        '/**/vla_node']['ros__parameters']
    environment = {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                   'OMP_NUM_THREADS': '1'}
    policy = {
        'checkpoint': str(summary.folder), 'use_sim_time': True, 'lockstep': lockstep,
        'command_stamp': 'image' if lockstep else 'zero',
        'command_style': 'interbotix' if backend == 'interbotix' else 'joint_trajectory'}
    if lockstep:
        policy['max_inference_s'] = 30.0
    else:  # ages are taken on the steady clock too
        policy |= {name: vla_sim[name] / options.real_time_factor for name in (
            'max_image_age_s', 'max_joint_state_age_s', 'max_inference_s')}
    if not lockstep and options.stream_hz:
        policy['stream_hz'] = options.stream_hz
    arm = {'mode': 'lockstep' if lockstep else 'real_time', 'first_seed': options.first_seed,
           'episodes': options.episodes, 'episode_set': summary.episode_set,
           'image_height_px': height_px, 'image_width_px': width_px,
           'autostart': False, 'start_timeout_s': 300.0, 'step_timeout_s': 30.0,
           'real_time_factor': 1.0 if lockstep else options.real_time_factor,
           'exit_when_done': True}
    ours, theirs = [], []
    if backend == 'ros2_control':
        ours = theirs = remapped('joint_states', *CONTROLLERS)
    elif backend == 'interbotix':
        ours = remapped('joint_states')
    return [
        NodeProcess('vla_node', 'rlrc_ros.nodes.vla_node',
                    [*arguments('vla.yaml', {}), *arguments('vla_sim.yaml', policy), *ours],
                    folder / f'{backend}_vla_node.log', environment),
        NodeProcess('sim_bridge', 'rlrc_sim.bridge_node',
                    [*arguments('sim.yaml', arm), *theirs],
                    folder / f'{backend}_sim_bridge.log', environment)]


def play(backend: str, options: argparse.Namespace, folder: Path) -> tuple[dict, object]:
    """Run the episodes through one backend; return what came of them, and the driver if any."""
    domain = 1 + os.getpid() % 100
    with driver(domain) if backend == 'interbotix' else nullcontext() as xs_sdk:
        nodes = nodes_of(backend, options, folder, domain)

        def check() -> None:
            for node in nodes:
                node.check()
        try:
            with Conductor(domain) as conductor:
                conductor.bring_up(BRING_UP_S, check)
                conductor.begin_episodes(BRING_UP_S, check)
                seen, deadline_s = 0, monotonic() + EPISODE_S
                while conductor.summary is None or len(conductor.results) < options.episodes:
                    check()
                    conductor.listen(0.2)
                    for result in conductor.results[seen:]:
                        print(f'{backend} seed={result["seed"]} success={result["success_once"]} '
                              f'steps={result["steps"]}', flush=True)
                    if len(conductor.results) > seen:
                        seen, deadline_s = len(conductor.results), monotonic() + EPISODE_S
                    if monotonic() > deadline_s:
                        raise SystemExit(f'{backend}: no episode has ended for {EPISODE_S:g} s; '
                                         f'vla_node says {conductor.status}')
                conductor.listen(1.2)
                rates = dict(conductor.diagnostics)
        finally:
            for node in reversed(nodes):
                node.stop()
    return {'episodes': conductor.results, 'vla_node': rates}, xs_sdk


def plot(xs_sdk: object, options: argparse.Namespace) -> None:
    """Draw the first episode's commands: place, speed, acceleration, each with its limit."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    began = [*xs_sdk.episodes_began, len(xs_sdk.commands)]
    first, last = next((a, b) for a, b in zip(began, began[1:]) if b > a)
    times_s, q_rad = (np.array(column) for column in zip(
        *xs_sdk.commands[first:last], strict=True))
    # When the episode is over the simulation stands still, and what is commanded then (the end of
    # the stream, the hold of a node that is told to go) finds an arm that cannot follow.
    runs = times_s < times_s.max()
    times_s, q_rad = times_s[runs], q_rad[runs]
    rate_hz = options.stream_hz or 5.0
    # Over each command's own period: DDS delivers with a jitter that the motors do not see.
    speed, acceleration = np.diff(q_rad, axis=0) * rate_hz, np.diff(q_rad, 2, axis=0) * rate_hz**2
    limits = defaults()
    figure, axes = plt.subplots(3, 1, figsize=(7.5, 6.5), sharex=True, dpi=90)
    middle = (JOINT_UPPER_RAD + JOINT_LOWER_RAD) / 2
    half = (JOINT_UPPER_RAD - JOINT_LOWER_RAD) / 2
    since_s = times_s - times_s[0]
    for axis, values, most, label in (
            (axes[0], (q_rad - middle) / (half - limits['joint_margin_rad']), 1.0,
             'position / allowed range'),
            (axes[1], speed, limits['max_joint_speed_rad_s'], 'speed, rad/s'),
            (axes[2], acceleration, limits['max_joint_acceleration_rad_s2'],
             'acceleration, rad/s²')):
        for joint, name in enumerate(ARM_JOINTS):
            axis.plot(since_s[:len(values)], values[:, joint], lw=0.9, label=name)
        for side in (most, -most):
            axis.axhline(side, color='k', ls='--', lw=0.8)
        axis.set_ylabel(label)
        print(f'{label}: largest {np.abs(values).max():.3f}, limit {most:g}')
    axes[0].legend(ncol=3, fontsize=7, loc='upper right')
    axes[2].set_xlabel(f'seconds; {len(q_rad)} commands at {rate_hz:g} Hz, dashed: the limits')
    figure.tight_layout()
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.plot)


def main() -> int:
    """Play, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--episodes', type=int, default=50)
    parser.add_argument('--checkpoint', type=Path, default=shipped_checkpoint(),
                        help='policy that drives; the shipped one')
    parser.add_argument('--first-seed', type=int, default=0)
    parser.add_argument('--only', choices=BACKENDS, action='append')
    parser.add_argument('--stream-hz', type=float, default=0.0, help='real time only')
    parser.add_argument('--real-time-factor', type=float, default=1.0)
    parser.add_argument('--plot', type=Path, help='interbotix: draw the command stream there')
    parser.add_argument('--out', type=Path, default=Path('out/backends.json'))
    options = parser.parse_args()
    if not 1 <= options.episodes <= 1000:
        parser.error(f'--episodes is {options.episodes}; it must be 1 ... 1000')
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    record = {'commit': source_commit(), 'machine': machine(), 'stream_hz': options.stream_hz,
              'real_time_factor': options.real_time_factor}
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.only or BACKENDS:
            record[backend], xs_sdk = play(backend, options, Path(folder))
            if xs_sdk is not None and options.plot:
                plot(xs_sdk, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
    for backend in options.only or BACKENDS:
        results = record[backend]['episodes']
        print(f'{backend:14}', rate_with_interval(
            sum(result['success_once'] for result in results), len(results)))
    print(f'load {os.getloadavg()[0]:.1f}, {machine()}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
