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
Listen to a robot's topics for a few seconds and say what is there: `rlrc doctor --robot`.

DDS finds its peers within a second or so, later over Wi-Fi and on a busy machine: what is not
there is waited for.

Prints one JSON object a line: name, ok, found, to_type. With `--view` it also writes the camera's
picture laid half over a picture of the view that the policy was trained on, so that the camera can
be placed until the two agree.

    python -m rlrc_ros.nodes.robot_probe --image /camera/camera/color/image_raw
"""

import argparse
import json
from pathlib import Path
import sys
from time import monotonic

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rlrc_ros.arm.limits import ARM_JOINTS, FINGER_JOINT
from rlrc_ros.nodes.doors import DoorError
from rlrc_ros.nodes.graph import arms_on
from rlrc_ros.nodes.image_message import decode, ImageError
from rlrc_ros.nodes.lifetime import begin, spun
from rlrc_ros.nodes.xs_driver import XsDriver
from sensor_msgs.msg import Image, JointState

LISTEN_S = 3.0
"""How long rates are counted, once everything is there."""
FIND_S = 10.0
"""How long camera, joint states and listeners are waited for."""
LEAST_IMAGE_HZ = 5.0
LEAST_JOINT_HZ = 20.0
COMMAND_TOPICS = {
    'ros2_control': ('arm_controller/joint_trajectory', 'gripper_controller/joint_trajectory'),
    'interbotix': ('commands/joint_group', 'commands/joint_single')}


class Listener(Node):
    """Counts what arrives."""

    def __init__(self, image: str, joint_states: str, **node_options: object) -> None:
        """Subscribe to the two topics, best effort, which matches every publisher."""
        super().__init__('robot_probe', **node_options)
        self.images: list[Image] = []
        self.states: list[JointState] = []
        self.image_topic, self.joint_topic = image, joint_states
        self.create_subscription(
            Image, image, self._take(self.images), qos_profile_sensor_data)
        self.create_subscription(
            JointState, joint_states, self._take(self.states), qos_profile_sensor_data)
        self.arrived_s: dict[int, list[float]] = {id(self.images): [], id(self.states): []}

    def _take(self, messages: list) -> object:
        def take(message: object) -> None:
            messages[:] = [message]
            self.arrived_s[id(messages)].append(monotonic())
        return take

    def hears_all(self, robot_name: str) -> bool:
        """Return whether images and joint states came and some backend listens."""
        return bool(self.images and self.states and backends(self, robot_name))

    def rate_hz(self, messages: list) -> float:
        """Return how often a topic arrived, in hertz."""
        times_s = self.arrived_s[id(messages)]
        return (len(times_s) - 1) / (times_s[-1] - times_s[0]) if len(times_s) > 1 else 0.0


def check_camera(listener: Listener) -> dict:
    """Return what is known of the camera."""
    if not listener.images:
        others = [name for name, types in listener.get_topic_names_and_types()
                  if 'sensor_msgs/msg/Image' in types and name != listener.image_topic]
        return line('camera', False, f'nothing on {listener.image_topic}; images are on: '
                    f'{", ".join(others) or "no topic"}', 'rlrc doctor --robot --image TOPIC')
    message, rate_hz = listener.images[0], listener.rate_hz(listener.images)
    found = (f'{message.width}x{message.height} {message.encoding}, {rate_hz:.1f} Hz on '
             f'{listener.image_topic}')
    try:
        decode(message, (message.height, message.width))
    except ImageError as error:
        return line('camera', False, f'{found}: {error}', "set the camera's encoding to rgb8")
    return line('camera', rate_hz >= LEAST_IMAGE_HZ, found, '' if rate_hz >= LEAST_IMAGE_HZ else
                f"raise the camera's rate to {LEAST_IMAGE_HZ:g} Hz or more")


def check_joints(listener: Listener) -> dict:
    """Return what is known of the joint states."""
    if not listener.states:
        return line('joint states', False, f'nothing on {listener.joint_topic}',
                    'start the driver, or rlrc doctor --robot --joint-states TOPIC')
    message, rate_hz = listener.states[0], listener.rate_hz(listener.states)
    missing = [name for name in (*ARM_JOINTS, FINGER_JOINT) if name not in message.name]
    found = f'{len(message.name)} joints, {rate_hz:.0f} Hz on {listener.joint_topic}'
    if missing:
        return line('joint states', False, f'{found}; missing: {", ".join(missing)}',
                    'start the driver with robot_model:=wx250s')
    if not message.effort or np.isnan(message.effort).all():
        found += ', no efforts: max_effort guards nothing'
    return line('joint states', rate_hz >= LEAST_JOINT_HZ, found,
                '' if rate_hz >= LEAST_JOINT_HZ else
                'raise the rate, or max_joint_state_age_s in a params_file')


def backends(listener: Listener, robot_name: str) -> list[str]:
    """Return the values of `arm` all of whose command topics somebody listens to."""
    return [arm for arm, topics in COMMAND_TOPICS.items() if all(
        arms_on(listener, f'/{robot_name}/{topic}') for topic in topics)]


def check_commands(listener: Listener, robot_name: str) -> dict:
    """Return which backend's command topics somebody listens to."""
    there = backends(listener, robot_name)
    rivals = [topic for topics in COMMAND_TOPICS.values() for topic in topics
              if listener.count_publishers(f'/{robot_name}/{topic}')]
    if rivals:
        return line('commands', False, f'somebody already publishes {", ".join(rivals)}',
                    'end the other node: vla_node holds while there is one')
    if not there:
        return line('commands', False, f'nobody listens below /{robot_name}',
                    'start the driver, or rlrc doctor --robot --robot-name NAME')
    return line('commands', True, ' and '.join(f'arm:={arm}' for arm in there))


def check_profile(listener: Listener, robot_name: str) -> dict | None:
    """Return how long the Interbotix driver takes for a move; None where there is no xs_sdk."""
    if not listener.count_services(
            listener.resolve_service_name(f'{robot_name}/get_robot_info')):
        return None
    try:
        mode, profile_type, times_ms = XsDriver(listener, robot_name).profile_ms()
    except (DoorError, ModuleNotFoundError) as error:
        return line('profile', False, str(error), 'see above')
    found = f'mode {mode}, {profile_type} profile {sorted(set(times_ms))}'
    if (mode, profile_type) == ('position', 'time') and max(times_ms, default=9999) <= 400:
        return line('profile', True, f'{found} ms')
    return line('profile', True, f'{found}: not fit for 5 Hz, vla_node sets it when it is '
                'configured' + (', and the arm sags meanwhile: let it rest first'
                                if (mode, profile_type) != ('position', 'time') else ''))


def line(name: str, ok: bool, found: str, to_type: str = '') -> dict:
    """Return one check."""
    return {'name': name, 'ok': ok, 'found': found, 'to_type': to_type}


def overlay(message: Image, view: Path, out: Path) -> None:
    """Write the camera's picture half over the training view; both at the view's size."""
    wanted = cv2.imread(str(view), cv2.IMREAD_COLOR)
    if wanted is None:
        raise ValueError(f'{view} is no picture; give a PNG or JPEG of the training view')
    picture = decode(message, (message.height, message.width))
    seen = cv2.resize(np.ascontiguousarray(picture[..., ::-1]), wanted.shape[1::-1])
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), cv2.addWeighted(seen, 0.5, wanted, 0.5, 0.0))


def main(argv: list[str] | None = None) -> int:
    """Listen, print a JSON line for each check, return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--image', default='image')
    parser.add_argument('--joint-states', default='wx250s/joint_states')
    parser.add_argument('--robot-name', default='wx250s')
    parser.add_argument('--view', type=Path)
    parser.add_argument('--overlay', type=Path, default=Path('out/camera_overlay.png'))
    options = parser.parse_args(argv)
    ended = begin([])
    listener = Listener(options.image, options.joint_states)
    with spun(listener):
        found_by_s = monotonic() + FIND_S
        while not listener.hears_all(options.robot_name) and monotonic() < found_by_s:
            if ended.wait(0.1):
                break
        ended.wait(LISTEN_S)
        checks = [check_camera(listener), check_joints(listener),
                  check_commands(listener, options.robot_name)]
        profile = check_profile(listener, options.robot_name)
        checks += [profile] if profile else []
    if options.view is not None and listener.images:
        try:
            overlay(listener.images[0], options.view, options.overlay)
            checks.append(line('camera view', True, f'compare {options.overlay}: move the camera '
                               'until base, table edge and arm lie on each other'))
        except (ImageError, ValueError) as error:
            checks.append(line('camera view', False, str(error), '--view PICTURE'))
    for check in checks:
        print(json.dumps(check))
    return 0 if all(check['ok'] for check in checks) else 1


if __name__ == '__main__':
    sys.exit(main())
