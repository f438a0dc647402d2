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
What sim_bridge can be told: one dataclass whose fields are the node's parameters.

Each field carries its description and its bounds; the node declares its ROS parameters from them,
so that name, type, default, bounds and text stand in one place. `config/sim.yaml` repeats the
defaults with comments, and a test holds the two together. Plain Python, no rclpy.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from rlrc_ros.arm.limits import ARM_JOINTS

MODES = ('lockstep', 'real_time')
SLICE_S = 0.02
"""In real time physics advances by this much between two looks at the command topics."""
CONTROL_PERIOD_S = 0.2
"""One control step: what a command is given to act, and how often the task is judged."""
FINGER_JOINTS = ('left_finger', 'right_finger')
MAX_RECORDED_EPISODES = 1000


def _parameter(default: Any, description: str, low: float | None = None,
               high: float | None = None) -> Any:
    bounds = {} if low is None else {'low': low, 'high': high}
    return field(default=default, metadata={'description': description, **bounds})


@dataclass(frozen=True)
class BridgeSettings:
    """
    The parameters of sim_bridge.

    :raises ValueError: a value outside its bounds; the message names the parameter and the values
        that are allowed
    """

    mode: str = _parameter(
        'lockstep', 'lockstep: wait for the command that answers each image, so a run repeats '
        'exactly. real_time: time passes whether a command comes or not, as with a real arm.')
    first_seed: int = _parameter(0, 'Seed of the first episode; the next ones count up.',
                                 0, 2**31 - 1)
    episodes: int = _parameter(5, 'How many episodes to run; 0 means no end.', 0, 1_000_000)
    episode_set: str = _parameter('ind', 'Family of episodes (rlrc_sim.suites.EPISODE_SETS).')
    distinct_instructions: bool = _parameter(
        False, 'Skip a seed whose instruction has already been given in this run.')
    instruction: str = _parameter(
        '', 'Sentence to publish instead of what the task says; empty: what it says. '
        'Success is judged by the task either way.')
    image_height_px: int = _parameter(
        0, 'Height of the published image; 0: 128. Launchers set what the checkpoint reads.',
        0, 2160)
    image_width_px: int = _parameter(0, 'Width of the published image; 0: 128.', 0, 3840)
    max_steps: int = _parameter(80, 'Control steps (0.2 s each) after which an episode ends.',
                                1, 10_000)
    stop_on_success: bool = _parameter(
        True, 'End an episode at its first success; false: run all max_steps, so that '
        'success_at_end is known too.')
    autostart: bool = _parameter(
        True, 'Begin as soon as somebody publishes commands; false: begin on ~/reset.')
    start_timeout_s: float = _parameter(
        120.0, 'How long to wait for the very first command before giving up.', 1.0, 86_400.0)
    step_timeout_s: float = _parameter(
        5.0, 'Lockstep: how long to wait for an answer before saying so and showing the image '
        'again.', 0.1, 3600.0)
    max_timeouts: int = _parameter(
        3, 'Lockstep: timeouts within one episode after which it ends as a failure.', 1, 1000)
    joint_state_hz: float = _parameter(50.0, 'Rate of joint_states and /clock.', 1.0, 50.0)
    image_hz: float = _parameter(
        5.0, 'Real time: rate of the image; 50 divided by it is a whole number.', 1.0, 50.0)
    real_time_factor: float = _parameter(
        1.0, 'Real time: simulated seconds per second of the wall clock.', 0.05, 20.0)
    record: bool = _parameter(False, 'Write a video of what the camera saw.')
    record_path: str = _parameter(
        'out/episodes', 'Where the video goes, without its ending: .mp4 and .gif are added.')
    exit_when_done: bool = _parameter(False, 'End the process after the last episode.')
    arm_joint_names: tuple[str, ...] = _parameter(
        ARM_JOINTS, 'The joints of the arm in commands and joint_states, base to wrist.')
    gripper_joint_names: tuple[str, ...] = _parameter(
        FINGER_JOINTS, 'The fingers: the first is commanded, the second may come along.')

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value, bounds = getattr(self, parameter.name), parameter.metadata
            if 'low' in bounds and not bounds['low'] <= value <= bounds['high']:
                raise ValueError(f'{parameter.name} is {value}; it must lie within '
                                 f'{bounds["low"]} ... {bounds["high"]}')
        if self.mode not in MODES:
            raise ValueError(f'mode {self.mode!r} is not known; set mode to one of: '
                             f'{", ".join(MODES)}')
        if (self.image_height_px == 0) != (self.image_width_px == 0):
            raise ValueError(
                f'image_height_px is {self.image_height_px} and image_width_px is '
                f'{self.image_width_px}; set both, or leave both at 0')
        self._check_rate('image_hz')
        self._check_rate('joint_state_hz')
        if len(self.arm_joint_names) != len(ARM_JOINTS) or len(set(self.arm_joint_names)) != 6:
            raise ValueError(f'arm_joint_names needs six different names, such as '
                             f'{list(ARM_JOINTS)}; got {list(self.arm_joint_names)}')
        if len(self.gripper_joint_names) != 2:
            raise ValueError(f'gripper_joint_names needs two names, such as '
                             f'{list(FINGER_JOINTS)}; got {list(self.gripper_joint_names)}')
        if self.record and not 1 <= self.episodes <= MAX_RECORDED_EPISODES:
            raise ValueError(f'record needs 1 ... {MAX_RECORDED_EPISODES} episodes, got '
                             f'episodes {self.episodes}; set episodes or record:=false')

    def _check_rate(self, name: str) -> None:
        slices = 1.0 / (SLICE_S * getattr(self, name))
        if abs(slices - round(slices)) > 1e-6:
            raise ValueError(f'{name} is {getattr(self, name)}; 50 divided by it must be a '
                             f'whole number, such as 5, 10, 25 or 50')

    @property
    def image_size_px(self) -> tuple[int, int]:
        """Return (height, width) of the image, the default filled in."""
        return (self.image_height_px or 128, self.image_width_px or 128)

    @property
    def slices_per_image(self) -> int:
        """Return how many physics slices lie between two images in real time."""
        return round(1.0 / (SLICE_S * self.image_hz))

    @property
    def slices_per_joint_state(self) -> int:
        """Return how many physics slices lie between two joint states in real time."""
        return round(1.0 / (SLICE_S * self.joint_state_hz))

    @property
    def is_lockstep(self) -> bool:
        """Return whether the simulation waits for the command that answers each image."""
        return self.mode == 'lockstep'
