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
Show whether SAPIEN can render here, by rendering.

A driver can be listed and still lack what SAPIEN needs (Mesa 22.3 of Debian 12 does), SAPIEN's own
`can_render` answers False where it can, and a broken driver can crash the process. So this draws a
red box on the device that the simulated arm uses and looks at a pixel; whoever asks runs it as a
process of its own: python -m rlrc_sim.vulkan_probe. It prints one line, what was found or what
failed; exit status 0 or 1.
"""

import contextlib
import io
import sys

IMAGE_SIZE_PX = 32


def render_red_box() -> str:
    """
    Return the name of the Vulkan device after a picture of a red box came out red.

    Raises ImportError if SAPIEN or a system library of it is missing, RuntimeError if no device
    renders or the picture is wrong.
    """
    import sapien  # here, so that a missing system library becomes a line and no traceback

    # What ManiSkill takes for render_backend='cpu': the first device that renders, GPU or not.
    device = sapien.Device('cpu')
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(device)])
    scene.set_ambient_light([0.8, 0.8, 0.8])
    builder = scene.create_actor_builder()
    builder.add_box_visual(half_size=[0.1, 0.1, 0.1], material=[1.0, 0.0, 0.0])
    builder.set_initial_pose(sapien.Pose([0.5, 0.0, 0.0]))  # cameras look along their x axis
    builder.build_kinematic('red box')
    camera = scene.add_camera(
        'probe', IMAGE_SIZE_PX, IMAGE_SIZE_PX, fovy=1.0, near=0.01, far=10.0)
    scene.update_render()
    camera.take_picture()
    picture = camera.get_picture('Color')  # (H, W, 4), float 0...1
    red, green, blue = picture[IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2, :3]
    if not (red > 0.3 and green < 0.1 and blue < 0.1):
        raise RuntimeError(
            f'the picture of a red box came out as {red:.2f} {green:.2f} {blue:.2f}')
    return device_name(sapien.render.get_device_summary())


def device_name(summary: str) -> str:
    """Return the first device of SAPIEN's summary that it supports."""
    name = 'unnamed device'
    for line in summary.splitlines():
        key, _, value = line.strip().partition(':')
        if key == 'GPU':
            name = value.strip()
        elif key == 'Supported' and value.strip() == '1':
            return name
    return name


def main() -> int:
    """Print what was found or what failed; return 0 if a picture came out right."""
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise):
            name = render_red_box()
    except (ImportError, OSError, RuntimeError) as error:
        print(f'{type(error).__name__}: {error}')
        return 1
    print(name)
    return 0


if __name__ == '__main__':
    sys.exit(main())
