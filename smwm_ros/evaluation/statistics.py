# SPDX-License-Identifier: Apache-2.0
"""Success rates with confidence intervals, and paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

Z = 1.959964  # of a 95 % interval


class Comparison(NamedTuple):
    """The difference of two methods on the same pairs."""

    only_first: int  # pairs in which the first succeeded and the second failed
    only_second: int
    difference: float  # success rate of the first minus that of the second
    interval: tuple[float, float]  # 95 % confidence interval of the difference
    p: float  # of McNemar's exact test


def wilson(successes: float, attempts: float) -> tuple[float, float]:
    """Return the 95 % confidence interval of a success rate."""
    if attempts == 0:
        return 0.0, 1.0
    rate, shrink = successes / attempts, 1 + Z * Z / attempts
    centre = (rate + Z * Z / (2 * attempts)) / shrink
    half = Z / shrink * math.sqrt((rate * (1 - rate) + Z * Z / (4 * attempts)) / attempts)
    # At a rate of 0 or 1, rounding must not exclude the rate itself.
    return min(rate, max(0.0, centre - half)), max(rate, min(1.0, centre + half))


def interval_by_episode(
    seeds: Sequence[Sequence[tuple[int, bool]]],  # of each seed: (episode, success)
    repeats: int = 1,  # of every pair, which add little information
) -> tuple[float, float]:
    """
    Return the 95 % confidence interval of a success rate over correlated attempts.

    Attempts of one episode are correlated, and so are those of one seed, with its data and model.
    The variance is that of a bootstrap that resamples seeds, and episodes within each seed
    (linearised, in the limit of many draws). It gives an effective number of independent attempts,
    and the interval is Wilson's for that number. Where all attempts succeed or all fail, each
    episode counts once.
    """
    sums: list[dict[int, list[float]]] = []  # of each seed and episode: successes, attempts
    for attempts in seeds:
        episodes: dict[int, list[float]] = {}
        for episode, success in attempts:
            counts = episodes.setdefault(episode, [0.0, 0.0])
            counts[0] += success
            counts[1] += 1
        sums.append(episodes)
    total = sum(n for episodes in sums for _, n in episodes.values())
    if not total:
        return wilson(0, 0)
    rate = sum(good for episodes in sums for good, _ in episodes.values()) / total
    count, most = sum(map(len, sums)), total / repeats
    if count < 2:  # the variance between episodes is unknown
        return wilson(rate * most, most)
    variance = 0.0
    for episodes in sums:
        errors = [good - rate * n for good, n in episodes.values()]
        seed_error = sum(errors)
        variance += seed_error**2 / total**2
        variance += sum((e - seed_error / len(errors)) ** 2 for e in errors) / total**2
    worth = rate * (1 - rate) / variance if variance else float(count)
    worth = min(worth, most)
    return wilson(rate * worth, worth)


def compare(first: Sequence[bool], second: Sequence[bool]) -> Comparison:
    """
    Compare two methods pair by pair, which is more powerful than comparing two intervals.

    Only pairs with different outcomes count. The interval is that of Agresti and Min, which adds
    half a pair to each of the four cells, so that it never has length 0.
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
    """Return the two-sided p value of b against c, both equally likely."""
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / (1 << (b + c)))
