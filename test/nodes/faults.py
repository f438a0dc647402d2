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
The faults that vla_node is held against, each with its injection, its cure and what it must say.

test_fault_table.py goes through them in CI; scripts/measure_faults.py runs them with the shipped
defaults, measures, and writes the table of docs/safety.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import itertools
from threading import Event, Thread
from time import monotonic, sleep

from nodes.vla_rig import ScriptedPolicy, Summary, VlaRig, wait_for
import numpy as np
from rlrc_ros.types import Action, ActionChunk, Observation
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory


class WaggingPolicy(ScriptedPolicy):
    """Moves 2 mm forth and back, so that every command differs from the one before."""

    def __init__(self) -> None:
        super().__init__(self.wag)
        self._turn = itertools.count()
        self.free = Event()

    def wag(self, observation: Observation) -> ActionChunk:
        """Answer the next step."""
        x_m = 0.002 if next(self._turn) % 2 else -0.002
        return ActionChunk((Action(np.array([x_m, 0.0, 0.0]), np.zeros(3), 1.0),))

    def hang(self, observation: Observation) -> ActionChunk:
        """Answer after 5 s, or when the test sets `free`."""
        self.free.wait(5.0)
        return self.wag(observation)


def answer(xyz_m: tuple[float, float, float]) -> Callable[[Observation], ActionChunk]:
    """Return a policy's answer of one translation."""
    chunk = ActionChunk((Action(np.array(xyz_m), np.zeros(3), 1.0),))
    return lambda observation: chunk


def raise_error(observation: Observation) -> ActionChunk:
    """Fail as a policy may."""
    raise RuntimeError('out of memory')


def on_bench(**changes: object) -> Callable[[VlaRig], None]:
    """Return what changes the bench so."""
    def change(rig: VlaRig) -> None:
        for name, value in changes.items():
            assert hasattr(rig.bench, name)
            setattr(rig.bench, name, value)
    return change


def with_policy(name: str, *arguments: object) -> Callable[[VlaRig], None]:
    """Return what makes the policy answer by its method `name`, or by a function."""
    def change(rig: VlaRig) -> None:
        rig.policy.answer = arguments[0] if arguments else getattr(rig.policy, name)
    return change


def heal_policy(rig: VlaRig) -> None:
    """Let a policy that hangs go on, and answer well."""
    rig.policy.answer = rig.policy.wag
    rig.policy.free.set()


def jump(rig: VlaRig) -> None:
    """Turn the waist by 1 rad between two joint states, and stay there."""
    rig.bench.follows = False
    rig.bench.q_rad = rig.bench.q_rad + np.array([1.0, 0, 0, 0, 0, 0])


def jump_back(rig: VlaRig) -> None:
    """Follow the commands again, and let the operator confirm it."""
    rig.bench.follows = True
    rig.bench.trigger('reset_stop')


def second_commander(rig: VlaRig) -> None:
    """Let somebody else offer commands."""
    rig.intruder = rig.bench.create_publisher(
        JointTrajectory, 'arm_controller/joint_trajectory', 1)


def end_second_commander(rig: VlaRig) -> None:
    """Take the other commander away."""
    rig.bench.destroy_publisher(rig.intruder)


def flood(rig: VlaRig) -> None:
    """Publish a thousand different instructions as fast as it goes."""
    for number in range(1000):
        rig.bench.instructions.publish(String(data=f'put carrot on plate {number}'))


def seize_lock(rig: VlaRig) -> None:
    """Keep the node's lock, so that its control loop and all that asks the node stand."""
    rig.released = Event()

    def hold() -> None:
        with rig.node._lock:
            rig.released.wait(5.0)
    Thread(target=hold, daemon=True).start()
    # An operator who presses stop again and again.
    rig.stops = [rig.bench._triggers['stop'].call_async(Trigger.Request()) for _ in range(3)]


def release_lock(rig: VlaRig) -> None:
    """Let the node go on, and take back the stop that waited for it."""
    rig.released.set()
    wait_for(lambda: all(stop.done() for stop in rig.stops))
    rig.bench.trigger('reset_stop')


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    inject: Callable[[VlaRig], None]
    cure: Callable[[VlaRig], None]
    reasons: tuple[str, ...]
    """What ~/status may say; empty: nothing has to be said."""
    recovery: str
    """What the table says of the way back."""
    parameters: dict = field(default_factory=dict)
    cameras: tuple[str, ...] = ('image',)


BY_ITSELF = 'by itself'
AT_MEASURED = 'by itself, from the measured pose'
WRIST = {'camera_topics': 'wrist=wrist/image'}
FAULTS = (
    Fault('camera stops', on_bench(camera_on=False), on_bench(camera_on=True),
          ('image_stale',), BY_ITSELF),
    Fault('camera freezes (same picture, new stamps)', on_bench(noisy=False),
          on_bench(noisy=True), ('image_frozen',), BY_ITSELF, {'max_frozen_image_s': 0.6}),
    Fault('camera comes 1 s late', on_bench(image_delay_ns=10**9), on_bench(image_delay_ns=0),
          ('image_stale',), BY_ITSELF),
    Fault('image is cut short', on_bench(truncated=True), on_bench(truncated=False),
          ('image_invalid',), BY_ITSELF),
    Fault('second camera stops', on_bench(wrist_on=False), on_bench(wrist_on=True),
          ('image_stale',), BY_ITSELF, WRIST, ('image', 'wrist')),
    Fault('second camera freezes', on_bench(wrist_noisy=False), on_bench(wrist_noisy=True),
          ('image_frozen',), BY_ITSELF, {'max_frozen_image_s': 0.6, **WRIST},
          ('image', 'wrist')),
    Fault('joint states stop', on_bench(joints_on=False), on_bench(joints_on=True),
          ('joint_state_stale',), AT_MEASURED),
    Fault('joint states jump by 1 rad', jump, jump_back, ('joint_state_invalid',),
          '`~/reset_stop`, from the measured pose'),
    Fault('joint states turn NaN', on_bench(q_rad=np.full(6, np.nan), follows=False),
          lambda rig: on_bench(follows=True, q_rad=np.array(
              rig.bench.arm_commands[-1].points[0].positions))(rig),
          ('joint_state_invalid',), AT_MEASURED),
    Fault('inference hangs', with_policy('hang'), heal_policy, ('inference_late',),
          'when the policy answers again; the late answer is dropped'),
    Fault('inference raises', with_policy('', raise_error), heal_policy, ('inference_failed',),
          BY_ITSELF),
    Fault('policy answers NaN', with_policy('', answer((np.nan, 0, 0))), heal_policy,
          ('action_not_finite',), BY_ITSELF),
    Fault('policy answers 0.5 m', with_policy('', answer((0.5, 0, 0))), heal_policy,
          ('action_too_large',), BY_ITSELF),
    Fault('driver vanishes', lambda rig: rig.bench.go_deaf(),
          lambda rig: rig.bench.listen_again(), ('joint_state_stale', 'driver_gone'),
          'ros2_control: by itself, from the measured pose; Interbotix: clean up and configure'),
    Fault("arm's and camera's clock jumps by 10 s", on_bench(clock_offset_ns=10**10),
          on_bench(clock_offset_ns=0), ('image_stale', 'joint_state_stale'), BY_ITSELF),
    Fault('another node commands the arm', second_commander, end_second_commander,
          ('other_commander',), AT_MEASURED),
    Fault('1000 instructions at once', flood, lambda rig: None, (),
          'each new sentence drops the plan; the last one is followed'),
    Fault('a motor pushes too hard', on_bench(effort=5000.0),
          lambda rig: (on_bench(effort=0.0)(rig), rig.bench.trigger('reset_stop')),
          ('effort_limit',), '`~/reset_stop`'),
    Fault('deadman is released', on_bench(pressed=False), on_bench(pressed=True), ('deadman',),
          AT_MEASURED, {'deadman': True}),
    Fault('`~/stop`', lambda rig: rig.bench.trigger('stop'),
          lambda rig: rig.bench.trigger('reset_stop'), ('stopped_by_user',), '`~/reset_stop`'),
    Fault('control loop stands (lock held), `~/stop` pressed', seize_lock, release_lock,
          ('watchdog',), 'by itself, from the measured pose; then the stop counts'),
)


@dataclass(frozen=True)
class Course:
    """What happened, in seconds after the fault."""

    said: str
    """The reason that was published."""
    said_s: float
    hold_s: float
    """When the last command that moved the arm arrived; 0 where none did any more."""
    back_s: float
    """From the cure to the first command of the policy."""


@contextmanager
def driving(fault: Fault, **parameters: object) -> Iterator[VlaRig]:
    """Run vla_node with an arm that follows and a camera with noise, and let it drive."""
    with VlaRig(WaggingPolicy(), Summary(cameras=fault.cameras),
                **{**fault.parameters, **parameters}) as rig:
        on_bench(noisy=True, follows=True, wrist_on='wrist' in fault.cameras,
                 wrist_noisy=True)(rig)
        if fault.parameters.get('deadman'):
            rig.bench.pressed = True
        rig.drive()
        rig.bench.wait_reason('none')
        rig.bench.wait_more(rig.bench.arm_commands, 3)
        try:
            yield rig
        finally:
            rig.policy.free.set()


def play(fault: Fault, rig: VlaRig, watch_s: float) -> Course:
    """Inject the fault, watch for `watch_s` after it was noticed, cure it, wait for driving."""
    bench = rig.bench
    seen, before = len(bench.statuses), len(bench.arm_commands)
    began_s = monotonic()
    fault.inject(rig)
    said, said_s = '', 0.0
    if fault.reasons:
        wait_for(lambda: any(status['reason'] in fault.reasons
                             for status in bench.statuses[seen:]),
                 lambda: f'{fault.reasons} in {[s["reason"] for s in bench.statuses[seen:]]}')
        said_s = monotonic() - began_s
        said = next(status['reason'] for status in bench.statuses[seen:]
                    if status['reason'] in fault.reasons)
    noticed_s = monotonic()
    sleep(watch_s)
    moves = [arrived_s - began_s for number, arrived_s in enumerate(bench.arrived_s)
             if number >= max(before, 1) and bench.arm_commands[number].points[0].positions
             != bench.arm_commands[number - 1].points[0].positions]
    if fault.reasons:
        late = [move_s for move_s in moves if move_s > noticed_s - began_s + 0.5]
        assert not late, f'{fault.name}: the arm still moved {late} s after the fault'
    cured_s, count = monotonic(), len(bench.arm_commands)
    fault.cure(rig)
    bench.wait_reason('none')
    held = bench.arm_commands[count - 1].points[0].positions
    wait_for(lambda: len(bench.arm_commands) > count
             and bench.arm_commands[-1].points[0].positions != held)
    return Course(said, said_s, max(moves, default=0.0), monotonic() - cured_s)
