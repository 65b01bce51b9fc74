# SPDX-License-Identifier: Apache-2.0
"""Small worlds of known dynamics, for the tests of models and planners."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset, write_index
from smwm_ros.data.labels import write_labels
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.interfaces import ActionScaler, ActionSpec, Array, Frame, Window
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.any_model import make_any, make_model
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.info import Info
import torch
from torch import Tensor

SIZE = 16  # of the images [px]
BLOCK = 2  # raw actions in a model step
STATE = config.State(topic='/odom', fields=('pose.pose.position.x', 'pose.pose.position.y'))
ROBOT = config.Robot(state=STATE)
TINY = config.Model(inverse_weight=1.0, latent=4, hidden=32)


class PointMass:
    """A world model whose latent is a place: every raw action adds to it."""

    latent = 2

    def encode(self, pixels: Tensor) -> Tensor:
        """Take the first two numbers of an image for the place."""
        return pixels.flatten(1)[:, :2].float()

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """Move by the sum of the raw actions."""
        size = z.shape[-1]
        return z + action.reshape(*action.shape[:-1], -1, size).sum(dim=-2)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Move step after step."""
        steps = []
        for action in actions.unbind(dim=-2):
            z = self.predict(z, action)
            steps.append(z)
        return torch.stack(steps, dim=-2)

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Return the one action that makes the move."""
        return z_next - z

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Learn nothing: all is known."""
        return {}


class Line:
    """An arena on a line: one step moves by the action, and a goal closer than 0.5 is reached."""

    spec = ActionSpec(('speed',), (-1.0,), (1.0,), 0.1)

    def __init__(self) -> None:
        self.place, self.goal, self.actions = 0.0, 0.0, list[float]()

    def reset(self, seed: int) -> Frame:
        """Begin far away from anything."""
        self.place, self.goal = 99.0, -99.0
        return self._frame(self.place)

    def step(self, action: Array) -> Frame:
        """Move."""
        self.actions.append(float(action[0]))
        self.place += float(action[0])
        return self._frame(self.place)

    def idle(self) -> Frame:
        """Stay."""
        return self._frame(self.place)

    def randomise(self, seed: int) -> None:
        """Change nothing: nothing is randomised."""

    def drawn(self) -> dict[str, Any]:
        """Return nothing: nothing is randomised."""
        return {}

    def set_state(self, state: Array) -> Frame:
        """Place the robot."""
        self.place = float(state[0])
        return self._frame(self.place)

    def set_goal(self, state: Array) -> Frame:
        """Place the goal."""
        self.goal = float(state[0])
        return self._frame(self.goal)

    def save(self) -> tuple[float, float]:
        """Return the place and the goal."""
        return self.place, self.goal

    def restore(self, saved: tuple[float, float]) -> Frame:
        """Go back to a place and a goal."""
        self.place, self.goal = saved
        return self._frame(self.place)

    def distance(self) -> float:
        """Return the distance to the goal in units of 0.5."""
        return abs(self.place - self.goal) / 0.5

    def success(self) -> bool:
        """Say whether the robot is at the goal."""
        return self.distance() < 1

    def expert(self) -> Array:
        """Go there at full speed."""
        return np.array([np.sign(self.goal - self.place)])

    def set_goal_state(self, state: Array) -> None:
        """Place the goal."""
        self.set_goal(state)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a place."""
        return rng.uniform(-5, 5, 1)

    def render(self, size: int) -> Array:
        """Show nothing."""
        return np.zeros((size, size, 3), np.uint8)

    def close(self) -> None:
        """Hold nothing."""

    def _frame(self, place: float) -> Frame:
        return Frame(np.full((1, 1, 3), round(place) % 256, np.uint8), np.array([place]))


def draw_dot(place: np.ndarray) -> np.ndarray:
    """Show a soft dot at a place (x, y) in -1..1 as (SIZE, SIZE, 3) uint8."""
    grid = np.linspace(-1.4, 1.4, SIZE)
    away = (grid[None, :] - place[0]) ** 2 + (grid[:, None] - place[1]) ** 2
    dot = 255 * np.exp(-away / 0.1)
    return np.repeat(dot[..., None], 3, axis=2).astype(np.uint8)


def dot_dataset(
    folder: Path,
    episodes: int = 20,
    length: int = 30,
    actions: np.ndarray | None = None,  # (episodes, length, 2), else drawn at random
    state: config.State = STATE,
    noise: float = 0.0,  # of the motion, which no action explains
    unmeasured: slice = slice(0),  # rows without a measured state
    inertia: float = 0.0,  # share of its velocity that the dot keeps in a tick
    **knobs: object,
) -> TransitionDataset:
    """Record a dot that walks at random between walls."""
    rng = np.random.default_rng(0)
    low, high = np.array(ROBOT.command.low), np.array(ROBOT.command.high)
    if actions is None:
        actions = rng.uniform(low, high, (episodes, length, 2))
    rows = episodes * length
    places = np.zeros((episodes, length, 2))
    places[:, 0] = rng.uniform(-1, 1, (episodes, 2))
    velocity = np.zeros((episodes, 2))
    for t in range(1, length):
        velocity = inertia * velocity + (1 - inertia) * np.nan_to_num(actions[:, t - 1])
        moved = places[:, t - 1] + 0.5 * velocity
        moved += noise * rng.standard_normal(moved.shape)
        places[:, t] = np.clip(moved, -1, 1)
    flat = places.reshape(rows, 2)
    size = 2 if state.topic else 0
    states = flat[:, :size].copy()
    states[unmeasured] = np.nan
    with ShardWriter(folder / 'shards' / 'dots', columns(SIZE, 2, size)) as writer:
        writer.append(
            pixels=np.stack([draw_dot(place) for place in flat]),
            action=actions.reshape(rows, 2),
            state=states,
            episode=np.repeat(np.arange(episodes), length),
            stamp=np.arange(rows) * 10**8,
        )
        spans = [(number * length, (number + 1) * length) for number in range(episodes)]
        writer.publish({'episodes': spans})
    robot = config.Robot(state=state)
    settings = {**asdict(config.Dataset(image_size=SIZE, action_block=BLOCK)), **knobs}
    write_index(folder, asdict(robot), settings, ['dots'], {})
    return TransitionDataset.open(folder)


def hide_actions(shard: Path, rows: np.ndarray) -> None:
    """Make the recorded actions of some rows of a shard unknown."""
    actions = np.load(shard / 'action.npy')
    actions[rows] = np.nan
    np.save(shard / 'action.npy', actions)


def half_labelled(folder: Path) -> TransitionDataset:
    """Record dots: half of the rows have a recorded action, a quarter has labels."""
    whole = dot_dataset(folder / 'labelled')
    rows = np.arange(len(whole))
    actions, confidence = whole.actions(rows), (rows % 7 + 1) / 8
    hide_actions(whole.folder / 'shards' / 'dots', rows[rows % 40 >= 20])
    confidence[rows % 40 >= 30] = 0
    about = {'run': 'runs/latent', 'r2': 0.9}
    write_labels(whole.folder, 'dots', actions, confidence, about)
    return TransitionDataset.open(whole.folder)


def tiny_checkpoint(
    seed: int = 0, mean: float = 0.0, std: float = 0.3, history: int = 1
) -> Checkpoint:
    """Make a checkpoint with random weights."""
    knobs = replace(TINY, history=history)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make_model(knobs, SIZE, 2 * BLOCK).eval().requires_grad_(False)
    return Checkpoint(
        model,
        ROBOT,
        config.Dataset(image_size=SIZE, action_block=BLOCK),
        knobs,
        config.Planner(samples=16, elites=4, iterations=2, horizon=3),
        ActionScaler(np.full(2, mean), np.full(2, std)),
        Info(dataset='none'),
    )


def latent_checkpoint(data: TransitionDataset) -> Checkpoint:
    """Make a checkpoint of a latent-action model on a dataset: fitted maps, random weights."""
    lam = config.LatentAction(width=4, patch=4, channels=8, hidden=8, blur=0.0)
    settings = config.Model(kind='latent_action', latent=4, hidden=32, latent_action=lam)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_any(settings, SIZE, 2 * BLOCK)
    assert isinstance(model, LatentActionModel)
    pixels = torch.from_numpy(data.pixels(np.arange(len(data)))).permute(0, 3, 1, 2)
    model.fit_encoder(pixels[:-BLOCK], pixels[BLOCK:])
    return Checkpoint(
        model.eval().requires_grad_(False),
        config.Robot(state=config.State(**data.index['robot']['state'])),
        config.Dataset(image_size=SIZE, action_block=BLOCK),
        settings,
        config.Planner(samples=16, elites=4, iterations=2, horizon=3),
        data.action_scaler(),
        Info(dataset=data.fingerprint, data='../data', train=asdict(config.Train(batch=8))),
    )
