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

"""Conductor: what brings vla_node up says why it does not come up."""

import pytest
from rlrc_sim.bridge_node import Conductor, TransitionFailed
from rlrc_training.node_process import NodeDied, NodeProcess
from sim_client import own_domain

pytestmark = pytest.mark.timeout(120)


def test_a_refused_transition_is_told_in_the_nodes_own_words(tmp_path, monkeypatch):
    """vla_node without a checkpoint refuses to configure; the error says what to set."""
    domain = own_domain(7)
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    node = NodeProcess('vla_node', 'rlrc_ros.nodes.vla_node', [], tmp_path / 'vla_node.log',
                       {'ROS_DOMAIN_ID': str(domain)})
    try:
        with Conductor(domain) as conductor:
            with pytest.raises(TransitionFailed, match='checkpoint:='):
                conductor.bring_up(60.0, node.check)
            assert conductor.status['state'] == 'unconfigured'
            node.check()
            assert node.exit_code is None, 'a refused transition ended the node'
    finally:
        node.stop()


def test_nobody_there_ends_in_words(monkeypatch):
    """No vla_node at all: bring_up gives up in time, and gives up at once when check() raises."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

    def died() -> None:
        raise NodeDied('vla_node ended')

    with Conductor(own_domain(8)) as conductor:
        with pytest.raises(TransitionFailed, match='did not configure within 1 s'):
            conductor.bring_up(1.0, lambda: None)
        with pytest.raises(NodeDied):
            conductor.bring_up(60.0, died)
