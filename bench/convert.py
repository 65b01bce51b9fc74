# SPDX-License-Identifier: Apache-2.0
"""
How fast `smwm convert` is, beside a bare loop over the same bag.

The bare loop reads with rosbags, decodes and resizes each frame with cv2, and drops it; it is the
limit of a converter built on them. Where ours is ahead of it, it is because it halves an image
before it averages it; so a second loop does the same, and shows what all the rest costs. All run
with one worker, in turns, and the medians count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import platform
from statistics import median
import sys
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.convert import convert
from smwm_ros.bags.write import new_message
from smwm_ros.config import Config
from smwm_ros.core.images import fit
from smwm_ros.load import load_config

WIDTH, HEIGHT, SIZE = 640, 480, 64
DT = 100_000_000  # a frame and a command every tick: no frame is left out by either [ns]
TARGET = 0.85
IMAGE, JPEG = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
KINDS = {
    'raw mcap': (IMAGE, StoragePlugin.MCAP),
    'jpeg mcap': (JPEG, StoragePlugin.MCAP),
    'raw sqlite3': (IMAGE, StoragePlugin.SQLITE3),
}


def write_bag(path: Path, kind: str, storage: StoragePlugin, frames: int) -> None:
    """Write a bag of smooth, moving pictures, and of commands."""
    store = get_typestore(Stores.ROS2_JAZZY)
    image, command = new_message(store, kind), new_message(store, 'geometry_msgs/msg/TwistStamped')
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 12, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with Writer(path, version=9, storage_plugin=storage) as bag:
        camera = bag.add_connection('/camera/image_raw', kind, typestore=store)
        topic = bag.add_connection('/cmd_vel', command.__msgtype__, typestore=store)
        for number in range(frames):
            stamp = 10**18 + number * DT
            planes = [(x + 3 * number) // 4, (y + 2 * number) // 3, (x + y + number) // 5]
            pixels = (np.stack(planes, -1) % 240).astype(np.uint8) + noise
            if kind == JPEG:
                image.format = 'jpeg'
                image.data = cv2.imencode('.jpg', pixels)[1].ravel()
            else:
                image.height, image.width, image.step = HEIGHT, WIDTH, 3 * WIDTH
                image.encoding, image.data = 'rgb8', pixels.ravel()
            command.twist.linear.x = float(np.sin(number / 10))
            for msg, connection in ((image, camera), (command, topic)):
                msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
                bag.write(connection, stamp, store.serialize_cdr(msg, connection.msgtype))


def shrink(pixels: Any) -> Any:
    """Resize as anyone would."""
    return cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def shrink_as_we_do(pixels: Any) -> Any:
    """Resize as the converter does."""
    return fit(pixels, SIZE, 'stretch')


def bare_loop(path: Path, resize: Callable[[Any], Any]) -> int:
    """Read, decode, resize and drop every frame."""
    frames = 0
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            msg: Any = reader.deserialize(data, connection.msgtype)
            if connection.msgtype == IMAGE:
                pixels = msg.data.reshape(msg.height, msg.width, 3)
            elif connection.msgtype == JPEG:
                pixels = cv2.imdecode(msg.data, cv2.IMREAD_COLOR)
            else:
                continue
            resize(pixels)
            frames += 1
    return frames


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    begin = perf_counter()
    work()
    return perf_counter() - begin


def measure(folder: Path, frames: int, rounds: int) -> list[dict[str, Any]]:
    """Compare both on each kind of bag."""
    rows = []
    for name, (kind, storage) in KINDS.items():
        path = folder / name.replace(' ', '_')
        write_bag(path, kind, storage, frames)
        config: Config = load_config(None, [f'robot.camera.type={kind}'])

        def ours(path: Path = path, config: Config = config) -> None:
            assert len(convert([path], folder / 'out', config, fresh=True).dataset) == frames

        def bare(path: Path = path) -> None:
            assert bare_loop(path, shrink) == frames

        def alike(path: Path = path) -> None:
            assert bare_loop(path, shrink_as_we_do) == frames

        bare(), ours()  # both find the bag in the page cache
        times = [(seconds(ours), seconds(bare), seconds(alike)) for _ in range(rounds)]
        value, limit, strict = (frames / median(column) for column in zip(*times, strict=True))
        for peer, peer_value, target in (
            ('bare loop', limit, TARGET),
            ('bare loop with our resize', strict, None),
        ):
            rows.append(
                {
                    'measure': f'convert {name} {WIDTH}x{HEIGHT} beside a {peer}',
                    'value': round(value, 1),
                    'unit': 'frames/s',
                    'target': target,
                    'peer': 'rosbags and cv2',
                    'peer_value': round(peer_value, 1),
                    'ratio': round(value / peer_value, 3),
                    'machine': f'{platform.machine()}, {cv2.getNumberOfCPUs()} CPUs, one worker',
                }
            )
    return rows


def main() -> int:
    """Run the comparison; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='in under a minute')
    parser.add_argument('--json', action='store_true', help='print one object a line')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        rows = measure(Path(folder), *((400, 5) if args.quick else (1500, 7)))
    for row in rows:
        print_row(row, args.json)
    return int(any(row['target'] and row['ratio'] < row['target'] for row in rows))


def print_row(row: dict[str, Any], as_json: bool) -> None:
    """Print a result for a program or for a reader."""
    if as_json:
        print(json.dumps(row))
    else:
        print(
            f'{row["measure"]}: {row["value"]:.0f} {row["unit"]}, {row["peer"]} '
            f'{row["peer_value"]:.0f}, ratio {row["ratio"]:.2f}'
            + (f' (target {row["target"]})' if row['target'] else '')
        )


if __name__ == '__main__':
    sys.exit(main())
