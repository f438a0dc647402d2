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

Prunes one checkpoint by every rival at every ratio, all decoder layers listed so that a ratio
means the same for each, plays the same held-out seeds with each, and writes OUT/table.md. A cell
that is there already is not done again; a rival that refuses a ratio gets its refusal as its cell.
"""

import argparse
import json
from pathlib import Path

from rlrc_ros.vla.checkpoint import inspect
from rlrc_training.evaluate import evaluate, EvaluateConfig
from rlrc_training.intervals import rate_with_interval
from rlrc_training.provenance import machine, source_commit
from rlrc_training.prune import prune, PruneConfig, PruneError

RIVALS = {
    'magnitude': {'method': 'magnitude'}, 'wanda': {'method': 'wanda'},
    'magnitude-sp': {'method': 'magnitude-sp'}, 'wanda-sp': {'method': 'wanda-sp'},
    'flap AL-AM': {'method': 'flap'}, 'flap UL-UM': {'method': 'flap', 'flap_structure': 'UL-UM'},
    'llm-pruner l2': {'importance': 'l2'}, 'llm-pruner param_first': {},
    'llm-pruner param_mix': {'importance': 'param_mix'},
    'ours: robot': {'loss': 'robot'}, 'ours: fewer-wider': {'keep_layers': -1}}
"""Options of `rlrc prune` by name; keep_layers -1: half of the layers, or as few as must be."""


def _options(name: str, ratio: float, layers: int) -> dict:
    options = dict(RIVALS[name])
    if options.get('keep_layers') == -1:
        fewest = -int(-layers * (1 - ratio) // 1)  # rounded up: what dense layers would do
        options['keep_layers'] = max(fewest, layers // 2)
    return options


def cell(name: str, ratio: float, options: argparse.Namespace) -> dict:
    """Prune and play; return what the table says about it."""
    folder = options.out / f'{name.replace(": ", "_").replace(" ", "_")}_{round(100 * ratio)}'
    results = folder / 'evaluation' / 'results.json'
    try:
        if not (folder / 'checkpoint').exists():
            layers = len(inspect(options.checkpoint).config.decoder.layers)
            prune(PruneConfig(
                checkpoint=options.checkpoint, out=folder / 'checkpoint', data=(options.data,),
                ratio=ratio, layers=(0, layers), device='cpu', **_options(name, ratio, layers)))
    except PruneError as error:
        return {'refused': str(error)}
    if not results.exists():
        evaluate(EvaluateConfig(
            checkpoint=folder / 'checkpoint', episodes=options.episodes, device='cpu',
            out=results.parent, processes=options.processes, stop_on_success=True))
    summary = json.loads(results.read_text())['summary']
    if summary['episodes'] != options.episodes:
        raise SystemExit(f'{results} holds {summary["episodes"]} episodes, not '
                         f'{options.episodes}; delete it, or use another --out')
    report = json.loads((folder / 'checkpoint' / 'pruning.json').read_text())
    return {'text': rate_with_interval(summary['success_once']['count'], options.episodes),
            'removed': report.get('mean_share_of_zeros', report['decoder_removed'])}


def main() -> int:
    """Fill the table; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--checkpoint', type=Path, default=Path('checkpoints/nano'))
    parser.add_argument('--data', type=Path, default=Path('runs/demos'))
    parser.add_argument('--out', type=Path, default=Path('runs/rivals'))
    parser.add_argument('--episodes', type=int, default=100)
    parser.add_argument('--ratios', type=float, nargs='+', default=[0.2, 0.5, 0.9])
    parser.add_argument('--rivals', choices=RIVALS, nargs='+', default=list(RIVALS))
    parser.add_argument('--processes', type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = ['| rival | ' + ' | '.join(f'{100 * each:.0f} %' for each in options.ratios) + ' |',
             '|---' * (len(options.ratios) + 1) + '|']
    for name in options.rivals:
        row = [cell(name, ratio, options) for ratio in options.ratios]
        lines.append(f'| {name} | ' + ' | '.join(
            f'{each["text"]}, {100 * each["removed"]:.0f} % gone' if 'text' in each
            else f'refused: {each["refused"]}' for each in row) + ' |')
        table = '\n'.join([*lines, '', f'Success at some step, seeds 0 ... {options.episodes - 1},'
                           f' the same for every cell; commit {source_commit()}; {machine()}.'])
        (options.out / 'table.md').write_text(table + '\n')
    print(table)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
