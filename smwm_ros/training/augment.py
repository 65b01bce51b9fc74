# SPDX-License-Identifier: Apache-2.0
"""
Images changed at random while training, where the batch is: moved a little, and lit anew.

A window is moved as one, so that motion stays motion, and each of its frames is lit anew: light
that changes between two frames cannot be foreseen, so the latent does better without it.
"""

from __future__ import annotations

from smwm_ros import config
from smwm_ros.interfaces import Window
import torch
from torch import Tensor

RISE = (0.3, 0.6)  # shares of the steps between which the changes grow from nothing to all


def strength(step: int, settings: config.Train) -> float:
    """
    Return how much of the augmentation there is in a step, from 0 to 1; the first step is 1.

    What the frames of a window share is foreseen perfectly, and before an encoder has learnt to
    see the robot, it is nearly all that its latent shows: the forward loss is near zero, and the
    inverse loss never begins to fall. A robot that is seen already stays in the latent.
    """
    begin, end = RISE
    return min(max(((step - 1) / settings.steps - begin) / (end - begin), 0.0), 1.0)


def augment(batch: Window, settings: config.Train, share: slice, grown: float = 1.0) -> Window:
    """
    Move the images of each window by one way for all its frames, and light each frame anew.

    Chance is drawn for the whole batch, of which `share` is here.
    """
    pixels, count = batch.obs.pixels, batch.action.shape[1]
    far, bright = round(grown * settings.shift), grown * settings.brightness
    if far:
        away = torch.randint(-far, far + 1, (2, count, 1), device=pixels.device)
        pixels = shifted(pixels, *away[:, share])
    if bright:
        change = bright * (2 * torch.rand(len(pixels), count, device=pixels.device) - 1)
        pixels = lit(pixels, 1 + change[:, share])
    return batch._replace(obs=batch.obs._replace(pixels=pixels))


def shifted(pixels: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move images (T+1, B, 3, S, S) by pixels (B, 1) each way; edges are drawn out."""
    side = pixels.shape[-1]
    places = torch.arange(side, device=pixels.device)
    rows, columns = ((places - by).clamp(0, side - 1) for by in (down, right))  # (B, S)
    tall = rows[None, :, None, :, None].expand(pixels.shape)
    wide = columns[None, :, None, None, :].expand(pixels.shape)
    return pixels.gather(-2, tall).gather(-1, wide)


def lit(pixels: Tensor, factor: Tensor) -> Tensor:
    """Multiply images (T+1, B, 3, S, S) by a factor (T+1, B) each."""
    brighter = pixels.float() * factor[..., None, None, None]
    return brighter.round_().clamp_(0, 255).to(pixels.dtype)
