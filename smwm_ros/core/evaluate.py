# SPDX-License-Identifier: Apache-2.0
"""
Closed-loop evaluation in an arena, by the protocol of the paper.

A pair is two frames of one held-out episode, `offset` raw steps apart. The arena is placed at the
first, the image of the second is the goal, and the goal must be reached within `budget` raw steps,
at any one of them. Planner, random policy and scripted expert get the same pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import time
from typing import Any, NamedTuple, Protocol

import numpy as np
from smwm_ros import config
from smwm_ros.core.checkpoint import Checkpoint
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import ActionSpec, Arena, Array, Frame
from smwm_ros.core.pilot import Pilot
from smwm_ros.errors import ConfigError, DatasetError
from tqdm import tqdm


class Pair(NamedTuple):
    """A start and a goal, as measured in a recorded episode."""

    start_state: Array  # (P,)
    goal_state: Array  # (P,)
    start_row: int  # of the dataset
    goal_row: int


class Outcome(NamedTuple):
    """What became of one attempt."""

    success: bool
    solved_at_start: bool  # the start counts as the goal already; nothing was done
    steps: int  # raw steps until success, or the budget


class Driver(Protocol):
    """Somebody who drives towards a goal."""

    def begin(self, goal: Frame) -> None:
        """Take a new goal."""
        ...

    def act(self, frame: Frame) -> Array:
        """Return the raw action (A,) to take now."""
        ...


class RandomDriver:
    """Draws every raw action uniformly between the limits."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        self._spec, self._rng = spec, np.random.default_rng(seed)

    def begin(self, goal: Frame) -> None:
        """Care for no goal."""

    def act(self, frame: Frame) -> Array:
        """Return noise."""
        return self._rng.uniform(self._spec.low, self._spec.high)


class ExpertDriver:
    """Asks the arena's scripted expert, who sees the state and knows the goal."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena

    def begin(self, goal: Frame) -> None:
        """Know the goal from the arena."""

    def act(self, frame: Frame) -> Array:
        """Return what the expert would do."""
        return self._arena.expert()


class PilotDriver:
    """Plans from pixels: a plan every `execute` raw steps, acted on `delay` raw steps later."""

    def __init__(self, pilot: Pilot, execute: int, delay: int) -> None:
        if execute + delay > pilot.horizon:
            raise ConfigError(
                f'evaluate.execute: {execute} raw steps after a delay of {delay} reach beyond '
                f'the {pilot.horizon} raw steps of a plan'
            )
        self._pilot, self._execute, self._delay = pilot, execute, delay
        self._tick = 0
        self._queue: list[Array] = []
        self.plan_seconds: list[float] = []

    def begin(self, goal: Frame) -> None:
        """Take the goal's image."""
        self._pilot.set_goal(goal.pixels)
        self._tick = 0
        # Until the first plan is ready, a robot does what is nearest to nothing.
        spec = self._pilot.spec
        self._queue = [spec.clip(np.zeros(spec.size))] * self._delay

    def act(self, frame: Frame) -> Array:
        """Plan when it is time, and return the action that is due."""
        if self._tick % self._execute == 0:
            began = time.perf_counter()
            plan = self._pilot.plan(frame.pixels, elapsed=self._execute if self._tick else 0)
            self.plan_seconds.append(time.perf_counter() - began)
            # The first `delay` actions of the plan would be past before it is ready.
            self._queue[self._delay :] = plan.actions[self._delay :][: self._execute]
        self._tick += 1
        return self._queue.pop(0)


def draw_pairs(dataset: TransitionDataset, settings: config.Evaluate) -> list[Pair]:
    """Draw pairs from the held-out episodes by the seed, none twice."""
    if not dataset.info.state_size:
        raise DatasetError(
            f'{dataset.folder}: has no measured state, so an arena cannot be placed at its frames'
        )
    starts = dataset.starts('val', settings.offset)
    if len(starts) < settings.pairs:
        raise DatasetError(
            f'{dataset.folder}: {len(starts)} pairs of held-out frames lie {settings.offset} raw '
            f'steps apart, expected at least the {settings.pairs} of evaluate.pairs'
        )
    rng = np.random.default_rng(settings.seed)
    rows = rng.choice(starts, settings.pairs, replace=False)
    goals = rows + settings.offset
    states = zip(dataset.states(rows), dataset.states(goals), rows, goals, strict=True)
    return [Pair(start, goal, int(row), int(to)) for start, goal, row, to in states]


def run_pair(arena: Arena, pair: Pair, driver: Driver, budget: int) -> Outcome:
    """Let a driver try one pair."""
    arena.reset(pair.start_row)  # whatever the state does not say is the same for every driver
    driver.begin(arena.set_goal(pair.goal_state))
    frame = arena.set_state(pair.start_state)
    if arena.success():
        return Outcome(True, True, 0)
    for step in range(1, budget + 1):
        frame = arena.step(driver.act(frame))
        if arena.success():
            return Outcome(True, False, step)
    return Outcome(False, False, budget)


def run_pairs(
    arena: Arena, pairs: Sequence[Pair], driver: Driver, budget: int, name: str
) -> list[Outcome]:
    """Let a driver try every pair, with a progress bar."""
    outcomes = []
    with tqdm(pairs, desc=name, unit='pair') as bar:
        for pair in bar:
            outcomes.append(run_pair(arena, pair, driver, budget))
            reached = sum(outcome.success for outcome in outcomes)
            bar.set_postfix_str(f'reached {reached} of {len(outcomes)}', refresh=False)
    return outcomes


def random_floor(
    arena: Arena, pairs: Sequence[Pair], budget: int, repeats: int, seed: int
) -> list[Outcome]:
    """Try every pair at random several times, so that the floor is known well."""
    driver = RandomDriver(arena.spec, seed)
    return run_pairs(arena, list(pairs) * repeats, driver, budget, 'random policy')


def evaluate(
    checkpoint: Checkpoint,
    arena: Arena,
    pairs: Sequence[Pair],
    planner: config.Planner,
    settings: config.Evaluate,
) -> dict[str, dict[str, Any]]:
    """Let planner, random policy and expert try the same pairs; return a summary of each."""
    pilot = Pilot(checkpoint, planner)
    pilot.warm_up()
    driver = PilotDriver(pilot, settings.execute, settings.delay)
    budget = settings.budget
    attempts = {
        'planner': run_pairs(arena, pairs, driver, budget, 'planner'),
        'random': random_floor(arena, pairs, budget, settings.repeats, settings.seed),
        'expert': run_pairs(arena, pairs, ExpertDriver(arena), budget, 'expert'),
    }
    results = {
        name: {**summarise(outcomes), 'outcomes': [outcome._asdict() for outcome in outcomes]}
        for name, outcomes in attempts.items()
    }
    if driver.plan_seconds:
        median, p99 = 1e3 * np.percentile(driver.plan_seconds, [50, 99])
        results['planner']['plan_ms'] = {'median': median, 'p99': p99}
    return results


def wilson(successes: int, attempts: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a success rate."""
    if attempts == 0:
        return 0.0, 1.0
    z = 1.959964
    rate, shrink = successes / attempts, 1 + z * z / attempts
    centre = (rate + z * z / (2 * attempts)) / shrink
    half = z / shrink * math.sqrt((rate * (1 - rate) + z * z / (4 * attempts)) / attempts)
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return success with its interval, over all pairs and without those solved at the start."""
    moved = [outcome for outcome in outcomes if not outcome.solved_at_start]
    reached = [outcome.steps for outcome in moved if outcome.success]
    good, good_moved = sum(o.success for o in outcomes), len(reached)
    return {
        'attempts': len(outcomes),
        'success': good / len(outcomes),
        'interval': wilson(good, len(outcomes)),
        'solved_at_start': len(outcomes) - len(moved),
        'success_without_solved': good_moved / len(moved) if moved else None,
        'interval_without_solved': wilson(good_moved, len(moved)),
        'median_steps': float(np.median(reached)) if reached else None,
    }
