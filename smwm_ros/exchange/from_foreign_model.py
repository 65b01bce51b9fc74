# SPDX-License-Identifier: Apache-2.0
"""
Make a checkpoint from a model that SMWM or LeWM trained.

Their files do not contain the robot, nor the mean and the standard deviation of its actions. Both
are required to send a plan to the robot, and come from a dataset or from the user.
"""

from __future__ import annotations

import hashlib

import numpy as np
from smwm_ros.config import Config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.exchange.foreign_model import ForeignModel
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionScaler
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.info import Info
from smwm_ros.model.world_model import Smwm
from smwm_ros.text import count_of
from smwm_ros.training.batches import Batches, require_known
from smwm_ros.training.metrics import held_out
import torch

LOOK = 64  # windows on which a model is evaluated


def make_checkpoint(original: ForeignModel, config: Config, scaler: ActionScaler) -> Checkpoint:
    """Combine model, robot and action scaler to a checkpoint, if they fit."""
    mean, std = scaler
    size, block = len(expand(config.robot.command.fields)), config.dataset.action_block
    original_block = original.action_block
    if size * block != original.action_size or original_block not in (None, block):
        found = f'{original.action_size} action numbers per model step'
        if original_block:
            fields = original.action_size // original_block
            found += f' ({original_block} raw actions of {fields})'
        raise CheckpointError(
            f'{original.weights}: the model has {found}, expected {size * block}: '
            f'dataset.action_block={block} raw actions of {size} (robot.command.fields)'
        )
    if not mean.shape == std.shape == (size,):
        raise CheckpointError(
            f'mean and std: {mean.size} and {std.size} numbers, expected '
            f'{count_of(size, "number")} each, one per command field'
        )
    if not np.isfinite([mean, std]).all() or not (std > 0).all():
        raise CheckpointError(
            f'mean and std: {mean.tolist()} and {std.tolist()}, expected finite numbers and a std '
            'above 0'
        )
    model = original.build(config.dataset.image_size)
    parts = (config.robot, config.dataset, original.config, config.planner, scaler)
    info = Info(imported=_about(original), warnings=tuple(_warnings(original)))
    return Checkpoint(model, *parts, info)


def statistics(dataset: TransitionDataset) -> ActionScaler:
    """
    Return mean and standard deviation of the raw actions, as SMWM and LeWM compute them.

    They leave out the last row of each episode, which has no action, and divide by n - 1.
    """
    require_known(dataset, 1)
    actions = dataset.actions(dataset.starts('all', 1)).astype(np.float64)
    mean, std = actions.mean(0), actions.std(0, ddof=1)
    names = np.array(dataset.info.spec.fields)[~(np.isfinite(std) & (std > 0))]
    if len(names):
        raise DatasetError(
            f'{dataset.folder}: {", ".join(names)}: constant or not finite, so it has no standard '
            'deviation; give --mean and --std'
        )
    return ActionScaler(mean, std)


def try_on(checkpoint: Checkpoint, dataset: TransitionDataset) -> dict[str, float]:
    """Evaluate a model on some windows of a dataset, to check whether the two fit together."""
    steps, model = checkpoint.model_config.history, checkpoint.model
    require_known(dataset, checkpoint.action_block)
    batches = Batches(dataset, checkpoint.scaler, torch.device('cpu'), steps)
    starts = batches.starts('all')
    if not len(starts):
        what = 'stretch of known actions' if dataset.unknown else 'episode'
        raise DatasetError(
            f'{dataset.folder}: no {what} is longer than the history of this model, '
            f'{count_of(steps, "model step")}'
        )
    rows = evenly_spaced(starts, LOOK)
    assert isinstance(model, Smwm)
    return held_out(model, batches.at(rows), settled=True)


def _warnings(original: ForeignModel) -> list[str]:
    """Return how plans differ from those of the original."""
    steps = original.config.history
    if original.maker == 'SMWM' or steps == 1:
        return []
    return [
        f'{original.maker} plans with this model from the latest frame alone; here a plan reads '
        f'the last {steps} frames, a model step apart, and the actions between them, as in its '
        'training and as SMWM does, so plans differ from the original'
    ]


def _about(original: ForeignModel) -> dict[str, str]:
    """Return the origin of a model."""
    content = original.weights.read_bytes()
    return {
        'maker': original.maker,
        'file': original.weights.name,
        'sha256': hashlib.sha256(content).hexdigest(),
    }
