# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast an arena records bags, beside the simulator alone.

The peer is a bare loop of pybullet calls on the same scene: motors, physics, camera, and nothing
else. What lies between the two is ours: drivers, messages, serialisation and the bag. Both run
in one thread and are timed by its processor, so that a busy machine does not blur the ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
import shutil
from tempfile import TemporaryDirectory
import time

from common import interleaved, main, paired_ratio, Row
import numpy as np
import pybullet
from smwm_ros.arenas.rooms import FORCE, SUBSTEPS
from smwm_ros.arenas.two_room import TwoRoom
from smwm_ros.config import Config
from smwm_ros.core.interfaces import Array
from smwm_ros.load import load_config
from smwm_ros.verbs.recording import begin_episode, EPISODES_PER_BAG, record, Recording

SIZE = 64  # camera image [px]
LENGTH = 100  # raw steps in an episode


def measure(quick: bool) -> Iterator[Row]:
    """Compare raw steps per second, in one process."""
    episodes = EPISODES_PER_BAG
    config = load_config('two_room', [f'arena.image_size={SIZE}', f'arena.length={LENGTH}'])
    drives = [drive(config, episode) for episode in range(episodes)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'bag'

        def ours() -> float:
            begun = time.process_time()
            record(Recording(path, config.arena, config.robot, range(episodes)), lambda: None)
            rate = episodes * LENGTH / (time.process_time() - begun)
            shutil.rmtree(path)
            return rate

        ours()  # what is loaded but once is no part of it
        figures = interleaved(
            {'bare': lambda: bare_loop(drives), 'ours': ours}, 4 if quick else 12
        )
    yield Row(
        'collect.steps_per_second',
        float(np.median(figures['ours'])),
        'raw steps per CPU second',
        peer='bare pybullet step and render of the same drives',
        peer_value=float(np.median(figures['bare'])),
        ratio=paired_ratio(figures['ours'], figures['bare']),
    )


def drive(config: Config, episode: int) -> tuple[Array, list[Array]]:
    """Return where an episode starts, and its actions: contacts with walls cost time."""
    arena = TwoRoom(SIZE)
    frame, actions = begin_episode(config.arena, arena, episode)
    taken = []
    for action in islice(actions, LENGTH):
        taken.append(action)
        arena.step(action)
    arena.close()
    return frame.state, taken


def bare_loop(drives: list[tuple[Array, list[Array]]]) -> float:
    """Return the raw steps per second of the simulator alone."""
    arena = TwoRoom(SIZE)
    world = arena.world
    client, robot = world.client, world._bodies['robot']
    begun = time.process_time()
    for start, actions in drives:
        world.place('robot', start)
        for velocity in actions:
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
    rate = len(drives) * LENGTH / (time.process_time() - begun)
    arena.close()
    return rate


if __name__ == '__main__':
    main(measure, __doc__)
