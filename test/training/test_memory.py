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

"""The memory plan counts what is there, and checkpointing keeps what it says."""

import pytest
from rlrc_ros.vla.model import Vla
from rlrc_training.memory import kept_bytes, openvla_7b, plan, shared_gb
from rlrc_training.presets import preset


def test_the_plan_for_seven_billion_counts_the_published_parameters():
    """7.54 less what plays no part, 1.8 pruned, and the low-rank adapters' rank times widths."""
    dense, pruned = plan(openvla_7b(), 32), plan(openvla_7b(pruned=True), 0)
    assert dense['parameters'] - dense['trained'] == pytest.approx(7.498, abs=1e-3)
    assert dense['trained'] == pytest.approx(0.109, abs=1e-3)
    assert pruned['parameters'] == pytest.approx(1.8, abs=0.06)
    assert dense['frozen_gb'] == pytest.approx(2 * 7.498, abs=2e-3)
    # RL4VLA publishes 44 GB for 8 samples at once on one trunk.
    total = dense['frozen_gb'] + dense['trained_gb'] + 8 * dense['sample_gb']
    assert total == pytest.approx(44, abs=3)


def test_shares_divide_all_but_what_every_process_keeps():
    """One process holds what plan() says; many are left with embeddings, head and projector."""
    whole = plan(openvla_7b(), 0)['trained_gb']
    assert shared_gb(openvla_7b(), 1) == pytest.approx(whole)
    kept = shared_gb(openvla_7b(), 10**6)
    assert 0.03 < kept / whole < 0.06
    assert shared_gb(openvla_7b(), 8) == pytest.approx(kept + (whole - kept) / 8, rel=1e-3)


def test_checkpointed_activations_are_the_blocks_inputs():
    """Tokens times width of every block that runs, in fp32, and far below what is kept else."""
    config, _ = preset('tiny')
    kept, inputs = kept_bytes(Vla(config).to('meta'))
    tokens = config.num_patches + 35
    expected = len(config.decoder.layers) * tokens * config.decoder.hidden_size
    for tower in config.towers:
        prefix = tower.register_tokens + tower.class_token
        expected += tower.used_blocks * (tower.num_patches + prefix) * tower.embed_dim
    assert inputs == 4 * expected
    assert inputs < 0.5 * kept
