# SPDX-License-Identifier: Apache-2.0
"""Open the files of a bag: with their index, or without it where they are damaged."""

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
from smwm_ros.bags.reading.recover_mcap import UnindexedMcap
from smwm_ros.bags.reading.recover_ros1 import UnindexedRos1Bag
from smwm_ros.bags.reading.recover_sqlite import DamagedSqlite
from smwm_ros.bags.reading.sqlite_bounds import require_plain_tables
from smwm_ros.bags.reading.steps import files_step_back, steps_back
from smwm_ros.bags.reading.zstd import MAX_SIZE, require_plausible_size, zstd
from smwm_ros.errors import BagError
from smwm_ros.text import count_of

Source = Reader1 | Reader2 | UnindexedMcap | DamagedSqlite | UnindexedRos1Bag
_MAX_TIME_ERROR = 1_000_000_000  # of the start and end in metadata.yaml [ns]
_BLOCK = 1 << 20  # bytes decompressed at once
_MAX_TOPICS = 5000  # in a bag
_MAX_REASON = 300  # characters shown of an error of rosbags


class ClockStepError(Reader2Error):
    """The clock stepped back: messages after the step must not be sorted before it."""


class Opener:
    """Open the files of a bag; they stay open until the stack is closed."""

    def __init__(self, bag: Bag, stack: ExitStack, recover: bool) -> None:
        self.sources: list[Source] = []
        self.notes: list[str] = []  # problems of the files, and what could be read anyway
        self.as_written = False  # the clock stepped back: read the files one after the other
        self._bag = bag
        self._stack = stack
        self._recover = recover  # read without index and metadata
        for path in bag.paths:
            self._open(path)
        if files_step_back(self.sources) and not self.as_written:
            self.as_written = True
            self.notes.append('the clock stepped back from one file to the next')

    def _open(self, path: Path) -> None:
        """Open a file or folder; without index and metadata if rosbags cannot read it."""
        plain = self._decompressed(path) if path.suffix == '.zstd' else path
        require_plain_tables(path)
        try:
            if self._recover:
                raise Reader2Error('it is damaged.')
            if write_ahead(plain):
                raise Reader2Error('it was never closed.')
            is_ros1 = plain.name.endswith(ROS1)
            is_open = self._open_ros1(plain) if is_ros1 else self._open_ros2(plain)
        except Exception as error:  # a file may raise anything
            self._open_recovered(plain, error)
        else:
            if not is_open:
                self._open_unindexed(plain)

    def _open_ros1(self, path: Path) -> bool:
        """Open a ROS 1 bag with its index; return True."""
        with ExitStack() as stack:
            reader = stack.enter_context(Reader1(path))
            _require_steady_clock(reader)
            self._stack.enter_context(stack.pop_all())
            self.sources.append(reader)
        return True

    def _open_ros2(self, path: Path) -> bool:
        """Open a ROS 2 bag with its index; return False if reading by that index is slow."""
        with ExitStack() as stack:
            reader = stack.enter_context(Reader2(path))
            if problem := _metadata_error(reader):
                raise Reader2Error(problem)
            indexed = sum(connection.msgcount for connection in reader.connections)
            if path.suffix == '.mcap' and not indexed:
                raise Reader2Error('its index lists no messages.')
            require_topic_count(len(reader.connections), path)
            _require_steady_clock(reader)
            if reader.message_count and (
                not _is_indexed(reader) or _has_overlapping_chunks(reader)
            ):
                return False
            self._stack.enter_context(stack.pop_all())
            self.sources.append(reader)
        return True

    def _open_unindexed(self, path: Path) -> None:
        """Read mcap with an index of our own where rosbags would read all to find a time."""
        for file in self._bag.files() if path.is_dir() else [path]:
            plain = self._decompressed(file) if file.suffix == '.zstd' else file
            self.sources.append(self._stack.enter_context(UnindexedMcap(plain)))

    def _open_recovered(self, path: Path, error: Exception) -> None:
        """Read a folder file by file, and a file message by message, because of an error."""
        if isinstance(error, BagError):
            raise error
        reason = ' '.join(str(error).split())[:_MAX_REASON].rstrip('.') or type(error).__name__
        self.as_written |= isinstance(error, ClockStepError)
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
        readers: dict[str, type[UnindexedMcap] | type[DamagedSqlite] | type[UnindexedRos1Bag]]
        readers = {
            '.mcap': UnindexedMcap,
            '.db3': DamagedSqlite,
            '.bag': UnindexedRos1Bag,
            '.active': UnindexedRos1Bag,
        }
        source = None
        try:
            source = readers[path.suffix](path)
            self._stack.enter_context(source)
        except Exception:
            if source and (problem := source.foreign_format()):
                raise Reader2Error(problem) from None
            raise error from None
        self.sources.append(source)
        self.notes.append(f'{path.name}: {reason}; {source.recovery_note()}')

    def _decompressed(self, path: Path) -> Path:
        """Decompress a whole file into a temporary folder; a truncated one as far as it goes."""
        folder = self._stack.enter_context(TemporaryDirectory(prefix='smwm-'))
        plain = Path(folder, path.stem)
        with (
            path.open('rb') as packed,
            zstd.open(packed, 'rb') as file,
            plain.open('wb') as out,
        ):
            try:
                while block := file.read1(_BLOCK):
                    out.write(block)
                    require_plausible_size(path.stat().st_size, out.tell())
            except (EOFError, zstd.ZstdError) as error:
                if not out.tell():
                    raise
                self.notes.append(f'{path.name}: decompressed in part: {error}')
        return plain


def _require_steady_clock(reader: Reader1 | Reader2) -> None:
    """Raise if the clock stepped back: only our own readers keep the order of writing."""
    if back := steps_back(reader):
        raise ClockStepError(f'the clock stepped back by {back:.3g} s during recording.')


def _metadata_error(reader: Reader2) -> str:
    """Return how metadata.yaml differs from the content of the files, or ''."""
    files = getattr(reader.storage, 'storages', None)
    if files is None:
        return ''
    stored = [item for file in files for item in file.connections if item.msgcount]
    expected, counts = _counts(reader.connections), _counts(stored)
    if expected != counts:
        total, found = sum(expected.values()), sum(counts.values())
        words = f'metadata.yaml lists {count_of(total, "message")}, its files contain {found}'
        return f'{words}{(total == found) * ", on other topics"}.'
    if not all(
        any(_same_connection(item, other) for other in reader.connections) for item in stored
    ):
        return 'metadata.yaml lists other message types or QoS than its files.'
    first = min((file.metadata.start_time for file in files), default=0)
    last = max((file.metadata.end_time for file in files), default=0)
    if max(abs(reader.start_time - first), abs(reader.end_time - last)) > _MAX_TIME_ERROR:
        return 'metadata.yaml has another start or end time than its files.'
    return ''


def _is_indexed(reader: Reader2) -> bool:
    """Return whether rosbags can seek to a time in every file."""
    files = getattr(reader.storage, 'storages', [reader.storage])
    return all(getattr(file, 'chunks', True) for file in files)


def _has_overlapping_chunks(reader: Reader2) -> bool:
    """Return whether so many chunks overlap in time that merging them needs much memory."""
    files = getattr(reader.storage, 'storages', [reader.storage])
    edges = []
    for chunk in (chunk for file in files for chunk in getattr(file, 'chunks', ())):
        edges.append((chunk.message_start_time, chunk.uncompressed_size))
        edges.append((chunk.message_end_time + 1, -chunk.uncompressed_size))
    return max(accumulate(size for _, size in sorted(edges)), default=0) > 2 * MAX_SIZE


def require_topic_count(topics: int, path: Path) -> None:
    """Raise at more topics than any robot has: some later steps are quadratic in them."""
    if topics > _MAX_TOPICS:
        raise BagError(f'{path}: cannot be read: {topics} topics, expected at most {_MAX_TOPICS}')


def _counts(connections: Iterable[Connection]) -> Counter[str]:
    """Count the messages of each topic."""
    counts: Counter[str] = Counter()
    for item in connections:
        counts[item.topic] += item.msgcount
    return +counts


def _same_connection(item: Connection, other: Connection) -> bool:
    """Return whether rosbags matches two connections; it skips those without a match."""
    known = item.digest and other.digest
    alike = item.topic == other.topic and item.msgtype == other.msgtype and item.ext == other.ext
    return alike and (not known or item.digest == other.digest)
