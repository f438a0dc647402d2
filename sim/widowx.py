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
The simulated WidowX-250S: our URDF, BridgeData's drives and camera, two ways to command it.

`ee` adds end-effector deltas to the last target pose, as BridgeData and the task suite do;
`joint` takes joint positions, as the real arm's drivers do. Both command the same drives, so
that an action and the joint target that inverse kinematics makes of it move the arm alike.

Drive gains, forces, camera pose and intrinsics are those that ManiSkill's
`widowx250s_bridgedataset_flat_table` carries (real2sim work of SimplerEnv, arXiv 2405.05941).
"""

from dataclasses import dataclass
from importlib.resources import files

from mani_skill.agents.base_agent import BaseAgent
from mani_skill.agents.controllers import (
    PDEEPoseController,
    PDEEPoseControllerConfig,
    PDJointPosControllerConfig,
    PDJointPosMimicControllerConfig,
)
from mani_skill.agents.registration import register_agent
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import common
from mani_skill.utils.structs import Pose
import numpy as np
from rlrc_ros.arm import limits
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT
import sapien
import torch

CAMERA = 'base_camera'
CAMERA_POSITION_M = (0.00, -0.16, 0.36)
CAMERA_WXYZ = (0.8992917, -0.09263245, 0.35892478, 0.23209205)
CAMERA_SIZE_PX = (480, 640)
CAMERA_FOCAL_PX = 623.588
CAMERA_CENTRE_PX = (319.501, 239.545)
"""A Logitech C920 fixed to base_link, looking at the table from over the arm's right shoulder."""

FINGER_JOINTS = (FINGER_JOINT, 'right_finger')

FINGER_EXTRA_M = 0.001
"""The simulated finger targets reach 1 mm past the real limits (0.015 ... 0.037 m), so that
closed fingers press on what lies between them, as the real gripper's motor does."""
FINGER_CLOSED_M = limits.FINGER_CLOSED_M - FINGER_EXTRA_M
FINGER_OPEN_M = limits.FINGER_OPEN_M + FINGER_EXTRA_M


def camera_matrix(height_px: int, width_px: int) -> np.ndarray:
    """
    Return the intrinsics (3, 3) of the camera for an image of another size.

    The picture is squeezed, not cropped: what a 640 x 480 frame becomes when OpenVLA's
    `resize-naive` shrinks it.
    """
    scale_x, scale_y = width_px / CAMERA_SIZE_PX[1], height_px / CAMERA_SIZE_PX[0]
    return np.array([
        [CAMERA_FOCAL_PX * scale_x, 0.0, CAMERA_CENTRE_PX[0] * scale_x],
        [0.0, CAMERA_FOCAL_PX * scale_y, CAMERA_CENTRE_PX[1] * scale_y],
        [0.0, 0.0, 1.0]])


class _RobotSideInverse:
    """ManiSkill's place for a solver (`compute_ik`), filled with the one that drives the arm."""

    def __init__(self, end_link: object, arm_indices: torch.Tensor) -> None:
        self.end_link = end_link
        self._arm_indices = arm_indices
        self._kinematics = Kinematics()

    def compute_ik(self, pose: object, q0: torch.Tensor, **_: object) -> torch.Tensor | None:
        """Return joint angles (1, 6) that reach `pose` in the base, or None if none do."""
        T_base_ee = pose.sp.to_transformation_matrix()
        q_rad = self._kinematics.inverse(T_base_ee, q0[0, self._arm_indices].double().numpy())
        return None if q_rad is None else torch.from_numpy(q_rad[None]).float()


class ArmPoseController(PDEEPoseController):
    """
    ManiSkill's end-effector target delta with the inverse kinematics of the robot side.

    ManiSkill's own solver on CPU stops 1e-4 short (a vector of metres and radians), which is up to
    2e-3 rad in the joints: enough for a policy's next action to fall into another bin. With one
    solver, an action moves the arm alike in process and through joint commands. Batched physics
    on a GPU keeps ManiSkill's batched solver.

    With `in_workspace` a target that would leave BridgeData's workspace box stops at its face, as
    the arm's own safety gate and BridgeData's controller have it.
    """

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        if self.device.type == 'cpu':
            self.kinematics = _RobotSideInverse(self.ee_link, self.active_joint_indices)
        self._box_m = torch.tensor(
            np.stack([limits.WORKSPACE_LOWER_M, limits.WORKSPACE_UPPER_M]),
            dtype=torch.float32, device=self.device)

    def compute_target_pose(self, prev_ee_pose_at_base: Pose, action: torch.Tensor) -> Pose:
        """Return the poses (B) in the base that `action` (B, 6) leads to from the last targets."""
        target = super().compute_target_pose(prev_ee_pose_at_base, action)
        if not self.config.in_workspace:
            return target
        return Pose.create_from_pq(
            limits.into_box(target.p, prev_ee_pose_at_base.p, *self._box_m), target.q)


@dataclass
class ArmPoseControllerConfig(PDEEPoseControllerConfig):
    """The options of ManiSkill's controller, for `ArmPoseController`."""

    controller_cls = ArmPoseController
    in_workspace: bool = True


@register_agent()
class WidowX250S(BaseAgent):
    """A WidowX-250S on a table, with the suite's two control modes `ee` and `joint`."""

    uid = 'rlrc_widowx250s'
    urdf_path = str(files('rlrc_ros.arm') / 'urdf' / 'wx250s.urdf')
    urdf_config = {
        '_materials': {'finger': {
            'static_friction': 2.0, 'dynamic_friction': 2.0, 'restitution': 0.0}},
        'link': {name: {'material': 'finger', 'patch_radius': 0.1, 'min_patch_radius': 0.1}
                 for name in ('left_finger_link', 'right_finger_link')},
    }
    disable_self_collisions = True
    in_workspace = True
    """End-effector targets stop at the faces of BridgeData's workspace box (control mode `ee`)."""
    image_size_px = CAMERA_SIZE_PX
    """(height, width); the environment sets it before the agent is made."""

    arm_stiffness = (1169.7891719504198, 730.0, 808.4601346394447, 1229.1299089624076,
                     1272.2760456418862, 1056.3326605132252)
    arm_damping = (330.0, 180.0, 152.12036565582588, 309.6215302722146, 201.04998711007383,
                   269.51458932695414)
    arm_force_limit = (200, 200, 100, 100, 100, 100)

    @property
    def _sensor_configs(self) -> list[CameraConfig]:
        height_px, width_px = self.image_size_px
        return [CameraConfig(
            uid=CAMERA, pose=sapien.Pose(CAMERA_POSITION_M, CAMERA_WXYZ),
            width=width_px, height=height_px, intrinsic=camera_matrix(height_px, width_px),
            near=0.01, far=10.0, mount=self.robot.links_map['base_link'])]

    @property
    def _controller_configs(self) -> dict:
        drive = {
            'joint_names': list(ARM_JOINTS), 'stiffness': list(self.arm_stiffness),
            'damping': list(self.arm_damping), 'force_limit': list(self.arm_force_limit),
            'normalize_action': False}
        gripper = PDJointPosMimicControllerConfig(
            joint_names=list(FINGER_JOINTS), lower=FINGER_CLOSED_M, upper=FINGER_OPEN_M,
            stiffness=1000, damping=200, force_limit=60, normalize_action=False,
            mimic={FINGER_JOINTS[1]: {'joint': FINGER_JOINTS[0]}})
        return {
            'ee': {
                'arm': ArmPoseControllerConfig(
                    **drive, pos_lower=-1.0, pos_upper=1.0, ee_link='ee_gripper_link',
                    urdf_path=self.urdf_path, use_target=True,
                    in_workspace=self.in_workspace),
                'gripper': gripper},
            'joint': {
                'arm': PDJointPosControllerConfig(**drive, lower=None, upper=None),
                'gripper': gripper}}

    def _after_init(self) -> None:
        self.finger1_link = self.robot.links_map['left_finger_link']
        self.finger2_link = self.robot.links_map['right_finger_link']
        self.tcp = self.robot.links_map['ee_gripper_link']

    def is_grasping(self, actor, min_force: float = 0.5, max_angle: float = 85.0) -> torch.Tensor:
        """
        Say per environment (B,) whether both fingers press on the actor.

        A finger presses with at least min_force newtons, within max_angle degrees of the
        direction in which it closes (the suite's numbers).
        """
        pressing = []
        for finger, sign in ((self.finger1_link, 1.0), (self.finger2_link, -1.0)):
            force = self.scene.get_pairwise_contact_forces(finger, actor)  # (B, 3)
            opening = sign * finger.pose.to_transformation_matrix()[..., :3, 1]
            angle = torch.rad2deg(common.compute_angle_between(opening, force))
            pressing.append((torch.linalg.norm(force, axis=1) >= min_force)
                            & (angle <= max_angle))
        return pressing[0] & pressing[1]
