# SPDX-License-Identifier: Apache-2.0
"""Show received messages of a plan node in a viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
import math
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rcl_interfaces.msg import Log
from rclpy.serialization import deserialize_message
from smwm_ros.codec.fields import FieldReader
from smwm_ros.codec.images import to_rgb
from smwm_ros.codec.stamps import in_nanoseconds
from smwm_ros.codec.video import EARLY, header_of, SkippedPacketError
from smwm_ros.control.reasons import MEANING, Reason
from smwm_ros.errors import in_words
from smwm_ros.interfaces import Array
from smwm_ros.nodes.command_output import HIGH, LOW
from smwm_ros.nodes.diagnostics import level_of
from smwm_ros.nodes.inbox import ReceivedMessage
from smwm_ros.nodes.packet_reader import PacketReader
from smwm_ros.nodes.watcher import CAMERA, COMMAND, GOAL, GONE

PANEL = 'plan/image'
_INFO, _WARN, _ERROR = 'INFO', 'WARN', 'ERROR'
# Of the diagnostics, what is known of the whole node, and the entity that it is shown as.
_HEALTH = {
    'near_distance': 'distance/reached_below',
    'novelty': 'drive/novelty',
    'novelty_limit': 'drive/novelty_limit',
    'progress': 'drive/progress',
    'rate_hz': 'rates/commands',
    'camera_hz': 'rates/camera',
}
_STATS = {'plan_ms': 'latency/plan_ms', 'image_age_ms': 'latency/image_age_ms'}
_STATS |= {'distance': 'distance/goal'}


class LiveViewer(Protocol):
    """What shows a running node; stamps are in nanoseconds."""

    def image(self, name: str, rgb: Array, stamp: int) -> None:
        """Show an image (H, W, 3)."""
        ...

    def lost(self, name: str, stamp: int) -> None:
        """Show no image until the next one."""
        ...

    def numbers(self, values: Mapping[tuple[str, ...], float], stamp: int) -> None:
        """Show numbers, each in a curve of its own."""
        ...

    def gone(self, stamp: int) -> None:
        """Show nothing from now on: the node is gone."""
        ...

    def way(self, points: Array, goal: Array, stamp: int) -> None:
        """Show the path of a plan (n, 3), and goals (m, 3)."""
        ...

    def text(self, line: str, level: str, stamp: int) -> None:
        """Add a line to the log."""
        ...

    def plan(self) -> None:
        """Count a plan: the next step."""
        ...

    def commands(self, fields: tuple[str, ...]) -> None:
        """Lay out the curves of commands."""
        ...


class WatchedMessages:
    """Reads messages by the role of their topic."""

    def __init__(self, target: str, viewer: LiveViewer) -> None:
        self._viewer = viewer
        self._health = f'{target.lstrip("/")}: control'
        self._logger = target.strip('/').replace('/', '.')
        self._reader: FieldReader | None = None  # of commands, once their fields are known
        self._problem = ''
        self._cameras: list[str] = []
        self._packets = PacketReader()
        self._newest: dict[str, ReceivedMessage] = {}  # of those that are shown together
        self._unshown: dict[str, str] = {}  # why the last message of a topic was not shown
        self._readers: dict[str, Callable[[Any, ReceivedMessage], None]] = {
            CAMERA: self._camera,
            GOAL: lambda message, got: self._image(GOAL, message, got),
            PANEL: lambda message, got: self._image(PANEL.replace('/', '_'), message, got),
            COMMAND: self._command,
            'plan/markers': self._markers,
            'stats': self._stats,
            'status': self._status,
            'goal/accepted': lambda message, got: self._goal('goal accepted', message, got),
            'goal/reached': lambda message, got: self._goal('goal reached', message, got),
            '/diagnostics': self._diagnostics,
            '/rosout': self._log,
        }

    def show(self, messages: Sequence[ReceivedMessage]) -> None:
        """Show messages; of the images of a camera, the newest."""
        self._newest = {got.topic.name: got for got in messages}
        for got in messages:
            self._show(got)

    def _show(self, got: ReceivedMessage) -> None:
        """Show a message; one that cannot be read is a warning in the log."""
        topic = got.topic
        if topic.role == GONE:
            self._viewer.gone(got.time)
            self._viewer.text(f'{topic.name} is gone', _WARN, got.time)
            return
        try:
            self._readers[topic.role](deserialize_message(got.data, topic.type), got)
        except SkippedPacketError as error:
            if error.count == EARLY:
                self._not_shown(error.count, got)
        except Exception as error:  # no received message may end the viewer
            self._not_shown(in_words(error), got)
        else:
            self._unshown.pop(topic.name, None)

    def _not_shown(self, why: str, got: ReceivedMessage) -> None:
        """Log why a message is not shown, unless it is the reason for the one before, too."""
        name = got.topic.name
        if self._unshown.get(name) != why:
            self._viewer.text(f'{name}: not shown: {why}', _WARN, got.time)
        self._unshown[name] = why

    def _camera(self, message: Any, got: ReceivedMessage) -> None:
        """Show an image of the camera, or of one of several; decode each packet of a video."""
        topic = got.topic
        if topic.name not in self._cameras:
            self._cameras.append(topic.name)
        name = _camera_name(self._cameras.index(topic.name))
        stamp = in_nanoseconds(header_of(message).stamp) or got.time
        with self._lost_by_errors(name, stamp):
            image = self._packets.picture(topic, got.number, message)
            if self._newest[topic.name] is got:
                self._viewer.image(name, to_rgb(image), stamp)

    def _image(self, name: str, message: Any, got: ReceivedMessage) -> None:
        """Show an image."""
        stamp = _stamp(message, got)
        with self._lost_by_errors(name, stamp):
            self._viewer.image(name, to_rgb(message), stamp)

    @contextmanager
    def _lost_by_errors(self, name: str, stamp: int) -> Iterator[None]:
        """Where an image cannot be decoded, do not leave the one before it."""
        try:
            yield
        except SkippedPacketError:
            raise
        except Exception:
            self._viewer.lost(name, stamp)
            raise

    def _command(self, message: Any, got: ReceivedMessage) -> None:
        """Show the fields of a command; they are in the first diagnostics."""
        if self._reader:
            fields = self._reader.paths
            values = zip(fields, self._reader(message).tolist(), strict=True)
            found: dict[tuple[str, ...], float] = {
                (COMMAND, field, 'sent'): value for field, value in values
            }
            self._viewer.numbers(found, _stamp(message, got))

    def _markers(self, message: Any, got: ReceivedMessage) -> None:
        """Show the path and the goal."""
        marks = {mark.id: [(p.x, p.y, p.z) for p in mark.points] for mark in message.markers}
        way, goal = (np.array(marks.get(number, [])).reshape(-1, 3) for number in (0, 2))
        self._viewer.way(way, goal, _stamp(message.markers[0], got))

    def _stats(self, message: Any, got: ReceivedMessage) -> None:
        """Show the figures of a plan."""
        data = json.loads(message.data)
        self._viewer.plan()
        found = {tuple(path.split('/')): data[key] for key, path in _STATS.items()}
        found |= {('cost', term): share for term, share in data['shares'].items()}
        self._viewer.numbers(found, got.time)

    def _status(self, message: Any, got: ReceivedMessage) -> None:
        """Log why the robot moves, or does not."""
        reason = Reason(message.data)
        level = [_INFO, _WARN, _ERROR][level_of(reason)[0]]
        if reason is Reason.STALE_IMAGE:
            for number in range(len(self._cameras)):
                self._viewer.lost(_camera_name(number), got.time)
        self._viewer.text(f'{reason.value}: {MEANING[reason]}', level, got.time)

    def _goal(self, what: str, message: Any, got: ReceivedMessage) -> None:
        """Log what happened to a goal."""
        self._viewer.text(f'{what}: {message.data}', _INFO, got.time)

    def _diagnostics(self, message: DiagnosticArray, got: ReceivedMessage) -> None:
        """Show values and limits, and log a new problem."""
        for status in message.status:
            if status.name != self._health:
                continue
            values = {item.key: item.value for item in status.values}
            found = {
                tuple(path.split('/')): _number(values[key])
                for key, path in _HEALTH.items()
                if key in values
            }
            fields = tuple(key.removeprefix(LOW) for key in values if key.startswith(LOW))
            for field in fields:
                for prefix in (LOW, HIGH):
                    limit = _number(values.get(prefix + field, 'nan'))
                    found[COMMAND, field, prefix.rstrip('_')] = limit
            if fields and (not self._reader or self._reader.paths != fields):
                self._reader = FieldReader(fields)
                self._viewer.commands(fields)
            self._viewer.numbers(found, _stamp(message, got))
            level = status.level[0]
            if level and status.message != self._problem:
                line = f'diagnostics: {status.message}'
                self._viewer.text(line, _ERROR if level > 1 else _WARN, _stamp(message, got))
            self._problem = status.message if level else ''

    def _log(self, message: Log, got: ReceivedMessage) -> None:
        """Copy the log of the node."""
        if message.name == self._logger:
            levels = {Log.WARN: _WARN, Log.ERROR: _ERROR, Log.FATAL: _ERROR}
            level = levels.get(message.level, levels.get(bytes([message.level]), _INFO))
            self._viewer.text(message.msg, level, in_nanoseconds(message.stamp) or got.time)


def _camera_name(number: int) -> str:
    """Return the name under which one of several cameras is shown."""
    return f'{CAMERA}_{number + 1}' if number else CAMERA


def _stamp(message: Any, got: ReceivedMessage) -> int:
    """Return the stamp of a message [ns]; its receive time if it has none."""
    header = getattr(message, 'header', None)
    return (in_nanoseconds(header.stamp) if header else 0) or got.time


def _number(text: str) -> float:
    """Return a value of the diagnostics; nan if it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
