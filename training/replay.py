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
Run recorded images through a policy offline and compare its actions with the recorded ones.

    rlrc replay runs/episodes/episode_20260101_120000_000000 --checkpoint checkpoints/nano
    rlrc replay runs/demos/episode_0000000001.safetensors

Takes a bag of recorder_node or a demonstration file. Nothing moves. Prints for each of the seven
numbers the mean difference, how far the recording itself goes, and their correlation, and warns
when the axes look exchanged: two stacks that count rotations differently (about the base's axes or
the hand's, SimplerEnv issue 78) agree in translation and swap roll and yaw. `--out` gets the
numbers as JSON.
"""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Annotated

import numpy as np
from rlrc_ros.paths import shipped_checkpoint
from rlrc_ros.types import Observation
from rlrc_ros.vla.checkpoint import inspect
from rlrc_ros.vla.policy import Policy
from rlrc_training.command_line import run_verb
from rlrc_training.data import DemonstrationError, Episode, load_episode
from rlrc_training.import_bags import read_bag
import tyro

NAMES = ('dx', 'dy', 'dz', 'droll', 'dpitch', 'dyaw', 'gripper')
ROLL, YAW = 3, 5
SWAPPED_BELOW = 0.7
"""Roll and yaw count as exchanged when exchanging them makes their error this much smaller."""


@dataclass(frozen=True)
class ReplayConfig:
    """What to compare."""

    recording: Annotated[Path, tyro.conf.Positional]
    """A bag folder of recorder_node, or an episode_*.safetensors."""
    checkpoint: Path | None = None
    """Folder of the checkpoint; none: the shipped one."""
    device: str = 'auto'
    """Where the policy runs."""
    out: Path = Path('out/replay.json')
    """Where the numbers go."""


def compare(recorded: np.ndarray, answered: np.ndarray) -> dict:
    """Return the differences of two action series (T, 7), number by number."""
    rows = {}
    for column, name in enumerate(NAMES):
        a, b = recorded[:, column], answered[:, column]
        flat = a.std() < 1e-9 or b.std() < 1e-9
        rows[name] = {
            'mean_difference': float(np.abs(a - b).mean()), 'recorded_std': float(a.std()),
            'correlation': None if flat else float(np.corrcoef(a, b)[0, 1])}
    return {'steps': len(recorded), 'numbers': rows,
            'roll_and_yaw_look_exchanged': looks_exchanged(recorded, answered)}


def looks_exchanged(recorded: np.ndarray, answered: np.ndarray) -> bool:
    """Tell whether exchanging roll and yaw of one series, either sign, fits the other better."""
    pair, crossed = recorded[:, [ROLL, YAW]], answered[:, [YAW, ROLL]]
    as_is = np.abs(pair - answered[:, [ROLL, YAW]]).sum()
    swapped = min(np.abs(pair - crossed * np.array([i, j])).sum()
                  for i in (1, -1) for j in (1, -1))
    return bool(as_is > 1e-6 and swapped < SWAPPED_BELOW * as_is)


def replay(config: ReplayConfig) -> dict:
    """Compare, print the table, write and return the numbers."""
    folder = config.checkpoint or shipped_checkpoint()
    summary = inspect(folder)
    if len(summary.cameras) > 1 or summary.reads_proprio:
        raise DemonstrationError(
            f'{folder} reads {", ".join(summary.cameras)}'
            f'{" and the state of the arm" * summary.reads_proprio}; a recording has one camera. '
            'Choose a --checkpoint that reads the image alone')
    height_px, _ = summary.image_size_px
    episode = open_recording(config.recording, height_px)
    policy = Policy.open(folder, config.device)
    answered = np.array([
        policy.act(Observation(image, episode.instruction)).actions[0].to_vector()
        for image in episode.images])  # (T, 7)
    outcome = {'recording': str(config.recording), 'checkpoint': str(folder),
               'instruction': episode.instruction, **compare(episode.actions, answered)}
    print(f'{"":10}{"mean difference":>18}{"recorded std":>16}{"correlation":>14}')
    for name, row in outcome['numbers'].items():
        correlation = '-' if row['correlation'] is None else f'{row["correlation"]:.2f}'
        print(f'{name:10}{row["mean_difference"]:18.4f}{row["recorded_std"]:16.4f}'
              f'{correlation:>14}')
    if outcome['roll_and_yaw_look_exchanged']:
        print('roll and yaw look exchanged: the recording counts rotations about other axes than '
              "the base's. See docs/robot.md, 'Which way is roll'")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(outcome, indent=1) + '\n')
    return outcome


def open_recording(path: Path, image_px: int) -> Episode:
    """Return a bag or a demonstration as an episode; raises DemonstrationError."""
    if path.is_dir():
        return read_bag(path, 0, image_px)[0]
    if not path.is_file():
        raise DemonstrationError(f'{path} does not exist; give a bag folder or an episode file')
    episode = load_episode(path)
    if episode.scattered:
        raise DemonstrationError(f'{path} is scattered states, not a recording; give an episode '
                                 'of `rlrc collect` without --scatter')
    return episode


def main(argv: list[str] | None = None) -> int:
    """Compare what the command line names; return the exit status."""
    return run_verb('replay', ReplayConfig, replay, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
