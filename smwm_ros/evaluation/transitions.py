# SPDX-License-Identifier: Apache-2.0
"""Transitions of a dataset, as a latent-action model encodes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.latent_actions import commanded
from smwm_ros.interfaces import Array
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.reporting import ShowProgress
from smwm_ros.training.batches import Batches
import torch
from torch import Tensor

PART = 128  # transitions encoded at once


class Transitions(NamedTuple):
    """Transitions as a model encodes them."""

    rows: Array  # (n,) at which they start
    s: Tensor  # (n, C, H, W) maps before
    s_next: Tensor  # and after
    z: Tensor  # (n, Z) latent actions, without noise
    nats: Array  # (n,) information in each; nan where the bottleneck does not define it
    states: Array  # (n, 2, P) measured before and after, nan where unknown
    actions: Array  # (n, K, A) physical, nan where unknown

    @property
    def moved(self) -> Array:
        """Return the motion (n, P) of the measured state."""
        moved: Array = self.states[:, 1] - self.states[:, 0]
        return moved

    def measured(self) -> Transitions:
        """Return the transitions with a measured state before and after."""
        known = np.asarray(np.isfinite(self.states).all(axis=(1, 2)))
        kept = torch.from_numpy(known)
        return Transitions(
            self.rows[known],
            self.s[kept],
            self.s_next[kept],
            self.z[kept],
            self.nats[known],
            self.states[known],
            self.actions[known],
        )


def latent_action_model(checkpoint: Checkpoint, device: torch.device) -> LatentActionModel:
    """Return the model of a checkpoint on a device, or raise if it is of another kind."""
    model = checkpoint.on(device).model
    if not isinstance(model, LatentActionModel):
        raise CheckpointError(
            f'{checkpoint.folder}: has a model of kind {checkpoint.model_config.kind}, expected '
            'latent_action; smwm inspect judges the others'
        )
    return model


def encode(
    model: LatentActionModel, batches: Batches, progress: ShowProgress, rows: Array
) -> Transitions:
    """Encode the transitions that start at rows."""
    parts, block = [], batches.dataset.info.action_block
    pieces = np.array_split(rows, -(-len(rows) // PART))
    for piece in progress(pieces, desc='encoding', unit_scale=PART, unit=' transitions'):
        s, s_next = model.maps(batches.at(piece))
        code = model.latent_action(s, s_next)
        parts.append((s, s_next, code.mean, code.nats))
    s, s_next, z, nats = (torch.cat(column) for column in zip(*parts, strict=True))
    states = batches.dataset.states(rows[:, None] + block * np.arange(2))
    actions = batches.dataset.actions(rows[:, None] + np.arange(block))
    return Transitions(rows, s, s_next, z, nats.cpu().numpy(), states, actions)


def images(batches: Batches, rows: Array) -> Tensor:
    """Return images (n, 3, S, S)."""
    return torch.from_numpy(batches.dataset.pixels(rows)).permute(0, 3, 1, 2).to(batches.device)


def drives_of(batches: Batches, rows: Array) -> Array:
    """Return the numbers of the drives that rows are in."""
    stops = [drive.stop for drive in batches.dataset.drives]
    return np.searchsorted(stops, rows, side='right')


def commanded_fields(data: TransitionDataset) -> Array:
    """Return which state fields (P,) the recorded commands move."""
    block = data.info.action_block
    rows = data.starts('all')
    known = data.recorded(rows[:, None] + np.arange(block)).all(axis=1)
    rows = rows[known & data.measured(rows) & data.measured(rows + block)]
    means = data.actions(rows[:, None] + np.arange(block)).mean(axis=1)
    return commanded(means, data.states(rows + block) - data.states(rows))
