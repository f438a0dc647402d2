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
from rlrc_ros.vla.linear import Int4Linear, Nf4Linear
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.random_weights import random_model
from rlrc_training.bench import bench, BenchConfig, choose_rows, projection
from rlrc_training.bench_report import gains, markdown, verdicts
from rlrc_training.bench_rows import (
    dense_config,
    huggingface,
    make_step,
    pruned_config,
    row_config,
    ROWS,
    weight_bytes,
)
from tiny_vla import make_tiny_checkpoint
import torch
from torch import nn


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


@pytest.mark.parametrize(('name', 'tokens'), [
    ('E', 7), ('E4', 7), ('F', 7), ('F8', 7), ('G', 7), ('Gp', 7), ('H', 7), ('I', 56)])
def test_each_row_answers_exactly_its_tokens(name: str, tokens: int):
    """Real quantised layers, real slots; no end token cuts a row short, whatever runs it."""
    model = random_model(row_config(ROWS[name], 'nano'), 'cpu', torch.float32)
    step, _ = make_step(ROWS[name], model)
    assert len(step()) == tokens


def test_quantised_rows_hold_quantised_layers_and_weigh_less():
    """int4 in the decoder alone for ours, NF4 in all but the head for Hugging Face's row."""
    ours = random_model(row_config(ROWS['G'], 'nano'), 'cpu', torch.bfloat16)
    plain = random_model(row_config(ROWS['F'], 'nano'), 'cpu', torch.bfloat16)
    assert isinstance(ours.language_model.model.layers[0].mlp.up_proj, Int4Linear)
    assert isinstance(ours.projector.fc1, nn.Linear) and ours.language_model.lm_head.out_features \
        == 256
    assert weight_bytes(ours) < weight_bytes(plain)
    both = random_model(row_config(ROWS['Gp'], 'nano'), 'cpu', torch.bfloat16)
    assert weight_bytes(both) > weight_bytes(ours)
    theirs = skeleton(row_config(ROWS['E4'], 'nano'))
    assert isinstance(theirs.projector.fc1, Nf4Linear)
    assert theirs.language_model.lm_head.out_features == theirs.config.decoder.vocab_size


def test_rows_that_cannot_run_here_are_left_out_by_name(monkeypatch):
    """Without bitsandbytes its rows have no number, and the reason says what to type."""
    assert choose_rows(BenchConfig()) == (list(ROWS.values()), {})
    monkeypatch.setattr('rlrc_training.bench.find_spec', lambda name: None)
    rows, left_out = choose_rows(BenchConfig())
    assert set(left_out) == {'B', 'E4', 'F4'} and len(rows) == len(ROWS) - 3
    assert 'pip install bitsandbytes' in left_out['B']


def test_a_checkpoint_of_another_kind_than_its_row_is_refused(tmp_path):
    """A row's words stay true with real weights."""
    tiny = make_tiny_checkpoint(tmp_path / 'tiny')
    assert BenchConfig(weights=(f'F={tiny}',)).folder(ROWS['F']) == tiny
    with pytest.raises(ValueError, match='row G .* runs scheme int4 .* has none'):
        BenchConfig(weights=(f'G={tiny}',))
    with pytest.raises(ValueError, match='ROW=FOLDER'):
        BenchConfig(weights=('Z=runs/a',))


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


def test_the_projection_of_7b_is_marked_and_is_the_published_one():
    """Nothing is measured: dense bf16 on an H200 takes 20 ms at least, pruned int4 1.3 ms."""
    dense, pruned = projection('7b').split('7b, pruned')
    assert 'projected, not measured' in dense and 'projected, not measured' in pruned
    assert '| H200 | 20.4 |' in dense and '| H200 | 2.7 | 1.3 | 0.8 |' in pruned


def test_gains_compare_blocks_and_not_whole_runs():
    """A machine that slows down between blocks slows both rows of a block."""
    (found,) = gains({'C': [[10, 10, 10], [100, 100, 100]], 'F': [[5, 5, 5], [50, 50, 50]]})
    assert (found['gain'], found['rows'], found['ratio']) == ('pruning', 'C/F', 2.0)
    assert gains({'A': [[1.0]]}) == []


@pytest.mark.slow
def test_a_short_bench_writes_table_numbers_and_picture(tmp_path, monkeypatch):
    """Two rows in processes of their own; the pruned one weighs less and ours counts less."""
    monkeypatch.setattr('rlrc_training.bench.find_spec', lambda name: None)
    document = bench(BenchConfig(rows=('E', 'F', 'F4'), device='cpu', blocks=2, steps=2,
                                 warm_ups=1, threads=1, out=tmp_path))
    theirs, ours = document['rows']
    assert (theirs['n'], ours['n']) == (4, 4)
    assert ours['operations'] < theirs['operations'] and ours['weight_bytes'] > 0
    assert ours['peak_bytes'] >= ours['process_bytes'] * 0.9
    assert 0 < ours['share_of_limit'] < 1.5
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ['bench_nano_cpu.json', 'bench_nano_cpu.md', 'bench_nano_cpu.png']
    assert json.loads((tmp_path / written[0]).read_text())['left_out'].keys() == {'F4'}
    assert '| engineering | E/F |' in markdown(document)


def test_a_scheme_that_is_slower_than_the_runs_dtype_is_said_so():
    """And the plain checkpoint is offered; blocks that disagree are no verdict."""
    document = {'dtype': 'bfloat16', 'gains': gains(
        {'F': [[10.0], [10.0]], 'F8': [[9.0], [11.0]], 'G': [[20.0], [20.0]],
         'Gp': [[5.0], [5.0]]})}
    unclear, slow, fast = verdicts(document)
    assert '* G (ours, pruned, int4), x0.50 of F: slower here' in slow
    assert 'serve the bfloat16 checkpoint' in slow and 'faster here' in fast
    assert 'no difference' in unclear
