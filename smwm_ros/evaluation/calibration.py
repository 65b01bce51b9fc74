# SPDX-License-Identifier: Apache-2.0
"""
Adapt an encoder to the images of a camera while they come, before its robot drives.

The statistics of BatchNorm are measured anew, as in training/adapt.py. The view of a robot that
stands still has statistics of its own, and those of one room are not those of two. So only images
count that differ from the last one, and the new statistics are used only if held-out images then
look like those of the training.
"""

from __future__ import annotations

from collections import deque
import math
from typing import NamedTuple

from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.evaluation.fit_to_images import Novelty
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.text import count_of
from smwm_ros.training.adapt import batch_norms, FEWEST, LEAST_VARIETY, statistics_of, variety_of
import torch
from torch import Tensor

MOST = 8 * FEWEST  # images; after these the statistics do not change any more
HELD_OUT = 4  # one of so many images is held out
_RECENT = 10  # images whose median novelty says whether a calibration is needed


class Calibrated(NamedTuple):
    """A checkpoint with new statistics."""

    checkpoint: Checkpoint
    frames: int  # that they were measured on
    before: float  # median novelty of held-out images
    after: float

    def describe(self) -> str:
        """Return it in words."""
        return (
            f'the statistics of {count_of(self.frames, "image")} lower the median novelty of '
            f'held-out images from {self.before:.2f} to {self.after:.2f}'
        )


class Calibrator:
    """
    Gathers images of a robot that a person drives; one thread calls add(), any the others.

    It tries with FEWEST images, and again whenever there are twice as many.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        batch_norms(checkpoint)  # raises for a model that has none
        self._checkpoint = checkpoint
        self._novelty = Novelty(checkpoint)
        if not self._novelty.calibrated:
            raise CheckpointError(
                f'{checkpoint.folder}: its album has no distances of held-out frames; smwm '
                'prepare adds them'
            )
        self._features: list[Tensor] = []  # (1, F) of images that differ
        self._last: Tensor | None = None  # latent (D,) of the last of them
        self._recent: deque[float] = deque(maxlen=_RECENT)  # novelty of all images
        self._varied = 0, 0.0  # number of images, and how much they vary: all are encoded for it
        self._next = FEWEST
        self._rejected = math.nan  # novelty after a calibration that was not good enough
        self.best: Calibrated | None = None

    @torch.no_grad()  # the new model may be asked for gradients, unlike in inference mode
    def add(self, pixels: Array) -> Calibrated | None:
        """Use an observation (S, S, 3*H) uint8 RGB; return better statistics, if any."""
        if len(self._features) >= MOST:
            return None
        encoder = self._checkpoint.smwm.encoder
        device = next(encoder.parameters()).device
        newest = pixels[..., -3 * self._checkpoint.model_config.stack :]  # without the past
        image = torch.from_numpy(newest).permute(2, 0, 1)[None].to(device)
        features = encoder.forward_features(image)
        latent = self._latents(self._checkpoint, features)[0]
        self._recent.append(float(self._novelty.of(latent[None])))
        if self._last is not None and float((latent - self._last).norm()) < self._novelty.unit:
            return None  # the robot has hardly moved
        self._last = latent
        self._features.append(features.clone())
        if len(self._features) < self._next:
            return None
        self._next *= 2
        return self._calibrate(torch.cat(self._features))

    def values(self) -> dict[str, float | int | bool]:
        """Return the values for /diagnostics."""
        values: dict[str, float | int | bool] = {
            'calibrated': self.best is not None,
            'calibration_frames': len(self._features),
            'calibration_variety': self._variety(),
        }
        if self.best is not None:
            values |= {'novelty_before': self.best.before, 'novelty_after': self.best.after}
        return values

    def problems(self) -> list[str]:
        """Return what is missing, while images are unlike those of the training."""
        recent = sorted(self._recent)
        if self.best or not recent or recent[len(recent) // 2] <= self._novelty.bound:
            return []
        found = (
            f'not calibrated: {count_of(len(self._features), "different image")}, expected at '
            f'least {FEWEST}; they vary by {self._variety():.1%} of what the training images did, '
            f'expected at least {LEAST_VARIETY:.0%}'
        )
        if not math.isnan(self._rejected):
            found += (
                f'; with their statistics held-out images have a novelty of {self._rejected:.2f}, '
                f'expected at most {self._novelty.bound:.2f}, so they show too few places'
            )
        if len(self._features) < MOST:
            return [f'{found}; disengage the robot, and drive it by hand everywhere']
        return [f'{found}; configure the node again, and drive the robot by hand everywhere']

    @torch.no_grad()
    def _variety(self) -> float:
        """Return how much the images vary, as a share of those in training."""
        features = list(self._features)
        if len(features) != self._varied[0]:
            self._varied = len(features), variety_of(self._checkpoint, torch.cat(features))
        return self._varied[1]

    def _calibrate(self, features: Tensor) -> Calibrated | None:
        """Measure the statistics of images, and return them if they fit better than before."""
        held_out = torch.arange(len(features)) % HELD_OUT == HELD_OUT - 1
        before = self._median(self._checkpoint, features[held_out])
        if before <= self._novelty.bound:
            return None  # nothing to mend
        try:
            found = statistics_of(self._checkpoint, features[~held_out])
        except DatasetError:
            return None  # too little variety, which problems() reports
        after = self._median(found, features[held_out])
        best = self._novelty.bound
        if self.best is not None:
            best = min(best, self._median(self.best.checkpoint, features[held_out]))
        if after > best:
            self._rejected = after
            return None
        self.best = Calibrated(found, int((~held_out).sum()), before, after)
        return self.best

    def _median(self, checkpoint: Checkpoint, features: Tensor) -> float:
        """Return the median novelty of images, as a checkpoint encodes them."""
        return float(self._novelty.of(self._latents(checkpoint, features)).median())

    @staticmethod
    def _latents(checkpoint: Checkpoint, features: Tensor) -> Tensor:
        """Return the latents (n, D) of the features (n, F) of images, on the CPU."""
        return checkpoint.smwm.encoder.forward_head(features).float().cpu()
