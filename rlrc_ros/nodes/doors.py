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
What vla_node checks before it trusts its surroundings: parameters, checkpoint, topics, requests.

Each check raises DoorError with a sentence that names the value, the valid ones and what to type.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rlrc_ros.nodes.parameters import defaults, VlaParameters
from rlrc_ros.vla.config import PROPRIO_LAYOUTS

if TYPE_CHECKING:
    from rlrc_ros.vla.checkpoint import CheckpointSummary


class DoorError(ValueError):
    """Something around the node does not fit; the text says what to type next."""


def declare_parameters(node: Node) -> None:
    """Declare every field of VlaParameters on the node, with its text and bounds."""
    for declared in fields(VlaParameters):
        rule = declared.metadata
        descriptor = ParameterDescriptor(
            description=rule['meaning'], additional_constraints=', '.join(rule['choices']))
        if rule['at_least'] is not None:
            descriptor.floating_point_range = [FloatingPointRange(
                from_value=float(rule['at_least']), to_value=float(rule['at_most']))]
        node.declare_parameter(declared.name, defaults()[declared.name], descriptor)


def read_parameters(node: Node) -> VlaParameters:
    """Return the declared parameters as a checked struct; raises ValueError."""
    values = {}
    for declared in fields(VlaParameters):
        value = node.get_parameter(declared.name).value
        values[declared.name] = value if isinstance(value, str | bool | float) else list(value)
    parameters = VlaParameters(**values)
    if not parameters.checkpoint:
        raise DoorError(
            'no checkpoint given. Set checkpoint:=FOLDER, for instance checkpoints/nano')
    return parameters


def parameter_guard(
    state: Callable[[], str],
) -> Callable[[list[Parameter]], SetParametersResult]:
    """Return a callback that refuses changes which would not be read before the next configure."""
    ours = set(defaults())

    def guard(changes: list[Parameter]) -> SetParametersResult:
        late = sorted(change.name for change in changes if change.name in ours)
        if late and state() != 'unconfigured':
            return SetParametersResult(
                successful=False, reason=f'{", ".join(late)}: read when the node is configured. '
                'Clean it up first: ros2 lifecycle set /vla_node cleanup')
        return SetParametersResult(successful=True)
    return guard


def check_checkpoint(summary: 'CheckpointSummary', parameters: VlaParameters) -> None:
    """Refuse a checkpoint that reads more than the parameters give it."""
    keys = summary.unnorm_keys
    if parameters.unnorm_key and parameters.unnorm_key not in keys:
        raise DoorError(
            f"unnorm_key '{parameters.unnorm_key}' is not in this checkpoint; it has: "
            f'{", ".join(keys)}. Set unnorm_key:={keys[0]}')
    if not parameters.unnorm_key and len(keys) > 1:
        raise DoorError(
            f'the checkpoint holds statistics of several data sets: {", ".join(keys)}. Set '
            f'unnorm_key to that of your robot, for instance unnorm_key:={keys[0]}')
    _check_cameras(summary.cameras, parameters.extra_topics())
    if summary.reads_proprio:
        _check_proprio(summary, parameters.proprio_layout)
    if not 0.1 <= summary.control_hz <= 50.0:
        raise DoorError(
            f'the checkpoint says control_hz {summary.control_hz}; vla_node runs 0.1 ... 50')


def _check_cameras(cameras: Sequence[str], topics: dict[str, str]) -> None:
    lacking = [camera for camera in cameras[1:] if camera not in topics]
    unknown = sorted(topics.keys() - set(cameras))
    if lacking:
        example = ','.join(f'{camera}=/{camera}/image_raw' for camera in cameras[1:])
        raise DoorError(
            f'the checkpoint reads the cameras {", ".join(cameras)}; no topic is given for '
            f'{", ".join(lacking)}. Set camera_topics:={example}')
    if unknown:
        raise DoorError(
            f'camera_topics names {", ".join(unknown)}; the checkpoint reads '
            f'{", ".join(cameras)}. Take them out of camera_topics')


def _check_proprio(summary: 'CheckpointSummary', layout: str) -> None:
    fitting = [name for name, dim in PROPRIO_LAYOUTS.items() if dim == summary.proprio_dim]
    if not fitting:
        raise DoorError(
            f'the checkpoint reads a robot state (proprio) of {summary.proprio_dim} numbers; '
            f'vla_node can give: {", ".join(f"{n} ({d})" for n, d in PROPRIO_LAYOUTS.items())}. '
            'Choose another checkpoint')
    layout = layout or summary.proprio_layout
    if layout not in fitting:
        said = f"proprio_layout is '{layout}'" if layout else 'it does not say which'
        raise DoorError(
            f'the checkpoint reads a robot state (proprio) of {summary.proprio_dim} numbers, and '
            f'{said}; of that length there are: {", ".join(fitting)}. Set '
            f'proprio_layout:={fitting[0]}')


def check_topics(node: Node, expected: dict[str, type]) -> None:
    """Refuse topics whose publishers, if any are there yet, all send another type."""
    for topic, message_type in expected.items():
        name = node.resolve_topic_name(topic)
        wanted = f'{message_type.__module__.split(".")[0]}/msg/{message_type.__name__}'
        found = {info.topic_type for info in node.get_publishers_info_by_topic(name)}
        if found and wanted not in found:
            hint = ''
            if 'sensor_msgs/msg/CompressedImage' in found:
                hint = '. Set image_transport:=compressed'
            elif 'sensor_msgs/msg/Image' in found:
                hint = '. Set image_transport:=raw'
            raise DoorError(
                f'{name} carries {", ".join(sorted(found))}, not {wanted}{hint or ". Remap it"}')


def guard_transitions(node: LifecycleNode) -> None:
    """
    Answer an impossible transition (activate twice, say) with success=False.

    rclpy raises out of the service callback instead, which ends the process.
    """
    service = node._service_change_state
    change_state = service.callback

    def guarded(request: object, response: object) -> object:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # RCLError
            node.get_logger().warning(f'transition refused: {error}')
            response.success = False
            return response
    service.callback = guarded
