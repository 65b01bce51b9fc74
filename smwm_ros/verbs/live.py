# SPDX-License-Identifier: Apache-2.0
"""Record a running robot for some seconds, and check what only a running robot shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

from smwm_ros.config import Robot
from smwm_ros.text import count_of

if TYPE_CHECKING:
    from smwm_ros.evaluation.preflight import Check
    from smwm_ros.nodes.listener import Endpoint, RobotGraph

SECONDS = 10  # by default
_REMAP = 'start the driver of the robot, or correct robot.command'


class Heard(NamedTuple):
    """What was received of a running robot."""

    robot: Robot  # with the cameras as they are published
    graph: RobotGraph
    bag: Path | None  # None if no image came


def listen(
    robot: Robot, reliability: str, seconds: int, folder: Path, msgs: Sequence[Path]
) -> Heard:
    """Record cameras and commands of a running robot into a bag; publish nothing."""
    from smwm_ros.bags.writing.raw import open_writer
    from smwm_ros.nodes.listener import Listener
    from smwm_ros.progress import show_progress

    bag, images = folder / 'live', 0
    with Listener(robot, reliability) as listener:
        robot = listener.find_cameras()
        types = dict.fromkeys(robot.camera.topics, robot.camera.type)
        types[robot.command.topic] = robot.command.type

        def write(topic: str, data: bytes, received: int) -> None:
            nonlocal images
            images += topic == robot.camera.topic
            writer.write(topic, data, received)

        with (
            open_writer(bag, types, msgs) as writer,
            show_progress(total=seconds, desc='listening', unit='s') as bar,
        ):
            graph = listener.listen(seconds, write, bar.update)
    return Heard(robot, graph, bag if images else None)


def check_nodes(robot: Robot, graph: RobotGraph) -> Iterator[Check]:
    """Check whether the plan node would reach the nodes of the robot, and be alone."""
    from smwm_ros.evaluation.preflight import Check, judged

    for topic in robot.camera.topics:
        unfit = [one for one in graph.publishers[topic] if one.unfit]
        yield judged(
            'qos',
            not unfit,
            _misfits(topic, unfit) or f'{topic}: the QoS of the plan node fits',
            'set node.camera_reliability=best_effort, or the QoS of the camera to reliable',
        )
    yield _check_driver(robot, graph)
    topic = robot.command.topic
    if others := sorted({one.node for one in graph.publishers[topic]}):
        yield Check(
            'commander',
            True,
            f'{", ".join(others)} publishes commands on {topic}',
            'end it, unless that is the plan node, which stops with CONTESTED beside another one',
        )


def _check_driver(robot: Robot, graph: RobotGraph) -> Check:
    """Check whether a node receives commands."""
    from smwm_ros.errors import did_you_mean
    from smwm_ros.evaluation.preflight import Check, judged

    topic, kind = robot.command.topic, robot.command.type
    typed = [one for one in graph.drivers if one.type == kind]
    if not typed:
        others = sorted({f'{one.node} ({one.type})' for one in graph.drivers})
        heard = [name for name, kinds in graph.heard.items() if kind in kinds]
        what = f'no node subscribes to {topic} with {kind}'
        if others:
            what += f', but {", ".join(others)}'
        elif heard:
            what += f'; topics with such a subscriber: {did_you_mean(topic, heard)}'
        return Check('driver', False, what, _REMAP)
    unfit = [one for one in typed if one.unfit]
    return judged(
        'driver',
        len(unfit) < len(typed),
        _misfits(topic, unfit) or f'{count_of(len(typed), "node")} subscribes to {topic}',
        'let the driver subscribe volatile, as the plan node publishes volatile and reliable',
    )


def _misfits(topic: str, unfit: Sequence[Endpoint]) -> str:
    """Name the nodes whose QoS does not fit."""
    return '; '.join(f'{topic}: QoS of {one.node}: {one.unfit}' for one in unfit)
