# SPDX-License-Identifier: Apache-2.0
"""
Find out whether one image is enough to predict the next one, or a velocity has to be seen.

Robots with inertia move on after a command. A quick regression predicts small images from the
current one and the actions, without and with the images before it: if those lower the error much,
the model should read them too. It takes seconds; the training of a model takes minutes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.data.observations import image_rows
from smwm_ros.interfaces import Array
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

HISTORY = 3  # images that a model reads where a velocity has to be seen
# Share of the error that is left with earlier images, below which they are worth their time. It
# was 0.6 for an arm with torques, and 0.9 to 1.2 for robots that follow velocities.
WORTH = 0.8
WINDOWS, HELD_OUT = 2000, 1000
FEWEST = 100  # windows of either kind; fewer decide nothing
VIEWS = 300  # small images whose principal components count
SIDE = 16  # of the small images [pixels]
PARTS = 16  # principal components of a small image
FEATURES = 512  # random ones, of the regression
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # per window; the best one counts


class History(NamedTuple):
    """How many images a model should read, and the reason."""

    images: int
    why: str


def choose_history(dataset: TransitionDataset, model: config.Model) -> History:
    """Return how many images a model of this dataset should read."""
    if model.preset != 'nano' or model.kind == 'latent_action':
        return History(1, 'only preset nano reads more by itself')
    left = error_left(dataset)
    if left is None:
        return History(1, 'too few windows to see whether earlier images help')
    many = left < WORTH
    found = f'with the {HISTORY - 1} images before, a quick prediction of the next one'
    found += f' has {left:.2f} of its error'
    return History(HISTORY if many else 1, f'{found}; below {WORTH} they are worth their time')


def error_left(dataset: TransitionDataset) -> float | None:
    """Return the held-out error with earlier images, as a share of that without."""
    rows = [
        evenly_spaced(dataset.starts(split), most)
        for split, most in (('train', WINDOWS), ('val', HELD_OUT))
    ]
    if min(map(len, rows)) < FEWEST:
        return None
    small = [_small(dataset, part) for part in rows]
    some = evenly_spaced(small[0][:, -2], VIEWS)
    mean = some.mean(axis=0)
    axes = np.linalg.svd(some - mean, full_matrices=False)[2][:PARTS].T
    scaler, inputs, changes = dataset.action_scaler(), [], []
    for part, images in zip(rows, small, strict=True):
        *before, now, then = np.moveaxis((images - mean) @ axes, 1, 0)
        ticks = part[:, None] + np.arange(dataset.info.action_block)
        actions = scaler.normalise(dataset.actions(ticks)).reshape(len(part), -1)
        velocities = [a - b for a, b in zip([*before[1:], now], before, strict=True)]
        inputs.append([now, actions, *velocities])
        changes.append(then - now)
    one, all_ = (
        _error(*(np.concatenate(each[:count], axis=1) for each in inputs), *changes)
        for count in (2, None)
    )
    return all_ / one if one else None


def _small(dataset: TransitionDataset, rows: Array) -> Array:
    """Return small images (n, H+1, F): those that are seen at each row, and the next one."""
    wanted = image_rows(dataset, rows, HISTORY)
    wanted = np.append(wanted, rows[:, None] + dataset.info.action_block, axis=1)
    found = [
        F.adaptive_avg_pool2d(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), SIDE)
        for frames in map(dataset.pixels, wanted.T)
    ]
    return torch.stack(found, dim=1).flatten(2).double().numpy() / 255


def _error(x: Array, held_out_x: Array, y: Array, held_out_y: Array) -> float:
    """Return the mean squared error on held-out rows of the best regression."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(x.shape[1], FEATURES)) / np.sqrt(x.shape[1])
    offsets = random.uniform(-1, 1, FEATURES)
    mean, std = x.mean(axis=0), x.std(axis=0).clip(min=1e-6)

    def features(part: Array) -> Tensor:
        scaled = (part - mean) / std
        curved = (scaled @ weights + offsets).clip(min=0)
        return torch.from_numpy(np.concatenate([scaled, curved], axis=1))

    fitted, held_out = features(x), features(held_out_x)
    centre, middle = fitted.mean(dim=0), y.mean(axis=0)
    fitted, held_out = fitted - centre, held_out - centre
    wanted, missing = torch.from_numpy(y - middle), torch.from_numpy(held_out_y - middle)
    products, targets = fitted.T @ fitted, fitted.T @ wanted
    errors = []
    for penalty in PENALTIES:
        penalties = penalty * len(x) * torch.eye(len(products), dtype=products.dtype)
        fit = torch.linalg.solve(products + penalties, targets)
        errors.append(F.mse_loss(held_out @ fit, missing))
    return float(min(errors))
