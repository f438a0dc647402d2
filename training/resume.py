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
What makes a run interruptible: the question whether it is the same run, and its state on disk.

A state is a folder that is written beside its final place and moved there when it is whole. A
process that is killed between the two moves leaves the former state under another name; it is put
back at the next start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, MISSING
import json
import os
from pathlib import Path

from rlrc_ros.vla.checkpoint import save_checkpoint, write_folder
from rlrc_training.sharding import as_part_of
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch

NOT_THE_RUN = ('processes', 'threads', 'save_every', 'device')
"""Options that may change between two starts of one run: they decide how fast, not what."""


def resolved(config) -> dict:
    """Return a configuration as config.json holds it."""
    return json.loads(json.dumps(asdict(config), default=str))


def check_same_run(config, free: tuple[str, ...] = NOT_THE_RUN) -> None:
    """
    Compare OUT/config.json with this configuration, or write it where there is none.

    An option that the file does not know came with a later version and had its default.

    :raises ValueError: another configuration; every difference is named
    """
    now, path = resolved(config), config.out / 'config.json'
    if path.exists():
        before = json.loads(path.read_text())
        defaults = json.loads(json.dumps({
            each.name: each.default for each in fields(config) if each.default is not MISSING},
            default=str))
        changed = [name for name in now
                   if name not in free and now[name] != before.get(name, defaults.get(name))]
        if changed:
            listed = ', '.join(
                f'{name} {before.get(name, defaults.get(name))!r} → {now[name]!r}'
                for name in changed)
            raise ValueError(f'{config.out} holds a run of another configuration ({listed}); '
                             'use another --out, or delete the folder')
    config.out.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(now, indent=1))
    os.replace(partial, path)


def settle(folder: Path) -> Path:
    """Put back a folder whose replacement was cut short; return it."""
    old = folder.with_name(f'.{folder.name}.old')
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    return folder


def save_state(folder: Path, tensors: Mapping[str, torch.Tensor], progress: dict) -> None:
    """
    Write a state, all or nothing.

    :raises OSError: no room, or no permission; the state before is still there and is named
    :raises FloatingPointError: a tensor that is not finite; likewise
    """
    broken = [name for name, each in tensors.items() if not torch.isfinite(each).all()]
    if broken:
        raise FloatingPointError(f'{broken[0]} and {len(broken) - 1} other tensors are not '
                                 f'finite and were not saved; the state before it is whole in '
                                 f'{folder}. Lower --learning-rate')

    def write(path: Path) -> None:
        save_file({name: each.detach().contiguous() for name, each in tensors.items()},
                  path / 'tensors.safetensors')
        (path / 'progress.json').write_text(json.dumps(progress))
    try:
        write_folder(settle(folder), write)
    except (OSError, SafetensorError) as error:
        left = (f'the state before it is whole in {folder}' if folder.exists()
                else 'there is no earlier state')
        raise OSError(f'the state cannot be written ({error}); {left}. Make room and run the '
                      'same command again') from error


def keep_checkpoint(folder: Path, *content) -> Path:
    """
    Write a checkpoint as save_checkpoint() does, after putting back one that was cut short.

    :raises OSError: no room, or no permission; the checkpoint before is still there and is named
    """
    try:
        return save_checkpoint(settle(folder), *content)
    except (OSError, SafetensorError) as error:
        left = (f'the one before it is whole in {folder}' if folder.exists()
                else 'there is no earlier one')
        raise OSError(f'the checkpoint cannot be written ({error}); {left}. Make room and run '
                      'the same command again') from error


@torch.no_grad()
def round_as_kept(model: torch.nn.Module) -> None:
    """Round weights to what a checkpoint holds of them, so that what is judged is what is kept."""
    for each in model.parameters():
        each.copy_(each.to(torch.bfloat16))


def load_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Return the tensors and the progress of a state, or None where there is none."""
    if not (settle(folder) / 'progress.json').exists():
        return None
    return (load_file(folder / 'tensors.safetensors'),
            json.loads((folder / 'progress.json').read_text()))


def optimiser_tensors(optimiser: torch.optim.Optimizer,
                      named: Mapping[str, torch.nn.Parameter]
                      ) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield AdamW's moments as `moment.parameter`."""
    for name, each in named.items():
        for moment, value in optimiser.state.get(each, {}).items():
            yield f'{moment}.{name}', torch.as_tensor(value)


def restore_optimiser(optimiser: torch.optim.Optimizer, named: Mapping[str, torch.nn.Parameter],
                      tensors: Mapping[str, torch.Tensor]) -> None:
    """Give AdamW the moments that optimiser_tensors() yielded."""
    # The fused AdamW counts its steps on the device.
    for name, each in named.items():
        if f'exp_avg.{name}' in tensors:
            optimiser.state[each] = {
                'step': tensors[f'step.{name}'].to(each.device),
                **{moment: as_part_of(each, tensors[f'{moment}.{name}'])
                   for moment in ('exp_avg', 'exp_avg_sq')}}


def trim_metrics(path: Path, key: str, last: int) -> None:
    """Drop the lines of metrics.jsonl beyond the state that a run goes on from."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)[key] <= last:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue  # a line that a kill cut short
    partial = path.with_suffix('.partial')
    partial.write_text(''.join(f'{line}\n' for line in kept))
    os.replace(partial, path)


def append_metrics(path: Path, values: dict) -> None:
    """Add a line to metrics.jsonl."""
    with open(path, 'a') as file:
        file.write(json.dumps(values) + '\n')
