# SPDX-License-Identifier: Apache-2.0
"""Latents in 3D: along the directions in which those of a recording vary most (PCA)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.interfaces import Array


class Projection(NamedTuple):
    """The map from latents to points; distances in 3D are at most those of the latents."""

    mean: Array  # (D,)
    axes: Array  # (D, 3) orthonormal
    share: float  # of the variance that the points keep

    def __call__(self, latents: Array) -> Array:
        """Return the points (..., 3) of latents (..., D)."""
        points: Array = (latents - self.mean) @ self.axes
        return points


def fit(latents: Array) -> Projection:
    """Fit a projection to latents (n, D)."""
    mean = latents.mean(0)
    # Of the covariance (D, D), since there are far more latents than numbers in one.
    away = (latents - mean).astype(np.float64)
    variances, axes = np.linalg.eigh(away.T @ away)
    order = np.argsort(variances)[::-1][:3]
    found = axes[:, order]
    found = found * np.where(found.sum(0) < 0, -1.0, 1.0)  # an axis has no direction of its own
    found = np.pad(found, ((0, 0), (0, 3 - found.shape[1])))
    share = float(variances[order].sum() / max(float(variances.sum()), 1e-12))
    return Projection(mean, found, share)
