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
What the real lerobot package makes of a data set; runs in an environment that has it.

    python scripts/lerobot_side.py read FOLDER FRAMES.npz     open FOLDER, write down what it gives
    python scripts/lerobot_side.py write FOLDER FRAMES.npz    make FOLDER of random episodes
    python scripts/lerobot_side.py shorten FOLDER OUT         delete episode 0 with its own tool

test/training/test_lerobot_dataset.py calls it when RLRC_LEROBOT_PYTHON names that environment's
python; scripts/check_lerobot.sh makes one.
"""

import os
from pathlib import Path
import sys

import numpy as np
from torch import library as operators

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # A torchvision whose compiled part does not fit this torch; lerobot uses its plain Python.
    for name in [each for each in sys.modules if each.startswith('torchvision')]:
        del sys.modules[name]
    operators.define(
        'torchvision::nms', '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

REPOSITORY = 'rlrc/check'
IMAGE = 'observation.images.primary'
NAMES = ['x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper']


def read(folder: Path, out: Path) -> None:
    """Write down every frame that lerobot gives."""
    dataset = LeRobotDataset(REPOSITORY, root=folder, video_backend='pyav')
    items = [dataset[index] for index in range(len(dataset))]
    stats = dataset.meta.stats
    np.savez(
        out, action=np.stack([each['action'].numpy() for each in items]),
        image=np.stack([each[IMAGE].numpy() for each in items]),  # (N, 3, H, W), 0 ... 1
        episode=np.array([int(each['episode_index']) for each in items]),
        timestamp=np.array([float(each['timestamp']) for each in items]),
        task=np.array([each['task'] for each in items]), fps=dataset.fps,
        episodes=dataset.meta.total_episodes, action_mean=stats['action']['mean'],
        image_mean=stats[IMAGE]['mean'])


def write(folder: Path, out: Path) -> None:
    """Let lerobot record two episodes, as video (AV1, its default) or as images."""
    video = folder.name.startswith('video')
    dataset = LeRobotDataset.create(
        REPOSITORY, fps=5, root=folder, robot_type='widowx', use_videos=video, features={
            'action': {'dtype': 'float32', 'shape': (7,), 'names': NAMES},
            IMAGE: {'dtype': 'video' if video else 'image', 'shape': (64, 96, 3),
                    'names': ['height', 'width', 'channels']}})
    rng = np.random.default_rng(7)
    actions, images = [], []
    ramp = np.linspace(0, 200, 96)[None, :, None].repeat(64, 0).repeat(3, 2)
    for episode, length in enumerate((7, 5)):
        for _ in range(length):
            action = rng.normal(0, 0.01, 7).astype(np.float32)
            action[6] = rng.integers(0, 2)
            image = (ramp * rng.uniform(0.3, 1.0, 3) + rng.uniform(0, 50)).astype(np.uint8)
            dataset.add_frame({'action': action, IMAGE: image,
                               'task': f'put can on {"red" if episode else "blue"} plate'})
            actions.append(action)
            images.append(image)
        dataset.save_episode()
    dataset.finalize()
    np.savez(out, action=np.stack(actions), image=np.stack(images))


def shorten(folder: Path, out: Path) -> None:
    """Delete the first episode with lerobot's own tool, which reads all of the metadata."""
    from lerobot.datasets.dataset_tools import delete_episodes
    dataset = LeRobotDataset(REPOSITORY, root=folder, video_backend='pyav')
    delete_episodes(dataset, [0], output_dir=out, repo_id=REPOSITORY)


if __name__ == '__main__':
    {'read': read, 'write': write, 'shorten': shorten}[sys.argv[1]](*map(Path, sys.argv[2:]))
    sys.stdout.flush()
    os._exit(0)  # threads of the video encoder abort an orderly end now and then
