# SPDX-License-Identifier: Apache-2.0
"""The networks of the preset `nano`, small enough to plan in real time on a CPU."""

from __future__ import annotations

from itertools import pairwise

from smwm_ros import config
import torch
from torch import nn, Tensor

# Scale of the changes between images in a latent, so small that latent distances are of places. An
# arm with torques that plans by such distances reaches 84 of 100 goals, and 63 with a scale of 4.
MOTION = 0.25
ENLARGED = 16.0  # by so much more in the forward model and its loss: as changes in a model step
CHANGE = 2.0  # scale of the first weights for z_next - z, because neighbouring latents are close


def perceptron(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Return an MLP with two hidden layers."""
    return nn.Sequential(
        nn.Linear(size_in, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, size_out),
    )


def readout(layers: str, size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Return what reads two latents, by model.readout."""
    if layers == 'relu':
        return perceptron(size_in, hidden, size_out)
    return nn.Sequential(
        nn.Linear(size_in, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, size_out)
    )


class Encoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, D)."""

    def __init__(
        self, image_size: int, latent: int, hidden: int, stem: str = config.PATCHES
    ) -> None:
        super().__init__()
        layers: list[nn.Module]
        if stem == config.PATCHES:
            channels, side = 16, image_size // 4
            layers = [nn.Conv2d(3, channels, 4, stride=4), nn.ReLU(inplace=True)]
        else:
            # In patches a robot of their size looks different at each offset. Overlapping
            # convolutions of a smaller stride learn its look once.
            channels, side = 8, image_size // 2
            layers = [
                nn.Conv2d(3, channels, 4, stride=2, padding=1),
                nn.ReLU(inplace=True),
            ]
        while side > 4:
            wider = min(2 * channels, 64)
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            channels, side = wider, (side + 1) // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        # BatchNorm gives every latent dimension the same scale, so one lambda fits many robots.
        self.head = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, latent),
            nn.BatchNorm1d(latent),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode; in training mode BatchNorm takes its statistics from the batch."""
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the features of each image by itself: (B, F)."""
        # Pixels are scaled to -1..1 here and nowhere else. In place, because fresh memory for a
        # batch of images costs more than the arithmetic.
        features: Tensor = self.features(pixels.float().div_(127.5).sub_(1.0))
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the latents of a whole batch: (B, F) -> (B, D)."""
        z: Tensor = self.head(features)
        return z


class StackedEncoder(nn.Module):
    """
    f of H images: the latent of the newest, and the changes of latents from image to image before.

    Each image is encoded alone, so that a latent distance measures places: a network that reads
    all images at once encodes little else than velocities.
    """

    def __init__(self, encoder: Encoder, stack: int) -> None:
        super().__init__()
        self.encoder, self.stack = encoder, stack

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode (B, 3*H, S, S), the oldest image first -> (B, H*D)."""
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the features of all images, (B, H*F)."""
        alone = pixels.reshape(-1, 3, *pixels.shape[2:])
        return self.encoder.forward_features(alone).reshape(len(pixels), -1)

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the latents of a whole batch: (B, H*F) -> (B, H*D)."""
        z = self.encoder.forward_head(features.reshape(len(features) * self.stack, -1))
        each = z.reshape(len(features), self.stack, -1)
        changes = MOTION * (each[:, 1:] - each[:, :-1])
        return torch.cat([each[:, -1], changes.flatten(1)], dim=1)

    def scale(self, latent: int) -> Tensor:
        """Return the scale (H*D,) that makes changes as large as places, of width D each."""
        return torch.cat([torch.ones(latent), torch.full(((self.stack - 1) * latent,), ENLARGED)])


def scaled(z: Tensor, scale: Tensor | None) -> Tensor:
    """Return latents (..., D) in a scale (D,), None for 1."""
    return z if scale is None else z * scale


class ForwardModel(nn.Module):
    """g: latent (..., D) and actions (..., K*A) -> next latent (..., D), as z + change."""

    scale: Tensor | None  # (D,) of the latent in the layers; None for 1

    def __init__(
        self, latent: int, action_size: int, hidden: int, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        self.change = perceptron(latent + action_size, hidden, latent)
        self.register_buffer('scale', scale, persistent=False)

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step."""
        change: Tensor = self.change(torch.cat([self.scaled(z), action], dim=-1))
        return z + (change if self.scale is None else change / self.scale)

    def scaled(self, z: Tensor) -> Tensor:
        """Return a latent in the scale of the layers, in which its error counts."""
        return scaled(z, self.scale)


class InverseModel(nn.Module):
    """h: latents (B, D) and (B, D) -> the actions between them (B, K*A)."""

    def __init__(self, latent: int, action_size: int, hidden: int, layers: str = 'relu') -> None:
        super().__init__()
        self.layers = readout(layers, 2 * latent, hidden, action_size)

    @torch.no_grad()
    def start_from_difference(self) -> None:
        """
        Set first weights that depend on the difference of two latents alone.

        What both latents share, such as the light or the place of the camera, is no clue to the
        action, and where appearances vary, an untrained encoder outputs little else.
        """
        weight = next(self.layers.parameters())  # (hidden, 2D) of the first layer
        now, then = weight.chunk(2, dim=1)
        then.mul_(CHANGE)
        now.copy_(-then)

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Infer the normalised actions."""
        action: Tensor = self.layers(torch.cat([z, z_next], dim=-1))
        return action


class Heads(nn.Module):
    """
    An ensemble of small forward models that differ in their initial weights.

    Their predictions agree near the training data and disagree away from it.
    """

    def __init__(self, latent: int, action_size: int, count: int, hidden: int = 64) -> None:
        super().__init__()
        sizes = (latent + action_size, hidden, hidden, latent)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size_in, size_out in pairwise(sizes):
            bound = size_in**-0.5
            shape = (count, size_in, size_out)
            self.weights.append(nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
            bias = torch.empty(count, 1, size_out).uniform_(-bound, bound)
            self.biases.append(nn.Parameter(bias))

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step: (..., D), (..., K*A) -> (E, ..., D)."""
        rows = torch.cat([z, action], dim=-1).flatten(0, -2)
        x = rows.expand(len(self.weights[0]), -1, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x if number == 0 else x.relu(), weight)
        return z + x.reshape(-1, *z.shape)
