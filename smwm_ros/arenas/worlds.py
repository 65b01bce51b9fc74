# SPDX-License-Identifier: Apache-2.0
"""The engines that simulate and render an arena; both have the same methods."""

from __future__ import annotations

from typing import TypeAlias

from smwm_ros.arenas.bodies import CameraSetup
from smwm_ros.arenas.mujoco_world import MujocoWorld
from smwm_ros.arenas.world import World
from smwm_ros.config import ENGINES
from smwm_ros.errors import ArenaError, did_you_mean

AnyWorld: TypeAlias = World | MujocoWorld


def make_world(
    engine: str,
    step: float,  # [s]
    camera: CameraSetup,
    gravity: float = 0.0,  # [m/s2]
    recovery: float | None = None,  # share of a penetration that one step corrects, with pybullet
) -> AnyWorld:
    """Make an empty world."""
    if engine not in ENGINES:
        raise ArenaError(f"engine '{engine}': no such engine; {did_you_mean(engine, ENGINES)}")
    if engine == 'mujoco':
        return MujocoWorld(step, camera, gravity)
    return World(step, camera, gravity, recovery)
