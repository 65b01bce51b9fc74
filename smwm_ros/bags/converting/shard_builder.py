# SPDX-License-Identifier: Apache-2.0
"""
Convert the messages of a bag to the rows of its shard, with constant memory for frames.

Frames are decoded, resized and stored in a temporary file; the numbers of all topics stay in
memory. Where the clock steps back, and at the end, they are aligned to ticks and written.
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
from smwm_ros.bags.converting.align import align, AlignedRows, ViewTrack
from smwm_ros.bags.converting.camera_check import CameraCheck
from smwm_ros.bags.converting.faults import Faults
from smwm_ros.bags.converting.frame_track import DecodedFrame, FrameTrack, STEPPED_BACK
from smwm_ros.bags.converting.grid import FrameGate
from smwm_ros.bags.converting.motion_lag import LagFinder
from smwm_ros.bags.converting.number_track import EpisodeMarks, NumberTrack
from smwm_ros.bags.converting.packet_counter import PacketCounter
from smwm_ros.bags.converting.photographs import PhotographWriter
from smwm_ros.bags.reading.clock import Clocks, nanoseconds
from smwm_ros.bags.reading.reader import BagReader, Message
from smwm_ros.bags.reading.topics import mean_period
from smwm_ros.codec.bridge import versions
from smwm_ros.codec.fields import FieldError, FieldReader, NameMissingError
from smwm_ros.codec.images import compose, read_view, size_in_words, Tile, tiles
from smwm_ros.config import Config
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.errors import BagError, CodecError
from smwm_ros.interfaces import Array

Handler = Callable[[Message, int], None]
_BLOCK = 256  # rows written at once
# If the camera is this much faster than the ticks, the grid is not shifted. So it is known while
# the bag is read, and frames between the ticks are not decoded.
_FAST_CAMERA = 1.5


class ShardBuilder:
    """Receive the messages of a bag in order, and write the rows of its shard."""

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
        self._packets = PacketCounter(reader, self._counts)
        self._dropped: Counter[str] = Counter()
        self._episodes: list[tuple[int, int]] = []
        self._ages = AgeTable(dataset)
        self._check = CameraCheck(dataset, robot.dt)
        self._lag = LagFinder(config)
        self._period = 0.0
        self._shift = mean_period(reader, robot.camera.topic) > self._dt / _FAST_CAMERA
        self._cameras = self._make_cameras(folder.parent)
        self._handlers = self._make_handlers()
        self._writer = ShardWriter(folder, self._row)

    def __enter__(self) -> ShardBuilder:
        """Return the builder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files; a shard that was not published is removed."""
        self._writer.__exit__(kind, error, trace)
        for camera in self._cameras.values():
            camera.close()

    def add(self, message: Message) -> None:
        """Add the next message of the bag."""
        stamp = message.stamp
        if self._clocks.bases.get(message.topic) == 'header':
            try:
                stamp = self._reader.header_stamp(message)
            except CodecError as error:
                self._faults.total[message.topic] += 1
                self._faults.add(message.topic, error)
                return
        for handler in self._handlers[message.topic]:
            handler(message, stamp)

    def publish(self, about: dict[str, Any]) -> None:
        """Write the remaining rows, and move the shard to its folder."""
        self._flush()
        self._packets.check(self._counts['frames'])
        self._faults.check()
        for track in (self._command, self._state):
            if track.empty and track.missing_names:
                raise BagError(f'{self._reader.where}: {track.missing_names}')
        used = ('smwm_ros', 'numpy', *self._packets.libraries())
        meta = {
            **about,
            'time': self._clocks.about(),
            'episodes': self._episodes,
            'dropped': dict(self._dropped),
            'counts': dict(self._counts),
            'ages': self._ages.about(),
            **self._lag.about(),
            'notes': [*self._reader.notes, *self._notes(), *self._check.notes()],
            'frame_period': self._period,  # median [s]
            'faults': self._faults.first,
            'versions': {name: version(name) for name in used}
            | versions(self._config.robot.camera.decoder),
        }
        self._writer.publish(meta)

    def _notes(self) -> list[str]:
        """Return what is missing, and which cameras changed their image size."""
        command = self._config.robot.command.topic
        missing = self._config.dataset.after_hold == 'unknown' and not self._counts[command]
        cameras = ((topic, camera.size_note()) for topic, camera in self._cameras.items())
        sizes = [f'{topic}: {note}' for topic, note in cameras if note]
        silent = [f'no messages on {command}: all actions are unknown'] * missing
        return [*silent, *self._packets.notes(), *sizes]

    def _make_cameras(self, folder: Path) -> dict[str, FrameTrack]:
        """Make a track for each camera; the first camera determines the grid."""
        camera, dataset = self._config.robot.camera, self._config.dataset
        gate = None if self._shift else FrameGate(self._dt, nanoseconds(dataset.max_frame_age))
        places = tiles(len(camera.topics), dataset.image_size, camera.tiles)
        return {
            topic: FrameTrack(
                tile, folder, None if number else gate, self._frame_decoder(number, tile)
            )
            for number, (topic, tile) in enumerate(zip(camera.topics, places, strict=True))
        }

    def _make_handlers(self) -> dict[str, list[Handler]]:
        """Return the functions that receive the messages of each topic."""
        robot, dataset = self._config.robot, self._config.dataset
        handlers: dict[str, list[Handler]] = {topic: [self._add_frame] for topic in self._cameras}
        handlers.setdefault(robot.command.topic, []).append(
            self._number_handler(self._command, 'command')
        )
        if robot.state.topic:
            handlers.setdefault(robot.state.topic, []).append(
                self._number_handler(self._state, 'state')
            )
        if dataset.episode_topic:
            handlers.setdefault(dataset.episode_topic, []).append(self._add_mark)
        return handlers

    def _frame_decoder(self, camera: int, tile: Tile) -> Callable[[Message], DecodedFrame | None]:
        """Return the function that decodes the frames of one camera."""
        how, decoder = self._config.dataset.resize, self._config.robot.camera.decoder
        photographs = PhotographWriter(self._reader, camera, tile, self._attach, decoder)

        def decode(message: Message) -> DecodedFrame | None:
            self._counts['frames decoded'] += 1
            self._faults.total[message.topic] += 1
            try:
                msg = self._reader.decode(message)
                frame = DecodedFrame(
                    read_view(msg, tile.height, tile.width, how, decoder), size_in_words(msg)
                )
                photographs.add(message, msg, frame.size)
                return frame
            except CodecError as error:
                self._faults.add(message.topic, error)
                return None

        return decode

    def _attach(self, name: str, content: bytes) -> None:
        """Write a file beside the columns of the shard."""
        self._writer.attach(name, content)

    def _add_frame(self, message: Message, stamp: int) -> None:
        camera = self._cameras[message.topic]
        if not self._packets.has_frame(message):
            return
        self._counts['frames'] += 1
        problem = camera.stamp_problem(stamp)
        if problem:
            self._counts[problem] += 1
        if problem == STEPPED_BACK:
            self._flush()
        elif problem:
            return
        camera.add(message, stamp)

    def _number_handler(self, track: NumberTrack, part: str) -> Handler:
        """Return the function that receives the messages of a topic with numbers."""

        def add(message: Message, stamp: int) -> None:
            self._counts[message.topic] += 1
            problem = track.stamp_problem(stamp)
            if problem:
                self._counts[f'messages of {message.topic} {problem}'] += 1
            self._faults.total[message.topic] += 1
            try:
                track.add(stamp, self._reader.decode(message))
            except NameMissingError as error:  # there may be other publishers on the topic
                self._counts[f'messages of {message.topic} without the configured names'] += 1
                track.missing_names = track.missing_names or f'{message.topic}: {error}'
            except FieldError as error:  # the configuration is wrong, not the message
                where = f'{self._reader.where}: {message.topic}: {error}'
                raise BagError(f'{where}; correct robot.{part}.fields') from None
            except CodecError as error:
                self._faults.add(message.topic, error)

        return add

    def _add_mark(self, message: Message, stamp: int) -> None:
        """Add an episode mark; without a header, its stamp is just after the last frame."""
        camera = self._config.robot.camera.topic
        self._counts[message.topic] += 1
        if self._clocks.bases[camera] == 'header':
            newest = self._cameras[camera].newest
            at = None if newest is None else newest + 1
        else:
            at = stamp
        self._marks.add(at, self._reader.decode(message).data)

    def _flush(self) -> None:
        """Align the collected messages to ticks, write the rows, and clear the tracks."""
        (_, first), *others = self._cameras.items()
        frames, good, sizes = first.finish()
        rows = align(
            frames,
            good,
            self._command.track(),
            self._state.track(),
            self._dt,
            self._config.dataset,
            shift=self._shift,
            sizes=sizes,
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

    def _count(self, frames: Array, rows: AlignedRows) -> None:
        """Count gaps, limits, dropped and kept ticks."""
        self._check.add_frames(frames)
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

    def _write(self, rows: AlignedRows, first_episode: int) -> None:
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
            pixels, number = compose(views, size, camera.tiles), episode[block] + first_episode
            self._check.add_rows(pixels, number)
            self._lag.add(pixels, rows.action[block], number, self._writer.rows)
            self._writer.append(
                pixels=pixels,
                action=rows.action[block],
                state=rows.state[block],
                episode=number,
                stamp=rows.stamp[block],
            )
