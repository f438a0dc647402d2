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
The official suite: RL4VLA's objects and photos, ManiSkill's WidowX, the same sets and judgement.

`RLRCPutOnPlateOfficial-v1` differs from PutOnPlate25 in what is seen and touched alone. A box
stands for the table's mesh, which the photo always hides. `RLRCPutCarrot-v1` is ManiSkill's own
PutCarrotOnPlateInScene-v1 behind the interface that World expects: its scene, its photo, its
judgement; only the reward and the flags of grasping are the suite's.
"""

from functools import lru_cache
import logging
from pathlib import Path

from mani_skill.agents.registration import register_agent
from mani_skill.agents.robots.widowx.widowx import WidowX250S as ManiSkillWidowX
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval import base_env as bridge_base
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.put_on_in_scene import (
    PutCarrotOnPlateInScene,
)
from mani_skill.utils import sapien_utils
from mani_skill.utils.registration import register_env
import numpy as np
from PIL import Image
from rlrc_sim import assets
from rlrc_sim.objects_25 import OBJECTS_25
from rlrc_sim.placements import Placement
from rlrc_sim.put_on_plate import HELD_STEPS, MAX_EPISODE_STEPS, potential
from rlrc_sim.put_on_plate_25 import Grip, grip_of, PutOnPlate25
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.scene import Kind, PARKING_M
from rlrc_sim.suites import placement
from rlrc_sim.widowx import CAMERA, FINGER_CLOSED_M, FINGER_OPEN_M, WidowX250S
import sapien
import torch

ENV_ID_OFFICIAL, ENV_ID_BRIDGE = 'RLRCPutOnPlateOfficial-v1', 'RLRCPutCarrot-v1'
ONE_COLOUR = (0.55, 0.38, 0.25, 1.0)
log = logging.getLogger('rlrc.official')
_said: set[str] = set()


@register_agent()
class OfficialWidowX(WidowX250S):
    """ManiSkill's WidowX meshes with the same drives and control modes."""

    uid = 'rlrc_widowx250s_official'
    in_workspace = False  # the published suite has no box
    urdf_config: dict = {}
    disable_self_collisions = False

    def __init__(self, *args, **kwargs):
        self.urdf_path = str(assets.widowx_urdf())
        super().__init__(*args, **kwargs)


@lru_cache(maxsize=1)
def _models() -> dict[str, tuple[Kind, Path]]:
    """Return each thing's kind and folder by the name that placements use."""
    models = {}
    for folder, names in (('more_carrot', OBJECTS_25), ('more_plate', RECEPTACLES_25)):
        for name, (model, entry) in zip(names, assets.entries(folder)):
            low, high = (np.array(entry['bbox'][end]) for end in ('min', 'max'))
            size = tuple((high - low).tolist())
            kind = Kind(name, (), size, long=max(size[:2]) > 1.15 * min(size[:2]),
                        density=entry['density'], centre_m=tuple(((low + high) / 2).tolist()))
            models[name] = kind, assets.suite_folder() / folder / model
    return models


@lru_cache(maxsize=64)
def _photo(path: Path, height_px: int, width_px: int) -> np.ndarray:
    image = Image.open(path).convert('RGB').resize((width_px, height_px), Image.Resampling.BOX)
    return np.asarray(image)


@register_env(ENV_ID_OFFICIAL, max_episode_steps=MAX_EPISODE_STEPS)
class PutOnPlateOfficial(PutOnPlate25):
    """One of the official suite's episodes; options as PutOnPlate's, one environment a process."""

    ARM = OfficialWidowX
    SUPPORTED_ROBOTS = [OfficialWidowX.uid]
    FIRST_SET = 'official_ind'

    def _kinds_of(self, chosen: Placement) -> dict[str, Kind]:
        names = (chosen.object_name, chosen.receptacle_name,
                 *(extra.name for extra in chosen.extras))
        return {name: _models()[name][0] for name in names}

    def _load_scene(self, options: dict) -> None:
        super()._load_scene(options)
        for robot in self.agent.robot._objs:
            sapien_utils.set_articulation_render_material(robot, specular=0.9, roughness=0.3)

    def _build(self, name: str, kind: Kind):
        folder = _models()[name][1]
        builder = self.scene.create_actor_builder()
        friction = sapien.physx.PhysxMaterial(
            static_friction=1.0, dynamic_friction=1.0, restitution=0.0)
        builder.add_multiple_convex_collisions_from_file(
            filename=str(folder / 'collision.obj'), material=friction, density=kind.density)
        visual = assets.visual_of(folder)
        if visual is None:
            if name not in _said:
                log.warning('%s has no textured mesh; its collision mesh is shown', folder.name)
                _said.add(name)
            builder.add_visual_from_file(
                str(folder / 'collision.obj'),
                material=sapien.render.RenderMaterial(base_color=ONE_COLOUR, roughness=0.6))
        else:
            builder.add_visual_from_file(str(visual))
        builder.initial_pose = sapien.Pose(PARKING_M)
        return builder.build(name=name)

    def background(self, chosen: Placement) -> np.ndarray:
        """Return the photo of the table (H, W, 3)."""
        name = assets.entries('more_table')[chosen.table][0]
        return _photo(assets.suite_folder() / 'more_table' / 'imgs' / name, *self._image_size_px)

    def texture(self, chosen: Placement) -> np.ndarray:
        """Return the picture (H, W, 3) that is blended over."""
        name = assets.entries('more_table')[chosen.texture][1]['texture']
        return _photo(assets.suite_folder() / 'more_table' / 'textures' / name,
                      *self._image_size_px)


@register_env(ENV_ID_BRIDGE, max_episode_steps=MAX_EPISODE_STEPS)
class PutCarrot(PutCarrotOnPlateInScene):
    """ManiSkill's task as World expects it; the picture is 640 x 480, whatever is asked for."""

    SUPPORTED_REWARD_MODES = ['sparse', 'none']

    def __init__(self, *args, image_size_px: tuple[int, int] = (480, 640),
                 control_mode: str = 'ee', **kwargs):
        if control_mode != 'ee':
            raise ValueError(f"{ENV_ID_BRIDGE} takes end-effector deltas (control 'ee') only, "
                             f'got {control_mode!r}')
        bridge_base.BRIDGE_DATASET_ASSET_PATH = assets.bridge_folder()
        ManiSkillWidowX.urdf_path = str(assets.widowx_urdf())
        self.placements = [placement('bridge_put_carrot', 0)]
        super().__init__(*args, **kwargs)

    @property
    def instructions(self) -> list[str]:
        """Return ManiSkill's own sentence."""
        return self.get_language_instruction()

    def _load_scene(self, options: dict) -> None:
        super()._load_scene(options)
        self.agent.tcp = self.agent.robot.links_map['ee_gripper_link']

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict) -> None:
        seed = options.get('episode_seeds', [0])[0]
        super()._initialize_episode(env_idx, {**options, 'episode_id': torch.tensor([seed])})
        self._last_potential = torch.zeros(1)

    def step(self, action: np.ndarray) -> tuple:
        """Step with deltas and a finger target in metres; ManiSkill wants it as -1 ... 1."""
        action = np.array(action, dtype=np.float32)
        action[6] = 2 * (action[6] - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M) - 1
        return super().step(action)

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Return ManiSkill's judgement and the flags that World reads."""
        verdict = super().evaluate()
        return {**verdict, 'ever_grasped': verdict['is_src_obj_grasped'].clone(),
                'is_grasped': self.consecutive_grasp > 0,
                'ever_held': self.consecutive_grasp >= HELD_STEPS}

    def compute_sparse_reward(self, obs, action, info: dict) -> torch.Tensor:
        """Return the suite's reward (B,) from ManiSkill's flags."""
        now = potential(info['ever_grasped'], info['consecutive_grasp'], info['success'])
        reward, self._last_potential = now - self._last_potential, now
        return reward

    def object_pose(self) -> torch.Tensor:
        """Return the carrot's pose (1, 7) in the world: xyz, wxyz."""
        return self.objs[self.source_obj_name].pose.raw_pose

    def plate_pose(self) -> torch.Tensor:
        """Return the plate's pose (1, 7) in the world: xyz, wxyz."""
        return self.objs[self.target_obj_name].pose.raw_pose

    def grip(self) -> Grip:
        """Return how to take hold of the carrot as it lies now."""
        box = self.model_db[self.source_obj_name]['bbox']
        low, high = (np.array(box[end]) for end in ('min', 'max'))
        kind = Kind('carrot', (), tuple(high - low), centre_m=tuple((low + high) / 2))
        matrix = self.objs[self.source_obj_name].pose.to_transformation_matrix()[0]
        matrix = matrix.cpu().numpy().astype(np.float64)
        return grip_of(kind, matrix[:3, 3], matrix[:3, :3])

    def _get_obs_sensor_data(self, *args, **kwargs) -> dict:
        obs = super()._get_obs_sensor_data(*args, **kwargs)
        return {**obs, CAMERA: obs['3rd_view_camera']}
