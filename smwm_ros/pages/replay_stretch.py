# SPDX-License-Identifier: Apache-2.0
"""Recording and time range of each leg of a replay, and whether the run was trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.replay import Leg
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, recorded_data
from smwm_ros.pages.episode import place
from smwm_ros.text import count_of

HELD_OUT, LEARNT, PARTLY = 'held out', 'training data', 'partly training data'
BETWEEN, STRANGE = 'left out next to held-out data', 'not in the dataset of the run'
UNKNOWN = 'held out or not: unknown'


class Stretch(NamedTuple):
    """Legs of one drive, one after the other."""

    place: str  # recording, and from when to when
    legs: int
    split: str  # held out, or not

    def __str__(self) -> str:
        """Return place, legs and split in one line."""
        return f'{self.place} ({count_of(self.legs, "leg")}, {self.split})'


class Stretches:
    """Looks up the rows of a recording in the dataset of a run."""

    def __init__(self, dataset: TransitionDataset, run: Path, checkpoint: Checkpoint) -> None:
        self._dataset = dataset
        self._learnt = _marks(dataset, _trained_on(run, checkpoint))

    def place(self, leg: Leg) -> str:
        """Return recording, time range and split of a leg."""
        return f'{self.where(leg.start, leg.start + len(leg.ours))}, {self.split(leg)}'

    def where(self, start: int, stop: int) -> str:
        """Return recording and time range of rows."""
        return place(self._dataset, start, stop)

    def split(self, leg: Leg) -> str:
        """Return whether a leg was held out."""
        return self._split(leg.start, leg.start + len(leg.ours))

    def all(self, legs: Sequence[Leg]) -> list[Stretch]:
        """Join the legs of each drive into stretches of one split."""
        found: list[list[Leg]] = []
        for leg in legs:
            last = found[-1][-1] if found else None
            follows = last and last.start + len(last.ours) == leg.start
            if last and follows and self.split(last) == self.split(leg):
                found[-1].append(leg)
            else:
                found.append([leg])
        return [
            Stretch(
                self.where(some[0].start, some[-1].start + len(some[-1].ours)),
                len(some),
                self.split(some[0]),
            )
            for some in found
        ]

    def seconds(self, leg: Leg) -> Array:
        """Return the times of the ticks of a leg (n,) [s from the start of its recording]."""
        at = leg.start + np.arange(len(leg.ours))
        offsets = np.cumsum([0, *(meta['rows'] for meta in self._dataset.metas.values())])
        begin = offsets[np.searchsorted(offsets, leg.start, side='right') - 1]
        stamps = self._dataset.stamps
        seconds: Array = (stamps[at] - stamps[begin]) / 1e9
        return seconds

    def _split(self, start: int, stop: int) -> str:
        if self._learnt is None:
            return UNKNOWN
        marks = set(self._learnt[start:stop].tolist())
        if len(marks) == 1:
            return str(marks.pop())
        return PARTLY if LEARNT in marks else HELD_OUT if HELD_OUT in marks else BETWEEN


def _trained_on(run: Path, checkpoint: Checkpoint) -> TransitionDataset | None:
    """Return the dataset of a run if it is found unchanged."""
    folder = recorded_data(run)
    try:
        data = TransitionDataset.open(folder) if folder else None
    except DatasetError:
        return None
    return data if data and data.fingerprint == checkpoint.info.dataset else None


def _marks(mine: TransitionDataset, theirs: TransitionDataset | None) -> Array | None:
    """Return the split of each row in the dataset of the run (n,), matched by stamps."""
    if theirs is None:
        return None
    split = np.full(len(theirs), BETWEEN, dtype=object)
    for episode in theirs.episodes:
        split[episode.start : episode.stop] = HELD_OUT if episode.split == 'val' else LEARNT
    known, begin = dict[tuple[str, int], str](), 0
    for meta in theirs.metas.values():
        rows = slice(begin, begin + meta['rows'])
        source = meta.get('source', {}).get('fingerprint', '')
        stamps = theirs.stamps[rows].tolist()
        known.update(
            ((source, stamp), mark) for stamp, mark in zip(stamps, split[rows], strict=True)
        )
        begin = rows.stop
    marks: list[str] = []
    for meta in mine.metas.values():
        source = meta.get('source', {}).get('fingerprint', '')
        count = len(marks)
        stamps = mine.stamps[count : count + meta['rows']].tolist()
        marks += [known.get((source, stamp), STRANGE) for stamp in stamps]
    return np.array(marks, dtype=object)
