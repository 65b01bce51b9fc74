# SPDX-License-Identifier: Apache-2.0
"""
A decoder that shows what a latent holds. The encoder is trained without it and is not changed.

What the latent does not hold appears as the mean over all possibilities: a blur.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.evaluation.probes import fit
from smwm_ros.interfaces import Array
from smwm_ros.model.device import seeded
from smwm_ros.reporting import NoProgress, ShowProgress
import torch
from torch import nn, Tensor

EPOCHS, BATCH, RATE = 30, 64, 1e-3
DARK = 10.0  # weight of a black pixel over a white one


class Pictures(NamedTuple):
    """Reconstructions of held-out latents."""

    pixels: Array  # (n, S, S, 3) uint8
    error: float  # mean squared error of pixels from 0 to 1, as a share of that of the mean image


class Decoder(nn.Module):
    """Latent (B, D) -> images (B, 3, S, S) from 0 to 1."""

    def __init__(self, latent: int, size: int) -> None:
        super().__init__()
        self.size, side = size, -(-size // 16)  # cropped to the canvas
        layers: list[nn.Module] = [
            nn.Linear(latent, 128 * side**2),
            nn.Unflatten(1, (128, side, side)),
        ]
        for before, after in ((128, 128), (128, 64), (64, 32), (32, 3)):
            layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct images."""
        images: Tensor = self.layers(z)[..., : self.size, : self.size]
        return images


def decode(
    latents: Array,
    pixels: Array,
    fresh: Array,
    truth: Array,
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: ShowProgress = NoProgress,
) -> Pictures:
    """Fit a decoder to latents (n, D) of images (n, S, S, 3); reconstruct held-out ones (m, D)."""
    images, true = _images(pixels), _images(truth)
    with seeded(seed):
        decoder = Decoder(latents.shape[1], pixels.shape[1])
        epoch = fit(decoder, torch.from_numpy(latents), images, _loss, epochs, BATCH, RATE)
        for _ in progress(epoch, total=epochs, desc='decoder', unit='epoch'):
            pass
    with torch.inference_mode():
        painted = torch.cat(
            [decoder(part) for part in torch.split(torch.from_numpy(fresh), BATCH)]
        )
        error = (painted - true).square().mean() / (images.mean(dim=0) - true).square().mean()
        frames = (255 * painted).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return Pictures(frames, float(error))


def _images(pixels: Array) -> Tensor:
    """Return images (n, 3, S, S) from 0 to 1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _loss(painted: Tensor, true: Tensor) -> Tensor:
    """Return the squared error, with more weight on dark pixels."""
    return ((1 + DARK * (1 - true)) * (painted - true).square()).mean()
