# SPDX-License-Identifier: Apache-2.0
"""A course of tasks in an arena: each moves the robot from a start to a goal."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Arena, Array, Frame
from smwm_ros.text import count_of


class Task(NamedTuple):
    """The state to start from, and the state to reach."""

    start: Array  # (P,)
    goal: Array  # (P,)


class Phase(str, Enum):
    """The progress of a task."""

    WAITING = 'waiting'  # for the first command that moves the robot
    RUNNING = 'running'
    SUCCESS = 'success'  # reached the goal within the budget; the robot is held
    FAILURE = 'failure'  # used up the budget; the robot is held


class Course:
    """
    Places the robot at the start of each task, counts its steps, and reports the result.

    Without a list, random tasks follow each other without end. A budget of 0 means no limit.
    """

    def __init__(self, arena: Arena, tasks: Sequence[Task], budget: int, seed: int) -> None:
        self._arena = arena
        self._tasks = tuple(tasks)
        self._budget = budget
        self._rng = np.random.default_rng(seed)
        self._still = np.clip(np.zeros(arena.spec.size), arena.spec.low, arena.spec.high)
        self.index = -1  # of the current task
        self.phase = Phase.WAITING
        self.steps = 0
        self._path: deque[list[float]] = deque()
        self.next()

    def next(self) -> None:
        """Start the next task; raise if there is none."""
        if self._tasks and self.index + 1 == len(self._tasks):
            raise ArenaError(
                f'no next task: all {count_of(len(self._tasks), "task")} of sim.tasks have run; '
                'restart the node to run them again'
            )
        self.index += 1
        self._begin(self._tasks[self.index] if self._tasks else self._draw())

    def restart(self) -> None:
        """Replace the current task by a random one."""
        self._begin(self._draw())

    def set_goal(self, goal: Array | None = None) -> None:
        """Start a task at the current state, with this goal (P,) or a random one."""
        if goal is None:
            goal = self._arena.sample(self._rng)
        self._begin(Task(self.frame.state, goal), draw=False)

    def randomise(self) -> None:
        """Draw new values, and start a task at the current state with the same goal."""
        if not self.drawn():
            raise ArenaError(
                'nothing is randomised in this arena; set randomise.usual, a range of '
                'randomise.*, or arena.distractors'
            )
        self._begin(Task(self.frame.state, self.task.goal))

    def tick(self, action: Array | None) -> Frame:
        """Advance by one raw step with an action (A,) or none; return the frame after it."""
        if self.phase is Phase.WAITING and action is not None and np.any(action):
            self.phase = Phase.RUNNING
        if self.phase is Phase.RUNNING:
            self.frame = self._arena.step(self._still if action is None else action)
            self.steps += 1
            self._path.append(self.frame.state.tolist())
            if self._arena.success():
                self.phase = Phase.SUCCESS
            elif self.steps == self._budget:
                self.phase = Phase.FAILURE
        elif self.ended and action is not None and not self._tasks:
            # Random tasks are not scored, so the robot may go on, for instance closer to the goal.
            self.frame = self._arena.step(action)
        elif self.drawn():  # else the last frame still holds, and rendering it again is wasted
            self.frame = self._arena.idle()
        return self.frame

    @property
    def ended(self) -> bool:
        """Return whether the task has ended."""
        return self.phase in (Phase.SUCCESS, Phase.FAILURE)

    def drawn(self) -> dict[str, Any]:
        """Return the values drawn for this task, as plain data; {} if nothing is randomised."""
        return self._arena.drawn()

    def report(self) -> dict[str, Any]:
        """Return the task as plain data; the path is included when the task has ended."""
        return {
            'task': self.index,
            'tasks': len(self._tasks),
            'phase': self.phase.value,
            'steps': self.steps,
            'budget': self._budget,
            'start': np.asarray(self.task.start).tolist(),
            'goal': np.asarray(self.task.goal).tolist(),
            'path': list(self._path) if self.ended else [],
        }

    def _begin(self, task: Task, draw: bool = True) -> None:
        """Start a task: draw new values if wanted, render the goal, and place the robot."""
        if draw and self.drawn():
            self._arena.randomise(int(self._rng.integers(2**31)))
        self.goal = self._arena.set_goal(task.goal)
        self.frame = self._arena.set_state(task.start)
        self.task = task
        self.phase = Phase.WAITING
        self.steps = 0
        # Without a budget a task may run for days, so the path is limited.
        self._path = deque(
            [self.frame.state.tolist()], maxlen=self._budget + 1 if self._budget else 10_000
        )

    def _draw(self) -> Task:
        """Draw a random task."""
        return Task(self._arena.sample(self._rng), self._arena.sample(self._rng))


def read_tasks(path: Path, arena: Arena) -> list[Task]:
    """Read a JSON list of {"start": [...], "goal": [...]}."""
    try:
        items = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ArenaError(f'{path}: cannot be read: {error.strerror}') from None
    except ValueError as error:
        raise ArenaError(f'{path}: not valid JSON: {error}') from None
    if not isinstance(items, list) or not items:
        raise ArenaError(f'{path}: expected a list of tasks such as {_EXAMPLE}')
    size = arena.sample(np.random.default_rng(0)).size
    return [_task(item, size, f'{path}: task {index}') for index, item in enumerate(items)]


_EXAMPLE = '[{"start": [0.5, 0.1], "goal": [-0.5, 0.3]}]'


def _task(item: Any, size: int, where: str) -> Task:
    """Return one task of a file; raise if it is not valid."""
    if not isinstance(item, dict):
        raise ArenaError(f'{where}: expected an object such as in {_EXAMPLE}, found {item!r}')
    states = []
    for key in Task._fields:
        try:
            state = np.array(item.get(key), np.float64)
        except (TypeError, ValueError):
            state = np.zeros(0)
        if state.shape != (size,) or not np.isfinite(state).all():
            raise ArenaError(
                f'{where}: {key}: expected {count_of(size, "number")}, found {item.get(key)!r}'
            )
        states.append(state)
    return Task(*states)
