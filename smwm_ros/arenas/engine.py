# SPDX-License-Identifier: Apache-2.0
"""Import the engines: pybullet without its banner, and MuJoCo with a way to render."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
import os
import sys
from typing import Any

from smwm_ros.errors import ArenaError, missing_extra, one_line


def import_pybullet() -> Any:
    """Import pybullet without the banner that its C code prints."""
    try:
        with _silent_stderr():
            import pybullet
    except ImportError:
        raise ArenaError("arenas need pybullet: pip install 'smwm_ros[sim]'") from None
    return pybullet


def import_mujoco() -> Any:
    """Import mujoco; without a display it renders with EGL, unless MUJOCO_GL says otherwise."""
    if not os.environ.get('DISPLAY'):
        os.environ.setdefault('MUJOCO_GL', 'egl')  # mujoco reads it when it is imported
    if not find_spec('mujoco'):
        raise missing_extra('arena.engine=mujoco', 'mujoco', 'mujoco')
    try:
        import mujoco
    except (ImportError, AttributeError, OSError, RuntimeError) as error:  # its way to render
        raise no_renderer(error) from None
    return mujoco


def no_renderer(error: Exception) -> ArenaError:
    """Return the error of an engine that finds no OpenGL."""
    return ArenaError(
        f'arena.engine=mujoco: nothing to render with ({one_line(error)}); install EGL or OSMesa '
        '(Debian, Ubuntu: sudo apt install libegl1 libosmesa6), and choose with MUJOCO_GL=egl or '
        f'osmesa (now {os.environ.get("MUJOCO_GL", "unset")})'
    )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what this process writes to standard error, C code included."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
