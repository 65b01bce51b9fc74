# SPDX-License-Identifier: Apache-2.0
"""
Which parts of a dataset are held out: whole drives, and stretches of those that are too long.

A drive that is longer than all that is to be held out is cut into stretches, some of which are
held out. Between these and what is learnt from, ticks are left out: frames a moment apart are
nearly the same, and a model would be judged on what it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import groupby
from math import ceil
from typing import NamedTuple

# Long enough for windows of some model steps, and short enough that many are drawn.
_SHORTEST, _LONGEST = 4, 40  # stretches [gaps]
_PIECES = 4  # a drive that gives fewer stretches stays whole
_GAP = 0.5  # between what is held out and what is not, at least [s]


class Episode(NamedTuple):
    """Rows start..stop-1 of the dataset, recorded without a gap."""

    start: int
    stop: int
    split: str  # 'train' or 'val'


class Drive(NamedTuple):
    """Rows that were recorded without a gap, and a name that no other drive has."""

    start: int
    stop: int
    name: str


def gap_of(action_block: int, dt: float) -> int:
    """Return how many ticks are left out beside what is held out: a model step, or more."""
    return max(action_block, ceil(_GAP / dt - 1e-6))


def cuttable(gap: int) -> int:
    """Return how many ticks a drive has at least that is cut."""
    return _PIECES * _SHORTEST * gap


def hold_out(drives: Sequence[Drive], share: float, seed: int, gap: int) -> tuple[Episode, ...]:
    """Hold out a share of the ticks; another drive moves few others to the other side."""
    wanted = share * sum(drive.stop - drive.start for drive in drives)
    pieces = [_cut(drive, wanted, gap) for drive in drives]
    draw = sorted(
        (piece for mine in pieces for piece in mine),
        key=lambda piece: blake2b(f'{seed}/{piece.name}'.encode()).digest(),
    )
    held_out, ticks = set[str](), 0
    for piece in draw[:-1] if share > 0 else ():  # one is left to learn from
        length = piece.stop - piece.start
        if held_out and ticks + length / 2 > wanted:
            break
        held_out.add(piece.name)
        ticks += length
    return tuple(episode for mine in pieces for episode in _episodes(mine, held_out, gap))


def _cut(drive: Drive, wanted: float, gap: int) -> list[Drive]:
    """Cut a drive that cannot be held out whole into even stretches."""
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
    """Join the neighbouring stretches of a drive that are on the same side."""
    found = []
    for is_held, group in groupby(pieces, key=lambda piece: piece.name in held_out):
        mine = list(group)
        start, stop = mine[0].start, mine[-1].stop
        if not is_held:
            start += gap * (mine[0] is not pieces[0])
            stop -= gap * (mine[-1] is not pieces[-1])
        found.append(Episode(start, stop, 'val' if is_held else 'train'))
    return found
