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
Decides on every tick what the arm does: a step of the policy, a hold, or nothing; and why.

The logic of vla_node without ROS: time comes in as an argument, commands and questions go out as
an `Outcome`, nothing here waits. A step opens when it is due and there is an image to decide on;
it closes with a command of the policy, or with a refusal that repeats the last accepted target.
Conditions (no image, a stop, a late policy) are looked at anew on every tick; a refusal stays the
reason until a step is accepted again. One thread at a time.
"""

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from rlrc_ros.arm.limits import FINGER_CLOSED_M, FINGER_OPEN_M
from rlrc_ros.arm.proprio import proprio_of
from rlrc_ros.arm.safety import JointCommand, Rejection, SafetyGate
from rlrc_ros.nodes.plan import Pacer, Plan
from rlrc_ros.nodes.senses import Frame, LOCKSTEP_GRACE_S, Now, Senses
from rlrc_ros.nodes.slot import Answer, Question
from rlrc_ros.types import Action, Observation, StopReason

_DRIVING = Rejection(StopReason.NONE, '')
_INACTIVE = Rejection(StopReason.NOT_ACTIVE, 'activate the node to let the policy drive')
_OVERTAKEN = {
    StopReason.NO_INSTRUCTION, StopReason.NO_IMAGE, StopReason.NO_JOINT_STATE,
    StopReason.JOINT_STATE_STALE}
"""Conditions that in lockstep may only mean that a message was overtaken by the image."""
AHEAD_SHARE = 0.25
"""The next chunk is asked for this share of a step earlier than the slowest recent inference
takes: as much as a step may begin early (plan.Pacer)."""

_STOPS_AT_ONCE = {
    StopReason.STOPPED_BY_USER, StopReason.EFFORT_LIMIT, StopReason.DEADMAN,
    StopReason.OTHER_COMMANDER, StopReason.JOINT_STATE_INVALID}
"""Conditions in which even the step that is under way is not finished."""
_UNWATCHED = _STOPS_AT_ONCE | {StopReason.JOINT_STATE_STALE, StopReason.DRIVER_GONE}
"""Conditions after which the arm may be elsewhere than the last target says."""


@dataclass(frozen=True)
class Outcome:
    """What one tick decided."""

    reason: StopReason
    detail: str = ''
    command: JointCommand | None = None
    """To be sent to the arm, unless `dry_run`."""
    stamp_ns: int = 0
    """Stamp of the image that the command answers."""
    action: Action | None = None
    """The policy's action of this step, accepted or not."""
    question: Question | None = None
    """To be put to the policy."""
    dry_run: bool = False
    upcoming: tuple[Action, ...] = ()
    """What the policy has planned for the steps after `action`."""
    image_age_s: float | None = None
    """Where a step closed: how old its image was then."""
    image_arrived_s: float = 0.0
    """Likewise: when that image arrived, on the steady clock."""


class Pilot:
    """The decisions between two activations; the stop latch lives in the node."""

    def __init__(
        self, senses: Senses, gate: SafetyGate, *, action_horizon: int, lockstep: bool,
        max_inference_s: float, proprio_layout: str = '',
    ) -> None:
        """
        Begin inactive.

        :param action_horizon: length of the policy's chunks
        :param proprio_layout: what the policy reads of the arm (arm/proprio.py); empty: nothing
        """
        self.senses = senses
        self.active = False
        self.stopped = False
        self.dry_run = False
        self.obstacle: Rejection | None = None
        """A reason against driving that the node found elsewhere: in the ROS graph, say."""
        self.refusals: Counter[StopReason] = Counter()
        self.missed_deadlines = 0
        self.clamped_steps = 0
        self._gate = gate
        self._action_horizon = action_horizon
        self._lockstep = lockstep
        self._max_inference_s = max_inference_s
        self._proprio_layout = proprio_layout
        self._pacer = Pacer(round(gate.limits.period_s * 1e9))
        self._recent_inference_s: deque[float] = deque(maxlen=5)
        self._step = 0
        self._late = False
        self._answered_ns: int | None = None
        self._answered_frame: Frame | None = None
        self._answer_sent: JointCommand | None = None
        self._begin_anew()

    def activate(self, *, active: bool) -> None:
        """Open or close the gate to the arm; either way the next target is the measured pose."""
        self.active = active
        self._begin_anew()

    def stop(self, *, stopped: bool) -> None:
        """Latch or release the user's stop."""
        self.stopped = stopped
        if stopped:
            self._restart()
        else:
            self.senses.forgive()
            self.restart()

    def set_dry_run(self, *, dry_run: bool) -> None:
        """Switch between commanding and only computing; either way no target is left."""
        self.dry_run = dry_run
        self._begin_anew()

    def restart(self) -> None:
        """Drop plan and target, no place to go back to; a hand keeps its grip."""
        self._commanded = None
        self._restart()

    def hear(self, instruction: str) -> None:
        """Take an instruction; the one that is already followed changes nothing."""
        if instruction.strip() != self.senses.instruction:
            self.senses.instruction = instruction.strip()
            self._restart()

    def begin_episode(self) -> None:
        """Forget the scene: image, joints, target and plan belong to the last episode."""
        if not self._lockstep:  # there the stamps tell the episodes apart, message by message
            self.senses.forget()
        self._begin_anew()

    def release(self, now: Now) -> Outcome:
        """Close the gate; the command, if any, leaves the arm where it is."""
        moving = self.active and self.has_commanded
        command = self.hold(now) if moving else None
        self.activate(active=False)
        return self._outcome(_INACTIVE, command=command)

    def hold(self, now: Now, *, with_pose: bool = True) -> JointCommand | None:
        """
        Return a command to stay at the measured joints, or at the last target without them.

        :param with_pose: False leaves `T_base_ee` the identity: another thread than the pilot's
            must not use its kinematics
        """
        joints, finger_m = self.senses.joints, self._finger_m
        if joints is None or not self.senses.feels(now):
            return self._commanded
        if finger_m is None:  # otherwise a hand that holds something keeps its grip
            finger_m = min(max(joints.finger_m, FINGER_CLOSED_M), FINGER_OPEN_M)
        pose = self._gate.kinematics.forward(joints.arm_rad) if with_pose else np.eye(4)
        return JointCommand(joints.arm_rad, finger_m, pose)

    def pose_of(self, arm_rad: np.ndarray) -> np.ndarray:
        """Return the end effector's pose (4, 4) in the base at joint angles (6,)."""
        return self._gate.kinematics.forward(arm_rad)

    @property
    def is_held(self) -> bool:
        """Whether a condition (not a refused action) keeps the arm where it is."""
        return self._held_for is not None

    @property
    def has_commanded(self) -> bool:
        """Whether the arm follows a target of ours, or may still be on its way to one."""
        return self._commanded is not None or self._under_way

    def tick(self, now: Now, answer: Answer | None = None) -> Outcome:
        """Decide, with the policy's answer if one came since the last tick."""
        if answer is not None:
            self._take(answer)
        if not self.active:
            return self._outcome(_INACTIVE)
        fault = self._fault(now)
        if fault is not None:
            return self._held(fault, now)
        self._held_for = None
        if self._open is None and self._is_due(now):
            self._open = self.senses.frame
            self._pacer.begin(now.ros_ns)
        if self._open is None:
            return self._outcome(self._refused, command=self._answer_again(),
                                 question=self._ask_ahead(now))
        if self._failure is not None:
            return self._refuse(self._failure, None, now)
        action = None if self._plan is None else self._plan.at(self._step)
        if action is None:
            return self._outcome(self._refused, question=self._ask_for_open_step(now))
        return self._execute(action, now)

    def _fault(self, now: Now) -> Rejection | None:
        if self.stopped:
            return Rejection(
                StopReason.STOPPED_BY_USER, 'call ~/reset_stop to let the policy drive again')
        if self._asked is not None and now.steady_s - self._asked.asked_s > self._max_inference_s:
            self._asked, self._late = None, True
        return self.obstacle or self.senses.fault(now) or (Rejection(
            StopReason.INFERENCE_LATE,
            f'the policy has not answered within max_inference_s = {self._max_inference_s:g} s'
        ) if self._late else None)

    def _held(self, fault: Rejection, now: Now) -> Outcome:
        """Stand still: in lockstep answer the waiting image, otherwise say so to the arm once."""
        begins = fault.reason is not self._held_for
        if begins:
            self.refusals[fault.reason] += 1
            self._held_for = fault.reason
            if fault.reason in _STOPS_AT_ONCE and self.has_commanded:
                self._commanded = self._hold_here(now)
        if not self._lockstep:
            # A step that is stopped at once may be one that an earlier reason let finish.
            first = begins and self.has_commanded and (
                not self._holding or fault.reason in _STOPS_AT_ONCE)
            self._holding = True
            command = self._last_or_hold(now) if first else None
            if fault.reason in _UNWATCHED:
                # Nobody watched the arm meanwhile: what comes next begins where it then is.
                self._commanded = self._T_target = self._q_commanded_rad = None
                self._v_commanded_rad_s = self._plan = None
            return self._outcome(fault, command=command)
        may_resolve = fault.reason in _OVERTAKEN and self.senses.waited_s(now) < LOCKSTEP_GRACE_S
        waiting = self.senses.newest_stamp_ns
        if may_resolve or waiting is None or waiting == self._answered_ns:
            return self._outcome(fault)
        command = self._last_or_hold(now)
        if command is None:
            return self._outcome(fault)
        self._answer(waiting, command)
        self._open = self._asked = self._plan = None
        return self._outcome(fault, command=command)

    def _is_due(self, now: Now) -> bool:
        frame = self.senses.frame
        if self._lockstep:
            return frame.stamp_ns != self._answered_ns and self.senses.in_step()
        planned = self._plan is not None and self._plan.at(self._step) is not None
        return (planned or frame is not self._asked_frame) and self._pacer.is_due(now.ros_ns)

    def _ask_for_open_step(self, now: Now) -> Question | None:
        frame = self.senses.frame
        if self._asked is not None or frame is self._asked_frame:
            return None
        self._open = frame  # a step that waited for its answer too long sees the newest image
        return self._ask(frame, now)

    def _ask_ahead(self, now: Now) -> Question | None:
        """Ask for the next chunk just in time, while the arm still follows this one."""
        # In real time only: a run in lockstep must repeat exactly.
        frame, period_s = self.senses.frame, self._gate.limits.period_s
        if (self._lockstep or self._action_horizon == 1 or self._plan is None
                or self._asked is not None or frame is self._asked_frame):
            return None
        lead_s = max(self._recent_inference_s, default=0.0) + AHEAD_SHARE * period_s
        if lead_s >= self._action_horizon * period_s:
            return None  # its first actions would all be over; each step asks for itself
        left_s = (self._pacer.due_in_ns(now.ros_ns) * 1e-9
                  + self._plan.left_after(self._step - 1) * period_s)
        return self._ask(frame, now) if left_s <= lead_s else None

    def _ask(self, frame: Frame, now: Now) -> Question:
        """Put the question whose answer begins with the present or next step."""
        senses = self.senses
        proprio = None
        if self._proprio_layout:
            joints = senses.joints
            proprio = proprio_of(
                self._proprio_layout, self._gate.kinematics.forward(joints.arm_rad),
                joints.arm_rad, joints.finger_m)
        self._asked_frame = frame
        self._asked = Question(
            Observation(frame.image, senses.instruction, proprio, frame.stamp_ns * 1e-9,
                        senses.extra_images()),
            self._step, frame.stamp_ns, now.steady_s)
        return self._asked

    def _take(self, answer: Answer) -> None:
        self._late = False
        self._recent_inference_s.append(answer.inference_s)
        if answer.inference_s > self._gate.limits.period_s:
            self.missed_deadlines += 1
        if answer.question is not self._asked:
            return  # from before a reset, or given up as late
        self._asked = None
        if answer.chunk is None:
            self._failure = Rejection(StopReason.INFERENCE_FAILED, answer.error)
        else:
            self._plan = Plan(
                answer.chunk.actions, answer.question.step, answer.question.stamp_ns)

    def _execute(self, action: Action, now: Now) -> Outcome:
        plan, joints = self._plan, self.senses.joints
        late_s = (self.senses.image_age_s(plan.stamp_ns, now)
                  - (self._step - plan.first_step) * self._gate.limits.period_s)
        if late_s > self.senses.max_image_age_s:
            return self._refuse(Rejection(
                StopReason.IMAGE_STALE,
                f'the answer came {late_s:.2f} s after its image; at most '
                f'{self.senses.max_image_age_s:g} s: the policy is too slow'), action, now)
        if self._T_target is None or self.dry_run:
            # Nothing moves in a dry run, so each step is shown from where the arm is.
            self._T_target = self._gate.kinematics.forward(joints.arm_rad)
        result = self._gate.check(
            action, self._T_target, joints.arm_rad, self._q_commanded_rad,
            self._v_commanded_rad_s)
        if isinstance(result, Rejection):
            return self._refuse(result, action, now)
        self._T_target = result.T_base_ee
        self.clamped_steps += result.clamped
        if not self.dry_run:
            q_from = joints.arm_rad if self._q_commanded_rad is None else self._q_commanded_rad
            self._v_commanded_rad_s = (result.arm_rad - q_from) / self._gate.limits.period_s
            self._commanded, self._q_commanded_rad = result, result.arm_rad
            self._under_way = True
            self._finger_m = result.finger_m
        self._holding, self._held_for, self._refused = False, None, _DRIVING
        return self._close(_DRIVING, result, action, now, plan.after(self._step))

    def _refuse(self, refusal: Rejection, action: Action | None, now: Now) -> Outcome:
        self.refusals[refusal.reason] += 1
        self._refused, self._failure, self._holding = refusal, None, True
        self._v_commanded_rad_s = None  # the arm comes to rest at its last target
        self._plan = self._asked = None
        return self._close(refusal, self._last_or_hold(now), action, now)

    def _last_or_hold(self, now: Now) -> JointCommand | None:
        """
        Return the last target; where there is none, the measured joints become it.

        So they do where the arm has left that target by more than a step may turn a joint: no
        check has seen the way back.
        """
        # Once, not at each image: an arm that sags a little would be let down step by step.
        command = self._commanded
        if command is None or self._has_left(command, now):
            command = self._hold_here(now)
        if not self.dry_run:
            self._commanded = command
        return command

    def _hold_here(self, now: Now) -> JointCommand | None:
        """Return hold(); the arm that is told to stay where it is felt is on no way any more."""
        if self.senses.joints is not None and self.senses.feels(now):
            self._under_way = False
        return self.hold(now)

    def _has_left(self, command: JointCommand, now: Now) -> bool:
        """Return whether the measured joints are farther from a command than one step goes."""
        limits, joints = self._gate.limits, self.senses.joints
        if joints is None or not self.senses.feels(now):
            return False  # then nothing better is known
        step_rad = min(limits.max_joint_step_rad, limits.max_joint_speed_rad_s * limits.period_s)
        return float(np.abs(command.arm_rad - joints.arm_rad).max()) > step_rad

    def _close(
        self, verdict: Rejection, command: JointCommand | None, action: Action | None, now: Now,
        upcoming: tuple[Action, ...] = (),
    ) -> Outcome:
        frame, self._open = self._open, None
        self._step += 1
        self._answer(frame.stamp_ns, command)
        return Outcome(
            verdict.reason, verdict.detail, command, frame.stamp_ns, action, None,
            self.dry_run, upcoming, max(
                self.senses.image_age_s(frame.stamp_ns, now), now.steady_s - frame.arrived_s),
            frame.arrived_s)

    def _answer_again(self) -> JointCommand | None:
        """Return the command already sent when a simulation shows the same image once more."""
        frame = self.senses.frame
        shown_again = (self._lockstep and frame.stamp_ns == self._answered_ns
                       and frame is not self._answered_frame)
        self._answered_frame = frame if shown_again else self._answered_frame
        return self._answer_sent if shown_again else None

    def _answer(self, stamp_ns: int, command: JointCommand | None) -> None:
        self._answered_ns, self._answer_sent = stamp_ns, command
        self._answered_frame = self.senses.frame

    def _outcome(
        self, verdict: Rejection, *, command: JointCommand | None = None,
        question: Question | None = None,
    ) -> Outcome:
        return Outcome(
            verdict.reason, verdict.detail, command, self.senses.newest_stamp_ns or 0,
            None, question, self.dry_run)

    def _begin_anew(self) -> None:
        self._commanded: JointCommand | None = None
        self._under_way = False
        """Whether a target was sent that no hold has ended, also one that is no longer known."""
        self._finger_m: float | None = None
        self._restart()

    def _restart(self) -> None:
        """Drop plan and questions; the next step begins at the measured pose."""
        self._T_target: np.ndarray | None = None
        self._q_commanded_rad: np.ndarray | None = None
        self._v_commanded_rad_s: np.ndarray | None = None
        self._plan: Plan | None = None
        self._asked: Question | None = None
        self._asked_frame: Frame | None = None
        self._open: Frame | None = None
        self._failure: Rejection | None = None
        self._refused = _DRIVING
        self._held_for: StopReason | None = None
        self._holding = False
