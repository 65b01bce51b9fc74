# SPDX-License-Identifier: Apache-2.0
"""
What `near` means to a model: how far apart in its latent frames are that lie so long apart.

A latent distance has no unit of its own. Measured on held-out driving it has one: frames of two
control periods of driving are usually that far apart, so a goal nearer than that is reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.interfaces import Array, Obs
from smwm_ros.model.world_model import Smwm
import torch

TICKS = (1, 2, 3, 4, 5, 7, 10, 15, 25)  # raw steps between two frames
STRETCHES = 20  # pieces of held-out driving that are looked at
BATCH = 128  # frames encoded at once


def measure_distances(model: Smwm, dataset: TransitionDataset) -> dict[str, list[float]]:
    """Return the quartiles of the latent distance, for frames that lie so many ticks apart."""
    longest = max(e.stop - e.start for e in dataset.episodes if e.split == 'val') - 1
    length = min(longest, TICKS[-1])
    starts = dataset.starts('val', length)
    chosen = evenly_spaced(starts, STRETCHES)
    rows = chosen[:, None] + np.arange(length + 1)
    z = _encode(model, dataset, rows.ravel()).reshape(*rows.shape, -1)
    ticks = [tick for tick in TICKS if tick <= length]
    apart = [np.linalg.norm(z[:, tick:] - z[:, :-tick], axis=-1) for tick in ticks]
    found = {'ticks': [float(tick) for tick in ticks]}
    for name, share in (('low', 0.25), ('median', 0.5), ('high', 0.75)):
        found[name] = [float(np.quantile(distance, share)) for distance in apart]
    return found


def distance_of(info: Mapping[str, Any], ticks: float) -> float | None:
    """Return how far frames usually are that lie so many ticks apart, None if nobody measured."""
    measured = info.get('distances')
    if not isinstance(measured, Mapping):
        return None
    return float(np.interp(ticks, [0.0, *measured['ticks']], [0.0, *measured['median']]))


@torch.inference_mode()
def _encode(model: Smwm, dataset: TransitionDataset, rows: Array) -> Array:
    """Return the latents (n, D) of rows; the model is left in the mode it was in."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    latents = []
    for part in np.array_split(rows, -(-len(rows) // BATCH)):
        pixels = torch.from_numpy(dataset.pixels(part)).permute(0, 3, 1, 2).to(device)
        states = torch.from_numpy(dataset.states(part)).to(device)
        latents.append(model.encode(Obs(pixels, states)).cpu().numpy())
    model.train(training)
    return np.concatenate(latents)
