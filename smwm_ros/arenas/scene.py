# SPDX-License-Identifier: Apache-2.0
"""The base of all arenas: a world that is a function of its measured state, and a goal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from smwm_ros.arenas.braking import Braking
from smwm_ros.arenas.worlds import AnyWorld
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import ActionSpec, Array, Frame


class Scene(ABC):
    """
    Base class of the arenas: holds a state and a goal, and renders the world.

    Only the measured state is kept between two steps: each step ends by placing all bodies exactly
    where they are measured, at rest. So recorded actions, applied from a recorded state, give the
    recorded pixels to the bit. An arena with inertia also keeps its velocities; then this holds
    from the start of an episode.
    """

    spec: ActionSpec
    action_names: str  # of the numbers of an action: 'vx, vy'
    state_names: str  # of the numbers of a state: 'x, y'

    def __init__(self, world: AnyWorld, image_size: int, state: Array) -> None:
        self.world = world
        self.image_size = image_size
        self.braking = Braking(self.spec.dt)  # of the expert; a robot with inertia needs more time
        self._state: Array = self._canonical(state)  # (P,) float32
        self._goal: Array = self._state
        self._place(self._state)

    @abstractmethod
    def step(self, action: Array) -> Frame:
        """Apply one raw action (A,) for spec.dt seconds."""

    @abstractmethod
    def distance(self) -> float:
        """Return the distance to the goal; at 1 or less the goal is reached."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a state (P,) that may be a start or a goal."""

    @abstractmethod
    def expert(self) -> Array:
        """Return the raw action (A,) a scripted expert would take towards the goal."""

    @abstractmethod
    def _place(self, state: Array) -> None:
        """Place all bodies at a state (P,) float32, at rest."""

    def reset(self, seed: int) -> Frame:
        """Start an episode at a random state with a random goal."""
        rng = np.random.default_rng(seed)
        start, goal = self.sample(rng), self.sample(rng)
        self.set_goal_state(goal)
        return self.set_state(start)

    def set_state(self, state: Array) -> Frame:
        """Place everything at a state (P,), at rest."""
        return self._settle(self._vector(state, 'state', self.state_names))

    def set_goal(self, state: Array) -> Frame:
        """Make a state (P,) the goal; return its frame, and change nothing else."""
        here = self._state
        self.set_goal_state(state)
        goal = self.set_state(state)
        self._state = here
        self._place(here)
        return goal

    def idle(self) -> Frame:
        """Return the same frame again: nothing moves unless it is commanded."""
        return self._settle(self._state)

    def randomise(self, seed: int) -> None:  # noqa: B027 - no scene has to override it
        """Do nothing: nothing is randomised."""

    def drawn(self) -> dict[str, Any]:
        """Return an empty dict: nothing is randomised."""
        return {}

    def success(self) -> bool:
        """Return whether the goal is reached now."""
        return self.distance() <= 1.0

    def set_goal_state(self, state: Array) -> None:
        """Make a state (P,) the goal without rendering it."""
        self._goal = self._canonical(self._vector(state, 'state', self.state_names))

    def save(self) -> Any:
        """Return state and goal."""
        return self._state.copy(), self._goal.copy()

    def restore(self, saved: Any) -> Frame:
        """Restore state and goal."""
        state, goal = saved
        self.set_goal_state(goal)
        return self.set_state(state)

    def render(self, size: int) -> Array:
        """Return an antialiased image (size, size, 3) for people."""
        fine = self.world.render(2 * size).astype(np.uint16)
        blocks = fine.reshape(size, 2, size, 2, 3)
        picture: Array = (blocks.sum(axis=(1, 3)) // 4).astype(np.uint8)
        return picture

    def close(self) -> None:
        """Free the simulator; legal twice."""
        self.world.close()

    def _canonical(self, state: Array) -> Array:
        """Return a state as it is stored: float32, and unique among equivalent states."""
        return state.astype(np.float32)

    def _settle(self, state: Array) -> Frame:
        """Place everything exactly at a measured state, and render it."""
        self._state = self._canonical(state)
        self._place(self._state)
        return Frame(self.world.render(self.image_size), self._state.copy())

    def clip_action(self, action: Array) -> Array:
        """Check a raw action (A,); return it clipped to the limits and rounded as stored."""
        inside = self.spec.clip(self._vector(action, 'action', self.action_names))
        # Rounded as actions are stored, so that a recording can be replayed. Rounding may exceed
        # the limits again.
        return self.spec.clip(inside.astype(np.float32).astype(np.float64))

    @staticmethod
    def _vector(value: Array, what: str, names: str) -> Array:
        """Check that there is one finite number for each name; return them as float64."""
        count = len(names.split(','))
        try:
            vector = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            vector = np.zeros(0)
        if vector.shape != (count,) or not np.isfinite(vector).all():
            raise ArenaError(f'{what}: expected {count} finite numbers ({names}), found {value!r}')
        return vector
