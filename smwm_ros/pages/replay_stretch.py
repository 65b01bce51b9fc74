# SPDX-License-Identifier: Apache-2.0
"""Which stretch of which recording a leg of a replay is, and whether the run learnt from it."""

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

HELD_OUT, LEARNT, PARTLY = 'held out', 'learnt from', 'partly learnt from'
BETWEEN, STRANGE = 'left out beside held-out stretches', 'not in the dataset of the run'
UNKNOWN = 'held out or not: unknown'


class Stretch(NamedTuple):
    """Legs of one drive, one after the other."""

    place: str  # recording, and from when to when
    legs: int
    split: str  # held out, or not

    def __str__(self) -> str:
        """Say it in a line."""
        return f'{self.place} ({count_of(self.legs, "leg")}, {self.split})'


class Stretches:
    """Looks up the rows of a recording in the dataset of a run."""

    def __init__(self, dataset: TransitionDataset, run: Path, checkpoint: Checkpoint) -> None:
        self._dataset = dataset
        self._learnt = _marks(dataset, _trained_on(run, checkpoint))

    def place(self, leg: Leg) -> str:
        """Say where a leg lies, and whether the run learnt from it."""
        return f'{self.where(leg.start, leg.start + len(leg.ours))}, {self.split(leg)}'

    def where(self, start: int, stop: int) -> str:
        """Say which recording the rows are of, and from when to when."""
        return place(self._dataset, start, stop)

    def split(self, leg: Leg) -> str:
        """Say whether a leg was held out."""
        return self._split(leg.start, leg.start + len(leg.ours))

    def all(self, legs: Sequence[Leg]) -> list[Stretch]:
        """Return the legs of each drive as one stretch, parted where the split changes."""
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
        """Return when the ticks of a leg were, since its recording began (n,) [s]."""
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
    """Return the dataset of a run, if it is still there as it was."""
    folder = recorded_data(run)
    try:
        data = TransitionDataset.open(folder) if folder else None
    except DatasetError:
        return None
    return data if data and data.fingerprint == checkpoint.info.get('dataset') else None


def _marks(mine: TransitionDataset, theirs: TransitionDataset | None) -> Array | None:
    """Return for each row whether the run learnt from it (n,), by the stamps of its recording."""
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
