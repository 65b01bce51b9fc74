# SPDX-License-Identifier: Apache-2.0
"""
Record episodes of an environment of stable-worldmodel by its own policies.

The loop is ours: World.collect of version 0.1.1 leaves out the first frame of each episode, and
moves the actions by one row. Here a row has the frame, and the action that was taken there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros.config import Arena
from smwm_ros.errors import ArenaError
from smwm_ros.exchange.episode_file import EpisodeFile, writing_episodes
from smwm_ros.interfaces import Array
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.swm.environments import Environment
from smwm_ros.swm.installed import open_world, stable_worldmodel

NOISE = 2.0  # standard deviation that the collection for the paper adds to the expert's actions
LONGEST_HOLD = 10  # raw steps that policy `held` keeps an action


class HeldActions:
    """Draws an action uniformly, and keeps it for some raw steps: arms with inertia then move."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._left, self._action, self._space = 0, np.zeros(0), None

    def set_env(self, envs: Any) -> None:
        """Take the limits of the actions from the environments."""
        self._space, self._left = envs.action_space, 0

    def get_action(self, infos: Any) -> Array:
        """Return the actions (1, A)."""
        if not self._left:
            space: Any = self._space
            self._left = int(self._rng.integers(1, LONGEST_HOLD + 1))
            self._action = self._rng.uniform(space.low, space.high).astype(space.dtype)
        self._left -= 1
        return self._action


def record(
    environment: Environment,
    out: Path,
    settings: Arena,
    policy: str,
    progress: ShowProgress = NoProgress,
) -> EpisodeFile:
    """Write episodes to an HDF5 file in their layout; the same seed gives the same numbers."""
    with (
        open_world(environment, 1, settings.image_size, settings.length + 1, True) as world,
        writing_episodes(out) as file,
        progress(total=settings.episodes, desc='collect', unit='episode') as bar,
    ):
        driver = _driver(environment, policy, settings.seed)
        driver.set_env(world.envs)
        for number in range(settings.episodes):
            seed = settings.seed * 1_000_003 + number
            file.append(_episode(environment, world, driver, seed, settings.length))
            bar.update(1)
    return file


def _driver(environment: Environment, policy: str, seed: int) -> Any:
    """Make one of their policies, or `held`."""
    swm = stable_worldmodel()
    if policy == 'random':
        return _Seeded(swm.policy.RandomPolicy(seed))
    if policy == 'held':
        return HeldActions(seed)
    if policy == 'weak':
        from stable_worldmodel.envs.pusht.expert_policy import WeakPolicy

        return WeakPolicy(seed=seed)
    if environment.config == 'swm_cube':
        from stable_worldmodel.envs.ogbench.expert_policy import ExpertPolicy as CubeExpert

        return CubeExpert(seed=seed)
    from stable_worldmodel.envs.two_room.expert_policy import ExpertPolicy as RoomExpert

    return RoomExpert(action_noise=NOISE, seed=seed)


class _Seeded:
    """Seeds their random policy when it gets its environments, as World.set_policy does."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.get_action = policy.get_action

    def set_env(self, envs: Any) -> None:
        """Pass the environments on, and seed their actions."""
        self._policy.set_env(envs)
        self._policy.set_seed(self._policy.seed)


def _episode(
    environment: Environment, world: Any, driver: Any, seed: int, length: int
) -> dict[str, Array]:
    """Drive one episode until its task is done, or for `length` raw steps."""
    world.reset(seed=[seed])
    rows = [_row(environment, world.infos)]
    actions: list[Array] = []
    terminated: list[bool] = [False]
    while len(actions) < length and not terminated[-1]:
        action = np.asarray(driver.get_action(world.infos))
        world.envs.step(action)
        actions.append(action[0].astype(np.float32))
        rows.append(_row(environment, world.infos))
        terminated.append(bool(world.infos['terminated'][0, 0]))
    actions.append(np.full_like(actions[0], np.nan))  # the last row has none
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    done, steps = np.array(terminated), np.arange(len(rows))
    return columns | {
        'action': np.stack(actions),
        'terminated': done,
        'truncated': (steps == steps[-1]) & ~done,
        'step_idx': steps,
    }


def _row(environment: Environment, infos: Any) -> dict[str, Array]:
    """Copy the columns of the current instant; their arrays change at the next step."""
    return dict(_columns(environment, infos))


def _columns(environment: Environment, infos: Any) -> Iterator[tuple[str, Array]]:
    found = {key.replace('/', '_'): key for key in infos}
    yield 'pixels', infos['pixels'][0, -1].copy()
    for name in (*environment.columns, *environment.extra):
        if name not in found:
            raise ArenaError(
                f'{environment.name}: this version of stable-worldmodel does not report {name}'
            )
        value = np.asarray(infos[found[name]][0, 0])
        yield name, value.astype(np.float32 if value.dtype == np.float32 else np.float64)
