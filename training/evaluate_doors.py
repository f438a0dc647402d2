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
The doors of `rlrc evaluate`: what cannot be evaluated is refused before a world is made.

Too many worlds for the memory, action statistics of another robot or unit, cameras or a robot
state that the worlds do not show. Metres, radians, bytes.
"""

import hashlib
from pathlib import Path

import numpy as np
import psutil
from rlrc_ros.vla.checkpoint import CheckpointSummary, inspect
from rlrc_ros.vla.config import MAIN_CAMERA, PROPRIO_LAYOUTS
from rlrc_sim.libero import LIBERO_CAMERAS, LIBERO_PROPRIO

PROCESS_BYTES = 900_000_000
"""What a process with one world needs (resident, 640 x 480, software renderer; rounded up)."""
WHOLE_BYTES = 2**28
"""Files up to this size are hashed whole; one of 5 GB is known by its two ends."""
LARGEST_STEP_M, LARGEST_STEP_RAD = 0.25, 1.6
"""Action statistics beyond these are not this arm's deltas of 0.2 s: joint angles, or another
unit. BridgeData's largest are 0.04 m and 0.21 rad."""
LARGEST_LIBERO = 1.001
"""LIBERO's controller takes -1 ... 1 in each number; its data sets stay within."""


def check_memory(processes: int, process_bytes: int = PROCESS_BYTES, worlds: int = 0,
                 world_bytes: int = 0) -> None:
    """Raise ValueError if so many processes, or worlds in them, exceed the free memory."""
    free = psutil.virtual_memory().available
    needed = processes * process_bytes + worlds * world_bytes
    if needed <= free:
        return
    if processes * process_bytes > free:
        advice = f'use --processes {max(1, int(free // process_bytes))}'
    else:
        advice = ('use --worlds '
                  f'{max(1, int((free - processes * process_bytes) // world_bytes))}')
    raise ValueError(f'{max(worlds, processes)} worlds in {processes} processes need about '
                     f'{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; {advice}')


def check_statistics(checkpoint: Path, unnorm_key: str | None, libero: bool = False) -> None:
    """
    Raise ValueError if a checkpoint's actions cannot be those that the worlds take.

    :param libero: LIBERO's -1 ... 1, instead of this arm's deltas of 0.2 s
    """
    stats = inspect(checkpoint).norm_stats
    for key in [unnorm_key] if unnorm_key in stats else stats:
        low, high = stats[key].q01, stats[key].q99
        if len(low) != 7:
            raise ValueError(f'the statistics {key!r} of {checkpoint} have {len(low)} numbers an '
                             'action; the suite takes 7: xyz, rpy, gripper')
        reach = np.maximum(np.abs(low), np.abs(high))
        limits = ((('delta', reach[:6], LARGEST_LIBERO),) if libero else (
            ('translation', reach[:3], LARGEST_STEP_M),
            ('rotation', reach[3:6], LARGEST_STEP_RAD)))
        for name, part, limit in limits:
            if part.max() > limit:
                raise ValueError(
                    f'the statistics {key!r} of {checkpoint} reach a {name} of {part.max():.3g} '
                    f'in one step{"" if libero else " of 0.2 s"}; deltas stay below {limit}. '
                    'Choose the data set that fits with --unnorm-key '
                    f'(there are: {", ".join(stats)})')


def check_senses(summary: CheckpointSummary, libero: bool = False) -> None:
    """
    Refuse a policy that reads what the simulated world does not show.

    :raises ValueError: further cameras, or a robot state whose layout is not said or not given
    """
    cameras = len(LIBERO_CAMERAS) if libero else 1
    if len(summary.cameras) > cameras or summary.cameras[0] != MAIN_CAMERA:
        has = ('LIBERO has two (one at the wrist). Evaluate a policy with one or two cameras'
               if libero else
               'the simulated world has one. Evaluate a policy with one camera')
        raise ValueError(f'the policy reads the cameras {", ".join(summary.cameras)}; {has}')
    if not summary.reads_proprio:
        return
    if not summary.proprio_layout:
        fitting = [name for name, dim in PROPRIO_LAYOUTS.items() if dim == summary.proprio_dim]
        raise ValueError(f'the policy reads {summary.proprio_dim} numbers of robot state, and '
                         'its config.json does not say which. Add proprio_layout, one of: '
                         f'{", ".join(fitting) or "none has that length"}')
    if libero and summary.proprio_layout != LIBERO_PROPRIO:
        raise ValueError(f'the policy reads the robot state {summary.proprio_layout!r}; LIBERO '
                         f'gives {LIBERO_PROPRIO!r}. Evaluate a policy that was trained on it')


def fingerprint(checkpoint: Path) -> str:
    """Return a hash of a checkpoint's files: whole up to WHOLE_BYTES, else size and both ends."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.iterdir()):
        if path.suffix not in ('.json', '.safetensors', '.pt') or path.name == 'provenance.json':
            continue
        size = path.stat().st_size
        digest.update(f'{path.name} {size} '.encode())
        with path.open('rb') as file:
            if size > WHOLE_BYTES:
                digest.update(file.read(2**20))
                file.seek(size - 2**20)
            digest.update(file.read())
    return digest.hexdigest()[:16]
