# SPDX-License-Identifier: Apache-2.0
"""A drive that was shown is repeated by its pictures, in another light too."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np


def test_a_drive_through_the_door_and_back_is_repeated_in_another_light(bench: Any) -> None:
    routes, driver = bench.routes, bench.routes.Driver()
    with (
        closing(routes.make('pybullet', False)) as home,
        closing(routes.make('pybullet', True)) as away,
    ):
        shown = driver.show(home, seed=2)
        assert {float(np.sign(x)) for x, _ in shown.path} == {-1.0, 1.0}, 'both rooms'
        away.randomise(1002)  # so dark that no image is near the last picture
        repeated = driver.repeat(away, shown, shown.pictures, seed=2)
    assert repeated.ended
    assert repeated.follows(shown)
    assert repeated.deviation(shown) < 0.12
