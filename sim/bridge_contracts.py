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
What the rooms of sim_bridge tell each other: the topics an episode speaks on, its result.

Plain Python. The node implements `ArmTopics`; an episode runs without knowing of ROS.
"""

from dataclasses import asdict, dataclass
import json
from typing import Protocol, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the simulator takes seconds to import, and who only listens needs none
    from rlrc_sim.world import JointState


class ArmTopics(Protocol):
    """What a run of episodes says to the outside. Stamps: simulated time, nanoseconds."""

    def publish_clock(self, stamp_ns: int) -> None:
        """Say what time it is in the simulation."""

    def publish_joint_state(self, stamp_ns: int, joints: 'JointState') -> None:
        """Say where the joints are."""

    def publish_image(self, stamp_ns: int, image: np.ndarray) -> None:
        """Show what the camera sees, uint8 (H, W, 3)."""

    def announce(self, episode_id: int, instruction: str) -> None:
        """Say that an episode begins, and return when the subscribers know."""

    def warn(self, text: str) -> None:
        """Tell the user."""

    def publish_result(self, result: 'EpisodeResult') -> None:
        """Say what an episode came to."""

    def publish_summary(self, summary: dict) -> None:
        """Say what all episodes came to."""


class NobodyAnswers(Exception):
    """No command has ever come; the text says what to look at."""


@dataclass(frozen=True)
class EpisodeResult:
    """What ~/episode_result carries, as JSON."""

    episode: int
    """Number of the episode in this run, from 1."""
    seed: int
    instruction: str
    """What was published (the override, where there is one)."""
    task: str
    """What success was judged by."""
    success_once: bool
    success_at_end: bool | None
    """Success at step max_steps; None where the episode ended earlier, so that nobody knows."""
    grasped: bool
    steps: int
    ended_by: str
    """`success`, `max_steps`, `no_command` or `reset`."""
    wall_s: float
    """From the first image to the last step, on the wall clock."""
    control_hz: float
    """Steps per second of the wall clock."""
    timeouts: int
    """Lockstep: how often an answer was waited for in vain."""
    rejected_commands: int
    """Trajectories refused during this episode."""

    def to_json(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))
