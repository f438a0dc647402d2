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
Success after pruning, before any recovery: python scripts/compare_rivals.py --data runs/demos.

Prunes one checkpoint by every rival at every ratio, all decoder layers listed and no width rounded
so that a ratio means the same for each; plays the same held-out seeds with each and with the dense
policy (`rlrc evaluate`'s own code, episodes ended at their first success), and pairs them with the
dense policy's episodes. OUT/rivals.json and OUT/table.md grow cell by cell. After Ctrl-C the same
command goes on where it stopped, within a cell too. A rival that refuses a ratio gets its refusal
as its cell.

    OUT/NAME_RATIO/checkpoint   what was pruned, with pruning.json and pruning.png
    OUT/NAME_RATIO/evaluation   what `rlrc evaluate` writes
"""

import argparse
from dataclasses import asdict
import json
import logging
import math
import os
from pathlib import Path
import shlex
import sys
import time

from rlrc_ros.vla.checkpoint import inspect
from rlrc_sim.rollout import WorldPool
from rlrc_training.compare import paired, read_results
from rlrc_training.cores import WORLDS_A_PROCESS
from rlrc_training.evaluate import evaluate, EvaluateConfig
from rlrc_training.intervals import rate_with_interval
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.prune import prune, PruneConfig, PruneError

DENSE = 'dense'
RIVALS = {
    'magnitude': {'method': 'magnitude'}, 'wanda': {'method': 'wanda'},
    'magnitude-sp': {'method': 'magnitude-sp'}, 'wanda-sp': {'method': 'wanda-sp'},
    'flap AL-AM': {'method': 'flap'}, 'flap UL-UM': {'method': 'flap', 'flap_structure': 'UL-UM'},
    'llm-pruner l2': {'importance': 'l2'}, 'llm-pruner param_first': {},
    'llm-pruner param_mix': {'importance': 'param_mix'},
    'ours: robot': {'loss': 'robot'}, 'ours: fewer-wider': {'keep_layers': None},
    'ours: towers too': {'vision_ratio': None}}
"""Options of `rlrc prune` by name; None: what the ratio makes of it."""


def keep_layers(ratio: float, layers: int) -> int:
    """Return the number of layers midway between all and so few that they would stay dense."""
    fewest = math.ceil(layers * (1.0 - ratio) - 1e-9)
    keep = (fewest + layers) // 2
    if keep == layers:
        raise PruneError(f'of {layers} layers none can go at a ratio of {ratio}: '
                         f'{layers - 1}, even dense, hold fewer weights')
    return keep


def prune_options(name: str, ratio: float, layers: int) -> dict:
    """Return a rival's options at a ratio."""
    options = dict(RIVALS[name])
    if 'keep_layers' in options:
        options['keep_layers'] = keep_layers(ratio, layers)
    if 'vision_ratio' in options:
        options['vision_ratio'] = ratio
    return options


def _pruned(name: str, ratio: float, folder: Path, options: argparse.Namespace) -> dict:
    """Prune unless it is done; return what the report says of it."""
    layers = len(inspect(options.checkpoint).config.decoder.layers)
    chosen = prune_options(name, ratio, layers)
    if not (folder / 'checkpoint').exists():
        prune(PruneConfig(checkpoint=options.checkpoint, out=folder / 'checkpoint',
                          data=(options.data,), ratio=ratio, layers=(0, layers), round_to=1,
                          device='cpu', **chosen))
    report = json.loads((folder / 'checkpoint' / 'pruning.json').read_text())
    return {'options': chosen,
            'removed': report.get('mean_share_of_zeros', report['decoder_removed']),
            'zeros_only': 'mean_share_of_zeros' in report,
            'parameters': report['after']['parameters'],
            'answer_gflop': report['after']['answer_gflop']}


def _played(checkpoint: Path, folder: Path, options: argparse.Namespace,
            pool: WorldPool) -> dict:
    """Play what is still to be played; return the evaluation's document."""
    out = folder / 'evaluation'
    if (out / 'results.json').exists():
        document = read_results(out)
        if [each['seed'] for each in document['episodes']] == list(range(options.episodes)):
            return document
    evaluate(EvaluateConfig(checkpoint=checkpoint, episodes=options.episodes, device='cpu',
                            episode_set=options.set, out=out, processes=options.processes,
                            stop_on_success=True, videos=0), pool)
    return read_results(out)


def cell(name: str, ratio: float, dense: dict, options: argparse.Namespace,
         pool: WorldPool) -> dict:
    """Prune and play; return what the table and the JSON say about it."""
    folder = options.out / f'{name.replace(": ", "_").replace(" ", "_")}_{round(100 * ratio)}'
    entry = {'rival': name, 'ratio': ratio}
    try:
        entry |= _pruned(name, ratio, folder, options)
    except PruneError as error:
        return {**entry, 'refused': str(error)}
    document = _played(folder / 'checkpoint', folder, options, pool)
    return {**entry, **_success(document), 'against_dense': asdict(paired(dense, document))}


def _success(document: dict) -> dict:
    once = document['summary']['success_once']
    return {'successes': once['count'], 'episodes': document['summary']['episodes'],
            'rate': once['rate'], 'wilson_95': once['wilson_95'],
            'grasped': document['summary']['grasped']['count']}


def in_words(entry: dict) -> str:
    """Return one cell of the table."""
    if 'refused' in entry:
        return f'refused: {entry["refused"].split(". ")[0]}'
    apart = entry['against_dense']
    low, high = (100 * each for each in apart['interval_95'])
    return (f'{rate_with_interval(entry["successes"], entry["episodes"])}; '
            f'{100 * apart["difference"]:+.0f} points ({low:+.0f} to {high:+.0f}); '
            f'{100 * entry["removed"]:.0f} % gone')


def as_markdown(record: dict, ratios: list[float]) -> str:
    """Return the table of what has been played so far."""
    dense = record['dense']
    lines = ['| rival | ' + ' | '.join(f'{100 * each:.0f} %' for each in ratios) + ' |',
             '|---' * (len(ratios) + 1) + '|',
             f'| {DENSE} | ' + ' | '.join(
                 [rate_with_interval(dense['successes'], dense['episodes'])]
                 + [''] * (len(ratios) - 1)) + ' |']
    for name in dict.fromkeys(each['rival'] for each in record['cells']):
        row = {each['ratio']: in_words(each) for each in record['cells'] if each['rival'] == name}
        lines.append(f'| {name} | ' + ' | '.join(row.get(each, '') for each in ratios) + ' |')
    return '\n'.join([
        *lines, '', f'Success at some step, n={dense["episodes"]} held-out seeds from 0 of the '
        f'set {record["set"]}, the same for every cell; points: difference to dense on the same '
        'episodes with its 95 % interval (Newcombe). Of `magnitude` and `wanda` the share of '
        f'zeros is given. No recovery. Commit {record["commit"]}; {record["machine"]}.',
        '', f'    {record["command"]}', ''])


def _write(out: Path, record: dict, ratios: list[float]) -> None:
    for name, text in (('rivals.json', json.dumps(record, indent=1)),
                       ('table.md', as_markdown(record, ratios))):
        partial = out / f'{name}.partial'
        partial.write_text(text)
        os.replace(partial, out / name)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--checkpoint', type=Path, default=Path('checkpoints/nano'))
    parser.add_argument('--data', type=Path, default=Path('runs/demos'))
    parser.add_argument('--out', type=Path, default=Path('runs/rivals'))
    parser.add_argument('--episodes', type=int, default=100)
    parser.add_argument('--set', default='ind', help='which worlds, as rlrc evaluate has them')
    parser.add_argument('--ratios', type=float, nargs='+', default=[0.2, 0.5, 0.9])
    parser.add_argument('--rivals', choices=RIVALS, nargs='+', default=list(RIVALS))
    parser.add_argument('--processes', type=int, default=2, help='worlds at once')
    return parser.parse_args(argv)


def _fill(options: argparse.Namespace, pool: WorldPool, command: str) -> dict:
    """Play cell after cell, each time all that is known written down; return that."""
    dense = _played(options.checkpoint, options.out / DENSE, options, pool)
    record = {'command': command, 'checkpoint': str(options.checkpoint), 'set': options.set,
              'commit': source_commit(), 'machine': machine(), 'packages': package_versions(),
              'dense': _success(dense), 'cells': []}
    for name in options.rivals:
        for ratio in options.ratios:
            started = time.monotonic()
            record['cells'].append(cell(name, ratio, dense, options, pool))
            _write(options.out, record, options.ratios)
            logging.info('%s %.2f: %s (%.0f s)', name, ratio, in_words(record['cells'][-1]),
                         time.monotonic() - started)
    return record


def main(argv: list[str] | None = None) -> int:
    """Fill the table; return 0."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    options.out.mkdir(parents=True, exist_ok=True)
    summary = inspect(options.checkpoint)
    command = shlex.join(
        ['python', 'scripts/compare_rivals.py', *(sys.argv[1:] if argv is None else argv)])
    try:
        with WorldPool(options.processes * WORLDS_A_PROCESS, summary.image_size_px,
                       episode_set=options.set, proprio_layout=summary.proprio_layout,
                       processes=options.processes) as pool:
            record = _fill(options, pool, command)
    except KeyboardInterrupt:
        logging.info('interrupted; what was played is kept, the same command goes on')
        return 130
    print(as_markdown(record, options.ratios))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
