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
Measure what a step of the suite costs: ours against plain ManiSkill, and by number of processes.

    python scripts/measure_suite.py [--steps 20] [--rounds 5] [--processes 1 2]

All rows run in turns, so that what else the machine does falls on all of them alike. Wall time
swings on a shared machine; processor time a step (all threads, child processes included) hardly
does, and is what the ratios rest on. With RLRC_ASSETS set, ManiSkill's own
PutCarrotOnPlateInScene-v1 is stepped as ManiSkill has it and through `World`: the same scene.
"""

import argparse
from collections.abc import Callable
import os
import statistics
import time

from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.envs.tasks import PutCarrotOnPlateInScene
import numpy as np
import psutil
from rlrc_ros.types import Action
from rlrc_sim import assets
from rlrc_sim.put_on_plate_25 import PutOnPlate25
from rlrc_sim.rollout import WorldPool
from rlrc_sim.world import World

SIZE_PX = (480, 640)
STEPS_AN_EPISODE = 60
"""Steps after which a row begins its episode anew; the reset is not timed."""
Row = tuple[Callable[[], None], Callable[[], None], int]
"""(begin an episode, let one step pass, environments that step)."""


def _delta_m(step: int) -> float:
    return 0.004 if step % 10 < 5 else -0.004


def plain_row(environment: type[BaseEnv], gripper: float, **options: object) -> Row:
    """Return a row that steps a ManiSkill environment with nothing around it."""
    env = environment(num_envs=1, obs_mode='rgb+segmentation', sim_backend='physx_cpu',
                      render_backend='cpu', **options)
    count = iter(range(10**9))

    def step() -> None:
        env.step(np.array([0, 0, _delta_m(next(count)), 0, 0, 0, gripper], np.float32))
    return lambda: env.reset(seed=0), step, 1


def world_row(episode_set: str) -> Row:
    """Return a row that steps a World of this process."""
    world, count = World(SIZE_PX, episode_set=episode_set), iter(range(10**9))
    return (lambda: world.reset(0, episode_set), lambda: world.step(
        Action(np.array([0, 0, _delta_m(next(count))]), np.zeros(3), 1.0)), 1)


def pool_row(pool: WorldPool, episode_set: str) -> Row:
    """Return a row that steps all worlds of a pool together."""
    count = iter(range(10**9))

    def ask(verb: str, *arguments: object) -> None:
        for index in range(len(pool)):
            pool.send(index, verb, *arguments)
        for index in range(len(pool)):
            pool.receive(index)

    return (lambda: ask('reset', 0, episode_set), lambda: ask(
        'step', Action(np.array([0, 0, _delta_m(next(count))]), np.zeros(3), 1.0)), len(pool))


def cpu_s() -> float:
    """Return the processor seconds of this process and its children so far."""
    each = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in each)


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--steps', type=int, default=20, help='steps of a row in each round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--processes', type=int, nargs='*', default=[1, os.cpu_count() or 1])
    options = parser.parse_args()
    rows: dict[str, Row] = {
        'put25_ind, ManiSkill alone': plain_row(
            PutOnPlate25, 0.038, control_mode='ee', image_size_px=SIZE_PX),
        'put25_ind, World': world_row('put25_ind')}
    if os.environ.get(assets.VARIABLE):
        # World is first: making one points ManiSkill at the assets.
        world = world_row('bridge_put_carrot')
        rows['PutCarrotOnPlateInScene-v1, ManiSkill alone'] = plain_row(
            PutCarrotOnPlateInScene, 1.0)
        rows['PutCarrotOnPlateInScene-v1, World'] = world
        rows['official_ind, World'] = world_row('official_ind')
    pools = [WorldPool(count, SIZE_PX, episode_set='put25_ind')
             for count in dict.fromkeys(options.processes)]
    rows |= {f'put25_ind, {len(pool)} process(es)': pool_row(pool, 'put25_ind') for pool in pools}
    wall, cpu = ({name: [] for name in rows} for _ in range(2))
    for turn in range(options.rounds):
        for name, (begin, step, count) in rows.items():
            if turn * options.steps % STEPS_AN_EPISODE < options.steps:
                begin()
            step()
            started, busy = time.perf_counter(), cpu_s()
            for _ in range(options.steps):
                step()
            wall[name].append(count * options.steps / (time.perf_counter() - started))
            cpu[name].append(1e3 * (cpu_s() - busy) / (count * options.steps))
    for pool in pools:
        pool.close()
    print(f'{options.rounds} rounds of {options.steps} steps, {SIZE_PX[1]} x {SIZE_PX[0]}, '
          f'load {os.getloadavg()[0]:.1f}\n| row | steps/s, median (least ... most) | '
          'processor ms a step, median |\n|---|---|---|')
    for name in rows:
        print(f'| {name} | {statistics.median(wall[name]):.1f} ({min(wall[name]):.1f} ... '
              f'{max(wall[name]):.1f}) | {statistics.median(cpu[name]):.1f} |')


if __name__ == '__main__':
    main()
