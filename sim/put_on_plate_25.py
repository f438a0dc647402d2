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
PutOnPlate25 as ManiSkill environment `RLRCPutOnPlate25-v1`: things made here, painted tables.

Timing, placement, success and reward are PutOnPlate's, that is the suite's. A scene holds what its
episode shows and no more: 42 kinds on a shelf would slow every step. So a reset builds the scene
anew, always, and one environment is one process.
"""

from dataclasses import dataclass

from mani_skill.utils.registration import register_env
from mani_skill.utils.structs.pose import Pose
import numpy as np
from rlrc_ros.arm.limits import FINGER_OPEN_M, INITIAL_RAD
from rlrc_sim.objects_25 import OBJECTS_25
from rlrc_sim.placements import Placement
from rlrc_sim.put_on_plate import MAX_EPISODE_STEPS, PutOnPlate
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.scene import build_kind, build_table, Kind, PARKING_M, TABLE_TOP_M
from rlrc_sim.table_looks import composed, table_picture, texture_picture
from rlrc_sim.widowx import CAMERA
import sapien
import torch

ENV_ID_25 = 'RLRCPutOnPlate25-v1'
MOVED_AT_STEP = 5
"""Control steps that an object stays where it was before it jumps (axis object_moved)."""
DROP_M = 0.002
"""Gap to the table at which a thing is put down."""
ROUND_SHARE = 1.15
"""Sides whose lengths differ by less are taken for round: any yaw grips them."""


@dataclass(frozen=True)
class Grip:
    """How the expert takes hold of a thing as it lies, in the world."""

    centre_m: np.ndarray
    """Middle of the thing's box (3,)."""
    point_m: np.ndarray
    """Where the end effector goes (3,)."""
    long_axis: np.ndarray | None
    """Horizontal direction (3,) that the fingers close across; None: any."""
    height_m: float
    """Of the world-aligned box."""
    width_m: float
    """Between the fingers."""


def grip_of(kind: Kind, position_m: np.ndarray, rotation: np.ndarray,
            depth_m: float = 0.024) -> Grip:
    """
    Return where and how to grip a thing, whichever side it lies on.

    The fingers close across the shorter of the two sides that lie flat.

    :param rotation: (3, 3), the thing's frame in the world
    :param depth_m: how far below the top at most: deeper, the palm would stand on the thing
    """
    size = np.array(kind.size_m)
    centre = position_m + rotation @ np.array(kind.centre_m)
    height = float(np.abs(rotation[2]) @ size)
    upright = int(np.argmax(np.abs(rotation[2])))
    flat = [side for side in range(3) if side != upright]
    shorter, longer = sorted(flat, key=lambda side: size[side])
    own = kind.grip_m is not None and rotation[2, 2] > 0.8
    if own:
        longer = 0  # a kind that says where to grip is gripped across its y
        shorter = 1
    is_round = not kind.long if upright == 2 else size[longer] < ROUND_SHARE * size[shorter]
    highest = centre + [0.0, 0.0, height / 2 - depth_m]
    point = position_m + rotation @ np.array(kind.grip_m) if own else highest
    point[2] = max(point[2], highest[2])
    return Grip(centre, point, None if is_round else rotation[:, longer], height, size[shorter])


@register_env(ENV_ID_25, max_episode_steps=MAX_EPISODE_STEPS)
class PutOnPlate25(PutOnPlate):
    """One of the suite's episodes; options as PutOnPlate's, one environment a process."""

    SUPPORTED_OBS_MODES = ('rgb+segmentation', 'none', 'state')
    FIRST_SET = 'put25_ind'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, 'reconfiguration_freq': 1})

    def _kinds_of(self, chosen: Placement) -> dict[str, Kind]:
        """Return the kinds that an episode shows, by the names its placement uses."""
        known = {**OBJECTS_25, **RECEPTACLES_25}
        names = (chosen.object_name, chosen.receptacle_name,
                 *(extra.name for extra in chosen.extras))
        return {name: known[name] for name in names}

    def _build(self, name: str, kind: Kind):
        return build_kind(self.scene, kind, name, PARKING_M)

    def _load_scene(self, options: dict) -> None:
        if self.num_envs != 1:
            raise ValueError(f'{ENV_ID_25} holds one environment, got num_envs {self.num_envs}; '
                             'run several processes (rlrc_sim.rollout.WorldPool)')
        self.placements = [None]
        self._choose([0], options)
        self._table = build_table(self.scene)
        self._kinds = self._kinds_of(self.placements[0])
        self._actors = {name: self._build(name, kind) for name, kind in self._kinds.items()}
        self._forget()

    def _stand_still(self, count: int) -> None:
        first = np.asarray(INITIAL_RAD) + self.placements[0].joint_offset_rad
        qpos = torch.tensor([[*first, FINGER_OPEN_M, FINGER_OPEN_M]], dtype=torch.float32)
        self._hold(qpos)

    def _place_actors(self, rows: list[int]) -> None:
        chosen = self.placements[0]
        self._put(chosen.receptacle_name, chosen.receptacle_xy_m, 0.0)
        self._put(chosen.object_name, chosen.object_xy_m, chosen.object_yaw_rad)
        for extra in chosen.extras:
            self._put(extra.name, extra.xy_m, extra.yaw_rad)

    def _put(self, name: str, xy_m: tuple[float, float], yaw_rad: float) -> None:
        """Stand a thing on the table, or on what lies there already."""
        kind, actor = self._kinds[name], self._actors[name]
        half, turn = np.array(kind.size_m) / 2, (np.cos(yaw_rad), np.sin(yaw_rad))
        wxyz = (np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))
        lowest = TABLE_TOP_M + DROP_M + half[2] - kind.centre_m[2]
        chosen = self.placements[0]
        gap = np.linalg.norm(np.subtract(xy_m, chosen.receptacle_xy_m))
        if name != chosen.receptacle_name:
            plate = self._kinds[chosen.receptacle_name].size_m
            if gap < np.hypot(*(np.abs(turn) * half[:2])) + max(plate[:2]) / 2:
                lowest += plate[2]  # long things reach over the plate's rim, as in the suite
        actor.set_pose(Pose.create_from_pq(
            torch.tensor([[*xy_m, lowest]], dtype=torch.float32),
            torch.tensor([wxyz], dtype=torch.float32)))
        actor.set_linear_velocity(torch.zeros(1, 3))
        actor.set_angular_velocity(torch.zeros(1, 3))

    def _before_control_step(self) -> None:
        chosen = self.placements[0]
        if chosen.moved_xy_m is not None and int(self._elapsed_steps[0]) == MOVED_AT_STEP:
            self._put(chosen.object_name, chosen.moved_xy_m, chosen.object_yaw_rad)

    def grip(self) -> Grip:
        """Return how to take hold of the object as it lies now."""
        matrix = self._actors[self.placements[0].object_name].pose.to_transformation_matrix()
        matrix = matrix[0].cpu().numpy().astype(np.float64)
        return grip_of(self._kinds[self.placements[0].object_name], matrix[:3, 3], matrix[:3, :3])

    def long_axes(self) -> dict[str, np.ndarray | None]:
        """Return each long object's horizontal direction (3,), None of all else, by name."""
        return {name: grip_of(self._kinds[name], T[:3, 3], T[:3, :3]).long_axis
                if name in OBJECTS_25 else None for name, T in self.poses().items()}

    # ----------------------------------------------------------- any state at all

    def poses(self) -> dict[str, np.ndarray]:
        """Return where everything lies now, by name: (4, 4) in the world."""
        return {name: actor.pose.to_transformation_matrix()[0].cpu().numpy().astype(np.float64)
                for name, actor in self._actors.items()}

    def arrange(self, chosen: Placement, poses: dict[str, np.ndarray], qpos: np.ndarray) -> None:
        """
        Put arm and things where they are said to be, without letting time pass.

        :param chosen: with the names of the present episode
        :param poses: (4, 4) in the world, by name
        :param qpos: (8,) arm and fingers
        """
        self.placements[0] = chosen
        for name, T in poses.items():
            self._actors[name].set_pose(sapien.Pose(T.astype(np.float32)))
        self._hold(torch.from_numpy(qpos.astype(np.float32))[None])

    # ----------------------------------------------------------------- picture

    def background(self, chosen: Placement) -> np.ndarray:
        """Return the picture (H, W, 3) behind arm and things."""
        return table_picture(chosen.table, *self._image_size_px)

    def texture(self, chosen: Placement) -> np.ndarray:
        """Return the picture (H, W, 3) that is blended over."""
        return texture_picture(chosen.texture, *self._image_size_px)

    def _get_obs_sensor_data(self, *args, **kwargs) -> dict:
        obs = super()._get_obs_sensor_data(*args, **kwargs)
        camera, chosen = obs[CAMERA], self.placements[0]
        labels = camera['segmentation'][0, ..., 0].cpu().numpy()
        things = (labels != 0) & (labels != int(self._table.per_scene_id[0]))
        texture = None if chosen.texture is None else self.texture(chosen)
        picture = composed(
            camera['rgb'][0].cpu().numpy(), things, self.background(chosen), texture,
            chosen.texture_share, chosen.texture_everywhere)
        camera['rgb'] = torch.from_numpy(picture)[None].to(camera['rgb'].device)
        return obs
