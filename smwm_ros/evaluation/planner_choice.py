# SPDX-License-Identifier: Apache-2.0
"""
Choose the planner of a run with an actor, on held-out episodes.

In an arena each planner drives between the same pairs of frames, and the one that reaches most
goals is chosen. For other robots each plans between such frames, and the one whose first action is
nearest to the recorded one is chosen. Of equal ones, the fastest is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.observations import observations
from smwm_ros.evaluation.agents import PlannerAgent
from smwm_ros.evaluation.closed_loop import run_pairs
from smwm_ros.evaluation.pairs import draw_pairs
from smwm_ros.interfaces import Arena, Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.regression import r2
from smwm_ros.planning.pilot import Pilot
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.goals import with_goals

CANDIDATES = (config.DIRECT, config.GUARDED, 'cem')  # the fastest first
PAIRS = 50  # that each planner drives between
PLANS = 512  # that are compared with recorded actions
AT_ONCE = 64
GOALS, AGREEMENT = 'share of the goals reached', 'R2 of the first action'


class Choice(NamedTuple):
    """The chosen planner.kind, and the figures of all candidates."""

    kind: str
    measure: str  # GOALS or AGREEMENT
    pairs: int  # of frames
    figures: dict[str, float]  # of each candidate; the highest is chosen


def by_driving(
    checkpoint: Checkpoint,
    dataset: TransitionDataset,
    arenas: Sequence[Arena],
    protocol: config.Evaluate,
    progress: ShowProgress = NoProgress,
) -> Choice:
    """Choose by the goals that each planner reaches in an arena."""
    pairs = draw_pairs(dataset, replace(protocol, pairs=PAIRS))
    figures = {}
    for kind, settings in _settings(checkpoint):
        agent = PlannerAgent(Pilot(checkpoint, settings), protocol.execute, protocol.delay)
        tried = run_pairs(arenas, pairs, agent, protocol.budget, kind, progress=progress)
        figures[kind] = float(np.mean([outcome.success for outcome in tried]))
    return _best(GOALS, len(pairs), figures)


def by_agreement(checkpoint: Checkpoint, dataset: TransitionDataset) -> Choice:
    """Choose by the R2 of first raw actions, for goals up to model.actor_reach ahead."""
    starts = dataset.starts('val')
    rows = with_goals(evenly_spaced(starts, PLANS), dataset, checkpoint.model_config.reach, [0])
    recorded = checkpoint.scaler.normalise(dataset.actions(rows[0]))
    figures = {}
    for kind, settings in _settings(checkpoint):
        planned = checkpoint.scaler.normalise(_first_actions(checkpoint, settings, dataset, rows))
        figures[kind] = float(np.nanmean(r2(planned, recorded)))
    return _best(AGREEMENT, rows.shape[1], figures)


def _settings(checkpoint: Checkpoint) -> list[tuple[str, config.Planner]]:
    """Return the planner settings of each candidate."""
    return [(kind, replace(checkpoint.planner, kind=kind)) for kind in CANDIDATES]


def _best(measure: str, count: int, figures: dict[str, float]) -> Choice:
    return Choice(max(figures, key=lambda kind: figures[kind]), measure, count, figures)


def _first_actions(
    checkpoint: Checkpoint, settings: config.Planner, dataset: TransitionDataset, rows: Array
) -> Array:
    """Return the first raw actions (n, A) of plans from rows to goals (2, n)."""
    pilot, stack = Pilot(checkpoint, settings), checkpoint.model_config.stack
    found = []
    for starts, goals in zip(*(np.array_split(part, _parts(part)) for part in rows), strict=True):
        pilot.set_goals(dataset.pixels(goals))
        plans = pilot.plan_many(observations(dataset, starts, stack), 0)
        found += [plan.actions[0] for plan in plans]
    return np.stack(found)


def _parts(rows: Array) -> int:
    return -(-len(rows) // AT_ONCE)
