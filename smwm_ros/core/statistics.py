# SPDX-License-Identifier: Apache-2.0
"""What a few successes and failures say: rates with their intervals, and comparisons in pairs."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

Z = 1.959964  # of a 95 % interval


class Comparison(NamedTuple):
    """How two drivers differ on the same pairs."""

    only_first: int  # pairs that the first reached and the second did not
    only_second: int
    difference: float  # success of the first less that of the second
    interval: tuple[float, float]  # 95 % of that difference
    p: float  # of the exact test by McNemar: both are equally good


def wilson(successes: float, attempts: float) -> tuple[float, float]:
    """Return the 95 % confidence interval of a success rate."""
    if attempts == 0:
        return 0.0, 1.0
    rate, shrink = successes / attempts, 1 + Z * Z / attempts
    centre = (rate + Z * Z / (2 * attempts)) / shrink
    half = Z / shrink * math.sqrt((rate * (1 - rate) + Z * Z / (4 * attempts)) / attempts)
    return max(0.0, centre - half), min(1.0, centre + half)


def compare(first: Sequence[bool], second: Sequence[bool]) -> Comparison:
    """
    Compare two drivers pair by pair, which says more than two intervals do.

    Only the pairs count on which they differ. The interval is that of Agresti and Min, which adds
    half a pair to each of the four cells, so that it is never empty.
    """
    if len(first) != len(second):
        raise ValueError(f'expected the same pairs, found {len(first)} and {len(second)}')
    b = sum(one and not two for one, two in zip(first, second, strict=True))
    c = sum(two and not one for one, two in zip(first, second, strict=True))
    difference = (b - c) / max(len(first), 1)
    n, shifted = len(first) + 2, (b - c) / (len(first) + 2)
    half = Z * math.sqrt(max(b + c + 1 - n * shifted**2, 0.0)) / n
    interval = max(-1.0, shifted - half), min(1.0, shifted + half)
    return Comparison(b, c, difference, interval, _sign_test(b, c))


def _sign_test(b: int, c: int) -> float:
    """Return how likely a split as uneven as b to c is, where both sides are as likely."""
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / (1 << (b + c)))
