# SPDX-License-Identifier: Apache-2.0
"""Tests for control/percentiles.py."""

import math

import numpy as np
import pytest
from smwm_ros.control.percentiles import Percentiles


def test_percentiles_are_exact_over_all_values():
    meter = Percentiles()
    values = np.random.default_rng(0).exponential(size=5000)
    for value in values:
        meter.add(value)
    for percent in (0, 50, 99, 100):
        assert meter.percentile(percent) == pytest.approx(np.percentile(values, percent))
    assert meter.mean() == pytest.approx(values.mean())


def test_memory_is_bounded_and_the_latest_values_are_kept():
    meter = Percentiles(capacity=10)
    for value in range(1000):
        meter.add(value)
    assert meter.count == 1000
    assert meter.percentile(0) == 990


def test_nothing_measured_is_not_a_number():
    meter = Percentiles()
    assert all(math.isnan(it) for it in (meter.percentile(50), meter.mean()))
