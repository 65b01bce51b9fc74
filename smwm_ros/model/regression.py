# SPDX-License-Identifier: Apache-2.0
"""Linear regression, and how much it explains."""

from __future__ import annotations

import numpy as np
from smwm_ros.interfaces import Array


def ridge(inputs: Array, targets: Array, penalty: float) -> Array:
    """Fit targets (n, P) to inputs (n, D), both centred; return the weights (D, P)."""
    penalties = penalty * np.eye(inputs.shape[1])
    weights: Array = np.linalg.solve(inputs.T @ inputs + penalties, inputs.T @ targets)
    return weights


def r2(read: Array, true: Array, least_variance: float = 0.0) -> Array:
    """
    Return R2 (P,) of what was read (n, P): 1 for all of it, 0 for no more than the mean.

    It is nan for columns that do not vary by more than `least_variance`.
    """
    true = true.astype(np.float64)
    missed = np.square(read - true).mean(0)
    variance = true.var(0)
    varies = variance > least_variance
    score: Array = np.where(varies, 1 - missed / np.where(varies, variance, 1), np.nan)
    return score
