# SPDX-License-Identifier: Apache-2.0
"""What the topics of a bag are by name and type: commands, or measurements; what stops a robot."""

from __future__ import annotations

from collections.abc import Collection
import re

from smwm_ros.bags.reading.reader import Topic
from smwm_ros.config import IMAGE_TYPES

TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
JOINTS = 'sensor_msgs/msg/JointState'
_NAMED = ('cmd', 'command', 'setpoint', 'desired')
_MEASURED = re.compile(
    r'(^|[^a-z])(states?|feedback|measured|actual|odom|odometry|estimated?|status)($|[^a-z])'
)
_SENT = ('Twist', 'TwistStamped', 'AckermannDrive', 'AckermannDriveStamped')
_SPEEDS = re.compile(r'vel|speed|twist|linear|angular|effort|torque|force|throttle|accel')
_PLACES = re.compile(r'position|pose|angle')


def is_command(topic: str) -> bool:
    """Tell whether a topic is called as if it commanded something."""
    return any(word in topic.lower() for word in _NAMED) and not is_measured(topic)


def is_measured(topic: str) -> bool:
    """Tell whether a topic is called as if it measured something."""
    return _MEASURED.search(topic.lower()) is not None


def rank(topic: Topic, known: bool, moves: bool) -> int | None:
    """Return how well a topic stands for commands, 0 the best; None for one that cannot."""
    kind = topic.type.rpartition('/')[2]
    if is_command(topic.name):
        return 0 if known and moves else 1 if moves else 3
    if not (known and moves):
        return None
    if topic.type == TRAJECTORY:  # nothing measures those
        return 2
    if topic.type == JOINTS or is_measured(topic.name):
        return 6 if is_measurement(topic) else None
    return 4 if kind in _SENT else 5


def is_measurement(topic: Topic) -> bool:
    """Tell whether a topic that stands for commands measures the robot in truth."""
    return topic.type == JOINTS and not is_command(topic.name)


def one_robot(topics: Collection[Topic]) -> tuple[list[Topic], list[str]]:
    """
    Return the topics of one robot, and a remark where there are several.

    Several robots are namespaces that hold the same command topic and the same camera topic.
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
        f'{len(names)} robots are in the bag: {every}; this is for /{names[0]}. Convert it once '
        'for each robot, with its topics'
    ]


def doubt(topic: Topic) -> str:
    """Say why a topic may be no command, or nothing."""
    if is_measurement(topic):
        return (
            f'no commands were recorded: {topic.name} is a measurement. With '
            'dataset.action=next_state_delta its changes stand for commands; a model can learn '
            'from them, but the plan node refuses it. Record the command topic to drive the robot'
        )
    if is_command(topic.name) or topic.type == TRAJECTORY:
        return ''
    return (
        f'{topic.name} is taken for the command by its type alone: check that the robot obeys it, '
        'and that it is no measurement'
    )


def stop_of(topic: Topic, fields: Collection[str], rests: bool) -> tuple[str, str]:
    """
    Return what stops a robot of such commands, zero or hold, and a doubt about it or nothing.

    A topic rests where some of its messages are all zeros.
    """
    if topic.type.rpartition('/')[2] in _SENT:
        return 'zero', ''
    for text in (' '.join(fields), topic.name):  # what the fields are called says most
        text = re.sub(r'\[[^]]*\]', '', text.lower())  # but not what joints are called
        if _SPEEDS.search(text):
            return 'zero', ''
        if _PLACES.search(text) or topic.type == TRAJECTORY:
            return 'hold', ''
    if rests:
        return 'zero', (
            f'{topic.name} is all zeros at times, so it is taken for velocities, and zeros stop '
            'the robot; for positions set robot.command.stop: hold, or a stop slams it'
        )
    return 'hold', (
        f'{topic.name} is never all zeros, so it is taken for positions, and a stop holds the '
        'last one; for velocities set robot.command.stop: zero, or the robot does not stop'
    )


def after_hold(stop: str) -> str:
    """Say how ticks past the hold can be kept, for a robot that stops so."""
    if stop == 'hold':
        return 'where the robot stays at the last position, a larger dataset.hold keeps them'
    return 'with dataset.after_hold=zero they count as standing still'
