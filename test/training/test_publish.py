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


"""What goes to the hub: the card, the files, and what stays at home."""

from dataclasses import replace
import json
from pathlib import Path
import shutil

from huggingface_hub import ModelCard
from pipeline_folder import make_pipeline_folder
import pytest
from rlrc_training.content_hash import write_json
from rlrc_training.model_card import card, usual_path
from rlrc_training.publish import main, publish, PublishConfig
from rlrc_training.report import report
from rlrc_training.reporting.config import ReportConfig
from tiny_vla import make_tiny_checkpoint, make_tiny_oft_checkpoint


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Return a tiny checkpoint with a file that is nobody's business beside it."""
    folder = make_tiny_checkpoint(tmp_path / 'tiny')
    (folder / 'notes to self.txt').write_text('not for the hub')
    return folder


def test_a_dry_run_lists_what_would_be_uploaded(checkpoint, capsys, monkeypatch):
    """The files of a checkpoint, sizes, what is left out; the network is not asked."""
    monkeypatch.setattr('socket.socket.connect', lambda *_: pytest.fail('the network was asked'))
    assert main([str(checkpoint), '--repo-id', 'me/tiny', '--dry-run']) == 0
    printed = capsys.readouterr().out
    for name in ('README.md', 'config.json', 'model.safetensors', 'tokenizer.json',
                 'dataset_statistics.json', 'provenance.json', '6 files', 'nothing was uploaded'):
        assert name in printed
    assert 'left out: notes to self.txt' in printed


def test_the_card_is_one_that_the_hub_reads(checkpoint):
    """Front matter in YAML, licence and tags; no success rate that nobody measured."""
    read = ModelCard(card(checkpoint))
    assert read.data.license == 'apache-2.0' and 'vision-language-action' in read.data.tags
    assert read.data.eval_results is None
    assert 'has not been measured' in read.text and '| decoder |' in read.text


def test_the_card_takes_its_success_from_the_pipeline(tmp_path, capsys):
    """By the files that it measured, wherever they lie now; others are refused."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('rlrc-4bit',))
    copy = Path(shutil.copytree(folder / 'quantize', tmp_path / 'checkpoints' / 'mine'))
    for each in (folder / 'quantize', copy):
        publish(PublishConfig(each, 'me/rlrc', folder, dry_run=True))
        read = ModelCard.load(each / 'README.md')
        assert [one.metric_type for one in read.data.eval_results] == ['success_rate'] * 2
        assert '/500 (' in read.text and 'checkpoint:=rlrc\n' in read.text
        assert "Policy.open('rlrc')" in read.text and 'hf download me/rlrc' in read.text
    with pytest.raises(ValueError, match='measured no files such .*quantize'):
        publish(PublishConfig(make_tiny_checkpoint(tmp_path / 'x'), 'me/x', folder, dry_run=True))
    make_tiny_checkpoint(folder / 'quantize', 99)
    with pytest.raises(ValueError, match='not what .* measured.*made again since'):
        publish(PublishConfig(folder / 'quantize', 'me/x', folder, dry_run=True))


def test_results_of_other_code_are_allowed_by_name(tmp_path):
    """As the report takes them."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('rlrc-4bit',))
    path = folder / 'pipeline' / 'rl.json'
    write_json(path, {**json.loads(path.read_text()), 'sources': [{'commit': 'b', 'code': '2'}]})
    config = PublishConfig(folder / 'quantize', 'me/rlrc', folder, dry_run=True)
    with pytest.raises(ValueError, match='--allow-commit 2'):
        publish(config)
    publish(replace(config, allow_commit=('2',)))


def test_a_card_that_fits_the_files_stays(tmp_path, capsys):
    """Without --results: under the new name; with other weights it is written anew."""
    folder = make_pipeline_folder(tmp_path / 'nano', ('rlrc-4bit',))
    report(ReportConfig(folder, tmp_path / 'results'))
    copy = Path(shutil.copytree(folder / 'quantize', tmp_path / 'checkpoints' / 'mine'))
    before = (copy / 'README.md').read_text()
    assert 'checkpoint:=nano/quantize\n' in before and "Policy.open('nano/quantize')" in before
    publish(PublishConfig(copy, 'me/rlrc', dry_run=True))
    after = (copy / 'README.md').read_text()
    assert after == before.replace('nano/quantize', 'rlrc').replace(
        'ros2 launch', 'hf download me/rlrc --local-dir rlrc\nros2 launch')
    publish(PublishConfig(copy, 'me/other', dry_run=True))
    assert (copy / 'README.md').read_text() == after.replace('me/rlrc', 'me/other').replace(
        'dir rlrc', 'dir other').replace(':=rlrc', ':=other').replace("'rlrc'", "'other'")
    assert capsys.readouterr().out.count('measured on these files and stays') == 2
    make_tiny_checkpoint(copy, 99)
    publish(PublishConfig(copy, 'me/rlrc', dry_run=True))
    assert 'has not been measured' in (copy / 'README.md').read_text()


@pytest.mark.parametrize(('folder', 'words'), [
    ('checkpoints/nano', 'checkpoints/nano'),
    ('runs/nano/rl/checkpoint', 'runs/nano/rl/checkpoint'),
    ('/far/nano/rl/checkpoint', 'nano/rl/checkpoint'), ('/far/quantize', 'far/quantize'),
    ('/far/mine', 'mine')])
def test_a_card_names_its_folder_as_one_types_it(folder, words, tmp_path, monkeypatch):
    """Below the working folder from there; elsewhere never a stage of a pipeline alone."""
    monkeypatch.chdir(tmp_path)
    assert usual_path(Path(folder)) == words
    assert usual_path(tmp_path / folder) == words or folder.startswith('/')


def test_a_failed_upload_ends_in_one_line(checkpoint, capsys, monkeypatch):
    """Without network: the error names the repository and what to type."""
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    assert main([str(checkpoint), '--repo-id', 'me/tiny']) == 1
    said = capsys.readouterr().err
    assert 'upload to me/tiny failed' in said and 'hf auth login' in said


def test_paths_of_this_machine_and_pickles_stay_here(checkpoint):
    """Both would be public for good; the error says what to do."""
    path = checkpoint / 'provenance.json'
    path.write_text(json.dumps({'stages': [
        {'name': 'sft', 'command': 'rlrc sft --data /ho' 'me/me/demos'}]}))
    with pytest.raises(ValueError, match='me/me/demos.*--keep-paths'):
        publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True))
    publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True, keep_paths=True))
    path.write_text('{"stages": [{"parent": "runs/dense", "url": "https://a.b/c/d"}]}')
    publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True))
    for text in ('Fidelity to /nf' 's/jane/ckpt', '`--data /op' 't/jane'):
        (checkpoint / 'fidelity.md').write_text(text)
        with pytest.raises(ValueError, match='fidelity.md: /.*/jane'):
            publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True))
    (checkpoint / 'fidelity.md').unlink()
    publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True, keep_paths=True))
    (checkpoint / 'training.pt').write_bytes(b'')
    with pytest.raises(ValueError, match='training.pt, which others would have to unpickle'):
        publish(PublishConfig(checkpoint, 'me/tiny', dry_run=True, keep_paths=True))


def test_a_card_tells_what_goes_in_and_comes_out(tmp_path):
    """Cameras, state and chunks of an OpenVLA-OFT; a two-armed one is not for vla_node."""
    folder = make_tiny_oft_checkpoint(tmp_path / 'oft', 4, cameras=('image', 'wrist'),
                                      proprio_dim=7, proprio_layout='xyz_rpy_gripper')
    text = card(folder)
    assert "2 camera images (image, wrist), the robot's state (7 numbers) and an instr" in text
    assert '4 actions of seven numbers' in text and 'checkpoint:=' in text
    assert 'base_model' not in text
    path = folder / 'provenance.json'
    for parent in ('a/models--openvla--openvla-7b', 'openvla/openvla-7b'):
        path.write_text(json.dumps({'stages': [{'name': 'sft', 'parent': parent}]}))
        assert 'base_model: openvla/openvla-7b' in card(folder)
    two_arms = make_tiny_oft_checkpoint(tmp_path / 'two', 2, dim=14)
    path = two_arms / 'dataset_statistics.json'
    path.write_text(json.dumps({'one': {'action': {
        name: [value] * 14 for name, value in (('q01', -1.0), ('q99', 1.0))}}}))
    text = card(two_arms)
    assert 'a camera image and an instruction in, 2 actions of 14 numbers' in text
    assert 'policy.predict([observation])' in text and 'checkpoint:=' not in text


@pytest.mark.parametrize('cameras, proprio_dim, dim, answer', [
    (('image',), 0, 7, 'actions'), (('image', 'wrist'), 7, 7, 'actions'),
    (('image',), 0, 14, 'numbers')])
def test_the_lines_of_a_card_run(tmp_path, monkeypatch, cameras, proprio_dim, dim, answer):
    """As they stand there, in the folder that they name."""
    monkeypatch.chdir(tmp_path)
    folder = make_tiny_oft_checkpoint(
        tmp_path / 'oft', 4, dim=dim, cameras=cameras, proprio_dim=proprio_dim,
        proprio_layout='xyz_rpy_gripper' if proprio_dim else '')
    if dim == 14:
        (folder / 'dataset_statistics.json').write_text(json.dumps({'one': {'action': {
            name: [value] * dim for name, value in (('q01', -1.0), ('q99', 1.0))}}}))
    lines = card(folder).split('```python\n')[1].split('```')[0]
    found = {}
    exec(lines, found)
    assert len(found[answer]) in (1, 4)


def test_a_card_tells_how_it_was_made(tmp_path):
    """Verbs in one line, rounds of one counted, then what to type with the commit it was under."""
    folder = make_tiny_checkpoint(tmp_path / 'tiny')
    path = folder / 'provenance.json'
    sft, rl = ({'name': 'sft', 'command': 'rlrc sft', 'commit': 'abc'},
               {'name': 'rl', 'command': 'rlrc rl'})
    path.write_text(json.dumps({'stages': [sft, sft, rl, {}]}))
    assert """
sft × 2 → rl → unnamed:

```bash
rlrc sft  # commit abc
rlrc sft  # commit abc
rlrc rl
# unnamed
```
""" in card(folder)
    path.unlink()
    assert 'names no stages' in card(folder)


@pytest.mark.parametrize('repo_id', ['', 'tiny', 'me/tiny/x', 'me/ti ny'])
def test_a_name_that_the_hub_refuses_is_refused_here(repo_id):
    """Before the card is written."""
    with pytest.raises(ValueError, match='repo_id'):
        PublishConfig(repo_id=repo_id)
