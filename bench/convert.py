# SPDX-License-Identifier: Apache-2.0
"""
How fast `smwm convert` is, beside a bare loop over the same bag.

The bare loop reads with rosbags, decodes and resizes each frame with cv2, and drops it; it is the
limit of a converter built on them. Where ours is ahead of it, it is because it halves an image
before it averages it; so a second loop does the same, and shows what all the rest costs. All run
with one worker, in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from common import interleaved, main, paired_ratio, Row
import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.convert import convert
from smwm_ros.bags.write import new_message
from smwm_ros.core.images import fit
from smwm_ros.load import load_config

WIDTH, HEIGHT, SIZE = 640, 480, 64
DT = 100_000_000  # a frame and a command every tick: no frame is left out by either [ns]
IMAGE, JPEG = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
KINDS = {
    'raw_mcap': (IMAGE, StoragePlugin.MCAP),
    'jpeg_mcap': (JPEG, StoragePlugin.MCAP),
    'raw_sqlite3': (IMAGE, StoragePlugin.SQLITE3),
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


def measure(quick: bool) -> Iterator[Row]:
    """Compare both on each kind of bag."""
    cv2.setNumThreads(1)
    frames, rounds = (400, 5) if quick else (1500, 7)
    with TemporaryDirectory() as name:
        for kind in KINDS:
            yield from compare(Path(name), kind, frames, rounds)


def compare(folder: Path, kind: str, frames: int, rounds: int) -> Iterator[Row]:
    """Convert one kind of bag beside the bare loops."""
    camera, storage = KINDS[kind]
    path = folder / kind
    write_bag(path, camera, storage, frames)
    config = load_config(None, [f'robot.camera.type={camera}'])

    def ours() -> None:
        assert len(convert([path], folder / 'out', config, fresh=True).dataset) == frames

    def bare() -> None:
        assert bare_loop(path, shrink) == frames

    def alike() -> None:
        assert bare_loop(path, shrink_as_we_do) == frames

    bare(), ours()  # both find the bag in the page cache
    seconds = interleaved({'ours': ours, 'bare': bare, 'alike': alike}, rounds)
    for peer, measure, words in (
        ('bare', f'convert.{kind}', 'bare loop of rosbags and cv2'),
        ('alike', f'convert.{kind}.same_resize', 'bare loop with our resize'),
    ):
        yield Row(
            measure,
            frames / median(seconds['ours']),
            'frames/s',
            peer=words,
            peer_value=frames / median(seconds[peer]),
            ratio=paired_ratio(seconds[peer], seconds['ours']),
        )


if __name__ == '__main__':
    main(measure, __doc__)
