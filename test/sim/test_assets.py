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
import logging
from pathlib import Path
import shutil

import numpy as np
import pytest
from rlrc_sim import assets
from rlrc_sim.objects_25 import OBJECTS_25, SEEN_OBJECTS
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.suites import check_ready, placement

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


def test_the_things_are_the_suites_in_its_order(official):
    """Names as the suite lists them; it alone spells zucchini otherwise."""
    for folder, names in (('more_carrot', OBJECTS_25), ('more_plate', RECEPTACLES_25)):
        theirs = [entry['name'].replace('zuchinni', 'zucchini')
                  for _, entry in assets.entries(folder)]
        assert theirs == list(names)
    assert list(OBJECTS_25)[:16] == list(SEEN_OBJECTS)


def _hollow_copy(source: Path, target: Path) -> None:
    """Copy a tree's lists as they are and its other files as one byte each."""
    for path in source.rglob('*'):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif path.suffix in ('.json', '.urdf'):
            shutil.copy(path, copy)
        else:
            copy.write_text('x')


def test_half_copied_assets_are_refused(official, monkeypatch, tmp_path):
    """One mesh missing or empty among hundreds of files is named; so is a broken list."""
    copy = tmp_path / 'put_on_plate_25'
    _hollow_copy(assets.suite_folder(), copy)
    for name in ('widowx', 'bridge'):
        _hollow_copy(SHARED / name, tmp_path / name)
    monkeypatch.setenv(assets.VARIABLE, str(copy))
    check_ready('official_ind')
    check_ready('bridge_put_carrot')
    (copy / 'more_carrot' / '003_bread_1' / 'collision.obj').unlink()
    with pytest.raises(ValueError, match='1 files are missing.*003_bread_1/collision.obj'):
        check_ready('official_ind')
    (copy / 'more_table' / 'imgs' / '007_yellow desk_1.png').write_text('')
    with pytest.raises(ValueError, match='2 files are missing or empty'):
        check_ready('official_ind')
    listed = copy / 'more_plate' / 'model_db.json'
    listed.write_text(json.dumps(json.loads(listed.read_text()))[:-40])
    with pytest.raises(ValueError, match='cannot be read'):
        check_ready('official_ind')
    (tmp_path / 'bridge' / 'stages' / 'bridge_table_1_v1.glb').unlink()
    with pytest.raises(ValueError, match='first stages/.*download_asset bridge_v2_real2sim'):
        check_ready('bridge_put_carrot')
    (tmp_path / 'widowx' / 'meshes_wx250s' / 'WXSA-250-M-1-Base.stl').unlink()
    with pytest.raises(ValueError, match='M-1-Base.stl.*download_asset widowx250s'):
        check_ready('official_ind')


@pytest.mark.sim
def test_official_episodes_are_judged_and_paid_as_the_suite_does(official, caplog):
    """
    The official arm, a bear without a textured mesh, a photo: said once, solved, and paid 1.2.

    The plate lies where the placement says; the bear may fall over, but not away.
    """
    from rlrc_sim import official as official_suite
    from rlrc_sim.expert import expert_action
    from rlrc_sim.put_on_plate_25 import PutOnPlate25
    from rlrc_sim.world import World
    seed = next(seed for seed in range(200)
                if placement('official_ind', seed).object_name == 'toy bear')
    official_suite._said.clear()
    with caplog.at_level(logging.WARNING, 'rlrc.official'):
        world = World((48, 64), episode_set='official_ind')
        for _ in range(2):
            image = world.reset(seed, 'official_ind').image
    assert caplog.text.count('010_toy bear_1 has no textured mesh') == 1
    env, chosen = world._env, world.placement
    assert isinstance(env, PutOnPlate25) and chosen == placement('official_ind', seed)
    for pose, xy_m, slack_m in ((env.object_pose(), chosen.object_xy_m, 0.04),
                                (env.plate_pose(), chosen.receptacle_xy_m, 0.002)):
        np.testing.assert_allclose(pose[0, :2], xy_m, atol=slack_m)
    photo = env.background(chosen)
    assert (image == photo).all(axis=2).mean() > 0.5, 'most of the picture is the photo'
    steps = [world.step(expert_action(world.truth())) for _ in range(40)]
    assert steps[-1].grasped and steps[-1].success
    assert sum(step.reward for step in steps) == pytest.approx(1.2, abs=1e-5)
    world.close()


@pytest.mark.sim
def test_maniskills_own_task_runs_through_the_same_door(official):
    """Its sentence, its photo, its judgement; the expert solves it, paid as the suite pays."""
    from rlrc_sim.expert import expert_action
    from rlrc_sim.world import World
    world = World(episode_set='bridge_put_carrot')
    first = world.reset(5, 'bridge_put_carrot')
    assert first.instruction == 'put carrot on plate' and first.image.shape == (480, 640, 3)
    total = 0.0
    for _ in range(40):
        step = world.step(expert_action(world.truth()))
        total += step.reward
        if step.success:
            break
    assert step.success and step.grasped and total >= 1.1 - 1e-5
    world.close()
