# SPDX-License-Identifier: Apache-2.0
"""
Look into a bag and tell what a user must know before converting it.

Counts and rates are of the whole bag; gaps and limits are of what was scanned, the whole bag
unless it is very large, and the survey says how much that was.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.bags.clock import Stamps
from smwm_ros.bags.find import Bag
from smwm_ros.bags.read import BagReader, Message, Topic, with_rescue
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.core.images import fit, to_rgb
from smwm_ros.core.interfaces import Array
from smwm_ros.errors import CodecError
from smwm_ros.fieldpath import parse_path

_SCAN = 1 << 30  # as much of a bag is read for gaps and limits [bytes]
_LOOKS = 24  # places in a bag where clocks are compared
_THUMBNAIL = 128  # [px]
# Numbers of common messages that may steer a robot or measure it; those that vary are proposed.
_TWIST = ('linear.x', 'linear.y', 'linear.z', 'angular.x', 'angular.y', 'angular.z')
_COMMANDS = {
    'geometry_msgs/msg/Twist': _TWIST,
    'geometry_msgs/msg/TwistStamped': tuple(f'twist.{name}' for name in _TWIST),
    'ackermann_msgs/msg/AckermannDrive': ('steering_angle', 'speed'),
    'ackermann_msgs/msg/AckermannDriveStamped': ('drive.steering_angle', 'drive.speed'),
    'std_msgs/msg/Float64MultiArray': ('data',),
    'std_msgs/msg/Float32MultiArray': ('data',),
    'trajectory_msgs/msg/JointTrajectory': ('points[0].positions',),
    'sensor_msgs/msg/JointState': ('position',),
}
_STATES = {
    'nav_msgs/msg/Odometry': tuple(f'pose.pose.position.{axis}' for axis in 'xyz'),
    'geometry_msgs/msg/PoseStamped': tuple(f'pose.position.{axis}' for axis in 'xyz'),
    'sensor_msgs/msg/JointState': ('position',),
}


class Scan(NamedTuple):
    """What reading the messages one by one told."""

    share: float  # of the bag that was read
    gaps: dict[str, float]  # longest silence of each topic [s]
    periods: dict[str, float]  # from one message of each topic to the next, median [s]
    values: dict[str, dict[str, tuple[float, float]]]  # topic -> field -> smallest and largest


def survey(bag: Bag) -> dict[str, Any]:
    """Return all that is worth knowing of a bag, as plain data."""
    return with_rescue(bag, _survey)


def _survey(reader: BagReader) -> dict[str, Any]:
    """Describe an open bag."""
    names = [topic.name for topic in reader.topics.values() if topic.messages]
    seconds = max((reader.end - 1 - reader.start) / 1e9, 0.0)
    scan = _scan(reader, names)
    glances = list(reader.glance(names, _LOOKS))
    topics = []
    for topic in sorted(reader.topics.values()):
        entry: dict[str, Any] = {**topic._asdict()}
        if topic.messages > 1 and seconds:
            entry['rate'] = round((topic.messages - 1) / seconds, 3)
            entry['longest_gap'] = round(scan.gaps.get(topic.name, 0.0), 3)
        mine = [message for message in glances if message.topic == topic.name]
        if mine and reader.has_header(topic.name):
            entry['header'] = _header(reader, mine)
        if mine and topic.type in IMAGE_TYPES:
            entry['image'] = _image(reader, mine[0])
        topics.append(entry)
    robot = propose(reader.topics.values(), scan)
    return {
        'kind': 'bag',
        'path': reader.where,
        'bytes': reader.bag.size(),
        'messages': reader.count,
        'seconds': round(seconds, 3),
        'notes': reader.notes,
        'scanned': round(scan.share, 3),
        'topics': topics,
        'robot': robot,
        'constant': _constant(robot, scan),
    }


def thumbnails(bag: Bag, count: int = 12) -> Array:
    """Return frames of the busiest camera from all over a bag, side by side."""

    def look(reader: BagReader) -> Array:
        camera = _busiest(reader.topics.values(), IMAGE_TYPES)
        tiles = []
        for message in reader.glance([camera.name], count) if camera else ():
            try:
                tiles.append(fit(to_rgb(reader.decode(message)), _THUMBNAIL, 'letterbox'))
            except CodecError:
                tiles.append(np.full((_THUMBNAIL, _THUMBNAIL, 3), (200, 0, 0), np.uint8))
        blank = np.zeros((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)
        strip: Array = cv2.hconcat((tiles + [blank] * count)[:count])
        return strip

    return with_rescue(bag, look)


def propose(topics: Collection[Topic], scan: Scan) -> dict[str, Any]:
    """Propose a robot configuration: the busiest camera, what varies of commands and state."""
    moving = [topic for topic in topics if _varying(topic.name, scan)]
    named = [topic for topic in topics if 'cmd' in topic.name or 'command' in topic.name]
    camera = _busiest(topics, IMAGE_TYPES)
    command = (
        _busiest([topic for topic in named if topic in moving], _COMMANDS)
        or _busiest(named, _COMMANDS)
        or _busiest(moving, _COMMANDS)
    )
    state = _busiest([topic for topic in moving if topic != command], _STATES)
    robot: dict[str, Any] = {}
    if camera:
        robot['camera'] = {'topic': camera.name, 'type': camera.type}
    if command:
        limits = _varying(command.name, scan) or {
            name: (low - 1, high + 1) for name, (low, high) in scan.values[command.name].items()
        }
        robot['command'] = {
            'topic': command.name,
            'type': command.type,
            'fields': list(limits),
            'low': [round(low, 4) for low, _ in limits.values()],
            'high': [round(high, 4) for _, high in limits.values()],
        }
    if state:
        fields = list(_varying(state.name, scan))
        robot['state'] = {'topic': state.name, 'type': state.type, 'fields': fields}
    periods = [scan.periods.get(topic.name, 0.0) for topic in (camera, command) if topic]
    if any(periods):
        # As long as the slower of the two takes, in whole hundredths of a second.
        robot['dt'] = float(np.clip(np.ceil(100 * max(periods) - 0.2) / 100, 0.02, 10.0))
    return robot


def _constant(robot: Mapping[str, Any], scan: Scan) -> dict[str, float]:
    """Return the fields of the proposed commands that never changed, and what they were."""
    limits = scan.values.get(robot.get('command', {}).get('topic', ''), {})
    return {name: low for name, (low, high) in limits.items() if not _varies(low, high)}


def _scan(reader: BagReader, names: list[str]) -> Scan:
    """Read messages one by one for silences, and for the values of what may be commands."""
    stamps: dict[str, array[int]] = {name: array('q') for name in names}
    values: dict[str, dict[str, tuple[float, float]]] = {}
    read = messages = 0
    for message in reader.messages(names):
        stamps[message.topic].append(message.stamp)
        kind = reader.topics[message.topic].type
        fields = _COMMANDS.get(kind) or _STATES.get(kind)
        if fields:
            _widen(values.setdefault(message.topic, {}), fields, reader, message)
        messages += 1
        read += len(message.data)
        if read > _SCAN:
            break
    steps = {name: np.diff(found) / 1e9 for name, found in stamps.items() if len(found) > 1}
    gaps = {name: float(step.max()) for name, step in steps.items()}
    periods = {name: float(np.median(step)) for name, step in steps.items()}
    return Scan(messages / reader.count, gaps, periods, values)


def _widen(
    limits: dict[str, tuple[float, float]],
    fields: Collection[str],
    reader: BagReader,
    message: Message,
) -> None:
    """Widen the limits of each field by the numbers of a message."""
    try:
        msg = reader.decode(message)
    except CodecError:
        return
    for field in fields:
        numbers = _numbers(msg, field)
        for index, number in enumerate(np.ravel(numbers).tolist()):
            name = f'{field}[{_which(msg, index)}]' if np.ndim(numbers) else field
            low, high = limits.get(name, (number, number))
            limits[name] = (min(low, number), max(high, number))


def _which(msg: Any, index: int) -> str:
    """Return what stands in the brackets for an element: its name where the message has names."""
    for field in ('name', 'joint_names'):
        names = getattr(msg, field, ())
        if index < len(names) and not set(names[index]) & set('[],='):
            return f'{field}={names[index]}'
    return str(index)


def _numbers(msg: Any, field: str) -> Any:
    """Return a number of a message, or a whole array of them; an empty one has no elements."""
    for step in parse_path(field):
        msg = getattr(msg, step.name)
        if isinstance(step.at, int):
            if step.at >= len(msg):
                return np.zeros(0)
            msg = msg[step.at]
    return msg


def _varying(topic: str, scan: Scan) -> dict[str, tuple[float, float]]:
    """Return the fields of a topic that take more than one value."""
    limits = scan.values.get(topic, {})
    return {name: (low, high) for name, (low, high) in limits.items() if _varies(low, high)}


def _varies(low: float, high: float) -> bool:
    """Tell whether two limits are apart by more than the noise of a float32."""
    return high - low > 1e-6 * max(abs(low), abs(high), 1.0)


def _busiest(topics: Collection[Topic], kinds: Collection[str]) -> Topic | None:
    """Return the topic of some types that has the most messages."""
    found = [topic for topic in topics if topic.type in kinds and topic.messages]
    return max(found, key=lambda topic: topic.messages, default=None)


def _header(reader: BagReader, messages: list[Message]) -> dict[str, float | str]:
    """Compare header and receive stamps."""
    header = np.array([reader.header_stamp(message) for message in messages], np.int64)
    stamps = Stamps(header, np.array([message.stamp for message in messages], np.int64))
    if (header <= 0).any():
        return {'flaw': 'no stamp'}
    ahead = stamps.offset()
    return {
        'offset': round(float(np.median(ahead)), 4),  # header minus receive [s]
        'drift': round(float(ahead[-1] - ahead[0]), 4),  # of the offset, over the bag [s]
    }


def _image(reader: BagReader, message: Message) -> dict[str, Any]:
    """Describe the images of a topic by one of them."""
    try:
        msg = reader.decode(message)
        height, width = to_rgb(msg).shape[:2]
    except CodecError as error:
        return {'flaw': str(error)}
    encoding = msg.encoding if hasattr(msg, 'encoding') else msg.format
    return {'width': width, 'height': height, 'encoding': encoding}
