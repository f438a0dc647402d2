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
Put a checkpoint on the Hugging Face hub: `rlrc publish runs/int4 --repo-id me/policy --dry-run`.

Writes the model card (README.md) into the folder and uploads the files of a checkpoint, nothing
else: config.json, weights as safetensors, tokenizer, statistics, provenance, reports. With
--dry-run it says what it would upload and touches no network. With --results it takes the success
rates from a pipeline's folder, whose checkpoint may have been copied elsewhere: contents count;
with --rows those of earlier runs too.
Without, a card that was measured on these files stays. Log in first with `hf auth login`.
"""

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Annotated

from huggingface_hub import HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id
from rich.console import Console
from rich.table import Table
from rlrc_ros.vla.inspection import inspect
from rlrc_ros.vla.shards import PICKLE_SUFFIXES
from rlrc_training.command_line import run_verb
from rlrc_training.content_hash import Hashes
from rlrc_training.model_card import CARD, measured_card, write_card
from rlrc_training.reporting.cells import RowResult
from rlrc_training.reporting.read import read_pipeline
import tyro

PATTERNS = (CARD, 'config.json', '*.safetensors', '*.safetensors.index.json', 'tokenizer*',
            'special_tokens_map.json', 'dataset_statistics.json', 'provenance.json',
            'preprocessor_config.json', 'pruning.json', 'pruning.png', 'fidelity.md',
            'fidelity.json')
"""Files that are uploaded."""
TELLING = ('provenance.json', 'pruning.json', 'fidelity.md', 'fidelity.json')
"""Those that may hold a command, as it was typed, or where a file lay."""
OWN_PATH = re.compile(r'(?:^|[\s=,:("\'`\[])(/[^\s/"\'`,;)\]]+/[^\s"\'`,;)\]]+)')
"""An absolute path of two parts or more says where somebody works."""


@dataclass(frozen=True)
class PublishConfig:
    """What to publish, and as what."""

    checkpoint: Annotated[Path, tyro.conf.Positional] = Path('checkpoints/nano')
    """Checkpoint folder."""
    repo_id: str = ''
    """USER/NAME or ORGANISATION/NAME on the hub."""
    results: Path | None = None
    """Folder of the `rlrc pipeline` that measured it, for the card."""
    rows: Path | None = None
    """With --results, as `rlrc report` takes it: rows.json beside an earlier report, for what an
    earlier run measured."""
    allow_commit: tuple[str, ...] = ()
    """With --results, as `rlrc report` takes it: states of the source whose results may stand
    beside others."""
    private: bool = False
    """Make the repository private, where it is new."""
    keep_paths: bool = False
    """Publish files that name folders of your machine."""
    dry_run: bool = False
    """Write the card, say what would be uploaded, and touch no network."""

    def __post_init__(self) -> None:
        if self.rows and not self.results:
            raise ValueError(f'rows {self.rows} wants --results, the folder of a pipeline from '
                             'the same dense policy')
        if not self.repo_id or '/' not in self.repo_id:
            raise ValueError(f'repo_id {self.repo_id!r} is not USER/NAME; give for example '
                             '--repo-id you/nano-rlrc-4bit')
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise ValueError(f'repo_id {self.repo_id!r} is not one of the hub: {error}') from error


def files_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """
    Return the files that are uploaded, and those that are left out.

    :raises ValueError: a pickle among them
    """
    every = sorted(path for path in folder.iterdir()
                   if path.is_file() and not path.name.startswith('.'))
    taken = [path for path in every if any(path.match(each) for each in PATTERNS)]
    pickled = [path.name for path in every if path.name.endswith(PICKLE_SUFFIXES)]
    if pickled:
        raise ValueError(f'{folder} holds {", ".join(pickled)}, which others would have to '
                         'unpickle; publish a folder that `rlrc sft` or `rlrc quantize` wrote')
    return taken, [path for path in every if path not in taken]


def own_paths(folder: Path) -> dict[str, list[str]]:
    """Return the paths of this machine that uploaded files name, by file."""
    found = {name: sorted(set(OWN_PATH.findall((folder / name).read_text(encoding='utf-8'))))
             for name in TELLING if (folder / name).is_file()}
    return {name: paths for name, paths in found.items() if paths}


def _measured(config: PublishConfig, folder: Path) -> tuple[RowResult, dict]:
    """
    Return what a pipeline measured of the files in a folder, and its plan.

    :raises ValueError: it measured other files
    """
    earlier = (config.rows,) if config.rows else ()
    result = read_pipeline(config.results, config.allow_commit, earlier)
    rows = [each for each in result.rows if each.row.runtime == 'eager']
    content = Hashes().of(folder)
    found = [each for each in rows if each.content == content]
    if found:
        return found[0], result.plan
    here = next((each for each in rows if each.checkpoint
                 and each.checkpoint.resolve() == folder.resolve()), None)
    if here is not None:
        raise ValueError(f'{folder} is not what {config.results} measured: it was not evaluated, '
                         'or was made again since; run its `rlrc pipeline` again')
    raise ValueError(f'{config.results} measured no files such as those in {folder}; it measured: '
                     + (', '.join(str(each.checkpoint or each.title) for each in rows
                                  if each.content) or 'nothing yet'))


def publish(config: PublishConfig) -> list[Path]:
    """Write the card and upload; return the uploaded files."""
    folder = inspect(config.checkpoint).folder
    console = Console()
    result, plan = _measured(config, folder) if config.results else (None, None)
    if (named := own_paths(folder)) and not config.keep_paths:
        told = '; '.join(f'{name}: {", ".join(paths[:3])}' for name, paths in named.items())
        raise ValueError(f'files in {folder} name folders of this machine ({told}); they would be '
                         'public. Mend them, or add --keep-paths')
    files_of(folder)
    kept = None if config.results else measured_card(folder, config.repo_id)
    if kept is not None:
        console.print(f'{CARD} was measured on these files and stays')
    write_card(folder, result, plan, config.repo_id, kept)
    taken, left = files_of(folder)
    table = Table(title=f'{folder} → {config.repo_id}'
                        f'{" (private)" if config.private else ""}')
    table.add_column('file')
    table.add_column('MB', justify='right')
    for path in taken:
        table.add_row(path.name, f'{path.stat().st_size / 1e6:.3f}')
    table.add_row(f'{len(taken)} files', f'{sum(each.stat().st_size for each in taken) / 1e6:.3f}')
    console.print(table)
    if left:
        console.print(f'left out: {", ".join(path.name for path in left)}')
    if config.dry_run:
        console.print('dry run: nothing was uploaded')
        return taken
    api = HfApi()
    try:
        api.create_repo(config.repo_id, private=config.private, exist_ok=True)
        where = api.upload_folder(
            repo_id=config.repo_id, folder_path=folder, allow_patterns=[p.name for p in taken],
            commit_message=f'Upload {folder.name} with rlrc publish')
    except Exception as error:  # the hub's client raises errors of its HTTP library too
        raise ValueError(f'the upload to {config.repo_id} failed ({error}); check the network and '
                         '`hf auth login`, then run the same command again') from error
    console.print(f'uploaded: {where}')
    return taken


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc publish`."""
    return run_verb('publish', PublishConfig, publish, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
