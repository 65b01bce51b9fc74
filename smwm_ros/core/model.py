# SPDX-License-Identifier: Apache-2.0
"""
The sensorimotor world model: encoder f, forward model g, inverse model h.

f turns a camera image into a small latent z. g says where K raw actions take z. h reads the
actions back from two latents, which forbids f to forget what the robot controls. All three learn
together and gradients flow into both latents; nothing is stopped or averaged.
"""

from __future__ import annotations

from smwm_ros.config import Model
from smwm_ros.core.interfaces import Obs, Transition
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows


class Encoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, D)."""

    def __init__(self, image_size: int, latent: int, hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 4, stride=4), nn.ReLU()]
        side, channels = image_size // 4, 32
        while side > 4:
            layers += [nn.Conv2d(channels, 64, 3, stride=2, padding=1), nn.ReLU()]
            side, channels = (side + 1) // 2, 64
        self.features = nn.Sequential(*layers, nn.Flatten())
        # BatchNorm gives every latent direction the same scale, which makes lambda easy to choose.
        self.head = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(),
            nn.Linear(hidden, latent),
            nn.BatchNorm1d(latent),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode; the pixels are scaled to -1..1 here, so that nobody else has to know."""
        z: Tensor = self.head(self.features(pixels.float() / 127.5 - 1.0))
        return z


class ForwardModel(nn.Module):
    """g: latent (..., D) and actions (..., K*A) -> next latent (..., D), as z + change."""

    def __init__(self, latent: int, action_size: int, hidden: int) -> None:
        super().__init__()
        # One linear layer of [z, action], kept as two so that a rollout can do the second ahead.
        self.from_z = nn.Linear(latent, hidden)
        self.from_action = nn.Linear(action_size, hidden, bias=False)
        self.change = nn.Sequential(
            nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, latent)
        )

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step."""
        return self.step(z, self.from_action(action))

    def step(self, z: Tensor, from_action: Tensor) -> Tensor:
        """Predict one model step from what the first layer made of the action."""
        change: Tensor = self.change(self.from_z(z) + from_action)
        return z + change


class InverseModel(nn.Module):
    """h: latents (B, D) and (B, D) -> the actions between them (B, K*A)."""

    def __init__(self, latent: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, action_size),
        )

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Infer the normalised actions."""
        action: Tensor = self.layers(torch.cat([z, z_next], dim=-1))
        return action


class Smwm(nn.Module):
    """L = mean((g(f(o), a) - f(o'))^2) + lambda * mean((h(f(o), f(o')) - a)^2)."""

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

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps: (..., D), (..., T, K*A) -> (..., T, D), equal to repeated predict."""
        # The action half of the first layer waits for no latent: one product for all steps.
        ahead = self.forward_model.from_action(actions)
        steps = []
        for t in range(actions.shape[-2]):
            z = self.forward_model.step(z, ahead[..., t, :])
            steps.append(z)
        return torch.stack(steps, dim=-2)

    def losses(self, batch: Transition) -> dict[str, Tensor]:
        """Return the weighted terms of the loss."""
        # One pass for both frames, so that BatchNorm sees them as one set.
        both = Obs(*(torch.cat(pair) for pair in zip(batch.obs, batch.next_obs, strict=True)))
        z, z_next = self.encode(both).chunk(2)
        forward = F.mse_loss(self.predict(z, batch.action), z_next)
        inverse = F.mse_loss(self.infer(z, z_next), batch.action)
        return {'forward': forward, 'inverse': self.inverse_weight * inverse}


def make_model(config: Model, image_size: int, action_size: int) -> Smwm:
    """Build the model that a config describes; action_size is K*A."""
    return Smwm(config, image_size, action_size)
