# SPDX-License-Identifier: Apache-2.0
"""Write messages that are serialised already, as they come from a running robot, to a rosbag2."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import get_typestore, Stores
from smwm_ros.bags.reading.typestore import definitions
from smwm_ros.bags.writing.blank import jazzy
from smwm_ros.errors import BagError, did_you_mean, writing


class RawWriter:
    """Writes one bag with some topics; made by `open_writer`."""

    def __init__(self, bag: Writer, connections: Mapping[str, Connection]) -> None:
        self._bag, self._connections = bag, connections

    def write(self, topic: str, data: bytes, received: int) -> None:
        """Write a message at its receive time [ns]."""
        self._bag.write(self._connections[topic], received, data)


@contextmanager
def open_writer(
    path: Path, types: Mapping[str, str], msgs: Collection[Path] = ()
) -> Iterator[RawWriter]:
    """Open a new bag for topics of some message types; msgs: folders that define others."""
    store = jazzy()
    if more := definitions(msgs):
        store = get_typestore(Stores.ROS2_JAZZY)
        store.register({name: kind for name, kind in more.items() if name not in store.fielddefs})
    for kind in types.values():
        if kind not in store.fielddefs:
            package = kind.split('/')[0]
            known = [name for name in store.fielddefs if name.split('/')[0] == package]
            raise BagError(
                f"'{kind}': has no definition here; give its .msg files with --msgs FOLDER, or "
                f'correct it: {did_you_mean(kind, known)}'
            )
    with (
        writing(path, WriterError),
        Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag,
    ):
        yield RawWriter(
            bag,
            {
                topic: bag.add_connection(topic, kind, typestore=store)
                for topic, kind in types.items()
            },
        )
