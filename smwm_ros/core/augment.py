# SPDX-License-Identifier: Apache-2.0
"""Images changed at random while training, where the batch is: moved a little, and lit anew."""

from __future__ import annotations

from smwm_ros import config
from smwm_ros.core.interfaces import Window
import torch
from torch import Tensor


def augment(batch: Window, settings: config.Train, share: slice) -> Window:
    """
    Change the images of each window in one way for all its frames, so that motion stays motion.

    Chance is drawn for the whole batch, of which `share` is here.
    """
    pixels, count = batch.obs.pixels, batch.action.shape[1]
    if settings.shift:
        away = torch.randint(
            -settings.shift, settings.shift + 1, (2, count, 1), device=pixels.device
        )
        pixels = shifted(pixels, *away[:, share])
    if settings.brightness:
        change = settings.brightness * (2 * torch.rand(count, device=pixels.device) - 1)
        pixels = lit(pixels, 1 + change[share])
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
    """Multiply images (T+1, B, 3, S, S) by a factor (B,) each."""
    brighter = pixels.float() * factor[None, :, None, None, None]
    return brighter.round_().clamp_(0, 255).to(pixels.dtype)
