# SPDX-License-Identifier: Apache-2.0
"""
An arena that poses as a robot: commands in, camera images and odometry out, in real time.

It also keeps a course of tasks: each shows a goal picture on /goal/image, waits for the first
command that moves the robot, and counts steps until the goal is reached or the budget is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import sys
from threading import Event, Lock, Thread
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from smwm_ros import config
from smwm_ros.arenas import make_arena, require_arena, require_fit
from smwm_ros.arenas.course import Course, read_tasks
from smwm_ros.config import BODY_FRAME, CAMERA_FRAME, STATE_FRAME
from smwm_ros.core.actions import action_spec, FieldCodec
from smwm_ros.core.control import Metronome
from smwm_ros.core.images import fill_image
from smwm_ros.core.interfaces import ActionSpec, Array, Frame
from smwm_ros.errors import ArenaError, CodecError
from smwm_ros.fieldpath import expand
from smwm_ros.load import load_config
from smwm_ros.nodes.messages import LATCHED, message_class
from smwm_ros.nodes.parameters import declare_knobs, read_knobs
from smwm_ros.nodes.process import run_node
from std_msgs.msg import String
from std_srvs.srv import Trigger

GOAL_TOPIC = '/goal/image'
_RELIABLE = QoSProfile(depth=5)  # heard by best-effort and by reliable subscribers


class Command:
    """The latest command: what it says, and when it was heard."""

    def __init__(self, codec: FieldCodec, timeout: float) -> None:
        self._codec = codec
        self._timeout = timeout
        self._action: Array | None = None
        self._heard = 0.0

    def hear(self, message: Any) -> None:
        """Keep a command, or refuse one that is no number."""
        action = self._codec.encode(message)
        if not np.isfinite(action).all():
            raise CodecError(f'expected finite numbers, found {action.tolist()}')
        self._action, self._heard = action, time.monotonic()

    def current(self) -> Array | None:
        """Return the latest command (A,), or None when it is too old to be obeyed."""
        fresh = time.monotonic() - self._heard <= self._timeout
        return self._action if fresh else None

    def forget(self) -> None:
        """Obey nothing that was heard so far."""
        self._action = None


class ArenaNode(Node):  # type: ignore[misc] # rclpy has no complete types
    """A simulated robot with a camera, as ROS sees it."""

    def __init__(self) -> None:
        super().__init__('arena')
        knobs = read_knobs(self, 'arena', config.Arena)
        require_arena(knobs.name)
        robot = read_knobs(self, 'robot', config.Robot, load_config(knobs.name).robot)
        sim = read_knobs(self, 'sim', config.Sim)
        for section, values in (('arena', knobs), ('robot', robot), ('sim', sim)):
            declare_knobs(self, section, values)
        self._robot, self._sim = robot, sim
        self._arena = make_arena(knobs.name, knobs.image_size)
        spec = action_spec(robot)
        require_fit(self._arena, robot)
        tasks = read_tasks(Path(sim.tasks), self._arena) if sim.tasks else []
        self._course = Course(self._arena, tasks, sim.budget, knobs.seed)
        self._lock = Lock()  # of arena, course and command
        self._connect(spec)
        self._goal_due = 2  # ticks until the goal is shown, after the robot at its start
        self._told: tuple[Any, ...] = ()
        self._ended_for = 0  # ticks since the task ended
        self._closing = Event()
        self._thread = Thread(target=self._run, name='physics', daemon=True)
        self._finished = False

    def start(self) -> None:
        """Begin to move."""
        self._thread.start()
        name = self.get_parameter('arena.name').value
        self.get_logger().info(
            f'{name}: camera on {self._robot.camera.topic}, '
            f'commands from {self._robot.command.topic}, goal on {GOAL_TOPIC}'
        )

    def finish(self) -> None:
        """Stop moving; legal twice."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._arena.close()

    def _connect(self, spec: ActionSpec) -> None:
        """Make publishers, subscriptions and services."""
        robot = self._robot
        self._image = message_class(robot.camera.type)()
        self._camera = self.create_publisher(type(self._image), robot.camera.topic, _RELIABLE)
        self._odometry = None
        if robot.state.topic:
            self._state = message_class(robot.state.type)()
            if hasattr(self._state, 'child_frame_id'):
                self._state.child_frame_id = BODY_FRAME
            fields = expand(robot.state.fields)
            self._state_codec = FieldCodec(ActionSpec(fields, (), (), robot.dt))
            self._state_codec.decode(np.zeros(len(fields)), self._state)  # a wrong field is seen
            self._odometry = self.create_publisher(type(self._state), robot.state.topic, _RELIABLE)
        codec = FieldCodec(spec)
        kind = message_class(robot.command.type)
        codec.decode(np.zeros(spec.size), kind())  # now, before anything moves
        self._command = Command(codec, self._sim.command_timeout)
        self.create_subscription(kind, robot.command.topic, self._on_command, _RELIABLE)
        self._goal = self.create_publisher(Image, GOAL_TOPIC, LATCHED)
        self._task = self.create_publisher(String, '~/task', LATCHED)
        self.create_service(Trigger, '~/next', self._on_next)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(1.0, self._on_second)

    def _on_command(self, message: Any) -> None:
        """Hear a command; before the goal is shown, it can only mean an earlier task."""
        try:
            with self._lock:
                if not self._goal_due:
                    self._command.hear(message)
        except CodecError as error:
            self.get_logger().warning(f'command ignored: {error}', throttle_duration_sec=5.0)

    def _on_next(self, _: Any, answer: Any) -> Any:
        """Go on to the next task."""
        return self._change(self._course.next, answer)

    def _on_reset(self, _: Any, answer: Any) -> Any:
        """Begin a random task."""
        return self._change(self._course.restart, answer)

    def _change(self, change: Any, answer: Any) -> Any:
        """Begin another task, and say so."""
        with self._lock:
            try:
                self._begin(change)
            except ArenaError as error:
                answer.success, answer.message = False, str(error)
            else:
                answer.success, answer.message = True, json.dumps(self._course.report())
        return answer

    def _begin(self, change: Any) -> None:
        """Begin another task; the lock is held."""
        change()
        self._command.forget()
        self._ended_for = 0
        self._goal_due = 2

    def _on_second(self) -> None:
        """Look after the physics; a robot without them must not look alive."""
        if not self._thread.is_alive() and not self._closing.is_set():
            raise RuntimeError('the physics thread died')

    def _run(self) -> None:
        """Tick in real time until closed."""
        beat = Metronome(self._robot.dt / self._sim.real_time_factor, time.monotonic())
        while not self._closing.wait(max(0.0, beat.deadline - time.monotonic())):
            with self._lock:
                self._tick()
            beat.advance(time.monotonic())

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
        frame = self._course.tick(self._command.current())
        self._publish(frame)
        if self._goal_due:
            self._goal_due -= 1
            if not self._goal_due:
                # A planner that hears of the goal has seen the robot at its start by now.
                goal = fill_image(Image(), self._course.goal.pixels)
                self._stamp(goal, CAMERA_FRAME)
                self._goal.publish(goal)
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

    def _publish(self, frame: Frame) -> None:
        """Show what the camera sees and what is measured."""
        fill_image(self._image, frame.pixels)
        self._stamp(self._image, CAMERA_FRAME)
        self._camera.publish(self._image)
        if self._odometry is not None:
            self._state_codec.decode(frame.state, self._state)
            self._stamp(self._state, STATE_FRAME)
            self._odometry.publish(self._state)

    def _stamp(self, message: Any, frame_id: str) -> None:
        """Fill the header, where there is one."""
        if hasattr(message, 'header'):
            message.header.stamp = self.get_clock().now().to_msg()
            message.header.frame_id = frame_id


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(ArenaNode, args)


if __name__ == '__main__':
    sys.exit(main())
