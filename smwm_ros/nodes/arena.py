# SPDX-License-Identifier: Apache-2.0
"""
An arena that poses as a robot: commands in, camera images and measured states out, in real time.

It also keeps a course of tasks: each shows a goal picture on /goal/image, waits for the first
command that moves the robot, and counts steps until the goal is reached or the budget is spent.
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
from sensor_msgs.msg import Image
from smwm_ros import config
from smwm_ros.arenas import arena_of, require_arena, require_fit
from smwm_ros.arenas.course import Course, read_tasks
from smwm_ros.codec.images import fill_image
from smwm_ros.config import CAMERA_FRAME
from smwm_ros.errors import ArenaError, CodecError
from smwm_ros.load import load_config
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.parameters import declare_knobs, read_knobs
from smwm_ros.nodes.robot_topics import Command, RELIABLE, RobotTopics, stamped
from smwm_ros.nodes.sim_time import SimTime
from smwm_ros.nodes.spin import run_node
from smwm_ros.text import line
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

GOAL_TOPIC = 'goal/image'
WALL = RosClock(clock_type=ClockType.STEADY_TIME)
_SLOW = 0.9  # a smaller share of the real-time factor that was asked for is told as slow


class ArenaNode(Node):  # type: ignore[misc] # rclpy has no complete types
    """A simulated robot with a camera, as ROS sees it."""

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
        self._connect()
        self._pace = SimTime(robot.dt, sim.real_time_factor, sim.clock)
        self._goal_due = 2  # ticks until the goal is shown, after the robot at its start
        self._told: tuple[Any, ...] = ()
        self._ended_for = 0  # ticks since the task ended
        self._commands = self._refused = 0
        self._closing = Event()
        self._thread = Thread(target=self._run, name='physics', daemon=True)

    def start(self) -> None:
        """Begin to move."""
        self._thread.start()
        name = self.get_parameter('arena.name').value
        text = (
            f'{name}: camera on {self.resolve_topic_name(self._robot.camera.topic)}, '
            f'commands from {self.resolve_topic_name(self._robot.command.topic)}, '
            f'goal on {self.resolve_topic_name(GOAL_TOPIC)}'
        )
        self.get_logger().info(line(text))

    def finish(self) -> None:
        """Stop moving; legal twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._arena.close()

    def _connect(self) -> None:
        """Make publishers, subscriptions and services."""
        self._topics = RobotTopics(self, self._robot, self._on_command)
        self._command = Command(self._topics.codec, self._sim.command_timeout)
        self._goal = self.create_publisher(Image, GOAL_TOPIC, LATCHED)
        self._task = self.create_publisher(String, '~/task', LATCHED)
        self._drawn = self.create_publisher(String, '~/randomisation', LATCHED)
        self._health = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._ticker = self.create_publisher(Clock, '/clock', 10) if self._sim.clock else None
        self.create_subscription(Float64MultiArray, '~/goal_state', self._on_goal_state, RELIABLE)
        changes = {
            'next': self._course.next,
            'reset': self._course.restart,
            'set_goal': self._course.set_goal,
            'randomise': self._course.randomise,
        }
        for name, change in changes.items():
            self.create_service(Trigger, f'~/{name}', partial(self._on_change, change))
        self.create_timer(1.0, self._on_second, clock=WALL)

    def _now(self) -> float:
        """Return the time by which commands grow old [s]."""
        return self._pace.time * 1e-9 if self._ticker else time.monotonic()

    def _stamp(self) -> Any:
        """Return the time that messages carry."""
        now = Time(nanoseconds=self._pace.time) if self._ticker else self.get_clock().now()
        return now.to_msg()

    def _on_command(self, message: Any) -> None:
        """Hear a command; before the goal is shown, it can only mean an earlier task."""
        try:
            with self._lock:
                if not self._goal_due:
                    self._command.hear(message, self._now())
                    self._commands += 1
        except CodecError as error:
            self._refused += 1
            self.get_logger().warning(line(f'command ignored: {error}'), throttle_duration_sec=5.0)

    def _on_goal_state(self, message: Any) -> None:
        """Take a goal (P,) from elsewhere; the robot stays where it is."""
        try:
            with self._lock:
                self._begin(partial(self._course.set_goal, np.array(message.data)))
        except ArenaError as error:
            self.get_logger().warning(line(f'goal ignored: {error}'))

    def _on_change(self, change: Callable[[], None], _: Any, answer: Any) -> Any:
        """Begin another task, and say so."""
        with self._lock:
            try:
                self._begin(change)
            except ArenaError as error:
                answer.success, answer.message = False, str(error)
            else:
                answer.success, answer.message = True, json.dumps(self._course.report())
        return answer

    def _begin(self, change: Callable[[], None]) -> None:
        """Begin another task; the lock is held."""
        change()
        self._command.forget()
        self._ended_for = 0
        self._goal_due = 2

    def _on_second(self) -> None:
        """Look after the physics, for a robot without them must not look alive; tell of them."""
        if self._closing.is_set():
            return
        if not self._thread.is_alive():
            raise RuntimeError('the physics thread died')
        factor, asked = self._pace.factor(), self._pace.asked_for
        slow = factor < _SLOW * asked
        values = {
            'real_time_factor': f'{factor:.3f}',
            'real_time_factor_asked_for': f'{asked:.3f}',
            'simulated_seconds': f'{self._pace.time * 1e-9:.3f}',
            'commands': str(self._commands),
            'commands_refused': str(self._refused),
        }
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if slow else DiagnosticStatus.OK,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: physics',
            message='slower than asked for' if slow else 'as fast as asked for',
            hardware_id='smwm_ros',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._stamp()
        self._health.publish(message)

    def _run(self) -> None:
        """Let time pass until closed."""
        while self._pace.wait(self._closing):
            if self._ticker:
                self._ticker.publish(Clock(clock=self._stamp()))
            if self._pace.is_step:
                with self._lock:
                    self._tick()
            self._pace.advance()

    def _tick(self) -> None:
        """
        Let one raw step pass, and show it.

        The step is computed at its end, with the command that was heard during it: a command
        that answers an image within one period acts at once, as on a robot.
        """
        if self._course.ended:
            self._ended_for += 1
            pause = self._sim.auto_next
            if pause and self._ended_for * self._robot.dt >= pause:
                self._begin(self._advance)
        self._topics.show(self._course.tick(self._command.current(self._now())), self._stamp())
        if self._goal_due:
            self._goal_due -= 1
            if not self._goal_due:
                # A planner that hears of the goal has seen the robot at its start by now.
                goal = fill_image(Image(), self._course.goal.pixels)
                self._goal.publish(stamped(goal, CAMERA_FRAME, self._stamp()))
                if drawn := self._course.drawn():
                    self._drawn.publish(String(data=json.dumps(drawn)))
        report = (self._course.index, self._course.phase, self._course.steps, self._goal_due > 0)
        if report != self._told:
            self._told = report
            text = json.dumps({**self._course.report(), 'goal_shown': not self._goal_due})
            self._task.publish(String(data=text))

    def _advance(self) -> None:
        """Go on to the next task where there is one."""
        try:
            self._course.next()
        except ArenaError:
            self._course.restart()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(ArenaNode, args)


if __name__ == '__main__':
    sys.exit(main())
