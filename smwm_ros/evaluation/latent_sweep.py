# SPDX-License-Identifier: Apache-2.0
"""
Train small models with looser and looser bottlenecks: more capacity has to lower the error.

This is the sweep of the paper (arXiv 2601.05230), with two references: a latent action without
information, and one without a bottleneck. Finished models are kept, so a sweep can be resumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
import logging
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import section
from smwm_ros.errors import CheckpointError, TrainingError
from smwm_ros.evaluation.latent_actions import Acceptance, TINY
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.train import train

_log = logging.getLogger(__name__)

# The knob of each bottleneck and its values, the least capacity first.
STRENGTHS: Mapping[str, tuple[str, tuple[float, ...]]] = MappingProxyType(
    {
        'noisy': ('strength', (0.03, 0.01, 0.003, 0.001, 0.0001)),
        'sparse': ('strength', (0.1, 0.03, 0.01, 0.003, 0.001)),
        'vq': ('codes', (4, 16, 64, 256, 1024)),
    }
)
FALL = 0.7  # largest error without bottleneck, as a share of that of z = 0
RISE = 1.05  # largest ratio of an error to the one before; training is random


class Point(NamedTuple):
    """A model of the sweep, measured on held-out transitions."""

    bottleneck: str
    setting: str  # '' for a reference
    error: float  # with the inferred z, as a share of the copy baseline; nan if training failed
    nats: float  # nan where the bottleneck does not define them
    active: float  # dimensions

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in self._asdict().items()
        }


def sweep(
    checkpoint: Checkpoint,
    data: TransitionDataset,
    folder: Path,
    steps: int,
    progress: ShowProgress = NoProgress,
) -> list[Point]:
    """Train each model as the one of a checkpoint was, in folders of its own, and measure it."""
    try:
        settings = section(config.Train, checkpoint.info.train, 'train')
    except ValueError as error:
        raise CheckpointError(
            f'{checkpoint.folder}: meta.json lacks the training settings ({error}), which a sweep '
            'repeats; train the model again'
        ) from None
    settings = replace(settings, steps=steps)
    points = []
    for bottleneck, knobs in models():
        lam = replace(
            checkpoint.model_config.latent_action, bottleneck=bottleneck, nats=0.0, **knobs
        )
        setting = ' '.join(f'{name}={value:g}' for name, value in knobs.items())
        model = replace(checkpoint.model_config, latent_action=lam)
        where = folder / '_'.join(filter(None, (bottleneck, setting)))
        try:
            made = train(data, where, model, settings, checkpoint.planner, progress=progress)
        except TrainingError as error:  # a code book has collapsed
            _log.warning('%s: %s; the sweep goes on without it', where, error)
            points.append(Point(bottleneck, setting, math.nan, math.nan, math.nan))
            continue
        found = made.info.summary
        names = ('forward_over_copy', 'nats', 'active_dimensions')
        points.append(
            Point(bottleneck, setting, *(float(found.get(name, math.nan)) for name in names))
        )
    return points


def models() -> list[tuple[str, dict[str, Any]]]:
    """Return the bottleneck and the knobs of each model."""
    swept = [(name, {knob: at}) for name, (knob, all_) in STRENGTHS.items() for at in all_]
    return [('zero', {}), *swept, ('none', {})]


def curves(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the trained models of each bottleneck between the two references."""
    named = {
        name: [point for point in points if point.bottleneck == name and point.error < math.inf]
        for name in ('zero', *STRENGTHS, 'none')
    }
    return {name: named['zero'] + named[name] + named['none'] for name in STRENGTHS}


def monotone(points: Sequence[Point]) -> list[Acceptance]:
    """Test whether the error falls from z = 0 to no bottleneck, and with capacity in between."""
    zero, none = (
        next(point.error for point in points if point.bottleneck == name)
        for name in ('zero', 'none')
    )
    fall = Acceptance(
        'sweep: error of none over zero', none / max(zero, TINY), None, FALL,
        'Latent actions improve the prediction; above that figure the models need more steps, and '
        'the sweep shows nothing.',
    )  # fmt: skip
    rises = [
        Acceptance(
            f'sweep of {name}: largest rise',
            largest_rise([point.error for point in curve]), None, RISE,
            'Largest ratio of an error to that of the model with the next smaller capacity: below '
            '1 where more capacity always lowers the error.',
        )
        for name, curve in curves(points).items()
    ]  # fmt: skip
    return [fall, *rises]


def largest_rise(errors: Sequence[float]) -> float:
    """Return the largest ratio of an error to the one before, nan for fewer than two."""
    ratios = (after / max(before, TINY) for before, after in pairwise(errors))
    return max(ratios, default=math.nan)
