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
Read LeRobotDataset v3 as demonstrations: `rlrc sft --data FOLDER` takes such a folder as it is.

Only the published files are touched (meta/info.json, meta/tasks.parquet, meta/episodes, data,
videos), through pyarrow and the ffmpeg of imageio-ffmpeg; the lerobot package is not needed. What
an action means is not part of that format, so it is asked of the names in info.json: seven
numbers, x y z in metres, roll pitch yaw in radians, gripper 1 open ... 0 closed.

Legend: T frames of an episode.
"""

from collections.abc import Iterator
import json
from pathlib import Path

import cv2
import numpy as np
from rlrc_training.data import DemonstrationError, Episode

INFO = Path('meta') / 'info.json'
ACTION_NAMES = ('x', 'y', 'z', 'roll', 'pitch', 'yaw', 'gripper')
POSITIONS = 'observation.environment_state'
POSITION_NAMES = tuple(f'{thing}_{axis}' for thing in ('object', 'plate', 'end_effector')
                       for axis in 'xyz')
"""Our own frames' positions in the arm's base frame, metres; other data sets have none."""
CONVERT = 'python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id OWNER/NAME'


def is_lerobot(folder: Path) -> bool:
    """Say whether a folder holds a LeRobotDataset, of whatever version."""
    return (Path(folder) / INFO).is_file()


def read_info(folder: Path, camera: str = '') -> tuple[dict, str]:
    """
    Return info.json's content and the feature that holds the images.

    :param camera: which one; needed where there are several
    :raises DemonstrationError: another version, no actions of ours, or no such camera
    """
    info = json.loads((folder / INFO).read_text())
    version, features = str(info.get('codebase_version')), info.get('features', {})
    if not version.startswith('v3.'):
        raise DemonstrationError(f'{folder} is a LeRobotDataset {version}, wanted v3; '
                                 f'convert it with lerobot itself: {CONVERT}')
    cameras = [name for name, each in features.items() if each['dtype'] in ('video', 'image')]
    chosen = camera or (cameras[0] if len(cameras) == 1 else None)
    if chosen not in cameras:
        raise DemonstrationError(
            f'camera {camera!r} is not in {folder}; it has: {", ".join(cameras) or "none"}.'
            + (f' Set --camera {cameras[0]}' if cameras else ''))
    if 'action' not in features:
        raise DemonstrationError(f'{folder} has no feature `action`; it has: '
                                 f'{", ".join(features)}')
    _check_action_names(folder, features['action'].get('names'))
    return info, chosen


def _check_action_names(folder: Path, names: object) -> None:
    """Refuse actions that say of themselves that they are something else."""
    while isinstance(names, dict):  # LeRobot's {"motors": [...]}
        names = next(iter(names.values()), None)
    if not names:
        return  # nameless: their number is checked where the model is known
    told = tuple(str(name).lower().removeprefix('delta_').removeprefix('d') for name in names)
    if told != ACTION_NAMES:
        raise DemonstrationError(
            f'the actions in {folder} are {", ".join(map(str, names))}; wanted end-effector '
            f'deltas {", ".join(ACTION_NAMES)} (metres, radians, 1 open ... 0 closed). Convert '
            f'them; if they are that already, name them so in {INFO}')


def read_episodes(folder: Path, limit: int | None = None,
                  camera: str = '') -> Iterator[Episode]:
    """
    Yield a LeRobotDataset's episodes in order, at most `limit`.

    :raises DemonstrationError: see read_info(); or frames, rows or files are missing
    """
    folder = Path(folder)
    info, camera = read_info(folder, camera)
    parquet = parquet_module()
    sentences = _tasks(parquet, folder)
    keys = ['episode_index', 'length', 'data/chunk_index', 'data/file_index']
    is_video = info['features'][camera]['dtype'] == 'video'
    if is_video:
        keys += [f'videos/{camera}/{name}' for name in (
            'chunk_index', 'file_index', 'from_timestamp')]
    described = [row for path in sorted((folder / 'meta' / 'episodes').glob('*/*.parquet'))
                 for row in parquet.read_table(path, columns=keys).to_pylist()]
    if not described:
        raise DemonstrationError(f'{folder} holds no episode; there is nothing to imitate')
    described.sort(key=lambda row: row['episode_index'])
    wanted = ['episode_index', 'frame_index', 'task_index', 'action', *(
        key for key in (POSITIONS, camera) if key in info['features']
        and info['features'][key]['dtype'] != 'video')]
    rows, numbers, rows_of, video = None, None, None, None
    try:
        for row in described[:limit]:
            number, length = row['episode_index'], row['length']
            path = folder / info['data_path'].format(
                chunk_index=row['data/chunk_index'], file_index=row['data/file_index'])
            if path != rows_of:
                rows, rows_of = parquet.read_table(_present(path), columns=wanted), path
                numbers = np.asarray(rows['episode_index']).ravel()
            own = rows.take(np.flatnonzero(numbers == number)).to_pydict()
            missing = sorted(set(range(length)) - set(own['frame_index']))
            if missing or len(own['frame_index']) != length:
                raise DemonstrationError(
                    f'episode {number} of {folder} has {len(own["frame_index"])} rows of '
                    f'{length} and misses frames {missing}; make the data set again')
            order = np.argsort(own['frame_index'])
            if is_video:
                path = folder / info['video_path'].format(
                    video_key=camera, chunk_index=row[f'videos/{camera}/chunk_index'],
                    file_index=row[f'videos/{camera}/file_index'])
                first = round(row[f'videos/{camera}/from_timestamp'] * info['fps'])
                if video is None or not video.can_give(path, first):
                    if video is not None:
                        video.close()
                    video = _Video(_present(path))
                pictures = video.take(first, length, number)
            else:
                pictures = np.stack([_decode(own[camera][index], folder, number, place)
                                     for place, index in enumerate(order)])
            yield _episode(folder, number, own, order, sentences, pictures, info)
    finally:
        if video is not None:
            video.close()


def _episode(folder: Path, number: int, own: dict, order: np.ndarray, sentences: dict[int, str],
             pictures: np.ndarray, info: dict) -> Episode:
    actions = np.asarray(own['action'], dtype=np.float32)[order]
    actions = actions.reshape(len(order), -1)
    tasks = sorted({sentences.get(index, '') for index in own['task_index']})
    if len(tasks) != 1 or not tasks[0].strip():
        raise DemonstrationError(f'episode {number} of {folder} has the tasks {tasks}; wanted '
                                 'one sentence an episode')
    if not np.isfinite(actions).all():
        raise DemonstrationError(f'episode {number} of {folder} has actions that are not finite')
    if actions.shape[1] == len(ACTION_NAMES) and (
            actions[:, 6].min() < -0.01 or actions[:, 6].max() > 1.01):
        raise DemonstrationError(
            f'the gripper in episode {number} of {folder} goes from {actions[:, 6].min():g} to '
            f'{actions[:, 6].max():g}; wanted 1 open ... 0 closed. Convert it')
    ours = info['features'].get(POSITIONS, {}).get('names')
    positions = (np.asarray(own[POSITIONS], dtype=np.float32)[order]
                 if ours is not None and tuple(ours) == POSITION_NAMES
                 else np.zeros((len(order), 9), np.float32))
    return Episode(number, 'lerobot', tasks[0], pictures, actions, positions)


def parquet_module():
    """
    Return pyarrow.parquet.

    :raises DemonstrationError: it is not installed
    """
    try:
        import pyarrow.parquet
    except ImportError as error:  # only a LeRobotDataset needs it
        raise DemonstrationError('reading or writing a LeRobotDataset needs pyarrow; type '
                                 "pip install 'rlrc_ros[lerobot]'") from error
    return pyarrow.parquet


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DemonstrationError(f'{path} is missing; download the data set whole')
    return path


def _tasks(parquet, folder: Path) -> dict[int, str]:
    """Return the sentences by their index; pandas keeps them in the table's own index."""
    table = parquet.read_table(_present(folder / 'meta' / 'tasks.parquet')).to_pydict()
    names = next(column for name, column in table.items() if name != 'task_index')
    return dict(zip(table['task_index'], names))


def _decode(stored: dict, folder: Path, number: int, frame: int) -> np.ndarray:
    """Return an image of a parquet column, uint8 (H, W, 3) RGB."""
    content = stored and stored.get('bytes')
    picture = (cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
               if content else None)
    if picture is None:
        raise DemonstrationError(f'episode {number} of {folder} misses frame {frame}: its image '
                                 'is not in the parquet file or does not decode')
    return picture[..., ::-1]


class _Video:
    """The frames of one file, one after another: episodes stand in it in their order."""

    def __init__(self, path: Path):
        import imageio_ffmpeg  # of the simulation's extra; OpenCV decodes no AV1
        self.path, self._next = path, 0
        self._frames = imageio_ffmpeg.read_frames(
            str(path), output_params=['-fps_mode', 'passthrough'])
        self._size = next(self._frames)['size']  # (W, H)

    def can_give(self, path: Path, first: int) -> bool:
        """Say whether a frame of a file is still to come."""
        return path == self.path and first >= self._next

    def take(self, first: int, count: int, episode: int) -> np.ndarray:
        """Return frames (count, H, W, 3) uint8 RGB from the `first` of the file on."""
        width, height = self._size
        taken = np.empty((count, height, width, 3), np.uint8)
        while self._next < first + count:
            frame = next(self._frames, None)
            if frame is None:
                raise DemonstrationError(
                    f'episode {episode} misses frames: {self.path} ends after {self._next}, '
                    f'wanted {first} ... {first + count - 1}; download the data set again')
            if self._next >= first:
                taken[self._next - first] = np.frombuffer(frame, np.uint8).reshape(
                    height, width, 3)
            self._next += 1
        return taken

    def close(self) -> None:
        """End the decoder."""
        self._frames.close()
