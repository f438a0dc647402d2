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

"""The loss of `rlrc sft` equals the official one, and what its options add is what they say."""

from dataclasses import replace
import json
from pathlib import Path
import shutil

import numpy as np
from official_folders import golden, golden_folder
import pytest
from rlrc_ros.types import Observation
from rlrc_ros.vla import prompt
from rlrc_ros.vla.actions import ActionTokenizer
from rlrc_ros.vla.checkpoint import inspect, open_checkpoint
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.model import skeleton
from rlrc_ros.vla.policy import Policy
from rlrc_training.augmentation import openvla_augment
from rlrc_training.data import DemonstrationError, Episode, save_episode
from rlrc_training.frames import action_chunks, draw, Frames, load_frames
from rlrc_training.lora import merged_weights
from rlrc_training.oft import oft_loss, OftBatch
from rlrc_training.presets import preset
from rlrc_training.sft import _evaluate, _with_crop, open_model, open_teacher, sft
from rlrc_training.sft_config import SftConfig
from rlrc_training.sft_loss import Batch, batch_loss, soft_targets, teacher_forced, token_losses
from rlrc_training.trainer import Trainer
from safetensors.torch import load_file
from tiny_vla import DATASET, make_tiny_checkpoint
import torch

CPU = torch.device('cpu')
PLAIN = {'bin_sigma': 0.0, 'auxiliary_weight': 0.0, 'colour_jitter': 0.0, 'ema_decay': 0.0,
         'eval_episodes': 0, 'device': 'cpu', 'warmup_steps': 1}


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Write a random checkpoint once for this file."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp('sft') / 'tiny')


@pytest.fixture(scope='module')
def demos(tmp_path_factory):
    """Write two folders of noise: three episodes of 4 frames, and one of 12."""
    folders = [tmp_path_factory.mktemp('demos') for _ in range(2)]
    rng = np.random.default_rng(4)
    for folder, count, frames in zip(folders, (3, 1), (4, 12)):
        for number in range(count):
            actions = rng.normal(0, 0.01, (frames, 7))
            actions[:, 6] = rng.integers(0, 2, frames)
            save_episode(folder, Episode(
                1_000_000 + number, 'ind', f'put can on {"red" if number else "blue"} plate',
                rng.integers(0, 255, (frames, 64, 64, 3)).astype(np.uint8),
                actions.astype(np.float32), rng.normal(size=(frames, 9)).astype(np.float32)))
    return folders


def _config(demos, out, **changes) -> SftConfig:
    return SftConfig(**{**PLAIN, 'data': tuple(demos), 'out': out, 'preset': 'tiny', 'steps': 3,
                        'batch_size': 6, **changes})


def _golden_frames(reference, pictures, vla) -> Frames:
    """Return the golden batch as two frames of the model's size."""
    labels = torch.from_numpy(reference['sft_labels'])
    starts = [int((row != -100).nonzero()[0]) for row in labels]
    ids = np.stack([row[start:start + 7] for row, start in zip(reference['sft_labels'], starts)])
    return Frames(
        pictures, ids, ActionTokenizer(vla.action).decode(ids), np.zeros((2, 9), np.float32), (),
        np.zeros((2, 0, 2), np.float32), np.zeros((2, 0, 2), np.float32),
        np.full((2, 2), np.nan, np.float32), np.arange(2),
        tuple(tuple(row[:start].tolist()) for row, start in zip(
            reference['sft_input_ids'], starts)), None, np.zeros(2, int), np.arange(2))


@pytest.mark.parametrize('parts', [1, 2])
def test_loss_accuracy_and_gradients_equal_the_official_ones(tmp_path, parts):
    """The golden step through batch_loss(), whole and in two parts."""
    reference = dict(np.load(golden('tiny_openvla_a') / 'reference.npz'))
    pixels = np.load(golden('tiny_openvla_a') / 'image_processing.npz')
    opened = open_checkpoint(golden_folder(tmp_path / 'tiny'))
    model, vla = opened.model.requires_grad_(True), opened.summary.config
    theirs = np.concatenate([pixels['pixel_values_resize_naive'],
                             pixels['pixel_values_resize_naive_img1']])[:, 3:]
    pictures = np.rint((theirs.transpose(0, 2, 3, 1) * 0.5 + 0.5) * 255).astype(np.uint8)
    frames = _golden_frames(reference, pictures, vla)
    config = SftConfig(**PLAIN)
    batch = Batch(np.arange(2), None)
    loss = accuracy = 0.0
    for rows in np.array_split(np.arange(2), parts):
        part = batch_loss(model, None, config, frames, batch.part(rows),
                          soft_targets(vla, 0.0), CPU)
        (part.total / parts).backward()
        loss += part.total.item() / parts
        accuracy += float(part.token_accuracy) / parts
    assert loss == pytest.approx(float(reference['sft_loss']), rel=1e-5)
    assert accuracy == pytest.approx(float(reference['sft_action_accuracy']), abs=1e-6)
    gradients = {name: each.grad for name, each in model.named_parameters()}
    compared = 0
    for key, expected in reference.items():
        kind, _, name = key.partition('::')
        if kind == 'grad':
            torch.testing.assert_close(gradients[name], torch.from_numpy(expected), rtol=0,
                                       atol=1e-4 * float(np.abs(expected).max()), msg=name)
            compared += 1
    assert compared >= 8


def _run(config: SftConfig) -> dict[str, torch.Tensor]:
    sft(config)
    return load_file(config.out / 'state' / 'tensors.safetensors')


def test_a_policy_that_learnt_from_crops_is_shown_the_middle(demos, tmp_path):
    """Training cuts its 90 % out of whole pictures; the checkpoint crops what it acts on."""
    config = _config(demos, tmp_path / 'a', augmentation='openvla', steps=1)
    sft(config)
    first = inspect(tmp_path / 'a' / 'checkpoint').config
    assert first.image.center_crop
    again = replace(config, out=tmp_path / 'b', init=tmp_path / 'a' / 'checkpoint')
    model = open_model(again, CPU)[0]
    seen = _with_crop(model, again)
    assert model.config.image.center_crop and not seen.image.center_crop
    assert replace(seen, image=first.image) == model.config
    sft(_config(demos, tmp_path / 'c', steps=1))
    assert not inspect(tmp_path / 'c' / 'checkpoint').config.image.center_crop


def test_a_run_is_not_taken_up_on_other_demonstrations(demos, tmp_path):
    """Another range of the actions would give every token another meaning."""
    folder = Path(shutil.copytree(demos[0], tmp_path / 'demos'))
    config = _config([folder], tmp_path / 'run', steps=4, save_every=2)
    sft(config)
    shutil.copy(next(demos[1].glob('*.safetensors')), folder / 'episode_9000000.safetensors')
    with pytest.raises(ValueError, match='12 answers then, 24 now.*or use another --out'):
        sft(config)


def test_a_model_of_several_statistics_is_judged_by_those_it_trains_on(
        tiny, demos, tmp_path, monkeypatch):
    """--keep-statistics keeps all of them."""
    folder = Path(shutil.copytree(tiny, tmp_path / 'two'))
    path = folder / 'dataset_statistics.json'
    document = json.loads(path.read_text())
    path.write_text(json.dumps({'another': document[DATASET], **document}))
    config = _config(demos, tmp_path / 'run', init=folder, keep_statistics=True,
                     dataset_name=DATASET, eval_episodes=1)
    judged = []
    monkeypatch.setattr('rlrc_training.sft.closed_loop_success',
                        lambda policy, *_: judged.append(policy) or 0.5)
    model, tokenizer, statistics, _ = open_model(config, CPU)
    assert len(statistics) == 2
    assert _evaluate(model, tokenizer, statistics, config, object()) == 0.5
    assert len(judged[0].summary.unnorm_keys) == 2


def test_parts_and_checkpointed_activations_change_nothing_but_memory(demos, tmp_path):
    """Adam's moments after three steps, in four parts and with activations computed again."""
    options = {'augmentation': 'openvla', 'steps': 2}
    plain = _run(_config(demos, tmp_path / 'a', **options))
    saving = _run(_config(demos, tmp_path / 'b', **options, accumulate=4,
                          gradient_checkpointing=True))
    compared = 0
    for name, each in plain.items():
        if name.startswith('exp_avg.') and float(each.abs().max()) > 1e-5:
            torch.testing.assert_close(each, saving[name], rtol=1e-2,
                                       atol=2e-3 * float(each.abs().max()), msg=name)
            compared += 1
    assert compared > 30


def test_adapters_train_in_bf16_beside_a_frozen_base_and_resume(tiny, demos, tmp_path):
    """Only adapters are saved; the checkpoint has the model's own names and moved."""
    config = _config(demos, tmp_path / 'run', init=tiny, lora_rank=4, precision='bf16', steps=4,
                     save_every=2, learning_rate=1e-2)
    tensors = _run(config)
    weights = [name for name in tensors if name.startswith('weight.')]
    assert weights and all(name.endswith(('.up', '.down', '.0.up', '.0.down'))
                           for name in weights)
    model = open_checkpoint(tmp_path / 'run' / 'checkpoint').model
    before = open_checkpoint(tiny).model.state_dict()
    after = model.state_dict()
    assert set(after) == set(before)
    assert not torch.equal(after['projector.fc1.weight'], before['projector.fc1.weight'])
    assert torch.equal(after['language_model.model.norm.weight'],
                       before['language_model.model.norm.weight'])
    again = Trainer(config, open_model(config, CPU)[0], CPU)
    assert again.restore() and again.step == 4


def test_bf16_of_the_whole_model_stays_near_fp32(tiny, demos, tmp_path):
    """Losses agree within bf16's rounding; weights are fp32."""
    losses = []
    for precision in ('fp32', 'bf16'):
        config = _config(demos, tmp_path, init=tiny, precision=precision)
        model, tokenizer, statistics, _ = open_model(config, CPU)
        frames, _ = load_frames(config, model.config, tokenizer)
        assert {each.dtype for each in model.parameters()} == {torch.float32}
        losses.append(float(batch_loss(model, None, config, frames, Batch(np.arange(6), None),
                                       soft_targets(model.config, 0.0), CPU).total))
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_the_grippers_token_counts_for_as_many_as_is_asked(tiny, demos, tmp_path):
    """Of eight tokens it is the seventh, and its cost the very bin's."""
    config = _config(demos, tmp_path, init=tiny)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer)
    rows = np.arange(6)
    ids, where, targets = teacher_forced(frames.answers(rows), frames.prompts, model.config)
    pixels = to_pixels(torch.from_numpy(frames.images[:6]), model.config.towers)
    logits = model.language_model.lm_head(
        model.gather_hidden(model.encode_image(pixels), ids, where))
    gripper = torch.nn.functional.cross_entropy(logits[:, 6], targets[:, 6]).item()
    losses = [
        batch_loss(model, None, replace(config, gripper_weight=weight), frames,
                   Batch(rows, None), soft_targets(model.config, 3.0), CPU)
        for weight in (1.0, 0.0, 4.0)]
    once, never, often = (each.action.item() for each in losses)
    assert once == pytest.approx((7 * never + gripper) / 8, rel=1e-5)
    assert often == pytest.approx((7 * never + 4 * gripper) / 11, rel=1e-5)
    low = model.config.action.lowest_id
    likeliest = logits[:, 6, low:model.config.action.vocab_end].argmax(-1) + low
    right = (likeliest == targets[:, 6]).float().mean().item()
    assert losses[0].gripper_accuracy.item() == pytest.approx(right)


def test_tokens_that_are_read_are_moved_and_those_asked_for_are_not(tiny, demos, tmp_path):
    """The loss of hand-moved inputs under the old targets; a teacher reads the true ones."""
    config = _config(demos, tmp_path, init=tiny, token_jitter=9.0, distill=tiny,
                     keep_statistics=True, dataset_name=DATASET)
    model, tokenizer, statistics, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer, statistics)
    vla, rows, soft = model.config, np.arange(6), soft_targets(model.config, 0.0)
    low, high = vla.action.lowest_id, vla.action.vocab_end - 1
    drawn = Batch.draw(np.repeat(rows, 200), config, vla, torch.Generator().manual_seed(0)).shifts
    assert drawn.float().std().item() == pytest.approx(9.0, rel=0.03)
    assert abs(drawn.float().mean().item()) < 0.5
    shifts = drawn[:6] * 20  # beyond the bins at both ends
    ids, where, targets = teacher_forced(frames.answers(rows), frames.prompts, vla)
    moved = ids.clone()
    for row in range(6):
        for place, shift in zip(where[row, :-1], shifts[row]):
            moved[row, place] = min(max(int(ids[row, place] + shift), low), high)
    assert {low, high} <= set(moved.flatten().tolist())
    with torch.no_grad():
        pixels = to_pixels(torch.from_numpy(frames.images[:6]), vla.towers)
        patches = model.encode_image(pixels)
        logits = model.language_model.lm_head(model.gather_hidden(patches, moved, where))
        taught = model.action_logits(
            model.gather_hidden(patches, ids, where[:, :-1])).float().softmax(-1)
        expected = token_losses(vla, logits, targets, soft, taught, config.distill_weight)[0]
        teacher = open_teacher(config, model, tokenizer, statistics, CPU)
        batch = Batch(rows, None, shifts=shifts)
        whole = batch_loss(model, None, config, frames, batch, soft, CPU, teacher)
        halves = [batch_loss(model, None, config, frames, batch.part(each), soft, CPU, teacher)
                  for each in (rows[:3], rows[3:])]
        still = batch_loss(model, None, config, frames, Batch(rows, None), soft, CPU, teacher)
    assert whole.action.item() == pytest.approx(expected.mean().item(), rel=1e-5)
    assert np.mean([each.action.item() for each in halves]) == pytest.approx(
        whole.action.item(), rel=1e-5)
    assert still.action.item() != pytest.approx(whole.action.item(), rel=1e-5)


def test_distillation_pulls_the_student_to_the_teachers_probabilities(tiny, demos, tmp_path):
    """With weight 1 and itself as teacher, the loss is the entropy and has no gradient."""
    config = _config(demos, tmp_path, init=tiny, distill=tiny, distill_weight=1.0,
                     keep_statistics=True, dataset_name=DATASET)
    model, tokenizer, statistics, _ = open_model(config, CPU)
    frames, used = load_frames(config, model.config, tokenizer, statistics)
    assert used == statistics
    teacher = open_teacher(config, model, tokenizer, statistics, CPU)
    batch, soft = Batch(np.arange(6), None), soft_targets(model.config, 0.0)
    # The teacher's probabilities are over action ids alone; lift those far above the rest.
    with torch.no_grad():
        for each in (model, teacher):
            each.language_model.lm_head.weight[:384] = 0.0
    losses = batch_loss(model, None, config, frames, batch, soft, CPU, teacher)
    plain = batch_loss(model, None, replace(config, distill=None), frames, batch, soft, CPU)
    assert float(losses.action) != float(plain.action)
    soft_only = batch_loss(model, None, replace(config, distill_weight=0.0), frames, batch, soft,
                           CPU, teacher)
    assert float(soft_only.action) == pytest.approx(float(plain.action), rel=1e-6)
    other = make_tiny_checkpoint(tmp_path / 'other', seed=5)
    student = open_checkpoint(other).model.requires_grad_(True)
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    values = []
    for _ in range(8):
        loss = batch_loss(student, None, config, frames, batch, soft, CPU, teacher)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        values.append(float(loss.total))
    assert values[-1] < values[0] - 0.1


def test_a_teacher_whose_tokens_mean_other_movements_is_refused(tiny, demos, tmp_path):
    """The data's own statistics are not the teacher's; the error says what to add."""
    config = _config(demos, tmp_path, init=tiny, distill=tiny, dataset_name=DATASET)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, statistics = load_frames(config, model.config, tokenizer)
    with pytest.raises(ValueError, match='--keep-statistics'):
        open_teacher(config, model, tokenizer, statistics, CPU)
    with pytest.raises(ValueError, match=f"'other' is not in .*; it has: {DATASET}"):
        load_frames(replace(config, dataset_name='other'), model.config, tokenizer,
                    {DATASET: statistics[DATASET]})


def test_folders_are_drawn_by_their_weights(demos, tmp_path):
    """Twelve frames each: three to one by weight, one to one without."""
    config = _config(demos, tmp_path, batch_size=4000)
    vla, tokenizer = preset('tiny')
    frames, _ = load_frames(config, vla, tokenizer)
    rng = np.random.default_rng(0)
    for weights, share in (((), 0.5), ((3.0, 1.0), 0.75), ((0.0, 2.0), 0.0)):
        rows = draw(frames, replace(config, data_weights=weights), rng)
        assert (frames.folder[rows] == 0).mean() == pytest.approx(share, abs=0.03)


def test_openvla_augmentation_stays_within_its_ranges():
    """In the middle nothing but the crop happens; the ends are a fifth brighter and darker."""
    grey = torch.full((3, 32, 32, 3), 100, dtype=torch.uint8)
    factors = torch.full((3, 6), 0.5)
    factors[1, 2], factors[2, 2] = 0.0, 1.0
    changed = openvla_augment(grey, factors)
    assert changed.float().mean((1, 2, 3)).tolist() == pytest.approx([100, 49, 151], abs=1)
    ramp = torch.arange(64, dtype=torch.uint8)[None, None, :, None].repeat(2, 64, 1, 3)
    factors = torch.full((2, 6), 0.5)
    factors[:, 0] = torch.tensor([0.0, 1.0])
    left, right = openvla_augment(ramp, factors)[:, 32, :, 0].float()
    assert left[0] <= 1 and right[-1] >= 62
    assert float(left[-1] - left[0]) == pytest.approx(63 * 0.9 ** 0.5, abs=1.5)
    red = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    red[..., 0] = 200
    turned = [openvla_augment(red, torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, hue]]))[0, 0, 0]
              for hue in (0.0, 0.5, 1.0)]
    assert turned[1].tolist() == pytest.approx([200, 0, 0], abs=1)
    assert turned[2][1] > 10 or turned[0][1] > 10


def test_demonstrations_of_another_arm_are_refused(tmp_path):
    """Six numbers where the model takes seven."""
    rng = np.random.default_rng(1)
    save_episode(tmp_path, Episode(
        1_000_000, 'ind', 'put can on red plate', rng.integers(0, 9, (2, 64, 64, 3)).astype(
            np.uint8), np.zeros((2, 6), np.float32), np.zeros((2, 9), np.float32)))
    with pytest.raises(DemonstrationError, match='6 numbers, the model takes 7'):
        sft(_config([tmp_path], tmp_path / 'run'))


@pytest.mark.parametrize('loss_at', [1])
def test_a_loss_that_is_not_finite_leaves_the_last_state(demos, tmp_path, loss_at):
    """A learning rate beyond reason: the run stops, and the state of step 1 opens."""
    config = _config(demos, tmp_path / 'run', learning_rate=1e30, steps=20, save_every=1)
    with pytest.raises(FloatingPointError, match='the last state in .*state is good'):
        sft(config)
    tensors = load_file(config.out / 'state' / 'tensors.safetensors')
    assert any(name.startswith('weight.') for name in tensors)


def test_merging_without_adapters_is_the_state_dict(tiny):
    """A plain model has nothing to merge."""
    model = open_checkpoint(tiny).model
    merged = merged_weights(model)
    assert set(merged) == set(skeleton(model.config).state_dict())
    assert all(torch.equal(each, merged[name]) for name, each in model.state_dict().items())


@pytest.mark.parametrize(('change', 'words'), [
    ({'accumulate': 99}, 'accumulate must be 1 ... batch_size 64, got 99'),
    ({'distill_weight': 2.0}, 'at most 1, got 2.0'),
    ({'data_weights': (1.0, 2.0)}, r'one number a folder of --data \(1\)'),
    ({'keep_statistics': True}, '--init')])
def test_a_wrong_sft_option_is_refused(change, words):
    """Each error names the value."""
    with pytest.raises(ValueError, match=words):
        SftConfig(**change)


@pytest.mark.parametrize(('horizon', 'init'), [(1, True), (8, False)])
def test_a_policy_that_answers_in_one_pass_is_trained(tiny, demos, tmp_path, horizon, init):
    """From a token-by-token policy or from scratch; its loss falls and its chunk is acted on."""
    config = _config(demos, tmp_path / 'run', decoding='parallel', action_horizon=horizon,
                     init=tiny if init else None, steps=8, learning_rate=3e-3, eval_every=8)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer)
    everything = Batch(np.arange(len(frames.images)), None)

    def loss(of) -> float:
        return float(batch_loss(of, None, config, frames, everything,
                                soft_targets(of.config, 0.0), CPU).total)
    before = loss(model)
    opened = open_checkpoint(sft(config))
    assert opened.summary.config.parallel.head == 'discrete'
    assert loss(opened.model) < 0.9 * before
    policy = Policy.open(config.out / 'checkpoint', 'cpu', runtime='fast')
    observation = Observation(frames.images[0], 'put can on red plate')
    assert len(policy.act(observation).actions) == horizon == opened.summary.action_horizon
    again = replace(config, init=config.out / 'checkpoint', decoding='own', action_horizon=0)
    assert open_model(again, CPU)[0].config == opened.summary.config


def test_the_loss_of_one_pass_is_oft_s_and_no_teacher_forced_token_enters(tiny, demos, tmp_path):
    """With hard targets it is oft_loss(); the tokens behind a prompt change nothing."""
    config = _config(demos, tmp_path, init=tiny, decoding='parallel', action_horizon=2)
    model, tokenizer, _, _ = open_model(config, CPU)
    frames, _ = load_frames(config, model.config, tokenizer)
    # Softened over no neighbour, the gripper hard anyway: plain cross-entropy of every token.
    ours = batch_loss(model, None, config, frames, Batch(np.arange(6), None),
                      soft_targets(model.config, 0.0), CPU).total
    ids, lengths = prompt.pad([frames.prompts[frames.instruction[row]] for row in range(6)],
                              model.config.pad_token_id)
    pixels = to_pixels(torch.from_numpy(frames.images[:6]), model.config.towers)
    theirs = oft_loss(model, OftBatch(pixels, ids, lengths, torch.from_numpy(
        frames.actions[:6]).view(6, 2, 7))).total
    torch.testing.assert_close(ours, theirs)


def test_a_chunk_stands_still_behind_its_episode():
    """Actions never come from the next episode; the hand stays as it was."""
    actions = np.arange(1, 11).reshape(5, 2).astype(float)
    chunks = action_chunks(actions, [3, 2], 3)
    assert chunks[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert chunks[2].tolist() == [[5, 6], [0, 6], [0, 6]]
    assert chunks[3].tolist() == [[7, 8], [9, 10], [0, 10]]


def test_an_answer_that_does_not_fit_behind_the_prompt_is_refused(tiny, demos, tmp_path):
    """Before any data is read: what is asked for and what to set."""
    with pytest.raises(ValueError, match='action_horizon 60 is 420 tokens.*--action-horizon 25'):
        open_model(_config(demos, tmp_path, init=tiny, action_horizon=60), CPU)


def test_tokens_that_are_never_read_are_not_moved(tiny, demos, tmp_path):
    """A policy that decodes in parallel reads none of its own."""
    config = _config(demos, tmp_path, init=tiny, decoding='parallel', token_jitter=4.0)
    with pytest.raises(ValueError, match='--token-jitter 4 moves.*reads none; leave'):
        open_model(config, CPU)
