# SPDX-License-Identifier: Apache-2.0
"""
What a planner would have done in the place of whoever drove a recording.

The drive is cut into legs. The planner sees the frames of a leg one after the other, is given its
last frame as the goal, or a goal of its own, and says each time what it would do next. The robot
does what it did, so what the planner says never has consequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.agreement import Agreement
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.planning.pilot import Pilot
from smwm_ros.text import count_of

LANES = 16  # legs planned for at the same time


class Leg(NamedTuple):
    """A part of a drive, and what both drivers did in it."""

    start: int  # row of the dataset
    theirs: Array  # (N, A) raw actions that were driven
    ours: Array  # (N, A) that the planner would have chosen
    distance: Array  # (N,) latent distance to the goal


def replay(
    pilot: Pilot,
    dataset: TransitionDataset,
    length: int,  # raw steps in a leg
    goal: Array | None = None,  # (S, S, 3) uint8 RGB; None: the last frame of each leg
    progress: Callable[[int], None] = lambda legs: None,
) -> list[Leg]:
    """Drive a recording again in mind."""
    starts = np.array(
        [row for e in dataset.drives for row in range(e.start, e.stop - length, length)],
        np.int64,
    )
    if not len(starts):
        longest = max(e.stop - e.start for e in dataset.drives)
        raise DatasetError(
            f'no drive of {count_of(length, "control period")} in the recording; the longest has '
            f'{longest - 1}'
        )
    legs = []
    for part in np.array_split(starts, -(-len(starts) // LANES)):
        ends = dataset.pixels(part + length)
        pilot.set_goals(ends if goal is None else np.broadcast_to(goal, ends.shape))
        plans = [
            pilot.plan_many(dataset.pixels(part + tick), min(tick, 1)) for tick in range(length)
        ]
        for lane, start in enumerate(part.tolist()):
            mine = [plan[lane] for plan in plans]
            theirs = dataset.actions(np.arange(start, start + length))
            ours = np.stack([plan.actions[0] for plan in mine])
            distance = np.array([plan.distance for plan in mine])
            legs.append(Leg(start, theirs, ours, distance))
        progress(len(part))
    return legs


def agree(legs: list[Leg], spec: ActionSpec) -> Agreement:
    """Compare both drivers tick by tick."""
    agreement = Agreement(spec)
    for leg in legs:
        for ours, theirs in zip(leg.ours, leg.theirs, strict=True):
            agreement.add(ours, theirs)
    return agreement


def chance(legs: list[Leg], spec: ActionSpec, seed: int = 0) -> Agreement:
    """Compare what the planner said with what was driven at other times."""
    theirs = np.concatenate([leg.theirs for leg in legs])
    order = np.random.default_rng(seed).permutation(len(theirs))
    mixed = np.split(theirs[order], len(legs))
    return agree([leg._replace(theirs=part) for leg, part in zip(legs, mixed, strict=True)], spec)
