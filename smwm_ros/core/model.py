# SPDX-License-Identifier: Apache-2.0
"""
The sensorimotor world model: encoder f, forward model g, inverse model h.

f turns a camera image into a small latent z. g says where K raw actions take z. h reads the
actions back from two latents, which forbids f to forget what the robot controls. All three learn
together and gradients flow into both latents; nothing is stopped or averaged.
"""

from __future__ import annotations

from smwm_ros.config import Model
from smwm_ros.core.interfaces import Obs, Window
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows


def perceptron(size_in: int, hidden: int, size_out: int) -> nn.Sequential:
    """Make a network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(size_in, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, size_out),
    )


class Encoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, D)."""

    def __init__(self, image_size: int, latent: int, hidden: int) -> None:
        super().__init__()
        channels, side = 16, image_size // 4
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=4), nn.ReLU(inplace=True)]
        while side > 4:
            wider = min(2 * channels, 64)
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            channels, side = wider, (side + 1) // 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        # BatchNorm gives every latent direction the same scale, which makes lambda easy to choose.
        self.head = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, latent),
            nn.BatchNorm1d(latent),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode; the pixels are scaled to -1..1 here, so that nobody else has to know."""
        # In place: fresh memory for a batch of images costs more than the arithmetic.
        z: Tensor = self.head(self.features(pixels.float().div_(127.5).sub_(1.0)))
        return z


class ForwardModel(nn.Module):
    """g: latent (..., D) and actions (..., K*A) -> next latent (..., D), as z + change."""

    def __init__(self, latent: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.change = perceptron(latent + action_size, hidden, latent)

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step."""
        change: Tensor = self.change(torch.cat([z, action], dim=-1))
        return z + change


class InverseModel(nn.Module):
    """h: latents (B, D) and (B, D) -> the actions between them (B, K*A)."""

    def __init__(self, latent: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.layers = perceptron(2 * latent, hidden, action_size)

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Infer the normalised actions."""
        action: Tensor = self.layers(torch.cat([z, z_next], dim=-1))
        return action


class Smwm(nn.Module):
    """
    L = mean((g(f(o), a) - f(o'))^2) + lambda * mean((h(f(o), f(o')) - a)^2).

    In windows of several steps, g goes on from its own prediction, and h sees neighbouring frames.
    """

    def __init__(self, config: Model, image_size: int, action_size: int) -> None:
        super().__init__()
        self.inverse_weight = config.inverse_weight
        self.encoder = Encoder(image_size, config.latent, config.hidden)
        self.forward_model = ForwardModel(config.latent, action_size, config.hidden)
        self.inverse_model = InverseModel(config.latent, action_size, config.hidden)

    def encode(self, obs: Obs) -> Tensor:
        """f: pixels (B, 3, S, S) -> (B, D)."""
        z: Tensor = self.encoder(obs.pixels)
        return z

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), (B, K*A) -> (B, D)."""
        z_next: Tensor = self.forward_model(z, action)
        return z_next

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A)."""
        action: Tensor = self.inverse_model(z, z_next)
        return action

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        # One pass for all frames, so that BatchNorm sees them as one set.
        frames = Obs(*(part.flatten(0, 1) for part in batch.obs))
        z = self.encode(frames).chunk(len(batch.obs.pixels))  # T+1 times (B, D)
        imagined, errors = z[0], []
        for action, z_next in zip(batch.action, z[1:], strict=True):
            imagined = self.predict(imagined, action)
            errors.append(F.mse_loss(imagined, z_next))
        forward = torch.stack(errors).mean()
        inferred = self.infer(torch.cat(z[:-1]), torch.cat(z[1:]))
        inverse = F.mse_loss(inferred, batch.action.flatten(0, 1))
        return {'forward': forward, 'inverse': self.inverse_weight * inverse}


def make_model(config: Model, image_size: int, action_size: int) -> Smwm:
    """Build the model that a config describes; action_size is K*A."""
    return Smwm(config, image_size, action_size)
