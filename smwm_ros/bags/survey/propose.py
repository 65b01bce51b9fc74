# SPDX-License-Identifier: Apache-2.0
"""Propose a configuration that converts a bag, from what was heard of its topics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.bags.reading.clock import Clock, MAX_CLOCK_DIFFERENCE
from smwm_ros.bags.reading.commands import (
    command_rank,
    command_warning,
    first_robot,
    hold_advice,
    is_measurement,
    JOINTS,
    stop_mode,
    TRAJECTORY,
)
from smwm_ros.bags.reading.reader import Topic
from smwm_ros.bags.survey.scan import Heard, Limits, Scan
from smwm_ros.config import Dataset, IMAGE_TYPES
from smwm_ros.interfaces import Array

# Numbers of common messages that may steer a robot or measure it; those that vary are proposed.
_TWIST = ('linear.x', 'linear.y', 'linear.z', 'angular.x', 'angular.y', 'angular.z')
_JOINTS = ('position', 'velocity', 'effort')
_POINT = ('points[0].positions', 'points[0].velocities')
COMMANDS = {
    'geometry_msgs/msg/Twist': _TWIST,
    'geometry_msgs/msg/TwistStamped': tuple(f'twist.{name}' for name in _TWIST),
    'ackermann_msgs/msg/AckermannDrive': ('steering_angle', 'speed'),
    'ackermann_msgs/msg/AckermannDriveStamped': ('drive.steering_angle', 'drive.speed'),
    'std_msgs/msg/Float64MultiArray': ('data',),
    'std_msgs/msg/Float32MultiArray': ('data',),
    TRAJECTORY: _POINT,
    JOINTS: _JOINTS,
}
_STATES = {  # the first that there is
    'nav_msgs/msg/Odometry': tuple(f'pose.pose.position.{axis}' for axis in 'xyz'),
    'geometry_msgs/msg/PoseStamped': tuple(f'pose.position.{axis}' for axis in 'xyz'),
    JOINTS: _JOINTS,
}
FIELDS = {**_STATES, **COMMANDS}
_EITHER = (*_POINT, *_JOINTS)  # one of these is enough, the first that varies
_DEPTH = ('16UC1', '32FC1', 'compressedDepth')
_USUAL, _SLOWEST = 0.1, 0.2  # control periods: of all shipped configurations, and at most [s]
_STEP = 0.5  # of a model: the world visibly moves in it [s]


class Proposal(NamedTuple):
    """Sections of a configuration, and what a user must know of them."""

    robot: dict[str, Any]
    dataset: dict[str, Any]
    clock: Clock | None
    remarks: list[str]


def propose(
    topics: Collection[Topic],
    scan: Scan,
    images: Mapping[str, Mapping[str, Any]],
    clock_of: Callable[[list[str]], Clock],
) -> Proposal:
    """
    Propose a camera, commands and state.

    images tells what each image topic shows, and clock_of which clock orders some topics.
    """
    topics, remarks = first_robot(topics)
    camera, cameras = choose_camera(topics, images)
    moving = [topic for topic in topics if _varying(topic, scan)]
    command = _command(topics, moving, scan)
    state = _state([topic for topic in moving if topic != command])
    robot: dict[str, Any] = {}
    if camera:
        robot['camera'] = {'topic': camera.name, 'type': camera.type}
        if cameras:
            remarks.append(f'further cameras, for robot.camera.others: {" ".join(cameras)}')
            remarks += _clocks_apart([camera.name, *cameras], scan)
    if command:
        robot['command'], remark = _fields(command, scan)
        remarks += remark
    if state:
        fields = list(_chosen(_varying(state, scan)))
        robot['state'] = {'topic': state.name, 'type': state.type, 'fields': fields}
    used = {topic.name: scan.heard[topic.name] for topic in (camera, command, state) if topic}
    clock = clock_of(list(used)) if camera and command else None
    dataset, remark = _timing(robot, used, clock.base if clock else 'receive')
    if command and is_measurement(command):
        _use_changes(robot['command'], dataset)
    return Proposal(robot, dataset, clock, remarks + remark)


def choose_camera(
    topics: Collection[Topic], images: Mapping[str, Mapping[str, Any]]
) -> tuple[Topic | None, list[str]]:
    """Return the busiest camera that can be read, colour before depth, and others like it."""
    seen = [
        (any(word in images[topic.name]['encoding'] for word in _DEPTH), -topic.messages, topic)
        for topic in topics
        if 'encoding' in images.get(topic.name, {})
    ]
    if not seen:
        return None, []
    best = min(seen, key=lambda item: (item[0], item[1], IMAGE_TYPES.index(item[2].type)))[2]
    same = [topic.name for _, _, topic in seen if topic.type == best.type and topic != best]
    return best, sorted(same)


def _clocks_apart(cameras: list[str], scan: Scan) -> list[str]:
    """Say which cameras have headers of another clock than the first."""
    offsets = {
        name: float(np.median(stamps.offset()))
        for name in cameras
        if (stamps := scan.heard[name].stamps()) and (stamps.header > 0).all()
    }
    first = cameras[0]
    return [
        f'headers of {name} are {offset - offsets[first]:+.3g} s from those of {first}: set '
        'dataset.camera_time: receive to use both'
        for name, offset in offsets.items()
        if first in offsets and abs(offset - offsets[first]) > MAX_CLOCK_DIFFERENCE
    ]


def _command(topics: Collection[Topic], moving: Collection[Topic], scan: Scan) -> Topic | None:
    """Return the busiest topic of those that stand for commands best, by what they are."""
    ranked: dict[int, list[Topic]] = {}
    for topic in topics:
        place = command_rank(topic, topic.type in COMMANDS, topic in moving)
        if topic.messages and _limits(topic, scan) and place is not None:
            ranked.setdefault(place, []).append(topic)
    return _busiest(ranked[min(ranked)]) if ranked else None


def _state(moving: Collection[Topic]) -> Topic | None:
    """Return the busiest topic of the kind of state that tells most."""
    for kind in _STATES:
        if found := _busiest([topic for topic in moving if topic.type == kind]):
            return found
    return None


def _fields(command: Topic, scan: Scan) -> tuple[dict[str, Any], list[str]]:
    """Return the section of the command, and what is left out of it."""
    every, chosen = _limits(command, scan), _chosen(_varying(command, scan))
    still = [name for name in every if name not in _varying(command, scan)]
    words = ', '.join(f'{name} ({every[name][0]:g})' for name in still)
    remarks = [f'left out of {command.name}, for they never change: {words}'] if still else []
    if not chosen:
        remarks = [f'{command.name} never changes, so nothing can be learned of it: {words}']
        chosen = {name: (low - 1, high + 1) for name, (low, high) in _chosen(every).items()}
    section = {
        'topic': command.name,
        'type': command.type,
        'fields': list(chosen),
        'low': [floor(10_000 * low) / 10_000 for low, _ in chosen.values()],
        'high': [ceil(10_000 * high) / 10_000 for _, high in chosen.values()],
    }
    section['stop'], remark = stop_mode(command, chosen, scan.heard[command.name].has_zeros)
    return section, [*remarks, *filter(None, (command_warning(command), remark))]


def _use_changes(command: dict[str, Any], dataset: dict[str, Any]) -> None:
    """Let changes of what was measured stand for commands: no tick changes more than all did."""
    spans = [
        round(high - low, 4) for low, high in zip(command['low'], command['high'], strict=True)
    ]
    command['low'], command['high'] = [-span for span in spans], spans
    dataset['action'] = 'next_state_delta'


def _timing(
    robot: dict[str, Any], used: Mapping[str, Heard], base: str
) -> tuple[dict[str, Any], list[str]]:
    """Set the control period; return what follows from it, and from the rates heard."""
    usual, dataset, remarks = Dataset(), dict[str, Any](), list[str]()
    periods = {
        part: used[robot[part]['topic']].period(base)
        for part in ('camera', 'command', 'state')
        if part in robot
    }
    if periods.get('camera') or periods.get('command'):
        robot['dt'], why = _control_period(periods.get('camera', 0.0), periods.get('command', 0.0))
        block = dataset['action_block'] = max(round(_STEP / robot['dt']), 1)
        step = f'a model step of {block * robot["dt"]:.2g} s, in which the world visibly moves'
        remarks += [why, f'dataset.action_block={block}: {step}']
    oldest = _later(max(periods.get('camera', 0.0), periods.get('state', 0.0)))
    if oldest > usual.max_frame_age:
        dataset['max_frame_age'] = oldest
    hold = _later(periods.get('command', 0.0))
    if hold > usual.hold:
        dataset['hold'] = hold
    if 'command' in robot:
        topic, hold = robot['command']['topic'], max(hold, usual.hold)
        frames = robot.get('camera', robot['command'])['topic']
        silent = _silence(used[topic].times(base), used[frames].times(base))
        if silent > hold:
            keep = hold_advice(robot['command']['stop'])
            remarks.append(
                f'{topic} is silent for up to {silent:.3g} s: ticks later than dataset.hold='
                f'{hold:g} s are dropped; {keep}'
            )
    return dataset, remarks


def _silence(commands: Array, frames: Array) -> float:
    """Return how long no command came at most, while frames did [s]."""
    begin, end = min(frames[0], commands[0]), max(frames[-1], commands[-1])
    return float(np.diff(commands, prepend=begin, append=end).max()) / 1e9


def _control_period(camera: float, command: float) -> tuple[float, str]:
    """
    Return the control period for the periods of camera and commands [s], and why this one.

    A whole number of frames, so that ticks see new frames that are evenly apart.
    """
    wanted = float(np.clip(command, _USUAL, _SLOWEST))  # not faster than commands, if they allow
    frames, dt = 1, wanted
    if camera > 0:  # damaged stamps may run backwards
        most = max(int(_SLOWEST / camera + 0.05), 1)
        near = int(wanted / camera)  # the best is this or the next; periods may be of nanoseconds
        candidates = {min(max(n, 1), most) for n in (near, near + 1)}
        frames = min(candidates, key=lambda n: abs(np.log(n * camera / wanted)))
        dt = min(frames * camera, 10.0)
    # Hundredths of a second where a clock may be that wrong, else upwards: no frame comes twice.
    dt = round(dt, 2) if abs(round(dt, 2) - dt) <= 0.005 * dt else ceil(1e4 * dt - 1e-3) / 1e4
    why = f'robot.dt={dt:g}: '
    if camera > 0:
        each = 'every frame' if frames == 1 else f'one frame in {frames}'
        why += f'{each} of a camera of {1 / camera:.3g} Hz, so that each tick sees a new one; '
    why += f'{1 / _USUAL:g} Hz is usual for models, 5 to 20 Hz will do'
    if command > 1.05 * dt:
        why += f'; a command, which comes every {command:.3g} s, is held until the next'
    return dt, why


def _later(period: float) -> float:
    """Return when what comes once in a period is late, jitter allowed for [s]."""
    return ceil(150 * period - 0.2) / 100


def _limits(topic: Topic, scan: Scan) -> Limits:
    return scan.heard[topic.name].limits() if topic.name in scan.heard else {}


def _varying(topic: Topic, scan: Scan) -> Limits:
    """Return the fields of a topic that take more than one value, beyond noise of a float32."""
    return {
        name: (low, high)
        for name, (low, high) in _limits(topic, scan).items()
        if high - low > 1e-6 * max(abs(low), abs(high), 1.0)
    }


def _chosen(limits: Limits) -> Limits:
    """Return the fields to propose: positions, say, and not velocities beside them."""
    for head in _EITHER:
        if mine := {name: span for name, span in limits.items() if name.startswith(f'{head}[')}:
            return mine
    return limits


def _busiest(topics: Collection[Topic]) -> Topic | None:
    """Return the topic that has the most messages."""
    return max(topics, key=lambda topic: topic.messages, default=None)
