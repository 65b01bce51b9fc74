# SPDX-License-Identifier: Apache-2.0
"""Agreement of two sequences of commands, tick by tick."""

from __future__ import annotations

import math

import numpy as np
from smwm_ros.interfaces import ActionSpec, Array

CLOSE = 0.25  # largest difference of commands that agree [share of the range of each field]
STILL = 0.1  # shortest command that has a direction [half ranges]


class Agreement:
    """Running statistics of pairs of commands (A,), in constant memory."""

    def __init__(self, spec: ActionSpec) -> None:
        self._range = np.array(spec.high) - np.array(spec.low)
        self._fields = spec.fields
        self.count = 0
        self._apart = np.zeros(spec.size)  # sum of the differences
        self._close = self._moving = 0
        self._cosine = 0.0

    def add(self, ours: Array, theirs: Array) -> float:
        """Add a pair; return its difference, the mean over the fields [share of the range]."""
        apart = np.abs(ours - theirs)
        share = apart / self._range
        self.count += 1
        self._apart += apart
        self._close += int((share <= CLOSE).all())
        one, other = 2 * ours / self._range, 2 * theirs / self._range
        lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
        if min(lengths) > STILL:
            self._moving += 1
            self._cosine += float(one @ other) / (lengths[0] * lengths[1])
        return float(share.mean())

    def figures(self) -> dict[str, float]:
        """Return the statistics; nan where no pair counts."""
        count = self.count or math.nan
        mean = self._apart / count
        return {
            'compared': float(self.count),
            'close': self._close / count,  # share of the ticks at which all fields agree
            'direction': self._cosine / (self._moving or math.nan),  # mean cosine, where both move
            'difference': float((mean / self._range).mean()),  # share of the range
            **{f'difference {name}': float(d) for name, d in zip(self._fields, mean, strict=True)},
        }
