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
The task: put an object on a plate, as ManiSkill environment `RLRCPutOnPlate-v1`.

Timing, placement, success and reward are those of PutOnPlateInScene25Main (RL4VLA): 500 Hz
physics, 5 Hz control, 80 steps. Every object kind is built once and waits on a shelf out of
sight; an episode moves its two onto the table, so that a reset need not rebuild anything.

Legend: B environments.
"""

from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils.registration import register_env
from mani_skill.utils.structs.pose import Pose
from mani_skill.utils.structs.types import SceneConfig, SimConfig
import numpy as np
from rlrc_ros.arm.limits import FINGER_OPEN_M, INITIAL_RAD
from rlrc_sim.scene import (
    build_kind,
    build_light,
    build_table,
    OBJECTS,
    parking_place,
    RECEPTACLES,
    TABLE_TOP_M,
)
from rlrc_sim.suites import Placement, placement
from rlrc_sim.widowx import CAMERA_SIZE_PX, WidowX250S
import sapien
import torch

ENV_ID = 'RLRCPutOnPlate-v1'
MAX_EPISODE_STEPS = 80
SIM_HZ, CONTROL_HZ = 500, 5
ROBOT_POSITION_M = (0.147, 0.028, 0.870)
ROBOT_WXYZ = (0.0, 0.0, 0.0, 1.0)
"""Base of the arm in the world: turned by 180 degrees, it faces -x."""

SETTLE_S, SETTLE_LONGER_S = 0.5, 6.0
PRESS_N = 0.03
"""Contact force between object and plate that counts as lying on it."""
XY_SLACK_M, Z_SLACK_M = 0.01, 0.05
GRASP_REWARD, HELD_REWARD, PLACED_REWARD = 0.1, 0.1, 1.0
HELD_STEPS = 5


def is_on_plate(object_position: torch.Tensor, plate_position: torch.Tensor,
                object_half: torch.Tensor, plate_half: torch.Tensor,
                contact_force: torch.Tensor) -> torch.Tensor:
    """
    Say whether the object lies on the plate: the suite's success.

    :param object_position: (B, 3) metres; likewise plate_position
    :param object_half: (B, 3) half extents of the world-aligned box after settling; likewise plate
    :param contact_force: (B, 3) newtons between the two
    :return: (B,) bool
    """
    offset = object_position - plate_position
    near = torch.linalg.norm(offset[:, :2], dim=1) <= plate_half.amax(dim=1) + XY_SLACK_M
    gap = offset[:, 2] - object_half[:, 2] - plate_half[:, 2]
    return (near & (offset[:, 2] > 0) & (gap <= Z_SLACK_M)
            & (torch.linalg.norm(contact_force, dim=1) > PRESS_N))


def potential(ever_grasped: torch.Tensor, ever_held: torch.Tensor,
              success: torch.Tensor) -> torch.Tensor:
    """Return what the suite calls potential, as (B,); the reward of a step is its increase."""
    return (GRASP_REWARD * ever_grasped.float() + HELD_REWARD * ever_held.float()
            + PLACED_REWARD * (success & ever_grasped).float())


@register_env(ENV_ID, max_episode_steps=MAX_EPISODE_STEPS)
class PutOnPlate(BaseEnv):
    """
    One object, one plate, one sentence.

    `reset(seed=..., options={'episode_set': 'ind', 'episode_seeds': [...]})`; without
    `episode_seeds` the environment's own seed numbers the episode.
    """

    SUPPORTED_ROBOTS = [WidowX250S.uid]
    SUPPORTED_OBS_MODES = ('rgb', 'none', 'state')
    SUPPORTED_REWARD_MODES = ['sparse', 'none']
    ARM = WidowX250S
    FIRST_SET = 'ind'
    """What is on the table before the first reset says it."""
    agent: WidowX250S

    def __init__(self, *args, image_size_px: tuple[int, int] = CAMERA_SIZE_PX,
                 control_mode: str = 'ee', **kwargs):
        self._image_size_px = image_size_px
        self.placements: list[Placement] = []
        super().__init__(*args, robot_uids=self.ARM.uid, control_mode=control_mode, **kwargs)

    @property
    def _default_sim_config(self) -> SimConfig:
        return SimConfig(sim_freq=SIM_HZ, control_freq=CONTROL_HZ, spacing=20,
                         scene_config=SceneConfig(cpu_workers=0))

    @property
    def instructions(self) -> list[str]:
        """Return one sentence for each environment."""
        return [placement.instruction for placement in self.placements]

    def _load_agent(self, options: dict) -> None:
        self.ARM.image_size_px = self._image_size_px
        super()._load_agent(options, sapien.Pose(ROBOT_POSITION_M, ROBOT_WXYZ))

    def _load_lighting(self, options: dict) -> None:
        build_light(self.scene)

    def _load_scene(self, options: dict) -> None:
        build_table(self.scene)
        self._kinds = {**OBJECTS, **RECEPTACLES}
        self._parking = {name: parking_place(slot, kind.size_m[2])
                         for slot, (name, kind) in enumerate(self._kinds.items())}
        self._actors = {
            name: build_kind(self.scene, kind, name, self._parking[name])
            for name, kind in self._kinds.items()}
        self.placements = [placement('ind', 0)] * self.num_envs
        self._forget()

    def _forget(self) -> None:
        """Make room for what an episode remembers."""
        shape = (self.num_envs,)
        self._ever_grasped = torch.zeros(shape, dtype=torch.bool, device=self.device)
        self._ever_held = torch.zeros(shape, dtype=torch.bool, device=self.device)
        self._grasp_streak = torch.zeros(shape, dtype=torch.int64, device=self.device)
        self._last_potential = torch.zeros(shape, device=self.device)
        self._object_half = torch.zeros((self.num_envs, 3), device=self.device)
        self._plate_half = torch.zeros((self.num_envs, 3), device=self.device)

    # ---------------------------------------------------------------- episode

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict) -> None:
        rows = env_idx.tolist()
        self._choose(rows, options)
        self._stand_still(len(rows))
        self._place_actors(rows)
        self._settle(SETTLE_S)
        if self._speed() > 1e-2:
            self._settle(SETTLE_LONGER_S)
        self._stand_still(len(rows))
        self._ever_grasped[env_idx] = False
        self._ever_held[env_idx] = False
        self._grasp_streak[env_idx] = 0
        self._last_potential[env_idx] = 0.0
        for row in rows:
            self._object_half[row] = self._half_extents(row, self.placements[row].object_name)
            self._plate_half[row] = self._half_extents(row, self.placements[row].receptacle_name)

    def _choose(self, rows: list[int], options: dict) -> None:
        """Look up the episodes that a reset asks for."""
        seeds = options.get('episode_seeds')
        if seeds is None:
            seeds = [int(self._episode_seed[row]) for row in rows]
        for row, seed in zip(rows, seeds):
            self.placements[row] = placement(
                options.get('episode_set', self.FIRST_SET), int(seed))

    def _stand_still(self, count: int) -> None:
        """Put the arm into its first pose and let its drives want to stay there."""
        qpos = torch.tensor([*INITIAL_RAD, FINGER_OPEN_M, FINGER_OPEN_M], dtype=torch.float32)
        self._hold(qpos.to(self.device).repeat(count, 1))

    def _hold(self, qpos: torch.Tensor) -> None:
        """Put arms and fingers (B, 8) somewhere, and let the drives want to stay there."""
        self.agent.reset(qpos)
        self.agent.robot.set_pose(sapien.Pose(ROBOT_POSITION_M, ROBOT_WXYZ))
        self.agent.robot.set_joint_drive_targets(qpos, self.agent.robot.active_joints)

    def _place_actors(self, rows: list[int]) -> None:
        for name, actor in self._actors.items():
            position = np.tile(self._parking[name], (len(rows), 1))
            wxyz = np.tile([1.0, 0.0, 0.0, 0.0], (len(rows), 1))
            for i, row in enumerate(rows):
                chosen, height = self.placements[row], self._kinds[name].size_m[2]
                if name == chosen.object_name:
                    position[i] = (*chosen.object_xy_m, TABLE_TOP_M + height / 2 + 0.002)
                    half_yaw = chosen.object_yaw_rad / 2
                    wxyz[i] = (np.cos(half_yaw), 0.0, 0.0, np.sin(half_yaw))
                elif name == chosen.receptacle_name:
                    position[i] = (*chosen.receptacle_xy_m, TABLE_TOP_M + height / 2 + 0.001)
            actor.set_pose(Pose.create_from_pq(
                torch.as_tensor(position, dtype=torch.float32, device=self.device),
                torch.as_tensor(wxyz, dtype=torch.float32, device=self.device)))
            actor.set_linear_velocity(torch.zeros(len(rows), 3, device=self.device))
            actor.set_angular_velocity(torch.zeros(len(rows), 3, device=self.device))

    def _settle(self, seconds: float) -> None:
        if self.gpu_sim_enabled:
            self.scene._gpu_apply_all()
        for _ in range(int(seconds * SIM_HZ)):
            self.scene.step()
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()

    def _speed(self) -> float:
        chosen = {name for each in self.placements
                  for name in (each.object_name, each.receptacle_name)}
        return max(float(torch.linalg.norm(self._actors[name].linear_velocity, dim=1).max())
                   for name in chosen)

    def _half_extents(self, row: int, name: str) -> torch.Tensor:
        """Return the half size (3,) of the world-aligned box around a settled thing."""
        rotation = self._actors[name].pose.to_transformation_matrix()[row, :3, :3].abs()
        half = torch.tensor(self._kinds[name].size_m, device=self.device) / 2
        return rotation @ half

    def _chosen(self, receptacle: bool, quantity) -> torch.Tensor:
        """Pick quantity(actor) (B, ...) of the actor that each environment's episode uses."""
        names = [each.receptacle_name if receptacle else each.object_name
                 for each in self.placements]
        values = {name: quantity(self._actors[name]) for name in set(names)}
        return torch.stack([values[name][row] for row, name in enumerate(names)])

    def object_pose(self) -> torch.Tensor:
        """Return the objects' poses (B, 7) in the world: xyz, wxyz."""
        return self._chosen(False, lambda actor: actor.pose.raw_pose)

    def plate_pose(self) -> torch.Tensor:
        """Return the plates' poses (B, 7) in the world: xyz, wxyz."""
        return self._chosen(True, lambda actor: actor.pose.raw_pose)

    # ----------------------------------------------------------------- judging

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Judge the present state; called once per control step by ManiSkill."""
        grasped = self._chosen(False, self.agent.is_grasping)
        names = {(each.object_name, each.receptacle_name) for each in self.placements}
        forces = {pair: self.scene.get_pairwise_contact_forces(
            self._actors[pair[0]], self._actors[pair[1]]) for pair in names}
        contact = torch.stack([forces[each.object_name, each.receptacle_name][row]
                               for row, each in enumerate(self.placements)])
        success = is_on_plate(self.object_pose()[:, :3], self.plate_pose()[:, :3],
                              self._object_half, self._plate_half, contact)
        self._grasp_streak = torch.where(grasped, self._grasp_streak + 1, 0)
        self._ever_grasped |= grasped
        self._ever_held |= self._grasp_streak >= HELD_STEPS
        return {'success': success, 'is_grasped': grasped,
                'ever_grasped': self._ever_grasped.clone()}

    def holds(self, object_name: str) -> bool:
        """Say whether the first environment's gripper holds a thing now, named or not."""
        return bool(self.agent.is_grasping(self._actors[object_name])[0])

    def lies_on(self, object_name: str, receptacle_name: str) -> bool:
        """Say whether any thing of the first environment lies on any receptacle now."""
        pair = [self._actors[object_name], self._actors[receptacle_name]]
        halves = [self._half_extents(0, name)[None] for name in (object_name, receptacle_name)]
        positions = [actor.pose.p[:1] for actor in pair]
        return bool(is_on_plate(
            *positions, *halves, self.scene.get_pairwise_contact_forces(*pair)[:1])[0])

    def compute_sparse_reward(self, obs, action, info: dict) -> torch.Tensor:
        """Return the suite's reward (B,): what the potential gained in this step."""
        now = potential(self._ever_grasped, self._ever_held, info['success'])
        reward = now - self._last_potential
        self._last_potential = now
        return reward
