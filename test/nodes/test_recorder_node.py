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

from nodes.vla_rig import DOMAIN, ScriptedPolicy, small_step, VlaRig, wait_for
import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rlrc_ros.nodes.lifetime import spun
from rlrc_ros.types import ActionChunk, Observation
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

pytest.importorskip('rosbags', reason='pip install rosbags')
RecorderNode = __import__('rlrc_ros.nodes.recorder_node', fromlist=['x']).RecorderNode
import_bags = __import__('rlrc_training.import_bags', fromlist=['x'])
AnyReader = __import__('rosbags.highlevel', fromlist=['x']).AnyReader
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


def test_an_instruction_that_no_topic_carried_is_in_the_bag(tmp_path: Path) -> None:
    """A launch argument, or a sentence said before the recorder was there: the status has it."""
    bags = tmp_path / 'bags'
    with VlaRig(ScriptedPolicy(), instruction='put can on plate') as rig:
        bench = rig.drive().bench
        recorder = RecorderNode(
            context=bench.context, namespace=bench.get_namespace(),
            parameter_overrides=[Parameter('folder', value=str(bags))])
        rig._executors[1].add_node(recorder)
        assert bench.call(bench.create_client(Trigger, 'recorder_node/start'),
                          Trigger.Request()).success
        bench.wait_more(bench.actions, 4)
        assert recorder.finish({'success': True})[0]
        rig._executors[1].remove_node(recorder)
        recorder.destroy_node()
    paths = import_bags.import_bags(import_bags.ImportConfig(bags, out=tmp_path / 'demos'))
    assert load_episode(paths[0]).instruction == 'put can on plate'


@pytest.mark.parametrize('reliability', ['RELIABLE', 'BEST_EFFORT'])
def test_a_camera_is_recorded_whatever_it_offers(reliability: str, tmp_path: Path) -> None:
    """All that is published reliably, each picture once; of best effort what arrives."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN, args=[])
    camera = Node('camera', context=context)
    pictures = camera.create_publisher(
        Image, 'image', QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability]))
    recorder = RecorderNode(context=context, parameter_overrides=[
        Parameter('folder', value=str(tmp_path))])
    with spun(camera, recorder):
        picture = Image(height=2, width=2, step=6, encoding='rgb8', data=bytes(12))
        pictures.publish(picture)
        wait_for(lambda: 'image' in recorder._heard or pictures.publish(picture))
        assert recorder._on_start(None, Trigger.Response()).success
        for sent in range(5):
            picture.header.stamp.sec = sent + 1
            pictures.publish(picture)
            wait_for(lambda: recorder._bag.written > sent)
        bag = recorder._bag
        done, path = recorder.finish({'success': True})
    assert done
    with AnyReader([Path(path)], default_typestore=bag._types) as reader:
        stamps = [reader.deserialize(raw, connection.msgtype).header.stamp.sec
                  for connection, _, raw in reader.messages() if connection.topic == 'image']
    assert [each for each in stamps if each] == [1, 2, 3, 4, 5]


def test_an_empty_folder_says_how_to_record(tmp_path: Path) -> None:
    """The error names the next thing to type."""
    with pytest.raises(ValueError, match='recorder_node'):
        import_bags.import_bags(import_bags.ImportConfig(tmp_path, out=tmp_path / 'demos'))
