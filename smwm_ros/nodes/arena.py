# SPDX-License-Identifier: Apache-2.0
"""
Simulate a robot in an arena: subscribe to commands, publish images and states in real time.

The node also runs a course of tasks: it publishes the goal image of each task on /goal/image,
waits for the first command that moves the robot, and counts steps until the goal is reached or the
budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
import json
from pathlib import Path
import sys
from threading import Event, Lock, Thread
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from smwm_ros import config
from smwm_ros.arenas import arena_of, require_arena, require_fit
from smwm_ros.arenas.course import Course, read_tasks
from smwm_ros.errors import ArenaError, CodecError
from smwm_ros.load import load_config
from smwm_ros.nodes.arena_tasks import GOAL_TOPIC, TaskPublisher
from smwm_ros.nodes.parameters import declare_knobs, read_knobs
from smwm_ros.nodes.robot_topics import LastCommand, RELIABLE, RobotTopics
from smwm_ros.nodes.sim_time import SimTime
from smwm_ros.nodes.spin import run_node
from smwm_ros.text import line
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

WALL = RosClock(clock_type=ClockType.STEADY_TIME)
_SLOW = 0.9  # a smaller share of the requested real-time factor is a warning


class ArenaNode(Node):  # type: ignore[misc] # rclpy has no complete types
    """A simulated robot with a camera."""

    def __init__(self) -> None:
        super().__init__('arena')
        knobs = read_knobs(self, 'arena', config.Arena)
        require_arena(knobs.name)
        robot = read_knobs(self, 'robot', config.Robot, load_config(knobs.name).robot)
        ranges = read_knobs(self, 'randomise', config.Randomise)
        sim = read_knobs(self, 'sim', config.Sim)
        sections = {'arena': knobs, 'robot': robot, 'randomise': ranges, 'sim': sim}
        for section, values in sections.items():
            declare_knobs(self, section, values)
        self._robot, self._sim = robot, sim
        self._arena = arena_of(config.Config(arena=knobs, randomise=ranges))
        require_fit(self._arena, robot)
        tasks = read_tasks(Path(sim.tasks), self._arena) if sim.tasks else []
        self._course = Course(self._arena, tasks, sim.budget, knobs.seed)
        self._lock = Lock()  # of arena, course and command
        self._pace = SimTime(robot.dt, sim.real_time_factor, sim.clock)
        self._ended_for = 0  # ticks since the task ended
        self._connect()
        self._closing = Event()
        self._thread = Thread(target=self._run, name='physics', daemon=True)

    def start(self) -> None:
        """Start the simulation."""
        self._thread.start()
        name = self.get_parameter('arena.name').value
        text = (
            f'{name}: camera on {self.resolve_topic_name(self._robot.camera.topic)}, '
            f'commands from {self.resolve_topic_name(self._robot.command.topic)}, '
            f'goal on {self.resolve_topic_name(GOAL_TOPIC)}'
        )
        self.get_logger().info(line(text))

    def finish(self) -> None:
        """End the simulation; may be called twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._arena.close()

    def _connect(self) -> None:
        """Create publishers, subscriptions, services and the timer."""
        self._topics = RobotTopics(self, self._robot, self._on_command)
        self._command = LastCommand(self._topics.codec, self._sim.command_timeout)
        self._tasks = TaskPublisher(self, self._course)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._clock_topic = self.create_publisher(Clock, '/clock', 10) if self._sim.clock else None
        self.create_subscription(Float64MultiArray, '~/goal_state', self._on_goal_state, RELIABLE)
        changes = {
            'next': self._course.next,
            'reset': self._course.restart,
            'set_goal': self._course.set_goal,
            'randomise': self._course.randomise,
        }
        for name, change in changes.items():
            self.create_service(Trigger, f'~/{name}', partial(self._on_change, change))
        self.create_timer(1.0, self._publish_diagnostics, clock=WALL)

    def _now(self) -> float:
        """Return the time for the command timeout [s]."""
        return self._pace.time * 1e-9 if self._clock_topic else time.monotonic()

    def _stamp(self) -> Any:
        """Return the stamp of messages."""
        simulated = self._clock_topic is not None
        now = Time(nanoseconds=self._pace.time) if simulated else self.get_clock().now()
        return now.to_msg()

    def _on_command(self, message: Any) -> None:
        """Store a command; before the goal is published it belongs to an earlier task."""
        try:
            with self._lock:
                if self._tasks.goal_published:
                    self._command.update(message, self._now())
        except CodecError as error:
            self.get_logger().warning(line(f'command ignored: {error}'), throttle_duration_sec=5.0)

    def _on_goal_state(self, message: Any) -> None:
        """Set a goal (P,); the robot stays where it is."""
        try:
            with self._lock:
                self._begin(partial(self._course.set_goal, np.array(message.data)))
        except ArenaError as error:
            self.get_logger().warning(line(f'goal ignored: {error}'))

    def _on_change(self, change: Callable[[], None], _: Any, answer: Any) -> Any:
        """Begin another task, and return it."""
        with self._lock:
            try:
                self._begin(change)
            except ArenaError as error:
                answer.success, answer.message = False, str(error)
            else:
                answer.success, answer.message = True, json.dumps(self._course.report())
        return answer

    def _begin(self, change: Callable[[], None]) -> None:
        """Begin another task; the caller holds the lock."""
        change()
        self._command.forget()
        self._ended_for = 0
        self._tasks.begin()

    def _publish_diagnostics(self) -> None:
        """Publish the real-time factor and counts; raise if the simulation has died."""
        if self._closing.is_set():
            return
        if not self._thread.is_alive():
            raise RuntimeError('the physics thread died')
        factor, target = self._pace.factor(), self._pace.target
        slow = factor < _SLOW * target
        values = {
            'real_time_factor': f'{factor:.3f}',
            'real_time_factor_asked_for': f'{target:.3f}',
            'simulated_seconds': f'{self._pace.time * 1e-9:.3f}',
            'commands': str(self._command.count),
            'commands_refused': str(self._command.refused),
        }
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if slow else DiagnosticStatus.OK,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: physics',
            message='slower than requested' if slow else 'as fast as requested',
            hardware_id='smwm_ros',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._stamp()
        self._diagnostics.publish(message)

    def _run(self) -> None:
        """Simulate until closed."""
        while self._pace.wait(self._closing):
            if self._clock_topic:
                self._clock_topic.publish(Clock(clock=self._stamp()))
            if self._pace.is_step:
                with self._lock:
                    self._tick()
            self._pace.advance()

    def _tick(self) -> None:
        """
        Simulate one raw step, and publish the result.

        The step is computed at its end, with the command received during it: a command that
        answers an image within one period acts at once, as on a robot.
        """
        if self._course.ended:
            self._ended_for += 1
            pause = self._sim.auto_next
            if pause and self._ended_for * self._robot.dt >= pause:
                self._begin(self._advance)
        frame = self._course.tick(self._command.current(self._now()))
        self._topics.publish(frame, self._stamp())
        self._tasks.publish(self._stamp())

    def _advance(self) -> None:
        """Begin the next task, or a random one after the last of the list."""
        try:
            self._course.next()
        except ArenaError:
            self._course.restart()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    return run_node(ArenaNode, args)


if __name__ == '__main__':
    sys.exit(main())
