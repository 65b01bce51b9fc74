# SPDX-License-Identifier: Apache-2.0
"""
Inject faults into a running plan node, and measure how the robot reacts.

The node is a process of its own; camera, motors and operator run in this process. Each fault is
measured by the time until the status topic gives a reason, the time until a stop command, and,
once the fault has ended, the time until the robot moves again. The worst round counts. Where the
node itself is killed, the arena must stop by its own command timeout.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
import json
import multiprocessing
import os
from pathlib import Path
from tempfile import TemporaryDirectory
import time
from typing import Any, NamedTuple

from common import main, Row
from node import make_checkpoint
import numpy as np
from parts.robot import process, Robot, robot
from sensor_msgs.msg import Image
from smwm_ros.nodes.trial import private_network

PATIENCE = 60.0  # for any condition [s]
SETTLE = 0.7  # time in motion between two faults [s]


class Fault(NamedTuple):
    """A fault: how it begins and how it ends."""

    name: str
    begin: Callable[[Robot], object]
    end: Callable[[Robot], object]


class Times(NamedTuple):
    """How the robot reacted [s]; nan for what did not happen."""

    reason: str
    detected: float
    stopped: float
    recovered: float


def short(message: Image) -> None:
    """Truncate an image to 30 bytes."""
    message.data = array('B', [1] * 30)


def wrong_size(message: Image) -> None:
    """Set a size that does not fit the data."""
    message.width *= 2


def wrong_encoding(message: Image) -> None:
    """Set an unknown encoding."""
    message.encoding = 'sepia'


def damage(how: Callable[[Image], None] | None) -> Callable[[Robot], None]:
    """Set how the camera damages its images; None for sound images."""

    def begin(here: Robot) -> None:
        here.damage = how

    return begin


def film(on: bool) -> Callable[[Robot], None]:
    """Switch the camera on or off."""

    def begin(here: Robot) -> None:
        here.films = on

    return begin


def fuzz(here: Robot) -> None:
    """Publish a thousand messages of random bytes and fields instead of images."""
    here.films = False
    rng = np.random.default_rng(0)
    for number in range(1000):
        if number % 2:
            here.camera.publish(rng.bytes(int(rng.integers(0, 300))))
        else:
            image = Image(encoding=str(rng.choice(['rgb8', 'mono16', 'nv12', ''])))
            image.height, image.width, image.step = (int(n) for n in rng.integers(0, 40, 3))
            image.data = array('B', rng.bytes(int(rng.integers(0, 200))))
            here.camera.publish(image)
        time.sleep(0.001)


def faults(orders: Path) -> list[Fault]:
    """Return the faults that the node survives."""

    def order(word: str) -> Callable[[Robot], object]:
        return lambda here: orders.write_text(word)

    def freeze(here: Robot) -> None:
        here.still = True

    def thaw(here: Robot) -> None:
        here.still = False

    return [
        Fault('camera_stops', film(False), film(True)),
        Fault('camera_restarts', Robot.destroy_camera, Robot.create_camera),
        Fault('frozen_image', freeze, thaw),
        Fault('wrong_size', damage(wrong_size), damage(None)),
        Fault('wrong_encoding', damage(wrong_encoding), damage(None)),
        Fault('thirty_bytes', damage(short), damage(None)),
        Fault('random_bytes', fuzz, film(True)),
        Fault('nan_from_model', order('nan'), order('')),
        Fault('planner_hangs', order('hang'), order('')),
        Fault('planner_raises', order('raise'), order('')),
        Fault('two_planners', Robot.create_second_publisher, Robot.destroy_second_publisher),
    ]


def inject(fault: Fault, here: Robot) -> Times:
    """Begin and end a fault, and return how the robot reacted."""
    here.wait(lambda: here.status == 'RUNNING' and here.moves, 'driving')
    time.sleep(SETTLE)
    mark, begun = here.mark(), time.monotonic()
    fault.begin(here)
    reason, detected, stopped = here.wait_for_stop(mark)
    time.sleep(SETTLE)
    again = time.monotonic()
    fault.end(here)
    here.wait(lambda: here.motion_after(again), f'motion after {fault.name}')
    return Times(reason, detected - begun, stopped - begun, here.motion_after(again) - again)


def rows_of(name: str, times: list[Times]) -> Iterator[Row]:
    """Return the worst of several rounds as rows."""
    until = {'detected': times[-1].reason, 'stopped': 'a stop command', 'recovered': 'motion'}
    for column, what in until.items():
        values = [getattr(one, column) for one in times]
        if np.isfinite(values).all():
            yield Row(f'faults.{name}.{column}', 1e3 * max(values), f'ms to {what}')


def measure(quick: bool) -> Iterator[Row]:
    """Inject all faults in turn into one node, then those that it does not survive."""
    rounds = 1 if quick else 5
    with TemporaryDirectory() as folder, private_network() as environment:
        place = Path(folder)
        checkpoint, _ = make_checkpoint(place)
        orders = place / 'orders'
        orders.write_text('')
        path = [str(Path(__file__).parent), environment.get('PYTHONPATH', '')]
        environment['SMWM_FAULT'] = str(orders)
        environment['PYTHONPATH'] = os.pathsep.join(filter(None, path))
        start = Start(environment, place / 'log', f'checkpoint:={checkpoint}')
        with robot() as here, start('parts.faulty_node'):
            for fault in faults(orders):
                yield from rows_of(fault.name, [inject(fault, here) for _ in range(rounds)])
            yield from under_load(here, rounds)
        yield from rows_of('planner_dies', [dying(start, orders) for _ in range(rounds)])
        yield from simulated(start, rounds)
        yield from stalled(start, rounds)
        yield from rows_of('node_killed', [killed(start) for _ in range(rounds)])


class Start(NamedTuple):
    """Starts nodes."""

    environment: dict[str, str]
    log: Path
    checkpoint: str

    def __call__(self, module: str, *knobs: str, log: Path | None = None) -> Any:
        """Run a node with the checkpoint and further parameters."""
        words = [part for knob in knobs for part in ('-p', knob)]
        if 'arena' not in module and not any(knob.startswith('checkpoint') for knob in knobs):
            words += ['-p', self.checkpoint]
        arguments = ['-m', module, '--ros-args', *words]
        return process(arguments, self.environment, log or self.log)


def burn() -> None:
    """Keep one core busy until killed."""
    while True:
        pass


def under_load(here: Robot, rounds: int) -> Iterator[Row]:
    """Stop the camera while twice as many processes as cores compute beside the node."""
    count = 2 * len(os.sched_getaffinity(0))
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(count)]
    for burner in burners:
        burner.start()
    try:
        fault = Fault('full_load', film(False), film(True))
        times = [inject(fault, here) for _ in range(rounds)]
    finally:
        for burner in burners:
            burner.kill()
            burner.join()
    yield from rows_of('full_load', times)


def dying(start: Start, orders: Path) -> Times:
    """End the planner thread during a plan: the node stops the robot and exits."""
    orders.write_text('')
    with robot() as here, start('parts.faulty_node') as child:
        here.wait(lambda: here.status == 'RUNNING' and here.moves, 'driving')
        mark, begun = here.mark(), time.monotonic()
        orders.write_text('die')
        reason, detected, stopped = here.wait_for_stop(mark)
        child.wait(PATIENCE)
    return Times(reason, detected - begun, stopped - begun, np.nan)


def simulated(start: Start, rounds: int) -> Iterator[Row]:
    """Stop simulated time, and set it back."""

    def run(runs: bool) -> Callable[[Robot], None]:
        def begin(here: Robot) -> None:
            here.clock_runs = runs

        return begin

    with robot(clock=True) as here, start('smwm_ros.nodes.plan', 'use_sim_time:=true'):
        stops = Fault('clock_stops', run(False), run(True))
        yield from rows_of('clock_stops', [inject(stops, here) for _ in range(rounds)])
        times = []
        for _ in range(rounds):
            here.wait(lambda: here.status == 'RUNNING' and here.moves, 'driving')
            time.sleep(SETTLE)
            mark, begun = here.mark(), time.monotonic()
            here.clock_time -= 50.0
            reason, detected, stopped = here.wait_for_stop(mark)
            here.wait(partial(here.motion_after, stopped), 'motion')
            again = here.motion_after(stopped)
            times.append(Times(reason, detected - begun, stopped - begun, again - begun))
        yield from rows_of('clock_jumps_back', times)


def stalled(start: Start, rounds: int) -> Iterator[Row]:
    """Log to a pipe that no process reads, and send damaged images that the node warns about."""
    pipe = start.log.with_name('full')
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)  # and never reads
    with robot() as here, start('smwm_ros.nodes.plan', log=pipe):
        here.wait(lambda: here.status == 'RUNNING' and here.moves, 'driving')
        output = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(output, b'x' * 512)
        os.close(output)
        fault = Fault('log_stalls', damage(wrong_encoding), damage(None))
        yield from rows_of('log_stalls', [inject(fault, here) for _ in range(rounds)])
    os.close(reader)


def killed(start: Start) -> Times:
    """Kill the plan node of an arena, whose command timeout must stop it; then start it again."""
    timeout, tasks = 0.5, start.log.with_name('tasks.json')
    tasks.write_text(json.dumps([{'start': [-0.9, -0.9], 'goal': [0.9, 0.9]}]))
    plan = ('smwm_ros.nodes.plan', 'checkpoint:=models/two_room', 'node.frozen_timeout:=0.0')
    with (
        start('smwm_ros.nodes.arena', f'sim.command_timeout:={timeout}', f'sim.tasks:={tasks}'),
        robot(watch_only=True) as here,
    ):
        begun = time.monotonic()
        with start(*plan) as child:
            here.wait(lambda: here.moved > begun, 'driving')
            child.kill()
            begun = time.monotonic()
        here.wait(lambda: time.monotonic() - here.moved > 4 * timeout, 'rest')
        stopped = max(here.moved - begun, 0.0)
        again = time.monotonic()
        with start(*plan):
            here.wait(lambda: here.moved > again, 'motion')
        recovered = here.moved - again
    return Times('', np.nan, stopped, recovered)


if __name__ == '__main__':
    main(measure, __doc__ or '')
