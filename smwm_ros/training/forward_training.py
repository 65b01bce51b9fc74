# SPDX-License-Identifier: Apache-2.0
"""
Train the forward model on by itself, on latents that are computed once.

The encoder stays as it is. Steps without images cost little, so windows can be as long as plans,
and batches large. Each prediction of a window starts from the one before, so the error falls most
at the end of a plan.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
import logging

import numpy as np
from smwm_ros import config
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import TrainingError
from smwm_ros.interfaces import Array
from smwm_ros.model.encoding import encode_rows
from smwm_ros.model.networks import ForwardModel
from smwm_ros.model.world_model import normalised, Smwm
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.batches import Batches, Shuffle
from smwm_ros.training.learner import learning_rate
from smwm_ros.training.threads import threads
import torch
from torch import nn, Tensor

_log = logging.getLogger(__name__)

BATCH = 512  # windows
READ_EVERY = 4  # windows: the heads read the predictions of one of so many
RATE = 1e-3  # peak learning rate
HELD_OUT = 4096  # windows that decide whether the result is better


def require_forward_steps(model_config: config.Model, settings: config.Train) -> None:
    """Raise a TrainingError if train.forward_steps is asked for another model than nano."""
    nano = model_config.preset == 'nano' and model_config.kind != 'latent_action'
    if settings.forward_steps and not nano:
        raise TrainingError(
            f'train.forward_steps: {settings.forward_steps}, but only models of preset nano that '
            'learn from commands have a forward model to train by itself, found preset '
            f'{model_config.preset} and kind {model_config.kind}; set it to 0'
        )


class EncodedWindows:
    """Windows of a dataset, as latents."""

    def __init__(self, model: Smwm, batches: Batches, progress: ShowProgress = NoProgress) -> None:
        self._batches = batches
        rows = np.arange(len(batches.dataset))
        shown = partial(progress, desc='encode', unit='batch')
        z = encode_rows(model, batches.dataset, rows, shown)
        self._z = z.clone().to(batches.device)  # a tensor of inference mode has no gradients

    def errors(self, model: Smwm, starts: Array) -> Tensor:
        """Return the mean error of each step of windows (T,): of latents, and of readings."""
        rows = self._batches.rows(starts)  # (T+1, B)
        action, confidence = self._batches.sent(rows)
        z = self._z[torch.from_numpy(rows)]
        ahead = model.rollout(z[0], action.transpose(0, 1)).transpose(0, 1)
        found = torch.cat([z[:1], ahead])
        g = model.forward_model
        assert isinstance(g, ForwardModel)
        weight = z.new_ones(action.shape[:2]) if confidence is None else normalised(confidence)
        missed = (g.scaled(found) - g.scaled(z))[1:].square().mean(dim=-1)  # (T, B)
        error = (weight * missed).mean(dim=1)
        # What the heads read matters more than its share of the latent. They are large networks.
        some = slice(None, None, READ_EVERY)
        heads = zip(model.readings(found[:, some]), model.readings(z[:, some]), strict=True)
        for read, true in heads:
            missed = (read - true).square().mean(dim=-1)
            error = error + (weight[:, some] * missed).mean(dim=1)
        return error


def train_forward_model(
    model: Smwm, batches: Batches, settings: config.Train, progress: ShowProgress = NoProgress
) -> None:
    """Train g on; keep the result only if the error of held-out windows falls."""
    batches = batches._replace(steps=longest_window(batches, settings.forward_unroll))
    model.eval().requires_grad_(False)  # no gradients of the heads
    windows = EncodedWindows(model, batches, progress)
    held_out = evenly_spaced(batches.starts('val'), HELD_OUT)
    g = model.forward_model
    before, was = copy.deepcopy(g.state_dict()), _mean_error(windows, model, held_out)
    _train(windows, model, batches, settings, progress)
    error = _mean_error(windows, model, held_out)
    measured = f'held-out error over {batches.steps} model steps {error:.4g}, was {was:.4g}'
    if error < was:
        _log.info('forward model: %s', measured)
    else:
        g.load_state_dict(before)
        _log.warning('train.forward_steps: %s; the forward model stays as it was', measured)


def _train(
    windows: EncodedWindows,
    model: Smwm,
    batches: Batches,
    settings: config.Train,
    progress: ShowProgress,
) -> None:
    """Take the steps."""
    g = model.forward_model.requires_grad_(True)
    optimiser = torch.optim.AdamW(
        g.parameters(), lr=RATE, weight_decay=settings.weight_decay, fused=True
    )
    paced = replace(settings, lr=RATE, steps=settings.forward_steps)
    sampler = Shuffle(batches.starts('train'), BATCH, settings.seed)
    with threads(settings.threads, _log.debug) as workers:
        for step in progress(range(settings.forward_steps), desc='forward model', unit='step'):
            loss = windows.errors(model, sampler(step)).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(g.parameters(), settings.clip)
            for group in optimiser.param_groups:
                group['lr'] = learning_rate(step, paced)
            optimiser.step()
            workers.step()


@torch.inference_mode()
def _mean_error(windows: EncodedWindows, model: Smwm, rows: Array) -> float:
    return float(windows.errors(model, rows).mean())


def longest_window(batches: Batches, wanted: int) -> int:
    """Return how many model steps a window has: fewer where episodes are too short."""
    for steps in range(wanted, 1, -1):
        long = batches._replace(steps=steps)
        if len(long.starts('train')) and len(long.starts('val')):
            return steps
    return 1
