# SPDX-License-Identifier: Apache-2.0
"""Intervals and comparisons say what the tables of statisticians say."""

from __future__ import annotations

from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros.evaluation.statistics import compare, interval_by_episode, wilson


def tried(b: int, c: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Return who reached what: b pairs the first alone, c the second alone."""
    first = [True] * b + [False] * c + [True] * both + [False] * neither
    second = [False] * b + [True] * c + [True] * both + [False] * neither
    return first, second


def test_wilson_intervals_are_those_of_the_tables() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 200), st.integers(1, 200))
@example(0, 14)  # where rounding left 0 out
def test_a_wilson_interval_holds_its_rate_and_narrows_with_more_of_the_same(
    good: int, more: int
) -> None:
    attempts = good + more
    low, high = wilson(good, attempts)
    assert 0 <= low <= good / attempts <= high <= 1
    low4, high4 = wilson(4 * good, 4 * attempts)
    assert high4 - low4 < high - low


def test_attempts_of_different_episodes_count_each() -> None:
    alone = [(episode, episode < 9) for episode in range(10)]
    assert interval_by_episode([alone]) == pytest.approx(wilson(9, 10))
    assert interval_by_episode([alone] * 3) == pytest.approx(wilson(27, 30))
    assert interval_by_episode([]) == interval_by_episode([[]]) == wilson(0, 0)


def test_pairs_that_end_as_their_episode_does_count_once() -> None:
    alike = [(episode, episode < 9) for episode in range(10) for _ in range(12)]
    assert interval_by_episode([alike]) == pytest.approx(wilson(9, 10))
    all_good = [(episode, True) for episode in range(10) for _ in range(12)]
    assert interval_by_episode([all_good]) == wilson(10, 10)


def test_seeds_that_differ_widen_an_interval() -> None:
    same = [[(episode, episode % 2 == 0) for episode in range(40)] for _ in range(3)]
    differ = [
        [(episode, episode < 40 * rate) for episode in range(40)] for rate in (0.2, 0.5, 0.8)
    ]
    (low, high), (low2, high2) = interval_by_episode(same), interval_by_episode(differ)
    assert high2 - low2 > 2 * (high - low)
    assert (low + high, low2 + high2) == pytest.approx((1, 1))


def test_the_interval_is_as_wide_as_a_bootstrap_of_seeds_and_episodes() -> None:
    rng = np.random.default_rng(3)
    seeds = [
        [
            (e, bool(rng.random() < rate))
            for e, rate in enumerate(rng.beta(2, 1, 30))
            for _ in 'abcd'
        ]
        for _ in range(3)
    ]
    drawn = []
    for _ in range(3000):
        rates = []
        for seed in rng.integers(3, size=3):
            episodes = np.array([s for _, s in seeds[seed]]).reshape(30, 4)
            rates.append(episodes[rng.integers(30, size=30)].mean())
        drawn.append(np.mean(rates))
    low, high = interval_by_episode(seeds)
    assert (high - low) / 3.92 == pytest.approx(np.std(drawn), rel=0.06)


def test_trying_pairs_again_narrows_nothing() -> None:
    once = [(episode, episode < 3) for episode in range(8)]
    assert interval_by_episode([once * 5], repeats=5) == pytest.approx(interval_by_episode([once]))


def test_the_test_of_mcnemar_counts_only_pairs_that_differ() -> None:
    # 1 and 9 of 10 that differ: 2 (C(10,0) + C(10,1)) / 2^10
    found = compare(*tried(9, 1, 80, 10))
    assert (found.only_first, found.only_second) == (9, 1)
    assert found.p == pytest.approx(22 / 1024)
    assert found.difference == pytest.approx(0.08)
    assert compare(*tried(9, 1, 0, 0)).p == found.p
    assert compare(*tried(5, 5, 3, 3)).p == 1.0
    assert compare(*tried(0, 0, 50, 50)).p == 1.0
    assert compare(*tried(6, 0, 1, 1)).p == pytest.approx(2 / 64)


def test_the_interval_of_a_difference_is_that_of_agresti_and_min() -> None:
    # half a pair in each cell: n 102, b 9.5, c 1.5
    found = compare(*tried(9, 1, 80, 10))
    centre, half = 8 / 102, 1.959964 * ((11 - 102 * (8 / 102) ** 2) ** 0.5) / 102
    assert found.interval == pytest.approx((centre - half, centre + half), abs=1e-9)
    low, high = compare(*tried(0, 0, 100, 0)).interval
    assert low < 0 < high, 'no difference seen is not no difference'


counts = st.integers(0, 60)


@given(counts, counts, counts, counts)
def test_comparing_the_other_way_round_turns_the_signs(
    b: int, c: int, both: int, neither: int
) -> None:
    first, second = tried(b, c, both, neither)
    here, there = compare(first, second), compare(second, first)
    assert here.difference == -there.difference
    assert here.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert here.p == there.p
    assert 0 < here.p <= 1
    low, high = here.interval
    assert -1 <= low <= high <= 1


def test_the_test_of_a_difference_flips_the_signs_of_whole_episodes() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        episodes = rng.integers(0, 7, 30).tolist()
        first, second = (rng.random(30) < 0.7).tolist(), (rng.random(30) < 0.4).tolist()
        sums = np.zeros(7)
        for one, two, episode in zip(first, second, episodes, strict=True):
            sums[episode] += int(one) - int(two)
        totals = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=7)]
        expected = np.mean(np.array(totals) >= abs(sums.sum()))
        assert compare(first, second, episodes).p == pytest.approx(expected)


def test_pairs_of_one_episode_that_end_alike_count_once_in_a_comparison() -> None:
    first, second = tried(9, 1, 20, 10)
    alone = compare(first, second, range(40))
    assert alone == compare(first, second)
    alike = compare(first * 4, second * 4, list(range(40)) * 4)
    assert alike.p == pytest.approx(alone.p)
    assert alike.interval == pytest.approx(alone.interval)
    assert (alike.difference, alike.episodes, alike.only_first) == (alone.difference, 40, 36)
    one = compare([True] * 50, [False] * 50, [3] * 50)
    assert one.p == 1.0, 'one episode proves nothing'
    assert one.interval[0] < 0


def test_the_interval_of_a_difference_is_as_wide_as_a_bootstrap_of_episodes() -> None:
    rng = np.random.default_rng(3)
    rates = rng.beta(2, 1, 60)[:, None]
    first = rng.random((60, 4)) < rates
    second = rng.random((60, 4)) < rates * rng.integers(0, 2, (60, 1))
    apart = first.astype(int) - second
    drawn = [apart[rng.integers(60, size=60)].mean() for _ in range(3000)]
    episodes = np.repeat(np.arange(60), 4).tolist()
    low, high = compare(first.ravel().tolist(), second.ravel().tolist(), episodes).interval
    assert (high - low) / 3.92 == pytest.approx(np.std(drawn), rel=0.06)


def test_only_the_same_pairs_can_be_compared() -> None:
    with pytest.raises(ValueError, match='expected the same pairs, found 2 and 1'):
        compare([True, False], [True])
