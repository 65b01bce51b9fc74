# SPDX-License-Identifier: Apache-2.0
"""
Measure how the latent distance of two frames grows with the time between them.

A latent distance has no unit. This table gives it one: goal.near = 2 ticks means the distance that
frames of held-out episodes usually have when two control periods lie between them.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.model.any_model import AnyModel
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.info import Info

TICKS = (1, 2, 3, 4, 5, 7, 10, 15, 25)  # raw steps between two frames
STRETCHES = 20  # sections of held-out episodes that are measured


def measure_distances(model: AnyModel, dataset: TransitionDataset) -> dict[str, list[float]]:
    """Return the quartiles of the latent distance of frames, for each number of ticks apart."""
    longest = max(e.stop - e.start for e in dataset.episodes if e.split == 'val') - 1
    length = min(longest, TICKS[-1])
    starts = dataset.starts('val', length, unlabelled=True)
    chosen = evenly_spaced(starts, STRETCHES)
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
    """Return the median latent distance of frames so many ticks apart, None if not measured."""
    measured = info.distances
    if measured is None:
        return None
    return float(np.interp(ticks, [0.0, *measured['ticks']], [0.0, *measured['median']]))
