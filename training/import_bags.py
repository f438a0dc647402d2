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
Turn recorded episodes (recorder_node's MCAP bags) into demonstrations: `rlrc import-bags`.

    rlrc import-bags runs/episodes --out runs/robot_demos
    rlrc sft --data runs/robot_demos --auxiliary-weight 0 --out runs/robot

Each action that was commanded is paired with the image that it answers, by stamp, resized to
`--image-px`; what the safety gate refused, and what has no image in the bag, is left out. Bags of
other recorders, whose actions carry no label, pair each with the newest image before it. Only bags
whose result says success are taken, unless `--failures` is given. A bag knows nothing of where
objects lie, so the positions are zeros: train with `--auxiliary-weight 0`. Writes to `--out` one
file an episode and collection.json.
"""

from collections import OrderedDict
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from rlrc_training.command_line import run_verb
from rlrc_training.data import DemonstrationError, Episode, save_episode
from rlrc_training.provenance import package_versions, source_commit
import tyro

TOPICS = ('image', 'instruction', 'vla_node/action', 'vla_node/status', 'episode_result')
CHANNELS = {'rgb8': (3, None), 'bgr8': (3, cv2.COLOR_BGR2RGB), 'rgba8': (4, cv2.COLOR_RGBA2RGB),
            'bgra8': (4, cv2.COLOR_BGRA2RGB), 'mono8': (1, cv2.COLOR_GRAY2RGB)}


COMMANDED = 'none'
KEPT_IMAGES = 100
"""An answer is refused when its image is older than 0.3 s: 30 images of a fast camera."""


@dataclass(frozen=True)
class ImportConfig:
    """What to import."""

    bags: Annotated[Path, tyro.conf.Positional]
    """Folder that recorder_node wrote to."""
    out: Path = Path('runs/robot_demos')
    """Folder for the demonstrations."""
    image_px: int = 128
    """Height and width of the images in the demonstrations."""
    failures: bool = False
    """Take episodes without a success too."""

    def __post_init__(self) -> None:
        if not 16 <= self.image_px <= 1024:
            raise ValueError(f'image_px must be 16 ... 1024, got {self.image_px}')


def read_bag(path: Path, seed: int, image_px: int) -> tuple[Episode, dict]:
    """
    Return one bag as an episode, and the result that was recorded with it.

    :raises DemonstrationError: no actions with an image, a number that is not finite, or no
        instruction
    """
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import get_typestore, Stores
    image, instruction, result = None, '', {}
    images, actions, refused, unseen = [], [], 0, 0
    by_stamp: OrderedDict[int, object] = OrderedDict()
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, raw in reader.messages():
            topic = connection.topic.lstrip('/')
            if topic not in TOPICS:
                continue
            message = reader.deserialize(raw, connection.msgtype)
            if topic == 'image':
                image = by_stamp[_stamp_ns(message)] = message
                if len(by_stamp) > KEPT_IMAGES:
                    by_stamp.popitem(last=False)
            elif topic == 'instruction':
                instruction = message.data
            elif topic == 'vla_node/status':  # also what came from a launch argument
                instruction = json.loads(message.data).get('instruction') or instruction
            elif topic == 'episode_result':
                result = json.loads(message.data)
            elif image is not None:
                reason, stamp_ns = read_label(message)
                refused += reason != COMMANDED
                seen = image if stamp_ns is None else by_stamp.get(stamp_ns)
                unseen += reason == COMMANDED and seen is None  # the recorder missed its image
                if reason == COMMANDED and seen is not None:
                    images.append(to_rgb(seen, image_px))
                    actions.append(np.asarray(message.data, dtype=np.float32))
    if not actions or not instruction.strip():
        raise DemonstrationError(
            f'{path} has {len(actions)} commanded and {refused} refused actions after its first '
            f'image, {unseen} whose image is missing, and the instruction {instruction!r}; record '
            'while vla_node drives')
    if not np.isfinite(actions).all():
        raise DemonstrationError(
            f'{path} holds an action that is not finite; leave that bag out')
    count = len(actions)
    episode = Episode(seed, 'recorded', instruction.strip(), np.stack(images), np.stack(actions),
                      np.zeros((count, 9), np.float32))
    return episode, result | {'actions_without_image': unseen}


def read_label(message: object) -> tuple[str, int | None]:
    """Return why vla_node did not command an action (`none`: it did), and its image's stamp."""
    label = message.layout.dim[0].label if len(message.layout.dim) else ''
    reason, _, stamp = label.partition(' ')
    return (reason, int(stamp)) if stamp.isdigit() else (COMMANDED, None)


def _stamp_ns(message: object) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def to_rgb(message: object, image_px: int) -> np.ndarray:
    """Return a raw or compressed image message as uint8 (image_px, image_px, 3) RGB."""
    if not hasattr(message, 'encoding'):
        picture = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
        if picture is None:
            raise DemonstrationError(f'an image of format {message.format!r} cannot be decoded')
        picture = picture[..., ::-1]
    elif message.encoding not in CHANNELS:
        raise DemonstrationError(
            f'an image has encoding {message.encoding!r}; known: {", ".join(CHANNELS)}')
    else:
        channels, conversion = CHANNELS[message.encoding]
        rows = np.asarray(message.data).reshape(message.height, message.step)
        picture = rows[:, :message.width * channels].reshape(
            message.height, message.width, channels)
        picture = picture if conversion is None else cv2.cvtColor(
            np.ascontiguousarray(picture), conversion)
    return cv2.resize(np.ascontiguousarray(picture), (image_px, image_px),
                      interpolation=cv2.INTER_AREA)


def import_bags(config: ImportConfig) -> list[Path]:
    """
    Write a demonstration for each bag that qualifies and return their paths.

    :raises DemonstrationError: nothing to import
    """
    from rosbags.highlevel import AnyReaderError
    from rosbags.rosbag2 import ReaderError
    found = sorted(path for path in config.bags.glob('episode_*') if path.is_dir())
    if not found:
        raise DemonstrationError(
            f'no bags in {config.bags}; record some with recorder_node and folder:={config.bags}')
    config.out.mkdir(parents=True, exist_ok=True)
    written, left_out, unusable, unseen = [], [], {}, 0
    for number, path in enumerate(found):
        try:
            episode, result = read_bag(path, number, config.image_px)
        except (DemonstrationError, AnyReaderError, ReaderError, json.JSONDecodeError) as error:
            unusable[path.name] = str(error)
            print(f'left out: {error}')
            continue
        unseen += result['actions_without_image']
        if result.get('success') or config.failures:
            written.append(save_episode(config.out, episode))
        else:
            left_out.append(path.name)
    if not written and unusable and not left_out:
        raise DemonstrationError(
            f'none of the {len(found)} bags in {config.bags} can be used; the first: '
            f'{next(iter(unusable.values()))}')
    if not written:
        raise DemonstrationError(
            f'none of the {len(found)} bags in {config.bags} says success, so there is nothing '
            'to imitate; record some that succeed, or take all with --failures')
    record = {'config': {name: str(value) if isinstance(value, Path) else value
                         for name, value in asdict(config).items()},
              'tried': len(found), 'episodes': len(written), 'left_out_without_success': left_out,
              'left_out_unusable': unusable, 'actions_without_image': unseen,
              'commit': source_commit(), 'packages': package_versions()}
    (config.out / 'collection.json').write_text(json.dumps(record, indent=1) + '\n')
    print(f'{len(written)} of {len(found)} bags in {config.out}; {len(left_out)} without success, '
          f'{len(unusable)} unusable; {unseen} actions left out for want of their image')
    return written


def main(argv: list[str] | None = None) -> int:
    """Import the bags that the command line names; return the exit status."""
    return run_verb('import-bags', ImportConfig, import_bags, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
