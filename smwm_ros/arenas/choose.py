# SPDX-License-Identifier: Apache-2.0
"""Choose the arena for a run that does not name one."""

from __future__ import annotations

from smwm_ros.arenas import ARENA_NAMES, require_arena, require_fit
from smwm_ros.config import Robot
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Arena
from smwm_ros.load import load_config


def choose_arena(named: str | None, config: str | None, robot: Robot) -> str:
    """Return the named arena, the one of a configuration, or the first one with this robot."""
    if named:
        return require_arena(named)
    if config:
        return load_config(config).arena.name
    return next(iter(arenas_of(robot)), 'two_room')


def arenas_of(robot: Robot) -> list[str]:
    """Return the arenas whose robot has the same commands and measured state."""
    return [name for name in ARENA_NAMES if _fields(load_config(name).robot) == _fields(robot)]


def require_robot(arena: Arena, name: str, robot: Robot, run: str) -> None:
    """Raise if an arena does not have the robot of the run; name the arenas that do."""
    found = arenas_of(robot)
    try:
        require_fit(arena, robot)
        if found and name not in found:
            raise ArenaError('its fields and limits are those of another arena')
    except ArenaError as error:
        fitting = ', '.join(f'--arena {other}' for other in found)
        raise ArenaError(
            f'--arena {name}: does not have the robot of {run} ({error}); '
            + (f'try {fitting}' if fitting else 'no arena has this robot')
        ) from None


def _fields(robot: Robot) -> tuple[object, ...]:
    """Return fields and limits of commands, and fields of the measured state."""
    return robot.command.fields, robot.command.low, robot.command.high, robot.state.fields
