# SPDX-License-Identifier: Apache-2.0
"""
Check the topics of a robot: names, types, images, rate, latency and clock.

They are those of a recording, or of a robot that runs now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from smwm_ros.config import Config, Robot
from smwm_ros.errors import did_you_mean
from smwm_ros.text import count_of

if TYPE_CHECKING:
    from smwm_ros.bags.survey.traffic import Traffic
    from smwm_ros.evaluation.preflight import Check

LEAST_RATE = 0.8  # of images, as a share of that of control
AHEAD = 0.1  # of a stamp in the future that counts as a wrong clock [s]
FOREIGN = 3600.0  # difference from which stamps are from another clock, such as simulated time [s]
Types = Mapping[str, Sequence[str]]  # topics and their types


def check_topics(robot: Robot, types: Types, where: str, live: bool = False) -> Check:
    """Check whether the topics of the robot exist, with the right types."""
    from smwm_ros.bags.reading.commands import is_command
    from smwm_ros.evaluation.preflight import judged

    camera, command = robot.camera, robot.command
    wrong = [
        text
        for topic in camera.topics
        if (text := topic_problem('robot.camera.topic', topic, camera.type, types))
    ]
    # Images alone can be checked, too, unless commands were recorded on another topic. A running
    # robot need not receive any now.
    if command.topic in types or (not live and any(map(is_command, types))):
        text = topic_problem('robot.command.topic', command.topic, command.type, types)
        wrong += [text] if text else []
    found = ', '.join(topic for topic in (*camera.topics, command.topic) if topic in types)
    return judged(
        'topics',
        not wrong,
        '; '.join(wrong) or f'{where}: {found}, with the configured types',
        'start the drivers of the robot, or correct topics and types of robot.camera and '
        'robot.command',
    )


def topic_problem(knob: str, topic: str, kind: str, types: Types) -> str:
    """Return why a topic cannot be used, or ''."""
    if topic not in types:
        return _missing(knob, topic, kind, types)
    if kind not in types[topic]:
        return f'{topic} is of type {", ".join(types[topic])}, expected {kind}'
    return ''


def _missing(knob: str, topic: str, kind: str, types: Types) -> str:
    """Return that a topic does not exist, and which ones of its type do."""
    from smwm_ros.codec.transport import transport_hint

    if hint := transport_hint(topic, kind, types):
        return f"no topic '{topic}' ({knob}); {hint}"
    same = [name for name, kinds in types.items() if kind in kinds]
    choices = (
        did_you_mean(topic, same)
        if same
        else f'none; there are {", ".join(sorted(types)) or "no topics"}'
    )
    return f"no topic '{topic}' ({knob}); of type {kind}: {choices}"


def check_traffic(
    config: Config, traffic: Mapping[str, Traffic], image_size: int, live: bool
) -> Iterator[Check]:
    """Check the images of each camera, how often they come, and how old they are."""
    from smwm_ros.evaluation.preflight import Check, judged

    for topic in config.robot.camera.topics:
        of = traffic.get(topic)
        if of is None or not len(of.received):
            what = f'no image came on {topic}'
            yield Check('camera', False, what, 'start the driver of the camera')
            continue
        yield _check_images(topic, of, image_size)
        wanted = 1 / config.robot.dt
        yield judged(
            'rate',
            of.rate >= LEAST_RATE * wanted,
            f'{of.rate:.1f} images/s on {topic}, expected at least {LEAST_RATE * wanted:.1f} for '
            f'robot.dt={config.robot.dt:g}',
            'raise the rate of the camera, or free the processor or the network that carries it; '
            'else train with a longer robot.dt',
        )
        yield _check_clock(config, topic, of, live)


def _check_images(topic: str, of: Traffic, image_size: int) -> Check:
    """Check whether images can be read, are all alike, and are large enough."""
    from smwm_ros.evaluation.preflight import Check, judged

    if of.flaw:
        remedy = 'set the encoding or the format of the camera to one of these'
        return Check('camera', False, of.flaw, remedy)
    least = min(min(_size(kind)) for kind in of.images)
    good = len(of.images) == 1 and least >= image_size
    return judged(
        'camera',
        good,
        f'{", ".join(of.images)} on {topic}, expected one kind of image, of at least '
        f'{image_size}x{image_size}',
        'set one size and one encoding in the driver of the camera; other views need a model '
        'that was trained on them',
    )


def _size(kind: str) -> tuple[int, int]:
    """Return the size in words such as '640x480 rgb8'; large where it is unknown."""
    width, _, height = kind.partition(' ')[0].partition('x')
    return (int(width), int(height)) if height.isdigit() else (1 << 20, 1 << 20)


def _check_clock(config: Config, topic: str, of: Traffic, live: bool) -> Check:
    """Check the time from the header stamp of an image to its receipt."""
    from smwm_ros.evaluation.preflight import Check, judged

    node, ages = config.node, of.ages
    measure = 'set node.camera_delay to the time from exposure to receipt'
    if ages is None:
        known = node.camera_delay >= 0
        what = f'images on {topic} have no stamps, so their latency is unknown'
        return Check('latency', True, what, '' if known else measure)
    age = median(ages.tolist())
    what = f'images on {topic} are received {_time(age)} after their stamp'
    if age < 0:
        what = f'stamps on {topic} are {_time(-age)} in the future'
    if abs(age) > FOREIGN and not live:
        return Check('clock', True, f'{what}: another clock, such as simulated time', measure)
    if abs(age) > FOREIGN or age < -AHEAD:
        return judged(
            'clock',
            node.camera_delay >= 0,
            f'{what}, expected at most {AHEAD:g} s',
            f'synchronise the clocks of camera and computer (chrony, PTP), or {measure}',
        )
    return judged(
        'latency',
        age <= node.image_timeout or node.camera_delay >= 0,
        f'{what}, expected at most {node.image_timeout:g} s (node.image_timeout)',
        f'shorten the way of the images (size, compression, network), or {measure}',
    )


def _time(seconds: float) -> str:
    """Return a time in words."""
    if seconds >= FOREIGN:
        return count_of(round(seconds / 3600), 'hour')
    return f'{seconds:.2f} s'
