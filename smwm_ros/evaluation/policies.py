# SPDX-License-Identifier: Apache-2.0
"""
Who may drive towards a goal: chance, the scripted expert, and the planner.

A driver drives in several lanes at once, side by side: one task in each, all begun together.
"""

from __future__ import annotations

from collections.abc import Sequence
import time
from typing import NamedTuple, Protocol

import numpy as np
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import ActionSpec, Arena, Array, Frame
from smwm_ros.planning.pilot import Pilot


class Task(NamedTuple):
    """What a driver is given in one lane."""

    arena: Arena  # for the scripted expert, who alone may look into it
    goal: Frame
    key: tuple[int, ...]  # names this attempt; what is random in it is drawn from this


class Move(NamedTuple):
    """What a driver does next in one lane."""

    action: Array  # (A,) raw
    distance: float | None = None  # latent distance to the goal, where one was just measured


class Driver(Protocol):
    """Somebody who drives towards goals."""

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take new tasks, one for each lane."""
        ...

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Say what to do in these lanes, in rising order; the others are over."""
        ...


class RandomDriver:
    """Draws every raw action uniformly between the limits."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        self._spec, self._seed = spec, seed
        self._rngs: list[np.random.Generator] = []

    def begin(self, tasks: Sequence[Task]) -> None:
        """Begin the noise of each attempt, whatever else is tried beside it."""
        self._rngs = [np.random.default_rng((self._seed, *task.key)) for task in tasks]

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return noise."""
        low, high = self._spec.low, self._spec.high
        return [Move(self._rngs[lane].uniform(low, high)) for lane in lanes]


class ExpertDriver:
    """Asks the arena's scripted expert, who sees the state and knows the goal."""

    def __init__(self) -> None:
        self._arenas: list[Arena] = []

    def begin(self, tasks: Sequence[Task]) -> None:
        """Know the goals from the arenas."""
        self._arenas = [task.arena for task in tasks]

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Return what the expert would do."""
        return [Move(self._arenas[lane].expert()) for lane in lanes]


class PilotDriver:
    """
    Plans from pixels: a plan every `execute` raw steps, acted on `delay` raw steps later.

    `compensate` says what is done about the delay: a plan begins with the actions that were sent
    during it ('sent'), its first actions are left out ('skip'), or nothing is done ('nothing').
    """

    def __init__(self, pilot: Pilot, execute: int, delay: int, compensate: str = 'sent') -> None:
        if execute + delay > pilot.horizon:
            raise ConfigError(
                f'evaluate.execute: {execute} raw steps after a delay of {delay} reach beyond '
                f'the {pilot.horizon} raw steps of a plan'
            )
        self.pilot = pilot
        self._execute, self._delay = execute, delay
        self._compensate = compensate
        self._tick = 0
        self._lanes: list[int] = []  # that the pilot still plans for
        self._queues: list[list[Array]] = []  # of each lane
        self.seconds, self.plans = 0.0, 0  # spent in planning, and what came of it

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take the images of the goals."""
        self.pilot.set_goals(np.stack([task.goal.pixels for task in tasks]))
        self._tick = 0
        self._lanes = list(range(len(tasks)))
        # Until the first plan is ready, a robot does what is nearest to nothing.
        spec = self.pilot.spec
        still = spec.clip(np.zeros(spec.size))
        self._queues = [[still] * self._delay for _ in tasks]

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Plan when it is time, and return the actions that are due."""
        distances = dict[int, float]()
        if self._tick % self._execute == 0:
            distances = self._plan(lanes, frames)
        self._tick += 1
        return [Move(self._queues[lane].pop(0), distances.get(lane)) for lane in lanes]

    def _plan(self, lanes: Sequence[int], frames: Sequence[Frame]) -> dict[int, float]:
        """Plan in all lanes at once; return the latent distance from each to its goal."""
        if len(lanes) < len(self._lanes):
            self.pilot.keep([self._lanes.index(lane) for lane in lanes])
            self._lanes = list(lanes)
        pixels = np.stack([frame.pixels for frame in frames])
        sent = None
        if self._compensate == 'sent' and self._delay:
            sent = np.stack([self._queues[lane][: self._delay] for lane in lanes])
        began = time.perf_counter()
        plans = self.pilot.plan_many(pixels, self._execute if self._tick else 0, sent)
        self.seconds += time.perf_counter() - began
        self.plans += len(plans)
        # The first `delay` actions of a plan are past before it is ready.
        first = 0 if self._compensate == 'nothing' else self._delay
        for lane, plan in zip(lanes, plans, strict=True):
            due = plan.actions[first:][: self._execute]
            self._queues[lane][self._delay :] = due
        return {lane: plan.distance for lane, plan in zip(lanes, plans, strict=True)}
