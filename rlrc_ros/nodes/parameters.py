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
The parameters of vla_node: each declared once, here, with its default, unit, bounds and meaning.

The node declares them from this table and reads a `VlaParameters`; `config/vla.yaml` is this table
written out, and a test compares the two. Write it anew after a change:

    python -m rlrc_ros.nodes.parameters > config/vla.yaml
"""

from dataclasses import dataclass, field, fields
from math import isfinite

from rlrc_ros.arm.limits import (
    EFFORT_LIMITS,
    JOINT_SPEED_RAD_S,
    WORKSPACE_LOWER_M,
    WORKSPACE_UPPER_M,
)
from rlrc_ros.arm.safety import SafetyLimits
from rlrc_ros.types import RUNTIMES
from rlrc_ros.vla.config import MAIN_CAMERA, PROPRIO_LAYOUTS

_LIMITS = SafetyLimits()


def _parameter(
    default: object, meaning: str, *, at_least: float | None = None, at_most: float | None = None,
    choices: tuple[str, ...] = (),
) -> object:
    described = {
        'meaning': meaning, 'at_least': at_least, 'at_most': at_most, 'choices': choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=described)
    return field(default=default, metadata=described)


@dataclass(frozen=True)
class VlaParameters:
    """What a user can set on vla_node. Read when the node is configured."""

    checkpoint: str = _parameter('', 'Folder of the checkpoint that drives the arm.')
    unnorm_key: str = _parameter(
        '', 'Data set whose statistics scale the actions. Needed where a checkpoint holds those '
        'of several; the error then lists them.')
    device: str = _parameter(
        'auto', 'Where the policy runs: auto takes the GPU if there is one.')
    runtime: str = _parameter(
        'fast', 'How the policy runs: eager is the plain model; fast gives the same answers fused '
        'and, on CUDA, as captured graphs; fast-bf16 and fast-int8 are for CPUs and round; '
        'vla-cache keeps what looks unchanged; auto measures which is fastest here, once.',
        choices=RUNTIMES)
    instruction: str = _parameter(
        '', 'Instruction to begin with; the topic `instruction` replaces it. Empty: wait.')
    dry_run: bool = _parameter(
        False, 'Compute everything, command nothing. The service ~/dry_run switches it.')
    lockstep: bool = _parameter(
        False, 'The images wait for their commands (sim_bridge in mode lockstep): every image is '
        "answered by one command with its stamp, and the pace is the images'.")
    image_transport: str = _parameter(
        'raw', 'Type on the topic `image`: sensor_msgs/Image or sensor_msgs/CompressedImage.',
        choices=('raw', 'compressed'))
    camera_topics: str = _parameter(
        '', 'Topics of the further cameras of a checkpoint that reads several, by its names for '
        'them: wrist=/wrist/image_raw, left=/left/image_raw. The first camera is always `image`.')
    proprio_layout: str = _parameter(
        '', 'What a checkpoint that reads the robot state gets, where it does not say it itself.',
        choices=('', *PROPRIO_LAYOUTS))
    sensor_reliability: str = _parameter(
        'reliable', 'QoS of the subscriptions to `image` and `joint_states`. A camera that '
        'publishes best effort needs best_effort here.', choices=('reliable', 'best_effort'))
    command_style: str = _parameter(
        'joint_trajectory', 'Messages that the arm takes: trajectories for ros2_control and the '
        "simulation, or those of Interbotix' xs_sdk.", choices=('joint_trajectory', 'interbotix'))
    robot_name: str = _parameter(
        'wx250s', 'Namespace of the xs_sdk driver (command_style interbotix).')
    command_stamp: str = _parameter(
        'zero', 'Stamp of a command: that of the image it answers (lockstep needs it), or zero, '
        'which a trajectory controller reads as: begin now. With the stamp of an image a real '
        "arm's controller would hurry by that image's age.", choices=('zero', 'image'))
    base_frame: str = _parameter('base_link', 'Frame that ~/target_pose is stamped with.')
    stream_hz: float = _parameter(
        0.0, "Rate at which a command timer moves towards the policy's targets within the limits "
        'on speed, acceleration and jerk; 20 ... 50 on an arm that follows a stream, 0: the '
        'targets themselves, once per step.', at_least=0.0, at_most=50.0)
    tick_hz: float = _parameter(
        50.0, 'Rate of the control timer, which looks after ages, pace and answers.',
        at_least=5.0, at_most=500.0)
    max_image_age_s: float = _parameter(
        0.3, 'An older image (by its stamp, or by arrival on the steady clock) holds the arm, in '
        's.', at_least=0.01, at_most=10.0)
    max_joint_state_age_s: float = _parameter(
        0.1, 'An older joint state (likewise) holds the arm, in s.', at_least=0.01, at_most=10.0)
    max_frozen_image_s: float = _parameter(
        0.3, 'Images that repeat the same pixels for longer hold the arm, in s; 0: do not look. '
        'A camera has noise, a simulation may have none.', at_least=0.0, at_most=60.0)
    max_inference_s: float = _parameter(
        0.3, 'A policy that has not answered after this long holds the arm, in s.',
        at_least=0.01, at_most=60.0)
    max_control_gap_s: float = _parameter(
        0.25, 'The watchdog holds the arm when the control loop has not run for longer, in s.',
        at_least=0.05, at_most=10.0)
    exclusive: bool = _parameter(
        True, 'Hold while somebody else publishes on the topics that command the arm, or nobody '
        'subscribes to them.')
    deadman: bool = _parameter(
        False, 'Drive only while the topic `deadman` (std_msgs/Bool) says true.')
    max_deadman_age_s: float = _parameter(
        0.25, 'A `deadman` message older than this counts as false, in s.',
        at_least=0.05, at_most=5.0)
    max_joint_jump_rad: float = _parameter(
        0.35, 'How far a joint may move from one joint state to the next, beyond what it can turn '
        'in the time between, in rad; farther holds the arm until ~/reset_stop. 0: do not look.',
        at_least=0.0, at_most=3.2)
    max_effort: list[float] = _parameter(
        list(EFFORT_LIMITS), 'Largest effort of each arm joint in joint_states, in the unit of '
        'the driver (Interbotix: mA). Beyond it the arm is held until ~/reset_stop.')
    velocity_scaling: float = _parameter(
        1.0, 'Slows the arm: a step of the policy gets 1 / velocity_scaling of its time, on the '
        'same way. 0.3 is a good first day. Not in lockstep.', at_least=0.1, at_most=1.0)
    max_step_m: float = _parameter(
        _LIMITS.max_step_m, 'Largest translation along an axis in one step, in m.',
        at_least=0.001, at_most=0.5)
    max_step_rad: float = _parameter(
        _LIMITS.max_step_rad, 'Largest rotation about an axis in one step, in rad.',
        at_least=0.001, at_most=3.2)
    workspace_lower_m: list[float] = _parameter(
        WORKSPACE_LOWER_M.tolist(), 'Lowest corner x, y, z of the box for the end effector in '
        'base_frame, in m.')
    workspace_upper_m: list[float] = _parameter(
        WORKSPACE_UPPER_M.tolist(), 'Highest corner of that box, in m.')
    clamp_to_workspace: bool = _parameter(
        _LIMITS.clamp_to_workspace, "A target that would leave the box stops at its face, as in "
        "BridgeData's controller; false: the step is refused.")
    joint_margin_rad: float = _parameter(
        _LIMITS.joint_margin_rad, 'Distance that joint targets keep from the mechanical limits, '
        'in rad.', at_least=0.0, at_most=0.5)
    max_joint_speed_rad_s: float = _parameter(
        3.14, 'Fastest allowed joint, in rad/s.',
        at_least=0.01, at_most=JOINT_SPEED_RAD_S)
    max_joint_step_rad: float = _parameter(
        _LIMITS.max_joint_step_rad, 'Farthest a joint may be from where inverse kinematics wants '
        'it, in rad.', at_least=0.01, at_most=3.2)
    max_joint_acceleration_rad_s2: float = _parameter(
        _LIMITS.max_joint_acceleration_rad_s2, "Largest change of a joint's mean speed from step "
        'to step, and of its streamed speed, in rad/s2.', at_least=0.1, at_most=1000.0)
    max_joint_jerk_rad_s3: float = _parameter(
        300.0, 'Largest jerk of a streamed joint (stream_hz above 0), in rad/s3.',
        at_least=1.0, at_most=100000.0)
    self_clearance_m: float = _parameter(
        _LIMITS.self_clearance_m, 'Distance between links that are not neighbours, in m.',
        at_least=-0.1, at_most=0.2)
    table_height_m: float = _parameter(
        _LIMITS.table_height_m, "The table's top in base_frame, in m.",
        at_least=-1.0, at_most=1.0)
    table_clearance_m: float = _parameter(
        _LIMITS.table_clearance_m, 'Distance of every link but the fingers from the table, in m.',
        at_least=-0.1, at_most=0.2)
    finger_clearance_m: float = _parameter(
        _LIMITS.finger_clearance_m, "Likewise of the fingers' tips. Below zero lets a target "
        'press into the table, as BridgeData does; 0 on a hard one.', at_least=-0.1, at_most=0.2)

    def __post_init__(self) -> None:
        """Check every value against its declaration (ValueError names what to set)."""
        for declared in fields(self):
            value, rule = getattr(self, declared.name), declared.metadata
            if rule['choices'] and value not in rule['choices']:
                raise ValueError(
                    f"{declared.name} is '{value}'; it can be: "
                    f"{', '.join(filter(None, rule['choices']))}. "
                    f'Set {declared.name}:={next(filter(None, rule["choices"]))}')
            if rule['at_least'] is not None and not (
                    isfinite(value) and rule['at_least'] <= value <= rule['at_most']):
                raise ValueError(
                    f'{declared.name} is {value}; it must be in '
                    f'{rule["at_least"]:g} ... {rule["at_most"]:g}')
        self.extra_topics()
        if len(self.max_effort) != 6 or not all(value > 0 for value in self.max_effort):
            raise ValueError(
                f'max_effort is {list(self.max_effort)}; it must be six numbers above 0, one for '
                f'each arm joint. Set max_effort:={list(EFFORT_LIMITS)}')
        if 0 < self.stream_hz < 20:
            raise ValueError(
                f'stream_hz is {self.stream_hz:g}; it must be 0 or 20 ... 50. Set stream_hz:=50.0')
        if self.lockstep and self.stream_hz:
            raise ValueError(
                'lockstep answers each image by one command, which a stream cannot. '
                'Set stream_hz:=0.0')
        if self.lockstep and self.velocity_scaling != 1.0:
            raise ValueError(
                f'velocity_scaling is {self.velocity_scaling:g}, but in lockstep the images set '
                'the pace. Set velocity_scaling:=1.0, or lockstep:=false')
        if self.lockstep and self.command_stamp != 'image':
            raise ValueError(
                "lockstep matches commands by stamp, but command_stamp is 'zero'. "
                'Set command_stamp:=image')

    def extra_topics(self) -> dict[str, str]:
        """Return `camera_topics` as topics by camera; raises ValueError where it is none."""
        topics: dict[str, str] = {}
        for entry in filter(None, map(str.strip, self.camera_topics.split(','))):
            camera, _, topic = map(str.strip, entry.partition('='))
            if not camera or not topic or camera in topics or camera == MAIN_CAMERA:
                raise ValueError(
                    f"camera_topics holds '{entry}'; it is one CAMERA=TOPIC for each camera but "
                    f"'{MAIN_CAMERA}', whose topic is remapped. Set "
                    'camera_topics:=wrist=/wrist/image_raw')
            topics[camera] = topic
        return topics

    def safety_limits(self, period_s: float) -> SafetyLimits:
        """Return the gate's limits for steps of `period_s`; raises ValueError on an empty box."""
        return SafetyLimits(
            max_step_m=self.max_step_m, max_step_rad=self.max_step_rad,
            workspace_lower_m=tuple(self.workspace_lower_m),
            workspace_upper_m=tuple(self.workspace_upper_m),
            clamp_to_workspace=self.clamp_to_workspace,
            joint_margin_rad=self.joint_margin_rad,
            max_joint_speed_rad_s=self.max_joint_speed_rad_s,
            max_joint_step_rad=self.max_joint_step_rad,
            max_joint_acceleration_rad_s2=self.max_joint_acceleration_rad_s2,
            self_clearance_m=self.self_clearance_m, table_height_m=self.table_height_m,
            table_clearance_m=self.table_clearance_m,
            finger_clearance_m=self.finger_clearance_m, period_s=period_s)


def as_yaml() -> str:
    """Return the table as a ROS parameter file with comments."""
    lines = [
        '# Parameters of vla_node with their defaults. Generated from the one table in',
        '# rlrc_ros/nodes/parameters.py. Write what shall differ, and only that, into a file of',
        '# your own under the same two lines; pass it with params_file:=... to the launch',
        '# file, or with --params-file to the node.',
        '/**/vla_node:',
        '  ros__parameters:',
    ]
    for declared in fields(VlaParameters):
        rule = declared.metadata
        lines += _comment(rule['meaning'])
        if rule['choices']:
            lines += _comment(f'One of: {", ".join(filter(None, rule["choices"]))}.')
        if rule['at_least'] is not None:
            lines += _comment(f'From {rule["at_least"]:g} to {rule["at_most"]:g}.')
        lines.append(f'    {declared.name}: {_yaml(_default(declared))}')
    return '\n'.join(lines) + '\n'


def defaults() -> dict[str, object]:
    """Return every parameter's default by name."""
    return {declared.name: _default(declared) for declared in fields(VlaParameters)}


def _default(declared: object) -> object:
    return getattr(_DEFAULTS, declared.name)


def _comment(text: str) -> list[str]:
    lines, line = [], '    #'
    for word in text.split():
        if len(line) + 1 + len(word) > 95:
            lines.append(line)
            line = '    #'
        line += ' ' + word
    return [*lines, line]


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return '[' + ', '.join(_yaml(item) for item in value) + ']'
    return repr(value)


_DEFAULTS = VlaParameters()

if __name__ == '__main__':
    print(as_yaml(), end='')
