# SPDX-License-Identifier: Apache-2.0
"""Commands of a kind that starts empty are given the elements that the robot's fields name."""

import numpy as np
import pytest
from smwm_ros.codec.fields import FieldCodec
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionSpec
from smwm_ros.nodes.messages import blank_message, message_class

PERIOD = 0.1


def written(kind, field, action):
    """Write an action into a fresh message of a kind, and see that it can be read back."""
    paths = expand([field])
    codec = FieldCodec(ActionSpec(paths, (-9.0,) * len(paths), (9.0,) * len(paths), PERIOD))
    message = codec.decode(np.array(action), blank_message(message_class(kind), paths, PERIOD))
    assert codec.encode(message).tolist() == list(action)
    return message


def test_a_trajectory_gets_a_point_that_is_due_after_one_period_and_joint_names():
    field = 'points[0].positions[joint_names=elbow,wrist]'
    message = written('trajectory_msgs/msg/JointTrajectory', field, (0.5, -2.0))
    assert list(message.joint_names) == ['elbow', 'wrist']
    (point,) = message.points
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 100_000_000)


def test_later_points_are_due_later():
    field = 'points[1].velocities[0:2]'
    message = written('trajectory_msgs/msg/JointTrajectory', field, (0.1, 0.2))
    assert [point.time_from_start.nanosec for point in message.points] == [10**8, 2 * 10**8]


@pytest.mark.parametrize(
    ('field', 'action'), [('velocity[name=elbow]', (1.5,)), ('position[0:3]', (1.0, 2.0, 3.0))]
)
def test_joints_need_no_points(field, action):
    written('sensor_msgs/msg/JointState', field, action)


@pytest.mark.parametrize(
    ('field', 'message'),
    [
        ('pionts[0].positions[0]', "no field 'pionts'; did you mean 'points'"),
        ('joint_names[0].x', "'joint_names': expected a list of messages"),
    ],
)
def test_what_a_command_does_not_have_is_named(field, message):
    with pytest.raises(CodecError, match=message):
        written('trajectory_msgs/msg/JointTrajectory', field, (0.0,))
