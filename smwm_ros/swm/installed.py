# SPDX-License-Identifier: Apache-2.0
"""The door to stable-worldmodel: import it, open its worlds, say what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from typing import Any
import warnings

from smwm_ros.errors import ArenaError, missing_extra, one_line
from smwm_ros.swm.environments import Environment

PACKAGES = "stable-worldmodel pygame pymunk shapely ogbench h5py hdf5plugin 'mujoco<4'"
TESTED = '0.1.1'


def stable_worldmodel() -> Any:
    """Import stable-worldmodel, or raise with the command that installs it."""
    os.environ.setdefault('MUJOCO_GL', 'egl')  # MuJoCo reads it when it is imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import stable_worldmodel as swm
    except ModuleNotFoundError as error:
        wanted = missing_extra('an environment of stable-worldmodel', 'swm', PACKAGES)
        raise type(wanted)(f'{wanted} ({error})') from None
    except Exception as error:  # of torchvision, lance or another of its many dependencies
        why = one_line(error)
        remedy = (
            'torch and torchvision are of different builds: take both for the CPU, or both for '
            'CUDA'
            if 'torchvision::' in why
            else f'install it in a virtual environment of its own: pip install {PACKAGES}'
        )
        raise ArenaError(
            f'stable-worldmodel is installed and cannot be imported: {why}; {remedy}'
        ) from error
    if not hasattr(getattr(swm, 'World', None), 'evaluate'):
        raise ArenaError(
            'stable-worldmodel is too old: its World has no evaluate; pip install '
            f"'stable-worldmodel>={TESTED}'"
        )
    return swm


@contextmanager
def open_world(
    environment: Environment, count: int, image_size: int, length: int, recording: bool = False
) -> Iterator[Any]:
    """Open a World with so many copies of an environment, and close it afterwards."""
    swm = stable_worldmodel()
    words = {**environment.words, **(environment.recorder_words if recording else {})}
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', module='gymnasium')
        try:
            world = swm.World(
                environment.name,
                num_envs=count,
                image_shape=(image_size, image_size),
                max_episode_steps=length,
                disable_env_checker=True,
                **words,
            )
            world.reset(seed=0)  # renders: raises now, not after a training
        except Exception as error:  # of many types, from its environments and their renderers
            raise _cannot_open(environment, error) from error
        try:
            require_calls(environment, world)
            yield world
        finally:
            world.close()


def require_calls(environment: Environment, world: Any) -> None:
    """Raise if a method that sets start or goal is missing: World.evaluate would skip the call."""
    inner = world.envs.envs[0].unwrapped
    missing = [call['method'] for call in environment.calls if not hasattr(inner, call['method'])]
    if missing:
        raise ArenaError(
            f'{environment.name}: this version of stable-worldmodel has no '
            f'{", ".join(missing)} to set start and goal; pip install stable-worldmodel=={TESTED}'
        )


def _cannot_open(environment: Environment, error: Exception) -> ArenaError:
    """Return the error of an environment that does not open, with what often helps."""
    why = f'{environment.name}: cannot be opened: {one_line(error)}'
    if not environment.renders_3d:
        return ArenaError(f'{why}; pip install {PACKAGES}')
    return ArenaError(
        f'{why}; MuJoCo renders it by MUJOCO_GL={os.environ.get("MUJOCO_GL", "")}: install EGL '
        '(apt install libegl1) and set MUJOCO_GL=egl, or OSMesa (apt install libosmesa6) and set '
        f'MUJOCO_GL=osmesa; packages that fit together: pip install {PACKAGES}'
    )
