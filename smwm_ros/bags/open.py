# SPDX-License-Identifier: Apache-2.0
"""Open the files of a recording: by their index, or without it where they are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
import struct
from tempfile import TemporaryDirectory
from zlib import error as ZlibError  # noqa: N812

import apsw
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag1 import ReaderError as Reader1Error
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2 import ReaderError as Reader2Error
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError
from smwm_ros.bags.find import Bag, ROS1, write_ahead
from smwm_ros.bags.packed import zstd
from smwm_ros.bags.recover import CutMcap
from smwm_ros.bags.recover_ros1 import CutBag
from smwm_ros.bags.recover_sqlite import CutSqlite
from smwm_ros.errors import BagError

# What reading a damaged file raises, beside the errors of rosbags itself.
DAMAGE = (
    Reader1Error,
    Reader2Error,
    TypesysError,
    SerdeError,
    apsw.Error,
    zstd.ZstdError,
    ZlibError,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,  # lz4
    AssertionError,
    LookupError,
    ValueError,
    TypeError,
)
Source = Reader1 | Reader2 | CutMcap | CutSqlite | CutBag
_APART = 1_000_000_000  # metadata.yaml may be wrong by so much [ns]
_BLOCK = 1 << 20  # bytes unpacked at once


class Opener:
    """Opens files one by one, until the stack is closed."""

    def __init__(self, bag: Bag, stack: ExitStack, rescue: bool) -> None:
        self.sources: list[Source] = []
        self.notes: list[str] = []  # what had to be repaired
        self._bag = bag
        self._stack = stack
        self._rescue = rescue  # do not trust an index
        for path in bag.paths:
            self._open(path)

    def _open(self, path: Path) -> None:
        """Open one file or folder; what rosbags refuses is read without index and metadata."""
        plain = self._unpacked(path) if path.suffix == '.zstd' else path
        if self._rescue:
            self._open_anyway(plain, Reader2Error('it is damaged.'))
            return
        if plain.name.endswith(ROS1):
            try:
                self.sources.append(self._stack.enter_context(Reader1(plain)))
            except DAMAGE as error:
                self._open_anyway(plain, error)
            return
        if write_ahead(plain):
            self._open_anyway(plain, Reader2Error('it was never closed.'))
            return
        try:
            with ExitStack() as stack:
                reader = stack.enter_context(Reader2(plain))
                if flaw := _flaw(reader):
                    raise Reader2Error(flaw)
                told = sum(connection.msgcount for connection in reader.connections)
                if plain.suffix == '.mcap' and not told:
                    raise Reader2Error('its index tells of no messages.')
                if not reader.message_count or _is_indexed(reader):
                    self._stack.enter_context(stack.pop_all())
                    self.sources.append(reader)
                    return
        except DAMAGE as error:
            self._open_anyway(plain, error)
            return
        self._open_unindexed(plain)

    def _open_unindexed(self, path: Path) -> None:
        """Read mcap without chunks by an index of our own: rosbags reads all to find a time."""
        for file in self._bag.files() if path.is_dir() else [path]:
            plain = self._unpacked(file) if file.suffix == '.zstd' else file
            self.sources.append(self._stack.enter_context(CutMcap(plain)))

    def _open_anyway(self, path: Path, error: Exception) -> None:
        """Read a folder file by file, and a file message by message."""
        reason = ' '.join(str(error).split()).rstrip('.')
        if isinstance(error, LookupError):
            reason = f'rosbags does not know {reason}'
        if path.is_dir():
            files = self._bag.files()
            if not files:
                raise error
            self.notes.append(f'{path.name}: read file by file: {reason}')
            for file in files:
                self._open(file)
            return
        readers: dict[str, type[CutMcap] | type[CutSqlite] | type[CutBag]]
        readers = {'.mcap': CutMcap, '.db3': CutSqlite, '.bag': CutBag, '.active': CutBag}
        try:
            source = readers[path.suffix](path)
            self._stack.enter_context(source)
        except (BagError, *DAMAGE):
            raise error from None
        self.sources.append(source)
        self.notes.append(f'{path.name}: {reason}; {source.recovered()}')

    def _unpacked(self, path: Path) -> Path:
        """Unpack a file that is compressed as a whole; of one that is cut off, what is there."""
        folder = self._stack.enter_context(TemporaryDirectory(prefix='smwm-'))
        unpacked = Path(folder, path.stem)
        with (
            path.open('rb') as packed,
            zstd.open(packed, 'rb') as file,
            unpacked.open('wb') as out,
        ):
            try:
                while block := file.read1(_BLOCK):
                    out.write(block)
            except (EOFError, zstd.ZstdError) as error:
                if not out.tell():
                    raise
                self.notes.append(f'{path.name}: unpacked in part: {error}')
        return unpacked


def _flaw(reader: Reader2) -> str:
    """Say how the metadata.yaml of a folder differs from what its files hold, or nothing."""
    files = getattr(reader.storage, 'storages', None)
    if files is None:
        return ''
    inside = [item for file in files for item in file.connections if item.msgcount]
    told, there = _counts(reader.connections), _counts(inside)
    if told != there:
        words = 'metadata.yaml tells of {} messages, its files of {}'
        same = sum(told.values()) == sum(there.values())
        return f'{words.format(sum(told.values()), sum(there.values()))}{same * ", elsewhere"}.'
    if not all(any(_is(item, other) for other in reader.connections) for item in inside):
        return 'metadata.yaml tells of other types or QoS than its files.'
    first = min((file.metadata.start_time for file in files), default=0)
    last = max((file.metadata.end_time for file in files), default=0)
    if max(abs(reader.start_time - first), abs(reader.end_time - last)) > _APART:
        return 'metadata.yaml tells of another time than its files.'
    return ''


def _is_indexed(reader: Reader2) -> bool:
    """Tell whether rosbags can find a time in every file of a recording."""
    files = getattr(reader.storage, 'storages', [reader.storage])
    return all(getattr(file, 'chunks', True) for file in files)


def _counts(connections: Iterable[Connection]) -> Counter[str]:
    """Count the messages of each topic."""
    counts: Counter[str] = Counter()
    for item in connections:
        counts[item.topic] += item.msgcount
    return +counts


def _is(item: Connection, other: Connection) -> bool:
    """Tell whether rosbags takes two for the same; it passes over what has no counterpart."""
    known = item.digest and other.digest
    alike = item.topic == other.topic and item.msgtype == other.msgtype and item.ext == other.ext
    return alike and (not known or item.digest == other.digest)
