# SPDX-License-Identifier: Apache-2.0
"""Read the latent actions of a dataset with a latent-action model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError
from smwm_ros.interfaces import Array
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint, load, require
from smwm_ros.model.device import pick_device
from smwm_ros.model.encoding import BATCH, encode_rows
from smwm_ros.training.metrics import MIN_STD
import torch
from torch import Tensor

SAMPLES = 512  # windows that show whether the latent actions have collapsed


class LatentReading(NamedTuple):
    """What a latent-action model infers from windows of one model step."""

    z: Tensor  # (n, Z) latent actions, without noise
    x: Tensor  # (n, X) states at the starts
    content: Tensor  # (n,) what happens: error of the prediction without action


def load_latent_model(run: Path, data: TransitionDataset) -> tuple[Checkpoint, LatentActionModel]:
    """Load a latent-action model that fits a dataset, or raise."""
    checkpoint = load(run).on(pick_device('auto'))
    model = checkpoint.model
    if not isinstance(model, LatentActionModel):
        raise CheckpointError(
            f'{run}: has a model of kind {checkpoint.model_config.kind}, expected a latent-action '
            f'model: smwm train {data.folder} --out RUN model.kind=latent_action'
        )
    info = data.info
    require(checkpoint, str(data.folder), info.spec.size, info.spec.dt, info.image_size)
    for name, found, wanted in (
        ('dataset.action_block', info.action_block, checkpoint.action_block),
        ('robot.command.fields', list(info.spec.fields), list(checkpoint.spec.fields)),
    ):
        if found != wanted:
            raise CheckpointError(f'{name} is {found} in {data.folder}, and {wanted} in {run}')
    _require_spread(run, model, data)
    return checkpoint, model


@torch.inference_mode()
def read(
    model: LatentActionModel,
    data: TransitionDataset,
    starts: Array,
    done: Callable[[int], object] = lambda count: None,
) -> LatentReading:
    """Read the windows that start at rows (n,); `done` receives how many were read since."""
    device, parts = next(model.parameters()).device, []
    for part in np.array_split(starts, max(-(-len(starts) // BATCH), 1)):
        ends = part + data.info.action_block
        rows = np.union1d(part, ends)
        z = encode_rows(model, data, rows).to(device)
        now, then = (z[np.searchsorted(rows, wanted)] for wanted in (part, ends))
        s, s_next = model.map_of(now), model.map_of(then)
        content = (model.without_action(s) - s_next).square().mean(dim=(1, 2, 3))
        parts.append((model.latent_action(s, s_next).mean, model.state_of(now), content))
        done(len(part))
    return LatentReading(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _require_spread(run: Path, model: LatentActionModel, data: TransitionDataset) -> None:
    """Raise if all windows have the same latent action."""
    z = read(model, data, evenly_spaced(data.starts('all', unlabelled=True), SAMPLES)).z
    spread = float(z.std(dim=0, unbiased=False).max())
    if spread < MIN_STD:
        raise CheckpointError(
            f'{run}: the latent actions have collapsed: they are the same in all windows of '
            f'{data.folder} (standard deviation {spread:.2g}, expected at least {MIN_STD}); allow '
            'more information (model.latent_action.nats or strength), or use more train.steps'
        )
