# SPDX-License-Identifier: Apache-2.0
"""
The networks of the preset `toy`, from the toy experiments of the paper.

Latents and predictions end in a tanh, and nothing is normalised: what a latent keeps depends on
the losses alone.
"""

from __future__ import annotations

from smwm_ros.model.networks import perceptron
import torch
from torch import nn, Tensor

LATENT, HIDDEN = 64, 256


class ToyEncoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, 64)."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        side = image_size
        for before, after in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            side = (side + 1) // 2
        self.features = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(128 * (side // 2) ** 2, LATENT)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the features of each image by itself: (B, F)."""
        features: Tensor = self.features(pixels.float().div_(255))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the latents: (B, F) -> (B, 64)."""
        return torch.tanh(self.head(features))


class ToyForwardModel(nn.Module):
    """g: latent (..., 64) and actions (..., K*A) -> next latent (..., 64)."""

    def __init__(self, action_size: int) -> None:
        super().__init__()
        self.layers = perceptron(LATENT + action_size, HIDDEN, LATENT)

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step."""
        return torch.tanh(self.layers(torch.cat([z, action], dim=-1)))
