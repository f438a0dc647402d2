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
One simulated WidowX with its table: reset, step, look. The door to ManiSkill for everybody else.

A World steps in the suite's 0.2 s with end-effector deltas (`control='ee'`) or joint targets
(`control='joint'`), or, for real time, in slices as short as one physics step. It holds one
environment in this process; many at once are processes (rlrc_sim.rollout).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import gymnasium as gym
import numpy as np
from rlrc_ros.arm import limits
from rlrc_ros.arm.kinematics import Kinematics
from rlrc_ros.arm.limits import ARM_JOINTS, finger_target_m
from rlrc_ros.arm.proprio import proprio_of
from rlrc_ros.types import Action, Observation
from rlrc_sim import put_on_plate
from rlrc_sim.objects_25 import OBJECTS_25
from rlrc_sim.placements import Placement
from rlrc_sim.put_on_plate_25 import ENV_ID_25
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.suites import check_ready, placement
from rlrc_sim.widowx import CAMERA, FINGER_CLOSED_M, FINGER_JOINTS, FINGER_OPEN_M
import torch

CONTROL_PERIOD_S = 1.0 / put_on_plate.CONTROL_HZ
PHYSICS_STEP_S = 1.0 / put_on_plate.SIM_HZ
CONTROLS = ('ee', 'joint')


def _simulated_finger_m(finger_m: float) -> float:
    """Stretch the real arm's finger range to the simulated drive's, 1 mm wider on both ends."""
    share = (finger_m - limits.FINGER_CLOSED_M) / (limits.FINGER_OPEN_M - limits.FINGER_CLOSED_M)
    return FINGER_CLOSED_M + share * (FINGER_OPEN_M - FINGER_CLOSED_M)


def _environment(suite: str) -> tuple[str, str]:
    """Return a suite's ManiSkill environment and the observation mode it needs."""
    if suite == 'small':
        return put_on_plate.ENV_ID, 'rgb'
    if suite == 'put25':
        return ENV_ID_25, 'rgb+segmentation'
    from rlrc_sim import official  # needs ManiSkill's digital twins, and assets
    return {'official': official.ENV_ID_OFFICIAL,
            'bridge': official.ENV_ID_BRIDGE}[suite], 'rgb+segmentation'


@dataclass(frozen=True)
class Step:
    """What a control step led to."""

    observation: Observation
    reward: float
    success: bool
    """The object lies on the plate now (`success_at_end` when it is the last step)."""
    success_once: bool
    """It has lain there at some step of this episode."""
    grasped: bool
    """The gripper has held it at some step of this episode."""
    steps: int
    """Control steps of this episode so far."""
    truncated: bool
    """The episode's time is up."""


@dataclass(frozen=True)
class JointState:
    """Joints by name, as the URDF counts them (both fingers positive)."""

    names: tuple[str, ...]
    position: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What only the simulator knows, in the arm's base frame; for the expert and for judges."""

    ee_position_m: np.ndarray
    ee_wxyz: np.ndarray
    object_position_m: np.ndarray
    object_wxyz: np.ndarray
    plate_position_m: np.ndarray
    object_height_m: float
    object_long: bool
    finger_m: float
    is_grasped: bool
    on_plate: bool

    grip_m: np.ndarray | None = None
    """Where the end effector takes hold of the object (3,); None: its middle."""
    grip_long_axis: np.ndarray | None = None
    """Horizontal direction (3,) that the fingers close across; None: the object's x, if long."""
    grip_width_m: float | None = None
    """What lies between the fingers then; None: not known."""

    def fingers_move(self, gripper: float) -> bool:
        """Say whether the free fingers are still on their way to where `gripper` sends them."""
        return not self.is_grasped and abs(self.finger_m - finger_target_m(gripper)) > 0.004


@dataclass(frozen=True)
class Arrangement:
    """A state of arm and things that World.arrange() makes."""

    placement: Placement
    """With the names of the present episode."""
    lying: dict[str, np.ndarray]
    """Pose (4, 4) of everything by name, in the world's frame."""
    q_rad: np.ndarray
    """(6,)"""
    finger_m: float
    """As the simulated fingers count it."""
    is_grasped: bool = False
    """What the simulator is to say of it; no contact is computed."""
    on_plate: bool = False


class World:
    """
    One environment of the task, in this process.

    :param image_size_px: (height, width) of the rendered image
    :param control: `ee` or `joint`
    :param episode_set: the first set that will be asked for; others may follow, at the price of
        another simulator
    :param proprio_layout: what observations tell of the arm (rlrc_ros.arm.proprio); empty: nothing
    :raises ValueError: unknown control or set
    """

    max_episode_steps = put_on_plate.MAX_EPISODE_STEPS

    def __init__(self, image_size_px: tuple[int, int] = (128, 128), control: str = 'ee',
                 episode_set: str = 'ind', proprio_layout: str = ''):
        if control not in CONTROLS:
            raise ValueError(f'control {control!r} is not known; there are: {CONTROLS}')
        self._control = control
        self._proprio_layout = proprio_layout
        self._kinematics = Kinematics() if proprio_layout else None
        self.image_size_px = tuple(image_size_px)
        self._suite = placement(episode_set, 0).suite
        check_ready(episode_set)
        self._env = self._make()
        self._time_s = 0.0
        self._steps = 0
        self._success_once = False
        self._verdict: dict[str, torch.Tensor] = {}
        self._arranged: Arrangement | None = None

    def _make(self):
        """Make the environment of the present suite."""
        env_id, obs_mode = _environment(self._suite)
        device = 'gpu' if torch.cuda.is_available() else 'cpu'
        return gym.make(
            env_id, num_envs=1, obs_mode=obs_mode, reward_mode='sparse',
            control_mode=self._control, image_size_px=self.image_size_px,
            sim_backend='physx_cpu', render_backend=device, max_episode_steps=10**9).unwrapped

    @property
    def instruction(self) -> str:
        """Return the sentence of the present episode."""
        return self._env.instructions[0]

    @property
    def placement(self):
        """Return the present episode's rlrc_sim.suites.Placement."""
        return self._env.placements[0]

    def reset(self, seed: int, episode_set: str = 'ind', rebuild: bool = True) -> Observation:
        """
        Begin the episode (set, seed) and return the first observation.

        :param rebuild: build the scene anew, so that the episode is a function of (set, seed) to
            the last bit. Without it a reset is several times faster, but PhysX orders contacts by
            what was touched before, and positions come to differ by some 1e-5 m after a grasp.
            Only the small task (`ind`) can do without.
        :raises ValueError: unknown set or negative seed
        """
        suite = placement(episode_set, seed).suite  # refused here, before a half reset
        if suite != self._suite:
            check_ready(episode_set)
            self._env.close()
            self._suite = suite
            self._env = self._make()
        obs, verdict = self._env.reset(seed=seed, options={
            'episode_set': episode_set, 'episode_seeds': [seed],
            'reconfigure': rebuild or suite != 'small'})
        self._steps = 0
        self._success_once = False
        self._verdict = verdict
        self._arranged = None
        return self._observation(obs)

    def step(self, action: Action) -> Step:
        """Add the action's deltas to the target and let 0.2 s pass (control 'ee')."""
        return self._step(np.concatenate([
            action.delta_xyz_m, action.delta_rpy_rad,
            [_simulated_finger_m(finger_target_m(action.gripper))]]))

    def step_joints(self, arm_rad: np.ndarray, finger_m: float) -> Step:
        """
        Command joints (6,) and fingers and let 0.2 s pass (control 'joint').

        :param finger_m: half the opening as the real arm counts it, 0.015 ... 0.037
        """
        return self._step(self._joint_action(arm_rad, finger_m))

    def _joint_action(self, arm_rad: np.ndarray, finger_m: float) -> np.ndarray:
        return np.append(arm_rad, _simulated_finger_m(finger_m))

    def _step(self, command: np.ndarray) -> Step:
        obs, reward, _, _, verdict = self._env.step(command.astype(np.float32))
        self._time_s += CONTROL_PERIOD_S
        return self._judged(obs, float(reward[0]), verdict)

    def _judged(self, obs: dict, reward: float, verdict: dict) -> Step:
        self._verdict = verdict
        self._arranged = None
        self._steps += 1
        success = bool(verdict['success'][0])
        self._success_once |= success
        return Step(
            observation=self._observation(obs), reward=reward, success=success,
            success_once=self._success_once, grasped=bool(verdict['ever_grasped'][0]),
            steps=self._steps, truncated=self._steps >= self.max_episode_steps)

    # --------------------------------------------------------------- real time

    def set_joint_targets(self, arm_rad: np.ndarray, finger_m: float) -> None:
        """Command joints (6,) and fingers without letting time pass (control 'joint')."""
        command = self._joint_action(arm_rad, finger_m).astype(np.float32)
        self._env.agent.set_action(torch.from_numpy(command)[None])

    def advance(self, dt_s: float) -> None:
        """Let physics pass dt_s seconds (a multiple of 0.002) without rendering."""
        steps = round(dt_s / PHYSICS_STEP_S)
        if steps < 1 or abs(steps * PHYSICS_STEP_S - dt_s) > 1e-9:
            raise ValueError(f'dt_s {dt_s} is not a multiple of {PHYSICS_STEP_S} s')
        for _ in range(steps):
            self._env.agent.before_simulation_step()
            self._env.scene.step()
        self._time_s += dt_s

    def look(self) -> Observation:
        """Render the present moment."""
        return self._observation(self._env.get_obs({}))

    def judge(self) -> Step:
        """Judge and render the present moment as one more control step; for real time."""
        verdict = self._env.get_info()
        reward = float(self._env.compute_sparse_reward(None, None, verdict)[0])
        return self._judged(self._env.get_obs(verdict), reward, verdict)

    def _observation(self, obs: dict) -> Observation:
        image = obs['sensor_data'][CAMERA]['rgb'][0].cpu().numpy()  # (H, W, 3)
        return Observation(image=image, instruction=self.instruction, stamp_s=self._time_s,
                           proprio=self._proprio())

    def _proprio(self) -> np.ndarray | None:
        if self._kinematics is None:
            return None
        joints = self.joint_state().position
        # As vla_node does it: from the measured joints, by the robot side's own kinematics.
        return proprio_of(self._proprio_layout, self._kinematics.forward(joints[:6]), joints[:6],
                          float(joints[6]))

    # ------------------------------------------------------- any state (put25_*)

    def resting(self) -> dict[str, np.ndarray]:
        """Return the pose (4, 4) of everything by name, in the world's frame."""
        return self._env.poses()

    def arrange(self, state: Arrangement) -> None:
        """Make a state that nobody played to; look() and truth() then tell of it."""
        fingers = (state.finger_m, state.finger_m)
        self._env.arrange(state.placement, state.lying, np.array([*state.q_rad, *fingers]))
        self._arranged = state
        self._verdict = {'is_grasped': torch.tensor([state.is_grasped]),
                         'success': torch.tensor([state.on_plate])}

    def in_world(self, T_base: np.ndarray) -> np.ndarray:
        """Return a pose (4, 4) of the arm's base frame in the world's."""
        base = self._env.agent.robot.pose.to_transformation_matrix()[0].cpu().numpy()
        return base.astype(np.float64) @ T_base

    # ------------------------------------------------------------------- state

    def things_m(self, truth: Truth) -> dict[str, np.ndarray]:
        """
        Return where everything on the table is (3,), by name, in the arm's base frame.

        :param truth: of the same moment
        """
        if self._suite not in ('put25', 'official'):  # others show the two, and nothing more
            named = self.placement
            return {named.object_name: truth.object_position_m,
                    named.receptacle_name: truth.plate_position_m}
        to_base = np.linalg.inv(self.in_world(np.eye(4)))
        return {name: to_base[:3, :3] @ T[:3, 3] + to_base[:3, 3]
                for name, T in self._env.poses().items()}

    def things_rad(self, truth: Truth) -> dict[str, float]:
        """
        Return how everything on the table is turned, by name, in the arm's base frame.

        It is the heading of its long side, which half a turn does not change; NaN of what any yaw
        grips, of receptacles, and of what is not known.

        :param truth: of the same moment
        """
        if self._suite != 'put25':
            axes = {**dict.fromkeys(self.things_m(truth)),
                    self.placement.object_name: truth.grip_long_axis}
        else:
            to_base = np.linalg.inv(self.in_world(np.eye(4)))[:3, :3]
            axes = {name: None if axis is None else to_base @ axis
                    for name, axis in self._env.long_axes().items()}
        return {name: float('nan') if axis is None else float(np.arctan2(axis[1], axis[0]))
                for name, axis in axes.items()}

    def truth_of_others(self) -> Iterator[tuple[str, Truth]]:
        """
        Yield the other sentences about what is on the table, and the moment as each sees it.

        Each is judged by its own object and receptacle. With something in the hand those about it
        alone, since what is held hides what it is; none about an object that lies on a receptacle,
        and none at all once the told one lies on its own.
        """
        told = self.placement
        if self._suite not in ('put25', 'official') or bool(self._verdict['success'][0]):
            return
        names = [told.object_name, told.receptacle_name, *(each.name for each in told.extras)]
        objects = [each for each in names if each in OBJECTS_25]
        places = [each for each in names if each in RECEPTACLES_25]
        held = [each for each in objects if self._holds(each)]
        asked = held or [each for each in objects
                         if not any(self._lies_on(each, place) for place in places)]
        try:
            for pair in product(asked, places):
                if pair != (told.object_name, told.receptacle_name):
                    self._env.placements[0] = other = told.retold(*pair)
                    yield other.instruction, replace(
                        self.truth(), is_grasped=pair[0] in held, on_plate=self._lies_on(*pair))
        finally:
            self._env.placements[0] = told

    def _holds(self, name: str) -> bool:
        """Say whether the gripper holds a thing; of an arranged state what the arranger said."""
        if self._arranged is not None:
            return self._arranged.is_grasped and name == self._arranged.placement.object_name
        return self._env.holds(name)

    def _lies_on(self, name: str, place: str) -> bool:
        """Say whether a thing lies on a receptacle; see _holds()."""
        if self._arranged is not None:
            told = self._arranged.placement
            return self._arranged.on_plate and (name, place) == (
                told.object_name, told.receptacle_name)
        return self._env.lies_on(name, place)

    def joint_state(self) -> JointState:
        """Return the eight moving joints: the arm's six and the two fingers."""
        robot = self._env.agent.robot
        return JointState(
            ARM_JOINTS + FINGER_JOINTS, robot.get_qpos()[0].cpu().numpy().astype(np.float64),
            robot.get_qvel()[0].cpu().numpy().astype(np.float64))

    def truth(self) -> Truth:
        """Return what the simulator knows, in the arm's base frame."""
        env, base = self._env, self._env.agent.robot.pose.inv()
        ee = base * env.agent.tcp.pose
        to_base = {}
        for name, raw in (('object', env.object_pose()), ('plate', env.plate_pose())):
            pose = base * type(ee).create(raw)
            to_base[name] = pose.raw_pose[0].cpu().numpy().astype(np.float64)
        truth = Truth(
            ee_position_m=ee.p[0].cpu().numpy().astype(np.float64),
            ee_wxyz=ee.q[0].cpu().numpy().astype(np.float64),
            object_position_m=to_base['object'][:3], object_wxyz=to_base['object'][3:],
            plate_position_m=to_base['plate'][:3], object_height_m=0.0, object_long=False,
            finger_m=float(env.agent.robot.get_qpos()[0, 6]),
            is_grasped=bool(self._verdict['is_grasped'][0]),
            on_plate=bool(self._verdict['success'][0]))
        if self._suite == 'small':
            kind = env._kinds[self.placement.object_name]
            return replace(truth, object_height_m=kind.size_m[2], object_long=kind.long)
        grip, matrix = env.grip(), base.to_transformation_matrix()[0].cpu().numpy()
        axis = None if grip.long_axis is None else matrix[:3, :3] @ grip.long_axis
        return replace(
            truth, object_position_m=matrix[:3, :3] @ grip.centre_m + matrix[:3, 3],
            object_height_m=grip.height_m, object_long=axis is not None,
            grip_m=matrix[:3, :3] @ grip.point_m + matrix[:3, 3], grip_long_axis=axis,
            grip_width_m=grip.width_m)

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()
