# SPDX-License-Identifier: Apache-2.0
"""
Closed-loop evaluation in an arena, by the protocol of the paper.

A pair is two frames of one held-out episode, `offset` raw steps apart. The arena is placed at the
first, the image of the second is the goal, and the goal must be reached within `budget` raw steps,
at any one of them. Planner, random policy and scripted expert get the same pairs.

There may be several arenas, all of one kind: each then holds a pair of its own, and a planner
plans for all of them at once, for each as if it were alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.policies import Driver, ExpertDriver, RandomDriver, Task
from smwm_ros.evaluation.statistics import interval_by_episode
from smwm_ros.interfaces import Arena, Frame
from smwm_ros.reporting import NoProgress, ShowProgress


class Outcome(NamedTuple):
    """What became of one attempt."""

    success: bool
    solved_at_start: bool  # the start counts as the goal already; nothing was done
    steps: int  # raw steps until success, or the budget
    path: Sequence[list[float]] = ()  # measured states, from the start to the end
    # Latent distance to the goal before each raw step, where the driver measured one.
    distances: Sequence[float | None] = ()
    episode: int = 0  # that start and goal come from


def run_pairs(
    arenas: Sequence[Arena],
    pairs: Sequence[Pair],
    driver: Driver,
    budget: int,
    name: str,
    repeats: int = 1,
    progress: ShowProgress = NoProgress,
) -> list[Outcome]:
    """Let a driver try every pair, as many at once as there are arenas; again for each repeat."""
    attempts = [(pair, repeat) for repeat in range(repeats) for pair in pairs]
    outcomes: list[Outcome] = []
    with progress(total=len(attempts), desc=name, unit='pair') as bar:
        while len(outcomes) < len(attempts):
            wave = attempts[len(outcomes) :][: len(arenas)]
            outcomes += _run_wave(arenas, wave, driver, budget)
            reached = sum(outcome.success for outcome in outcomes)
            bar.set_postfix_str(f'reached {reached} of {len(outcomes)}', refresh=False)
            bar.update(len(wave))
    return outcomes


def _run_wave(
    arenas: Sequence[Arena], wave: Sequence[tuple[Pair, int]], driver: Driver, budget: int
) -> list[Outcome]:
    """Let a driver try a few pairs side by side."""
    tasks, frames = list[Task](), list[Frame]()
    for arena, (pair, repeat) in zip(arenas, wave, strict=False):
        arena.reset(pair.start_row)  # whatever the state does not say is the same for every driver
        tasks.append(Task(arena, arena.set_goal(pair.goal_state), (pair.start_row, repeat)))
        frames.append(arena.set_state(pair.start_state))
    driver.begin(tasks)
    paths = [[frame.state.tolist()] for frame in frames]
    distances: list[list[float | None]] = [[] for _ in frames]
    solved = [task.arena.success() for task in tasks]
    steps = [0 if at_start else budget for at_start in solved]
    running = [lane for lane, at_start in enumerate(solved) if not at_start]
    for step in range(1, budget + 1):
        if not running:
            break
        moves = driver.act(running, [frames[lane] for lane in running])
        for lane, move in zip(list(running), moves, strict=True):
            frames[lane] = tasks[lane].arena.step(move.action)
            paths[lane].append(frames[lane].state.tolist())
            distances[lane].append(move.distance)
            if tasks[lane].arena.success():
                steps[lane] = step
                running.remove(lane)
    failed = set(running)
    return [
        Outcome(
            lane not in failed,
            solved[lane],
            steps[lane],
            paths[lane],
            distances[lane],
            pair.episode,
        )
        for lane, (pair, _) in enumerate(wave[: len(tasks)])
    ]


def evaluate(
    planners: Mapping[str, Driver],
    arenas: Sequence[Arena],
    pairs: Sequence[Pair],
    settings: config.Evaluate,
    progress: ShowProgress = NoProgress,
) -> dict[str, list[Outcome]]:
    """Let planners, random policy and expert try the same pairs; the floor is tried often."""
    budget, run = settings.budget, partial(run_pairs, progress=progress)
    outcomes = {
        name: run(arenas, pairs, driver, budget, name) for name, driver in planners.items()
    }
    chance = RandomDriver(arenas[0].spec, settings.seed)
    outcomes['random'] = run(arenas, pairs, chance, budget, 'random', settings.repeats)
    outcomes['expert'] = run(arenas, pairs, ExpertDriver(), budget, 'expert')
    return outcomes


def summarise(outcomes: Sequence[Outcome], repeats: int = 1) -> dict[str, Any]:
    """
    Return success with its interval, over all pairs and without those solved at the start.

    Intervals count episodes, not pairs: pairs of one episode resemble each other, and trying a
    pair again says little about other pairs.
    """
    moved = [outcome for outcome in outcomes if not outcome.solved_at_start]
    reached = [outcome.steps for outcome in moved if outcome.success]
    good_moved = len(reached)
    return {
        'attempts': len(outcomes),
        'success': sum(outcome.success for outcome in outcomes) / len(outcomes),
        'interval': interval([outcomes], repeats),
        'solved_at_start': len(outcomes) - len(moved),
        'success_without_solved': good_moved / len(moved) if moved else None,
        'interval_without_solved': interval([moved], repeats),
        'median_steps': float(np.median(reached)) if reached else None,
    }


def interval(tried: Sequence[Sequence[Outcome]], repeats: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of the success of outcomes, a sequence for each seed."""
    return interval_by_episode(
        [[(outcome.episode, outcome.success) for outcome in outcomes] for outcomes in tried],
        repeats,
    )
