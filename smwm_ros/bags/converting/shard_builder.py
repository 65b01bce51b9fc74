# SPDX-License-Identifier: Apache-2.0
"""
What is heard of a bag, from its first message to the rows of its shard, at constant memory.

Frames are decoded as they come and parked, resized, in a file without a name; the numbers of all
topics stay in memory. Where the clock jumps back, and at the end, what was heard is laid on the
grid and written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from smwm_ros.bags.converting.ages import AgeTable
from smwm_ros.bags.converting.align import align, Rows, ViewTrack
from smwm_ros.bags.converting.faults import Faults
from smwm_ros.bags.converting.frame_track import FrameTrack, JUMPED, Seen
from smwm_ros.bags.converting.grid import FrameGate
from smwm_ros.bags.converting.number_track import EpisodeMarks, NumberTrack
from smwm_ros.bags.converting.photographs import Photographer
from smwm_ros.bags.reading.clock import Clocks, nanoseconds
from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.bags.reading.topics import mean_period
from smwm_ros.codec.fields import FieldError, FieldReader, NameMissingError
from smwm_ros.codec.images import compose, read_view, size_in_words, Tile, tiles
from smwm_ros.config import Config
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.errors import BagError, CodecError
from smwm_ros.interfaces import Array

Hearer = Callable[[Message, int], None]
_BLOCK = 256  # rows written at once
_NAMED = 4  # sizes of images
# A camera this much faster than the ticks needs no shift of its grid, so the grid is known while
# frames come, and those between the ticks are not decoded.
_FAST = 1.5


class ShardBuilder:
    """Hears the messages of a bag in order, and writes the rows of its shard."""

    def __init__(self, reader: BagReader, folder: Path, config: Config, clocks: Clocks) -> None:
        self._reader = reader
        self._config = config
        self._clocks = clocks
        self._marks = EpisodeMarks()
        robot, dataset = config.robot, config.dataset
        self._dt = nanoseconds(robot.dt)
        read_command = FieldReader(robot.command.fields)
        read_state = FieldReader(robot.state.fields if robot.state.topic else ())
        self._command = NumberTrack(read_command, nanoseconds(dataset.command_delay), self._dt)
        self._state = NumberTrack(read_state)
        quality = dataset.jpeg_quality if dataset.pixels == 'jpeg' else None
        self._row = columns(dataset.image_size, read_command.size, read_state.size, quality)
        self._faults = Faults(reader.where, dataset.max_damaged)
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._episodes: list[tuple[int, int]] = []
        self._ages = AgeTable(dataset)
        self._period = 0.0
        self._shift = mean_period(reader, robot.camera.topic) > self._dt / _FAST
        self._cameras = self._make_cameras(folder.parent)
        self._hearers = self._make_hearers()
        self._writer = ShardWriter(folder, self._row)

    def __enter__(self) -> ShardBuilder:
        """Start hearing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files; a shard that was not published vanishes."""
        self._writer.__exit__(kind, error, trace)
        for camera in self._cameras.values():
            camera.close()

    def hear(self, message: Message) -> None:
        """Take the next message of the bag."""
        stamp = message.stamp
        if self._clocks.bases.get(message.topic) == 'header':
            try:
                stamp = self._reader.header_stamp(message)
            except CodecError as error:
                self._faults.total[message.topic] += 1
                self._faults.add(message.topic, error)
                return
        for hearer in self._hearers[message.topic]:
            hearer(message, stamp)

    def publish(self, about: dict[str, Any]) -> None:
        """Write what is left and give the shard its name."""
        self._flush()
        self._faults.judge()
        for track in (self._command, self._state):
            if track.empty and track.nameless:
                raise BagError(f'{self._reader.where}: {track.nameless}')
        meta = {
            **about,
            'time': self._clocks.about(),
            'episodes': self._episodes,
            'dropped': dict(self._dropped),
            'counts': dict(self._counts),
            'ages': self._ages.about(),
            'notes': [*self._reader.notes, *self._changes()],
            'frame_period': self._period,  # median [s]
            'faults': self._faults.first,
            'versions': {name: version(name) for name in ('smwm_ros', 'numpy', 'rosbags')},
        }
        self._writer.publish(meta)

    def _changes(self) -> list[str]:
        """Say which cameras changed the size of their images while they were recorded."""
        return [
            f'{topic}: the size of the images changed: {", then ".join(camera.sizes[:_NAMED])}'
            f'{", ..." if len(camera.sizes) > _NAMED else ""}; the recording is cut there'
            for topic, camera in self._cameras.items()
            if len(camera.sizes) > 1
        ]

    def _make_cameras(self, folder: Path) -> dict[str, FrameTrack]:
        """Make a track for each camera; the first one makes the grid."""
        camera, dataset = self._config.robot.camera, self._config.dataset
        gate = None if self._shift else FrameGate(self._dt, nanoseconds(dataset.max_frame_age))
        places = tiles(len(camera.topics), dataset.image_size, camera.tiles)
        return {
            topic: FrameTrack(tile, folder, None if number else gate, self._see(number, tile))
            for number, (topic, tile) in enumerate(zip(camera.topics, places, strict=True))
        }

    def _make_hearers(self) -> dict[str, list[Hearer]]:
        """Say who hears which topic."""
        robot, dataset = self._config.robot, self._config.dataset
        hearers: dict[str, list[Hearer]] = {topic: [self._hear_frame] for topic in self._cameras}
        hearers.setdefault(robot.command.topic, []).append(
            self._hear_numbers(self._command, 'command')
        )
        if robot.state.topic:
            hearers.setdefault(robot.state.topic, []).append(
                self._hear_numbers(self._state, 'state')
            )
        if dataset.episode_topic:
            hearers.setdefault(dataset.episode_topic, []).append(self._hear_mark)
        return hearers

    def _see(self, camera: int, tile: Tile) -> Callable[[Message], Seen | None]:
        """Make what decodes the frames of one camera."""
        photographer = Photographer(self._reader, camera, tile, self._attach)

        def see(message: Message) -> Seen | None:
            self._counts['frames decoded'] += 1
            self._faults.total[message.topic] += 1
            how = self._config.dataset.resize
            try:
                msg = self._reader.decode(message)
                seen = Seen(read_view(msg, tile.height, tile.width, how), size_in_words(msg))
                photographer.see(message, msg, seen.size)
                return seen
            except CodecError as error:
                self._faults.add(message.topic, error)
                return None

        return see

    def _attach(self, name: str, content: bytes) -> None:
        """Lay a file beside the columns of the shard."""
        self._writer.attach(name, content)

    def _hear_frame(self, message: Message, stamp: int) -> None:
        camera = self._cameras[message.topic]
        self._counts['frames'] += 1
        flaw = camera.flaw(stamp)
        if flaw:
            self._counts[flaw] += 1
        if flaw == JUMPED:
            self._flush()
        elif flaw:
            return
        camera.hear(message, stamp)

    def _hear_numbers(self, track: NumberTrack, part: str) -> Hearer:
        """Make what hears the numbers of one topic."""

        def hear(message: Message, stamp: int) -> None:
            self._counts[message.topic] += 1
            flaw = track.flaw(stamp)
            if flaw:
                self._counts[f'messages of {message.topic} {flaw}'] += 1
            self._faults.total[message.topic] += 1
            try:
                track.take(stamp, self._reader.decode(message))
            except NameMissingError as error:  # maybe others publish there too
                self._counts[f'messages of {message.topic} without the names'] += 1
                track.nameless = track.nameless or f'{message.topic}: {error}'
            except FieldError as error:  # no message is damaged: the configuration is wrong
                where = f'{self._reader.where}: {message.topic}: {error}'
                raise BagError(f'{where}; see robot.{part}.fields') from None
            except CodecError as error:
                self._faults.add(message.topic, error)

        return hear

    def _hear_mark(self, message: Message, stamp: int) -> None:
        """Take a mark; among frames with header stamps it stands where it was received."""
        camera = self._config.robot.camera.topic
        self._counts[message.topic] += 1
        if self._clocks.bases[camera] == 'header':
            newest = self._cameras[camera].newest
            at = None if newest is None else newest + 1
        else:
            at = stamp
        self._marks.hear(at, self._reader.decode(message).data)

    def _flush(self) -> None:
        """Lay what was heard on the grid, write its rows, and begin anew."""
        (_, first), *others = self._cameras.items()
        frames, good, looks = first.finish()
        rows = align(
            frames,
            good,
            self._command.track(),
            self._state.track(),
            self._dt,
            self._config.dataset,
            shift=self._shift,
            looks=looks,
            others=[ViewTrack(topic, *camera.finish()) for topic, camera in others],
            marks=self._marks.track() if self._config.dataset.episode_topic else None,
        )
        self._count(frames, rows)
        before, episodes = self._writer.rows, len(self._episodes)
        self._ages.add(rows.ages, before)
        self._episodes += [(before + start, before + stop) for start, stop in rows.episodes]
        self._write(rows, episodes)
        for camera in self._cameras.values():
            camera.clear()
        self._command.clear()
        self._state.clear()
        self._marks.clear()

    def _count(self, frames: Array, rows: Rows) -> None:
        """Remember what the grid made of what was heard."""
        steps = np.diff(frames)
        if len(steps):
            self._period = float(np.median(steps)) / 1e9
        gaps = int((steps > nanoseconds(self._config.dataset.max_frame_age)).sum())
        command = self._config.robot.command
        beyond = ((rows.action < command.low) | (rows.action > command.high)).any(1)
        self._counts['gaps between frames'] += gaps
        self._counts['actions beyond the limits'] += int(beyond.sum())
        self._counts.update(rows.counts)
        self._dropped.update(rows.dropped)

    def _write(self, rows: Rows, first_episode: int) -> None:
        """Write rows in blocks."""
        camera, size = self._config.robot.camera, self._config.dataset.image_size
        starts = [start for start, _ in rows.episodes]
        episode = np.searchsorted(starts, np.arange(len(rows.stamp)), side='right') - 1
        indices = [rows.frame, *rows.others]
        for begin in range(0, len(rows.stamp), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            views = [
                track.load(index[block])
                for track, index in zip(self._cameras.values(), indices, strict=True)
            ]
            self._writer.append(
                pixels=compose(views, size, camera.tiles),
                action=rows.action[block],
                state=rows.state[block],
                episode=episode[block] + first_episode,
                stamp=rows.stamp[block],
            )
