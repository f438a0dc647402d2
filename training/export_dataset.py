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
Write demonstrations as a LeRobotDataset v3: `rlrc export-dataset runs/demos --out runs/lerobot`.

The folder opens in lerobot (LeRobotDataset(repo_id, root=OUT)) and, as --data, in `rlrc sft`:

    meta/info.json stats.json tasks.parquet    what is in it
    meta/episodes/chunk-000/file-000.parquet   one row an episode, with its statistics
    data/chunk-000/file-000.parquet            one row a frame: action, positions, times
    videos/observation.images.primary/...      H.264, or PNG within the data with --pictures png

Actions stay end-effector deltas (x y z in metres, roll pitch yaw in radians, gripper 1 open ... 0
closed). `rlrc collect` leaves idle frames out, so that times are those of the frames kept. H.264
changes pixels a little; PNG does not and takes some ten times the room.

Legend: T frames of an episode.
"""

from dataclasses import dataclass
import json
import logging
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from rlrc_ros.vla.checkpoint import write_folder
from rlrc_training.command_line import run_verb
from rlrc_training.data import DemonstrationError, Episode, load_episodes
from rlrc_training.lerobot_dataset import (
    ACTION_NAMES,
    INFO,
    parquet_module,
    POSITION_NAMES,
    POSITIONS,
)
from tqdm import tqdm
import tyro

log = logging.getLogger('rlrc.export')
FPS = 5
"""Of BridgeData V2 and of the suite."""
CAMERA = 'observation.images.primary'
DATA_PATH = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
VIDEO_PATH = 'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4'
EPISODES_PATH = 'meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
QUANTILES = {'q01': 0.01, 'q10': 0.1, 'q50': 0.5, 'q90': 0.9, 'q99': 0.99}
CHUNK_SIZE, DATA_MB, VIDEO_MB = 1000, 100, 200
"""LeRobot's own: files in a chunk, and how large it lets files grow."""


@dataclass(frozen=True)
class ExportConfig:
    """What to write, and how."""

    data: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar='DIR [DIR ...]')]
    """Folders made by `rlrc collect` or `rlrc import-bags`."""
    out: Path = Path('runs/lerobot')
    """Folder for the data set; there must be none yet."""
    episodes: int | None = None
    """At most so many of each folder; all of them by default."""
    pictures: Literal['video', 'png'] = 'video'
    """`video`: H.264, small; `png`: within the parquet files, to the last bit."""
    episodes_a_file: int = 500
    """Episodes in a parquet or video file."""
    robot_type: str = 'widowx'
    """What info.json calls the arm."""

    def __post_init__(self) -> None:
        for name in ('episodes', 'episodes_a_file'):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')


def _features(height: int, width: int, config: ExportConfig) -> dict[str, dict]:
    picture = {'dtype': 'video' if config.pictures == 'video' else 'image',
               'shape': [height, width, 3], 'names': ['height', 'width', 'channels']}
    if config.pictures == 'video':
        picture['info'] = {
            'video.height': height, 'video.width': width, 'video.codec': 'h264',
            'video.pix_fmt': 'yuv420p', 'video.is_depth_map': False, 'video.fps': FPS,
            'video.channels': 3, 'has_audio': False}
    one = {'shape': [1], 'names': None}
    return {
        'action': {'dtype': 'float32', 'shape': [7], 'names': list(ACTION_NAMES)},
        POSITIONS: {'dtype': 'float32', 'shape': [9], 'names': list(POSITION_NAMES)},
        CAMERA: picture, 'timestamp': {'dtype': 'float32', **one},
        **{name: {'dtype': 'int64', **one}
           for name in ('frame_index', 'episode_index', 'index', 'task_index')}}


def _statistics(values: np.ndarray, axes: tuple[int, ...]) -> dict[str, list]:
    """Return what LeRobot keeps of a feature, as nested lists."""
    kept = values.astype(np.float64)
    of = {'min': kept.min(axes), 'max': kept.max(axes), 'mean': kept.mean(axes),
          'std': kept.std(axes), 'count': np.array([len(kept)]),
          **{name: np.quantile(kept, share, axes) for name, share in QUANTILES.items()}}
    return {name: np.atleast_1d(each).tolist() for name, each in of.items()}


def _picture_statistics(images: np.ndarray) -> dict[str, list]:
    """Return them of pictures in 0 ... 1, one a channel, (3, 1, 1) as LeRobot shapes them."""
    told = _statistics(images[:, ::2, ::2] / 255.0, (0, 1, 2))
    return {name: each if name == 'count' else [[[value]] for value in each]
            for name, each in told.items()}


def merged_statistics(parts: list[dict[str, list]]) -> dict[str, list]:
    """
    Return the statistics of episodes together; quantiles are their weighted means, as LeRobot's.

    :param parts: what _statistics() gave for each
    """
    count = np.array([part['count'][0] for part in parts], dtype=np.float64)
    of = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    share = (count / count.sum()).reshape(-1, *(1,) * (of['mean'].ndim - 1))
    mean = (share * of['mean']).sum(0)
    variance = (share * (of['std'] ** 2 + (of['mean'] - mean) ** 2)).sum(0)
    merged = {'min': of['min'].min(0), 'max': of['max'].max(0), 'mean': mean,
              'std': np.sqrt(variance), 'count': np.array([int(count.sum())]),
              **{name: (share * of[name]).sum(0) for name in QUANTILES}}
    return {name: each.tolist() for name, each in merged.items()}


class _Writer:
    """One data set on its way to the disk: a row group an episode, files of many episodes."""

    def __init__(self, folder: Path, config: ExportConfig):
        import pyarrow
        self._pa, self._parquet = pyarrow, parquet_module()
        self._folder, self._config = folder, config
        self._tasks: dict[str, int] = {}
        self._described: list[dict] = []
        self._frames = self._frames_in_file = 0
        self._rows = self._video = None
        self._features: dict[str, dict] = {}

    def add(self, episode: Episode) -> None:
        """Write an episode's frames."""
        pa, count, number = self._pa, len(episode.actions), len(self._described)
        size = episode.images.shape[1:3]
        if not self._features:
            self._features = _features(*size, self._config)
        if list(size) != self._features[CAMERA]['shape'][:2]:
            raise DemonstrationError(
                f'seed {episode.seed} has images of {size[1]} x {size[0]} pixels, those before '
                f'it {self._features[CAMERA]["shape"][:2]}; export folders of one size together')
        if episode.actions.shape[1] != len(ACTION_NAMES):
            raise DemonstrationError(f'seed {episode.seed} has actions of '
                                     f'{episode.actions.shape[1]} numbers, wanted 7')
        if number % self._config.episodes_a_file == 0:
            self.close()
        file = self._place(number)
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        index = np.arange(count)
        columns = {
            'action': episode.actions.astype(np.float32),
            POSITIONS: episode.positions_m.astype(np.float32),
            'timestamp': (index / FPS).astype(np.float32), 'frame_index': index,
            'episode_index': np.full(count, number), 'index': self._frames + index,
            'task_index': np.full(count, task)}
        told = {name: _statistics(each, (0,)) for name, each in columns.items()}
        told[CAMERA] = _picture_statistics(episode.images)
        arrays = {name: pa.array(each) if each.ndim == 1 else pa.FixedSizeListArray.from_arrays(
            pa.array(each.ravel()), each.shape[1]) for name, each in columns.items()}
        if self._config.pictures == 'png':
            arrays[CAMERA] = pa.array([
                {'bytes': cv2.imencode('.png', image[..., ::-1])[1].tobytes(),
                 'path': f'frame-{place:06d}.png'}
                for place, image in enumerate(episode.images)],
                pa.struct({'bytes': pa.binary(), 'path': pa.string()}))
        table = pa.table(arrays)
        if self._rows is None:
            self._rows = self._parquet.ParquetWriter(
                self._made(DATA_PATH, number), table.schema)
        self._rows.write_table(table)
        row = {'episode_index': number, 'tasks': [episode.instruction], 'length': count,
               'dataset_from_index': self._frames, 'dataset_to_index': self._frames + count,
               'data/chunk_index': file[0], 'data/file_index': file[1]}
        if self._config.pictures == 'video':
            self._film(episode.images, number)
            row |= {f'videos/{CAMERA}/chunk_index': file[0],
                    f'videos/{CAMERA}/file_index': file[1],
                    f'videos/{CAMERA}/from_timestamp': self._frames_in_file / FPS,
                    f'videos/{CAMERA}/to_timestamp': (self._frames_in_file + count) / FPS}
        self._described.append({**row, 'meta/episodes/chunk_index': 0,
                                'meta/episodes/file_index': 0, 'stats': told})
        self._frames += count
        self._frames_in_file += count

    def _place(self, number: int) -> tuple[int, int]:
        """Return the chunk and the file in it that an episode belongs to."""
        return divmod(number // self._config.episodes_a_file, CHUNK_SIZE)

    def _made(self, pattern: str, number: int) -> Path:
        chunk, file = self._place(number)
        path = self._folder / pattern.format(
            video_key=CAMERA, chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _film(self, images: np.ndarray, number: int) -> None:
        if self._video is None:
            import imageio_ffmpeg
            # A key frame every other frame, as LeRobot's own: training reads frames at random.
            self._video = imageio_ffmpeg.write_frames(
                str(self._made(VIDEO_PATH, number)), images.shape[2:0:-1], fps=FPS,
                codec='libx264', macro_block_size=2, quality=None,
                output_params=['-crf', '18', '-g', '2', '-bf', '0'])
            self._video.send(None)
        for image in images:
            self._video.send(np.ascontiguousarray(image))

    def close(self) -> None:
        """End the files that are open."""
        if self._rows is not None:
            self._rows.close()
        if self._video is not None:
            self._video.close()
        self._rows = self._video = None
        self._frames_in_file = 0

    def finish(self) -> None:
        """Write what describes the data set."""
        self.close()
        if not self._described:
            raise DemonstrationError('no episode to export')
        told = [row.pop('stats') for row in self._described]
        whole = {name: merged_statistics([each[name] for each in told]) for name in told[0]}
        (self._folder / 'meta').mkdir(exist_ok=True)
        (self._folder / 'meta' / 'stats.json').write_text(json.dumps(whole, indent=1))
        for row, of in zip(self._described, told):
            row |= {f'stats/{name}/{kind}': values
                    for name, each in of.items() for kind, values in each.items()}
        self._parquet.write_table(self._pa.Table.from_pylist(self._described),
                                  self._made(EPISODES_PATH, 0))
        self._parquet.write_table(self._task_table(), self._folder / 'meta' / 'tasks.parquet')
        count, video = len(self._described), self._config.pictures == 'video'
        (self._folder / INFO).write_text(json.dumps({
            'codebase_version': 'v3.0', 'robot_type': self._config.robot_type,
            'total_episodes': count, 'total_frames': self._frames,
            'total_tasks': len(self._tasks), 'chunks_size': CHUNK_SIZE,
            'data_files_size_in_mb': DATA_MB, 'video_files_size_in_mb': VIDEO_MB, 'fps': FPS,
            'splits': {'train': f'0:{count}'}, 'data_path': DATA_PATH,
            'video_path': VIDEO_PATH if video else None, 'features': self._features}, indent=1))

    def _task_table(self):
        """Return the sentences as pandas stores a frame whose index they are."""
        table = self._pa.table({'task_index': list(self._tasks.values()),
                                'task': list(self._tasks)})
        described = [{'name': name, 'field_name': name, 'pandas_type': kind,
                      'numpy_type': numpy_kind, 'metadata': None}
                     for name, kind, numpy_kind in (('task_index', 'int64', 'int64'),
                                                    ('task', 'unicode', 'object'))]
        return table.replace_schema_metadata({'pandas': json.dumps({
            'index_columns': ['task'], 'column_indexes': [], 'columns': described})})


def export_dataset(config: ExportConfig) -> Path:
    """
    Write the data set, all or nothing; return its folder.

    :raises ValueError: there is something at --out already
    :raises DemonstrationError: no demonstrations, of different sizes, or scattered states
    """
    if config.out.exists():
        raise ValueError(f'{config.out} is there already; use another --out, or delete it')
    parquet_module()

    def write(folder: Path) -> None:
        writer = _Writer(folder, config)
        try:
            for episode in tqdm(load_episodes(list(config.data), config.episodes),
                                desc='export', unit='episode'):
                if episode.scattered:
                    raise DemonstrationError(
                        f'seed {episode.seed} is scattered states, no way that a data set of '
                        'episodes could show; leave folders of `rlrc collect --scatter` away')
                writer.add(episode)
            writer.finish()
        finally:
            writer.close()

    folder = write_folder(config.out, write)
    info = json.loads((folder / INFO).read_text())
    log.info('exported episodes=%d frames=%d out=%s', info['total_episodes'],
             info['total_frames'], folder)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc export-dataset`."""
    return run_verb('export-dataset', ExportConfig, export_dataset, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
