# SPDX-License-Identifier: Apache-2.0
"""Measure how soon the plan node answers ~/stop while other programs send malformed messages."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
import subprocess
import sys
from threading import Event
import time

from common import Row
import cv2
import numpy as np
from parts.bystander import bystander
from parts.noise import CAMERA, NOISES
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage
from smwm_ros.nodes.child_process import ChildProcess
from smwm_ros.nodes.messages import camera_qos
from std_srvs.srv import Trigger

QUIET = 'nothing'
# rclpy copies a message under Python's lock before its size can be seen.
HUGE = 'goal_100_mb'
_PATIENCE = 60.0  # [s]
_SETTLE = 6.0  # until the noise has started [s]
_GAP = 0.03  # between two calls [s]


class Caller:
    """A camera at 30 Hz, and a client that calls ~/stop again and again."""

    def __init__(self, node: Node) -> None:
        self.films = True
        rng = np.random.default_rng(0)
        shots = [rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in '12']
        self._messages = [
            CompressedImage(
                format='jpeg', data=array('B', cv2.imencode('.jpg', shot)[1].tobytes())
            )
            for shot in shots
        ]
        self._camera = node.create_publisher(CompressedImage, CAMERA, camera_qos('best_effort'))
        self._client = node.create_client(Trigger, 'plan/stop')

    def film(self, closing: Event) -> None:
        """Publish images."""
        number = 0
        while not closing.wait(1 / 30):
            if self.films:
                self._camera.publish(self._messages[number % 2])
                number += 1

    def stop(self) -> float:
        """Call ~/stop once; return the response time [s]."""
        if not self._client.wait_for_service(_PATIENCE):
            raise RuntimeError(f'no service ~/stop within {_PATIENCE:.0f} s')
        done = Event()
        begun = time.perf_counter()
        future: Future[Trigger.Response] = self._client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_PATIENCE):
            raise RuntimeError(f'no response of ~/stop within {_PATIENCE:.0f} s')
        return time.perf_counter() - begun


def measure_stops(
    checkpoint: Path, environment: Mapping[str, str], calls: int, names: Sequence[str]
) -> Iterator[Row]:
    """Call ~/stop under each noise; yield a row for each, and one for the worst."""
    robot = {'camera': {'topic': CAMERA, 'type': 'sensor_msgs/msg/CompressedImage'}}
    knobs = {'checkpoint': str(checkpoint), 'robot': robot}
    worst = 0.0
    with (
        bystander(Caller, [Caller.film]) as caller,
        ChildProcess('smwm_ros.nodes.plan', knobs, checkpoint.parent, environment) as child,
    ):
        caller.stop()
        time.sleep(_SETTLE)  # the node is active by now
        for name in (QUIET, *names):
            caller.films = name == QUIET or not name.startswith('png')
            with noise(name, environment):
                took = []
                for _ in range(calls):
                    took.append(1e3 * caller.stop())
                    time.sleep(_GAP)
            child.check()
            late = float(np.percentile(took, 99))
            worst = max(worst, late if name != HUGE else 0.0)
            yield Row(f'node.stop_p99.{name}', late, 'ms')
        child.stop()
    yield Row('node.stop_p99', worst, 'ms')


@contextmanager
def noise(name: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a noise in a process of its own."""
    if name == QUIET:
        yield
        return
    script = Path(__file__).with_name('noise.py')
    with subprocess.Popen([sys.executable, str(script), name], env=dict(environment)) as process:
        time.sleep(_SETTLE)
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f'noise.py {name} ended early')
        finally:
            process.kill()


NAMES = tuple(NOISES)
