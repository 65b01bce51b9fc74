# SPDX-License-Identifier: Apache-2.0
"""
Acceptance tests of latent actions: pure measures, and the figures that a usable model reaches.

The tests of the paper (scene cuts and cycles, arXiv 2601.05230) pass for latent actions that mean
something else in every state. So the motion that a latent action makes elsewhere is measured, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.model.regression import r2, ridge
import torch
from torch import Tensor

Probe: TypeAlias = Callable[[Array | Tensor], Array]  # rows (n, ...) -> (n, P)

TINY = 1e-12
PENALTIES = (1e-2, 1e0, 1e2, 1e4)  # of a linear probe
NULL_STEPS = 5  # model steps with the latent action of a still image
FULL = 95  # percentile of the motions that counts as a full-scale step
COMMANDED = 0.3  # least R2 of a state field that the commands move
FEWEST = 20  # transitions with known actions that show it


class LatentDynamics(NamedTuple):
    """A model as the tests use it: functions of maps s (n, ...) and latent actions z (n, Z)."""

    infer: Callable[[Tensor, Tensor], Tensor]  # s, s' -> z
    predict: Callable[[Tensor, Tensor], Tensor]  # s, z -> s'
    without_action: Callable[[Tensor], Tensor]  # s -> s', the reference


class Acceptance(NamedTuple):
    """The result of one test."""

    name: str
    figure: float  # nan where it could not be measured
    least: float | None  # smallest figure that passes, if there is one
    most: float | None  # largest figure that passes, if there is one
    meaning: str  # one sentence; why not, where nothing was measured

    @property
    def passed(self) -> bool | None:
        """Return whether the figure passes; None where it is not judged."""
        if math.isnan(self.figure) or (self.least is None and self.most is None):
            return None
        above = self.least is None or self.figure >= self.least
        return above and (self.most is None or self.figure <= self.most)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        figure = None if math.isnan(self.figure) else self.figure
        return {**self._asdict(), 'figure': figure, 'passed': self.passed}


def error(found: Tensor, true: Tensor) -> float:
    """Return the mean squared error."""
    return max(float((found - true).square().mean()), TINY)


class SceneCut(NamedTuple):
    """Prediction across a cut from one scene to another."""

    ratio: float  # of the error across the cut to that without a cut
    leak: float  # share of the difference of the scenes that z carries
    without_action: float  # the same of a model that gets no z


def scene_cut(model: LatentDynamics, s: Tensor, s_next: Tensor, other: Tensor) -> SceneCut:
    """
    Infer z from maps s and from those of another scene, `other`, and predict the other scene.

    A latent action should carry what happened, not the next image, so this has to fail.
    """
    missed = error(model.predict(s, model.infer(s, s_next)), s_next)
    cut = error(model.predict(s, model.infer(s, other)), other)
    copying = error(s, other)
    reference = error(model.without_action(s), other)
    return SceneCut(cut / missed, 1 - cut / copying, 1 - reference / copying)


def cycle(model: LatentDynamics, s: Tensor, s_next: Tensor) -> float:
    """
    Predict s', then s from that prediction; return the error over that from the recorded s'.

    1 if latent actions that were inferred from predictions are as good as others.
    """
    there = model.predict(s, model.infer(s, s_next))
    back = model.predict(there, model.infer(there, s))
    direct = model.predict(s_next, model.infer(s_next, s))
    return error(back, s) / error(direct, s)


def fit_probe(inputs: Array | Tensor, targets: Array) -> Probe:
    """Fit a ridge; its penalty is the best one on the last fifth of the rows."""
    x, y = _flat(inputs), targets.astype(np.float64)
    seen = len(x) - len(x) // 5
    tried = [_fit(x[:seen], y[:seen], penalty) for penalty in PENALTIES]
    errors = [np.square(probe(x[seen:]) - y[seen:]).sum() for probe in tried]
    return _fit(x, y, PENALTIES[int(np.argmin(errors))])


def _fit(x: Array, y: Array, penalty: float) -> Probe:
    """Fit a ridge with one penalty."""
    mean, offset = x.mean(0), y.mean(0)
    return partial(_read, ridge(x - mean, y - offset, penalty), mean, offset)


def _read(weights: Array, mean: Array, offset: Array, rows: Array | Tensor) -> Array:
    """Read (n, P) off rows."""
    read: Array = (_flat(rows) - mean) @ weights + offset
    return read


def shared_r2(found: Array, true: Array) -> float:
    """Return the mean R2 of the columns that vary."""
    scores = r2(found, true, TINY)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan


def transfer(model: LatentDynamics, read: Probe, s: Tensor, z: Tensor, moved: Array) -> float:
    """
    Apply latent actions of other transitions at maps s; return R2 of the motion that is predicted.

    `moved` (n, P) is the true motion, and the probe reads the measured state from maps.
    """
    return shared_r2(read(model.predict(s, z)) - read(s), moved)


def drift(
    model: LatentDynamics, read: Callable[[Tensor], Array], s: Tensor, moved: Array
) -> float:
    """
    Apply the latent action of a still image for some steps.

    Return the motion per step as a share of a full-scale step: a large one in `moved` (n, P).
    """
    z, then = model.infer(s, s), s
    for _ in range(NULL_STEPS):
        then = model.predict(then, z)
    away = np.linalg.norm(read(then) - read(s), axis=1).mean() / NULL_STEPS
    full = np.percentile(np.linalg.norm(moved, axis=1), FULL)
    return float(away / max(full, TINY))


def commanded(actions: Array, moved: Array) -> Array:
    """Return which state fields (P,) the actions (n, A) move; all where too few are known."""
    every = np.ones(moved.shape[1], bool)
    if len(actions) < FEWEST:
        return every
    found: Array = np.nan_to_num(r2(fit_probe(actions, moved)(actions), moved, TINY)) >= COMMANDED
    return found if found.any() else every


def neighbours(z: Array, drive: Array, queries: Array, count: int) -> Array:
    """
    Return for rows `queries` (q,) of z (n, Z) the nearest rows (q, count) in other drives.

    It has fewer columns where there are fewer rows in other drives.
    """
    away = np.linalg.norm(z[queries, None] - z[None], axis=2)
    away[drive[queries, None] == drive[None]] = np.inf
    count = min(count, int(np.isfinite(away).sum(axis=1).min()))
    nearest: Array = away.argsort(axis=1)[:, :count]
    return nearest


def peaks(values: Array, count: int, apart: int) -> Array:
    """Return the places of the largest values, at least `apart` from each other, in order."""
    found = list[int]()
    for place in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind='stable').tolist():
        if len(found) < count and all(abs(place - other) >= apart for other in found):
            found.append(place)
    return np.sort(np.array(found, np.int64))


def best(scores: Mapping[str, float]) -> float:
    """Return the largest of some scores, nan without any."""
    return max(scores.values(), default=math.nan)


def _flat(inputs: Array | Tensor) -> Array:
    """Return rows (n, D), float64."""
    values = inputs.cpu().numpy() if isinstance(inputs, torch.Tensor) else inputs
    flat: Array = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)
    return flat
