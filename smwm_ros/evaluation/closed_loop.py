# SPDX-License-Identifier: Apache-2.0
"""
Closed-loop evaluation in an arena, by the protocol of the paper.

A pair is two frames of one held-out episode, `offset` raw steps apart. An attempt starts at the
state of the first; the image of the second is the goal. The attempt succeeds if the goal is
reached after any of `budget` raw steps. Planners, random actions and the scripted expert all
attempt the same pairs.

The same attempt can also be judged strictly. It then goes on after the first success, until a
strict success or the end of the budget; the usual judgement does not change.

With several arenas of one kind, each arena is a lane that runs one pair. A planner plans for all
lanes in one batch; the result in a lane does not depend on the other lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.evaluation.agents import Agent, Attempt, ExpertAgent, RandomAgent
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.statistics import interval_by_episode
from smwm_ros.interfaces import Arena, Array, Frame
from smwm_ros.reporting import NoProgress, ShowProgress

StrictJudge = Callable[[Array, Array], bool]  # whether a state (P,) is strictly at a goal (P,)


class Outcome(NamedTuple):
    """The result of one attempt."""

    success: bool
    solved_at_start: bool  # the start already counted as the goal; no action was taken
    steps: int  # raw steps until success, or the budget
    path: Sequence[list[float]] = ()  # measured states, from start to end
    # Latent distance to the goal before each raw step; None where the agent measured none.
    distances: Sequence[float | None] = ()
    episode: int = 0  # of the start and the goal
    strict_steps: int | None = None  # raw steps until strict success; None where there was none

    def strictly(self) -> Outcome:
        """Return the result by the strict judgement."""
        steps = self.strict_steps
        driven = len(self.distances)
        return self._replace(success=steps is not None, steps=driven if steps is None else steps)


def run_pairs(
    arenas: Sequence[Arena],
    pairs: Sequence[Pair],
    agent: Agent,
    budget: int,
    name: str,
    repeats: int = 1,
    progress: ShowProgress = NoProgress,
    judge: StrictJudge | None = None,
) -> list[Outcome]:
    """Run an agent on every pair, `repeats` times; each arena is one lane."""
    todo = [(pair, repeat) for repeat in range(repeats) for pair in pairs]
    outcomes: list[Outcome] = []
    with progress(total=len(todo), desc=name, unit='pair') as bar:
        while len(outcomes) < len(todo):
            batch = todo[len(outcomes) :][: len(arenas)]
            outcomes += _run_batch(arenas, batch, agent, budget, judge)
            reached = sum(outcome.success for outcome in outcomes)
            bar.set_postfix_str(f'reached {reached} of {len(outcomes)}', refresh=False)
            bar.update(len(batch))
    return outcomes


def solved_at_start(arena: Arena, pair: Pair) -> bool:
    """Return whether the start of a pair already counts as its goal."""
    arena.set_goal_state(pair.goal_state)
    arena.set_state(pair.start_state)
    return arena.success()


def _run_batch(
    arenas: Sequence[Arena],
    batch: Sequence[tuple[Pair, int]],
    agent: Agent,
    budget: int,
    judge: StrictJudge | None,
) -> list[Outcome]:
    """Run an agent on a few pairs in parallel, at most one for each arena."""
    attempts, frames = _placed(arenas, batch)
    agent.begin(attempts)
    paths = [[frame.state.tolist()] for frame in frames]
    distances: list[list[float | None]] = [[] for _ in frames]
    solved = [attempt.arena.success() for attempt in attempts]
    reached: list[int | None] = [0 if at_start else None for at_start in solved]
    strict: list[int | None] = [None] * len(solved)
    running = [lane for lane, at_start in enumerate(solved) if not at_start]
    for step in range(1, budget + 1):
        if not running:
            break
        moves = agent.act(running, [frames[lane] for lane in running])
        for lane, move in zip(list(running), moves, strict=True):
            arena, goal, _ = attempts[lane]
            frames[lane] = arena.step(move.action)
            paths[lane].append(frames[lane].state.tolist())
            distances[lane].append(move.distance)
            if not arena.success():
                continue
            if reached[lane] is None:
                reached[lane] = step
            if judge is None:
                running.remove(lane)
            elif judge(frames[lane].state, goal.state):
                strict[lane] = step
                running.remove(lane)
    return [
        Outcome(
            at is not None,
            solved[lane],
            budget if at is None else at,
            paths[lane],
            distances[lane],
            pair.episode,
            strict[lane],
        )
        for lane, (at, (pair, _)) in enumerate(zip(reached, batch, strict=True))
    ]


def _placed(
    arenas: Sequence[Arena], batch: Sequence[tuple[Pair, int]]
) -> tuple[list[Attempt], list[Frame]]:
    """Place arenas at the starts; return attempts and first frames."""
    attempts, frames = list[Attempt](), list[Frame]()
    for arena, (pair, repeat) in zip(arenas, batch, strict=False):
        arena.reset(pair.start_row)  # what the state does not hold is the same for every agent
        goal = arena.set_goal(pair.goal_state)
        attempts.append(Attempt(arena, goal, (pair.start_row, repeat)))
        frames.append(arena.set_state(pair.start_state))
    return attempts, frames


def evaluate(
    planners: Mapping[str, Agent],
    arenas: Sequence[Arena],
    pairs: Sequence[Pair],
    settings: config.Evaluate,
    progress: ShowProgress = NoProgress,
    judge: StrictJudge | None = None,
) -> dict[str, list[Outcome]]:
    """Run planners, random actions and expert on the same pairs; random ones several times."""
    budget, run = settings.budget, partial(run_pairs, progress=progress, judge=judge)
    outcomes = {name: run(arenas, pairs, agent, budget, name) for name, agent in planners.items()}
    chance = RandomAgent(arenas[0].spec, settings.seed)
    outcomes['random'] = run(arenas, pairs, chance, budget, 'random', settings.repeats)
    outcomes['expert'] = run(arenas, pairs, ExpertAgent(), budget, 'expert')
    return outcomes


def summarise(outcomes: Sequence[Outcome], repeats: int = 1) -> dict[str, Any]:
    """
    Return success rates with intervals, for all pairs and without those solved at the start.

    Intervals count episodes, not pairs: pairs of one episode are correlated, and so are repeated
    attempts at one pair.
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
    """Return the 95 % interval of the success rate; `tried` holds the outcomes of each seed."""
    return interval_by_episode(
        [[(outcome.episode, outcome.success) for outcome in outcomes] for outcomes in tried],
        repeats,
    )
