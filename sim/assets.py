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
Where the official assets lie, and whether they are all there: checked before a simulator starts.

`RLRC_ASSETS` names the folder with RL4VLA's `more_carrot`, `more_plate` and `more_table`, or the
folder that holds it as `put_on_plate_25`. The WidowX (`widowx/wx250s.urdf`) and the assets of
ManiSkill's bridge tasks (`bridge/`) are looked for in it, beside it, and in ManiSkill's own data
folder, where its downloader puts them. Nothing of this is part of the package.
"""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import re

VARIABLE = 'RLRC_ASSETS'
FOLDERS = ('more_carrot', 'more_plate', 'more_table')
VISUALS = ('textured.obj', 'textured.dae', 'textured.glb')
WITHOUT_VISUAL = ('010_toy bear_1', '017_travel cup_1', '005_sheet metal_1')
"""Their textured meshes are missing upstream; the collision mesh is shown in one colour."""
BRIDGE_FILES = (
    'real_inpainting/bridge_real_eval_1.png', 'stages/bridge_table_1_v1.glb',
    *(f'custom/models/{model}/{file}' for model in (
        'bridge_carrot_generated_modified', 'bridge_plate_objaverse_larger')
        for file in ('collision.obj', 'textured.*')))
"""What PutCarrotOnPlateInScene-v1 opens beside its list of models."""
COUNTS = {'more_carrot': 25, 'more_plate': 17, 'more_table': 21}


def _maniskill_data() -> Path:
    return Path(os.environ.get('MS_ASSET_DIR', Path.home() / '.maniskill')) / 'data'


def candidates() -> Iterator[Path]:
    named = os.environ.get(VARIABLE)
    if named:
        root = Path(named).expanduser()
        yield from (root, root / 'put_on_plate_25', root.parent)


def _listing(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    return ', '.join(names[:12]) or 'nothing'


def suite_folder() -> Path:
    """
    Return the folder with more_carrot, more_plate and more_table.

    :raises ValueError: RLRC_ASSETS is not set, or names a folder without them
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise ValueError(
            f"the official suite needs RL4VLA's assets: set {VARIABLE} to the folder with "
            f'{", ".join(FOLDERS)} (the `carrot` assets of gen-robot/RL4VLA), or use the sets '
            'put25_*, which need none')
    for folder in list(candidates())[:2]:
        if any((folder / each).is_dir() for each in FOLDERS):
            return folder
    raise ValueError(f'{VARIABLE}={named} holds no {FOLDERS[0]}; there is: '
                     f'{_listing(Path(named).expanduser())}')


def _beside(names: tuple[str, ...], in_maniskill: str, wanted: str, download: str) -> Path:
    places = [folder / name for folder in candidates() for name in names]
    places.append(_maniskill_data() / in_maniskill)
    for place in places:
        if (place / wanted).exists():
            return place
    raise ValueError(
        f'{wanted} is not there; looked in {", ".join(str(place) for place in places)}. Fetch it '
        f'with `python -m mani_skill.utils.download_asset {download}`')


def widowx_urdf() -> Path:
    """Return ManiSkill's wx250s.urdf; ValueError if it is nowhere."""
    return _beside(('widowx',), 'robots/widowx', 'wx250s.urdf', 'widowx250s') / 'wx250s.urdf'


def bridge_folder() -> Path:
    """Return the folder of ManiSkill's bridge tasks; ValueError if it is nowhere."""
    return _beside(('bridge',), 'tasks/bridge_v2_real2sim_dataset',
                   'custom/info_bridge_custom_v0.json', 'bridge_v2_real2sim')


def entries(kind: str) -> list[tuple[str, dict]]:
    """Return (model name, its entry) of one of FOLDERS in the suite's order."""
    path = suite_folder() / kind / 'model_db.json'
    try:
        database = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} cannot be read ({error}); copy {kind} again') from error
    return sorted(database.items())


def visual_of(folder: Path) -> Path | None:
    """Return a model's textured mesh, or None if it has none."""
    return next((folder / name for name in VISUALS if (folder / name).exists()), None)


def _refuse_missing(root: Path, wanted: list[str], again: str) -> None:
    """Raise ValueError if one of the files (names or patterns) is not there, or is empty."""
    def there(name: str) -> bool:
        path = root / name
        found = path.parent.glob(path.name) if '*' in name else [path]
        return any(each.is_file() and each.stat().st_size for each in found)

    missing = [name for name in wanted if not there(name)]
    if missing:
        raise ValueError(f'{root} is incomplete: {len(missing)} files are missing or empty, first '
                         f'{", ".join(missing[:3])}; {again}')


def check(episode_set: str) -> None:
    """
    Raise ValueError, naming what is missing, if a set's assets are not all there.

    :param episode_set: an `official_*` set or the bridge set
    """
    urdf = widowx_urdf()
    meshes = set(re.findall(r'filename="(?:package://[^/"]+/)?([^"]+)"', urdf.read_text()))
    _refuse_missing(urdf.parent, sorted(meshes), 'fetch it again with '
                    '`python -m mani_skill.utils.download_asset widowx250s`')
    if episode_set.startswith('bridge_'):
        _refuse_missing(bridge_folder(), list(BRIDGE_FILES), 'fetch it again with '
                        '`python -m mani_skill.utils.download_asset bridge_v2_real2sim`')
        return
    root, wanted = suite_folder(), []
    for kind in FOLDERS:
        listed = entries(kind)
        if len(listed) != COUNTS[kind]:
            raise ValueError(f'{root / kind}/model_db.json lists {len(listed)} entries, the suite '
                             f'has {COUNTS[kind]}')
        for name, entry in listed:
            if kind == 'more_table':
                wanted += [f'{kind}/imgs/{name}', f'{kind}/textures/{entry["texture"]}']
                continue
            wanted.append(f'{kind}/{name}/collision.obj')
            if name not in WITHOUT_VISUAL:
                visual = visual_of(root / kind / name)
                visual_name = visual.name if visual else VISUALS[-1]
                wanted.append(f'{kind}/{name}/{visual_name}')
    _refuse_missing(root, wanted, 'copy the folder again')
