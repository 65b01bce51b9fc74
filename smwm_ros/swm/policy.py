# SPDX-License-Identifier: Apache-2.0
"""
Our model and planner as a policy of stable-worldmodel: World.set_policy(PlannerPolicy(run)).

Environments that began together plan together, in one batch. One that begins anew leaves its
group: with World.evaluate(episodes=...) each ends at its own time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.errors import ArenaError
from smwm_ros.evaluation.agents import Attempt, PlannerAgent
from smwm_ros.evaluation.methods import as_in_the_paper
from smwm_ros.interfaces import Array, Frame
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.pilot import Pilot
from smwm_ros.swm.observations import checkpoint_of, images_of
from smwm_ros.text import count_of


class _Group(NamedTuple):
    """Environments that began at the same time, and what plans for them."""

    agent: PlannerAgent
    members: list[int]  # each is a lane of the agent, in this order


class PlannerPolicy:
    """Plans with a run, from the images `pixels` and `goal` of each environment."""

    type = 'smwm_ros'
    seed = None  # the planner has its own

    def __init__(
        self,
        run: Checkpoint | Path | str,
        planner: config.Planner | None = None,  # None: that of the run
        execute: int = config.Evaluate.execute,  # raw steps of each plan to execute
    ) -> None:
        self._checkpoint = checkpoint_of(run)
        self._planner, self._execute = planner, execute
        self._idle = [self._agent()]  # raises now if the run cannot plan
        self._groups: list[_Group] = []
        self._goals: Array | None = None
        self._just_begun: set[int] = set()

    @classmethod
    def as_in_the_paper(cls, run: Checkpoint | Path | str) -> PlannerPolicy:
        """Return the run with the planner of the paper, which executes whole plans."""
        checkpoint = checkpoint_of(run)
        return cls(checkpoint, *as_in_the_paper(checkpoint))

    def set_env(self, envs: Any) -> None:
        """Begin with new environments, whose actions must be those of the run."""
        space, spec = envs.action_space, self._checkpoint.spec
        if len(space.shape) != 2 or space.shape[1] != spec.size:
            raise ArenaError(
                f'{self._checkpoint.folder or "the run"}: its actions have '
                f'{count_of(spec.size, "number")}, expected {space.shape[-1]} in this environment'
            )
        outside = np.array(spec.high) > space.high[0] + 1e-6
        outside |= np.array(spec.low) < space.low[0] - 1e-6
        if outside.any():
            raise ArenaError(
                f'{self._checkpoint.folder or "the run"}: its actions reach from {spec.low} to '
                f'{spec.high}, expected within {space.low[0].tolist()} to '
                f'{space.high[0].tolist()} in this environment'
            )
        self._idle += [group.agent for group in self._groups]
        self._groups, self._goals = [], None
        self._shape, self._dtype = space.shape, space.dtype

    def get_action(self, infos: dict[str, Any], **_: Any) -> Array:
        """Return the actions (N, A); environments that have terminated get the one at rest."""
        goals, pixels = np.asarray(infos['goal']), images_of(infos['pixels'], self._checkpoint)
        self._begin(self._begun(infos, goals), goals)
        over = np.asarray(infos.get('terminated', np.zeros(len(pixels))), bool).reshape(-1)
        spec = self._checkpoint.spec
        actions = np.tile(spec.clip(np.zeros(spec.size)), (len(pixels), 1))
        for agent, members in self._groups:
            # In a row of a file that the first observation came from, an earlier task was done.
            running = [
                one for one in members if one >= 0 and (one in self._just_begun or not over[one])
            ]
            lanes = [members.index(one) for one in running]
            if not lanes:
                continue
            frames = [Frame(pixels[one], np.zeros(0, np.float32)) for one in running]
            for one, move in zip(running, agent.act(lanes, frames), strict=True):
                actions[one] = move.action
        self._just_begun = set()
        shaped: Array = actions.astype(self._dtype).reshape(self._shape)
        return shaped

    def _begun(self, infos: dict[str, Any], goals: Array) -> list[int]:
        """Return which environments begin: all at first, then those reset or with a new goal."""
        if self._goals is None or self._goals.shape != goals.shape:
            return list(range(len(goals)))
        flags = np.asarray(infos.pop('_needs_flush', np.zeros(len(goals), bool)))
        same = (self._goals == goals).reshape(len(goals), -1).all(axis=1)
        return [int(one) for one in np.flatnonzero(flags.astype(bool) | ~same)]

    def _begin(self, begun: list[int], goals: Array) -> None:
        """Let environments leave their groups, and make them a new one."""
        if not begun:
            return
        self._goals, self._just_begun = goals.copy(), set(begun)
        kept = []
        for group in self._groups:
            # Lanes that end do not come back; their places stay, since they number the lanes.
            members = [-1 if one in begun else one for one in group.members]
            if any(one >= 0 for one in members):
                kept.append(_Group(group.agent, members))
            else:
                self._idle.append(group.agent)
        agent = self._idle.pop() if self._idle else self._agent()
        images = images_of(goals[begun], self._checkpoint)
        nowhere: Any = None  # only the scripted expert reads the arena
        agent.begin(
            [
                Attempt(nowhere, Frame(image, np.zeros(0, np.float32)), (one,))
                for one, image in zip(begun, images, strict=True)
            ]
        )
        self._groups = [*kept, _Group(agent, begun)]

    def _agent(self) -> PlannerAgent:
        return PlannerAgent(Pilot(self._checkpoint, self._planner), self._execute, 0)
