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

"""Which seeds a run of sim_bridge goes through."""

import pytest
from rlrc_sim.bridge_series import seeds
from rlrc_sim.bridge_settings import BridgeSettings
from rlrc_sim.suites import placement
from rlrc_sim.world import World

pytestmark = pytest.mark.sim


@pytest.fixture(scope='module')
def world():
    """Make one real world."""
    world = World(image_size_px=(32, 32), control='joint')
    yield world
    world.close()


def test_seeds_count_up(world):
    """By default a run takes the seeds one after another, without choosing."""
    assert list(seeds(BridgeSettings(first_seed=7, episodes=4), world)) == [7, 8, 9, 10]


def test_distinct_instructions_skip_what_was_said(world):
    """Seeds whose instruction came before are skipped; the others keep their order."""
    settings = BridgeSettings(first_seed=0, episodes=8, distinct_instructions=True)
    chosen = list(seeds(settings, world))
    sentences = [placement('ind', seed).instruction for seed in chosen]
    assert len(set(sentences)) == 8
    skipped = set(range(chosen[-1])) - set(chosen)
    assert skipped, 'these seeds repeat no instruction: choose others for this test'
    assert all(placement('ind', seed).instruction in sentences for seed in skipped)
