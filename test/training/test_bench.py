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

"""The bench: rows of the shapes they claim, Hugging Face's own model, refusals, one true run."""

import json

import pytest
from rlrc_training.bench import bench, BenchConfig, choose_rows
from rlrc_training.bench_report import gains, markdown
from rlrc_training.bench_rows import (
    dense_config,
    huggingface,
    make_step,
    pruned_config,
    random_model,
    ROWS,
)
import torch


def test_the_7b_rows_have_the_published_shapes():
    """Middle layers keep 2 heads and 550 channels; the first and the last stay whole."""
    layers = pruned_config(dense_config('7b')).decoder.layers
    assert [(each.num_heads, each.intermediate_size) for each in (layers[0], layers[-1])] == [
        (32, 11008)] * 2
    assert {(each.num_heads, each.intermediate_size) for each in layers[1:-1]} == {(2, 550)}
    eighth = dense_config('eighth')
    assert (eighth.decoder.hidden_size, len(eighth.decoder.layers)) == (512, 32)
    assert eighth.num_patches == 256 and [each.embed_dim for each in eighth.towers] == [128, 144]


def test_row_e_is_transformers_llama_with_pruned_layers():
    """Its logits behind the same embeddings are ours, within 1e-4, though widths differ."""
    model = random_model(pruned_config(dense_config('nano')), 'cpu', torch.float32)
    model.initialise(torch.Generator().manual_seed(0))
    embeddings = torch.randn(1, 12, 192, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = huggingface(model)(inputs_embeds=embeddings).logits
        ours = model.language_model.lm_head(model.language_model.model(embeddings))
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def test_each_row_decodes_exactly_seven_tokens():
    """No end token cuts a row short, whatever runs it."""
    model = random_model(pruned_config(dense_config('nano')), 'cpu', torch.float32)
    for name in ('E', 'F'):
        step, _ = make_step(ROWS[name], model)
        assert len(step()) == 7


def test_rows_that_need_a_checkpoint_are_left_out_by_name(tmp_path):
    """No number is invented for what cannot run; the reason says what to make."""
    rows, left_out = choose_rows(BenchConfig())
    assert {'A', 'C', 'E', 'F'} <= {row.name for row in rows}
    assert set(left_out) == {'B', 'E4', 'G', 'H', 'I'}
    assert left_out['G'] == 'not available: rlrc quantize is needed (--int4 FOLDER)'
    assert 'G' in {row.name for row in choose_rows(BenchConfig(int4=tmp_path))[0]}


@pytest.mark.parametrize(('options', 'said'), [
    ({'size': '70b'}, 'nano, eighth, 7b'), ({'rows': ('A', 'Z')}, 'Z are not known; there are: A'),
    ({'steps': 0}, 'at least 1'), ({'dtype': 'float8'}, 'bfloat16')])
def test_a_wrong_option_is_refused_before_anything_is_built(options: dict, said: str):
    """The message names the value and the valid ones."""
    with pytest.raises(ValueError, match=said):
        BenchConfig(**options)


def test_rows_that_do_not_fit_beside_each_other_are_refused(monkeypatch):
    """Before a process is started: what they need and what is free."""
    monkeypatch.setattr('psutil.virtual_memory', lambda: type('Memory', (), {'available': 2**30}))
    with pytest.raises(ValueError, match=r'A, C need 56\.\d GiB beside each other, 1.0 are free'):
        bench(BenchConfig(size='7b', rows=('A', 'C'), device='cpu'))


def test_gains_compare_blocks_and_not_whole_runs():
    """A machine that slows down between blocks slows both rows of a block."""
    (found,) = gains({'C': [[10, 10, 10], [100, 100, 100]], 'F': [[5, 5, 5], [50, 50, 50]]})
    assert (found['gain'], found['rows'], found['ratio']) == ('pruning', 'C/F', 2.0)
    assert gains({'A': [[1.0]]}) == []


@pytest.mark.slow
def test_a_short_bench_writes_table_numbers_and_picture(tmp_path):
    """Two rows in processes of their own; the pruned one weighs less and ours counts less."""
    document = bench(BenchConfig(rows=('E', 'F', 'G'), device='cpu', blocks=2, steps=2,
                                 warm_ups=1, threads=1, out=tmp_path))
    theirs, ours = document['rows']
    assert (theirs['n'], ours['n']) == (4, 4)
    assert ours['operations'] < theirs['operations'] and ours['weight_bytes'] > 0
    assert ours['peak_bytes'] >= ours['process_bytes'] * 0.9
    assert 0 < ours['share_of_limit'] < 1.5
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ['bench_nano_cpu.json', 'bench_nano_cpu.md', 'bench_nano_cpu.png']
    assert json.loads((tmp_path / written[0]).read_text())['left_out'].keys() == {'G'}
    assert '| engineering | E/F |' in markdown(document)
