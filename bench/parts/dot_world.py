# SPDX-License-Identifier: Apache-2.0
"""
Two soft dots on a small canvas: one moves as commanded, the other by chance and as far.

It is the smallest world in which a latent action may describe the wrong thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset, write_index
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.pilot import Pilot

SIZE = 32  # of the canvas [px]
LOW, HIGH = 3.0, 28.0  # the walls [px]
FAR = 4.0  # motion of a full command in one step [px]
SPREAD = 1.5  # standard deviation of a dot [px]
EPISODES = 12_000  # of one transition each, so that the dots do not gather at the walls
PAUSE = 0.4  # share of the transitions in which a dot stands still
NEAR, GOAL = 2.0, (8.0, 20.0)  # px: of success, and from start to goal
STEPS = 10
ROBOT = config.Robot(
    command=config.Command(low=(-1.0, -1.0), high=(1.0, 1.0)),
    state=config.State(
        topic='/dots',
        type='sensor_msgs/msg/JointState',
        fields=('position[name=x,y,other_x,other_y]',),
    ),
)
# The colours of background, the dot that is commanded, and the other.
SCHEMES = {
    'dark': ((0, 0, 0), (255, 0, 0), (0, 255, 0)),
    'light': ((230, 230, 230), (20, 60, 200), (200, 120, 20)),
}


class DotWorld:
    """Moves many worlds at once; their states are (n, 4), the two places [px]."""

    def __init__(self, seed: int, turned: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.turned = turned  # the direction of a command depends on the place

    def places(self, count: int) -> Array:
        """Draw states (n, 4)."""
        places: Array = self.rng.uniform(LOW, HIGH, (count, 4))
        return places

    def commands(self, count: int) -> Array:
        """Draw commands (n, 2), some of which are 0."""
        moves = self.rng.random((count, 1)) > PAUSE
        commands: Array = moves * self.rng.uniform(-1, 1, (count, 2))
        return commands

    def step(self, states: Array, actions: Array) -> Array:
        """Return the states after commands (n, 2)."""
        motion = FAR * actions
        if self.turned:
            angle = np.pi * (states[:, 0] - LOW) / (HIGH - LOW)
            x, y = motion.T
            cos, sin = np.cos(angle), np.sin(angle)
            motion = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
        other = FAR * self.commands(len(states))
        moved: Array = np.clip(states + np.concatenate([motion, other], axis=1), LOW, HIGH)
        return moved


def draw(states: Array, scheme: str = 'dark') -> Array:
    """Return images (n, S, S, 3) uint8 of states (n, 4)."""
    axis = np.arange(SIZE)
    ground, *colours = np.array(SCHEMES[scheme], float)
    canvas: Array = np.broadcast_to(ground, (len(states), SIZE, SIZE, 3))
    for dot, colour in enumerate(colours):
        near = [
            np.exp(-0.5 * ((axis - states[:, 2 * dot + number, None]) / SPREAD) ** 2)
            for number in (0, 1)
        ]
        share = (near[1][:, :, None] * near[0][:, None, :])[..., None]
        canvas = canvas + share * (colour - canvas)
    images: Array = np.clip(canvas, 0, 255).round().astype(np.uint8)
    return images


def record(
    folder: Path,
    seed: int,
    labelled: int | None = None,  # transitions with a recorded action; None for all
    turned: bool = False,
    schemes: Sequence[str] = ('dark',),
    episodes: int = EPISODES,
) -> TransitionDataset:
    """
    Write a dataset of single transitions, which take turns with the colour schemes.

    The same seed gives the same transitions. Labels are those of the first scheme.
    """
    if not folder.exists():
        world = DotWorld(seed, turned)
        before, actions = world.places(episodes), world.commands(episodes)
        states = np.stack([before, world.step(before, actions)], axis=1)  # (n, 2, 4)
        number = np.arange(episodes)
        if labelled is not None:
            chosen = np.random.default_rng(seed).permutation(number[:: len(schemes)])[:labelled]
            actions[~np.isin(number, chosen)] = np.nan
        images = np.empty((episodes, 2, SIZE, SIZE, 3), np.uint8)
        for place, scheme in enumerate(schemes):
            mine = number % len(schemes) == place
            images[mine] = draw(states[mine].reshape(-1, 4), scheme).reshape(-1, *images.shape[1:])
        rows = 2 * episodes
        with ShardWriter(folder / 'shards' / 'dots', columns(SIZE, 2, 4)) as writer:
            writer.append(
                pixels=images.reshape(rows, SIZE, SIZE, 3),
                action=np.repeat(actions, 2, axis=0),
                state=states.reshape(rows, 4),
                episode=np.repeat(number, 2),
                stamp=np.arange(rows) * 10**8,
            )
            writer.publish({'episodes': [(2 * n, 2 * n + 2) for n in range(episodes)]})
        settings = asdict(config.Dataset(image_size=SIZE, action_block=1))
        write_index(folder, asdict(ROBOT), settings, ['dots'], {})
    return TransitionDataset.open(folder, certain=True)


def reached(
    checkpoint: Checkpoint | None,  # None for random commands
    seed: int,
    planner: config.Planner | None = None,
    turned: bool = False,
    tries: int = 64,
) -> tuple[float, float]:
    """Return the share of goals that are reached, and the mean distance in the end [px]."""
    world = DotWorld(10_000 + seed, turned)
    start, goal = world.places(tries), world.places(tries)
    while True:
        away = np.linalg.norm(start[:, :2] - goal[:, :2], axis=1)
        wrong = (away < GOAL[0]) | (away > GOAL[1])
        if not wrong.any():
            break
        goal[wrong] = world.places(int(wrong.sum()))
    pilot = Pilot(checkpoint, planner) if checkpoint else None
    if pilot:
        pilot.set_goals(draw(goal))
    states, done = start, np.zeros(tries, bool)
    for step in range(STEPS):
        if pilot:
            plans = pilot.plan_many(draw(states), 1 if step else 0)
            actions = np.stack([plan.actions[0] for plan in plans])
        else:
            actions = world.rng.uniform(-1, 1, (tries, 2))
        states = world.step(states, actions)
        away = np.linalg.norm(states[:, :2] - goal[:, :2], axis=1)
        done |= away < NEAR
    return float(done.mean()), float(away.mean())
