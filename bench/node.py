# SPDX-License-Identifier: Apache-2.0
"""
Measure how well the plan node keeps its time, as a process of its own beside a camera.

640x480 images come at 30 Hz, the two-room model (with random weights, which take as long) plans
at 10 Hz. Intervals are those between the stamps of the commands. The peer is the node that one
writes first, bench/peers/naive_node.py: planning in a timer callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from threading import Event, Thread
import time

from common import main, Row
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from smwm_ros.core.beat import Metronome
from smwm_ros.core.checkpoint import Checkpoint, save
from smwm_ros.core.images import fill_image
from smwm_ros.core.model import make_model
from smwm_ros.load import load_config
from smwm_ros.nodes.child import Child
from smwm_ros.nodes.messages import camera_qos, LATCHED
from smwm_ros.nodes.trial import private_network
import torch

CAMERA_HZ, SHAPE = 30, (480, 640, 3)
WARM_UP = 20  # commands that are not counted
PATIENCE = 120.0  # until a node commands [s]


class Bystander:
    """A camera, and ears for commands and diagnostics."""

    def __init__(self, node: Node) -> None:
        self.stamps: list[float] = []
        self.health: dict[str, str] = {}
        self.sent = 0
        rng = np.random.default_rng(0)
        # Two in turn: the same image again and again is what a frozen camera shows.
        self._images = [fill_image(Image(), rng.integers(0, 255, SHAPE, np.uint8)) for _ in '12']
        self._camera = node.create_publisher(Image, '/camera/image_raw', camera_qos('best_effort'))
        goal = fill_image(Image(), rng.integers(0, 255, SHAPE, np.uint8))
        self._goal = node.create_publisher(Image, '/goal/image', LATCHED)
        self._goal.publish(goal)
        node.create_subscription(TwistStamped, '/cmd_vel', self._on_command, 100)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, 10)

    def film(self, closing: Event) -> None:
        """Publish images at the camera's rate."""
        beat = Metronome(1 / CAMERA_HZ, time.monotonic())
        while not closing.wait(max(0.0, beat.deadline - time.monotonic())):
            self._camera.publish(self._images[self.sent % 2])
            self.sent += 1
            beat.advance(time.monotonic())

    def watch(self, seconds: float) -> list[float]:
        """Return the stamps of the commands of so many seconds, after a warm-up."""
        deadline = time.monotonic() + PATIENCE
        while len(self.stamps) < WARM_UP:
            if time.monotonic() > deadline:
                raise RuntimeError(f'no commands within {PATIENCE:.0f} s')
            time.sleep(0.05)
        begin = len(self.stamps)
        time.sleep(seconds)
        return self.stamps[begin:]

    def _on_command(self, message: TwistStamped) -> None:
        stamp = message.header.stamp
        self.stamps.append(stamp.sec + 1e-9 * stamp.nanosec)

    def _on_health(self, message: DiagnosticArray) -> None:
        self.health = {item.key: item.value for item in message.status[0].values}


def measure(quick: bool) -> Iterator[Row]:
    """Watch our node, then the peer."""
    seconds = 8.0 if quick else 120.0
    with TemporaryDirectory() as folder, private_network() as environment:
        checkpoint, period = make_checkpoint(Path(folder))
        with bystander() as camera:
            knobs = {'checkpoint': str(checkpoint)}
            with Child('smwm_ros.nodes.plan', knobs, Path(folder), environment) as child:
                ours = np.diff(camera.watch(seconds))
                memory = resident(child.pid)
                ours = np.append(ours, np.diff(camera.watch(seconds)))
                growth = resident(child.pid) / memory - 1
                health = {key: float(value) for key, value in numbers(camera.health)}
                child.stop()
        with bystander() as camera, naive(checkpoint, environment):
            theirs = np.diff(camera.watch(2 * seconds))
    yield from rows(ours, theirs, health, period)
    yield Row('node.memory_growth', 100 * growth, '% in the second half')


def rows(
    ours: np.ndarray, theirs: np.ndarray, health: Mapping[str, float], period: float
) -> Iterator[Row]:
    """Return what the stamps and the diagnostics tell."""
    peer = 'planning in a timer callback'
    jitter, their_jitter = (
        1e3 * float(np.percentile(np.abs(steps - period), 99)) for steps in (ours, theirs)
    )
    rate, their_rate = 1 / float(ours.mean()), 1 / float(theirs.mean())
    yield Row('node.rate', rate, 'Hz', '', peer, their_rate, rate / their_rate)
    yield Row('node.jitter_p99', jitter, 'ms', '', peer, their_jitter, their_jitter / jitter)
    ticks = health['commands'] + health['deadline_misses']
    yield Row('node.deadline_misses', 100 * health['deadline_misses'] / ticks, '%')
    yield Row('node.plan_p50', health['plan_ms_p50'], 'ms')
    yield Row('node.plan_p99', health['plan_ms_p99'], 'ms')
    yield Row('node.image_to_command_p50', health['image_age_ms_p50'], 'ms from receipt')
    yield Row('node.image_to_command_p99', health['image_age_ms_p99'], 'ms from receipt')
    images = health['frames'] + health['frames_lost']
    yield Row('node.images_lost', 100 * health['frames_lost'] / images, '%')


def numbers(health: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the diagnostics that are numbers."""
    for key, value in health.items():
        if value.replace('.', '').isdigit():
            yield key, value


def make_checkpoint(folder: Path) -> tuple[Path, float]:
    """Write the two-room model with random weights; return its folder and control period."""
    torch.manual_seed(0)
    made = load_config('two_room')
    size = len(made.robot.command.low)
    model = make_model(made.model, made.dataset.image_size, size * made.dataset.action_block)
    path = folder / 'checkpoint'
    mean, std = np.zeros(size), np.full(size, 0.25)
    save(
        path,
        Checkpoint(model, made.robot, made.dataset, made.model, made.planner, mean, std, {}),
    )
    return path, made.robot.dt


@contextmanager
def bystander() -> Iterator[Bystander]:
    """Make the camera run in a ROS context of its own."""
    context, closing = Context(), Event()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('bystander', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    made = Bystander(node)
    jobs: list[Callable[[], None]] = [executor.spin, lambda: made.film(closing)]
    threads = [Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        closing.set()
        executor.shutdown()
        for thread in threads:
            thread.join()
        node.destroy_node()
        context.try_shutdown()


@contextmanager
def naive(checkpoint: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run the peer."""
    script = Path(__file__).with_name('peers') / 'naive_node.py'
    with subprocess.Popen([sys.executable, str(script), str(checkpoint)], env=environment) as peer:
        try:
            yield
        finally:
            peer.kill()


def resident(pid: int) -> int:
    """Return the memory that a process holds [bytes]."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


if __name__ == '__main__':
    main(measure, __doc__ or '')
