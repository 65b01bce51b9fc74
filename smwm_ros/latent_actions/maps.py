# SPDX-License-Identifier: Apache-2.0
"""Encoders from images to maps: principal components of patches, or convolutions."""

from __future__ import annotations

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


def pooling(patch: int, blur: float) -> int:
    """Return by how many pixels to average: a blur would remove the detail between them anyway."""
    sizes = range(1, max(min(patch // 2, int(blur)), 1) + 1)
    return max(size for size in sizes if patch % size == 0)


class PatchPca(nn.Module):
    """
    Pixels (B, 3, S, S) uint8 -> the principal components of each patch (B, C, S / p, S / p).

    A frozen encoder that needs no training. Images are blurred: what moves by less than the blur
    changes a blurred image nearly linearly, which a convolution learns from few images, while a
    sharp edge that moves by a few pixels takes many.
    """

    kernel: Tensor  # (3, 1, 1, n) Gaussian
    mean: Tensor  # (3 q q,) of a patch of q x q shrunk pixels
    axes: Tensor  # (3 q q, C), scaled so that the largest component has variance 1

    def __init__(self, channels: int, patch: int, blur: float) -> None:
        super().__init__()
        self.pool = pooling(patch, blur)
        self.patch = patch // self.pool
        reach = math.ceil(2.5 * blur / self.pool)
        places = torch.arange(-reach, reach + 1) * self.pool
        kernel = torch.exp(-0.5 * (places / max(blur, 1e-3)).square())
        weights = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
        self.register_buffer('kernel', weights, persistent=False)
        numbers = 3 * self.patch * self.patch
        self.register_buffer('mean', torch.zeros(numbers))
        self.register_buffer('axes', torch.zeros(numbers, channels))

    @torch.no_grad()
    def fit(self, pixels: Tensor) -> None:
        """Fit the components to images (n, 3, S, S)."""
        rows = self._patches(pixels).transpose(1, 2).flatten(0, 1).double()
        mean = rows.mean(dim=0)
        values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        axes = vectors.flip(1)[:, : self.axes.shape[1]]
        # So that the sign does not depend on the machine: the first large number is positive.
        # (A sum is no guide. It is 0, up to rounding, for the difference of two halves.)
        first = (axes.abs() > 0.5 * axes.abs().amax(dim=0)).int().argmax(dim=0)
        axes = axes * axes.gather(0, first[None]).sign()
        self.mean.copy_(mean)
        self.axes.copy_(axes * values[-1:].clamp(min=1e-12).rsqrt())

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images."""
        with torch.autocast(pixels.device.type, enabled=False):  # bfloat16 hides slow motion
            patches = self._patches(pixels)
            components = (patches - self.mean[:, None]).transpose(1, 2) @ self.axes
        side = math.isqrt(patches.shape[2])
        return components.transpose(1, 2).reshape(len(pixels), -1, side, side)

    def _patches(self, pixels: Tensor) -> Tensor:
        """Return the patches (B, 3 q q, n) of blurred images."""
        images = F.avg_pool2d(pixels.float(), self.pool).div_(255)
        reach = self.kernel.shape[-1] // 2
        images = F.conv2d(F.pad(images, (reach,) * 4, mode='replicate'), self.kernel, groups=3)
        images = F.conv2d(images, self.kernel.mT, groups=3)
        return F.unfold(images, self.patch, stride=self.patch)


class MapEncoder(nn.Module):
    """Pixels (B, 3, S, S) uint8 -> map (B, C, S / p, S / p), trained end to end."""

    def __init__(self, channels: int, patch: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, hidden, patch, stride=patch),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images."""
        s: Tensor = self.layers(pixels.float().div_(127.5).sub_(1.0))
        return s
