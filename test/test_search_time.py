# SPDX-License-Identifier: Apache-2.0
"""Tests for control/search_time.py: plans that take far too long are refused before."""

from dataclasses import replace

import pytest
from smwm_ros.config import Planner
from smwm_ros.control.search_time import SearchTime, small
from smwm_ros.errors import ConfigError

USUAL = Planner(samples=128, horizon=5, iterations=4, elites=16)
EFFORT = SearchTime(0.002, small(USUAL))


def test_a_small_search_is_small_whatever_the_settings_are():
    huge = Planner(samples=100_000, horizon=100, iterations=1000, elites=99_999, refine=1000)
    probe = small(huge)
    assert probe.samples * probe.horizon * probe.iterations <= 256 * 5 * 2
    assert probe.elites <= probe.samples
    assert small(probe) == probe


@pytest.mark.parametrize('name', ['samples', 'horizon', 'iterations'])
def test_twice_as_much_of_anything_takes_twice_as_long(name):
    double = replace(USUAL, **{name: 2 * getattr(USUAL, name)})
    assert EFFORT.estimate(double) == pytest.approx(2 * EFFORT.estimate(USUAL))


def test_gradients_count():
    assert EFFORT.estimate(replace(USUAL, refine=10)) > 3 * EFFORT.estimate(USUAL)


def test_a_budget_ends_a_search_after_its_first_iteration():
    long = replace(USUAL, iterations=1000, budget_ms=20.0)
    assert EFFORT.estimate(long) == pytest.approx(0.02)
    wide = replace(long, samples=100_000)
    assert EFFORT.estimate(wide) == pytest.approx(EFFORT.estimate(replace(wide, iterations=1)))


def test_a_policy_without_a_search_takes_the_same_whatever_the_samples_are():
    policy = replace(USUAL, kind='amortised')
    effort = SearchTime(0.002, small(policy))
    assert effort.estimate(replace(policy, samples=100_000)) == pytest.approx(0.002)


def test_what_would_take_too_long_is_refused_with_figures_and_what_to_change():
    EFFORT.check(USUAL, 1.0)
    huge = replace(USUAL, samples=100_000, horizon=100, iterations=1000)
    with pytest.raises(
        ConfigError, match=r'samples 100000 x .* would take about 15,625.0 s .*budget_ms'
    ):
        EFFORT.check(huge, 1.0)


def test_plans_that_are_old_before_the_next_one_is_ready_are_warned_of():
    seconds = EFFORT.estimate(USUAL)
    assert EFFORT.warning(USUAL, 2 * seconds + 0.1, 0.1) == ''
    warning = EFFORT.warning(USUAL, 1.9 * seconds + 0.1, 0.1)
    assert 'about 0.004 s' in warning
    assert 'expected at most 0.0038 s' in warning
    assert 'planner.samples' in warning
    assert 'node.image_timeout' in warning
