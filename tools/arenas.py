# SPDX-License-Identifier: Apache-2.0
"""
Draw the pictures of docs/arenas.md, larger than the images of a camera.

arenas.png shows the arenas with their scripted experts, arenas_mujoco.png some of them in the
other engine, and rooms.jpg looks of real rooms in both engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from smwm_ros.arenas import ARENA_NAMES, arena_of, make_arena
from smwm_ros.config import Arena, Config, Randomise
from smwm_ros.interfaces import Array

DOCS = Path(__file__).resolve().parent.parent / 'docs'
TWIN = 'reacher_torque'  # looks the same as another arena
SIZE = 240  # of a picture [px]
STEPS = (0, 12, 24)  # raw steps of the expert at which it is drawn
ROOMS = ((1, 17), (3, 7), (5, 4), (8, 9))  # numbers in each column: pybullet above, then mujoco


def main() -> None:
    """Draw all pictures; in the first, time runs from top to bottom."""
    write('arenas.png', [column(name, STEPS) for name in ARENA_NAMES if name != TWIN])
    others = ('two_room', 'push_t', 'cube', 'reacher')
    write('arenas_mujoco.png', [column(name, STEPS[1:2], 'mujoco') for name in others])
    write('rooms.jpg', [rooms(seeds) for seeds in ROOMS])


def column(name: str, steps: Sequence[int], engine: str = 'pybullet') -> Array:
    """Draw an arena after some raw steps of its expert."""
    arena = make_arena(name, engine=engine)
    try:
        arena.reset(3)
        views = []
        for step in range(steps[-1] + 1):
            if step in steps:
                views.append(arena.render(SIZE))
            arena.step(arena.spec.clip(arena.expert()))
    finally:
        arena.close()
    return np.vstack(views)


def rooms(seeds: Sequence[int]) -> Array:
    """Draw a room in each engine."""
    views = []
    for engine, seed in zip(('pybullet', 'mujoco'), seeds, strict=True):
        arena = Arena(name='two_room_differential', image_size=SIZE, seed=seed, engine=engine)
        room = arena_of(Config(arena=arena, randomise=Randomise(room=True, once=True)))
        views.append(room.reset(seed).pixels)
        room.close()
    return np.vstack(views)


def write(name: str, columns: Sequence[Array]) -> None:
    """Write columns side by side to a file in docs/."""
    picture = cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(DOCS / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == '__main__':
    main()
