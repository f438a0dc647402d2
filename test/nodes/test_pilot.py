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

"""What the arm does on each tick, played through with a clock made of numbers."""

from collections.abc import Callable

import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_CLOSED_M, INITIAL_RAD
from rlrc_ros.arm.proprio import proprio_of
from rlrc_ros.arm.safety import Rejection, SafetyGate
from rlrc_ros.nodes.pilot import Outcome, Pilot
from rlrc_ros.nodes.senses import Frame, Now, Senses
from rlrc_ros.nodes.slot import Answer, Question
from rlrc_ros.types import Action, ActionChunk, StopReason
from rlrc_ros.vla.config import PROPRIO_LAYOUTS

KINEMATICS = Kinematics()
START = KINEMATICS.forward(INITIAL_RAD)
IMAGE = np.zeros((4, 4, 3), np.uint8)
NAMES = (*ARM_JOINTS, 'left_finger')


def step(x_m: float = 0.002) -> Action:
    """Return a small move along x."""
    return Action(np.array([x_m, 0.0, 0.0]), np.zeros(3), 1.0)


class Play:
    """A pilot with senses, gate and a clock that the test turns."""

    def __init__(self, *, horizon: int = 1, lockstep: bool = False) -> None:
        self.time_s = 100.0
        self.q_rad = np.array(INITIAL_RAD)
        senses = Senses(0.5, 0.1, lockstep=lockstep)
        self.pilot = Pilot(senses, SafetyGate(kinematics=KINEMATICS), action_horizon=horizon,
                           lockstep=lockstep, max_inference_s=1.0)
        self.pilot.hear('put carrot on plate')
        self.pilot.activate(active=True)

    @property
    def now(self) -> Now:
        return Now(round(self.time_s * 1e9), self.time_s)

    def sense(self, *, image: bool = True, joints: bool = True) -> None:
        """Bring a new joint state and image, stamped now."""
        stamp_ns = self.now.ros_ns
        if joints:
            self.pilot.senses.feel(NAMES, [*self.q_rad, 0.03], stamp_ns, self.time_s)
        if image:
            self.pilot.senses.see(Frame(IMAGE, stamp_ns, self.time_s))

    def pass_time(self, seconds: float, *, sense: bool = True) -> None:
        """Turn the clock and bring new sensations."""
        self.time_s += seconds
        if sense:
            self.sense()

    def move_arm(self) -> None:
        """Turn every joint by 0.8 rad, farther than a step goes."""
        for _ in range(16):
            self.q_rad = self.q_rad + 0.05
            self.pass_time(0.05, sense=False)
            self.sense(image=False)
        self.sense()

    def tick(self, answer: Answer | None = None) -> Outcome:
        """Let the pilot decide."""
        return self.pilot.tick(self.now, answer)

    def reply(self, question: Question, *actions: Action, error: str = '') -> Outcome:
        """Tick with an answer to a question."""
        chunk = None if error else ActionChunk(actions or (step(),))
        return self.tick(Answer(question, chunk, error, 0.05))

    def drive(self, *actions: Action) -> Outcome:
        """Sense, ask, answer: one whole step."""
        self.pass_time(0.2)
        return self.reply(self.tick().question, *actions)


def test_a_step_is_asked_answered_and_commanded() -> None:
    """One image brings one question, its answer one command with the image's stamp."""
    play = Play()
    play.sense()
    asked = play.tick()
    assert asked.question.observation.instruction == 'put carrot on plate'
    assert asked.command is None
    assert play.tick().question is None
    stamp_ns = play.now.ros_ns
    play.pass_time(0.05)
    done = play.reply(asked.question)
    assert done.reason is StopReason.NONE
    assert done.stamp_ns == stamp_ns
    assert done.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.002, abs=1e-6)
    assert done.image_age_s == pytest.approx(0.05)


def test_deltas_add_up_on_the_target_not_on_the_measured_pose() -> None:
    """An arm that lags behind does not pull the target back."""
    play = Play()
    for count in (1, 2, 3):
        done = play.drive()
        assert done.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.002 * count, abs=1e-6)


def test_the_pace_is_the_policys_whatever_the_camera_does() -> None:
    """A camera at 50 Hz for 2 s brings ten steps, not a hundred."""
    play, steps = Play(), 0
    for _ in range(100):
        play.pass_time(0.02)
        question = play.tick().question
        if question is not None:
            steps += play.reply(question).command is not None
    assert 10 <= steps <= 11


def test_images_at_the_policys_rate_are_all_used_despite_jitter() -> None:
    """A camera at 5 Hz whose images come up to 30 ms early or late loses none."""
    play, used = Play(), 0
    for jitter_s in (0.0, 0.03, -0.03, 0.02, -0.01, 0.03, -0.03, 0.0):
        play.pass_time(0.2 + jitter_s)
        question = play.tick().question
        used += question is not None
        play.reply(question)
    assert used == 8


@pytest.mark.parametrize(('spoil', 'reason'), [
    (lambda play: play.pilot.hear('  '), StopReason.NO_INSTRUCTION),
    (lambda play: play.pilot.stop(stopped=True), StopReason.STOPPED_BY_USER),
    (lambda play: play.pilot.senses.see_invalid('odd', 1, play.time_s), StopReason.IMAGE_INVALID),
    (lambda play: play.pilot.senses.feel(NAMES, [np.nan] * 7, 1, play.time_s),
     StopReason.JOINT_STATE_INVALID),
    (lambda play: play.pass_time(0.7, sense=False), StopReason.IMAGE_STALE),
    (lambda play: (play.pass_time(0.2, sense=False), play.sense(joints=False)),
     StopReason.JOINT_STATE_STALE),
    (lambda play: play.pilot.begin_episode(), StopReason.NO_IMAGE),
])
def test_a_condition_holds_the_arm_once_and_then_keeps_silent(
    spoil: Callable[[Play], object], reason: StopReason,
) -> None:
    """Each condition gives its reason, at most one hold, and no question."""
    play = Play()
    play.drive()
    spoil(play)
    first, second = play.tick(), play.tick()
    assert first.reason is second.reason is reason
    assert first.question is None
    assert second.command is None
    follows_old_target = reason is not StopReason.NO_IMAGE  # a new episode has no old target
    assert (first.command is not None) is follows_old_target
    assert play.pilot.refusals[reason] == 1


def test_a_stop_holds_the_measured_joints() -> None:
    """The user's stop does not finish the step: it stays where the arm is now."""
    play = Play()
    play.drive()
    play.q_rad = play.q_rad + 0.01
    play.sense()
    play.pilot.stop(stopped=True)
    assert play.tick().command.arm_rad == pytest.approx(play.q_rad)


def refused(play: Play) -> None:
    """Refuse a step, so that the one before it is finished."""
    play.drive(step(0.2))


def image_stale(play: Play) -> None:
    """Let the images stop in the middle of a step."""
    play.pass_time(0.7, sense=False)
    play.sense(image=False)
    assert play.tick().reason is StopReason.IMAGE_STALE


def joint_states_gap(play: Play) -> None:
    """Lose the joint states for a moment and hear them again."""
    play.pass_time(0.2, sense=False)
    play.sense(joints=False)
    assert play.tick().reason is StopReason.JOINT_STATE_STALE
    play.sense()


def rival(play: Play) -> None:
    """Let another node command the arm."""
    play.pilot.obstacle = Rejection(StopReason.OTHER_COMMANDER, 'somebody')


def users_stop(play: Play) -> None:
    """Stop by the service."""
    play.pilot.stop(stopped=True)


def under_way(before: Callable[[Play], None]) -> Play:
    """Return a step that was commanded, and the arm somewhere on its way after `before`."""
    play = Play()
    play.drive()
    before(play)
    play.q_rad = play.q_rad + 0.01
    play.sense()
    return play


@pytest.mark.parametrize('stop', [rival, users_stop])
@pytest.mark.parametrize('before', [refused, image_stale, joint_states_gap])
def test_what_stops_at_once_ends_a_step_that_an_earlier_reason_let_finish(
    before: Callable[[Play], None], stop: Callable[[Play], None],
) -> None:
    """The arm may still be on its way (slowly, or pressing on something): it stays where it is."""
    play = under_way(before)
    stop(play)
    held = play.tick()
    assert held.command.arm_rad == pytest.approx(play.q_rad)
    assert play.tick().command is None


@pytest.mark.parametrize('before', [refused, image_stale, joint_states_gap])
def test_releasing_ends_a_step_that_an_earlier_reason_let_finish(
    before: Callable[[Play], None],
) -> None:
    """Deactivated, dry or ended in that moment, the arm is told to stay where it is."""
    play = under_way(before)
    assert play.pilot.has_commanded
    assert play.pilot.release(play.now).command.arm_rad == pytest.approx(play.q_rad)
    assert not play.pilot.has_commanded


def test_after_a_stop_is_released_the_old_target_is_not_commanded() -> None:
    """Somebody moved the arm meanwhile: a fault right after the release sends it nowhere."""
    play = Play()
    play.drive()
    play.pilot.stop(stopped=True)
    play.tick()
    play.q_rad = play.q_rad + 0.5
    play.pass_time(0.2)
    play.pilot.stop(stopped=False)
    play.pass_time(0.7, sense=False)
    stale = play.tick()
    assert stale.reason is StopReason.IMAGE_STALE
    assert stale.command is None
    assert play.pilot.is_held


def other_commander(play: Play) -> None:
    """Let another node command the arm, and end."""
    rival(play)
    play.tick()
    play.move_arm()
    play.pilot.obstacle = None


def joint_states_away(play: Play) -> None:
    """End the driver, lay the arm down, start the driver."""
    joint_states_gap(play)
    play.move_arm()


def camera_away(play: Play) -> None:
    """Let the images stop and move the arm meanwhile."""
    image_stale(play)
    play.move_arm()


def dry_run(play: Play) -> None:
    """Move the arm while commands are only computed."""
    play.pilot.set_dry_run(dry_run=True)
    play.drive()
    play.move_arm()
    play.pilot.set_dry_run(dry_run=False)


def loop_stands(play: Play) -> None:
    """Let the control loop stand for a while, in which the watchdog has held the arm."""
    play.move_arm()
    play.pilot.restart()


def no_words(play: Play) -> None:
    """Take the instruction back, move the arm, give another."""
    play.pilot.hear('')
    play.tick()
    play.move_arm()
    play.pilot.hear('put can on plate')


LEFT = (other_commander, joint_states_away, camera_away, dry_run, loop_stands, no_words)


@pytest.mark.parametrize('answer', ['refused', 'raised', 'image stops'])
@pytest.mark.parametrize('leave', LEFT)
def test_a_target_that_the_arm_has_left_is_never_sent_again(
    leave: Callable[[Play], None], answer: str,
) -> None:
    """Whatever moved it, what holds the arm next holds it where it is: no check saw the way."""
    play = Play()
    play.drive()
    leave(play)
    if answer == 'image stops':
        play.pass_time(0.7, sense=False)
        play.sense(image=False)
        held = play.tick()
        assert held.reason is StopReason.IMAGE_STALE
        assert held.command is None or held.command.arm_rad == pytest.approx(play.q_rad)
        return
    play.pass_time(0.2)
    question = play.tick().question
    refused = (play.reply(question, step(0.2)) if answer == 'refused'
               else play.reply(question, error='out of memory'))
    assert refused.command.arm_rad == pytest.approx(play.q_rad)


@pytest.mark.parametrize('leave', [other_commander, joint_states_away, camera_away, loop_stands])
def test_a_hand_keeps_its_grip_where_the_target_is_dropped(leave: Callable[[Play], None]) -> None:
    """Held at the width that is measured, it would let go of what it holds."""
    play = Play()
    play.drive(Action(np.array([0.002, 0.0, 0.0]), np.zeros(3), 0.0))
    leave(play)
    assert play.drive(step(0.2)).command.finger_m == FINGER_CLOSED_M


def test_the_watchdog_reads_a_hold_without_the_pilots_kinematics() -> None:
    """Its thread may not use them; the joints are those measured, the hand keeps its grip."""
    play = Play()
    commanded = play.drive().command
    held = play.pilot.hold(play.now, with_pose=False)
    assert held.arm_rad == pytest.approx(play.q_rad)
    assert held.finger_m == commanded.finger_m
    assert np.array_equal(held.T_base_ee, np.eye(4))


def test_a_refused_action_repeats_the_last_target_and_the_next_image_decides_anew() -> None:
    """Refusing neither moves the target nor locks the policy out."""
    play = Play()
    accepted = play.drive().command
    refused = play.drive(step(0.2))
    assert refused.reason is StopReason.ACTION_TOO_LARGE
    assert refused.command is accepted
    again = play.drive()
    assert again.reason is StopReason.NONE
    assert again.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.004, abs=1e-6)


def test_steps_that_the_box_shortened_are_counted() -> None:
    """Each that asks for more than the box has; one that stays inside is not among them."""
    play, x_m = Play(), []
    for _ in range(12):
        done = play.drive(step(-0.02))
        assert done.reason is StopReason.NONE
        x_m.append(done.command.T_base_ee[0, 3])
        play.q_rad = done.command.arm_rad
    at_face = sum(each < 0.10 + 1e-9 for each in x_m)
    assert x_m[-1] == 0.10 and 2 <= at_face < 12
    assert play.pilot.clamped_steps in (at_face, at_face - 1)  # one may end there by itself


def test_a_refusal_stays_the_reason_until_a_step_is_accepted() -> None:
    """While the next answer is out, the status still says why the arm stands."""
    play = Play()
    play.drive(step(0.2))
    play.pass_time(0.2)
    asked = play.tick()
    assert asked.reason is StopReason.ACTION_TOO_LARGE
    assert play.reply(asked.question).reason is StopReason.NONE


def test_a_policy_that_raises_is_refused_with_its_words() -> None:
    """The exception's text reaches the user, and the next image is tried again."""
    play = Play()
    play.sense()
    failed = play.reply(play.tick().question, error='RuntimeError: out of memory')
    assert failed.reason is StopReason.INFERENCE_FAILED
    assert 'out of memory' in failed.detail
    assert play.drive().reason is StopReason.NONE


def test_a_late_policy_holds_the_arm_until_it_answers() -> None:
    """Past max_inference_s the reason is INFERENCE_LATE; the late answer itself is dropped."""
    play = Play()
    play.drive()
    play.pass_time(0.2)
    question = play.tick().question
    play.pass_time(1.1)
    assert play.tick().reason is StopReason.INFERENCE_LATE
    play.pass_time(0.2)
    assert play.tick().question is None
    freed = play.reply(question, step(0.01))
    assert freed.command is None
    assert freed.question is not None
    done = play.reply(freed.question)
    assert done.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.004, abs=1e-6)


def test_an_answer_to_an_old_image_is_not_executed() -> None:
    """An answer that comes later than max_image_age_s after its image is refused as stale."""
    play = Play()
    play.sense()
    question = play.tick().question
    play.pass_time(0.6)
    late = play.reply(question)
    assert late.reason is StopReason.IMAGE_STALE
    assert 'too slow' in late.detail


@pytest.mark.parametrize('reset', [
    lambda pilot: pilot.hear('put can on plate'),
    lambda pilot: (pilot.stop(stopped=True), pilot.stop(stopped=False)),
    lambda pilot: pilot.begin_episode(),
    lambda pilot: (pilot.activate(active=False), pilot.activate(active=True)),
])
def test_a_reset_drops_the_answer_on_its_way_and_starts_at_the_measured_pose(
    reset: Callable[[Pilot], object],
) -> None:
    """After a reset the old answer counts for nothing and the target is where the arm is."""
    play = Play()
    play.drive()
    play.drive()
    play.pass_time(0.2)
    old = play.tick().question
    reset(play.pilot)
    play.pass_time(0.2)
    dropped = play.reply(old, step(0.03))
    assert dropped.command is None
    done = play.reply(dropped.question)
    assert done.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.002, abs=1e-6)


def test_the_same_instruction_again_changes_nothing() -> None:
    """A publisher that repeats itself does not reset the target at its own rate."""
    play = Play()
    play.drive()
    play.pilot.hear(' put carrot on plate ')
    assert play.drive().command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.004, abs=1e-6)


def test_a_dry_run_computes_each_step_from_where_the_arm_is() -> None:
    """Nothing moves, so targets do not run away; the outcome says not to send."""
    play = Play()
    play.pilot.set_dry_run(dry_run=True)
    for _ in range(2):
        done = play.drive()
        assert done.dry_run
        assert done.command.T_base_ee[0, 3] == pytest.approx(START[0, 3] + 0.002, abs=1e-6)


def test_releasing_holds_a_moving_arm_and_closes_the_gate() -> None:
    """Deactivation leaves one hold at the measured joints, then nothing."""
    play = Play()
    play.drive()
    held = play.pilot.release(play.now)
    assert held.command.arm_rad == pytest.approx(play.q_rad)
    play.pass_time(0.2)
    assert play.tick().reason is StopReason.NOT_ACTIVE
    assert play.tick().command is None


def test_a_chunk_in_lockstep_is_executed_one_action_per_image() -> None:
    """Three actions answer three images in order; only then is the policy asked again."""
    play = Play(horizon=3, lockstep=True)
    play.sense()
    question = play.tick().question
    moves = [play.reply(question, step(0.001), step(0.002), step(0.003)).action.delta_xyz_m[0]]
    for _ in range(2):
        play.pass_time(0.2)
        outcome = play.tick()
        assert outcome.question is None
        assert outcome.stamp_ns == play.now.ros_ns
        moves.append(outcome.action.delta_xyz_m[0])
    assert moves == [0.001, 0.002, 0.003]
    play.pass_time(0.2)
    assert play.tick().question is not None


def test_a_chunk_in_real_time_is_asked_just_in_time_and_executed_whole() -> None:
    """It is asked for when inference just fits before the next step, and no action is lost."""
    play = Play(horizon=3)
    play.sense()
    question = play.tick().question
    moves = [play.reply(question, step(0.001), step(0.002), step(0.003)).action.delta_xyz_m[0]]
    for _ in range(2):
        play.pass_time(0.12)
        assert play.tick().question is None, 'there are actions left'
        play.pass_time(0.08)
        moves.append(play.tick().action.delta_xyz_m[0])
    play.pass_time(0.08)
    assert play.tick().question is None, '0.12 s are more than inference takes'
    play.pass_time(0.04)
    ahead = play.tick()
    assert ahead.command is None
    assert ahead.question.stamp_ns == play.now.ros_ns
    play.pass_time(0.02)
    assert play.reply(ahead.question, step(0.004), step(0.005), step(0.006)).command is None
    for wait_s in (0.06, 0.2, 0.2):
        play.pass_time(wait_s)
        moves.append(play.tick().action.delta_xyz_m[0])
    assert moves == [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]


def test_a_policy_slower_than_a_step_is_asked_earlier_and_skips_what_was_executed() -> None:
    """At 0.3 s an answer is asked with an action left, which goes on meanwhile."""
    play = Play(horizon=4)
    play.sense()
    asked = play.tick().question
    play.pass_time(0.3)
    chunk = ActionChunk(tuple(step(0.001 * count) for count in (1, 2, 3, 4)))
    moves = [play.tick(Answer(asked, chunk, '', 0.3)).action.delta_xyz_m[0]]
    questions = []
    for _ in range(17):
        play.pass_time(0.02)
        outcome = play.tick()
        questions += [outcome.question] if outcome.question else []
        moves += [outcome.action.delta_xyz_m[0]] if outcome.action else []
    assert moves == [0.001, 0.002, 0.003, 0.004]
    assert len(questions) == 1
    play.pass_time(0.12)
    chunk = ActionChunk(tuple(step(0.001 * count) for count in (5, 6, 7, 8)))
    following = play.tick(Answer(questions[0], chunk, '', 0.3))
    assert following.action.delta_xyz_m[0] == 0.006, 'its first step was the last of the old chunk'


def test_a_policy_slower_than_its_chunk_is_never_asked_ahead() -> None:
    """Nothing of its answer would be left; each answer is executed from its first action."""
    play = Play(horizon=2)
    play.sense()
    question = play.tick().question
    play.pass_time(0.4)
    play.tick(Answer(question, ActionChunk((step(), step())), '', 0.4))
    play.pass_time(0.02)
    assert play.tick().action is not None
    for _ in range(3):
        play.pass_time(0.04)
        assert play.tick().question is None


def test_a_horizon_of_one_is_never_asked_ahead() -> None:
    """Each step sees its own image."""
    play = Play()
    play.drive()
    for _ in range(7):
        play.pass_time(0.02)
        assert play.tick().question is None


@pytest.mark.parametrize(('layout', 'length'), PROPRIO_LAYOUTS.items())
def test_a_question_carries_the_arms_state_and_every_camera(layout: str, length: int) -> None:
    """The state is of the measured joints; each further camera's newest image comes along."""
    senses = Senses(0.5, 0.1, lockstep=False, extra_cameras=('wrist',))
    pilot = Pilot(senses, SafetyGate(kinematics=KINEMATICS), action_horizon=1, lockstep=False,
                  max_inference_s=1.0, proprio_layout=layout)
    pilot.hear('put carrot on plate')
    pilot.activate(active=True)
    now = Now(100_000_000_000, 100.0)
    senses.feel(NAMES, [*INITIAL_RAD, 0.026], now.ros_ns, 100.0)
    senses.see(Frame(IMAGE, now.ros_ns, 100.0))
    assert pilot.tick(now).reason is StopReason.NO_IMAGE
    wrist = np.full((4, 4, 3), 7, np.uint8)
    senses.see_extra('wrist', Frame(wrist, now.ros_ns, 100.0))
    seen = pilot.tick(now).question.observation
    assert seen.extra_images['wrist'] is wrist
    np.testing.assert_array_equal(
        seen.proprio, proprio_of(layout, START, INITIAL_RAD, 0.026))
    assert seen.proprio.shape == (length,)


def test_lockstep_waits_for_the_joint_state_of_the_image() -> None:
    """An image that overtakes its joint state is not decided on with the old joints."""
    play = Play(lockstep=True)
    play.drive()
    play.pass_time(0.2, sense=False)
    play.sense(joints=False)
    assert play.tick().question is None
    play.sense(image=False)
    assert play.tick().question is not None


def test_lockstep_answers_every_image_even_while_stopped() -> None:
    """A hold with the image's stamp lets the simulation go on; a sagging arm is not let down."""
    play = Play(lockstep=True)
    play.pilot.stop(stopped=True)
    for _ in range(3):
        play.pass_time(0.2)
        play.q_rad = play.q_rad + 0.01
        held = play.tick()
        assert held.command.arm_rad == pytest.approx(INITIAL_RAD)
        assert held.stamp_ns == play.now.ros_ns
        assert play.tick().command is None


def test_lockstep_gives_an_overtaken_instruction_time_to_arrive() -> None:
    """Without an instruction the first image is held only after a grace, not at once."""
    play = Play(lockstep=True)
    play.pilot.hear('')
    play.sense()
    assert play.tick().command is None
    play.pass_time(0.6, sense=False)
    held = play.tick()
    assert held.reason is StopReason.NO_INSTRUCTION
    assert held.command is not None


def test_lockstep_sends_the_same_answer_to_an_image_shown_again() -> None:
    """A lost command is repeated, not decided anew: the target moves once."""
    play = Play(lockstep=True)
    play.sense()
    sent = play.reply(play.tick().question)
    frame = play.pilot.senses.frame
    play.time_s += 5.0
    play.pilot.senses.see(Frame(IMAGE, frame.stamp_ns, play.time_s))
    again = play.tick()
    assert again.command is sent.command
    assert again.stamp_ns == sent.stamp_ns
    assert play.tick().command is None


def test_lockstep_asks_again_when_the_instruction_changes_while_the_policy_thinks() -> None:
    """The waiting image is answered by the new instruction, so the simulation never hangs."""
    play = Play(lockstep=True)
    play.sense()
    old = play.tick().question
    play.pilot.hear('put can on plate')
    asked = play.tick()
    assert asked.question.observation.instruction == 'put can on plate'
    assert play.reply(old).command is None
    assert play.reply(asked.question).command is not None
