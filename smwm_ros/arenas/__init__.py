# SPDX-License-Identifier: Apache-2.0
"""Simulated worlds; the only folder that imports pybullet."""

from __future__ import annotations

from importlib import import_module

from smwm_ros.core.interfaces import Arena
from smwm_ros.errors import ArenaError, did_you_mean

_ARENAS = {'two_room': 'TwoRoom'}  # module in this folder: class in it
ARENA_NAMES = tuple(_ARENAS)
IMAGE_SIZES = (16, 1024)  # smallest and largest camera image [px]


def require_arena(name: str) -> str:
    """Return the name of an arena, or list those that exist."""
    if name not in _ARENAS:
        raise ArenaError(f"'{name}': no such arena; {did_you_mean(name, ARENA_NAMES)}")
    return name


def make_arena(name: str, image_size: int = 64) -> Arena:
    """Make an arena whose camera gives square images of this size [px]."""
    require_arena(name)
    low, high = IMAGE_SIZES
    if not low <= image_size <= high:
        raise ArenaError(f'image size: {image_size} is out of range; valid: {low} to {high}')
    module = import_module(f'smwm_ros.arenas.{name}')
    arena: Arena = getattr(module, _ARENAS[name])(image_size)
    return arena
