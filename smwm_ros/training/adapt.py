# SPDX-License-Identifier: Apache-2.0
"""
Adapt an encoder to another camera, light or renderer, from a minute of its images.

Another look shifts and scales the inputs of BatchNorm in the encoder, so every latent is off by
nearly the same vector. Statistics that are measured anew remove that, without labels or gradients.
Where commands were recorded, gradient steps of the usual loss can follow.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import replace

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import rows_of
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.world_model import Smwm
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of
from smwm_ros.training.batches import Batches, check, Sampler, Shuffle
from smwm_ros.training.fine_tune import settings_of
from smwm_ros.training.goals import WithGoals
from smwm_ros.training.learner import Learner
from torch import nn, Tensor

FEWEST = 100  # frames
LEAST_VARIETY = 0.05  # of the features that BatchNorm normalises, as a share of that in training
SLOWER = 0.1  # learning rate of gradient steps, as a share of that in training


def measure_statistics(checkpoint: Checkpoint, dataset: TransitionDataset) -> Checkpoint:
    """Return a checkpoint with the BatchNorm statistics of the training frames of a dataset."""
    rows = rows_of(dataset.episodes, 'train')
    if len(rows) < FEWEST:
        raise DatasetError(
            f'{count_of(len(rows), "frame")} to adapt to, expected at least {FEWEST}; record a '
            'minute of driving'
        )
    # Mixed, because the variance of a batch of neighbouring frames is too small.
    mixed = np.random.default_rng(0).permutation(rows)
    return _measured(checkpoint, lambda model: encode_rows(model, dataset, mixed))


def statistics_of(checkpoint: Checkpoint, features: Tensor) -> Checkpoint:
    """Return a checkpoint with the BatchNorm statistics of features (n, F) of its encoder."""
    return _measured(checkpoint, lambda model: model.encoder.forward_head(features))


def variety_of(checkpoint: Checkpoint, features: Tensor) -> float:
    """Return how much features (n, F) vary, as a share of those in training."""
    if len(features) < 2:
        return 0.0
    model = _after(checkpoint, lambda copied: copied.encoder.forward_head(features))
    return _variety(checkpoint, model)


def _measured(checkpoint: Checkpoint, encode: Callable[[Smwm], object]) -> Checkpoint:
    """Return a checkpoint with the statistics of what is encoded; raise for too little variety."""
    model = _after(checkpoint, encode)
    _require_variety(_variety(checkpoint, model))
    return checkpoint._replace(model=model)


def _after(checkpoint: Checkpoint, encode: Callable[[Smwm], object]) -> Smwm:
    """Return a copy of a model with the statistics of what is encoded."""
    model = copy.deepcopy(checkpoint.smwm)
    norms = batch_norms(checkpoint, model)
    for layer in norms:
        layer.train().reset_running_stats()
        layer.momentum = None  # the mean over all batches
    encode(model)
    for layer in norms:
        layer.eval()
        layer.momentum = 0.1
    return model


def batch_norms(checkpoint: Checkpoint, model: Smwm | None = None) -> list[nn.BatchNorm1d]:
    """Return these layers of the encoder, or raise if a model cannot be adapted."""
    layers = (model or checkpoint.smwm).encoder.modules()
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
    if not norms:
        raise CheckpointError(
            f'{checkpoint.folder}: its encoder has no BatchNorm, so there are no statistics to '
            'measure; train it again with more data, or with train.warp and train.colour_jitter'
        )
    return norms


def _variety(checkpoint: Checkpoint, model: Smwm) -> float:
    """Return how much the images of new statistics vary, as a share of those in training."""
    (before, found) = (batch_norms(checkpoint, one)[-1].running_var for one in (None, model))
    assert before is not None
    assert found is not None
    return float((found / before.clamp(min=1e-12)).median())


def _require_variety(variety: float) -> None:
    """Raise a DatasetError if images differ much less from each other than in training."""
    if variety < LEAST_VARIETY:
        raise DatasetError(
            f'too little variety: the images vary by {variety:.1%} of what the training images '
            f'did, expected at least {LEAST_VARIETY:.0%}; record a minute in which the robot '
            'drives everywhere'
        )


def take_steps(
    checkpoint: Checkpoint,
    dataset: TransitionDataset,
    steps: int,
    progress: ShowProgress = NoProgress,
) -> Checkpoint:
    """Return a checkpoint after some gradient steps on the recorded commands."""
    model, settings = copy.deepcopy(checkpoint.smwm), settings_of(checkpoint)
    settings = replace(settings, steps=steps, lr=SLOWER * settings.lr, unroll=1)
    steps_read = checkpoint.model_config.context
    check(
        dataset,
        steps_read,
        checkpoint.model_config.aligns_state,
        stack=checkpoint.model_config.stack,
    )
    device = next(model.parameters()).device
    batches = Batches(
        dataset, checkpoint.scaler, device, steps_read, stack=checkpoint.model_config.stack
    )
    sampler: Sampler = Shuffle(batches.starts('train'), settings.batch, settings.seed)
    if reach := checkpoint.model_config.reach:
        sampler = WithGoals(sampler, dataset, reach, settings.seed)
    learner = Learner(model.requires_grad_(True), settings, device)
    with progress(total=steps, desc='adapt', unit='step') as bar:
        for step in range(steps):
            learner.step(step + 1, batches.at(sampler(step)))
            bar.update()
    moved = checkpoint._replace(model=model.eval().requires_grad_(False))
    return measure_statistics(moved, dataset)  # those of training lag behind the weights
