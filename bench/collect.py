# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast an arena records bags, beside the simulator alone.

The peer is a bare loop of pybullet calls on the same scene: motors, physics, camera, and nothing
else. What lies between the two is ours: drivers, messages, serialisation and the bag.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
import time

from common import interleaved, main, paired_ratio, Row
import numpy as np
import pybullet
from smwm_ros.arenas.two_room import FORCE, SUBSTEPS, TwoRoom
from smwm_ros.load import load_config
from smwm_ros.verbs.recording import record, Recording

SIZE = 64  # camera image [px]
LENGTH = 100  # raw steps in an episode


def measure(quick: bool) -> Iterator[Row]:
    """Compare raw steps per second, in one process."""
    episodes, rounds = (5, 5) if quick else (20, 9)
    config = load_config('two_room', [f'arena.image_size={SIZE}', f'arena.length={LENGTH}'])
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'bag'

        def ours() -> float:
            begun = time.perf_counter()
            record(Recording(path, config.arena, config.robot, range(episodes)), lambda: None)
            rate = episodes * LENGTH / (time.perf_counter() - begun)
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
            return rate

        figures = interleaved({'bare': lambda: bare_loop(episodes * LENGTH), 'ours': ours}, rounds)
    yield Row(
        'collect.steps_per_second',
        float(np.median(figures['ours'])),
        'raw steps/s',
        peer='bare pybullet step and render of the same scene',
        peer_value=float(np.median(figures['bare'])),
        ratio=paired_ratio(figures['ours'], figures['bare']),
    )


def bare_loop(steps: int) -> float:
    """Return the raw steps per second of the simulator alone."""
    arena = TwoRoom(SIZE)
    world = arena._world
    client, robot = world.client, world._bodies['robot']
    velocities = np.random.default_rng(0).uniform(-0.5, 0.5, (steps, 2)).tolist()
    begun = time.perf_counter()
    for velocity in velocities:
        pybullet.setJointMotorControlArray(
            robot,
            (0, 1),
            pybullet.VELOCITY_CONTROL,
            targetVelocities=velocity,
            forces=(FORCE, FORCE),
            physicsClientId=client,
        )
        for _ in range(SUBSTEPS):
            pybullet.stepSimulation(physicsClientId=client)
        pybullet.getCameraImage(
            SIZE,
            SIZE,
            world._view,
            world._projection,
            shadow=0,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=client,
        )
    rate = steps / (time.perf_counter() - begun)
    arena.close()
    return rate


if __name__ == '__main__':
    main(measure, __doc__)
