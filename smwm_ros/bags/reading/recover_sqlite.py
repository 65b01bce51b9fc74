# SPDX-License-Identifier: Apache-2.0
"""
Read the messages that sqlite can still read from a truncated or damaged file.

Messages are queried in the order of writing. Where sqlite raises an error, the next readable
message is searched for, so that a damaged page costs only the messages on it.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
import shutil
import struct
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import apsw
import numpy as np
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from smwm_ros.bags.reading.find import write_ahead
from smwm_ros.bags.reading.sqlite_bounds import open_file
from smwm_ros.bags.reading.steps import in_order
from smwm_ros.errors import BagError
from smwm_ros.text import count_of

_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
_MAX_ID = 1 << 32  # more messages than any recording has
_MAX_DAMAGED = 1000  # damaged places, after which reading ends
_NEXT = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'


class DamagedSqlite:
    """A damaged sqlite3 file, with the interface of a rosbags reader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Connection] = []
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self.damaged_places = 0  # where sqlite raised an error
        self._stack = ExitStack()

    def __enter__(self) -> DamagedSqlite:
        """Open the file, and list its readable messages."""
        with self._stack:
            self._db = self._connect()
            self._stack.callback(self._db.close)
            self._index()
            self._stack = self._stack.pop_all()  # the file stays open
        return self

    def _index(self) -> None:
        """List the id, topic and receive time of every readable message."""
        # Without this, sqlite refuses to open a truncated file.
        self._query('PRAGMA writable_schema=ON')
        stamps, ids, topics = array('q'), array('q'), array('q')
        for number, topic, stamp, _ in self._rows():
            ids.append(number)
            topics.append(topic)
            stamps.append(stamp)
        order = in_order(np.array(topics, np.int64), np.array(stamps, np.int64))
        self._stamps = np.array(stamps, np.int64)[order]
        self._ids, self._topics = np.array(ids, np.int64)[order], np.array(topics)[order]
        self.connections = self._read_topics()
        self.message_count = sum(connection.msgcount for connection in self.connections)
        if not self.message_count:
            raise BagError(f'{self.path}: cannot be read: it has no complete message')
        self.start_time, self.end_time = int(self._stamps.min()), int(self._stamps.max()) + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._stack.close()

    def foreign_format(self) -> str:
        """Return '': only ROS 2 writes bags in sqlite."""
        return ''

    def recovery_note(self) -> str:
        """Return how much could be read, as a sentence for the user."""
        whole = count_of(self.message_count, 'complete message')
        if write_ahead(self.path) and not self.damaged_places:
            return f'found {whole}, some in its -wal file'
        with self.path.open('rb') as file:
            head = file.read(32)
        (page,), (pages,) = struct.unpack('>H', head[16:18]), struct.unpack('>I', head[28:32])
        share = min(self.path.stat().st_size / max((page if page > 1 else 65536) * pages, 1), 1.0)
        if share == 1 and not self.damaged_places:
            return f'found {whole}'
        return (
            f'recovered {whole}; {share:.1%} of the file exists, with '
            f'{count_of(self.damaged_places, "damaged place")}'
        )

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield messages in the order of receive time."""
        wanted = {connection.id: connection for connection in connections or self.connections}
        low, high = start or 0, 2**63 - 1 if stop is None else stop
        for index in np.flatnonzero((self._stamps >= low) & (self._stamps < high)).tolist():
            topic = int(self._topics[index])
            if topic in wanted:
                sql = 'SELECT data FROM messages WHERE id = ?'
                ((data,),) = self._query(sql, int(self._ids[index]))
                yield wanted[topic], int(self._stamps[index]), data

    def _connect(self) -> apsw.Connection:
        """Open the file with its write-ahead log."""
        ahead = write_ahead(self.path)
        if ahead is None:
            return open_file(self.path, 'immutable=1')
        shared = self.path.with_name(f'{self.path.name}-shm')
        if not shared.exists():  # sqlite creates it
            self._stack.callback(shared.unlink, missing_ok=True)
        try:
            db = open_file(self.path, 'mode=ro')
            db.execute('PRAGMA schema_version')  # a query makes it open all files
            return db
        except apsw.CantOpenError:  # the folder is read-only
            folder = self._stack.enter_context(TemporaryDirectory(prefix='smwm-'))
            for path in (self.path, ahead):
                shutil.copy(path, folder)
            return open_file(Path(folder, self.path.name), 'mode=ro')

    def _read_topics(self) -> list[Connection]:
        """Return the topics, with the number of readable messages of each."""
        texts = {}
        with suppress(apsw.Error):  # bags of older versions have no definitions
            sql = (
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            )
            texts = {kind: (form, text) for kind, form, text in self._query(sql)}
        found = []
        for number, name, kind, encoding in self._query(
            'SELECT id, name, type, serialization_format FROM topics'
        ):
            form, text = texts.get(kind, ('', ''))
            definition = MessageDefinition(_FORMATS.get(form, MessageDefinitionFormat.NONE), text)
            ext = ConnectionExtRosbag2(encoding, [])
            count = int((self._topics == number).sum())
            found.append(Connection(number, name, kind, definition, '', count, ext, self))
        return found

    def _rows(self) -> Iterator[Any]:
        """Yield every readable message."""
        last = 0
        while last < _MAX_ID and self.damaged_places < _MAX_DAMAGED:
            try:
                for row in self._db.cursor().execute(_NEXT, (last,)):
                    if type(row[0]) is not int or row[0] <= last:
                        continue  # damaged pages point back at each other
                    last = row[0]
                    # Where a page is truncated, sqlite reads the rest of the row as NULL.
                    if [type(value) for value in row] == [int, int, int, bytes]:
                        yield row
                return
            except apsw.Error:
                self.damaged_places += 1
                last = self._next_readable(last)

    def _next_readable(self, last: int) -> int:
        """Return the smallest id after `last` whose successor can be read."""
        step = 1
        while not self._can_read_after(last + step):
            step *= 2
            if last + step >= _MAX_ID:
                return _MAX_ID
        low, high = last + step // 2, last + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._can_read_after(middle) else (middle, high)
        return high

    def _can_read_after(self, last: int) -> bool:
        """Return whether the message after an id can be read."""
        try:
            return self._db.cursor().execute(f'{_NEXT} LIMIT 1', (last,)).fetchone() is not None
        except apsw.Error:
            return False

    def _query(self, sql: str, *values: int) -> list[Any]:
        return list(self._db.cursor().execute(sql, values))
