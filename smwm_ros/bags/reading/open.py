# SPDX-License-Identifier: Apache-2.0
"""Open the files of a recording: by their index, or without it where they are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2 import ReaderError as Reader2Error
from smwm_ros.bags.reading.find import Bag, ROS1, write_ahead
from smwm_ros.bags.reading.recover_mcap import CutMcap
from smwm_ros.bags.reading.recover_ros1 import CutBag
from smwm_ros.bags.reading.recover_sqlite import CutSqlite
from smwm_ros.bags.reading.sqlite_bounds import require_plain_tables
from smwm_ros.bags.reading.steps import files_step_back, steps_back
from smwm_ros.bags.reading.zstd import MOST, require_room, zstd
from smwm_ros.errors import BagError
from smwm_ros.text import count_of

Source = Reader1 | Reader2 | CutMcap | CutSqlite | CutBag
_APART = 1_000_000_000  # metadata.yaml may be wrong by so much [ns]
_BLOCK = 1 << 20  # bytes unpacked at once
_TOPICS = 5000  # of a recording
_SAID = 300  # characters of what rosbags says


class SteppedError(Reader2Error):
    """The clock stepped back, and what was written after that must not be sorted before it."""


class Opener:
    """Opens files one by one, until the stack is closed."""

    def __init__(self, bag: Bag, stack: ExitStack, rescue: bool) -> None:
        self.sources: list[Source] = []
        self.notes: list[str] = []  # what had to be repaired
        self.as_written = False  # the clock stepped back: files follow each other
        self._bag = bag
        self._stack = stack
        self._rescue = rescue  # do not trust an index
        for path in bag.paths:
            self._open(path)
        if files_step_back(self.sources) and not self.as_written:
            self.as_written = True
            self.notes.append('the clock stepped back from one file to the next')

    def _open(self, path: Path) -> None:
        """Open one file or folder; what rosbags refuses is read without index and metadata."""
        plain = self._unpacked(path) if path.suffix == '.zstd' else path
        require_plain_tables(path)
        if self._rescue:
            self._open_anyway(plain, Reader2Error('it is damaged.'))
            return
        if plain.name.endswith(ROS1):
            try:
                with ExitStack() as stack:
                    reader1 = stack.enter_context(Reader1(plain))
                    _require_no_step(reader1)
                    self._stack.enter_context(stack.pop_all())
                    self.sources.append(reader1)
            except Exception as error:  # a file may raise anything
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
                require_few(len(reader.connections), plain)
                _require_no_step(reader)
                if not reader.message_count or (_is_indexed(reader) and not _is_crowded(reader)):
                    self._stack.enter_context(stack.pop_all())
                    self.sources.append(reader)
                    return
        except Exception as error:  # a file may raise anything
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
        if isinstance(error, BagError):
            raise error
        reason = ' '.join(str(error).split())[:_SAID].rstrip('.') or type(error).__name__
        self.as_written |= isinstance(error, SteppedError)
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
        source = None
        try:
            source = readers[path.suffix](path)
            self._stack.enter_context(source)
        except Exception:
            if source and (whose := source.foreign()):
                raise Reader2Error(whose) from None
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
                    require_room(path.stat().st_size, out.tell())
            except (EOFError, zstd.ZstdError) as error:
                if not out.tell():
                    raise
                self.notes.append(f'{path.name}: unpacked in part: {error}')
        return unpacked


def _require_no_step(reader: Reader1 | Reader2) -> None:
    """Leave it to the readers of our own, which keep the order of writing, if the clock steps."""
    if back := steps_back(reader):
        raise SteppedError(f'its clock stepped back by {back:.3g} s while it was recorded.')


def _flaw(reader: Reader2) -> str:
    """Say how the metadata.yaml of a folder differs from what its files hold, or nothing."""
    files = getattr(reader.storage, 'storages', None)
    if files is None:
        return ''
    inside = [item for file in files for item in file.connections if item.msgcount]
    told, there = _counts(reader.connections), _counts(inside)
    if told != there:
        said, found = sum(told.values()), sum(there.values())
        words = f'metadata.yaml counts {count_of(said, "message")}, its files {found}'
        return f'{words}{(said == found) * ", elsewhere"}.'
    if not all(any(_is(item, other) for other in reader.connections) for item in inside):
        return 'metadata.yaml names other types or QoS than its files.'
    first = min((file.metadata.start_time for file in files), default=0)
    last = max((file.metadata.end_time for file in files), default=0)
    if max(abs(reader.start_time - first), abs(reader.end_time - last)) > _APART:
        return 'metadata.yaml gives another time than its files.'
    return ''


def _is_indexed(reader: Reader2) -> bool:
    """Tell whether rosbags can find a time in every file of a recording."""
    files = getattr(reader.storage, 'storages', [reader.storage])
    return all(getattr(file, 'chunks', True) for file in files)


def _is_crowded(reader: Reader2) -> bool:
    """Tell whether so many chunks lie beside each other in time that merging them takes much."""
    files = getattr(reader.storage, 'storages', [reader.storage])
    edges = []
    for chunk in (chunk for file in files for chunk in getattr(file, 'chunks', ())):
        edges.append((chunk.message_start_time, chunk.uncompressed_size))
        edges.append((chunk.message_end_time + 1, -chunk.uncompressed_size))
    return max(accumulate(size for _, size in sorted(edges)), default=0) > 2 * MOST


def require_few(topics: int, path: Path) -> None:
    """Refuse more topics than any robot has: much of what follows looks at each with each."""
    if topics > _TOPICS:
        raise BagError(f'{path}: cannot be read: {topics} topics; expected at most {_TOPICS}')


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
