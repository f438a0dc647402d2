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
One episode of the simulated arm, in lockstep or in real time.

In lockstep the world stands still until both commands that answer the present image have come;
only then 0.2 s of physics pass, so a slow machine, or a slow answer, changes nothing and the same
commands give the same episode. In real time physics advances in slices of 20 ms by the wall
clock, whatever comes or does not come. An episode's steps count from its first command, so that a
policy that is still starting loses nothing. Plain Python: the topics are behind `ArmTopics`.
"""

from dataclasses import dataclass, field
import time
from typing import TYPE_CHECKING

import numpy as np
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M
from rlrc_ros.types import Observation
from rlrc_sim.bridge_commands import CommandInbox, JointCommand, ResetRequested
from rlrc_sim.bridge_contracts import ArmTopics, EpisodeResult, NobodyAnswers
from rlrc_sim.bridge_settings import BridgeSettings, CONTROL_PERIOD_S, SLICE_S

if TYPE_CHECKING:  # the simulator takes seconds to import, and who only listens needs none
    from rlrc_sim.world import Step, World

SLICES_PER_STEP = round(CONTROL_PERIOD_S / SLICE_S)
CLOCK_START_NS = 1_000_000_000
"""The simulated clock begins at 1 s: to ROS, a clock at zero is a clock that is not set."""
RETRY_NS = 1_000_000
"""How far the clock moves between two attempts to begin an episode, so that their images have
different stamps."""
SLIP_S = 0.5
"""In real time, a lag behind the wall clock beyond this is given up, not caught up."""


@dataclass
class _Progress:
    """The running episode, while it runs."""

    began_s: float
    frames: list[np.ndarray] = field(default_factory=list)
    step: 'Step | None' = None
    steps: int = 0
    timeouts: int = 0
    ended_by: str = 'max_steps'


class EpisodeRunner:
    """
    Run episodes one after another in one world.

    :param world: made with control='joint'
    :param topics: where to speak
    :param inbox: where commands and requests arrive
    """

    def __init__(self, world: 'World', topics: ArmTopics, inbox: CommandInbox,
                 settings: BridgeSettings):
        self._world, self._topics, self._inbox = world, topics, inbox
        self._settings = settings
        self._clock_offset_ns = CLOCK_START_NS
        self._episode_id = 0
        self._ever_commanded = False

    # ---------------------------------------------------------------- episode

    def run(self, episode: int, seed: int) -> tuple[EpisodeResult, list[np.ndarray]]:
        """
        Run the episode with this seed to its end; return its result and the camera's frames.

        :raises NobodyAnswers: not one command has come since the start
        :raises ShutdownRequested: the process shall end
        """
        observation = self._world.reset(seed, self._settings.episode_set)
        task = self._world.instruction
        instruction = self._settings.instruction or task
        rejected_before = self._inbox.rejected
        progress = _Progress(time.monotonic(), [observation.image])
        self._inbox.begin_episode()
        try:
            if self._settings.is_lockstep:
                self._lockstep(observation, instruction, progress)
            else:
                self._real_time(observation, instruction, progress)
        except ResetRequested:
            progress.ended_by = 'reset'
        result = self._result(episode, seed, instruction, task, progress,
                              self._inbox.rejected - rejected_before)
        return result, progress.frames

    def _result(self, episode: int, seed: int, instruction: str, task: str,
                progress: _Progress, rejected: int) -> EpisodeResult:
        step, wall_s = progress.step, time.monotonic() - progress.began_s
        finished = progress.steps >= self._settings.max_steps
        return EpisodeResult(
            episode=episode, seed=seed, instruction=instruction, task=task,
            success_once=step is not None and step.success_once,
            success_at_end=step.success if step is not None and finished else None,
            grasped=step is not None and step.grasped, steps=progress.steps,
            ended_by=progress.ended_by, wall_s=round(wall_s, 3),
            control_hz=round(progress.steps / wall_s, 3) if wall_s > 0 else 0.0,
            timeouts=progress.timeouts, rejected_commands=rejected)

    def _over(self, step: 'Step', progress: _Progress) -> bool:
        """Take a step into account; return whether the episode ends with it."""
        progress.step, progress.steps = step, progress.steps + 1
        progress.frames.append(step.observation.image)
        if step.success and self._settings.stop_on_success:
            progress.ended_by = 'success'
            return True
        return progress.steps >= self._settings.max_steps

    # ------------------------------------------------------------------ begin

    def _stamp_ns(self, simulated_s: float) -> int:
        return self._clock_offset_ns + round(simulated_s * 1e9)

    def _show(self, observation: Observation) -> int:
        """Publish one moment, joints before image, and return the stamp that both carry."""
        stamp_ns = self._stamp_ns(observation.stamp_s)
        self._topics.publish_clock(stamp_ns)
        self._topics.publish_joint_state(stamp_ns, self._world.joint_state())
        self._topics.publish_image(stamp_ns, observation.image)
        return stamp_ns

    def _begin(self, observation: Observation, instruction: str) -> int:
        """
        Announce the episode, show its first moment and return that moment's stamp.

        The joints come before the announcement as well: whoever resets a target to the measured
        pose when the episode changes must not find the pose of the episode before.
        """
        self._episode_id += 1
        self._clock_offset_ns += RETRY_NS
        stamp_ns = self._stamp_ns(observation.stamp_s)
        self._topics.publish_clock(stamp_ns)
        self._topics.publish_joint_state(stamp_ns, self._world.joint_state())
        self._topics.announce(self._episode_id, instruction)
        return self._show(observation)

    def _patience_s(self) -> float:
        """Return how long an episode may wait for its first command."""
        if not self._ever_commanded:
            return self._settings.start_timeout_s
        return self._settings.step_timeout_s * self._settings.max_timeouts

    def _nobody(self) -> NobodyAnswers:
        return NobodyAnswers(
            f'no command has come within start_timeout_s {self._settings.start_timeout_s:g} s. Is '
            f'vla_node active? Look at its ~/status. A policy that needs longer than '
            f'step_timeout_s {self._settings.step_timeout_s:g} s for an answer needs a larger one')

    # --------------------------------------------------------------- lockstep

    def _lockstep(self, observation: Observation, instruction: str,
                  progress: _Progress) -> None:
        stamp_ns = self._begin_in_lockstep(observation, instruction, progress)
        while stamp_ns is not None:
            command = self._answer(stamp_ns, observation, progress)
            if command is None:
                return
            step = self._world.step_joints(command.arm_rad, command.finger_m)
            if self._over(step, progress):
                return
            observation = step.observation
            stamp_ns = self._show(observation)

    def _begin_in_lockstep(self, observation: Observation, instruction: str,
                           progress: _Progress) -> int | None:
        """
        Begin, again and again until the first image is answered; None: nobody answers.

        A node that was not ready for the first image can take a later one. Each attempt is a new
        episode to the node (its target starts afresh) with a new stamp, so that no answer to an
        earlier attempt is mixed in.
        """
        deadline = time.monotonic() + self._patience_s()
        while True:
            stamp_ns = self._begin(observation, instruction)
            progress.began_s = time.monotonic()
            wait_s = min(self._settings.step_timeout_s, deadline - time.monotonic())
            if self._inbox.wait_answer(stamp_ns, wait_s) is not None:
                self._ever_commanded = True
                return stamp_ns
            if time.monotonic() >= deadline:
                if not self._ever_commanded:
                    raise self._nobody()
                progress.ended_by = 'no_command'
                return None
            progress.timeouts += 1
            self._say_unanswered(stamp_ns, progress)

    def _answer(self, stamp_ns: int, observation: Observation,
                progress: _Progress) -> JointCommand | None:
        """
        Return the command that answers the image, or None after too many timeouts.

        After a timeout the same moment is shown again with the *same* stamp: a late answer still
        counts, and as no physics passed meanwhile, the episode goes on as if it had been early.
        """
        for attempt in range(self._settings.max_timeouts):
            command = self._inbox.wait_answer(stamp_ns, self._settings.step_timeout_s)
            if command is not None:
                return command
            progress.timeouts += 1
            self._say_unanswered(stamp_ns, progress)
            if attempt + 1 < self._settings.max_timeouts:
                self._show(observation)
        progress.ended_by = 'no_command'
        return None

    def _say_unanswered(self, stamp_ns: int, progress: _Progress) -> None:
        """Warn at the first timeout of an episode, not at each."""
        if progress.timeouts > 1:
            return
        stamps = self._inbox.newest_stamps_ns()
        seen = ', '.join(f'{part} stamped {stamp / 1e9:.3f}' for part, stamp in stamps.items())
        self._topics.warn(
            f'no answer step={progress.steps} image_stamp={stamp_ns / 1e9:.3f} '
            f'waited_s={self._settings.step_timeout_s:g} newest_commands=[{seen or "none"}]; the '
            f'simulation stands still. Is vla_node active, and not stopped? See its ~/status')

    # -------------------------------------------------------------- real time

    def _real_time(self, observation: Observation, instruction: str,
                   progress: _Progress) -> None:
        settings, world = self._settings, self._world
        began_ns = self._begin(observation, instruction)
        joints = world.joint_state()
        arm_rad = joints.position[:6]
        finger_m = float(np.clip(joints.position[6], FINGER_CLOSED_M, FINGER_OPEN_M))
        deadline = time.monotonic() + self._patience_s()
        pace = _Pace(SLICE_S / settings.real_time_factor, self._inbox)
        simulated_s, slices, moving = observation.stamp_s, 0, False
        while True:
            command = self._inbox.newest_since(began_ns)
            if command.arm_rad is not None or command.finger_m is not None:
                if not moving:
                    moving, slices, progress.began_s = True, 0, time.monotonic()
                    self._ever_commanded = True
                arm_rad = arm_rad if command.arm_rad is None else command.arm_rad
                finger_m = finger_m if command.finger_m is None else command.finger_m
            elif time.monotonic() > deadline:
                if not self._ever_commanded:
                    raise self._nobody()
                progress.ended_by = 'no_command'
                return
            world.set_joint_targets(arm_rad, finger_m)
            world.advance(SLICE_S)
            simulated_s, slices = simulated_s + SLICE_S, slices + 1
            if slices % settings.slices_per_joint_state == 0:
                stamp_ns = self._stamp_ns(simulated_s)
                self._topics.publish_clock(stamp_ns)
                self._topics.publish_joint_state(stamp_ns, world.joint_state())
            seen = None
            if moving and slices % SLICES_PER_STEP == 0:
                step = world.judge()
                seen = step.observation
                if self._over(step, progress):
                    return
            if slices % settings.slices_per_image == 0:
                self._show(seen or world.look())
            pace.wait()


class _Pace:
    """Keep slices of simulated time in step with the wall clock."""

    def __init__(self, slice_s: float, inbox: CommandInbox):
        self._slice_s, self._inbox = slice_s, inbox
        self._due_s = time.monotonic()

    def wait(self) -> None:
        """Sleep until the next slice is due; raises when the episode is interrupted."""
        self._due_s += self._slice_s
        lag_s = time.monotonic() - self._due_s
        if lag_s > SLIP_S:
            self._due_s += lag_s
        self._inbox.pause(max(0.0, -lag_s))
