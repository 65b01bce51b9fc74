# SPDX-License-Identifier: Apache-2.0
"""Write serialised messages through rosbag2 itself, where ROS 2 is installed with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smwm_ros.bags.reading.find import METADATA
from smwm_ros.bags.writing.raw import RawWriter
from smwm_ros.errors import OutputError, writing

STORAGE = 'mcap'
_FAST = 'zstd_fast'  # preset of the mcap plug-in of rosbag2 that compresses


class Rosbag2Writer:
    """Writes one bag with rosbag2_py; it finds the message definitions by itself."""

    def __init__(self, rosbag2_py: Any, path: Path, compress: bool = False) -> None:
        self._library, self._path = rosbag2_py, path
        self._writer = rosbag2_py.SequentialWriter()
        preset = {'storage_preset_profile': _FAST} if compress else {}
        storage = rosbag2_py.StorageOptions(uri=str(path), storage_id=STORAGE, **preset)
        with writing(path, RuntimeError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer.open(storage, rosbag2_py.ConverterOptions('cdr', 'cdr'))

    def add_topic(
        self, topic: str, kind: str, texts: Mapping[str, str], latched: bool = False
    ) -> None:
        """Add a topic; its texts and its QoS are left to rosbag2."""
        about = {'name': topic, 'type': kind, 'serialization_format': 'cdr'}
        make = self._library.TopicMetadata
        with writing(self._path, RuntimeError):
            try:
                self._writer.create_topic(make(id=0, **about))
            except TypeError:  # topics have no id in ROS 2 Humble
                self._writer.create_topic(make(**about))

    def write(self, topic: str, data: bytes, received: int) -> None:
        """Write a message at its receive time [ns]."""
        with writing(self._path, RuntimeError):
            self._writer.write(topic, data, received)

    def flush(self) -> None:
        """Leave it to rosbag2 when it hands messages to the system."""

    def close(self) -> None:
        """Write the index and metadata.yaml."""
        with writing(self._path, RuntimeError):
            if hasattr(self._writer, 'close'):
                self._writer.close()
            del self._writer  # in ROS 2 Humble this closes the file
        if not (self._path / METADATA).is_file():
            raise OutputError(f'{self._path}: rosbag2 wrote no {METADATA}')

    def abort(self) -> None:
        """Close the file, whatever becomes of it."""
        with suppress(OutputError, AttributeError):
            self.close()


EpisodeWriter = RawWriter | Rosbag2Writer


def rosbag2() -> Any:
    """Return rosbag2_py if it is installed and writes mcap, else None."""
    try:
        import rosbag2_py

        return rosbag2_py if STORAGE in rosbag2_py.get_registered_writers() else None
    except (ImportError, AttributeError, RuntimeError):  # absent, or of another ROS
        return None


def new_bag(path: Path, compress: bool) -> EpisodeWriter:
    """Begin a bag in mcap, by rosbag2 where it is installed."""
    if library := rosbag2():
        return Rosbag2Writer(library, path, compress)
    return RawWriter(path, compress=compress)
