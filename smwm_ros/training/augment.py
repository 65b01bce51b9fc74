# SPDX-License-Identifier: Apache-2.0
"""
Augment training images on the device of the batch: random shifts and brightness.

All frames of a window are shifted alike, so that its motion is unchanged. The brightness of each
frame changes on its own: g cannot predict it, so the encoder learns to ignore it.
"""

from __future__ import annotations

from smwm_ros import config
from smwm_ros.interfaces import Window
import torch
from torch import Tensor

RISE = (0.3, 0.6)  # shares of the training between which the strength rises from 0 to 1


def strength(step: int, settings: config.Train) -> float:
    """
    Return the strength of the augmentation in a step, from 0 to 1; the first step is 1.

    The augmentation starts late because frames of a window share their shift, which is easy to
    predict. An encoder that has not learnt to show the robot yet would encode the shift instead:
    the forward loss is near 0, and the inverse loss never falls.
    """
    begin, end = RISE
    return min(max(((step - 1) / settings.steps - begin) / (end - begin), 0.0), 1.0)


def augment(batch: Window, settings: config.Train, share: slice, grown: float = 1.0) -> Window:
    """
    Shift the images of each window alike, and change the brightness of each frame.

    Random numbers are drawn for the whole batch; `share` selects the windows in this process.
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
    """Shift images (T+1, B, 3, S, S) by (B, 1) pixels each way, and replicate the edges."""
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
