# SPDX-License-Identifier: Apache-2.0
"""Read any rosbag: ROS 1 and 2, sqlite3 and mcap, split, compressed, with or without metadata."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, ExitStack
from heapq import merge
from itertools import chain
import struct
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from rosbags.interfaces import Connection
from rosbags.typesys.store import Typestore
from smwm_ros.bags.reading.find import Bag, ROS1
from smwm_ros.bags.reading.open import Opener, Source
from smwm_ros.bags.reading.typestore import normal_type, typestore, undefined
from smwm_ros.bags.reading.zstd import unpack_all
from smwm_ros.errors import (
    BagError,
    CodecError,
    did_you_mean,
    one_line,
    place,
    SmwmError,
    video_hint,
)
from smwm_ros.text import count_of

T = TypeVar('T')
_ZSTD = b'\x28\xb5\x2f\xfd'  # begins what zstd compressed


class Topic(NamedTuple):
    """What a bag holds of one topic."""

    name: str
    type: str  # 'sensor_msgs/msg/Image'
    messages: int


class Message(NamedTuple):
    """One message, not yet decoded."""

    topic: str
    stamp: int  # when it was received [ns]
    data: bytes


class DamagedBagError(BagError):
    """A bag whose index promised more than can be read; it may still be rescued."""


class BagReader:
    """One bag, opened by `with`; rescue reads all that is whole, whatever the index says."""

    def __init__(self, bag: Bag, rescue: bool = False) -> None:
        self.bag = bag
        self.where = ', '.join(str(path) for path in bag.paths[:2])
        self.topics: dict[str, Topic] = {}
        self.notes: list[str] = []  # what had to be repaired
        self._readers: list[Source] = []
        self._rescue = rescue
        self._as_written = False  # a clock stepped back: files are read one after the other
        self._connections: dict[tuple[str, str], list[Connection]] = {}  # by topic and type
        self._store: Typestore | None = None
        self._lacking: dict[str, list[str]] = {}  # type -> those that nobody defines
        self._stack = ExitStack()
        self.is_ros1 = bag.paths[0].name.endswith(ROS1)

    def __enter__(self) -> BagReader:
        """Open the files and read what they say about themselves."""
        with self._stack, self._damage('cannot be read'):
            opener = Opener(self.bag, self._stack, self._rescue)
            self._readers, self.notes = opener.sources, opener.notes
            self._as_written = opener.as_written
            self._index()
            self._stack = self._stack.pop_all()  # what was opened stays open
        if not self.count:
            self._stack.close()
            raise BagError(f'{self.where}: the bag is empty')
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def count(self) -> int:
        """Return the number of messages."""
        return sum(topic.messages for topic in self.topics.values())

    @property
    def start(self) -> int:
        """Return when the first message was received [ns]."""
        return min(reader.start_time for reader in self._readers if reader.message_count)

    @property
    def end(self) -> int:
        """Return just after the last message was received [ns]."""
        return max(reader.end_time for reader in self._readers if reader.message_count)

    def require(self, name: str, kind: str) -> Topic:
        """Return a topic that must be there and be of a type, or say what there is."""
        if name not in self.topics:
            there = ', '.join(f'{topic.name} ({topic.type})' for topic in self._sorted())
            hint = did_you_mean(name, self.topics).partition('valid: ')[0]
            raise BagError(f"{self.where}: no topic '{name}'; {hint}there are: {there}")
        found = self.topics[name].type
        if found != kind and (name, kind) not in self._connections:
            hint = video_hint(found) or f'expected {kind}'
            raise BagError(f'{self.where}: {name} is of type {found}, {hint}')
        self._choose(name, kind)
        return self.topics[name]

    def messages(
        self, topics: Collection[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """Yield the messages of some topics, in the order in which they were received."""
        wanted = [item for topic in topics for item in self._connections[self._key(topic)]]
        parts = []
        for reader in self._readers:
            mine = [connection for connection in wanted if connection in reader.connections]
            if mine:
                parts.append(reader.messages(mine, start, stop))
        with self._damage('damaged', DamagedBagError):
            sort = len(parts) > 1 and not self._as_written
            ordered = merge(*parts, key=lambda item: item[1]) if sort else chain(*parts)
            for connection, stamp, data in ordered:
                # What is asked of sqlite may be of any type.
                if type(stamp) is not int or type(data) is not bytes:
                    raise TypeError(f'{connection.topic}: a message at {stamp!r:.40} is no bytes')
                yield Message(connection.topic, stamp, self._plain(data))

    def glance(self, topics: Collection[str], looks: int) -> Iterator[Message]:
        """Yield the first message of each topic in each of several stretches of the bag."""
        step = max(-(-(self.end - self.start) // looks), 1)
        for start in range(self.start, self.end, step):
            missing = set(topics)
            # sqlite sorts all that is asked for before it gives the first: ask for little.
            for low, high in ((0, step // 32), (step // 32, step)):
                if missing and low < high:
                    for message in self.messages(list(missing), start + low, start + high):
                        if message.topic in missing:
                            missing.remove(message.topic)
                            yield message
                        if not missing:
                            break

    def decode(self, message: Message) -> Any:
        """Turn the bytes of a message into its fields."""
        kind, store = self.topics[message.topic].type, self._types()
        if flaw := self.undefined(message.topic):
            raise BagError(f'{self.where}: {message.topic}: {flaw}')
        try:
            if self.is_ros1:
                return store.deserialize_ros1(message.data, kind)
            return store.deserialize_cdr(message.data, kind)
        except Exception as error:
            raise CodecError(
                f'{message.topic}: {_size(message)} is no {kind}: {one_line(error)}'
            ) from error

    def undefined(self, topic: str) -> str:
        """Say that the messages of a topic cannot be read for want of a definition, or nothing."""
        kind = self.topics[topic].type
        if kind not in self._lacking:
            self._lacking[kind] = undefined(kind, self._types())
        if not self._lacking[kind]:
            return ''
        words = f'no definition of {", ".join(self._lacking[kind])} in the bag'
        return f'{words}; --msgs FOLDER takes .msg files'

    def has_header(self, topic: str) -> bool:
        """Tell whether messages of a topic begin with a header, and so with a stamp."""
        fields = self.fields(self.topics[topic].type)
        return bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'

    def fields(self, kind: str) -> Any:
        """Return the fields of a type of message as rosbags describes them, if they are known."""
        return self._types().fielddefs.get(kind, ((), ()))[1]

    def header_stamp(self, message: Message) -> int:
        """Return the stamp of a message that begins with a header, without decoding it [ns]."""
        # Four bytes come first in both: the CDR preamble of ROS 2, the sequence number of ROS 1.
        if len(message.data) < 12:
            raise CodecError(f'{message.topic}: {_size(message)} holds no header')
        order = '>' if not self.is_ros1 and message.data[1] == 0 else '<'
        seconds, nanoseconds = struct.unpack_from(f'{order}iI', message.data, 4)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    def _plain(self, data: bytes) -> bytes:
        """Unpack a message that was compressed by itself, where no metadata.yaml told of it."""
        if self.is_ros1 or data[:4] != _ZSTD:  # no message of ROS 2 begins so
            return data
        try:
            return unpack_all('zstd', data)
        except Exception:
            return data  # counted as damaged when it is decoded

    def _sorted(self) -> list[Topic]:
        return sorted(self.topics.values())

    def _index(self) -> None:
        """Gather the topics of all files."""
        for reader in self._readers:
            for connection in reader.connections:
                key = connection.topic, normal_type(connection.msgtype)
                self._connections.setdefault(key, []).append(connection)
        for name, kind in sorted(self._connections, key=lambda key: (self._messages(*key), key)):
            if name in self.topics and (other := self.topics[name]).messages:
                self.notes.append(
                    f'{name}: has {count_of(other.messages, "message")} of {other.type} and '
                    f'{self._messages(name, kind)} of {kind}; those of one type are read'
                )
            self._choose(name, kind)  # the type that most of its messages are of

    def _messages(self, name: str, kind: str) -> int:
        return sum(connection.msgcount for connection in self._connections[name, kind])

    def _choose(self, name: str, kind: str) -> None:
        """Hear only the messages of one type of a topic; others may have published there too."""
        self.topics[name] = Topic(name, kind, self._messages(name, kind))

    def _key(self, name: str) -> tuple[str, str]:
        return name, self.topics[name].type

    def _types(self) -> Typestore:
        """Return the types of all topics."""
        if self._store is None:
            connections = [item for group in self._connections.values() for item in group]
            with self._damage('cannot be read'):
                self._store = typestore(connections, self.is_ros1, self.bag.msgs)
        return self._store

    @contextmanager
    def _damage(self, what: str, kind: type[BagError] = BagError) -> Iterator[None]:
        """Turn what a damaged file raises into one line."""
        try:
            yield
        except SmwmError:
            raise
        except Exception as error:  # a file may raise anything
            raise kind(f'{self.where}: {what}: {one_line(error)}') from error


def with_rescue(bag: Bag, use: Callable[[BagReader], T]) -> T:
    """Read a bag; if it proves to be damaged half-way, begin again with what is whole of it."""
    try:
        with BagReader(bag) as reader:
            return use(reader)
    except DamagedBagError as error:
        try:
            with BagReader(bag, rescue=True) as reader:
                return use(reader)
        except DamagedBagError:
            raise error from None
    except (SmwmError, OSError):  # reading raises no OSError, but writing may
        raise
    except Exception as error:  # what is in a bag may be anything
        raise BagError(f'{bag.paths[0]}: cannot be used: {place(error)}') from error


def _size(message: Message) -> str:
    return f'a message of {count_of(len(message.data), "byte")}'
