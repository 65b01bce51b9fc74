# SPDX-License-Identifier: Apache-2.0
"""Propose a configuration that converts a bag, from the statistics of its topics."""

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
from smwm_ros.bags.survey.scan import Limits, Scan, TopicStats
from smwm_ros.config import Dataset, IMAGE_TYPES
from smwm_ros.interfaces import Array

# Fields of common commands and measurements; those that vary in the bag are proposed.
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
_STATES = {  # the first type in the bag is proposed
    'nav_msgs/msg/Odometry': tuple(f'pose.pose.position.{axis}' for axis in 'xyz'),
    'geometry_msgs/msg/PoseStamped': tuple(f'pose.position.{axis}' for axis in 'xyz'),
    JOINTS: _JOINTS,
}
FIELDS = {**_STATES, **COMMANDS}
_ALTERNATIVES = (*_POINT, *_JOINTS)  # only the first of these that varies is proposed
CAMERA_ONLY = (
    'dataset.action=none: there are no commands. Next, learn an action space with smwm train '
    'model.kind=latent_action, and let smwm label add the actions'
)
_DEPTH_ENCODINGS = ('16UC1', '32FC1', 'compressedDepth')
_USUAL_PERIOD, _MAX_PERIOD = 0.1, 0.2  # control period: of the shipped configurations, limit [s]
_MODEL_STEP = 0.5  # long enough for visible motion [s]


class Proposal(NamedTuple):
    """Sections of a configuration, and remarks for the user."""

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
    Propose camera, command and state topics.

    images: description of each image topic; clock_of: chooses the clock of some topics.
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
            remarks.append(
                f'the bag has further cameras; to use them, set robot.camera.others: '
                f'{" ".join(cameras)}'
            )
            remarks += _clock_remarks([camera.name, *cameras], scan)
    if command:
        robot['command'], remark = _fields(command, scan)
        remarks += remark
    if state:
        fields = list(_proposed(_varying(state, scan)))
        robot['state'] = {'topic': state.name, 'type': state.type, 'fields': fields}
    used = {topic.name: scan.topics[topic.name] for topic in (camera, command, state) if topic}
    clock = clock_of(list(used)) if camera and command else None
    dataset, remark = _timing(robot, used, clock.base if clock else 'receive')
    if command and is_measurement(command):
        _use_state_changes(robot['command'], dataset)
    if camera and not command:
        dataset['action'] = 'none'
        remarks.append(CAMERA_ONLY)
    return Proposal(robot, dataset, clock, remarks + remark)


def choose_camera(
    topics: Collection[Topic], images: Mapping[str, Mapping[str, Any]]
) -> tuple[Topic | None, list[str]]:
    """Return the camera with most messages, colour before depth, and others of its type."""

    def order(topic: Topic) -> tuple[bool, int, int]:
        encoding = images[topic.name]['encoding']
        is_depth = any(word in encoding for word in _DEPTH_ENCODINGS)
        return is_depth, -topic.messages, IMAGE_TYPES.index(topic.type)

    readable = [topic for topic in topics if 'encoding' in images.get(topic.name, {})]
    if not readable:
        return None, []
    best = min(readable, key=order)
    return best, sorted(t.name for t in readable if t.type == best.type and t != best)


def _clock_remarks(cameras: list[str], scan: Scan) -> list[str]:
    """Return remarks about cameras whose header stamps are of another clock than the first's."""
    offsets = {
        name: float(np.median(stamps.offset()))
        for name in cameras
        if (stamps := scan.topics[name].stamps()) and (stamps.header > 0).all()
    }
    first = cameras[0]
    return [
        f'header stamps of {name} are {offset - offsets[first]:+.3g} s from those of {first}: '
        'set dataset.camera_time: receive to use both'
        for name, offset in offsets.items()
        if first in offsets and abs(offset - offsets[first]) > MAX_CLOCK_DIFFERENCE
    ]


def _command(topics: Collection[Topic], moving: Collection[Topic], scan: Scan) -> Topic | None:
    """Return the most likely command topic; among equals, the one with most messages."""
    ranked: dict[int, list[Topic]] = {}
    for topic in topics:
        rank = command_rank(topic, topic.type in COMMANDS, topic in moving)
        if topic.messages and _limits(topic, scan) and rank is not None:
            ranked.setdefault(rank, []).append(topic)
    return _busiest(ranked[min(ranked)]) if ranked else None


def _state(moving: Collection[Topic]) -> Topic | None:
    """Return the topic with most messages of the first state type in the bag."""
    for kind in _STATES:
        if found := _busiest([topic for topic in moving if topic.type == kind]):
            return found
    return None


def _fields(command: Topic, scan: Scan) -> tuple[dict[str, Any], list[str]]:
    """Return the command section, and remarks about it."""
    every, chosen = _limits(command, scan), _proposed(_varying(command, scan))
    still = [name for name in every if name not in _varying(command, scan)]
    words = ', '.join(f'{name} ({every[name][0]:g})' for name in still)
    remarks = [f'fields of {command.name} left out, they never change: {words}'] if still else []
    if not chosen:
        remarks = [f'{command.name} never changes, so a model cannot learn from it: {words}']
        chosen = {name: (low - 1, high + 1) for name, (low, high) in _proposed(every).items()}
    section = {
        'topic': command.name,
        'type': command.type,
        'fields': list(chosen),
        'low': [floor(10_000 * low) / 10_000 for low, _ in chosen.values()],
        'high': [ceil(10_000 * high) / 10_000 for _, high in chosen.values()],
    }
    section['stop'], remark = stop_mode(command, chosen, scan.topics[command.name].has_zeros)
    return section, [*remarks, *filter(None, (command_warning(command), remark))]


def _use_state_changes(command: dict[str, Any], dataset: dict[str, Any]) -> None:
    """Use changes of a measured state as actions, limited by the range of the state."""
    spans = [
        round(high - low, 4) for low, high in zip(command['low'], command['high'], strict=True)
    ]
    command['low'], command['high'] = [-span for span in spans], spans
    dataset['action'] = 'next_state_delta'


def _timing(
    robot: dict[str, Any], used: Mapping[str, TopicStats], base: str
) -> tuple[dict[str, Any], list[str]]:
    """Set the control period; return the dataset section for the rates in the bag, and remarks."""
    usual, dataset, remarks = Dataset(), dict[str, Any](), list[str]()
    periods = {
        part: used[robot[part]['topic']].period(base)
        for part in ('camera', 'command', 'state')
        if part in robot
    }
    if periods.get('camera') or periods.get('command'):
        robot['dt'], why = _control_period(periods.get('camera', 0.0), periods.get('command', 0.0))
        block = dataset['action_block'] = max(round(_MODEL_STEP / robot['dt']), 1)
        step = f'a model step of {block * robot["dt"]:.2g} s, long enough for visible motion'
        remarks += [why, f'dataset.action_block={block}: {step}']
    oldest = _age_limit(max(periods.get('camera', 0.0), periods.get('state', 0.0)))
    if oldest > usual.max_frame_age:
        dataset['max_frame_age'] = oldest
    hold = _age_limit(periods.get('command', 0.0))
    if hold > usual.hold:
        dataset['hold'] = hold
    if 'command' in robot:
        topic, hold = robot['command']['topic'], max(hold, usual.hold)
        frames = robot.get('camera', robot['command'])['topic']
        silent = _longest_silence(used[topic].times(base), used[frames].times(base))
        if silent > hold:
            keep = hold_advice(robot['command']['stop'])
            remarks.append(
                f'{topic} has gaps of up to {silent:.3g} s: ticks more than dataset.hold='
                f'{hold:g} s after the last command are dropped; {keep}'
            )
    return dataset, remarks


def _longest_silence(commands: Array, frames: Array) -> float:
    """Return the longest time without a command while frames were recorded [s]."""
    begin, end = min(frames[0], commands[0]), max(frames[-1], commands[-1])
    return float(np.diff(commands, prepend=begin, append=end).max()) / 1e9


def _control_period(camera: float, command: float) -> tuple[float, str]:
    """
    Return the control period for the periods of camera and commands [s], and the reason.

    It is a whole number of frame periods, so that each tick has a new frame.
    """
    wanted = float(np.clip(command, _USUAL_PERIOD, _MAX_PERIOD))  # not shorter than the command's
    frames, dt = 1, wanted
    if camera > 0:  # negative where damaged stamps are descending
        most = max(int(_MAX_PERIOD / camera + 0.05), 1)
        near = int(wanted / camera)  # the best is this or the next
        candidates = {min(max(n, 1), most) for n in (near, near + 1)}
        frames = min(candidates, key=lambda n: abs(np.log(n * camera / wanted)))
        dt = min(frames * camera, 10.0)
    # Round to 0.01 s if that is within 0.5 %, otherwise up to 0.1 ms, so that no frame repeats.
    dt = round(dt, 2) if abs(round(dt, 2) - dt) <= 0.005 * dt else ceil(1e4 * dt - 1e-3) / 1e4
    why = f'robot.dt={dt:g}: '
    if camera > 0:
        each = 'every frame' if frames == 1 else f'one frame in {frames}'
        why += f'{each} of the camera, which has {1 / camera:.3g} Hz; '
    why += f'{1 / _USUAL_PERIOD:g} Hz is usual for models, 5 to 20 Hz is possible'
    if command > 1.05 * dt:
        why += f'; each command is held until the next one, {command:.3g} s later'
    return dt, why


def _age_limit(period: float) -> float:
    """Return an age limit [s] for messages that arrive once per period, with room for jitter."""
    return ceil(150 * period - 0.2) / 100


def _limits(topic: Topic, scan: Scan) -> Limits:
    return scan.topics[topic.name].limits() if topic.name in scan.topics else {}


def _varying(topic: Topic, scan: Scan) -> Limits:
    """Return the fields of a topic that vary by more than the rounding of float32."""
    return {
        name: (low, high)
        for name, (low, high) in _limits(topic, scan).items()
        if high - low > 1e-6 * max(abs(low), abs(high), 1.0)
    }


def _proposed(limits: Limits) -> Limits:
    """Return the fields to propose, for example joint positions without their velocities."""
    for head in _ALTERNATIVES:
        if mine := {name: span for name, span in limits.items() if name.startswith(f'{head}[')}:
            return mine
    return limits


def _busiest(topics: Collection[Topic]) -> Topic | None:
    """Return the topic with most messages."""
    return max(topics, key=lambda topic: topic.messages, default=None)
