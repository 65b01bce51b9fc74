# SPDX-License-Identifier: Apache-2.0
"""
What `near` means to a model: how far apart in its latent frames are that lie so long apart.

A latent distance has no unit of its own. Measured on held-out driving it has one: frames of two
control periods of driving are usually that far apart, so a goal nearer than that is reached.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.model.checkpoint import Info
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.world_model import Smwm

TICKS = (1, 2, 3, 4, 5, 7, 10, 15, 25)  # raw steps between two frames
STRETCHES = 20  # pieces of held-out driving that are looked at


def measure_distances(model: Smwm, dataset: TransitionDataset) -> dict[str, list[float]]:
    """Return the quartiles of the latent distance, for frames that lie so many ticks apart."""
    longest = max(e.stop - e.start for e in dataset.episodes if e.split == 'val') - 1
    length = min(longest, TICKS[-1])
    starts = dataset.starts('val', length)
    chosen = starts[np.linspace(0, len(starts) - 1, min(STRETCHES, len(starts))).astype(np.int64)]
    rows = chosen[:, None] + np.arange(length + 1)
    training = model.training
    z = encode_rows(model.eval(), dataset, rows.ravel()).numpy().reshape(*rows.shape, -1)
    model.train(training)
    ticks = [tick for tick in TICKS if tick <= length]
    apart = [np.linalg.norm(z[:, tick:] - z[:, :-tick], axis=-1) for tick in ticks]
    found = {'ticks': [float(tick) for tick in ticks]}
    for name, share in (('low', 0.25), ('median', 0.5), ('high', 0.75)):
        found[name] = [float(np.quantile(distance, share)) for distance in apart]
    return found


def distance_of(info: Info, ticks: float) -> float | None:
    """Return how far frames usually are that lie so many ticks apart, None if nobody measured."""
    measured = info.distances
    if measured is None:
        return None
    return float(np.interp(ticks, [0.0, *measured['ticks']], [0.0, *measured['median']]))
