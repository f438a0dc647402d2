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

"""The golden LLaMA of the pruning baselines as our decoder, for tests that compare with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from rlrc_ros.vla.config import DecoderConfig, LayerWidths
from rlrc_ros.vla.language import LanguageModel
from rlrc_training.pruning.calibration import from_token_ids
from rlrc_training.pruning.walk import Sample
import torch

GOLDENS = Path(__file__).resolve().parents[2] / 'shared' / 'goldens' / 'llm_pruning'
_META = GOLDENS / 'meta_llmpruner.json'
_DOCUMENT = json.loads(_META.read_text()) if _META.exists() else {}
VARIANT = {'layers': 6, 'ratio': 0.5, 'start': 1, 'end': 5, **_DOCUMENT.get('variant', {})}
"""What the golden run was: nothing of its shape is written down here, so another one may lie
there."""


def _config(sizes: dict) -> DecoderConfig:
    heads = sizes['num_attention_heads']
    return DecoderConfig(
        sizes['vocab_size'], sizes['hidden_size'], sizes['hidden_size'] // heads,
        (LayerWidths(heads, sizes['intermediate_size']),) * sizes['num_hidden_layers'],
        sizes['rms_norm_eps'], sizes['rope_theta'], sizes['max_position_embeddings'])


CONFIG = _config(_DOCUMENT['config']) if _DOCUMENT else None


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """Return one golden file's arrays, or skip the test where the goldens are absent."""
    path = GOLDENS / f'{name}.npz'
    if not path.exists():
        pytest.skip(f'no golden data {path.name} beside the repository; only some checks need it')
    return dict(np.load(path))


def golden_llama() -> tuple[LanguageModel, list[Sample]]:
    """Return the dense golden model and its calibration samples."""
    dense = golden_arrays('dense')
    model = LanguageModel(CONFIG)
    model.load_state_dict({key[3:]: torch.from_numpy(value) for key, value in dense.items()
                           if key.startswith('w::')})
    model.eval().requires_grad_(False)
    return model, from_token_ids(model, torch.from_numpy(dense['calib_ids'])).samples


def logits_of(model: LanguageModel) -> torch.Tensor:
    """Return the logits (rows, tokens, vocabulary) of the golden test sequences."""
    ids = torch.from_numpy(golden_arrays('dense')['test_ids'])
    with torch.no_grad():
        return model.lm_head(model.model(model.model.embed_tokens(ids)))
