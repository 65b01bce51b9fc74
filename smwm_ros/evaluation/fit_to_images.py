# SPDX-License-Identifier: Apache-2.0
"""Measure how well a model fits the images of a camera, with or without recorded commands."""

from __future__ import annotations

import math
from typing import NamedTuple

from smwm_ros.config import Goal
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.encoding import encode_rows
from smwm_ros.training.batches import Batches
from smwm_ros.training.latent_scale import distance_of
from smwm_ros.training.metrics import measure
import torch
from torch import Tensor

FRAMES = 512  # held-out frames or transitions that are measured
NOTABLE = 1.02  # ratio of two figures from which one counts as worse


class ImageFit(NamedTuple):
    """A model on held-out images; nan where no commands were recorded."""

    novelty: float  # median distance to the album [latent distance of goal.near control periods]
    forward: float  # prediction error as a share of the copy baseline
    inverse_r2: float

    def as_json(self) -> dict[str, float | None]:
        """Return it as plain data."""
        return {name: None if math.isnan(one) else one for name, one in self._asdict().items()}

    def worse_than(self, other: ImageFit) -> bool:
        """Return whether commands are predicted worse, or, without commands, images are newer."""
        if math.isnan(self.forward):
            return self.novelty > NOTABLE * other.novelty
        mine, theirs = (fit.forward + 1 - fit.inverse_r2 for fit in (self, other))
        return mine > NOTABLE * theirs


def measure_fit(checkpoint: Checkpoint, data: TransitionDataset, album: Tensor) -> ImageFit:
    """Measure on the held-out episodes of a dataset; album (N, D) are latents of training."""
    novelty = measure_novelty(checkpoint, data, album, 'val')
    forward = inverse = math.nan
    known = data.starts('val')
    if len(known):
        batches = Batches(data, checkpoint.scaler, torch.device('cpu'))
        with torch.inference_mode():
            found = measure(checkpoint.model, batches.at(evenly_spaced(known, FRAMES)))
        forward, inverse = found['forward_over_copy'], found['inverse_r2']
    return ImageFit(novelty, forward, inverse)


def measure_novelty(
    checkpoint: Checkpoint, data: TransitionDataset, album: Tensor, split: str
) -> float:
    """Return the median distance of frames to the album, in usual distances of near frames."""
    unit = distance_of(checkpoint.info, Goal.near)
    if not unit:
        raise CheckpointError(
            f'{checkpoint.folder}: meta.json lacks the latent distances of neighbouring frames; '
            'run smwm train again with the same words'
        )
    rows = evenly_spaced(data.starts(split, unlabelled=True), FRAMES)
    away = torch.cdist(encode_rows(checkpoint.model, data, rows), album).amin(dim=1)
    return float(away.median()) / unit
