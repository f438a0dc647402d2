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


"""Checkpoints are timed in turns, as many beside each other as fit."""

from pathlib import Path

import pytest
from rlrc_ros.vla.checkpoint import open_checkpoint
from rlrc_ros.vla.config import QuantizationConfig
from rlrc_training.bench_rows import weight_bytes
from rlrc_training.timing import groups, timing, TimingConfig
from tiny_vla import make_tiny_checkpoint


def test_the_first_is_in_every_group():
    """Seven of 3 beside one of 4 in 10: two at once, each time with the first."""
    found = list(groups([4] + [3] * 7, 10))
    assert found == [[0, 1, 2], [0, 3, 4], [0, 5, 6], [0, 7]]
    assert list(groups([4], 10)) == [[0]]
    with pytest.raises(ValueError, match='beside each other'):
        list(groups([4, 7], 10))


@pytest.mark.parametrize(('change', 'words'), [
    ({'checkpoints': ()}, 'no checkpoint'), ({'names': ('a',)}, '1 names for 2'),
    ({'names': ('a', 'a')}, 'called alike'), ({'vla_cache': ('c',)}, "'c' is not one of"),
    ({'blocks': 0}, 'at least 1'), ({'dtype': 'int4'}, "'int4' is not one of")])
def test_a_wrong_option_is_refused(change, words):
    """Before a process is started."""
    with pytest.raises(ValueError, match=words):
        TimingConfig(**{'checkpoints': (Path('a'), Path('b')), **change})


def test_a_missing_checkpoint_is_refused_first(tmp_path):
    """Before the others are loaded."""
    tiny = make_tiny_checkpoint(tmp_path / 'tiny')
    with pytest.raises(ValueError, match='no checkpoint folder'):
        timing(TimingConfig((tiny, tmp_path / 'none'), out=tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()


def test_a_quantised_row_tells_its_bytes(tmp_path):
    """Packed weights have no state_dict to save; they are counted all the same."""
    dense = open_checkpoint(make_tiny_checkpoint(tmp_path / 'dense')).model
    small = open_checkpoint(make_tiny_checkpoint(
        tmp_path / 'int4', quantization=QuantizationConfig(group_size=32))).model
    assert 0 < weight_bytes(small) < weight_bytes(dense)
