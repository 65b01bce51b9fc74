# SPDX-License-Identifier: Apache-2.0
"""A robot for bench/faults.py: a camera that can fail, and the receive times of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
import subprocess
import sys
from threading import Event
import time

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
import numpy as np
from parts.bystander import bystander
from rclpy.exceptions import InvalidHandle
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.control.ticks import Metronome
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import String

CAMERA_HZ, SHAPE = 30, (120, 160, 3)
CLOCK_HZ = 100
PATIENCE = 60.0  # for any condition [s]


class Robot:
    """A camera and a goal for the node, and the commands and reasons that the node publishes."""

    def __init__(self, node: Node, clock: bool) -> None:
        self._node = node
        self.films, self.still, self.clock_runs = True, False, True
        self.damage: Callable[[Image], None] | None = None
        self.clock_time = 1000.0  # to be set back from, a few times [s]
        self.commands: list[tuple[float, bool]] = []  # when received [s], and whether to move
        self.reasons: list[tuple[float, str]] = []
        self.moved = 0.0  # when the measured position changed last [s]
        rng = np.random.default_rng(0)
        self._pictures = [rng.integers(0, 255, SHAPE, np.uint8) for _ in range(2)]
        self._second_publisher: object = None
        self.create_camera()
        self._goal = node.create_publisher(Image, '/goal/image', LATCHED)
        self._goal.publish(fill_image(Image(), self._pictures[0]))
        self._clock = node.create_publisher(Clock, '/clock', 1) if clock else None
        self._listen()

    def _listen(self) -> None:
        subscribe = self._node.create_subscription
        subscribe(TwistStamped, '/cmd_vel', self._on_command, 100)
        subscribe(String, '/plan/status', self._on_status, LATCHED)

    def create_camera(self) -> None:
        """Start the camera with a new publisher."""
        self.camera = self._node.create_publisher(Image, '/camera/image_raw', 1)

    def destroy_camera(self) -> None:
        """Stop the camera and destroy its publisher."""
        self._node.destroy_publisher(self.camera)

    def create_second_publisher(self) -> None:
        """Create a second publisher on the command topic."""
        self._second_publisher = self._node.create_publisher(TwistStamped, '/cmd_vel', 1)

    def destroy_second_publisher(self) -> None:
        """Destroy the second publisher on the command topic."""
        self._node.destroy_publisher(self._second_publisher)

    @property
    def status(self) -> str:
        """Return the last reason received."""
        return self.reasons[-1][1] if self.reasons else ''

    @property
    def moves(self) -> bool:
        """Return whether the last command was to move."""
        return bool(self.commands) and self.commands[-1][1]

    def mark(self) -> tuple[int, int]:
        """Return how much was received so far, for wait_for_stop()."""
        return len(self.reasons), len(self.commands)

    def wait_for_stop(self, mark: tuple[int, int]) -> tuple[str, float, float]:
        """Wait for a reason to stop and a stop command since then; return both, with times."""
        reasons, commands = mark

        def reasons_to_stop() -> list[tuple[float, str]]:
            return [(at, why) for at, why in self.reasons[reasons:] if why != 'RUNNING']

        def stops() -> list[float]:
            return [at for at, moves in self.commands[commands:] if not moves]

        self.wait(lambda: reasons_to_stop() and stops(), 'a reason and a stop')
        at, why = reasons_to_stop()[0]
        return why, at, stops()[0]

    def motion_after(self, then: float) -> float:
        """Return when the first motion command after an instant came, 0 for none yet."""
        return next((at for at, moves in self.commands if moves and at > then), 0.0)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; raise RuntimeError after PATIENCE seconds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f'no {what} within {PATIENCE:.0f} s; the last reasons: {self.reasons[-5:]}'
                )
            time.sleep(0.002)

    def film(self, closing: Event) -> None:
        """Publish images at the camera's rate."""
        beat = Metronome(1 / CAMERA_HZ, time.monotonic())
        number = 0
        while not closing.wait(max(0.0, beat.deadline - time.monotonic())):
            number += not self.still
            if self.films:
                message = fill_image(Image(), self._pictures[number % 2])
                if self.damage is not None:
                    self.damage(message)
                with suppress(InvalidHandle):  # the publisher was just destroyed
                    self.camera.publish(message)
            beat.advance(time.monotonic())

    def tick(self, closing: Event) -> None:
        """Publish simulated time."""
        beat = Metronome(1 / CLOCK_HZ, time.monotonic())
        while not closing.wait(max(0.0, beat.deadline - time.monotonic())):
            if self._clock is not None and self.clock_runs:
                self.clock_time += 1 / CLOCK_HZ
                whole = int(self.clock_time)
                rest = int((self.clock_time - whole) * 1e9)
                self._clock.publish(Clock(clock=Time(sec=whole, nanosec=rest)))
            beat.advance(time.monotonic())

    def _on_command(self, message: TwistStamped) -> None:
        twist = message.twist
        self.commands.append((time.monotonic(), (twist.linear.x, twist.linear.y) != (0.0, 0.0)))

    def _on_status(self, message: String) -> None:
        self.reasons.append((time.monotonic(), message.data))


class Watcher(Robot):
    """Subscribes to the odometry of another robot, without a camera and a goal."""

    def __init__(self, node: Node) -> None:
        self.reasons, self.moved = [], 0.0
        self._place: tuple[float, float] | None = None
        node.create_subscription(Odometry, '/odom', self._on_place, 10)

    def film(self, closing: Event) -> None:
        """Have no camera."""

    def tick(self, closing: Event) -> None:
        """Have no clock."""

    def _on_place(self, message: Odometry) -> None:
        place = message.pose.pose.position.x, message.pose.pose.position.y
        if self._place is not None and place != self._place:
            self.moved = time.monotonic()
        self._place = place


def robot(clock: bool = False, watch_only: bool = False) -> AbstractContextManager[Robot]:
    """Run a robot beside the node until the block is left."""

    def make(node: Node) -> Robot:
        return Watcher(node) if watch_only else Robot(node, clock)

    return bystander(make, [lambda it, end: it.film(end), lambda it, end: it.tick(end)])


@contextmanager
def process(
    words: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python program, and kill it when the block is left."""
    with log.open('ab') as out:
        child = subprocess.Popen([sys.executable, *words], env=dict(environment), stderr=out)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
