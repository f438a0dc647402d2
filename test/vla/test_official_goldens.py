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

"""
The golden OpenVLA, opened as an official folder, gives the official code's numbers.

Tolerances are the goldens' own: 1e-4 absolute in fp32, tokens and statistics exact.
"""

import json
import math

import numpy as np
from official_folders import golden, golden_folder, GOLDEN_INSTRUCTION, golden_ppo_folder
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import images, official, prompt
from rlrc_ros.vla.checkpoint import Checkpoint, open_checkpoint
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.policy import Policy
import torch
from torch.nn import functional

TOLERANCE = 1e-4


@pytest.fixture(scope='module')
def opened(tmp_path_factory) -> Checkpoint:
    """Return the golden checkpoint, opened from two shards."""
    return open_checkpoint(golden_folder(tmp_path_factory.mktemp('golden') / 'tiny', shards=2))


@pytest.fixture(scope='module')
def reference() -> dict[str, np.ndarray]:
    """Return what the official code computed."""
    return dict(np.load(golden('tiny_openvla_a') / 'reference.npz'))


@pytest.fixture(scope='module')
def pictures() -> dict[str, np.ndarray]:
    """Return the golden images and what the official processor made of them."""
    return dict(np.load(golden('tiny_openvla_a') / 'image_processing.npz'))


@pytest.fixture(scope='module')
def pixels(pictures) -> torch.Tensor:
    """Return the two images as the official processor squeezes them."""
    return torch.from_numpy(np.concatenate(
        [pictures['pixel_values_resize_naive'], pictures['pixel_values_resize_naive_img1']]))


def _near(ours: torch.Tensor, theirs: np.ndarray) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=TOLERANCE, rtol=0)


def _logits(model, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return all logits (B, P + T, V)."""
    decoder = model.language_model
    return decoder.lm_head(decoder.model(model.embed(ids, model.encode_image(pixels))))


@pytest.mark.parametrize(('strategy', 'image', 'key'), [
    ('resize-naive', 'image0', 'resize_naive'), ('resize-naive', 'image1', 'resize_naive_img1'),
    ('letterbox', 'image0', 'letterbox'), ('resize-crop', 'image0', 'resize_crop')])
def test_pixels_equal_the_official_processors(opened, pictures, strategy, image, key):
    """Each resize strategy gives the official pixel values."""
    document = opened.summary.config.to_json()
    document['image']['resize_strategy'] = strategy
    config = VlaConfig.from_json(document)
    prepared = images.prepare(pictures[image], config)
    _near(images.to_pixels(torch.from_numpy(prepared)[None], config.towers),
          pictures[f'pixel_values_{key}'])


def test_towers_and_projector_equal_the_official_ones(opened, reference, pixels):
    """Features of both towers and their projection are the golden ones."""
    model = opened.model
    with torch.no_grad():
        _near(model.vision_backbone.featurizer(pixels[:, :3]), reference['dino_patches'])
        _near(model.vision_backbone.fused_featurizer(pixels[:, 3:]), reference['siglip_patches'])
        _near(model.encode_image(pixels), reference['projector_out'])


def test_hidden_states_and_logits_equal_the_official_ones(opened, reference, pixels):
    """Embeddings, final hidden states and logits over the whole vocabulary are the golden ones."""
    model, ids = opened.model, torch.from_numpy(reference['input_ids'])
    with torch.no_grad():
        embeddings = model.embed(ids, model.encode_image(pixels[:1]))
        _near(embeddings[0], reference['hidden_embeds'])
        _near(model.language_model.model(embeddings)[0], reference['hidden_final'])
        logits = _logits(model, pixels[:1], ids)[0]
    _near(logits[-1], reference['logits_last_full'])
    rows, columns = reference['logits_subset_positions'], reference['logits_cols']
    _near(logits[rows][:, columns], reference['logits_subset'])


def test_a_padded_batch_equals_the_official_one(opened, reference, pixels):
    """Two prompts of different length, padded behind, get their golden logits without a mask."""
    ids = torch.from_numpy(reference['batch_input_ids'])
    length = int(reference['batch_attention_mask'][1].sum())
    with torch.no_grad():
        logits = _logits(opened.model, pixels, ids)[..., 31744:32000]
    rows = reference['batch_logits_positions']
    _near(logits[0, rows], reference['batch_logits_subset'][0])
    last = opened.summary.config.num_patches + length - 1
    compared = [index for index, row in enumerate(rows) if row % logits.shape[1] <= last]
    assert len(compared) >= 3
    _near(logits[1, rows[compared]], reference['batch_logits_subset'][1, compared])


def test_decoding_equals_the_official_generation(opened, reference, pixels):
    """Cached decoding gives the golden tokens and each step's log-probabilities of 256 ids."""
    ids = torch.from_numpy(reference['input_ids'])
    both = opened.model.act(pixels, ids.expand(2, -1), torch.tensor([ids.shape[1]] * 2))
    assert both.action_ids[0].tolist() == reference['generated_ids'][0, -7:].tolist()
    assert both.action_ids[1].tolist() == reference['generated_ids_img2'][0, -7:].tolist()
    assert both.action_ids[0].tolist() == reference['gen_step_argmax'].tolist()
    expected = torch.log_softmax(torch.from_numpy(reference['gen_step_logits_action']), -1)
    _near(both.action_logprobs[0], expected.numpy())
    _near(both.first_hidden[0], reference['hidden_final'][-1])


@pytest.mark.parametrize('key', ['tiny_ds', 'nomask_ds'])
def test_a_policy_predicts_the_official_actions(opened, reference, pictures, key):
    """From raw image and sentence to metres: seven masked dimensions, and five without a mask."""
    policy = Policy(opened, unnorm_key=key)
    seen = Observation(pictures['image0'], GOLDEN_INSTRUCTION)
    for way in ('with29871', 'without29871', 'without29871_mask'):
        np.testing.assert_allclose(
            policy.predict([seen])[0, 0], reference[f'action_{way}_{key}'], atol=1e-12)


def test_an_answer_that_no_arm_can_execute_is_refused(opened, pictures):
    """Five numbers can be predicted, but are no action for the arm."""
    with pytest.raises(ValueError, match='an action has 7 numbers'):
        Policy(opened, unnorm_key='nomask_ds').act(
            Observation(pictures['image0'], GOLDEN_INSTRUCTION))


def test_a_batch_of_policies_answers_for_each_image(opened, reference, pictures):
    """The second image gets its golden action when both are answered together."""
    policy = Policy(opened, unnorm_key='tiny_ds')
    seen = [Observation(pictures[name], GOLDEN_INSTRUCTION) for name in ('image0', 'image1')]
    np.testing.assert_allclose(
        policy.act_batch(seen)[1].actions[0].to_vector(), reference['action_img2_tiny_ds'],
        atol=1e-6)


def test_a_prompt_without_the_prefix_token_gets_it_and_no_mask_is_extended(opened, reference):
    """
    The tokenizer's ids gain 29871; the question of its attention mask does not arise.

    Official code hands over a mask that is then one too short. Here rows are padded behind and
    decoded at their own positions, so causality alone says what a token sees.
    """
    policy = Policy(opened, unnorm_key='tiny_ds')
    assert policy._encode(GOLDEN_INSTRUCTION) == reference['input_ids'][0].tolist()
    bare = opened.tokenizer.encode(opened.summary.config.prompt.format(
        instruction=GOLDEN_INSTRUCTION.lower()), add_special_tokens=False)
    assert bare.ids == reference['input_ids'][0, 1:-1].tolist()


def test_loss_and_gradients_equal_the_official_ones(opened, reference, pixels):
    """Cross-entropy on seven actions and the end token, its accuracy and its gradients."""
    model = opened.model
    ids, labels = (torch.from_numpy(reference[f'sft_{name}']) for name in ('input_ids', 'labels'))
    where = torch.stack([(row != -100).nonzero()[:, 0] for row in labels])
    targets = labels.gather(1, where)
    model.requires_grad_(True)
    try:
        logits = model.language_model.lm_head(model(pixels, ids, where))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        assert loss.item() == pytest.approx(float(reference['sft_loss']), abs=TOLERANCE)
        predicted = logits.argmax(-1)[targets > 31743]
        assert predicted.tolist() == reference['sft_action_preds'][
            reference['sft_action_mask']].tolist()
        gradients = {name: each.grad for name, each in model.named_parameters()}
        compared = 0
        for key, theirs in reference.items():
            kind, _, name = key.partition('::')
            if kind == 'grad':
                _near(gradients[name], theirs)
            elif kind == 'grad_norm':
                assert gradients[name].norm().item() == pytest.approx(float(theirs), rel=1e-4)
            compared += kind in ('grad', 'grad_norm')
        assert compared >= 16
        assert all(gradient is not None for gradient in gradients.values())
    finally:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)


def test_the_parameters_without_gradient_are_the_ones_left_out(opened, reference):
    """What the official code never trains is what we do not load."""
    assert set(reference['params_without_grad'].tolist()) == set(
        official.unused_shapes(opened.summary.config))


def test_seven_billion_parameters_have_the_official_names_and_shapes():
    """On the meta device the layout of openvla-7b is exact, dead blocks included."""
    theirs = json.loads(golden('openvla_7b_state_dict_shapes.json').read_text())
    config = official.read_config(
        {'model_type': 'openvla', 'vision_backbone_id': 'dinosiglip-vit-so-224px',
         'llm_backbone_id': 'llama2-7b-pure', 'image_resize_strategy': 'resize-naive',
         'text_config': {'model_type': 'llama', 'vocab_size': 32064, 'pad_token_id': 32000}},
        {}, {}, 'openvla-7b', 7)
    ours = official.layout(config)
    assert ours == {name: tuple(shape) for name, shape in theirs.items()}
    assert len(ours) == 982
    assert sum(map(math.prod, ours.values())) == 7_541_237_184
    assert config.decoder.rms_norm_eps == 1e-6
    assert config.action.vocab_end == 32000


def test_prompts_of_different_length_equal_the_official_rollout_of_ppo(tmp_path):
    """
    Two prompts in one batch: tokens, log-probabilities, distributions and the critic's state.

    The official rollout pads in front and hands over position ids and a mask; ours pads behind
    and needs neither.
    """
    theirs = dict(np.load(golden('ppo_a/model_step.npz')))
    inputs = dict(np.load(golden('oft_a') / 'inputs.npz'))
    model = open_checkpoint(golden_ppo_folder(tmp_path / 'ppo')).model
    ids, lengths = prompt.pad([[*inputs[name].ravel().tolist(), 29871]
                               for name in ('input_ids', 'input_ids2')], 32000)
    assert lengths[0] != lengths[1]
    pictures = torch.from_numpy(np.stack([inputs['image0'], inputs['image1']]))
    pixels = images.to_pixels(pictures, model.config.towers)
    decoded = model.act(pixels, ids, lengths)
    assert decoded.action_ids.tolist() == theirs['predict_action_ids'].tolist()
    _near(decoded.logprobs.sum(1, keepdim=True), theirs['predict_logprob'])
    _near(decoded.first_hidden, theirs['eval_hidden_at_value_token'])
    given = torch.from_numpy(theirs['eval_action_ids'])
    sequence = torch.nn.functional.pad(ids, (0, 7), value=32000)
    where = lengths[:, None] + torch.arange(7)
    sequence = sequence.scatter(1, where, given)
    with torch.no_grad():
        logits = model.action_logits(model(pixels, sequence, where))
    _near(logits, theirs['eval_action_logits'])
    logprobs = torch.log_softmax(logits, -1).gather(2, (given - 31744)[..., None])[..., 0]
    _near(logprobs, theirs['eval_token_logprobs'])
