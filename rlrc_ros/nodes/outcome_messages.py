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

"""What vla_node publishes of a step beside the command: the policy's numbers, the target."""

from geometry_msgs.msg import PoseStamped
import pinocchio as pin
from rlrc_ros.arm.commands import to_stamp
from rlrc_ros.arm.safety import JointCommand
from rlrc_ros.nodes.pilot import Outcome
from std_msgs.msg import Float64MultiArray, MultiArrayDimension


def labelled(outcome: Outcome) -> Float64MultiArray:
    """
    Return the policy's seven numbers as ~/action carries them.

    The label of its one dimension is `REASON STAMP_NS`: `none` where the action was commanded,
    else why it was refused, and the stamp of the image that it answers. import-bags reads both.
    """
    message = Float64MultiArray(data=outcome.action.to_vector().astype(float).tolist())
    message.layout.dim = [MultiArrayDimension(
        label=f'{outcome.reason.value} {outcome.stamp_ns}', size=7, stride=7)]
    return message


def target_pose(command: JointCommand, stamp_ns: int, frame: str) -> PoseStamped:
    """Return where a command puts the end effector, in the frame of the arm's base."""
    message = PoseStamped()
    message.header.stamp = to_stamp(stamp_ns)
    message.header.frame_id = frame
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z = command.T_base_ee[:3, 3].tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = (
        pin.Quaternion(command.T_base_ee[:3, :3]).coeffs().tolist())
    return message
