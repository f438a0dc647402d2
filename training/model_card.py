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
The model card of a checkpoint: README.md with the front matter that the Hugging Face hub reads.

All of it comes from the folder itself (architecture, statistics, provenance) and, where a pipeline
measured it, from its results; a success rate stands with its episodes and interval, and one that
was not measured is called so. A measured card names the SHA-256 of the files that were measured,
so that it can be told later whether it is still that of the folder in which it lies.
"""

from itertools import groupby
import os
from pathlib import Path
import re

from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.inspection import CheckpointSummary, inspect
from rlrc_training.content_hash import Hashes
from rlrc_training.reporting.cells import RowResult
from rlrc_training.table_rows import MIN_EPISODES
import yaml

CARD = 'README.md'
ARM_DIM = 7
"""Numbers in an action that vla_node can drive."""
PRETRAINED = re.compile(r'openvla[/-]+(openvla-(?:v01-)?7b)(?:/|$)')
"""In a parent's path, below a hub's cache too: who published it, and as what."""
LLAMA_VOCABULARY = 32_000
"""Decoders with at least so many tokens come from LLaMA-2, and so does their licence."""
NO_NAMES = ('checkpoint', 'dense', 'quantize', 'rl')
"""Folders of a pipeline that say which stage, not whose."""
MEASURED = 'Measured on the files with SHA-256'


def licence(summary: CheckpointSummary) -> str:
    """Return the licence as the hub names it."""
    return 'llama2' if summary.config.decoder.vocab_size >= LLAMA_VOCABULARY else 'apache-2.0'


def front_matter(summary: CheckpointSummary, result: RowResult | None, name: str) -> dict:
    """Return what the hub reads; success is listed only where enough episodes were played."""
    stages = [stage.get('name') for stage in summary.provenance.get('stages', [])]
    tags = ['robotics', 'vision-language-action', 'openvla', 'ros2']
    tags += [tag for name, tag in (('prune', 'pruned'), ('rl', 'reinforcement-learning'),
                                   ('quantize', 'quantized')) if name in stages]
    matter = {'license': licence(summary), 'library_name': 'rlrc_ros',
              'pipeline_tag': 'robotics', 'tags': tags}
    base = PRETRAINED.search('/'.join(str(stage.get('parent'))
                                      for stage in summary.provenance.get('stages', [])))
    if base:
        matter['base_model'] = f'openvla/{base[1]}'
    metrics = [{'type': 'success_rate', 'name': f'success at some step, {name}',
                'value': round(cell.rate, 4)}
               for name, cell in (('IND', result.ind), ('OOD', result.ood))
               if cell and cell.enough] if result else []
    if metrics:
        matter['model-index'] = [{'name': name, 'results': [{
            'task': {'type': 'robotics', 'name': 'PutOnPlate25'},
            'dataset': {'type': 'simulation', 'name': 'rlrc_sim, held-out seeds'},
            'metrics': metrics}]}]
    return matter


def _stages(provenance: dict) -> list[str]:
    """Return how a checkpoint was made: verbs in one line, then their commands."""
    stages = provenance.get('stages', [])
    if not stages:
        return ['Its provenance.json names no stages.']
    verbs = [(name, len(list(those))) for name, those in groupby(
        stage.get('name', 'unnamed') for stage in stages)]
    lines = [' → '.join(f'{name} × {count}' if count > 1 else name for name, count in verbs)
             + ':', '', '```bash']
    for stage in stages:
        commit = f'  # commit {stage["commit"]}' if stage.get('commit') else ''
        lines.append((stage.get('command') or f'# {stage.get("name", "unnamed")}') + commit)
    return [*lines, '```']


def _results(result: RowResult | None, plan: dict | None) -> list[str]:
    if result is None or not (result.ind or result.ood):
        return ['Success has not been measured for this card. `rlrc evaluate FOLDER` measures it.']
    lines = ['| set | success at some step of 80 |', '|---|---|']
    for name, key, cell in (('IND', 'ind_set', result.ind), ('OOD', 'ood_set', result.ood)):
        where = f' ({plan[key]})' if plan else ''
        lines.append(f'| {name}{where} | {cell or "not measured"} |')
    if result.timing:
        lines += ['', f'{result.timing["p50_ms"]:.2f} ms an action (p50; p95 '
                  f'{result.timing["p95_ms"]:.2f}), n={result.timing["n"]}, timed in turns with '
                  'the other rows of its report.']
    if result.content:
        lines += ['', f'{MEASURED} `{result.content}` (names and contents, without what only '
                  'tells of them).']
    return [*lines, '', 'Held-out seeds in simulation, Wilson 95 % intervals; fewer than '
            f'{MIN_EPISODES} episodes are marked. Nothing here was measured on a real arm.']


def _senses(config: VlaConfig) -> str:
    cameras = ('a camera image' if len(config.cameras) == 1 else
               f'{len(config.cameras)} camera images ({", ".join(config.cameras)})')
    state = f"the robot's state ({config.proprio_dim} numbers)"
    return ', '.join([cameras, state] if config.proprio_dim else [cameras]) + ' and an instruction'


def _answer(config: VlaConfig) -> str:
    dim, horizon = config.action.dim, config.action.horizon
    one = ('seven numbers (end-effector deltas in metres and radians, gripper)' if dim == ARM_DIM
           else f'{dim} numbers in the units of its statistics')
    return one if horizon == 1 else f'{horizon} actions of {one}'


def _use(config: VlaConfig, where: str) -> list[str]:
    told = repr(config.instructions[0] if config.instructions else 'put carrot on plate')
    more = [f'proprio=np.zeros({config.proprio_dim}, np.float32)'] if config.proprio_dim else []
    if config.cameras[1:]:
        images = ', '.join(f'{name!r}: image' for name in config.cameras[1:])
        more.append(f'extra_images={{{images}}}')
    line = ('actions = policy.act(observation).actions' if config.action.dim == ARM_DIM else
            'numbers = policy.predict([observation])  # (1, action_horizon, dim)')
    return ['import numpy as np', 'from rlrc_ros.types import Observation',
            'from rlrc_ros.vla.policy import Policy', '',
            f"policy = Policy.open('{where}')",
            "image = np.zeros((480, 640, 3), np.uint8)  # your camera's, RGB",
            f'observation = Observation({", ".join(["image", told, *more])})', line]


def _drive(config: VlaConfig, where: str) -> list[str]:
    if config.action.dim != ARM_DIM:  # vla_node drives an arm of seven
        return [f'rlrc doctor {where}']
    return [f'ros2 launch rlrc_ros vla.launch.py checkpoint:={where}']


def card(folder: Path, result: RowResult | None = None, plan: dict | None = None,
         repository: str = '') -> str:
    """
    Return the model card of a checkpoint folder.

    :param repository: on the hub, USER/NAME; who reads the card has the folder as NAME
    :raises CheckpointError: see rlrc_ros.vla.checkpoint.inspect
    """
    summary = inspect(folder)
    config, where = summary.config, repository.rpartition('/')[2] or usual_path(folder)
    name = result.row.words if result else next(
        (each for each in reversed(Path(where).parts) if each not in NO_NAMES), where)
    matter = yaml.safe_dump(front_matter(summary, result, name), sort_keys=False).rstrip()
    fetch = [f'hf download {repository} --local-dir {where}'] if repository else []
    parts = [f'| {part} | {count / 1e6:.2f} M |' for part, count in summary.parts.items() if count]
    widths = {(each.num_heads, each.intermediate_size) for each in config.decoder.layers}
    shape = ', '.join(f'{heads} head{"s" * (heads != 1)} and {channels} channels'
                      for heads, channels in sorted(widths, reverse=True))
    record = config.quantization
    stored = ('bf16' if record is None else ', '.join(
        f'{part} {getattr(record, part)}' for part in ('decoder', 'vision', 'projector', 'head')))
    examples = [f'“{each}”' for each in config.instructions[:4]]
    lines = [
        '---', matter, '---', '', f'# {name}', '',
        f"A vision-language-action policy of OpenVLA's architecture: {_senses(config)} in, "
        f'{_answer(config)} out, {config.control_hz:g} times a second. Made with rlrc_ros.', '',
        f'* {summary.parameters / 1e6:.2f} M parameters, {summary.weight_bytes / 1e6:.2f} MB of '
        f'weights; stored: {stored}',
        f'* image {config.image_size} x {config.image_size} px, '
        f'{len(config.decoder.layers)} decoder layers with {shape}',
        f'* action statistics: {", ".join(summary.unnorm_keys) or "none"}'
        + (f'; instructions such as {", ".join(examples)}' if examples else ''), '',
        '| part | parameters |', '|---|---|', *parts, '', '## Results', '',
        *_results(result, plan), '', '## Use', '', '```python',
        *_use(config, where), '```', '', '```bash', *fetch,
        *_drive(config, where), '```', '',
        '## How it was made', '', *_stages(summary.provenance), '',
        '## Limits', '',
        'It knows the objects, receptacles and tables that its training showed, in simulation. On '
        'a real arm keep the safety gate of `vla_node` on and a hand at the stop.', '']
    return '\n'.join(lines)


def usual_path(folder: Path) -> str:
    """
    Return the path by which a card names the folder that it lies in.

    Below the working folder that is how one types it; elsewhere its last parts, as many as it
    takes to say more than which stage of a pipeline it was.
    """
    path = Path(os.path.abspath(folder))
    if path.is_relative_to(Path.cwd()) and path != Path.cwd():
        return path.relative_to(Path.cwd()).as_posix()
    count = next((count for count, part in enumerate(path.parts[:0:-1], 1)
                  if part not in NO_NAMES), 1)
    return Path(*path.parts[-count:]).as_posix()


def measured_card(folder: Path, repository: str) -> str | None:
    """Return the card that lies in a folder if it was measured on its files, under a new name."""
    path = folder / CARD
    text = path.read_text(encoding='utf-8') if path.is_file() else ''
    told = re.search(f'{MEASURED} `([0-9a-f]+)`', text)
    if told is None or told[1] != Hashes().of(folder):
        return None
    where = repository.rpartition('/')[2]
    text = re.sub(r"Policy\.open\('[^']*'\)", f"Policy.open('{where}')", text)
    return re.sub(r'(?:hf download .*\n)?(ros2 launch .* checkpoint:=).*',
                  rf'hf download {repository} --local-dir {where}\n\g<1>{where}', text)


def write_card(folder: Path, result: RowResult | None = None, plan: dict | None = None,
               repository: str = '', text: str | None = None) -> Path:
    """Write README.md (`text`, or what card() makes) into a checkpoint folder; return its path."""
    path = folder / CARD
    partial = folder / f'.{CARD}.partial'
    partial.write_text(card(folder, result, plan, repository) if text is None else text,
                       encoding='utf-8')
    os.replace(partial, path)
    return path
