# SPDX-License-Identifier: Apache-2.0
"""The rows of train.csv: loss terms, measures and pace of a training, and their text."""

from __future__ import annotations

from smwm_ros.model.any_model import AnyModel
import torch
from torch import Tensor


def best(curves: list[dict[str, float]]) -> dict[str, float]:
    """Return the row with the lowest misfit."""
    return min(curves, key=lambda row: row['misfit'])


def means(stretch: list[dict[str, Tensor]], model: AnyModel) -> dict[str, float]:
    """Return the mean of each loss term over some steps, lambda, and the inverse R2."""
    found = {
        name: float(torch.stack([terms[name] for terms in stretch]).double().mean())
        for name in stretch[0]
    }
    found['inverse_weight'] = model.inverse_weight
    weight = model.inverse_weight if model.config.inverts else 1.0
    if weight:  # normalised actions have variance 1
        found['train_inverse_r2'] = 1 - found['inverse'] / weight
    return found


def pace(curves: list[dict[str, float]], samples: int, seconds: float) -> dict[str, float]:
    """Return the seconds of the run, earlier sessions included, and samples per second."""
    before = curves[-1]['seconds'] if curves else 0.0
    return {'seconds': before + seconds, 'samples_per_s': samples / seconds}


def in_words(terms: dict[str, float]) -> str:
    """Return the terms of a loss as text."""
    return ', '.join(f'{name} {value:.3g}' for name, value in terms.items())


def in_brief(row: dict[str, float], terms: list[str]) -> str:
    """Return one row of the curves as text for the progress bar."""
    return (
        f'{in_words({name: row[name] for name in terms})}, lambda {row["inverse_weight"]:.3g}, '
        f'R2 {row["inverse_r2"]:.2f}, rank {row["effective_rank"]:.1f}, '
        f'{row["samples_per_s"]:.0f} samples/s'
    )
