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


"""A pipeline's folder without its hours: the real plan, records and files, invented results."""

from collections.abc import Callable
import json
from pathlib import Path

import numpy as np
from PIL import Image
from rlrc_training.content_hash import BEGUN, DONE, Hashes, RECORDS, write_json
from rlrc_training.stages.order import Order
from rlrc_training.stages.plan import make_plan, Stage
from rlrc_training.stages.presets import SETTINGS
from rlrc_training.stages.record import ONLY, Records
from rlrc_training.table_rows import choose_rows
from tiny_vla import make_tiny_checkpoint
import torch

RATES = {'dense': 0.9, 'pruned': 0.0, 'pruned-sft': 0.8, 'rlrc': 0.91, 'rlrc-4bit': 0.88}
COMMIT = '0123456789ab'
IND, OOD = SETTINGS['tiny'].ind_set, SETTINGS['tiny'].ood_set


def make_plan_file(out: Path, rows: tuple[str, ...], episodes: int,
                   dense: Path | None = None) -> list[Stage]:
    """Write plan.json as `rlrc pipeline` does; return the stages."""
    order = Order('tiny', out, choose_rows(rows), out / 'results', (out / 'demos',), dense,
                  episodes=episodes, axis_episodes=0)
    stages = make_plan(order)
    write_json(out / 'plan.json', {
        'preset': 'tiny', 'rows': [row.name for row in order.rows], 'ind_set': IND,
        'ood_set': OOD, 'axes': [], 'episodes': episodes, 'command': 'rlrc pipeline tiny',
        'dense': order.dense, 'data': order.data,
        'stages': [{'name': each.name, 'verb': each.verb, 'out': str(each.out),
                    'product': str(each.product), 'command': each.command,
                    'inputs': {name: str(folder) for name, folder in each.inputs.items()}}
                   for each in stages]})
    return stages


def write_results(stage: Stage, rate: float, seeds: range, seed: int) -> None:
    """Write results.json of an evaluation on both sets."""
    rng = np.random.default_rng(seed)
    easy = np.random.default_rng(0).random((2, len(seeds)))  # the same seeds are hard for all
    episodes = [
        {'episode_set': name, 'seed': each, 'success_at_end': bool(once and rng.random() < 0.95),
         'success_once': bool(once)}
        for column, (name, share) in enumerate(((IND, rate), (OOD, 0.6 * rate)))
        for each, once in zip(seeds, easy[column] + 0.05 * rng.normal(size=len(seeds)) < share)]
    write_json(stage.out / 'results.json', {
        'checkpoint': stage.name, 'config': {'stop_on_success': False}, 'episodes': episodes})


def make_pipeline_folder(out: Path, rows: tuple[str, ...] = ('chain',), episodes: int = 500,
                         measured: bool = True, dense: Path | None = None) -> Path:
    """
    Write a finished pipeline; with measured False, one in which nothing is done yet.

    :param dense: a policy that was given
    """
    (out / 'demos').mkdir(parents=True)
    stages = make_plan_file(out, rows, episodes, dense)
    if not measured:
        return out
    records = Records(out)
    timing = {}
    for number, stage in enumerate(stages):
        name = stage.name.removeprefix('evaluate-')
        if stage.verb == 'report':
            continue
        if stage.verb == 'evaluate':
            write_results(stage, RATES.get(name, 0.5), range(episodes), number)
            timing[name] = {
                'file_bytes': 30_000_000 // (1 + 3 * number), 'parameters': 15_000_000,
                'p50_ms': 20.0 / (1 + number % 5), 'p95_ms': 24.0, 'actions_per_s': 50.0,
                'process_bytes': 400_000_000, 'of_first': 1.0 / (1 + number % 5), 'n': 200,
                'group': 0, 'of_first_by_block': [1.0 / (1 + number % 5)] * 5}
        elif stage.verb == 'timing':
            write_json(stage.out / 'timing.json', {
                'rows': timing, 'machine': 'a machine', 'dtype': 'bfloat16', 'busy': 0.5,
                'commit': COMMIT,
                'config': {'blocks': 5, 'steps': 40}})
        else:
            stage.product.parent.mkdir(parents=True, exist_ok=True)
            with torch.random.fork_rng():  # what a seed leaves open: equal stages make equal files
                torch.manual_seed(number)
                make_tiny_checkpoint(stage.product, number)
        if stage.verb == 'sft':
            (stage.out / 'metrics.jsonl').write_text(''.join(json.dumps(
                {'step': step, 'success_once': step / 5000, 'loss': 3 - step / 2000, 'l1': 0.1})
                + '\n' for step in range(500, 4001, 500)))
        if stage.verb == 'rl':
            (stage.out / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for step in
                range(0, 6401, 640) for line in (
                    {'update': step, 'env_steps': step, 'charts/first_success': step / 7000},
                    {'update': step, 'env_steps': step, 'eval': {
                        'success_once': 0.8 + step / 64000, 'success_at_end': 0.7}})))
        product = records.hashes.of_product(stage)
        write_json(records.path(stage.name), {
            'stage': stage.name, 'verb': stage.verb, 'state': DONE if product else BEGUN,
            'options': {'names': stage.options.get('names', ())},
            'inputs': {key: records.hashes.of(each) for key, each in stage.inputs.items()},
            'commit': COMMIT, 'command': stage.command,
            'sources': [{'commit': COMMIT, 'code': '1'}], 'packages': {'torch': '2.13.0'},
            'machine': 'a machine', 'seconds': 60.0 * number, 'starts': 1, 'product': product})
    for name in ('dense', 'rlrc'):
        strips = out / 'evaluation' / name / 'strips'
        strips.mkdir(parents=True)
        picture = np.random.default_rng(1).integers(0, 255, (128, 896, 3), dtype=np.uint8)
        Image.fromarray(picture).save(strips / f'{IND}_0.jpg')
        write_json(strips / 'strips.json', {f'{IND}_0': {
            'episode_set': IND, 'seed': 0, 'instruction': 'put carrot on plate',
            'steps': 30, 'success_once': name == 'rlrc'}})
    return out


def rewrite(folder: Path, stage: str, change: Callable[[dict], object]) -> None:
    """Change results.json or timing.json of a stage, as if the stage had written that."""
    made = next(each for each in json.loads((folder / 'plan.json').read_text())['stages']
                if each['name'] == stage)
    path = Path(made['out']) / ONLY[made['verb']]
    document, record = json.loads(path.read_text()), folder / RECORDS / f'{stage}.json'
    change(document)
    write_json(path, document)
    write_json(record, {**json.loads(record.read_text()),
                        'product': Hashes().of(path.parent, path.name)})


def forget(folder: Path, *stages: str) -> None:
    """Take a stage's record away: it was not done here."""
    for stage in stages:
        (folder / RECORDS / f'{stage}.json').unlink()


def altered(rows: Path, to: Path, change: Callable[[dict], object]) -> Path:
    """Write another rows.json, changed."""
    document = json.loads(rows.read_text())
    change(document)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(document))
    return to
