# SPDX-License-Identifier: Apache-2.0
"""
Measure the timing of the plan node, as a process of its own beside a camera.

640x480 images arrive at 30 Hz, and the two-room model plans at 10 Hz, with random weights, which
take as long as trained ones. Intervals are differences of command stamps. The peer,
bench/peers/naive_node.py, plans in a timer callback. On a CUDA GPU the model of the paper, 224 px,
is measured at 20 Hz, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
import json
import os
from pathlib import Path
import subprocess
import sys
from tempfile import TemporaryDirectory
from threading import Event
import time
from typing import NamedTuple

from common import main, Row
import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
import numpy as np
from parts.bystander import bystander
from parts.paper import SEARCH
from parts.plot import chart
from parts.stops import measure_stops, NAMES
from rclpy.node import Node
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.control.ticks import Metronome
from smwm_ros.interfaces import ActionScaler
from smwm_ros.load import load_config
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint, save
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import camera_qos, LATCHED
from smwm_ros.nodes.trial import private_network
from std_msgs.msg import String
import torch

CAMERA_HZ, SHAPE = 30, (480, 640, 3)
WARM_UP = 20  # commands that are not counted
PATIENCE = 120.0  # until a node commands [s]
PAPER = [*(f'planner.{name}={value}' for name, value in SEARCH.items()), 'planner.cost=last']


class Bystander:
    """A camera that subscribes to commands and diagnostics."""

    def __init__(self, node: Node) -> None:
        self.stamps: list[float] = []
        self.health: dict[str, str] = {}
        self.plans: list[dict[str, float]] = []
        self.sent = 0
        rng = np.random.default_rng(0)
        # Two in turn: repeated identical images would count as a frozen camera.
        self._images = [fill_image(Image(), rng.integers(0, 255, SHAPE, np.uint8)) for _ in '12']
        self._camera = node.create_publisher(Image, '/camera/image_raw', camera_qos('best_effort'))
        goal = fill_image(Image(), rng.integers(0, 255, SHAPE, np.uint8))
        self._goal = node.create_publisher(Image, '/goal/image', LATCHED)
        self._goal.publish(goal)
        node.create_subscription(TwistStamped, '/cmd_vel', self._on_command, 100)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, 10)
        node.create_subscription(String, '/plan/stats', self._on_stats, 100)

    def film(self, closing: Event) -> None:
        """Publish images at the camera's rate."""
        beat = Metronome(1 / CAMERA_HZ, time.monotonic())
        while not closing.wait(max(0.0, beat.deadline - time.monotonic())):
            self._camera.publish(self._images[self.sent % 2])
            self.sent += 1
            beat.advance(time.monotonic())

    def wait(self) -> None:
        """Wait until the node has sent WARM_UP commands."""
        deadline = time.monotonic() + PATIENCE
        while len(self.stamps) < WARM_UP:
            if time.monotonic() > deadline:
                raise RuntimeError(f'no commands within {PATIENCE:.0f} s')
            time.sleep(0.05)

    def watch(
        self, seconds: float, every_second: Callable[[], None] = lambda: None
    ) -> list[float]:
        """Return the stamps of the commands of so many seconds; call `every_second` meanwhile."""
        begin, end = len(self.stamps), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            every_second()
            time.sleep(min(left, 1.0))
        return self.stamps[begin:]

    def _on_command(self, message: TwistStamped) -> None:
        stamp = message.header.stamp
        self.stamps.append(stamp.sec + 1e-9 * stamp.nanosec)

    def _on_stats(self, message: String) -> None:
        self.plans.append(json.loads(message.data))

    def _on_health(self, message: DiagnosticArray) -> None:
        self.health = {item.key: item.value for item in message.status[0].values}


class Memory(NamedTuple):
    """The memory of a process over time."""

    at: list[float]  # [s]
    held: list[float]  # [MB]

    def growth(self, since: float) -> float:
        """Return the relative growth of the memory after an instant, by medians of a tenth."""
        later = [held for at, held in zip(self.at, self.held, strict=True) if at >= since]
        tenth = max(len(later) // 10, 1)
        return float(np.median(later[-tenth:]) / np.median(later[:tenth]) - 1)


class Watch(NamedTuple):
    """What was measured of our node."""

    steps: np.ndarray  # between one command and the next [s]
    health: Mapping[str, float]  # of its diagnostics, those that are numbers
    plans: Sequence[Mapping[str, float]]
    memory: Memory


def measure(quick: bool, minutes: float, plot: str) -> Iterator[Row]:
    """Measure our node, then the peer."""
    seconds, settled = (16.0, 4.0) if quick else (60 * minutes, min(60.0, 15 * minutes))
    gpu = torch.cuda.is_available()
    with TemporaryDirectory() as folder, private_network() as environment:
        checkpoint, period = make_checkpoint(Path(folder))
        ours = watch(checkpoint, environment, seconds)
        if gpu:
            knobs = ['model.preset=tiny', 'dataset.image_size=224', 'robot.dt=0.05', *PAPER]
            tiny, tiny_period = make_checkpoint(Path(folder) / 'tiny', knobs)
            fast = watch(tiny, environment, 8.0 if quick else 120.0)
        with camera_beside() as other, naive(checkpoint, environment):
            other.wait()
            theirs = np.diff(other.watch(min(seconds, 120.0)))
        few = ('png_12000', 'name_20_mb') if quick else NAMES
        yield from measure_stops(checkpoint, environment, 20 if quick else 300, few)
    yield from rows(ours, theirs, period)
    growth = ours.memory.growth(ours.memory.at[0] + settled)
    yield Row('node.memory_growth', 100 * growth, f'% after the first {settled:.0f} s')
    if gpu:
        yield from gpu_rows(fast, tiny_period)
    else:
        print('left out: node.cuda; there is no CUDA device here', file=sys.stderr)
    if plot:
        draw(Path(plot), ours, theirs)


def watch(checkpoint: Path, environment: Mapping[str, str], seconds: float) -> Watch:
    """Run our node beside a camera; measure it once it sends commands."""
    knobs, memory = {'checkpoint': str(checkpoint)}, Memory([], [])
    with (
        camera_beside() as camera,
        ChildProcess('smwm_ros.nodes.plan', knobs, checkpoint.parent, environment) as child,
    ):
        camera.wait()
        steps = np.diff(camera.watch(seconds, lambda: append_memory(child.pid, memory)))
        health = {key: float(value) for key, value in numbers(camera.health)}
        child.stop()
    return Watch(steps, health, camera.plans, memory)


def append_memory(pid: int, memory: Memory) -> None:
    """Append the memory that a process holds now."""
    memory.at.append(time.monotonic())
    memory.held.append(resident(pid) / 2**20)


def draw(path: Path, ours: Watch, theirs: np.ndarray) -> None:
    """Write a chart of what was measured over time."""
    age = {'image to plan': [plan['image_age_ms'] for plan in ours.plans]}
    age['plan'] = [plan['plan_ms'] for plan in ours.plans]
    times = {'peer': 1e3 * theirs, 'this node': 1e3 * ours.steps}
    charts = [
        chart('time between two commands [ms]', times),
        chart('of each plan [ms]', age),
        chart('memory of the node [MB]', {'resident': ours.memory.held}, zero=True),
    ]
    cv2.imwrite(str(path), np.vstack(charts))


def rows(ours: Watch, theirs: np.ndarray, period: float) -> Iterator[Row]:
    """Return the figures from the stamps and the diagnostics."""
    peer, health = 'planning in a timer callback', ours.health
    late, their_late = jitter(ours.steps, period), jitter(theirs, period)
    rate, their_rate = 1 / float(ours.steps.mean()), 1 / float(theirs.mean())
    yield Row('node.rate', rate, 'Hz', '', peer, their_rate, rate / their_rate)
    yield Row('node.jitter_p99', late, 'ms', '', peer, their_late, their_late / late)
    yield Row('node.deadline_misses', misses(health), '%')
    yield Row('node.plan_p50', health['plan_ms_p50'], 'ms')
    yield Row('node.plan_p99', health['plan_ms_p99'], 'ms')
    yield Row('node.image_to_command_p50', health['image_age_ms_p50'], 'ms from receipt')
    yield Row('node.image_to_command_p99', health['image_age_ms_p99'], 'ms from receipt')
    over = health['image_age_ms_p99'] - health['plan_ms_p99']
    yield Row('node.image_to_command_over_plan', over, 'ms')
    images = health['frames'] + health['frames_lost']
    yield Row('node.images_lost', 100 * health['frames_lost'] / images, '%')


def gpu_rows(ours: Watch, period: float) -> Iterator[Row]:
    """Return the timing with a GPU: the model and the search of the paper at 20 Hz."""
    for row in (
        Row('node.cuda_rate', 1 / float(ours.steps.mean()), 'Hz'),
        Row('node.cuda_jitter_p99', jitter(ours.steps, period), 'ms'),
        Row('node.cuda_deadline_misses', misses(ours.health), '%'),
        Row('node.cuda_plan_p99', ours.health['plan_ms_p99'], 'ms'),
    ):
        yield row._replace(machine=torch.cuda.get_device_name())


def jitter(steps: np.ndarray, period: float) -> float:
    """Return the deviation of the intervals between commands from the period, p99 [ms]."""
    return 1e3 * float(np.percentile(np.abs(steps - period), 99))


def misses(health: Mapping[str, float]) -> float:
    """Return the share of late ticks [%]."""
    late = health['deadline_misses']
    return 100 * late / (health['commands'] + late)


def numbers(health: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the numeric diagnostics."""
    for key, value in health.items():
        if value.replace('.', '').isdigit():
            yield key, value


def make_checkpoint(folder: Path, knobs: Sequence[str] = ()) -> tuple[Path, float]:
    """Write the two-room model with random weights; return its folder and control period."""
    torch.manual_seed(0)
    made = load_config('two_room', knobs)
    size = len(made.robot.command.low)
    model = make_model(made.model, made.dataset.image_size, size * made.dataset.action_block)
    path = folder / 'checkpoint'
    scaler = ActionScaler(np.zeros(size), np.full(size, 0.25))
    save(
        path,
        Checkpoint(model, made.robot, made.dataset, made.model, made.planner, scaler),
    )
    return path, made.robot.dt


def camera_beside() -> AbstractContextManager[Bystander]:
    """Spin the camera in a thread of its own."""
    return bystander(Bystander, [Bystander.film])


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
    main(
        measure,
        __doc__ or '',
        minutes=(10.0, 'duration of the measurement of the node [min]'),
        plot=('', 'PNG file to draw what was measured in'),
    )
