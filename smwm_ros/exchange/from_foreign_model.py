# SPDX-License-Identifier: Apache-2.0
"""
Make a checkpoint of a model that SMWM or LeWM trained.

Their files say nothing of the robot, nor what the mean and the standard deviation of its actions
were, without which no plan can be driven. Both come from a dataset, or from the user.
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
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.world_model import Smwm
from smwm_ros.text import count_of
from smwm_ros.training.batches import Batches
from smwm_ros.training.metrics import held_out
import torch

LOOK = 64  # windows that a model is tried on


def make_checkpoint(original: ForeignModel, config: Config, mean: Array, std: Array) -> Checkpoint:
    """Put model, robot and statistics (A,), (A,) together, or say what does not fit."""
    size, block = len(expand(config.robot.command.fields)), config.dataset.action_block
    told = original.action_block
    if size * block != original.action_size or told not in (None, block):
        found = f'{original.action_size} action numbers a model step'
        if told:
            found += f', {told} raw actions of {original.action_size // told}'
        raise CheckpointError(
            f'{original.weights}: has {found}; the robot has {size} command fields, and '
            f'dataset.action_block is {block}'
        )
    if not mean.shape == std.shape == (size,):
        raise CheckpointError(
            f'mean and std: expected {count_of(size, "number")} each, one for a command field, '
            f'found {mean.size} and {std.size}'
        )
    if not np.isfinite([mean, std]).all() or not (std > 0).all():
        raise CheckpointError(
            f'mean and std: expected finite numbers and a std above 0, found {mean.tolist()} and '
            f'{std.tolist()}'
        )
    model = original.build(config.dataset.image_size)
    parts = (config.robot, config.dataset, original.config, config.planner, mean, std)
    info = {'imported': _about(original), 'warnings': _warnings(original)}
    return Checkpoint(model, *parts, info)


def statistics(dataset: TransitionDataset) -> tuple[Array, Array]:
    """
    Return mean (A,) and standard deviation (A,) of the raw actions, as SMWM and LeWM take them.

    Of all rows but the last of an episode, which has no action with them; unbiased.
    """
    actions = dataset.actions(dataset.starts('all', 1)).astype(np.float64)
    mean, std = actions.mean(0), actions.std(0, ddof=1)
    names = np.array(dataset.info.spec.fields)[~(np.isfinite(std) & (std > 0))]
    if len(names):
        raise DatasetError(
            f'{dataset.folder}: {", ".join(names)} never changes or is no number, so its standard '
            'deviation says nothing; give --mean and --std'
        )
    return mean, std


def try_on(checkpoint: Checkpoint, dataset: TransitionDataset) -> dict[str, float]:
    """Measure a model on some windows of a dataset, to see whether the two belong together."""
    steps, model = checkpoint.model_config.history, checkpoint.model
    batches = Batches(dataset, checkpoint.mean, checkpoint.std, torch.device('cpu'), steps)
    starts = batches.starts('all')
    if not len(starts):
        raise DatasetError(
            f'{dataset.folder}: no episode is longer than the {steps} model steps of this model'
        )
    rows = evenly_spaced(starts, LOOK)
    assert isinstance(model, Smwm)
    return held_out(model, batches.at(rows), settled=True)


def _warnings(original: ForeignModel) -> list[str]:
    """Say what will not be as it was."""
    steps = original.config.history
    if original.maker != 'SMWM' or steps == 1:
        return []
    return [
        f'SMWM begins a plan of this model from the last {steps} frames, a model step apart, and '
        f'the actions between them; here it begins from the latest frame alone, as LeWM does, so '
        'its plans differ from the original'
    ]


def _about(original: ForeignModel) -> dict[str, str]:
    """Say where a model came from."""
    content = original.weights.read_bytes()
    return {
        'maker': original.maker,
        'file': original.weights.name,
        'sha256': hashlib.sha256(content).hexdigest(),
    }
