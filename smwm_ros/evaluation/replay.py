# SPDX-License-Identifier: Apache-2.0
"""
Replay: the commands that a planner would have sent in place of the recorded operator.

The drive is cut into legs. The planner plans at each frame of a leg towards its last frame, or
towards a goal image. The frames are those of the recording, so the plans have no effect on them.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import time
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.observations import observations
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.agreement import Agreement
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.planning.pilot import Pilot, PilotPlan
from smwm_ros.text import count_of

_log = logging.getLogger(__name__)

LANES = 16  # legs in one batch of plans


class Leg(NamedTuple):
    """A part of a drive, with the recorded and the planned commands."""

    start: int  # row of the dataset
    theirs: Array  # (N, A) recorded raw actions
    ours: Array  # (N, A) first raw action of each plan
    distance: Array  # (N,) latent distance to the goal
    plans: tuple[PilotPlan, ...] = ()  # N
    plan_ms: Array = np.zeros(0)  # (N,) planning time of a batch, divided by its plans


def replay(
    pilot: Pilot,
    dataset: TransitionDataset,
    length: int,  # raw steps in a leg
    goal: Array | None = None,  # (S, S, 3) uint8 RGB; None: the last frame of each leg
    progress: Callable[[int], None] = lambda legs: None,
) -> list[Leg]:
    """Plan at every frame of the legs of a recording; call progress with the legs done."""
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
    starts = _known(dataset, starts, length)
    legs = []
    for part in np.array_split(starts, -(-len(starts) // LANES)):
        ends = dataset.pixels(part + length)
        pilot.set_goals(ends if goal is None else np.broadcast_to(goal, ends.shape))
        plans, ends_of_ticks = [], [time.perf_counter()]
        for tick in range(length):
            plans.append(_plan(pilot, dataset, part, tick))
            ends_of_ticks.append(time.perf_counter())
        plan_ms = np.diff(ends_of_ticks) * 1e3 / len(part)
        for lane, start in enumerate(part.tolist()):
            mine = tuple(plan[lane] for plan in plans)
            theirs = dataset.actions(np.arange(start, start + length))
            ours = np.stack([plan.actions[0] for plan in mine])
            distance = np.array([plan.distance for plan in mine])
            legs.append(Leg(start, theirs, ours, distance, mine, plan_ms))
        progress(len(part))
    return legs


def _plan(pilot: Pilot, dataset: TransitionDataset, starts: Array, tick: int) -> list[PilotPlan]:
    """Plan at a tick of legs; a forward model with a history reads what the leg showed so far."""
    block, rows = pilot.action_block, starts + tick
    steps = min(pilot.past_steps, tick // block)
    if not steps:
        return pilot.plan_many(observations(dataset, rows, pilot.stack), min(tick, 1))
    images = [dataset.pixels(rows - back * block) for back in range(steps, -1, -1)]
    before = dataset.actions(rows[:, None] + np.arange(-steps * block, 0))
    return pilot.plan_many(np.concatenate(images, axis=-1), 1, None, before)


def _known(dataset: TransitionDataset, starts: Array, length: int) -> Array:
    """Leave out legs with an unknown command; raise if none remains."""
    known = starts[np.isin(starts, dataset.starts('all', length))]
    if not len(known):
        raise DatasetError(
            f'no leg of {count_of(length, "control period")} has a recorded command at every tick '
            f'({count_of(dataset.unknown, "tick")} have none); record the commands, too'
        )
    if len(known) < len(starts):
        left_out = count_of(len(starts) - len(known), 'leg')
        _log.warning('%s left out, because a recorded command is missing', left_out)
    return known


def agree(legs: list[Leg], spec: ActionSpec) -> Agreement:
    """Compare planned and recorded commands tick by tick."""
    agreement = Agreement(spec)
    for leg in legs:
        for ours, theirs in zip(leg.ours, leg.theirs, strict=True):
            agreement.add(ours, theirs)
    return agreement


def chance(legs: list[Leg], spec: ActionSpec, seed: int = 0) -> Agreement:
    """Compare planned commands with recorded ones of other ticks: agreement by chance."""
    theirs = np.concatenate([leg.theirs for leg in legs])
    order = np.random.default_rng(seed).permutation(len(theirs))
    mixed = np.split(theirs[order], len(legs))
    return agree([leg._replace(theirs=part) for leg, part in zip(legs, mixed, strict=True)], spec)
