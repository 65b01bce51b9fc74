# SPDX-License-Identifier: Apache-2.0
"""Tests for data/evenly_spaced.py."""

from __future__ import annotations

import numpy as np
import pytest
from smwm_ros.data.evenly_spaced import evenly_spaced


@pytest.mark.parametrize('rounded', [False, True])
@pytest.mark.parametrize('wanted', [2, 3, 7, 12, 60])
@pytest.mark.parametrize('count', [1, 7, 61, 1000])
def test_the_rows_go_from_the_first_to_the_last_with_even_gaps(
    count: int, wanted: int, rounded: bool
) -> None:
    rows = 5 + 3 * np.arange(count)
    some = evenly_spaced(rows, wanted, rounded)
    gaps = np.diff(some) // 3
    assert len(some) == min(count, wanted)
    assert (some[0], some[-1]) == (rows[0], rows[-1])
    assert (gaps > 0).all()
    assert np.ptp(gaps) <= 1 if len(gaps) else count == 1


def test_of_no_rows_none_are_chosen() -> None:
    assert evenly_spaced(np.arange(0), 5).tolist() == []


def test_a_place_between_two_rows_gives_the_earlier_or_the_nearer_one() -> None:
    assert evenly_spaced(np.arange(4), 3).tolist() == [0, 1, 3]
    assert evenly_spaced(np.arange(4), 3, rounded=True).tolist() == [0, 2, 3]
