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

"""Recorded bags (MCAP) become demonstrations that `rlrc sft` trains on, or say why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from rlrc_training.data import DemonstrationError
from rlrc_training.import_bags import import_bags, ImportConfig
from rlrc_training.sft import sft
from rlrc_training.sft_config import SftConfig
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

STORE = get_typestore(Stores.ROS2_JAZZY)
TOPICS = {'image': 'sensor_msgs/msg/Image', 'instruction': 'std_msgs/msg/String',
          'vla_node/action': 'std_msgs/msg/Float32MultiArray',
          'episode_result': 'std_msgs/msg/String'}


def _record(path: Path, success: bool, steps: int = 5,
            instruction: str = 'put can on red plate') -> None:
    """Write what recorder_node takes: an image before each action, and the result at the end."""
    types = STORE.types
    header = types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](0, 0), 'camera')
    layout = types['std_msgs/msg/MultiArrayLayout']([], 0)
    rng = np.random.default_rng(steps)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(f'/{name}', kind, typestore=STORE)
                  for name, kind in TOPICS.items()}
        clock = iter(range(1, 1000))

        def tell(topic: str, message: object) -> None:
            writer.write(topics[topic], next(clock) * 100_000_000,
                         STORE.serialize_cdr(message, message.__msgtype__))
        tell('instruction', types['std_msgs/msg/String'](instruction))
        for step in range(steps):
            picture = np.full((48, 64, 3), 10 * step, np.uint8)
            tell('image', types['sensor_msgs/msg/Image'](
                header, 48, 64, 'rgb8', 0, 192, picture.ravel()))
            action = np.append(rng.normal(0, 0.01, 6), step % 2).astype(np.float32)
            tell('vla_node/action', types['std_msgs/msg/Float32MultiArray'](layout, action))
        tell('episode_result', types['std_msgs/msg/String'](json.dumps({'success': success})))


def test_recorded_successes_train_a_policy(tmp_path):
    """Two of three bags; positions are unknown, so the auxiliary head is refused and left away."""
    for number, success in enumerate((True, False, True)):
        _record(tmp_path / 'bags' / f'episode_{number:04d}', success, 5 + number)
    demos = tmp_path / 'demos'
    assert len(import_bags(ImportConfig(tmp_path / 'bags', demos, image_px=64))) == 2
    options = {'data': (demos,), 'out': tmp_path / 'run', 'preset': 'tiny', 'steps': 2,
               'batch_size': 4, 'eval_episodes': 0, 'device': 'cpu'}
    with pytest.raises(DemonstrationError, match='add --auxiliary-weight 0'):
        sft(SftConfig(**{**options, 'out': tmp_path / 'refused'}))
    checkpoint = sft(SftConfig(**options, auxiliary_weight=0.0))
    assert (checkpoint / 'model.safetensors').exists()
    assert len((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()) == 1


def test_a_bag_that_cannot_be_used_is_left_out_and_named(tmp_path, capsys):
    """Without a sentence, or cut off: the others are imported all the same."""
    _record(tmp_path / 'bags' / 'episode_0000', True)
    _record(tmp_path / 'bags' / 'episode_0001', True, instruction='')
    _record(tmp_path / 'bags' / 'episode_0002', True)
    next((tmp_path / 'bags' / 'episode_0002').glob('*.mcap')).write_bytes(b'cut off')
    assert len(import_bags(ImportConfig(tmp_path / 'bags', tmp_path / 'demos'))) == 1
    record = json.loads((tmp_path / 'demos' / 'collection.json').read_text())
    assert set(record['left_out_unusable']) == {'episode_0001', 'episode_0002'}
    assert "the instruction ''" in capsys.readouterr().out


def test_bags_without_a_success_are_refused(tmp_path):
    """There is nothing to imitate; the error counts them and names the option that takes all."""
    _record(tmp_path / 'bags' / 'episode_0000', False)
    with pytest.raises(DemonstrationError, match='none of the 1 bags .* --failures'):
        import_bags(ImportConfig(tmp_path / 'bags', tmp_path / 'demos'))
    everything = ImportConfig(tmp_path / 'bags', tmp_path / 'demos', failures=True)
    assert len(import_bags(everything)) == 1
