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

"""`rlrc move` over DDS: slowly, on a way that is looked at first, while the arm follows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from nodes.vla_rig import Bench, DOMAIN, wait_for
import numpy as np
import pytest
import rclpy
from rlrc_ros.arm.limits import HOME_RAD, INITIAL_RAD, SLEEP_RAD
from rlrc_ros.nodes.lifetime import Ended, spun
from rlrc_ros.nodes.move import duration_s, MoveNode, obstacle, parser, run, share_of_way
from trajectory_msgs.msg import JointTrajectory


@contextmanager
def bench_and_mover() -> Iterator[tuple[Bench, MoveNode]]:
    """Run an arm that follows, below /wx250s, and the node that moves it."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    bench = Bench(context, '/wx250s')
    bench.camera_on, bench.follows = False, True
    mover = MoveNode('ros2_control', 'wx250s', context=context)
    with spun(bench, mover):
        try:
            yield bench, mover
        finally:
            bench.rest()


def options(pose: str, speed: str = '1.0') -> object:
    """Return a parsed command line."""
    return parser().parse_args([pose, '--arm', 'ros2_control', '--speed', speed])


def test_it_goes_there_slowly_and_at_rest() -> None:
    """The last command is the pose; no step between two commands is faster than was asked."""
    with bench_and_mover() as (bench, mover):
        bench.q_rad = np.array(INITIAL_RAD)
        bench.feed()
        assert run(mover, 'home', options('home'), Ended()) == 0
        wait_for(lambda: np.allclose(bench.arm_commands[-1].points[0].positions, HOME_RAD))
        q = np.array([list(command.points[0].positions) for command in bench.arm_commands])
        assert len(q) > 20
        assert np.abs(np.diff(q, axis=0)[[0, -1]]).max() < 0.01
        assert not bench.gripper_commands, 'the hand may hold something'


def test_an_arm_that_does_not_follow_is_told_to_stay(capsys: pytest.CaptureFixture) -> None:
    """Blocked: the move ends early with a command of the measured joints and a sentence."""
    with bench_and_mover() as (bench, mover):
        bench.follows = False
        bench.feed()
        assert run(mover, 'home', options('home'), Ended()) == 1
        assert 'wrist_angle is 0.2' in capsys.readouterr().err
        wait_for(lambda: np.allclose(bench.arm_commands[-1].points[0].positions, INITIAL_RAD))


@pytest.mark.parametrize(('spoil', 'said'), [
    (lambda bench: setattr(bench, 'q_rad', np.full(6, np.nan)), 'not finite'),
    (lambda bench: setattr(bench, 'joints_on', False), 'joint states stopped')])
def test_an_arm_that_is_felt_no_more_is_told_what_it_was_told_last(
    spoil: Callable[[Bench], None], said: str, capsys: pytest.CaptureFixture,
) -> None:
    """NaN would be 0 rad to Interbotix' driver, and an old pose is a way back at full speed."""
    with bench_and_mover() as (bench, mover):
        bench.q_rad = np.array(INITIAL_RAD)
        bench.feed()
        ended: list[int] = []
        moved = Thread(target=lambda: ended.append(run(mover, 'home', options('home'), Ended())))
        moved.start()
        wait_for(lambda: len(bench.arm_commands) > 8)
        bench.follows = False
        spoil(bench)
        moved.join(10.0)
        assert ended == [1]
        assert said in capsys.readouterr().err
        wait_for(lambda: bench.arm_commands[-1].points == bench.arm_commands[-2].points)
        assert all(np.isfinite(command.points[0].positions).all()
                   for command in bench.arm_commands)


def test_a_way_is_looked_at_again_where_the_arm_has_sagged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changing a mode switches the torque off: the way begins where the arm then is."""
    with bench_and_mover() as (bench, mover):
        bench.q_rad = np.array(INITIAL_RAD)
        bench.feed()
        sagged = np.array(INITIAL_RAD) + [0, 0.15, 0, 0, 0, 0]
        settle = mover.begin

        def sag(arm: str) -> None:
            settle(arm)
            bench.q_rad = sagged

        monkeypatch.setattr(mover, 'begin', sag)
        assert run(mover, 'home', options('home'), Ended()) == 0
        first = np.array(list(bench.arm_commands[0].points[0].positions))
        assert np.abs(first - sagged).max() < 0.01


def test_a_second_commander_is_refused(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With vla_node configured nothing is commanded, and the remedy is said."""
    monkeypatch.setattr('rlrc_ros.nodes.move.DISCOVERY_S', 0.5)
    with bench_and_mover() as (bench, mover):
        other = bench.create_publisher(JointTrajectory, 'arm_controller/joint_trajectory', 1)
        bench.feed()
        wait_for(lambda: mover.count_publishers(mover.topics[0]) > 0 and mover.q_rad is not None)
        assert run(mover, 'home', options('home'), Ended()) == 1
        assert 'cleanup' in capsys.readouterr().err
        assert not bench.arm_commands
        bench.destroy_publisher(other)


def test_the_way_is_looked_at_before_anything_moves() -> None:
    """Home to sleep and back is free; through the table, or from an impossible angle, is not."""
    assert obstacle(HOME_RAD, SLEEP_RAD, -0.0005) is None
    assert obstacle(SLEEP_RAD, INITIAL_RAD, -0.0005) is None
    assert 'through the table' in obstacle(
        np.array([-1.5, 1.0, 0.9, 0, 0, 0]), np.array([1.5, 1.0, 0.6, 0, 0, 0]), 0.25)
    assert 'waist says 9.00 rad' in obstacle(np.array([9.0, 0, 0, 0, 0, 0]), HOME_RAD, 0.0)


def test_the_speed_asked_for_is_the_fastest() -> None:
    """The largest difference quotient of the way is the speed, to a percent."""
    whole_s = duration_s(SLEEP_RAD, HOME_RAD, 0.3)
    times_s = np.linspace(0, whole_s, 2000)
    way = np.array([share_of_way(each, whole_s) for each in times_s])
    fastest = np.abs(np.diff(way)).max() / (times_s[1] - times_s[0]) * np.abs(SLEEP_RAD).max()
    assert fastest == pytest.approx(0.3, rel=0.01)
    with pytest.raises(SystemExit):
        options('home', '5.0')
