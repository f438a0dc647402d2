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


"""What `rlrc demo` prints of its episodes and of the policies beside each other, and demo.json."""

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rlrc_ros.vla.checkpoint import CheckpointSummary
from rlrc_training.intervals import rate_with_interval
from rlrc_training.provenance import machine, package_versions, source_commit


def episode_line(result: dict, episodes: int) -> str:
    """Return one episode's result as a line with rich's markup."""
    if result['success_once']:
        verdict = '[green]success[/green]'
    else:
        verdict = '[red]failure[/red]' + (
            ' (no command came)' if result['ended_by'] == 'no_command' else '')
    sentence = escape(result['instruction'])
    if result['instruction'] != result['task']:
        sentence += f' (task: {escape(result["task"])})'
    return (f'  {result["episode"]}/{episodes}  {sentence:<32}  {verdict}  '
            f'{result["steps"]:>3} steps  {result["wall_s"]:5.1f} s')


Run = tuple[Path, str, CheckpointSummary, dict]
"""One policy's folder for files, mode, checkpoint and outcome."""


def column(mode: str, checkpoint: CheckpointSummary, outcome: dict) -> dict[str, str]:
    """Return what the table says of one policy."""
    results, rates = outcome['episodes'], outcome['vla_node']
    steps = sum(result['steps'] for result in results)
    wall_s = sum(result['wall_s'] for result in results)

    def delay(name: str) -> str:
        values = [rates.get(f'{name}_{quantile}_ms') for quantile in ('p50', 'p95')]
        return 'not reported' if None in values else '{} / {} ms'.format(
            *(f'{float(value):.0f}' for value in values))

    return {
        'success (once in an episode)': rate_with_interval(
            sum(result['success_once'] for result in results), len(results)),
        'weights': f'{checkpoint.weight_bytes / 1e6:.2f} MB',
        'inference p50 / p95': delay('inference'), 'image age p50 / p95': delay('image_age'),
        'control rate reached': f'{steps / wall_s:.1f} Hz over {steps} steps',
        'mode': mode + (
            ' (simulation waits for answers)' if mode == 'lockstep' else ''),
        'machine': machine(),
        'time': f'{outcome["seconds"]["total"]:.0f} s, of which '
                f'{outcome["seconds"]["until_up"]:.0f} s to start'}


def report(runs: list[Run], console: Console) -> None:
    """Print the table at the end, a column a policy, and where the files are."""
    columns = [column(*run[1:]) for run in runs]
    table = Table(show_header=len(runs) > 1, box=None, padding=(0, 2))
    table.add_column('')
    for *_, checkpoint, _ in runs:
        folder = checkpoint.folder
        table.add_column(folder.parent.name if folder.name == 'checkpoint' else folder.name)
    for name in columns[0]:
        table.add_row(name, *(each[name] for each in columns))
    console.print(table, highlight=False)
    for out, *_ in runs:
        for name in ('demo.mp4', 'demo.gif', 'demo.json'):
            path = out / name
            if path.is_file():
                console.print(f'  {path.resolve()}', highlight=False, soft_wrap=True)


def write_outcome(out: Path, options: dict, checkpoint: CheckpointSummary,
                  outcome: dict) -> None:
    """Write demo.json: the numbers, the resolved config and where they come from."""
    record = {
        'config': {name: str(value) if isinstance(value, Path) else value
                   for name, value in options.items()},
        'checkpoint': str(checkpoint.folder), **outcome, 'commit': source_commit(),
        'packages': package_versions(), 'machine': machine()}
    (out / 'demo.json').write_text(json.dumps(record, indent=1) + '\n')
