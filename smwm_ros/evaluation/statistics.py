# SPDX-License-Identifier: Apache-2.0
"""Success rates with confidence intervals, and paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

Z = 1.959964  # of a 95 % interval


class Comparison(NamedTuple):
    """The difference of two methods on the same pairs."""

    only_first: int  # pairs in which the first succeeded and the second failed
    only_second: int
    difference: float  # success rate of the first minus that of the second
    interval: tuple[float, float]  # 95 % confidence interval of the difference
    p: float  # of the sign-flip test by episode; McNemar's, where each pair has an episode
    episodes: int  # that the pairs come from


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


def compare(
    first: Sequence[bool], second: Sequence[bool], episodes: Sequence[int] | None = None
) -> Comparison:
    """
    Compare two methods pair by pair, which is more powerful than comparing two intervals.

    Only pairs with different outcomes count. Pairs of one episode are correlated: the variance of
    the difference is that between episodes, and gives an effective number of independent pairs.
    The interval is that of Agresti and Min for this number, which adds half a pair to each of the
    four cells, so that it never has length 0. Without episodes, each pair has one of its own.
    """
    if len(first) != len(second):
        raise ValueError(f'expected the same pairs, found {len(first)} and {len(second)}')
    count = len(first)
    b = sum(one and not two for one, two in zip(first, second, strict=True))
    c = sum(two and not one for one, two in zip(first, second, strict=True))
    difference = (b - c) / max(count, 1)
    sums: dict[int, list[int]] = {}  # of each episode: sum of the differences, pairs
    for one, two, episode in zip(first, second, episodes or range(count), strict=True):
        found = sums.setdefault(episode, [0, 0])
        found[0] += one - two
        found[1] += 1
    # The variance of the rate between episodes, beside that of one pair.
    variance = (
        sum((total - difference * n) ** 2 for total, n in sums.values()) / max(count, 1) ** 2
    )
    alone = (b + c) / max(count, 1) - difference**2
    worth = min(alone / variance if variance else len(sums), count)
    share = worth / max(count, 1)
    n, shifted = worth + 2, (b - c) * share / (worth + 2)
    half = Z * math.sqrt(max((b + c) * share + 1 - n * shifted**2, 0.0)) / n
    interval = max(-1.0, shifted - half), min(1.0, shifted + half)
    p = _sign_flip_test([total for total, _ in sums.values()])
    return Comparison(b, c, difference, interval, p, len(sums))


def _sign_flip_test(sums: Sequence[int]) -> float:
    """
    Return the two-sided p value of sums of differences, one of each episode.

    If the methods were equal, each sum would be as likely with the other sign. The value is exact:
    the share of all choices of signs whose total is at least as far from 0 as the one found.
    """
    sizes = [abs(value) for value in sums if value]
    most = sum(sizes)
    share = np.zeros(2 * most + 1)  # of the choices of signs that give each total from -most on
    share[most] = 1.0
    for size in sizes:
        share = (np.roll(share, size) + np.roll(share, -size)) / 2
    far = np.abs(np.arange(-most, most + 1)) >= abs(sum(sums))
    return min(1.0, float(share[far].sum()))
