# SPDX-License-Identifier: Apache-2.0
"""
Turn one bag into one shard, reading it once and at constant memory.

Frames that the grid needs are decoded as they come and parked, resized, in a file without a name;
the numbers of all topics stay in memory. Where the clock jumps back, and at the end, what was
heard is laid on the grid and written.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.bags.align import align, FrameGate, nanoseconds, Rows, Track
from smwm_ros.bags.clock import choose_clock, Clock
from smwm_ros.bags.faults import Faults
from smwm_ros.bags.find import Bag
from smwm_ros.bags.read import BagReader, Message
from smwm_ros.bags.topics import required_topics, sample_stamps
from smwm_ros.config import Config
from smwm_ros.core.actions import FieldReader
from smwm_ros.core.images import read_image
from smwm_ros.core.interfaces import Array
from smwm_ros.core.shards import columns, ShardWriter
from smwm_ros.errors import CodecError, DatasetError


class Progress(NamedTuple):
    """What happened since the last report."""

    expected: int  # messages more to come
    messages: int  # read
    size: int  # read [bytes]


Tell = Callable[[Progress], None]

_JUMP = 1_000_000_000  # a clock that goes back by more than this has jumped [ns]
_BLOCK = 256  # rows written at once
_TELL_EVERY = 50  # messages


def convert_bag(bag: Bag, folder: Path, config: Config, about: dict[str, Any], tell: Tell) -> None:
    """Read a bag and publish its shard; about says what else belongs into meta.json."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with BagReader(bag) as reader:
            _convert(reader, folder, config, about, tell)
    except OSError as error:  # those of reading are BagErrors by now
        raise DatasetError(f'{folder}: cannot be written: {error.strerror}') from error


def _convert(
    reader: BagReader, folder: Path, config: Config, about: dict[str, Any], tell: Tell
) -> None:
    """Convert an open bag."""
    topics = required_topics(reader, config)
    clock = choose_clock(config.dataset.time, sample_stamps(reader, topics))
    tell(Progress(sum(reader.topics[topic].messages for topic in topics), 0, 0))
    with Recording(reader, folder, config, clock) as recording:
        seen = size = 0
        for message in reader.messages(topics):
            recording.hear(message)
            seen, size = seen + 1, size + len(message.data)
            if seen == _TELL_EVERY:
                tell(Progress(0, seen, size))
                seen = size = 0
        tell(Progress(0, seen, size))
        recording.publish(about)


class Recording:
    """Hears the messages of a bag in order, and writes the rows of its shard."""

    def __init__(self, reader: BagReader, folder: Path, config: Config, clock: Clock) -> None:
        self._reader = reader
        self._config = config
        self._clock = clock
        robot, dataset = config.robot, config.dataset
        self._dt = nanoseconds(robot.dt)
        self._delay = nanoseconds(dataset.command_delay)
        self._read_command = FieldReader(robot.command.fields)
        self._read_state = FieldReader(robot.state.fields if robot.state.topic else ())
        self._row = columns(dataset.image_size, self._read_command.size, self._read_state.size)
        self._writer = ShardWriter(folder, self._row)
        self._parked = TemporaryFile(dir=folder.parent)  # noqa: SIM115 - closed in __exit__
        self._gate = FrameGate(self._dt, nanoseconds(dataset.max_frame_age))
        self._begin()
        self._period = 0.0
        self._episodes: list[tuple[int, int]] = []
        self._dropped: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._faults = Faults(reader.where, dataset.max_damaged)

    def __enter__(self) -> Recording:
        """Start hearing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files; a shard that was not published vanishes."""
        self._parked.close()
        self._writer.__exit__(kind, error, trace)

    def hear(self, message: Message) -> None:
        """Take the next message of the bag."""
        header = self._clock.base == 'header'
        stamp = self._reader.header_stamp(message) if header else message.stamp
        robot = self._config.robot
        if message.topic == robot.camera.topic:
            self._hear_frame(message, stamp)
        if message.topic == robot.command.topic:
            self._hear_numbers(message, stamp + self._delay, self._commands, self._read_command)
        if message.topic == robot.state.topic:
            self._hear_numbers(message, stamp, self._states, self._read_state)

    def publish(self, about: dict[str, Any]) -> None:
        """Write what is left and give the shard its name."""
        self._flush()
        self._faults.judge()
        meta = {
            **about,
            'time': self._clock._asdict(),
            'episodes': self._episodes,
            'dropped': dict(self._dropped),
            'counts': dict(self._counts),
            'notes': self._reader.notes,
            'frame_period': self._period,  # median [s]
            'faults': self._faults.first,
            'versions': {name: version(name) for name in ('smwm_ros', 'numpy', 'rosbags')},
        }
        self._writer.publish(meta)

    def _begin(self) -> None:
        """Forget what was heard, as at the beginning and after a jump of the clock."""
        self._frames = array('q')  # stamps that rise
        self._place = array('q')  # where each frame is parked: -1 not needed, -2 damaged
        self._pending: Message | None = None  # the newest frame, not yet known to be needed
        self._commands: tuple[array[int], list[Array]] = (array('q'), [])
        self._states: tuple[array[int], list[Array]] = (array('q'), [])
        self._parked.seek(0)
        self._parked.truncate()
        self._stored = 0

    def _hear_frame(self, message: Message, stamp: int) -> None:
        self._counts['frames'] += 1
        if self._frames and stamp <= self._frames[-1]:
            if stamp > self._frames[-1] - _JUMP:
                same = stamp == self._frames[-1]
                self._counts['frames of a stamp seen before' if same else 'frames too late'] += 1
                return
            self._counts['jumps of the clock'] += 1
            self._flush()
        self._settle(self._gate.next(stamp))
        self._frames.append(stamp)
        self._pending = message

    def _settle(self, needed: bool) -> None:
        """Decode the pending frame if the grid needs it, and park it."""
        if self._pending is None:
            return
        place = -1
        if needed:
            dataset = self._config.dataset
            self._faults.total[self._pending.topic] += 1
            try:
                msg = self._reader.decode(self._pending)
                square = read_image(msg, dataset.image_size, dataset.resize)
                self._parked.write(np.ascontiguousarray(square).data)
                place = self._stored
                self._stored += 1
            except CodecError as error:
                place = -2
                self._faults.add(self._pending.topic, error)
            self._counts['frames decoded'] += 1
        self._place.append(place)
        self._pending = None

    def _hear_numbers(
        self,
        message: Message,
        stamp: int,
        track: tuple[array[int], list[Array]],
        read: FieldReader,
    ) -> None:
        stamps, values = track
        self._counts[message.topic] += 1
        self._faults.total[message.topic] += 1
        try:
            value = read(self._reader.decode(message))
        except CodecError as error:
            self._faults.add(message.topic, error)
            return
        stamps.append(stamp)
        values.append(value)

    def _flush(self) -> None:
        """Lay what was heard on the grid, write its rows, and begin anew."""
        self._settle(self._gate.end())
        place = np.array(self._place, np.int64)
        rows = align(
            np.array(self._frames, np.int64),
            place != -2,
            self._sorted(self._commands, self._read_command.size),
            self._sorted(self._states, self._read_state.size),
            self._dt,
            self._config.dataset,
        )
        first = self._writer.rows
        steps = np.diff(np.array(self._frames, np.int64))
        if len(steps):
            self._period = float(np.median(steps)) / 1e9
        gaps = int((steps > nanoseconds(self._config.dataset.max_frame_age)).sum())
        self._counts['gaps between frames'] += gaps
        self._dropped.update(rows.dropped)
        self._counts.update({'actions held': rows.held, 'actions set to zero': rows.zeroed})
        self._write(rows, place[rows.frame], len(self._episodes))
        self._episodes += [(first + start, first + stop) for start, stop in rows.episodes]
        self._begin()

    def _sorted(self, track: tuple[array[int], list[Array]], size: int) -> Track:
        """Return the numbers of a topic by rising stamp."""
        stamps = np.array(track[0], np.int64)
        order = np.argsort(stamps, kind='stable')
        values = np.array(track[1], np.float64).reshape(len(stamps), size)
        return Track(stamps[order], values[order])

    def _write(self, rows: Rows, place: Array, first_episode: int) -> None:
        """Write rows whose frames are parked at the given places, which never fall."""
        shape = self._row['pixels'].shape
        frame_bytes = int(np.prod(shape))
        starts = [start for start, _ in rows.episodes]
        episode = np.searchsorted(starts, np.arange(len(place)), side='right') - 1
        for begin in range(0, len(place), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            low, high = int(place[block][0]), int(place[block][-1]) + 1
            self._parked.seek(low * frame_bytes)
            data = self._parked.read((high - low) * frame_bytes)
            frames = np.frombuffer(data, np.uint8).reshape(-1, *shape)
            self._writer.append(
                pixels=frames[place[block] - low],
                action=rows.action[block],
                state=rows.state[block],
                episode=episode[block] + first_episode,
                stamp=rows.stamp[block],
            )
