# SPDX-License-Identifier: Apache-2.0
"""
Let World.evaluate of stable-worldmodel judge policies, by the protocol of the paper.

Start and goal are two rows of one episode of a recorded file, `offset` raw steps apart: the frame
of the second is the goal. An attempt succeeds if the environment terminates at any raw step of the
budget. A start that already counts as the goal succeeds after one step; such pairs are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.statistics import interval_by_episode
from smwm_ros.exchange.episode_file import read_episodes, RecordedFile
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.swm.environments import Environment, require_actions
from smwm_ros.swm.installed import open_world, stable_worldmodel
from smwm_ros.text import count_of

MakePolicy = Callable[[int], Any]  # a number, for seeds -> a policy for World.set_policy


class GoalPairs(NamedTuple):
    """Pairs of start and goal."""

    path: Path
    episodes: list[int]
    starts: list[int]  # step within the episode
    solved: list[bool]  # whether the start already counts as the goal
    image_size: int


class Judgement(NamedTuple):
    """The result of one method."""

    successes: list[bool]  # all pairs once for each repeat
    repeats: int

    def rate(self) -> float:
        """Return the share of successes."""
        return float(np.mean(self.successes))

    def interval(self, goals: GoalPairs) -> tuple[float, float]:
        """Return its 95 % interval; pairs of one episode are correlated."""
        every = goals.episodes * self.repeats
        return interval_by_episode([list(zip(every, self.successes, strict=True))], self.repeats)

    def without_solved(self, goals: GoalPairs) -> float | None:
        """Return the share of successes without pairs that are solved at the start."""
        kept = [
            success
            for success, solved in zip(self.successes, goals.solved * self.repeats, strict=True)
            if not solved
        ]
        return float(np.mean(kept)) if kept else None


def draw_goals(environment: Environment, path: Path, settings: config.Evaluate) -> GoalPairs:
    """Draw pairs from a recorded file without replacement, by evaluate.seed."""
    with read_episodes(path, (*environment.columns, 'action')) as file:
        require_actions(environment, file.action_size, str(path))
        offset = settings.offset
        starts = [
            (episode, start)
            for episode, length in enumerate(file.lengths)
            for start in range(max(0, length - offset))
        ]
        if len(starts) < settings.pairs:
            raise DatasetError(
                f'{path}: found {count_of(len(starts), "pair")} of rows '
                f'{count_of(offset, "raw step")} apart, expected at least {settings.pairs} '
                '(evaluate.pairs); record more or longer episodes, or lower evaluate.pairs or '
                'evaluate.offset'
            )
        rng = np.random.default_rng(settings.seed)
        chosen = [starts[at] for at in sorted(rng.choice(len(starts), settings.pairs, False))]
        solved = [
            _is_solved(environment, file, episode, start, offset) for episode, start in chosen
        ]
        episodes, firsts = [pair[0] for pair in chosen], [pair[1] for pair in chosen]
        return GoalPairs(path, episodes, firsts, solved, file.image_size)


def _is_solved(
    environment: Environment, file: RecordedFile, episode: int, start: int, offset: int
) -> bool:
    first = file.row(episode, start, environment.columns)
    return environment.is_solved(first, file.row(episode, start + offset, environment.columns))


def judge(
    environment: Environment,
    goals: GoalPairs,
    policies: Mapping[str, tuple[MakePolicy, int]],  # with the number of repeats
    settings: config.Evaluate,
    progress: ShowProgress = NoProgress,
) -> dict[str, Judgement]:
    """Try all pairs with each policy; its worlds are opened once."""
    lots = _lots(len(goals.starts), settings.lanes)
    found: dict[str, list[bool]] = {name: [] for name in policies}
    total = sum(repeats for _, repeats in policies.values()) * len(goals.starts)
    with ExitStack() as stack, progress(total=total, desc='evaluate', unit='pair') as bar:
        # As in the evaluation of the paper, an episode may last twice the budget.
        worlds = {
            size: stack.enter_context(
                open_world(environment, size, goals.image_size, 2 * settings.budget)
            )
            for size in {len(lot) for lot in lots}
        }
        for name, (make, repeats) in policies.items():
            for number, lot in enumerate(lots * repeats):
                found[name] += _try(
                    worlds[len(lot)], environment, goals, lot, make(number), settings
                )
                bar.set_postfix_str(f'{name} {np.mean(found[name]):.0%}', refresh=False)
                bar.update(len(lot))
    return {name: Judgement(won, policies[name][1]) for name, won in found.items()}


def _lots(count: int, lanes: int) -> list[list[int]]:
    """Divide pairs into lots of equal size, as nearly as possible: each runs in one World."""
    return [part.tolist() for part in np.array_split(np.arange(count), -(-count // lanes))]


def _try(
    world: Any,
    environment: Environment,
    goals: GoalPairs,
    lot: Sequence[int],
    policy: Any,
    settings: config.Evaluate,
) -> list[bool]:
    """Let World.evaluate try some pairs at once."""
    keys = ['pixels', 'action', *environment.columns]
    dataset = stable_worldmodel().data.HDF5Dataset(path=goals.path, keys_to_load=keys)
    world.set_policy(policy)
    results = world.evaluate(
        dataset=dataset,
        episodes_idx=[goals.episodes[at] for at in lot],
        start_steps=[goals.starts[at] for at in lot],
        goal_offset=settings.offset,
        eval_budget=settings.budget,
        callables=environment.calls,
    )
    return [bool(success) for success in results['episode_successes']]
