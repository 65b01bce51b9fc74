# SPDX-License-Identifier: Apache-2.0
"""
The toy worlds by name, what each of them shows, and datasets of their transitions.

Transitions are drawn independently: each is an episode of two rows. Training and test transitions
come from separate random generators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset, write_index
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.toys.arrow import Arrow
from smwm_ros.toys.dots import Dots, Moves, RANDOM

TRAIN, JUDGE = 0, 1  # what a generator is for
CHUNK = 500  # transitions drawn at once
_MESSAGE = 'std_msgs/msg/Float64MultiArray'


class Toy(NamedTuple):
    """A world, and the expected result."""

    about: str
    world: Dots | Arrow
    dimensions: int  # of the latent: what the actions control
    inverse: bool = True  # with the inverse loss
    effort: float = 1.0  # factor on the training steps


TOYS: Mapping[str, Toy] = {
    'single': Toy('one commanded dot', Dots((0,)), 2, effort=0.5),
    'forward_only': Toy(
        'the same without the inverse loss', Dots((0,)), 0, inverse=False, effort=0.25
    ),
    'independent': Toy('two dots, each with its own action', Dots((0, 1)), 4, effort=2.5),
    'coupled': Toy('two dots that share one action', Dots((0, 0)), 2, effort=0.7),
    'random': Toy(
        'a commanded dot, and one that moves at random', Dots((0, RANDOM)), 2, effort=0.7
    ),
    'combined': Toy(
        'two commanded dots, a pair that shares an action, and one that moves at random',
        Dots((0, 1, 2, 2, RANDOM)),
        6,
        effort=2.5,
    ),
    'arrow': Toy('an arrow that moves and turns at random', Arrow(()), 0, effort=0.25),
    'arrow_x': Toy('the same, with commanded x', Arrow(('x',)), 1, effort=0.5),
    'arrow_xy': Toy('the same, with commanded x and y', Arrow(('x', 'y')), 2, effort=0.5),
    'arrow_xyt': Toy(
        'the same, with commanded x, y and heading', Arrow(('x', 'y', 'heading')), 3, effort=1.5
    ),
}


def draw(toy: Toy, seed: int, purpose: int, count: int, size: int) -> Moves:
    """Draw transitions on canvases of size x size pixels; purpose is TRAIN or JUDGE."""
    return toy.world.draw(np.random.default_rng([seed, purpose]), count, size)


def record(toy: Toy, folder: Path, seed: int, count: int, size: int) -> TransitionDataset:
    """Draw transitions for training, and write them as a dataset."""
    world = toy.world
    rng = np.random.default_rng([seed, TRAIN])
    row = columns(size, len(world.actions), len(world.states))
    with ShardWriter(folder / 'shards' / 'toy', row) as writer:
        for begin in range(0, count, CHUNK):
            moves = world.draw(rng, min(CHUNK, count - begin), size)
            first = begin + np.arange(len(moves.action))
            writer.append(
                pixels=moves.pixels.reshape(-1, size, size, 3),
                # No transition begins with the second row; it takes part in the statistics.
                action=np.repeat(moves.action, 2, axis=0),
                state=moves.state.reshape(2 * len(first), -1),
                episode=np.repeat(first, 2),
                stamp=np.arange(2 * begin, 2 * begin + 2 * len(first)) * 10**9,
            )
        writer.publish(
            {
                'episodes': [(2 * number, 2 * number + 2) for number in range(count)],
                'dropped': {}, 'counts': {}, 'notes': [], 'faults': {}, 'versions': {},
                'time': {'base': 'drawn', 'why': 'a toy world has no clock'},
                'source': {'files': [], 'bytes': 0, 'fingerprint': f'seed {seed}'},
            }
        )  # fmt: skip
    dataset = config.Dataset(image_size=size, action_block=1, val_share=0.05, seed=seed)
    write_index(folder, asdict(_robot(world, size)), asdict(dataset), ['toy'], {})
    return TransitionDataset.open(folder)


def _robot(world: Dots | Arrow, size: int) -> config.Robot:
    """Describe a world as a robot that measures its state."""
    high = world.limit(size)
    return config.Robot(
        camera=config.Camera(topic='/toy/image'),
        command=config.Command(
            topic='/toy/command',
            type=_MESSAGE,
            fields=(f'data[0:{len(high)}]',),
            low=tuple(-limit for limit in high),
            high=high,
        ),
        state=config.State(
            topic='/toy/state', type=_MESSAGE, fields=(f'data[0:{len(world.states)}]',)
        ),
        dt=1.0,
    )
