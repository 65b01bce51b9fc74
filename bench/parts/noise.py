# SPDX-License-Identifier: Apache-2.0
"""Publish malformed, huge and too frequent messages on the plan node's topics: noise.py NAME."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
import struct
import sys
import time
import zlib

import cv2
import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float32MultiArray, String

CAMERA = 'camera/image_raw/compressed'
HUGE = {'samples': 100_000, 'horizon': 100, 'iterations': 1000}
Send = Callable[[], object]


def black(side: int) -> bytes:
    """Return a black PNG of so many rows and columns, compressed row by row."""
    pack = zlib.compressobj(1)
    row = bytes(side + 1)
    body = b''.join(pack.compress(row) for _ in range(side)) + pack.flush()
    head = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    chunks = [(b'IHDR', head), (b'IDAT', body), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        for name, data in chunks
    )


def scene() -> list[bytes]:
    """Return two PNGs of 1280x720 with camera noise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 1280)[None, :, None] + np.zeros((720, 1, 3))
    shots = [(ramp + rng.integers(0, 4, ramp.shape)).astype(np.uint8) for _ in '12']
    return [cv2.imencode('.png', shot)[1].tobytes() for shot in shots]


def pictures(node: Node, pngs: list[bytes]) -> Send:
    """Publish camera images in turn."""
    publisher = node.create_publisher(CompressedImage, CAMERA, QoSProfile(depth=1))
    messages = [CompressedImage(format='png', data=array('B', png)) for png in pngs]
    turn = iter(lambda: 0, 1)  # endless
    numbers: Iterator[int] = (number for number, _ in enumerate(turn))
    return lambda: publisher.publish(messages[next(numbers) % len(messages)])


def goal(node: Node, name: str, message: object) -> Send:
    """Publish a goal."""
    publisher = node.create_publisher(type(message), f'goal/{name}', 10)
    return lambda: publisher.publish(message)


def settings(node: Node) -> Send:
    """Set parameters of a search that would take hours."""
    client = node.create_client(SetParameters, 'plan/set_parameters')
    client.wait_for_service()
    wanted = [Parameter(f'planner.{name}', value=n).to_parameter_msg() for name, n in HUGE.items()]
    return lambda: client.call_async(SetParameters.Request(parameters=wanted))


def white(side: int) -> Image:
    """Return a raw image of so many rows and columns."""
    data = array('B', bytes(3 * side * side))
    return Image(height=side, width=side, step=3 * side, encoding='rgb8', data=data)


# name: what is published, and its rate [Hz]
NOISES: dict[str, tuple[Callable[[Node], Send], float]] = {
    'png_12000': (lambda node: pictures(node, [black(12_000)]), 2.0),
    'png_30000': (lambda node: pictures(node, [black(30_000)]), 2.0),
    'png_720p': (lambda node: pictures(node, scene()), 84.0),
    'name_20_mb': (lambda node: goal(node, 'name', String(data='x' * 20_000_000)), 1.0),
    'latent_20_mb': (
        lambda node: goal(node, 'latent', Float32MultiArray(data=array('f', bytes(20_000_000)))),
        1.0,
    ),
    'goal_100_mb': (lambda node: goal(node, 'image', white(5774)), 0.5),
    'settings': (settings, 5.0),
}


def main(name: str) -> None:
    """Publish until killed."""
    rclpy.init()
    node = rclpy.create_node('noise')
    make, rate = NOISES[name]
    send = make(node)
    while True:
        send()
        rclpy.spin_once(node, timeout_sec=0.0)
        time.sleep(1 / rate)


if __name__ == '__main__':
    main(sys.argv[1])
