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
from smwm_ros.planning.frame_bank import load
from smwm_ros.training.batches import Batches
from smwm_ros.training.latent_scale import distance_of
from smwm_ros.training.metrics import measure
import torch
from torch import Tensor

FRAMES = 512  # held-out frames or transitions that are measured
NOTABLE = 1.02  # ratio of two figures from which one counts as worse
NOVEL = 2.5  # novelty above which images count as others, whatever the held-out frames
RARE = 0.01  # share of the held-out frames that are beyond `Novelty.bound`


class CommandFit(NamedTuple):
    """A model on held-out transitions; nan where no commands were recorded."""

    forward: float  # prediction error as a share of the copy baseline
    inverse_r2: float

    def worse_than(self, other: CommandFit) -> bool:
        """Return whether commands are predicted worse."""
        mine, theirs = (fit.forward + 1 - fit.inverse_r2 for fit in (self, other))
        return mine > NOTABLE * theirs


class ImageFit(NamedTuple):
    """A model on held-out images; nan where no commands were recorded."""

    novelty: float  # median distance to the album [latent distance of goal.near control periods]
    forward: float  # prediction error as a share of the copy baseline
    inverse_r2: float

    @property
    def commands(self) -> CommandFit:
        """Return the part that commands are needed for."""
        return CommandFit(self.forward, self.inverse_r2)

    def as_json(self) -> dict[str, float | None]:
        """Return it as plain data."""
        return {name: None if math.isnan(one) else one for name, one in self._asdict().items()}

    def worse_than(self, other: ImageFit) -> bool:
        """Return whether commands are predicted worse, or, without commands, images are newer."""
        if math.isnan(self.forward):
            return self.novelty > NOTABLE * other.novelty
        return self.commands.worse_than(other.commands)


class Novelty:
    """Measures how far latents are from the album of a run, in usual distances of near frames."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        unit = distance_of(checkpoint.info, Goal.near)
        if not unit:
            raise CheckpointError(
                f'{checkpoint.folder}: meta.json lacks the latent distances of neighbouring '
                'frames; run smwm train again with the same words'
            )
        self.album = load(checkpoint.folder, 'the novelty of images')
        self.size = self.album.latents.shape[1]  # D
        self.unit = unit
        self._held_out = self.album.held_out / unit  # (H,) rising
        self.calibrated = len(self._held_out) > 0  # False for an album of an older version

    def objection(self, before: ImageFit, after: ImageFit, steps: int = 0) -> str:
        """Return why an adapted model should not be used, or ''; `steps` are of the gradient."""
        if not steps and before.novelty <= self.bound:
            return (
                f'the images are like those of the training (novelty {before.novelty:.2f}, usual '
                f'up to {self.bound:.2f}), so the model needs no adapting'
            )
        if after.worse_than(before):
            return (
                'the adapted model fits held-out images worse; the model may fit them already '
                '(smwm check), or the recording shows too few places'
            )
        return ''

    def of(self, latents: Tensor) -> Tensor:
        """Return the novelty (n,) of latents (n, D); about 1 is usual in training."""
        return self.album.distances(latents) / self.unit

    def share(self, novelty: float) -> float:
        """
        Return the share of held-out frames that are at least as novel; nan if not calibrated.

        It is the conformal p-value, which counts the image itself as one of them, and so is
        never 0.
        """
        if not self.calibrated:
            return math.nan
        return (int((self._held_out >= novelty).sum()) + 1) / (len(self._held_out) + 1)

    @property
    def bound(self) -> float:
        """Return the novelty that at most RARE of the held-out frames exceed; nan if unknown."""
        if not self.calibrated:
            return math.nan
        rank = math.ceil((1 - RARE) * (len(self._held_out) + 1))
        return float(self._held_out[min(rank, len(self._held_out)) - 1])

    def limit(self, factor: float) -> float:
        """Return so many times the bound: the limit of usual images; NOVEL if not calibrated."""
        return factor * self.bound if self.calibrated else NOVEL

    def median(self, checkpoint: Checkpoint, data: TransitionDataset, split: str) -> float:
        """Return the median over frames of a dataset, as a checkpoint encodes them."""
        return float(self.of(frame_latents(checkpoint, data, split)).median())


def frame_latents(checkpoint: Checkpoint, data: TransitionDataset, split: str = 'val') -> Tensor:
    """Return the latents (n, D) of frames of a split, by default of the held-out episodes."""
    rows = evenly_spaced(data.starts(split, unlabelled=True), FRAMES)
    return encode_rows(checkpoint.model, data, rows)


def measure_fit(checkpoint: Checkpoint, data: TransitionDataset, novelty: Novelty) -> ImageFit:
    """Measure on the held-out episodes of a dataset."""
    return ImageFit(novelty.median(checkpoint, data, 'val'), *measure_commands(checkpoint, data))


def measure_commands(checkpoint: Checkpoint, data: TransitionDataset) -> CommandFit:
    """Measure how well commands and images explain each other in held-out episodes."""
    known = data.starts('val')
    if not len(known):
        return CommandFit(math.nan, math.nan)
    batches = Batches(
        data, checkpoint.scaler, torch.device('cpu'), stack=checkpoint.model_config.stack
    )
    with torch.inference_mode():
        found = measure(checkpoint.model, batches.at(evenly_spaced(known, FRAMES)))
    return CommandFit(found['forward_over_copy'], found['inverse_r2'])
