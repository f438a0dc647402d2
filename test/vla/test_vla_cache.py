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

"""VLA-Cache: the official selection, and reuse that does what it says in our cache."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla.config import LayerWidths
from rlrc_ros.vla.model import Vla
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.runtime import Reuse, StepRuntime
from rlrc_ros.vla.vla_cache import (
    patch_similarity,
    relevant_patches,
    reusable_positions,
    reuse_schedule,
    static_patches,
    top_patches,
    VlaCacheConfig,
    VlaCacheRuntime,
)
from rlrc_training.presets import preset
from tiny_vla import make_tiny_checkpoint
import torch

GOLDEN = Path(__file__).resolve().parents[3] / 'shared/goldens/vla_cache/vla_cache.npz'


@pytest.fixture(scope='module')
def golden() -> dict[str, np.ndarray]:
    """Return what the official functions computed."""
    if not GOLDEN.exists():
        pytest.skip('the golden reference data of VLA-Cache is not here')
    return dict(np.load(GOLDEN))


def test_static_patches_are_the_official_ones(golden):
    """Similarity to the last bit; the same patches in the same order."""
    similarity = patch_similarity(golden['image'], golden['prev_image'], 14)
    assert np.array_equal(similarity, golden['patch_similarity'])
    for top_k, threshold in ((150, 0.996), (130, 0.996), (130, 0.99), (40, 0.996)):
        assert np.array_equal(static_patches(similarity, top_k, threshold),
                              golden[f'static_top{top_k}_thr{threshold}'])


def test_schedule_and_relevant_patches_are_the_official_ones(golden):
    """Within 1e-6; the reusable positions are equal."""
    attentions = torch.from_numpy(golden['attn'])
    layers = list(attentions[:, 0])
    np.testing.assert_allclose(reuse_schedule(layers, 0.55), golden['schedule'], atol=1e-6)
    np.testing.assert_allclose(reuse_schedule(layers, None), golden['schedule_no_growth'],
                               atol=1e-6)
    scores = relevant_patches(
        layers[15], torch.from_numpy(golden['attn_query_positions']), 256, 35)
    np.testing.assert_allclose(scores, golden['text_to_vision_attn'], atol=1e-6)
    assert np.array_equal(top_patches(scores, 120), golden['top120_patches'])
    similarity = patch_similarity(golden['image'], golden['prev_image'], 14)
    positions = reusable_positions(static_patches(similarity, 130, 0.996),
                                   top_patches(scores, 120))
    assert np.array_equal(positions, golden['reusable_token_positions'])


@cache
def _weights() -> Vla:
    config, _ = preset('tiny')
    decoder = replace(config.decoder, layers=(LayerWidths(4, 96),) * 4)
    model = Vla(replace(config, decoder=decoder)).requires_grad_(False).eval()
    model.initialise(torch.Generator().manual_seed(0))
    return model


def _model() -> Vla:
    return deepcopy(_weights())  # a fresh model would draw its biases anew


def test_on_the_same_frame_reuse_changes_nothing():
    """Old keys and values are the new ones then: the same logits, from fewer tokens."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ids = [1, *range(10, 18)]
    plain = StepRuntime(_model(), reuse=Reuse(enabled=False))
    expected = plain.act(image, ids)
    cached = VlaCacheRuntime(_model(), settings=VlaCacheConfig(
        static_top_k=12, relevant_top_k=4, attention_layer=1, pruning_layers=(1, 2, 3)))
    assert np.array_equal(cached.act(image, ids), expected) and cached.reused == 0
    for _ in range(2):
        assert np.array_equal(cached.act(image, ids), expected) and 1 <= cached.reused <= 12
        torch.testing.assert_close(cached.last_logits, plain.last_logits, atol=1e-4, rtol=0)
    cached.reset()
    assert np.array_equal(cached.act(image, ids), expected) and cached.reused == 0


def test_a_new_scene_or_instruction_reuses_nothing():
    """Nothing static is left, so the answer is the plain model's."""
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2)]
    plain = StepRuntime(_model(), reuse=Reuse(enabled=False))
    cached = VlaCacheRuntime(_model())
    for image, ids in ((frames[0], [1, 5, 6]), (frames[1], [1, 5, 6]), (frames[1], [1, 7, 6])):
        assert np.array_equal(cached.act(image, ids), plain.act(image, ids))
        assert cached.reused == 0


def test_a_forced_share_is_reused_whatever_the_image_shows():
    """For the bench: the first patches of the second frame come from the cache."""
    rng = np.random.default_rng(1)
    cached = VlaCacheRuntime(_model(), settings=VlaCacheConfig.for_model(4, 16, forced=5))
    for expected in (0, 5, 5):
        cached.act(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), [1, 5, 6])
        assert cached.reused == expected


def test_the_published_constants_are_scaled_to_other_sizes():
    """At 32 layers and 256 patches nothing changes."""
    assert VlaCacheConfig.for_model(32, 256) == VlaCacheConfig()
    assert VlaCacheConfig.for_model(4, 16).pruning_layers == (1,)


def test_the_policy_offers_it(tmp_path):
    """`runtime='vla-cache'` acts, and forgets an episode when told to."""
    policy = Policy.open(make_tiny_checkpoint(tmp_path / 'tiny'), 'cpu', runtime='vla-cache')
    policy.warm_up()
    observation = Observation(np.zeros((64, 64, 3), np.uint8), 'put carrot on plate')
    plain = Policy.open(tmp_path / 'tiny', 'cpu')
    assert plain.reused_share is None
    for _ in range(2):
        policy.reset()
        assert np.array_equal(policy.act(observation).actions[0].to_vector(),
                              plain.act(observation).actions[0].to_vector())
    assert policy.reused_share == 0.0, 'an episode begins'
