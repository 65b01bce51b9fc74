# SPDX-License-Identifier: Apache-2.0
"""
Choose the held-out parts of a dataset: whole drives, and parts of long drives.

A drive that is longer than the whole held-out share is cut into parts, some of which are held out.
Ticks between held-out and training parts are used for neither: consecutive frames are nearly
identical, so a model would be evaluated on its training data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import groupby
from math import ceil
from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array

# Long enough for windows of several model steps, and short enough for many parts.
_SHORTEST, _LONGEST = 4, 40  # parts [gaps]
_PIECES = 4  # a drive with fewer parts is not cut
_GAP = 0.5  # minimum between held-out and training parts [s]


class Episode(NamedTuple):
    """Rows start..stop-1 of the dataset, recorded without a gap."""

    start: int
    stop: int
    split: str  # 'train' or 'val'


def rows_of(episodes: Iterable[Episode], split: str) -> Array:
    """Return all rows of the episodes of a split."""
    return np.concatenate([np.arange(e.start, e.stop) for e in episodes if e.split == split])


class Drive(NamedTuple):
    """Rows that were recorded without a gap, a unique name, and what was noted about them."""

    start: int
    stop: int
    name: str
    outcome: str = ''  # 'success', 'failure', or '' if it is not known
    task: str = ''


def gap_of(action_block: int, dt: float) -> int:
    """Return the number of unused ticks beside a held-out part: at least a model step."""
    return max(action_block, ceil(_GAP / dt - 1e-6))


def cuttable(gap: int) -> int:
    """Return the minimum number of ticks of a drive that is cut."""
    return _PIECES * _SHORTEST * gap


def hold_out(drives: Sequence[Drive], share: float, seed: int, gap: int) -> tuple[Episode, ...]:
    """Hold out a share of the ticks; adding a drive changes the split of few others."""
    wanted = share * sum(drive.stop - drive.start for drive in drives)
    pieces = [_cut(drive, wanted, gap) for drive in drives]
    draw = sorted(
        (piece for mine in pieces for piece in mine),
        key=lambda piece: blake2b(f'{seed}/{piece.name}'.encode()).digest(),
    )
    held_out, ticks = set[str](), 0
    for piece in draw[:-1] if share > 0 else ():  # one remains for training
        length = piece.stop - piece.start
        if held_out and ticks + length / 2 > wanted:
            break
        held_out.add(piece.name)
        ticks += length
    return tuple(episode for mine in pieces for episode in _episodes(mine, held_out, gap))


def hold_out_each(
    drives: Sequence[Drive], acted: Sequence[bool], share: float, seed: int, gap: int
) -> tuple[Episode, ...]:
    """
    Hold out a share of the drives with recorded actions (`acted`), and of those without any.

    So there are known actions to train on and to measure with, however few drives have some. The
    drives of each outcome are a group of their own, too, for train.outcomes, unless there are so
    few that none would be held out.
    """

    def divide(kinds: Sequence[tuple[str, bool]]) -> tuple[Episode, ...]:
        groups = (
            [drive for drive, kind in zip(drives, kinds, strict=True) if kind == wanted]
            for wanted in sorted(set(kinds))
        )
        parts = (item for group in groups for item in hold_out(group, share, seed, gap))
        return tuple(sorted(parts))

    found = divide([(drive.outcome, has) for drive, has in zip(drives, acted, strict=True)])
    if any(episode.split == 'val' for episode in found):
        return found
    return divide([('', has) for has in acted])


def stretches(drives: Iterable[Drive], wanted: Array) -> list[Drive]:
    """Return the parts of drives whose rows are all `wanted` (rows,) bool."""
    return [
        drive._replace(start=drive.start + int(begin), stop=drive.start + int(end))
        for drive in drives
        for begin, end in np.flatnonzero(
            np.diff(wanted[drive.start : drive.stop], prepend=False, append=False)
        ).reshape(-1, 2)
    ]


def _cut(drive: Drive, wanted: float, gap: int) -> list[Drive]:
    """Cut a drive that is too long to be held out into equal parts."""
    ticks = drive.stop - drive.start
    if not 0 < wanted < ticks or ticks < cuttable(gap):
        return [drive]
    length = min(max(wanted, _SHORTEST * gap), _LONGEST * gap, ticks / _PIECES)
    count = int(ticks / length + 1e-6)
    bounds = [drive.start + number * ticks // count for number in range(count + 1)]
    return [
        Drive(bounds[number], bounds[number + 1], f'{drive.name}/{number}')
        for number in range(count)
    ]


def _episodes(pieces: list[Drive], held_out: set[str], gap: int) -> list[Episode]:
    """Join adjacent parts of a drive that are in the same split."""
    found = []
    for is_held, group in groupby(pieces, key=lambda piece: piece.name in held_out):
        mine = list(group)
        start, stop = mine[0].start, mine[-1].stop
        if not is_held:
            start += gap * (mine[0] is not pieces[0])
            stop -= gap * (mine[-1] is not pieces[-1])
        found.append(Episode(start, stop, 'val' if is_held else 'train'))
    return found
