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

"""The doors of the official suite: what is missing is named before a simulator starts."""

import json
from pathlib import Path
import shutil

import pytest
from rlrc_sim import assets
from rlrc_sim.suites import check_ready

SHARED = Path(__file__).parents[3] / 'shared' / 'assets'


@pytest.fixture
def official(monkeypatch):
    """Point RLRC_ASSETS at the suite's assets, where they are."""
    if not (SHARED / 'put_on_plate_25').is_dir():
        pytest.skip('no ../shared/assets/put_on_plate_25 beside the repository')
    monkeypatch.setenv(assets.VARIABLE, str(SHARED / 'put_on_plate_25'))


def test_sets_made_here_need_nothing(monkeypatch):
    """Without RLRC_ASSETS the built-in sets are ready, the official ones say what to set."""
    monkeypatch.delenv(assets.VARIABLE, raising=False)
    check_ready('put25_ind')
    with pytest.raises(ValueError, match='RLRC_ASSETS|download_asset'):
        check_ready('official_ind')


def test_a_folder_without_the_suite_is_listed(monkeypatch, tmp_path):
    """The error names what the folder holds instead."""
    (tmp_path / 'holiday photos').mkdir()
    monkeypatch.setenv(assets.VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match='there is: holiday photos'):
        assets.suite_folder()


def test_the_official_folder_is_complete(official):
    """All 25, 17 and 21 are there; exactly the three known models have no textured mesh."""
    check_ready('official_ind')
    root = assets.suite_folder()
    bare = [name for kind in assets.FOLDERS[:2] for name, _ in assets.entries(kind)
            if assets.visual_of(root / kind / name) is None]
    assert sorted(bare) == sorted(assets.WITHOUT_VISUAL)


def test_half_copied_assets_are_refused(official, monkeypatch, tmp_path):
    """One mesh missing among hundreds of files is named; so is a broken list."""
    source = assets.suite_folder()
    copy = tmp_path / 'put_on_plate_25'
    for path in source.rglob('*'):
        target = copy / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix == '.json':
            shutil.copy(path, target)
        else:
            target.touch()
    shutil.copytree(SHARED / 'widowx', tmp_path / 'widowx', ignore=lambda *_: ['meshes_wx250s'])
    monkeypatch.setenv(assets.VARIABLE, str(copy))
    check_ready('official_ind')
    (copy / 'more_carrot' / '003_bread_1' / 'collision.obj').unlink()
    with pytest.raises(ValueError, match='1 files are missing.*003_bread_1/collision.obj'):
        check_ready('official_ind')
    listed = copy / 'more_plate' / 'model_db.json'
    listed.write_text(json.dumps(json.loads(listed.read_text()))[:-40])
    with pytest.raises(ValueError, match='cannot be read'):
        check_ready('official_ind')


@pytest.mark.sim
def test_the_expert_solves_an_official_episode(official):
    """The official arm, object, plate and photo: grasped, placed, and the photo behind it."""
    from rlrc_sim.expert import expert_action
    from rlrc_sim.world import World
    world = World((48, 64), episode_set='official_ind')
    world.reset(0, 'official_ind')
    for _ in range(40):
        step = world.step(expert_action(world.truth()))
    assert step.grasped and step.success
    world.close()
