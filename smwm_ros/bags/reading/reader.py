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
from smwm_ros.bags.reading.packets import picture_at, picture_of
from smwm_ros.bags.reading.typestore import normal_type, typestore, undefined
from smwm_ros.bags.reading.zstd import decompress_all
from smwm_ros.codec.video import video_codec, VideoPicture
from smwm_ros.config import IMAGE_TYPES
from smwm_ros.errors import (
    BagError,
    CodecError,
    did_you_mean,
    one_line,
    place,
    SmwmError,
)
from smwm_ros.text import count_of

T = TypeVar('T')
VIDEO_TOPIC = '/camera/image_raw'  # of the frames of a video file
_STAMP = 'builtin_interfaces/msg/Time'
_ZSTD = b'\x28\xb5\x2f\xfd'  # first bytes of zstd data


class Topic(NamedTuple):
    """A topic of a bag."""

    name: str
    type: str  # 'sensor_msgs/msg/Image'
    messages: int


class Message(NamedTuple):
    """One message, not yet deserialised."""

    topic: str
    stamp: int  # receive time [ns]
    data: bytes
    picture: VideoPicture | CodecError | None = None  # of a packet of video that was decoded


class DamagedBagError(BagError):
    """A bag of which less can be read than its index lists; reading without index may work."""


class BagReader:
    """One bag, opened by `with`; with recover it is read without its index."""

    def __init__(self, bag: Bag, recover: bool = False) -> None:
        self.bag = bag
        self.where = ', '.join(str(path) for path in bag.paths[:2])
        self.topics: dict[str, Topic] = {}
        self.notes: list[str] = []  # problems of the files, and what could be read anyway
        self.video = ''  # size, codec and rate of a video file
        self._readers: list[Source] = []
        self._recover = recover
        self._as_written = False  # a clock stepped back: files are read one after the other
        self._connections: dict[tuple[str, str], list[Connection]] = {}  # by topic and type
        self._store: Typestore | None = None
        self._undefined: dict[str, list[str]] = {}  # type -> its types without a definition
        self._stack = ExitStack()
        self.is_ros1 = bag.paths[0].name.endswith(ROS1)

    def __enter__(self) -> BagReader:
        """Open the files and list their topics."""
        with self._stack, self._bag_errors('cannot be read'):
            opener = Opener(self.bag, self._stack, self._recover)
            self._readers, self.notes = opener.sources, opener.notes
            self._as_written = opener.as_written
            self._index()
            self._stack = self._stack.pop_all()  # the files stay open
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
        """Return the receive time of the first message [ns]."""
        return min(reader.start_time for reader in self._readers if reader.message_count)

    @property
    def end(self) -> int:
        """Return the time just after the last message was received [ns]."""
        return max(reader.end_time for reader in self._readers if reader.message_count)

    def require(self, name: str, kind: str) -> Topic:
        """Return a topic of a message type, or raise an error that lists the topics."""
        if name not in self.topics:
            found = ', '.join(f'{topic.name} ({topic.type})' for topic in self._sorted())
            hint = did_you_mean(name, self.topics).partition('valid: ')[0]
            raise BagError(f"{self.where}: no topic '{name}'; {hint}topics in the bag: {found}")
        actual = self.topics[name].type
        if actual != kind and (name, kind) not in self._connections:
            raise BagError(f'{self.where}: {name} is of type {actual}, expected {kind}')
        self._select_type(name, kind)
        return self.topics[name]

    def messages(
        self, topics: Collection[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """Yield the messages of some topics in the order of receive time."""
        wanted = [item for topic in topics for item in self._connections[self._key(topic)]]
        parts = []
        for reader in self._readers:
            mine = [connection for connection in wanted if connection in reader.connections]
            if mine:
                parts.append(reader.messages(mine, start, stop))
        with self._bag_errors('damaged', DamagedBagError):
            sort = len(parts) > 1 and not self._as_written
            ordered = merge(*parts, key=lambda item: item[1]) if sort else chain(*parts)
            for connection, stamp, data in ordered:
                # A column of sqlite may hold a value of any type.
                if type(stamp) is not int or type(data) is not bytes:
                    raise TypeError(
                        f'{connection.topic}: the message at {stamp!r:.40} is not stored as bytes'
                    )
                yield Message(connection.topic, stamp, self._decompressed(data))

    def sample(self, topics: Collection[str], count: int) -> Iterator[Message]:
        """Yield the first message of each topic in each of count equal parts of the bag."""
        step = max(-(-(self.end - self.start) // count), 1)
        for start in range(self.start, self.end, step):
            missing = set(topics)
            # sqlite sorts the whole result before it returns the first row: query short spans.
            for low, high in ((0, step // 32), (step // 32, step)):
                if missing and low < high:
                    for message in self.messages(list(missing), start + low, start + high):
                        if message.topic in missing:
                            missing.remove(message.topic)
                            yield message
                        if not missing:
                            break

    def decode(self, message: Message) -> Any:
        """Deserialise a message; of a packet of video, return the picture."""
        if message.picture is not None:
            return picture_of(message)
        msg = self.deserialise(message)
        if self.topics[message.topic].type in IMAGE_TYPES[1:] and video_codec(msg):
            return picture_at(self, message)
        return msg

    def deserialise(self, message: Message) -> Any:
        """Deserialise a message."""
        kind, store = self.topics[message.topic].type, self._types()
        if flaw := self.undefined(message.topic):
            raise BagError(f'{self.where}: {message.topic}: {flaw}')
        try:
            if self.is_ros1:
                return store.deserialize_ros1(message.data, kind)
            return store.deserialize_cdr(message.data, kind)
        except Exception as error:
            raise CodecError(
                f'{message.topic}: {_size(message)} cannot be read as {kind}: {one_line(error)}'
            ) from error

    def undefined(self, topic: str) -> str:
        """Return which message definitions of a topic are missing, and what to do, or ''."""
        kind = self.topics[topic].type
        if kind not in self._undefined:
            self._undefined[kind] = undefined(kind, self._types())
        if not self._undefined[kind]:
            return ''
        words = f'the bag has no definition of {", ".join(self._undefined[kind])}'
        return f'{words}; give its .msg files with --msgs FOLDER'

    def has_header(self, topic: str) -> bool:
        """Return whether messages of a topic begin with a std_msgs/Header or a stamp."""
        fields = self.fields(self.topics[topic].type)
        return bool(fields) and fields[0][1][1] in ('std_msgs/msg/Header', _STAMP)

    def fields(self, kind: str) -> Any:
        """Return the fields of a message type as rosbags describes them; () if unknown."""
        return self._types().fielddefs.get(kind, ((), ()))[1]

    def header_stamp(self, message: Message) -> int:
        """Return the header stamp of a message without deserialising the rest [ns]."""
        # Four bytes come before it: the CDR preamble in ROS 2, the sequence number in ROS 1.
        alone = self.fields(self.topics[message.topic].type)[0][1][1] == _STAMP
        offset = 0 if self.is_ros1 and alone else 4
        if len(message.data) < offset + 8:
            raise CodecError(f'{message.topic}: {_size(message)} is too short for a header')
        order = '>' if not self.is_ros1 and message.data[1] == 0 else '<'
        seconds, nanoseconds = struct.unpack_from(f'{order}iI', message.data, offset)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    def _decompressed(self, data: bytes) -> bytes:
        """Decompress a message of a bag in message mode whose metadata.yaml is missing."""
        if self.is_ros1 or data[:4] != _ZSTD:  # no plain message of ROS 2 begins with these bytes
            return data
        try:
            return decompress_all('zstd', data)
        except Exception:
            return data  # counted as damaged when it is deserialised

    def _sorted(self) -> list[Topic]:
        return sorted(self.topics.values())

    def _index(self) -> None:
        """Collect the topics of all files."""
        for reader in self._readers:
            for connection in reader.connections:
                key = connection.topic, normal_type(connection.msgtype)
                self._connections.setdefault(key, []).append(connection)
        for name, kind in sorted(self._connections, key=lambda key: (self._messages(*key), key)):
            if name in self.topics and (other := self.topics[name]).messages:
                self.notes.append(
                    f'{name}: has {count_of(other.messages, "message")} of {other.type} and '
                    f'{self._messages(name, kind)} of {kind}; only one type is read'
                )
            self._select_type(name, kind)  # in the end the one with most messages

    def _messages(self, name: str, kind: str) -> int:
        return sum(connection.msgcount for connection in self._connections[name, kind])

    def _select_type(self, name: str, kind: str) -> None:
        """Read only the messages of one type of a topic."""
        self.topics[name] = Topic(name, kind, self._messages(name, kind))

    def _key(self, name: str) -> tuple[str, str]:
        return name, self.topics[name].type

    def _types(self) -> Typestore:
        """Return the message definitions of all topics."""
        if self._store is None:
            connections = [item for group in self._connections.values() for item in group]
            with self._bag_errors('cannot be read'):
                self._store = typestore(connections, self.is_ros1, self.bag.msgs)
        return self._store

    @contextmanager
    def _bag_errors(self, what: str, kind: type[BagError] = BagError) -> Iterator[None]:
        """Turn any exception that a damaged file causes into a BagError of one line."""
        try:
            yield
        except SmwmError:
            raise
        except Exception as error:  # a file may raise anything
            raise kind(f'{self.where}: {what}: {one_line(error)}') from error


def open_reader(bag: Bag) -> BagReader:
    """Return the reader of a bag or of a video file."""
    if not bag.is_video:
        return BagReader(bag)
    from smwm_ros.bags.reading.video import VideoReader  # PyAV is an optional extra

    return VideoReader(bag)


def read_or_recover(bag: Bag, use: Callable[[BagReader], T]) -> T:
    """Call use with an open bag; if the bag turns out to be damaged, again without its index."""
    try:
        with open_reader(bag) as reader:
            return use(reader)
    except DamagedBagError as error:
        try:
            with BagReader(bag, recover=True) as reader:
                return use(reader)
        except DamagedBagError:
            raise error from None
    except (SmwmError, OSError):  # an OSError is of writing: reading turns it into a BagError
        raise
    except Exception as error:  # the content of a bag may be anything
        raise BagError(f'{bag.paths[0]}: cannot be used: {place(error)}') from error


def _size(message: Message) -> str:
    return f'a message of {count_of(len(message.data), "byte")}'
