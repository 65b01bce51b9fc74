# SPDX-License-Identifier: Apache-2.0
"""Pictures of maps: a linear decoder that is fitted to frames on the spot."""

from __future__ import annotations

import numpy as np
from smwm_ros.interfaces import Array
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

PENALTY = 1e-3  # as a share of the rows; without it, noise of predicted maps is amplified
REACH = 1  # cells beside a cell that its pixels are read from: an encoder may blur its images


class MapDecoder:
    """Reads each patch of an image, as a difference to the mean image, from the cells around."""

    def __init__(self, s: Tensor, pixels: Tensor) -> None:
        """Fit to maps (n, C, h, w) of images (n, 3, S, S) uint8."""
        self._patch = pixels.shape[-1] // s.shape[-1]
        self._size = pixels.shape[-1]
        patches = F.unfold(pixels.float(), self._patch, stride=self._patch)  # (n, 3 p p, cells)
        self._mean_map, self._mean = s.mean(dim=0), patches.mean(dim=0)
        x = self._cells(s).double()
        y = (patches - self._mean).transpose(1, 2).flatten(0, 1).double()
        gram = x.T @ x + PENALTY * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        self._weights = torch.linalg.solve(gram, x.T @ y).float()

    def __call__(self, s: Tensor) -> Array:
        """Return pictures (n, S, S, 3) uint8 of maps (n, C, h, w)."""
        patches = (self._cells(s) @ self._weights).unflatten(0, (len(s), -1)).transpose(1, 2)
        images = F.fold(patches + self._mean, self._size, self._patch, stride=self._patch)
        shown: Array = images.round().clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy()
        return shown.astype(np.uint8)

    def _cells(self, s: Tensor) -> Tensor:
        """Return the surroundings (n cells, F) of all cells."""
        around = F.unfold(s - self._mean_map, 2 * REACH + 1, padding=REACH)
        return around.transpose(1, 2).flatten(0, 1)
