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
Demonstrations on disk: one safetensors file an episode, images as PNG, nothing pickled.

    DIR/episode_0001000000.safetensors   frames, actions, positions; instruction in its metadata
    DIR/collection.json                  what was asked for, and by which versions

Legend: T frames of an episode.
"""

from collections.abc import Iterator
from dataclasses import dataclass
import json
import os
from pathlib import Path

import cv2
import numpy as np
from safetensors import safe_open, SafetensorError
from safetensors.numpy import save_file

FORMAT = 'rlrc-episode-1'
OTHERS = ('actions', 'positions_m')


class DemonstrationError(ValueError):
    """A demonstration file or folder that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class OtherSentence:
    """What the expert would have done in an episode's frames had it been told something else."""

    instruction: str
    actions: np.ndarray
    """(T, 7) as Episode.actions; NaN in frames in which this could not be asked."""
    positions_m: np.ndarray
    """(T, 9) as Episode.positions_m, of what this sentence names; NaN likewise."""


@dataclass(frozen=True)
class Episode:
    """One demonstration; frame t shows the moment in which action t was chosen."""

    seed: int
    episode_set: str
    instruction: str
    images: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    actions: np.ndarray
    """(T, 7) float32: metres, radians, gripper 1 open ... 0 closed."""
    positions_m: np.ndarray
    """(T, 9) float32 in the arm's base frame: object, plate, end effector (xyz each)."""
    things: tuple[str, ...] = ()
    """Names of all that is on the table; none: not recorded."""
    things_m: np.ndarray | None = None
    """(T, N, 3) float32 in the arm's base frame: where each of them is."""
    things_rad: np.ndarray | None = None
    """(T, N) float32: how their long sides are turned, half a turn being none; NaN: no long side.
    None: not recorded."""
    hand: np.ndarray | None = None
    """(T, 3) float32: how the hand is turned, in radians, as a long thing is that lies between its
    fingers; how far these are apart, in metres; 1 where they hold the object, else 0. NaN, or None
    for all: not recorded."""
    scattered: bool = False
    """No frame follows from the one before it: states for single actions, not a way."""
    others: tuple[OtherSentence, ...] = ()
    """Answers to other sentences about what is on the table; none: not recorded."""


def save_episode(folder: Path, episode: Episode) -> Path:
    """Write an episode, all or nothing (a temporary file, then a rename)."""
    encoded = [cv2.imencode('.png', image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].ravel()
               for image in episode.images]
    path = episode_path(folder, episode.seed)
    partial = path.with_suffix('.partial')
    arrays = {'png': np.concatenate(encoded),
              'png_end': np.cumsum([len(each) for each in encoded]).astype(np.int64),
              'actions': episode.actions.astype(np.float32),
              'positions_m': episode.positions_m.astype(np.float32)}
    if episode.things:
        arrays['things_m'] = episode.things_m.astype(np.float32)
        if episode.things_rad is not None:
            arrays['things_rad'] = episode.things_rad.astype(np.float32)
    if episode.hand is not None:
        arrays['hand'] = episode.hand.astype(np.float32)
    if episode.others:
        for name in OTHERS:
            arrays[f'other_{name}'] = np.stack(
                [getattr(each, name) for each in episode.others]).astype(np.float32)
    save_file(
        arrays, partial,
        metadata={'format': FORMAT, 'seed': str(episode.seed),
                  'episode_set': episode.episode_set, 'instruction': episode.instruction,
                  'scattered': str(int(episode.scattered)),
                  'things': json.dumps(episode.things),
                  'others': json.dumps([each.instruction for each in episode.others])})
    os.replace(partial, path)
    return path


def episode_path(folder: Path, seed: int) -> Path:
    """Return where the episode of a seed is kept."""
    return Path(folder) / f'episode_{seed:010d}.safetensors'


def load_episode(path: Path) -> Episode:
    """
    Read one episode.

    :raises DemonstrationError: not an episode file, or its parts differ in length
    """
    try:
        opened = safe_open(path, framework='numpy')
    except SafetensorError as error:
        raise DemonstrationError(f'{path} is cut short or no safetensors file ({error}); delete '
                                 'it and run the same `rlrc collect` again') from error
    with opened as file:
        metadata = file.metadata() or {}
        if metadata.get('format') != FORMAT:
            raise DemonstrationError(
                f'{path} has format {metadata.get("format")!r}, wanted {FORMAT!r}; '
                'make demonstrations with `rlrc collect`')
        png, ends = file.get_tensor('png'), file.get_tensor('png_end')
        actions, positions = file.get_tensor('actions'), file.get_tensor('positions_m')
        things = tuple(json.loads(metadata.get('things', '[]')))
        things_m = file.get_tensor('things_m') if things else None
        things_rad, hand, hand_rad = (file.get_tensor(name) if name in file.keys() else None
                                      for name in ('things_rad', 'hand', 'hand_rad'))
        sentences = json.loads(metadata.get('others', '[]'))
        told = [file.get_tensor(f'other_{name}') for name in OTHERS] if sentences else []
    if things_rad is not None and things_rad.shape != (len(actions), len(things)):
        raise DemonstrationError(
            f'{path} has turns {things_rad.shape} of {len(things)} things in {len(actions)} '
            'frames; delete the file and run the same `rlrc collect` again')
    if hand_rad is not None:  # of files that were made before its fingers were told
        hand = np.pad(hand_rad[:, None], ((0, 0), (0, 2)), constant_values=np.nan)
    if hand is not None and hand.shape != (len(actions), 3):
        raise DemonstrationError(
            f'{path} tells of the hand {hand.shape} in {len(actions)} frames; delete the file and '
            'run the same `rlrc collect` again')
    if things and things_m.shape != (len(actions), len(things), 3):
        raise DemonstrationError(
            f'{path} has places {things_m.shape} of {len(things)} things in {len(actions)} '
            'frames; delete the file and run the same `rlrc collect` again')
    if any(each.shape[:2] != (len(sentences), len(actions)) for each in told):
        raise DemonstrationError(
            f'{path} has answers {[each.shape for each in told]} to {len(sentences)} other '
            f'sentences in {len(actions)} frames; delete the file and run the same '
            '`rlrc collect` again')
    if not len(ends) == len(actions) == len(positions):
        raise DemonstrationError(
            f'{path} has {len(ends)} images, {len(actions)} actions and {len(positions)} '
            'positions; delete the file and run the same `rlrc collect` again')
    starts = np.concatenate([[0], ends[:-1]])
    decoded = [cv2.imdecode(png[start:end], cv2.IMREAD_COLOR) if end > start else None
               for start, end in zip(starts, ends)]
    missing = [frame for frame, image in enumerate(decoded) if image is None]
    if missing or not decoded:
        raise DemonstrationError(f'{path} misses frames {missing or "all"} of {len(ends)}; '
                                 'delete the file and run the same `rlrc collect` again')
    images = np.stack([image[..., ::-1] for image in decoded])
    return Episode(int(metadata['seed']), metadata['episode_set'], metadata['instruction'],
                   images, actions, positions, things, things_m, things_rad, hand,
                   metadata.get('scattered') == '1',
                   tuple(OtherSentence(*each) for each in zip(sentences, *told)))


def answers_others(folder: Path) -> bool:
    """Tell whether any episode of a folder has answers to other sentences than its own."""
    for path in sorted(Path(folder).glob('episode_*.safetensors')):
        try:
            with safe_open(path, framework='numpy') as file:
                metadata = file.metadata() or {}
        except SafetensorError:
            continue  # load_episode() says what is wrong with it
        if json.loads(metadata.get('others', '[]')):
            return True
    return False


def episode_paths(folder: Path) -> list[Path]:
    """
    Return the folder's episodes in the order of their seeds.

    :raises DemonstrationError: no such folder, or none in it
    """
    folder = Path(folder)
    paths = sorted(folder.glob('episode_*.safetensors')) if folder.is_dir() else []
    tried = read_collection(folder).get('tried', 0)
    if not paths and (folder / 'meta' / 'info.json').exists():
        raise DemonstrationError(
            f'{folder} is a LeRobotDataset, which `rlrc sft` and `rlrc rl` read as it is; this '
            f'wants episodes of our own; make some with `rlrc collect --out {folder}_episodes`')
    if not paths and tried:
        raise DemonstrationError(
            f'{folder} holds no success: {tried} tries were made and none was kept; there is '
            'nothing to imitate. Collect with the expert, or with a policy that succeeds')
    if not paths:
        raise DemonstrationError(
            f'no demonstrations in {folder}; make some with `rlrc collect --out {folder}`')
    return paths


def load_episodes(folders: list[Path], limit: int | None = None,
                  camera: str = '') -> Iterator[Episode]:
    """
    Yield the episodes of several folders, ours or LeRobotDatasets, at most `limit` of each.

    :param camera: which images of a LeRobotDataset; needed where it has several
    """
    from rlrc_training.lerobot_dataset import is_lerobot, read_episodes  # which imports Episode
    for folder in folders:
        if is_lerobot(folder):
            yield from read_episodes(folder, limit, camera)
            continue
        for path in episode_paths(folder)[:limit]:
            yield load_episode(path)


def read_collection(folder: Path) -> dict:
    """Return what collection.json says, or an empty dict where there is none."""
    path = Path(folder) / 'collection.json'
    return json.loads(path.read_text()) if path.exists() else {}
