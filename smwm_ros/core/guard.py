# SPDX-License-Identifier: Apache-2.0
"""What may reach a robot: only commands inside its limits, only models that were made for it."""

from __future__ import annotations

import math

import numpy as np
from smwm_ros.config import Robot
from smwm_ros.core.interfaces import ActionSpec, Array
from smwm_ros.errors import CheckpointError


class Guard:
    """The last look at a command before it leaves."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec
        self.interventions = 0

    def check(self, action: Array) -> Array | None:
        """Return the action inside its limits, or None if it is no action at all."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self.spec.size,) or not np.isfinite(action).all():
            self.interventions += 1
            return None
        clipped = self.spec.clip(action)
        if not np.allclose(clipped, action, rtol=0.0, atol=1e-9):
            self.interventions += 1
        return clipped


def check_contract(trained: Robot, asked: Robot) -> None:
    """Refuse a robot that the checkpoint was not trained for; names of topics may differ."""
    wrong = []
    if not math.isclose(trained.dt, asked.dt, rel_tol=1e-6):
        wrong.append(f'robot.dt is {asked.dt} s, but the model was trained at {trained.dt} s')
    saw, sees = trained.camera, asked.camera
    views, wanted = len(sees.topics), len(saw.topics)
    if views != wanted or (views > 1 and saw.tiles != sees.tiles):
        wrong.append(
            f'robot.camera joins {views} views in a {sees.tiles}, but the model was trained '
            f'with {wanted} in a {saw.tiles}'
        )
    had, has = trained.command, asked.command
    if len(had.low) != len(has.low):
        wrong.append(
            f'robot.command.fields names {len(has.low)} numbers, but the model commands '
            f'{len(had.low)}: {", ".join(had.fields)}'
        )
    elif any(a < b for a, b in zip(has.low, had.low, strict=True)) or any(
        a > b for a, b in zip(has.high, had.high, strict=True)
    ):
        wrong.append(
            f'robot.command.low and high {list(has.low)} .. {list(has.high)} reach beyond what '
            f'the model was trained with, {list(had.low)} .. {list(had.high)}'
        )
    if wrong:
        raise CheckpointError('; '.join(wrong))
