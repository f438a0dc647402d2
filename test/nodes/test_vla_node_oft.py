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

"""vla_node over DDS with a real OpenVLA-OFT checkpoint: chunks, two cameras, the arm's state."""

from nodes.vla_rig import ScriptedPolicy, VlaRig, wait_for
import numpy as np
import pytest
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import INITIAL_RAD
from rlrc_ros.arm.proprio import proprio_of
from rlrc_ros.types import Observation
from rlrc_ros.vla.policy import Policy
from tiny_vla import DATASET, make_tiny_oft_checkpoint

HORIZON = 4
LAYOUT = 'xyz_rpy_gripper'
PARAMETERS = {'camera_topics': 'wrist=wrist/image', 'unnorm_key': DATASET, 'device': 'cpu',
              'max_control_gap_s': 5.0}  # a busy machine must not make the watchdog hold


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a tiny checkpoint that reads two cameras and the arm's state."""
    return str(make_tiny_oft_checkpoint(
        tmp_path_factory.mktemp('oft') / 'tiny', HORIZON, cameras=('image', 'wrist'),
        proprio_dim=7, proprio_layout=LAYOUT))


class Spied:
    """A policy that notes what it was asked."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.seen = policy, []

    def warm_up(self) -> None:
        """Warm the policy up; that is not noted."""
        self.policy.warm_up()

    def reset(self) -> None:
        """Let the policy forget."""
        self.policy.reset()

    def act(self, observation: Observation) -> object:
        """Note and answer."""
        self.seen.append(observation)
        return self.policy.act(observation)


def spy_on(rig: VlaRig) -> list[Spied]:
    """Let the node open its policy under a spy; return the list that will hold it."""
    spies, open_policy = [], rig.node._open_policy

    def opened(*arguments: str, **choice: str) -> Spied:
        spies.append(Spied(open_policy(*arguments, **choice)))
        return spies[-1]
    rig.node._open_policy = opened
    return spies


def test_chunks_of_a_real_checkpoint_answer_each_image_in_lockstep(folder: str) -> None:
    """Eight images take two inferences, on both cameras and the state, as in process."""
    with VlaRig(ScriptedPolicy(), checkpoint=folder, real_checkpoint=True, lockstep=True,
                **PARAMETERS) as rig:
        spies, bench = spy_on(rig), rig.bench
        bench.size_px = (64, 64)
        rig.drive(lockstep=True)
        wait_for(lambda: bench.wrist_images.get_subscription_count() > 0)
        for number in range(8):
            count, stamp = len(bench.actions), 1_000_000_000 + number * 200_000_000
            bench.show_joints(stamp)
            bench.show_wrist(stamp, shade=200 - 10 * number)
            bench.show_image(stamp, shade=10 * number)
            wait_for(lambda count=count: len(bench.actions) > count,
                     lambda: str(bench.statuses[-1:]))
        seen, = (spy.seen for spy in spies)
        assert [int(each.image[0, 0, 0]) for each in seen] == [0, 40]
        assert [int(each.extra_images['wrist'][0, 0, 0]) for each in seen] == [200, 160]
        state = proprio_of(LAYOUT, Kinematics().forward(INITIAL_RAD), INITIAL_RAD, 0.03)
        np.testing.assert_allclose(seen[0].proprio, state, atol=1e-6)
        beside = Policy.open(folder, 'cpu')
        wanted = [action.to_vector() for each in seen for action in beside.act(each).actions]
        np.testing.assert_allclose(bench.actions, wanted, atol=1e-6)
        assert bench.statuses[-1]['reason'] == 'none'


def test_chunks_are_executed_in_order_in_real_time(folder: str) -> None:
    """
    Every step is the next of its chunk or begins a later one; few inferences make many steps.

    That none is left out is for the pilot's tests, whose clock no other process disturbs.
    """
    with VlaRig(ScriptedPolicy(), checkpoint=folder, real_checkpoint=True, **PARAMETERS) as rig:
        spies, bench = spy_on(rig), rig.bench
        bench.size_px = (64, 64)
        assert rig.configure()
        bench.wait_matched()
        wait_for(lambda: bench.wrist_images.get_subscription_count() > 0)
        show, bench.show_image = bench.show_image, lambda stamp: (
            bench.show_wrist(stamp), show(stamp))
        bench.feed()
        assert rig.activate()
        bench.wait_more(bench.actions, 2 * HORIZON + 2)
        seen = list(spies[0].seen)
        beside = Policy.open(folder, 'cpu')
        answers = [beside.act(each).actions for each in seen]
        planned = iter([action.to_vector() for actions in answers for action in actions])
        for executed in bench.actions[:2 * HORIZON]:
            assert any(np.allclose(executed, wanted, atol=1e-6) for wanted in planned)
        assert len(seen) < len(bench.actions)


def test_a_camera_without_a_topic_is_refused_before_weights_load(folder: str) -> None:
    """The error says which parameter to set."""
    with VlaRig(ScriptedPolicy(), checkpoint=folder, real_checkpoint=True) as rig:
        spies = spy_on(rig)
        assert not rig.configure()
        wait_for(lambda: 'camera_topics:=wrist=' in rig.bench.statuses[-1]['detail'])
        assert not spies
