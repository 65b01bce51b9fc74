# SPDX-License-Identifier: Apache-2.0
"""Write messages that are serialised already, as they come from a running robot, to a rosbag2."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from rosbags.interfaces import Connection, Qos, QosDurability
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore
from smwm_ros.bags.reading.typestore import definitions, video_types
from smwm_ros.bags.writing.blank import jazzy
from smwm_ros.bags.writing.writer import RELIABLE
from smwm_ros.errors import BagError, did_you_mean, writing

LATCHED = RELIABLE._replace(durability=QosDurability.TRANSIENT_LOCAL)


class RawWriter:
    """Writes one bag in mcap; topics may be added at any time."""

    def __init__(self, path: Path, store: Typestore | None = None, compress: bool = False) -> None:
        self._path = path
        self._store = get_typestore(Stores.EMPTY) if store is None else store
        self._connections: dict[str, Connection] = {}
        with writing(path, WriterError):
            self._bag = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            if compress:
                self._bag.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._bag.open()

    def add_topic(
        self, topic: str, kind: str, texts: Mapping[str, str], latched: bool = False
    ) -> None:
        """Add a topic; texts: message definitions that the writer has not, by type."""
        self._register(texts)
        with writing(self._path, WriterError):
            self._connections[topic] = self._bag.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=[_qos(latched)]
            )

    def write(self, topic: str, data: bytes, received: int) -> None:
        """Write a message at its receive time [ns]."""
        with writing(self._path, WriterError):
            self._bag.write(self._connections[topic], received, data)

    def flush(self) -> None:
        """Hand all messages to the system, so that they outlive this process."""
        storage = self._bag.storage
        assert isinstance(storage, McapWriter)
        with writing(self._path, WriterError):
            if storage.chunk.msgs:
                storage.close_chunk()
            storage.bio.flush()

    def close(self) -> None:
        """Write the index and metadata.yaml."""
        with writing(self._path, WriterError):
            self._bag.close()

    def abort(self) -> None:
        """Close the file without its index."""
        with suppress(OSError):  # on a full disk this fails as well
            self._bag.abort()

    def _register(self, texts: Mapping[str, str]) -> None:
        """Register message types; those of ROS 2 Jazzy have their constants, too."""
        known = jazzy().fielddefs
        for name, text in texts.items():
            if name in self._store.fielddefs:
                continue
            found = get_types_from_msg(text, name)[name]
            # rclpy gives a char as a uint8, which it is, and an empty message without fields.
            same = name in known and (
                not found[1] or repr(found[1]) == repr(known[name][1]).replace("'char'", "'uint8'")
            )
            self._store.register({name: known[name] if same else found})


@contextmanager
def open_writer(
    path: Path, types: Mapping[str, str], msgs: Collection[Path] = ()
) -> Iterator[RawWriter]:
    """Open a new bag for topics of some message types; msgs: folders that define others."""
    store = jazzy()
    more = {**video_types(), **definitions(msgs)}
    if any(kind in more for kind in types.values()):
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
    bag = RawWriter(path, store)
    try:
        for topic, kind in types.items():
            bag.add_topic(topic, kind, {})
        yield bag
        bag.close()
    finally:
        bag.abort()


def _qos(latched: bool) -> Qos:
    """Return the QoS that a player of the bag publishes with."""
    return LATCHED if latched else RELIABLE
