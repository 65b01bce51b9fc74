# SPDX-License-Identifier: Apache-2.0
"""
Latent IDM and forward model, on maps s (B, C, H, W) of images.

A map, not a vector: on a vector, a forward model passes the tests of the paper and learns latent
actions that mean something else in every state. A convolution moves things alike everywhere.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


def mlp(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Return an MLP with one hidden layer."""
    return nn.Sequential(
        nn.Linear(size_in, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, size_out)
    )


class MapReader(nn.Module):
    """Reads vectors off maps: two convolutions of stride 2, and an MLP."""

    def __init__(self, channels: int, side: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        quarter = (side + 3) // 4
        self.head = mlp(hidden * quarter * quarter, 4 * hidden, outputs)

    def forward(self, s: Tensor) -> Tensor:
        """Read (B, outputs) off maps."""
        read: Tensor = self.head(self.layers(s))
        return read


class LatentIdm(nn.Module):
    """g: maps s_t and s_t+1 -> h (B, outputs), from which a bottleneck makes z."""

    def __init__(self, channels: int, side: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.reader = MapReader(3 * channels, side, hidden, outputs)

    def forward(self, s: Tensor, s_next: Tensor) -> Tensor:
        """Infer h."""
        h: Tensor = self.reader(torch.cat([s, s_next, s_next - s], dim=1))
        return h


class LatentForwardModel(nn.Module):
    """
    p: map s and latent action z (B, D) -> next map, as s + change.

    z scales and shifts the channels of each layer (FiLM). Three convolutions see five cells around
    each, so nothing may move further than that in a model step.
    """

    def __init__(self, channels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(before, hidden, 3, padding=1) for before in (channels, hidden, hidden)
        )
        self.film = nn.Linear(width, 2 * hidden * len(self.layers))
        self.change = nn.Conv2d(hidden, channels, 3, padding=1)
        nn.init.zeros_(self.change.weight)  # begins as the copy baseline
        assert self.change.bias is not None
        nn.init.zeros_(self.change.bias)

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        """Predict one model step."""
        films = self.film(z)[..., None, None].chunk(2 * len(self.layers), dim=1)
        x = s
        for layer, scale, shift in zip(self.layers, films[::2], films[1::2], strict=True):
            x = F.relu(F.group_norm(layer(x), 1) * (1 + scale) + shift)
        change: Tensor = self.change(x)
        return s + change


class HalfPrecision(nn.Module):
    """A forward model that convolves in bfloat16, which is exact enough for planning."""

    def __init__(self, exact: LatentForwardModel) -> None:
        super().__init__()
        self.exact = exact

    def forward(self, s: Tensor, z: Tensor) -> Tensor:
        """Predict one model step."""
        # Without the cache of cast weights, which a CUDA graph cannot record.
        with torch.autocast(s.device.type, torch.bfloat16, cache_enabled=False):
            then: Tensor = self.exact(s, z)
        return then.float()
