# SPDX-License-Identifier: Apache-2.0
"""
What acts in a closed-loop evaluation: random actions, the scripted expert, and the planner.

An agent acts in several lanes in parallel. Each lane holds one attempt, and all lanes start
together.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
import time
from typing import NamedTuple, Protocol

import numpy as np
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import ActionSpec, Arena, Array, Frame
from smwm_ros.planning.image_history import history_of, ImageHistory
from smwm_ros.planning.masked_goals import MaskedGoals
from smwm_ros.planning.pilot import Pilot

_log = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """What an agent receives for one lane."""

    arena: Arena  # at the start; only the scripted expert reads it
    goal: Frame
    key: tuple[int, ...]  # seeds whatever is random in this attempt


class Move(NamedTuple):
    """What an agent does next in one lane."""

    action: Array  # (A,) raw
    distance: float | None = None  # latent distance to the goal; None where it was not measured


class Agent(Protocol):
    """
    Chooses raw actions that should lead to the goals.

    The moves in a lane depend only on the attempt and the frames of that lane: other lanes,
    earlier attempts and the number of lanes change nothing.
    """

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Start new attempts, one for each lane."""
        ...

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """
        Return the next move in each of these lanes.

        Lanes come in rising order. A lane that is left out has ended and does not come back.
        """
        ...


class RandomAgent:
    """Draws every raw action uniformly between the limits."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self._rngs: list[np.random.Generator] = []

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Seed a generator for each attempt."""
        self._rngs = [np.random.default_rng((self._seed, *attempt.key)) for attempt in attempts]

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return random moves."""
        low, high = self._spec.low, self._spec.high
        return [Move(self._rngs[lane].uniform(low, high)) for lane in lanes]


class ExpertAgent:
    """Takes the actions of the arena's scripted expert, which reads the state and the goal."""

    def __init__(self) -> None:
        self._arenas: list[Arena] = []

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Keep the arenas: they hold the goals."""
        self._arenas = [attempt.arena for attempt in attempts]

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return the expert's moves."""
        return [Move(self._arenas[lane].expert()) for lane in lanes]


class PlannerAgent:
    """
    Plans from pixels every `execute` raw steps, and executes each plan `delay` raw steps later.

    `compensate` is what to do about the delay: begin plans with the actions that were sent during
    it ('sent'), leave out their first actions ('skip'), or nothing ('nothing'). With `masks`, only
    what the masks of the goals show counts.
    """

    def __init__(
        self,
        pilot: Pilot,
        execute: int,
        delay: int,
        compensate: str = 'sent',
        masks: MaskedGoals | None = None,
    ) -> None:
        if execute + delay > pilot.raw_steps:
            raise ConfigError(
                f'evaluate.execute: {execute} raw steps after a delay of {delay} exceed '
                f'the {pilot.raw_steps} raw steps of a plan; lower evaluate.execute or '
                'evaluate.delay, or raise planner.horizon'
            )
        self.pilot = pilot
        self._execute, self._delay = execute, delay
        self._compensate, self._masks = compensate, masks
        self._tick = 0
        self._lanes: list[int] = []  # that the pilot still plans for
        self._queues: list[list[Array]] = []  # actions to execute in each lane
        self._histories: list[ImageHistory] = []
        self._done: list[list[Array]] = []  # executed actions in each lane, the last ones alone
        self._past = pilot.past_steps * pilot.action_block  # raw actions that are read
        self.seconds, self.plans = 0.0, 0  # planning time, and number of plans

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Pass the goal images to the pilot."""
        goals = np.stack([attempt.goal.pixels for attempt in attempts])
        metrics = np.stack([self._metric(goal) for goal in goals]) if self._masks else None
        self.pilot.set_goals(goals[..., :3], metrics)
        self._tick = 0
        self._lanes = list(range(len(attempts)))
        # Until the first plan is ready, the robot receives the action nearest to zero.
        spec = self.pilot.spec
        still = spec.clip(np.zeros(spec.size))
        self._queues = [[still] * self._delay for _ in attempts]
        model, block = self.pilot.model_config, self.pilot.action_block
        self._histories = [history_of(model, block, 1.0) for _ in attempts]
        self._done = [[] for _ in attempts]

    def _metric(self, goal: Array) -> Array:
        """Return the metric (D, D) of a goal (S, S, 4); that of the picture if none fits."""
        assert self._masks is not None
        try:
            return self._masks.metric(goal[..., :3], goal[..., 3] > 0)
        except ConfigError as error:  # as on a robot, which takes no such goal
            _log.warning('%s; for this goal, the whole picture counts', error)
            return np.eye(self.pilot.latent_size, dtype=np.float32)

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return the moves that are due; plan first every `execute` calls."""
        distances = dict[int, float]()
        seen = [
            self._histories[lane].add(frame.pixels, self._tick)
            for lane, frame in zip(lanes, frames, strict=True)
        ]
        if self._tick % self._execute == 0:
            distances = self._plan(lanes, np.stack(seen))
        self._tick += 1
        moves = [Move(self._queues[lane].pop(0), distances.get(lane)) for lane in lanes]
        if self._past:
            for lane, move in zip(lanes, moves, strict=True):
                self._done[lane] = [*self._done[lane], move.action][-self._past :]
        return moves

    def _plan(self, lanes: Sequence[int], pixels: Array) -> dict[int, float]:
        """Plan for all lanes in one batch; return the latent distance to the goal in each."""
        if len(lanes) < len(self._lanes):
            self.pilot.keep([self._lanes.index(lane) for lane in lanes])
            self._lanes = list(lanes)
        sent = None
        if self._compensate == 'sent' and self._delay:
            sent = np.stack([self._queues[lane][: self._delay] for lane in lanes])
        began = time.perf_counter()
        before = None
        if self._past and self._tick:
            before = np.stack([self._done[lane] for lane in lanes])
        plans = self.pilot.plan_many(pixels, self._execute if self._tick else 0, sent, before)
        self.seconds += time.perf_counter() - began
        self.plans += len(plans)
        # The first `delay` actions of a plan are in the past when it is ready.
        first = 0 if self._compensate == 'nothing' else self._delay
        for lane, plan in zip(lanes, plans, strict=True):
            due = plan.actions[first:][: self._execute]
            self._queues[lane][self._delay :] = due
        return {lane: plan.distance for lane, plan in zip(lanes, plans, strict=True)}
