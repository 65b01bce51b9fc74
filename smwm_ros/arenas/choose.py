# SPDX-License-Identifier: Apache-2.0
"""Which arena a run is evaluated in, where nobody says it."""

from __future__ import annotations

from smwm_ros.arenas import ARENA_NAMES, require_arena, require_fit
from smwm_ros.config import Robot
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Arena
from smwm_ros.load import load_config


def choose_arena(named: str | None, config: str | None, robot: Robot) -> str:
    """Return the arena that is named, that of a configuration, or the one with this robot."""
    if named:
        return require_arena(named)
    if config:
        return load_config(config).arena.name
    return next(iter(arenas_of(robot)), 'two_room')


def arenas_of(robot: Robot) -> list[str]:
    """Return the arenas whose robot is commanded and measured as this one is."""
    return [name for name in ARENA_NAMES if _told(load_config(name).robot) == _told(robot)]


def require_robot(arena: Arena, name: str, robot: Robot, run: str) -> None:
    """Refuse an arena with another robot than that of the run, and name one that has it."""
    try:
        require_fit(arena, robot)
    except ArenaError as error:
        fitting = ', '.join(f'--arena {other}' for other in arenas_of(robot))
        raise ArenaError(
            f'--arena {name}: not the robot of {run} ({error}); '
            + (f'try {fitting}' if fitting else 'no arena has it')
        ) from None


def _told(robot: Robot) -> tuple[object, ...]:
    """Return what an action and a measured state are made of."""
    return robot.command.fields, robot.command.low, robot.command.high, robot.state.fields
