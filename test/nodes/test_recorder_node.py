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

"""An episode over DDS becomes a bag, and the bag becomes data for `rlrc sft`."""

from pathlib import Path

from nodes.vla_rig import ScriptedPolicy, small_step, VlaRig
import pytest
from rclpy.parameter import Parameter
from rlrc_ros.types import ActionChunk, Observation
from std_srvs.srv import SetBool, Trigger

pytest.importorskip('rosbags', reason='pip install rosbags')
RecorderNode = __import__('rlrc_ros.nodes.recorder_node', fromlist=['x']).RecorderNode
import_bags = __import__('rlrc_training.import_bags', fromlist=['x'])
load_episode = __import__('rlrc_training.data', fromlist=['x']).load_episode


def test_what_was_driven_is_recorded_and_imported(tmp_path: Path) -> None:
    """Each commanded action of a success comes back with its own image, refused ones do not."""
    bags = tmp_path / 'bags'

    def by_shade(seen: Observation) -> ActionChunk:
        shade = int(seen.image[0, 0, 0])
        return small_step(0.5 if shade % 3 == 0 else 1e-5 * shade)
    with VlaRig(ScriptedPolicy(by_shade)) as rig:
        rig.bench.noisy = True
        bench = rig.drive().bench
        bench.say('put carrot on plate')
        recorder = RecorderNode(
            context=bench.context, namespace=bench.get_namespace(),
            parameter_overrides=[Parameter('folder', value=str(bags))])
        rig._executors[1].add_node(recorder)
        start = bench.create_client(Trigger, 'recorder_node/start')
        finish = bench.create_client(SetBool, 'recorder_node/finish')
        assert not bench.call(finish, SetBool.Request(data=True)).success
        for success in (True, False):
            assert bench.call(start, Trigger.Request()).success
            assert not bench.call(start, Trigger.Request()).success
            bench.wait_more(bench.actions, 6)
            assert bench.call(finish, SetBool.Request(data=success)).success
        rig._executors[1].remove_node(recorder)
        recorder.destroy_node()
    assert not list(bags.glob('.*'))
    config = import_bags.ImportConfig(bags, out=tmp_path / 'demos', image_px=32)
    paths = import_bags.import_bags(config)
    assert len(paths) == 1
    episode = load_episode(paths[0])
    assert episode.instruction == 'put carrot on plate'
    assert len(episode.actions) >= 2
    assert episode.images.shape[1:] == (32, 32, 3)
    shades = episode.images[:, 0, 0, 0]
    assert episode.actions[:, 0] == pytest.approx(1e-5 * shades)
    assert (shades % 3 != 0).all(), 'a refused action was imported'


def test_an_empty_folder_says_how_to_record(tmp_path: Path) -> None:
    """The error names the next thing to type."""
    with pytest.raises(ValueError, match='recorder_node'):
        import_bags.import_bags(import_bags.ImportConfig(tmp_path, out=tmp_path / 'demos'))
