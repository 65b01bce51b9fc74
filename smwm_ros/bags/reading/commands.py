# SPDX-License-Identifier: Apache-2.0
"""Tell commands from measurements by topic name and type, and guess what stops the robot."""

from __future__ import annotations

from collections.abc import Collection
import re

from smwm_ros.bags.reading.reader import Topic
from smwm_ros.config import IMAGE_TYPES

TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
JOINTS = 'sensor_msgs/msg/JointState'
_COMMAND_WORDS = ('cmd', 'command', 'setpoint', 'desired')
_MEASUREMENT_WORDS = re.compile(
    r'(^|[^a-z])(states?|feedback|measured|actual|odom|odometry|estimated?|status)($|[^a-z])'
)
_VELOCITY_TYPES = ('Twist', 'TwistStamped', 'AckermannDrive', 'AckermannDriveStamped')
_VELOCITY_WORDS = re.compile(r'vel|speed|twist|linear|angular|effort|torque|force|throttle|accel')
_POSITION_WORDS = re.compile(r'position|pose|angle')


def is_command(topic: str) -> bool:
    """Return whether the name of a topic is that of a command."""
    return any(word in topic.lower() for word in _COMMAND_WORDS) and not is_measured(topic)


def is_measured(topic: str) -> bool:
    """Return whether the name of a topic is that of a measurement."""
    return _MEASUREMENT_WORDS.search(topic.lower()) is not None


def command_rank(topic: Topic, known: bool, moves: bool) -> int | None:
    """
    Return how likely a topic is the command topic: 0 is the most likely, None is impossible.

    known: its type is one of the usual command types; moves: some of its fields vary.
    """
    kind = topic.type.rpartition('/')[2]
    if is_command(topic.name):
        return 0 if known and moves else 1 if moves else 3
    if not (known and moves):
        return None
    if topic.type == TRAJECTORY:  # never a measurement
        return 2
    if topic.type == JOINTS or is_measured(topic.name):
        return 6 if is_measurement(topic) else None
    return 4 if kind in _VELOCITY_TYPES else 5


def is_measurement(topic: Topic) -> bool:
    """Return whether a topic that was chosen for the commands is a measurement."""
    return topic.type == JOINTS and not is_command(topic.name)


def first_robot(topics: Collection[Topic]) -> tuple[list[Topic], list[str]]:
    """
    Return the topics of the first robot, and a remark if there are several robots.

    Namespaces are robots if they contain the same command topic and the same camera topic.
    """
    twins: dict[tuple[str, str], set[str]] = {}
    for topic in topics:
        space, _, rest = topic.name.lstrip('/').partition('/')
        if rest and topic.messages:
            twins.setdefault((rest, topic.type), set()).add(space)
    commands = [spaces for (rest, _), spaces in twins.items() if is_command(rest)]
    cameras = [spaces for (_, kind), spaces in twins.items() if kind in IMAGE_TYPES]
    robots = max((a & b for a in commands for b in cameras), key=len, default=set())
    if len(robots) < 2:
        return list(topics), []
    names = sorted(robots)
    others = tuple(f'/{name}/' for name in names[1:])
    mine = [topic for topic in topics if not topic.name.startswith(others)]
    every = ', '.join(f'/{name}' for name in names)
    return mine, [
        f'{len(names)} robots are in the bag: {every}; this configuration is for /{names[0]}. '
        'Convert the bag once for each robot, with the topics of that robot'
    ]


def command_warning(topic: Topic) -> str:
    """Return why a proposed command topic may not be one, or ''."""
    if is_measurement(topic):
        return (
            f'no command topic was recorded: {topic.name} is a measurement. With '
            'dataset.action=next_state_delta its changes are used as actions. A model can be '
            'trained on them, but the plan node does not accept it. Record the command topic to '
            'drive the robot'
        )
    if is_command(topic.name) or topic.type == TRAJECTORY:
        return ''
    return (
        f'{topic.name} was chosen as the command by its type alone: check that the robot follows '
        'it, and that it is not a measurement'
    )


def stop_mode(topic: Topic, fields: Collection[str], has_zeros: bool) -> tuple[str, str]:
    """
    Return the value of robot.command.stop (zero or hold), and a warning or ''.

    has_zeros: in some message of the topic, all fields are zero.
    """
    if topic.type.rpartition('/')[2] in _VELOCITY_TYPES:
        return 'zero', ''
    for text in (' '.join(fields), topic.name):  # field names are more reliable than the topic's
        text = re.sub(r'\[[^]]*\]', '', text.lower())  # without joint names
        if _VELOCITY_WORDS.search(text):
            return 'zero', ''
        if _POSITION_WORDS.search(text) or topic.type == TRAJECTORY:
            return 'hold', ''
    if has_zeros:
        return 'zero', (
            f'some messages of {topic.name} are all zeros, so it is assumed to hold velocities, '
            'and zeros stop the robot. If it holds positions, set robot.command.stop: hold, '
            'otherwise a stop drives the robot to position zero'
        )
    return 'hold', (
        f'no message of {topic.name} is all zeros, so it is assumed to hold positions, and a stop '
        'repeats the last one. If it holds velocities, set robot.command.stop: zero, otherwise '
        'the robot does not stop'
    )


def hold_advice(stop: str) -> str:
    """Return how to keep ticks after dataset.hold, for a value of robot.command.stop."""
    if stop == 'hold':
        return 'if the robot stays at the last position, set a larger dataset.hold to keep them'
    return 'set dataset.after_hold=zero to keep them with a zero action'
