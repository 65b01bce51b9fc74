# SPDX-License-Identifier: Apache-2.0
"""Every message that steers or measures a robot becomes numbers by its field paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from contract import check_codec
import numpy as np
import pytest
from recordings import image, STORE, TICK, TinyBag
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.codec.fields import FieldCodec, FieldReader, NameMissingError
from smwm_ros.config import Config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import BagError, CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionSpec
from smwm_ros.load import build, merge

Fill = Callable[[Any, float], None]


def vector(msg: Any, at: str, value: float) -> None:
    """Set the field at a dotted path."""
    *owners, name = at.split('.')
    for owner in owners:
        msg = getattr(msg, owner)
    setattr(msg, name, value)


def joints(msg: Any, value: float) -> None:
    msg.name = ['elbow', 'wrist', 'grip']
    msg.position = np.array([value, 2 * value, 9.0])


def trajectory(msg: Any, value: float) -> None:
    msg.joint_names = ['grip', 'elbow', 'wrist']
    point = new_message(STORE, 'trajectory_msgs/msg/JointTrajectoryPoint')
    point.positions = np.array([9.0, value, 2 * value])
    msg.points = [point]


def numbers(msg: Any, value: float) -> None:
    msg.data = np.array([9.0, value, 2 * value], msg.data.dtype)


def fields(*paths: str) -> Fill:
    """Return what sets the first path to a value and the second to twice that."""

    def fill(msg: Any, value: float) -> None:
        vector(msg, paths[0], value)
        vector(msg, paths[1], 2 * value)

    return fill


CASES: dict[str, tuple[list[str], Fill]] = {
    'geometry_msgs/msg/Twist': (
        ['linear.x', 'angular.z'],
        fields('linear.x', 'angular.z'),
    ),
    'geometry_msgs/msg/TwistStamped': (
        ['twist.linear.x', 'twist.angular.z'],
        fields('twist.linear.x', 'twist.angular.z'),
    ),
    'sensor_msgs/msg/JointState': (['position[name=elbow,wrist]'], joints),
    'trajectory_msgs/msg/JointTrajectory': (
        ['points[0].positions[joint_names=elbow]', 'points[0].positions[2]'],
        trajectory,
    ),
    'std_msgs/msg/Float32MultiArray': (['data[1:3]'], numbers),
    'std_msgs/msg/Float64MultiArray': (['data[1]', 'data[2]'], numbers),
    'ackermann_msgs/msg/AckermannDrive': (
        ['speed', 'steering_angle'],
        fields('speed', 'steering_angle'),
    ),
    'ackermann_msgs/msg/AckermannDriveStamped': (
        ['drive.speed', 'drive.steering_angle'],
        fields('drive.speed', 'drive.steering_angle'),
    ),
    'nav_msgs/msg/Odometry': (
        ['pose.pose.position.x', 'twist.twist.angular.z'],
        fields('pose.pose.position.x', 'twist.twist.angular.z'),
    ),
    'sensor_msgs/msg/Imu': (
        ['angular_velocity.z', 'linear_acceleration.x'],
        fields('angular_velocity.z', 'linear_acceleration.x'),
    ),
    'geometry_msgs/msg/PoseStamped': (
        ['pose.position.x', 'pose.orientation.z'],
        fields('pose.position.x', 'pose.orientation.z'),
    ),
}
# As the ackermann_msgs package defines them; no type store knows them, only the bag itself.
DRIVE = 'float32 steering_angle\nfloat32 steering_angle_velocity\nfloat32 speed\n'
DRIVE += 'float32 acceleration\nfloat32 jerk'
STAMPED = 'std_msgs/Header header\nackermann_msgs/AckermannDrive drive'


def store() -> Any:
    types = get_typestore(Stores.ROS2_JAZZY)
    for name, text in (('AckermannDrive', DRIVE), ('AckermannDriveStamped', STAMPED)):
        kind = f'ackermann_msgs/msg/{name}'
        if kind not in types.fielddefs:
            types.register(get_types_from_msg(text, kind))
    return types


def bag_of(path: Path, kind: str, fill: Fill, ticks: int = 30) -> Path:
    """Write frames, and on /numbers messages that hold the tick, a quarter of a tick earlier."""
    types = store()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        camera = bag.add_connection('/camera/image_raw', 'sensor_msgs/msg/Image', typestore=types)
        topic = bag.add_connection('/numbers', kind, typestore=types)
        for tick in range(ticks):
            for connection, stamp in ((topic, tick * TICK), (camera, tick * TICK + TICK // 4)):
                msg = image(np.full((16, 20, 3), tick))
                if connection is topic:
                    msg = new_message(types, kind)
                    fill(msg, float(tick))
                stamp += 10**18
                if hasattr(msg, 'header'):
                    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
                bag.write(connection, stamp, types.serialize_cdr(msg, connection.msgtype))
    return path


def made(
    path: Path, kind: str, paths: list[str], state: bool = False, **dataset: Any
) -> TransitionDataset:
    """Convert with /numbers as the command, and as the measured state too."""
    size = len(expand(paths))
    command = {'topic': '/numbers', 'type': kind, 'fields': paths}
    robot: dict[str, Any] = {'command': {**command, 'low': [-1] * size, 'high': [1] * size}}
    if state:
        robot['state'] = command
    settings = merge({'image_size': 16}, dataset)
    config = build(Config, {'robot': robot, 'dataset': settings}, 'test')
    return convert([path], path.parent / 'out', config).dataset


@pytest.mark.parametrize('kind', CASES)
def test_a_message_commands_and_measures_by_its_fields(tmp_path: Path, kind: str) -> None:
    paths, fill = CASES[kind]
    data = made(bag_of(tmp_path / 'bag', kind, fill), kind, paths, state=True)
    rows = np.arange(len(data))
    shown = data.pixels(rows)[:, 8, 8, 0].astype(float)
    assert len(data) >= 28
    assert (data.states(rows) == np.stack([shown, 2 * shown], 1)).all()
    # The next command falls within the tick; that of the last tick is held.
    expected = np.minimum(shown + 1, 29)
    assert (data.actions(rows) == np.stack([expected, 2 * expected], 1)).all()


def test_the_difference_of_a_state_is_an_action(tmp_path: Path) -> None:
    def fill(msg: Any, tick: float) -> None:
        msg.pose.pose.position.x = tick**2

    kind, paths = 'nav_msgs/msg/Odometry', ['pose.pose.position.x']
    path = bag_of(tmp_path / 'bag', kind, fill)
    data = made(path, kind, paths, state=True, action='next_state_delta')
    tick = np.arange(len(data))
    assert data.pixels(tick)[:, 8, 8, 0].tolist() == tick.tolist()
    # The frame of a tick is a quarter of a tick late: the state lies between two measurements.
    at = tick + 0.25
    between = np.interp([*at, at[-1] + 1], range(30), np.arange(30.0) ** 2)
    np.testing.assert_allclose(data.actions(tick)[:, 0], np.diff(between), rtol=1e-6)
    assert len(data) == 28  # the state of the tick after the 29th lies beyond the bag
    meta = data.metas['bag']
    assert meta['dropped']['the change of state was not measured'] == 2
    assert meta['counts']['actions beyond the limits'] == 28


def test_joints_are_found_by_name_in_any_order_and_among_the_messages_of_others(
    tmp_path: Path,
) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(30):
        bag.frame(tick)
        arm = new_message(STORE, 'sensor_msgs/msg/JointState')
        order = ['elbow', 'wrist'] if tick % 2 else ['wrist', 'elbow']
        arm.name, arm.position = order, np.array([tick if n == 'elbow' else -tick for n in order])
        arm.position = arm.position.astype(float)
        bag.send('/numbers', arm, tick)
        other = new_message(STORE, 'sensor_msgs/msg/JointState')
        other.name, other.position = ['wheel'], np.array([99.0])
        bag.send('/numbers', other, tick + 0.1)
    kind = 'sensor_msgs/msg/JointState'
    path = bag.close()
    data = made(path, kind, ['position[name=elbow]', 'position[name=wrist]'])
    rows = np.arange(30)
    assert (data.actions(rows) == np.stack([rows, -rows], 1)).all()
    counts = data.metas['bag']['counts']
    assert counts['messages of /numbers without the configured names'] == 30
    (tmp_path / 'other').mkdir()
    with pytest.raises(BagError, match=r"/numbers: .*has no 'knee'; its names: wrist, elbow"):
        made(path.rename(tmp_path / 'other' / 'bag'), kind, ['position[name=knee]'])


@pytest.mark.parametrize('kind', CASES)
def test_the_codec_keeps_the_contract_with_every_message(kind: str) -> None:
    paths, fill = CASES[kind]

    def make() -> Any:
        message = new_message(store(), kind)
        fill(message, 1.0)
        return message

    check_codec(FieldCodec(spec(*paths)), make, np.array([0.25, -0.75]))


def spec(*paths: str) -> ActionSpec:
    names = expand(paths)
    return ActionSpec(names, (-1.0,) * len(names), (1.0,) * len(names), 0.1)


def rclpy_joints() -> Any:
    return pytest.importorskip('sensor_msgs.msg', reason='no ROS 2 messages').JointState()


def rosbags_joints() -> Any:
    return new_message(STORE, 'sensor_msgs/msg/JointState')


@pytest.mark.parametrize('make', [rclpy_joints, rosbags_joints])
def test_joints_are_commanded_by_name(make: Any) -> None:
    codec = FieldCodec(spec('position[name=arm/elbow,wrist.1]', 'velocity[name=wrist.1]'))
    assert codec.spec.fields[1] == 'position[name=wrist.1]'
    message = codec.decode(np.array([0.5, -0.25, 2.0]), make())
    assert list(message.name) == ['arm/elbow', 'wrist.1']
    assert list(message.position) == [0.5, -0.25]
    assert list(message.velocity) == [0.0, 2.0]
    message.name = ['wrist.1', 'arm/elbow']
    assert codec.encode(message).tolist() == [-0.25, 0.5, 0.0]
    codec.decode(np.array([1.0, 2.0, 3.0]), message)
    assert list(message.position) == [2.0, 1.0]


def test_a_trajectory_point_is_commanded_by_the_names_around_it() -> None:
    message = new_message(STORE, 'trajectory_msgs/msg/JointTrajectory')
    message.points = [new_message(STORE, 'trajectory_msgs/msg/JointTrajectoryPoint')]
    codec = FieldCodec(spec('points[0].positions[joint_names=elbow,wrist]'))
    codec.decode(np.array([1.0, 2.0]), message)
    assert message.joint_names == ['elbow', 'wrist']
    assert message.points[0].positions.tolist() == [1.0, 2.0]
    assert codec.encode(message).tolist() == [1.0, 2.0]


def test_a_name_that_is_missing_lists_those_that_are_there() -> None:
    message = SimpleNamespace(name=['elbow'], position=[1.0])
    with pytest.raises(NameMissingError, match="the message has no 'knee'; its names: elbow"):
        FieldReader(['position[name=knee]'])(message)
    with pytest.raises(CodecError, match="SimpleNamespace has no field 'names'"):
        FieldReader(['position[names=elbow]'])(message)
    message.position = []
    with pytest.raises(CodecError, match="'position' has 0 elements"):
        FieldReader(['position[name=elbow]'])(message)


def test_the_same_joint_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'position\[name=a\]': named more than once"):
        expand(['position[name=a,b]', 'position[name=a]'])
    for path in ('position[name=]', 'position[name=a,]', 'position[=a]', 'position[name=a]x'):
        with pytest.raises(ValueError, match='not a field path'):
            expand([path])
