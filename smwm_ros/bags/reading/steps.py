# SPDX-License-Identifier: Apache-2.0
"""
Find where the clock stepped back while a bag was recorded.

Readers sort by receive time, and would mix messages from before the step with later ones. So the
order of writing is compared, for each topic by itself: some bags store one topic after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from struct import unpack

import numpy as np
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from smwm_ros.interfaces import Array

JUMP = 1_000_000_000  # a clock that goes back by more than this has stepped [ns]

_ENTRY = np.dtype([('stamp', '<u8'), ('offset', '<u8')])  # of the index of an mcap file


def steps_back(reader: Reader1 | Reader2) -> float:
    """Return the largest step back of the clock within a file [s], 0 if there is none."""
    most = 0
    for stamps in _as_written(reader):
        for at in _steps(stamps):
            most = max(most, int(stamps[at - 1] - stamps[at]))
    return most / 1e9


def segments(topics: Array, stamps: Array) -> Array:
    """Return for each message (n,) how many steps back came before it, in order of writing."""
    begins = np.zeros(len(stamps), np.int64)
    for topic in np.unique(topics):
        mine = np.flatnonzero(topics == topic)
        begins[mine[_steps(stamps[mine])]] = 1
    numbers: Array = np.cumsum(begins)
    return numbers


def in_order(topics: Array, stamps: Array) -> Array:
    """Return indices (n,) that sort messages by stamp, but not across a step back."""
    order: Array = np.lexsort((stamps, segments(topics, stamps)))
    return order


def files_step_back(sources: Sequence[object]) -> bool:
    """Return whether a file starts before the previous one ends, on a common topic."""
    return any(
        after.start_time < before.end_time - JUMP and _topics(before) & _topics(after)  # type: ignore[attr-defined]
        for before, after in pairwise(sources)
    )


def _topics(source: object) -> set[str]:
    return {item.topic for item in source.connections if item.msgcount}  # type: ignore[attr-defined]


def _steps(stamps: Array) -> Array:
    """Return where stamps step back and stay back; a single odd stamp is no step."""
    low = stamps[:-1] - JUMP
    back = stamps[1:] < low
    stays = np.append(stamps[2:] < low[:-1], False)
    where: Array = np.flatnonzero(back & stays) + 1
    return where


def _as_written(reader: Reader1 | Reader2) -> Iterator[Array]:
    """Yield the stamps of each topic of each file, in the order of writing."""
    if isinstance(reader, Reader1):
        for entries in reader.indexes.values():
            found = np.array([(e.chunk_pos, e.offset, e.time) for e in entries], np.int64)
            yield found[np.lexsort((found[:, 1], found[:, 0])), 2] if len(found) else found
        return
    for file in getattr(reader.storage, 'storages', [reader.storage]):
        if isinstance(file, McapReader):
            yield from _of_mcap(file)
        elif isinstance(file, Sqlite3Reader) and file.dbconn:
            sql = 'SELECT topic_id, timestamp FROM messages ORDER BY id'
            rows = np.array(list(file.dbconn.cursor().execute(sql)), np.int64).reshape(-1, 2)
            yield from (rows[rows[:, 0] == topic, 1] for topic in np.unique(rows[:, 0]))


def _of_mcap(file: McapReader) -> Iterator[Array]:
    """Yield the stamps of each topic of an mcap file, from the message indexes of its chunks."""
    found: dict[int, list[Array]] = {}
    assert file.bio
    for chunk in sorted(file.chunks, key=lambda item: item.chunk_start_offset):
        for channel, place in chunk.message_index_offsets.items():
            file.bio.seek(place)
            _, _, _, size = unpack('<BQHI', file.bio.read(15))
            entries = np.frombuffer(file.bio.read(size), _ENTRY)
            entries = entries[np.argsort(entries['offset'], kind='stable')]
            found.setdefault(channel, []).append(entries['stamp'].astype(np.int64))
    yield from map(np.concatenate, found.values())
