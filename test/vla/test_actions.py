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

"""Action tokens and normalisation, against OpenVLA's own numbers where they are at hand."""

from pathlib import Path

import numpy as np
import pytest
from rlrc_ros.vla.actions import action_chunk, ActionTokenizer, NormStats, statistics_of
from rlrc_ros.vla.config import ActionConfig

OPENVLA = ActionConfig(vocab_end=32000, prefix_token_id=29871)
GOLDENS = Path(__file__).parents[3] / 'shared' / 'goldens'


def test_the_ends_and_the_middle_get_the_ids_that_openvla_gives_them():
    """-1, 0 and 1 become 31999, 31872 and 31744."""
    ids = ActionTokenizer(OPENVLA).encode(np.array([-1.0, 0.0, 1.0]))
    assert ids.tolist() == [31999, 31872, 31744]


def test_tokens_equal_the_official_tokenizer():
    """Every golden value gives the golden id, every id the golden value."""
    path = GOLDENS / 'action_tokenizer.npz'
    if not path.exists():
        pytest.skip('no ../shared/goldens/action_tokenizer.npz beside the repository')
    golden, tokenizer = np.load(path), ActionTokenizer(OPENVLA)
    np.testing.assert_array_equal(tokenizer.encode(golden['values']), golden['token_ids'])
    np.testing.assert_array_equal(tokenizer.decode(golden['token_ids']), golden['roundtrip'])
    np.testing.assert_array_equal(
        tokenizer.decode(golden['decode_input_ids']), golden['decode_values'])


def test_a_round_trip_stays_within_half_a_bin():
    """Encoding and decoding moves a value by at most half a bin, up to the ends."""
    values = np.linspace(-1, 1, 1001)
    tokenizer = ActionTokenizer(OPENVLA)
    error = np.abs(tokenizer.decode(tokenizer.encode(values)) - values)
    assert error.max() <= 1 / 255 + 1e-12


def test_the_gripper_passes_through_normalisation():
    """The masked dimension is neither scaled nor clipped; the others come back as they were."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-0.03, 0.03, (200, 7))
    actions[:, 6] = rng.integers(0, 2, 200)
    stats = NormStats.from_json(statistics_of(actions, episodes=4))
    inside = np.clip(actions, stats.q01, stats.q99)
    inside[:, 6] = actions[:, 6]
    np.testing.assert_allclose(stats.unnormalise(stats.normalise(actions)), inside, atol=1e-7)


def test_statistics_without_a_mask_normalise_everything():
    """A missing mask means that every dimension is scaled, as in OpenVLA."""
    numbers = {'q01': [0.0, 0.0], 'q99': [1.0, 2.0]}
    stats = NormStats.from_json({'action': numbers})
    assert NormStats.from_json({'action': numbers | {'mask': None}}).mask.all()
    np.testing.assert_allclose(stats.unnormalise(np.array([1.0, 0.0])), [1.0, 1.0])


@pytest.mark.parametrize('entry', [
    {}, {'action': {'q01': [0.0]}}, {'action': {'q01': [0.0], 'q99': [float('nan')]}},
    {'action': {'q01': [0.0], 'q99': [1.0, 2.0]}}, {'action': {'q01': 0.0, 'q99': 1.0}},
    {'action': {'q01': [0.0], 'q99': [1.0], 'mask': True}}])
def test_statistics_that_cannot_be_used_are_refused(entry):
    """Missing, unequal or not finite percentiles raise ValueError."""
    with pytest.raises(ValueError):
        NormStats.from_json(entry)


def test_a_chunk_holds_one_action_per_step_of_the_horizon():
    """Fourteen tokens at horizon two are two actions, in order."""
    stats = NormStats(np.full(7, -1.0), np.full(7, 1.0), np.ones(7, bool))
    tokenizer = ActionTokenizer(OPENVLA)
    ids = tokenizer.encode(np.concatenate([np.full(7, -0.5), np.full(7, 0.5)]))
    chunk = action_chunk(stats.unnormalise(tokenizer.decode(ids).reshape(2, 7)))
    assert len(chunk.actions) == 2
    assert chunk.actions[0].gripper == pytest.approx(-0.5, abs=1 / 255)
    assert chunk.actions[1].delta_xyz_m[0] == pytest.approx(0.5, abs=1 / 255)
