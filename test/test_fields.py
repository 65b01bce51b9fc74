# SPDX-License-Identifier: Apache-2.0
"""Messages become action vectors and action vectors messages, whatever library made them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from rosbags.typesys import get_typestore, Stores
from smwm_ros.codec.fields import action_spec, FieldCodec, FieldReader
from smwm_ros.config import Command, Robot
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import expand, parse_path
from smwm_ros.interfaces import ActionSpec

TYPES = get_typestore(Stores.ROS2_HUMBLE).types


def spec(*fields: str) -> ActionSpec:
    names = expand(fields)
    return ActionSpec(names, (-1.0,) * len(names), (1.0,) * len(names), 0.1)


def rosbags_twist() -> Any:
    vector = TYPES['geometry_msgs/msg/Vector3']
    return TYPES['geometry_msgs/msg/Twist'](vector(0.0, 0.0, 0.0), vector(0.0, 0.0, 0.0))


def rosbags_array() -> Any:
    layout = TYPES['std_msgs/msg/MultiArrayLayout']([], 0)
    return TYPES['std_msgs/msg/Float64MultiArray'](layout, np.zeros(0))


def rclpy_twist() -> Any:
    return pytest.importorskip('geometry_msgs.msg', reason='no ROS 2 messages').Twist()


def rclpy_array() -> Any:
    return pytest.importorskip('std_msgs.msg', reason='no ROS 2 messages').Float64MultiArray()


@dataclass
class Mixed:
    """A message with each kind of field that an action may or may not be."""

    number: float = 0.0
    count: int = 0
    flag: bool = False
    text: str = ''
    inner: Any = field(default_factory=SimpleNamespace)
    counts: Any = field(default_factory=lambda: array('i'))
    words: list[str] = field(default_factory=lambda: ['a', 'b'])


@pytest.mark.parametrize('make', [rosbags_twist, rclpy_twist])
@given(action=st.tuples(*[st.floats(-1e6, 1e6)] * 2))
def test_a_twist_carries_an_action_there_and_back(make: Any, action: tuple[float, ...]) -> None:
    codec = FieldCodec(spec('linear.x', 'angular.z'))
    message = codec.decode(np.array(action), make())
    assert (message.linear.x, message.angular.z) == action
    assert message.linear.y == 0.0
    np.testing.assert_array_equal(codec.encode(message), action)


@pytest.mark.parametrize('make', [rosbags_array, rclpy_array])
@given(action=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_an_array_message_grows_to_hold_the_action(make: Any, action: list[float]) -> None:
    codec = FieldCodec(spec('data[1:4]'))
    message = codec.decode(np.array(action), make())
    assert list(message.data) == [0.0, *action]
    np.testing.assert_array_equal(codec.encode(message), action)


def test_a_trajectory_point_in_a_bag_reads_as_an_action() -> None:
    point = SimpleNamespace(velocities=np.array([1.0, 2.0, 3.0]))
    read = FieldReader(['points[0].velocities[0:2]', 'points[0].velocities[2]'])
    np.testing.assert_array_equal(read(SimpleNamespace(points=[point])), [1.0, 2.0, 3.0])


def test_whole_number_and_bool_fields_get_the_nearest_value() -> None:
    codec = FieldCodec(spec('count', 'flag', 'counts[0:2]'))
    message = codec.decode(np.array([2.6, 0.9, -1.4, 7.0]), Mixed())
    assert (message.count, message.flag, list(message.counts)) == (3, True, [-1, 7])
    assert type(message.flag) is bool


def test_the_spec_of_a_robot_names_each_number_with_its_limits() -> None:
    command = Command(fields=('position[0:2]', 'effort[5]'), low=(-1, -2, -3), high=(1, 2, 3))
    found = action_spec(Robot(command=command, dt=0.05))
    assert found.fields == ('position[0]', 'position[1]', 'effort[5]')
    assert found.size == 3
    assert (found.low, found.high, found.dt) == ((-1, -2, -3), (1, 2, 3), 0.05)
    np.testing.assert_array_equal(found.clip(np.array([5.0, 0.5, -5.0])), [1.0, 0.5, -3.0])


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('numbr', r"'numbr': Mixed has no field 'numbr'; did you mean 'number'\?"),
        ('inner.x', r"SimpleNamespace has no field 'x'"),
        ('text', r"'text': expected a number, found str"),
        ('inner', r"'inner': expected a number, found SimpleNamespace"),
        ('number[0]', r"'number' has 0 elements"),
        ('counts[0]', r"'counts' has 0 elements"),
        ('counts[0:2]', r"'counts' has 0 elements"),
        ('counts', r"'counts': an array of 0 numbers; select elements, such as counts\[0:2\]"),
        ('words[0:2]', r"'words\[0:2\]': expected a number, found list"),
    ],
)
def test_a_field_that_is_no_number_is_refused_on_reading(path: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        FieldReader([path])(Mixed())


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('numbr', r"Mixed has no field 'numbr'; did you mean 'number'\?"),
        ('inner', r"'inner': expected a number, found SimpleNamespace"),
        ('text', r"'text': expected a number, found str"),
        ('counts', r"'counts': expected a number, found array"),
        ('number[0]', r"'number\[0\]': expected an array of numbers, found float"),
        ('words[0]', r"'words\[0\]': expected an array of numbers, found list"),
    ],
)
def test_a_field_that_is_no_number_is_refused_on_writing(path: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        FieldCodec(spec(path)).decode(np.array([0.5]), Mixed())


def test_an_action_of_another_size_is_refused() -> None:
    with pytest.raises(CodecError, match=r'shape \(3,\), expected \(2,\) for number, count'):
        FieldCodec(spec('number', 'count')).decode(np.zeros(3), Mixed())


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('', 'not a field path'),
        ('linear..x', 'not a field path'),
        ('data[-1]', 'not a field path'),
        ('data[0:]', 'not a field path'),
        ('data[3:3]', 'the slice is empty'),
        ('points[0:2].x', 'only the last field may be a slice'),
    ],
)
def test_what_is_no_field_path_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_path(path)
    with pytest.raises(CodecError, match=reason):
        FieldReader([path])


def test_a_number_named_twice_is_refused() -> None:
    with pytest.raises(CodecError, match=r"'data\[1\]': named more than once"):
        FieldReader(['data[0:2]', 'data[1]'])


@given(low=st.integers(0, 50), size=st.integers(1, 20))
def test_a_slice_names_each_of_its_numbers(low: int, size: int) -> None:
    names = expand([f'a.data[{low}:{low + size}]'])
    assert names == tuple(f'a.data[{low + i}]' for i in range(size))
    assert [parse_path(name)[-1].at for name in names] == list(range(low, low + size))
