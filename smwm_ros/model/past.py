# SPDX-License-Identifier: Apache-2.0
"""
A latent with its past: the latents of the model steps before it, and the actions between.

A forward model with a history of several steps (preset tiny) predicts from them. They follow the
latent in one row of numbers, so searches, batches and CUDA graphs handle a latent with its past
like one without, and only what reads places takes the first D numbers:

    z (D) | m latents before, the oldest first (m*D) | the actions after each of these (m*K*A)
"""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.interfaces import WorldModel
import torch
from torch import Tensor


class Recent(NamedTuple):
    """The parts of latents with their past."""

    latents: Tensor  # (..., m+1, D), the oldest first
    actions: Tensor  # (..., m, K*A) between them


def joined(recent: Recent) -> Tensor:
    """Return latents with their past (..., D + m*(D + K*A)) in one row each."""
    before, z = recent.latents[..., :-1, :], recent.latents[..., -1, :]
    return torch.cat([z, before.flatten(-2), recent.actions.flatten(-2)], dim=-1)


def parted(z: Tensor, latent: int, action: int) -> Recent:
    """Return the parts of (..., D + m*(D + K*A)); `latent` is D, `action` is K*A."""
    steps = steps_before(z.shape[-1], latent, action)
    end = latent + steps * latent
    newest, before, actions = z[..., :latent], z[..., latent:end], z[..., end:]
    before = before.reshape(*z.shape[:-1], steps, latent)
    latents = torch.cat([before, newest.unsqueeze(-2)], dim=-2)
    return Recent(latents, actions.reshape(*z.shape[:-1], steps, action))


def steps_before(width: int, latent: int, action: int) -> int:
    """Return m, or raise ValueError where a width is not that of a latent with its past."""
    steps, rest = divmod(width - latent, latent + action)
    if rest or steps < 0:
        raise ValueError(
            f'expected latents of width {latent}, or {latent + action} more for each model step '
            f'of their past, found {width}'
        )
    return steps


def advanced(model: WorldModel, z: Tensor, action: Tensor) -> Tensor:
    """Return the latents after actions (..., K*A), with a past as long as that of z (..., W)."""
    if z.shape[-1] == model.latent:
        return model.predict(z, action)
    latents, actions = parted(z, model.latent, action.shape[-1])
    after = model.rollout(z, action.unsqueeze(-2))
    return joined(
        Recent(
            torch.cat([latents[..., 1:, :], after], dim=-2),
            torch.cat([actions[..., 1:, :], action.unsqueeze(-2)], dim=-2),
        )
    )
