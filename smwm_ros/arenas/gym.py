# SPDX-License-Identifier: Apache-2.0
"""
The arenas as Gymnasium environments, for training other kinds of policies.

Importing this module registers them: `gymnasium.make('smwm_ros/TwoRoom-v0')`. Gymnasium can import
the module itself: `gymnasium.make('smwm_ros.arenas.gym:smwm_ros/TwoRoom-v0')`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from smwm_ros.arenas import ARENA_NAMES, arena_of, require_arena
from smwm_ros.config import Config
from smwm_ros.errors import ArenaError, did_you_mean, missing_extra
from smwm_ros.interfaces import Array, Frame
from smwm_ros.load import build

try:
    import gymnasium
    from gymnasium.spaces import Box, Space
    from gymnasium.spaces import Dict as DictSpace
    from gymnasium.vector import AsyncVectorEnv
    from gymnasium.vector.async_vector_env import AsyncState
except ImportError:
    raise missing_extra('an environment of Gymnasium', 'gym', 'gymnasium pybullet') from None

REWARDS = ('sparse', 'dense')
BUDGET = 100  # default number of raw steps in an episode
PICTURE = 256  # side of the image of render() [px]


class ArenaEnv(gymnasium.Env[Any, Array]):
    """
    An arena with camera image, measured state and goal image as observations; actions are raw.

    The sparse reward is 1 at the goal and 0 elsewhere. The dense reward is the decrease of the
    distance to the goal, where 1 is the distance at which the goal counts as reached.
    """

    metadata: dict[str, Any] = {'render_modes': ['rgb_array']}  # noqa: RUF012 - as in its parent

    def __init__(
        self,
        name: str = 'two_room',
        image_size: int = 64,
        reward: str = 'sparse',
        budget: int = BUDGET,
        render_mode: str | None = None,
        distractors: int = 0,
        randomise: Mapping[str, Any] | None = None,
        lag: float = 0.0,
        acceleration: Sequence[float] = (),
    ) -> None:
        _require('reward', reward, REWARDS)
        if render_mode is not None:
            _require('render_mode', render_mode, self.metadata['render_modes'])
        if budget < 1:
            raise ArenaError(f'budget: {budget} is out of range; expected 1 or more')
        self.render_mode, self._dense, self._budget = render_mode, reward == 'dense', budget
        require_arena(name)
        arena = {'name': name, 'image_size': image_size, 'distractors': distractors}
        arena |= {'lag': lag, 'acceleration': list(acceleration)}
        data = {'arena': arena, 'randomise': randomise or {}}
        self._arena = arena_of(build(Config, data, environment_id(name)))
        spec = self._arena.spec
        self.metadata = {**self.metadata, 'render_fps': round(1 / spec.dt)}
        low, high = np.array(spec.low, np.float32), np.array(spec.high, np.float32)
        self.action_space = Box(low, high)
        pixels = Box(0, 255, (image_size, image_size, 3), np.uint8)
        states = self._arena.sample(np.random.default_rng(0)).shape
        state = Box(-np.inf, np.inf, states, np.float32)
        spaces: dict[str, Space[Any]] = {'pixels': pixels, 'state': state, 'goal': pixels}
        self.observation_space = DictSpace(spaces)
        self._steps, self._distance = 0, 0.0
        self._goal: Array = np.zeros(pixels.shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Start an episode; options may set `start` and `goal`, each a state (P,)."""
        super().reset(seed=seed)
        options = options or {}
        for key in options:
            _require('options', key, ('start', 'goal'))
        frame = self._arena.reset(int(self.np_random.integers(2**31)))
        if 'start' in options:
            frame = self._arena.set_state(options['start'])
        self._goal = self._arena.set_goal(options.get('goal', self._draw_goal())).pixels
        self._steps, self._distance = 0, self._arena.distance()
        return self._observe(frame), self._info()

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Apply one raw action (A,) in physical units."""
        frame = self._arena.step(action)
        self._steps += 1
        before, self._distance = self._distance, self._arena.distance()
        success = self._arena.success()
        reward = before - self._distance if self._dense else float(success)
        over = self._steps >= self._budget
        return self._observe(frame), reward, success, over, self._info()

    def render(self) -> Array | None:
        """Return an image (H, W, 3) for people."""
        return self._arena.render(PICTURE) if self.render_mode == 'rgb_array' else None

    def close(self) -> None:
        """Free the simulator; legal twice."""
        self._arena.close()

    def _draw_goal(self) -> Array:
        """Draw a goal that is not reached yet."""
        for _ in range(100):
            goal = self._arena.sample(self.np_random)
            self._arena.set_goal_state(goal)
            if not self._arena.success():
                break
        return goal

    def _observe(self, frame: Frame) -> dict[str, Array]:
        """Return the observation of a frame."""
        return {'pixels': frame.pixels, 'state': frame.state, 'goal': self._goal.copy()}

    def _info(self) -> dict[str, Any]:
        """Return what a policy must not use: distance to the goal, and the drawn values."""
        info: dict[str, Any] = {'distance': self._distance, 'is_success': self._distance <= 1.0}
        if self._steps == 0 and (drawn := self._arena.drawn()):
            info['drawn'] = drawn
        return info


def _require(what: str, word: str, choices: Any) -> None:
    """Raise if a word is not one of the choices."""
    if word not in choices:
        raise ArenaError(f"{what}: '{word}' is not a choice; {did_you_mean(str(word), choices)}")


def environment_id(name: str) -> str:
    """Return the environment id of an arena: two_room -> smwm_ros/TwoRoom-v0."""
    return f'smwm_ros/{name.title().replace("_", "")}-v0'


for _name in ARENA_NAMES:
    if environment_id(_name) not in gymnasium.registry:
        gymnasium.register(
            environment_id(_name),
            entry_point=f'{__name__}:{ArenaEnv.__name__}',
            kwargs={'name': _name},
        )


class ArenaFleet(AsyncVectorEnv):
    """Several environments, each in its own process; an error names those that died."""

    def __init__(self, name: str, count: int, **words: Any) -> None:
        require_arena(name)
        if count < 1:
            raise ArenaError(f'count: {count} is out of range; expected 1 or more')
        # spawn: a forked child would inherit locks in an unknown state.
        super().__init__([partial(ArenaEnv, name, **words)] * count, context='spawn')

    def reset_wait(self, timeout: float | None = None) -> Any:
        """Wait until all environments have started an episode."""
        with self._reporting_deaths():
            return super().reset_wait(timeout)

    def step_async(self, actions: Array) -> None:
        """Send each environment its action."""
        with self._reporting_deaths():
            super().step_async(actions)

    def step_wait(self, timeout: float | None = None) -> Any:
        """Wait until all environments have taken a step."""
        with self._reporting_deaths():
            return super().step_wait(timeout)

    @contextmanager
    def _reporting_deaths(self) -> Iterator[None]:
        """Raise an error that names the processes that ended, if a pipe breaks."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            for process in self.processes:
                process.join(0.5)  # the pipe may break before the process has ended
            dead = [
                f'environment {number} (exit code {process.exitcode})'
                for number, process in enumerate(self.processes)
                if process.exitcode is not None
            ]
            self._state = AsyncState.DEFAULT  # do not wait for the other environments
            self.close(terminate=True)
            raise ArenaError(
                f'{", ".join(dead)} of {self.num_envs}: the process died (killed, or out of '
                'memory?); create the environments again'
            ) from error.with_traceback(None)  # Python 3.12.1 crashes when it collects its frames
