# SPDX-License-Identifier: Apache-2.0
"""
Record episodes of a robot: subscribe to its topics, and write what comes between start and stop.

The folder of the episodes is passed in, because only bags/ writes bags. All callbacks run in the
thread of the executor; the end of the process comes from another one, hence the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
import json
import os
import signal
from threading import RLock
import time
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from smwm_ros import config
from smwm_ros.config import FAILURE, SUCCESS
from smwm_ros.errors import SmwmError
from smwm_ros.interfaces import Episodes
from smwm_ros.nodes.keyboard import Keyboard
from smwm_ros.nodes.messages import LATCHED, VOLATILE
from smwm_ros.nodes.parameters import declare_knobs, given, read_knobs
from smwm_ros.nodes.recorded_topic import RecordedCameras, RecordedTopic
from smwm_ros.nodes.recorder_report import Progress, status, status_line, warnings
from smwm_ros.nodes.topic_monitor import TopicMonitor, TopicType
from smwm_ros.text import line
from std_msgs.msg import String
from std_srvs.srv import Trigger

_KEYS_PERIOD = 0.1  # between two looks at the keyboard [s]
_LOG_EVERY = 5  # status lines [s]
# Recorded if they are published: simulated time, and the fixed frames of the robot.
_OPTIONAL = ('/clock', '/tf_static')
KEYS = 'space: start or stop, s: success, f: failure, d: discard, q: quit'


class RecorderNode(Node):  # type: ignore[misc] # rclpy has no complete types
    """
    Records episodes when its services are called, or keys are pressed.

    robot: whose topics are recorded, None if no robot was described; topics: others.
    """

    def __init__(
        self,
        episodes: Episodes,
        robot: config.Robot | None,
        topics: Sequence[str] = (),
        task: str = '',
        keys: Keyboard | None = None,
    ) -> None:
        super().__init__('record')
        if robot or given(self, 'robot'):
            robot = read_knobs(self, 'robot', config.Robot, robot)
            declare_knobs(self, 'robot', robot)
        elif not topics:
            raise SmwmError(
                'nothing to record: give the configuration of the robot with --config FILE, or '
                'topics with --topics'
            )
        about = ParameterDescriptor(description='task of the next episode, as text')
        self.declare_parameter('task', task, about)
        self._episodes, self._keys = episodes, keys
        self._dt = (robot or config.Robot()).dt
        self._lock = RLock()
        self._began, self._before = 0.0, 0  # of the recording: time [s], and space then [bytes]
        self._added: set[str] = set()  # topics of the recording
        self._seconds = 0  # since the last status line
        self._problems: list[str] = []
        self._topics = self._make_topics(robot, topics)
        self._cameras = RecordedCameras(self, robot.camera, self._topics) if robot else None
        self._monitor = TopicMonitor(self, self._expected, None, False)
        self._connect()

    def start(self) -> None:
        """Say what will be recorded."""
        names = ', '.join(topic.name for topic in self._topics if topic.expected)
        self.get_logger().info(line(f'ready to record {names}; call ~/start'))
        if self._keys:
            self.get_logger().info(KEYS)

    def finish(self) -> None:
        """Store the recording; may be called twice."""
        with self._lock:
            if self._episodes.recording:
                self._attempt(self._episodes.stop)

    def _make_topics(
        self, robot: config.Robot | None, others: Sequence[str]
    ) -> list[RecordedTopic]:
        """Return the topics of the robot, those that were asked for, and those of use."""
        found = {
            name: RecordedTopic(self, name, kind, self._on_message, needed=True)
            for name, kind in (_types(robot) if robot else {}).items()
        }
        for name in (*others, *_OPTIONAL):
            if name not in found:
                expected = name in others
                found[name] = RecordedTopic(self, name, '', self._on_message, expected=expected)
        return list(found.values())

    def _connect(self) -> None:
        """Create services, topics and timers."""
        self._status = self.create_publisher(String, '~/status', LATCHED)
        self.create_subscription(String, '~/task', self._on_task, VOLATILE)
        episodes = self._episodes
        self._acts: dict[str, Callable[[], str]] = {
            'start': self._start,
            'stop': episodes.stop,
            'success': partial(episodes.judge, SUCCESS),
            'failure': partial(episodes.judge, FAILURE),
            'discard': episodes.discard,
        }
        for name, act in self._acts.items():
            self.create_service(Trigger, f'~/{name}', partial(self._on_request, act))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._tick, clock=steady)
        if self._keys:
            self.create_timer(_KEYS_PERIOD, self._read_keys, clock=steady)

    def _on_task(self, message: String) -> None:
        """Set the task of the next episode."""
        self.set_parameters([Parameter('task', Parameter.Type.STRING, message.data)])

    def _on_request(self, act: Callable[[], str], _: Any, answer: Any) -> Any:
        """Serve a request."""
        answer.success, answer.message = self._attempt(act)
        return answer

    def _attempt(self, act: Callable[[], str]) -> tuple[bool, str]:
        """Do something with the episodes; return whether it was possible, and a message."""
        with self._lock:
            try:
                message = act()
            except SmwmError as error:
                self.get_logger().warning(line(str(error)))
                return False, str(error)
            self.get_logger().info(line(message))
            self._publish_status()
            return True, message

    def _start(self) -> str:
        """Begin an episode, with the last messages of latched topics."""
        for topic in self._topics:
            topic.update()
        if flaws := [topic.flaw for topic in self._topics if topic.flaw]:
            raise SmwmError('; '.join(flaws))
        now = self.get_clock().now().nanoseconds
        if not now:
            raise SmwmError('use_sim_time is set, but no time was received on /clock yet')
        name = self._episodes.start(self.get_parameter('task').value)
        self._began, self._before = time.monotonic(), self._episodes.space
        self._added.clear()
        self._seconds = 0
        for topic in self._topics:
            if topic.texts and topic.publishers:
                self._add(topic)
            for data in topic.kept:
                self._episodes.write(topic.stored, data, now)
        about = f' of {task!r}' if (task := self._episodes.recording.task) else ''
        problems = self._find_problems()
        return f'recording {name}{about}' + ''.join(f'; warning: {text}' for text in problems)

    def _add(self, topic: RecordedTopic) -> None:
        """Add a topic to the recording, unless it is there."""
        if topic.stored not in self._added:
            self._episodes.add_topic(topic.stored, topic.kind, topic.texts, topic.latched)
            self._added.add(topic.stored)

    def _on_message(self, topic: RecordedTopic, data: bytes, info: Mapping[str, Any]) -> None:
        """Write a message while an episode is recorded."""
        with self._lock:
            if not self._episodes.recording:
                return
            try:
                self._add(topic)
                self._episodes.write(topic.stored, data, self._receive_time(info))
            except SmwmError as error:
                self.get_logger().error(line(str(error)))
                self._attempt(self._episodes.stop)

    def _receive_time(self, info: Mapping[str, Any]) -> int:
        """Return when a message was received [ns], by simulated time if that is in use."""
        received = int(info.get('received_timestamp', 0))
        if received and not self.get_parameter('use_sim_time').value:
            return received
        return int(self.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        """Look for publishers, check disk and rates, and publish the status."""
        with self._lock:
            if self._cameras and (text := self._cameras.find_transport()):
                self.get_logger().warning(line(text))
            for topic in self._topics:
                topic.update()
                topic.measure()
            recording = self._episodes.recording
            if recording:
                self._write_out()
            self._log_problems()
            self._publish_status()
            self._seconds += 1
            if self._episodes.recording and self._seconds % _LOG_EVERY == 0:
                self.get_logger().info(line(status_line(self._topics, self._progress())))

    def _write_out(self) -> None:
        """Hand what was recorded to the system; stop if the disk is nearly full."""
        try:
            self._episodes.flush()
            full = not self._episodes.space
        except SmwmError as error:
            self.get_logger().error(line(str(error)))
            full = True
        if full:
            self.get_logger().error('the disk is nearly full: the recording ends')
            self._attempt(self._episodes.stop)

    def _progress(self) -> Progress:
        """Return how far the recording is."""
        recording, space = self._episodes.recording, self._episodes.space
        if not recording:
            return Progress('', '', 0.0, {}, self._episodes.stored, space, 0.0)
        seconds = time.monotonic() - self._began
        growth = max(self._before - space, 0) / max(seconds, 1.0)
        about = recording.name, recording.task, seconds, recording.counts
        return Progress(*about, self._episodes.stored, space, growth)

    def _expected(self) -> list[TopicType]:
        """Return the topics of the robot as they are compared with the publishers."""
        remedy = 'correct the configuration of the robot'
        cameras = self._cameras.settled if self._cameras else []
        return [
            TopicType(one.name, one.kind, remedy, one in cameras)
            for one in self._topics
            if one.needed
        ]

    def _find_problems(self) -> list[str]:
        """Return what is wrong now."""
        found = warnings(self._topics, self._dt, self._progress())
        return [*self._monitor.problems(), *found]

    def _log_problems(self) -> None:
        """Log what became wrong since the last time."""
        now = self._find_problems()
        # Figures change each time: a topic is named once for the same kind of problem.
        before = {_without_figures(text) for text in self._problems}
        for text in now:
            if _without_figures(text) not in before:
                self.get_logger().warning(line(text))
        self._problems = now

    def _publish_status(self) -> None:
        """Publish how far the recording is."""
        found = status(self._topics, self._progress(), self._problems)
        self._status.publish(String(data=json.dumps(found)))

    def _read_keys(self) -> None:
        """Do what the pressed keys ask for."""
        assert self._keys is not None
        names = {'s': 'success', 'f': 'failure', 'd': 'discard'}
        for key in self._keys.read():
            if key == 'q':
                os.kill(os.getpid(), signal.SIGINT)  # the one way to end a node
            elif key == ' ':
                self._attempt(self._acts['stop' if self._episodes.recording else 'start'])
            elif key in names:
                self._attempt(self._acts[names[key]])


def _types(robot: config.Robot) -> dict[str, str]:
    """Return the topics of a robot, and their message types."""
    types = dict.fromkeys(robot.camera.topics, robot.camera.type)
    return types | {part.topic: part.type for part in (robot.command, robot.state) if part.topic}


def _without_figures(text: str) -> str:
    """Return a text without its digits."""
    return ''.join(letter for letter in text if not letter.isdigit())
