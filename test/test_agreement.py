# SPDX-License-Identifier: Apache-2.0
"""How far two drivers agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from smwm_ros.evaluation.agreement import Agreement
from smwm_ros.interfaces import ActionSpec

SPEC = ActionSpec(('x', 'turn'), (-0.5, -2.0), (0.5, 2.0), 0.1)


def test_drivers_that_do_the_same_agree_in_everything() -> None:
    agreement = Agreement(SPEC)
    rng = np.random.default_rng(0)
    for action in rng.uniform(SPEC.low, SPEC.high, (50, 2)):
        assert agreement.add(action, action) == 0
    figures = agreement.figures()
    assert figures['compared'] == 50
    assert figures['close'] == 1
    assert figures['direction'] == pytest.approx(1)
    assert figures['difference'] == 0


def test_differences_are_shares_of_the_range_and_values_of_the_field() -> None:
    agreement = Agreement(SPEC)
    assert agreement.add(np.array([0.5, 0.0]), np.array([0.0, 0.0])) == 0.25
    assert agreement.add(np.array([0.0, 0.4]), np.array([0.0, 0.0])) == pytest.approx(0.05)
    figures = agreement.figures()
    assert figures['close'] == 0.5
    assert figures['difference x'] == 0.25
    assert figures['difference turn'] == pytest.approx(0.2)
    assert math.isnan(figures['direction']), 'whoever rests has no direction'


def test_opposite_directions_are_reported_as_such() -> None:
    agreement = Agreement(SPEC)
    agreement.add(np.array([0.3, 0.0]), np.array([-0.3, 0.0]))
    agreement.add(np.array([0.3, 0.0]), np.array([0.0, 1.2]))
    assert agreement.figures()['direction'] == pytest.approx(-0.5)


def test_before_anything_was_compared_nothing_is_known() -> None:
    figures = Agreement(SPEC).figures()
    assert figures.pop('compared') == 0
    assert all(math.isnan(value) for value in figures.values())
