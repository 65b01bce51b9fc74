# SPDX-License-Identifier: Apache-2.0
"""Recordings of known contents, for the tests."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.reading.reader import BagReader
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.load import load_config

STORE = get_typestore(Stores.ROS2_JAZZY)
TICK = 100_000_000  # [ns]
BEGIN = 1_700_000_000_000_000_000  # [ns]


class TinyBag:
    """Writes a bag message by message; times are in ticks, and fractions of them are welcome."""

    def __init__(
        self,
        path: Path,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: tuple[CompressionMode, CompressionFormat] | None = None,
    ) -> None:
        self.path = path
        self._bag = Writer(path, version=9, storage_plugin=storage)
        if compression:
            self._bag.set_compression(*compression)
        self._bag.open()
        self._topics: dict[str, Any] = {}

    def send(self, topic: str, msg: Any, tick: float, late: float = 0.0) -> None:
        """Write a message that was stamped at a tick and received some ticks later."""
        stamp = BEGIN + round(tick * TICK)
        if topic not in self._topics:
            self._topics[topic] = self._bag.add_connection(topic, msg.__msgtype__, typestore=STORE)
        if hasattr(msg, 'header'):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
        data = STORE.serialize_cdr(msg, msg.__msgtype__)
        self._bag.write(self._topics[topic], stamp + round(late * TICK), data)

    def frame(self, tick: float, value: int | None = None, late: float = 0.0) -> None:
        """Write a frame of 20x16 pixels that all show the tick, modulo 256."""
        shown = round(tick) % 256 if value is None else value
        self.send('/camera/image_raw', image(np.full((16, 20, 3), shown)), tick, late)

    def command(self, tick: float, value: float | None = None, late: float = 0.0) -> None:
        """Write a command that encodes the tick."""
        msg = new_message(STORE, 'geometry_msgs/msg/TwistStamped')
        msg.twist.linear.x = tick if value is None else value
        msg.twist.angular.z = -msg.twist.linear.x
        self.send('/cmd_vel', msg, tick, late)

    def pose(self, tick: float, x: float) -> None:
        """Write odometry."""
        msg = new_message(STORE, 'nav_msgs/msg/Odometry')
        msg.pose.pose.position.x = x
        self.send('/odom', msg, tick)

    def close(self) -> Path:
        """Finish the bag."""
        self._bag.close()
        return self.path


def image(pixels: Any, encoding: str = 'rgb8') -> Any:
    """Make an Image message."""
    msg = new_message(STORE, 'sensor_msgs/msg/Image')
    msg.height, msg.width = pixels.shape[:2]
    msg.encoding, msg.step = encoding, pixels.shape[1] * pixels.shape[2]
    msg.data = np.ascontiguousarray(pixels, dtype=np.uint8).ravel()
    return msg


MakeBag = Callable[..., Path]


def made(tmp_path: Path, bag: Path, *words: str, out: str = 'out') -> TransitionDataset:
    """Convert a bag of 16 by 16 pixels unless words say otherwise."""
    config = load_config(None, ['dataset.image_size=16', *words])
    return convert([bag], tmp_path / out, config).dataset


def read(path: Path) -> list[tuple[str, int, Any]]:
    """Return every message of the one bag at a path."""
    (bag,) = find_bags([path])
    with BagReader(bag) as reader:
        return [
            (message.topic, message.stamp, reader.decode(message))
            for message in reader.messages(list(reader.topics))
        ]


def inspect(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """Return what `smwm inspect --json` prints of one path."""
    assert main(['inspect', '--json', *map(str, words)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[0])
    return found


def shown(data: TransitionDataset) -> NDArray[Any]:
    """Return the number that each row's frame shows."""
    return data.pixels(np.arange(len(data)))[:, 8, 8, 0].astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def without_pictures(page: str) -> str:
    """Return a page without the letters of its pictures, which may spell anything."""
    return re.sub(r'base64,[A-Za-z0-9+/=]*', 'base64,', page)
