# SPDX-License-Identifier: Apache-2.0
"""
The actor: a policy that is trained with the world model, from the same windows.

It takes a latent and an intent, the difference from that latent to a later one, and returns the
raw actions of the next model step. A later frame of the same drive is the goal (hindsight
relabelling). `intent` is also called with the next frame of the window, which makes it an inverse
model; its output is a Gaussian. `steps_left` also takes the number of raw steps until the goal, so
that it can drive faster or slower to the same goal; its output is one action.
"""

from __future__ import annotations

from smwm_ros.config import Model, STEPS_LEFT
from smwm_ros.interfaces import Window
from smwm_ros.model.networks import scaled
import torch
from torch import nn, Tensor

LAYERS = 3
EMBEDDING = 64  # numbers that the steps left are turned into
LOG_STD = (-5.0, 2.0)  # limits of the logarithm of the standard deviation
# `steps_left` makes a plan for each of these [model steps], since nothing shows how far a goal is.
STEPS = (1, 2, 3, 5, 8, 12)


class Actor(nn.Module):
    """Latent, intent and raw steps left -> mean and log std of K*A normalised raw actions."""

    scale: Tensor | None
    steps: Tensor  # (P,) model steps left for which plans are made; P is 1 for `intent`

    def __init__(
        self,
        config: Model,
        latent: int,
        action_size: int,
        hidden: int,
        scale: Tensor | None = None,  # (D,) of the latent in the layers; None for 1
    ) -> None:
        super().__init__()
        self.register_buffer('scale', scale, persistent=False)
        self.config = config
        self.timed = config.actor == STEPS_LEFT
        # A buffer, since a CUDA graph cannot record a copy from the CPU.
        steps = torch.tensor(STEPS if self.timed else STEPS[:1], dtype=torch.float32)
        self.register_buffer('steps', steps, persistent=False)
        self.inputs = nn.ModuleList(
            nn.Linear(size, hidden) for size in (3 * latent, *[hidden] * (LAYERS - 1))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(LAYERS))
        self.mean = nn.Linear(hidden, action_size)
        self.log_std = None if self.timed else nn.Linear(hidden, action_size)
        self.time: nn.Sequential | None = None
        if self.timed:  # scales and shifts each layer, and changes nothing at first
            last = nn.Linear(EMBEDDING, 2 * LAYERS * hidden)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.time = nn.Sequential(nn.Linear(2, EMBEDDING), nn.GELU(), last)

    def forward(
        self, z: Tensor, goal: Tensor, left: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return mean and log std (..., K*A) from z (..., D) to goal, `left` (...,) raw steps."""
        z, goal = scaled(z, self.scale), scaled(goal, self.scale)
        intent = goal - z
        x = torch.cat([z, intent, z * intent], dim=-1)
        changes = None
        if self.time:
            assert left is not None
            known = torch.stack([left / 50, left.clamp(min=1).log() / 4], dim=-1)
            changes = self.time(known).chunk(2 * LAYERS, dim=-1)
        for number, (linear, norm) in enumerate(zip(self.inputs, self.norms, strict=True)):
            x = norm(linear(x))
            if changes:
                x = x * (1 + changes[2 * number]) + changes[2 * number + 1]
            x = nn.functional.gelu(x)
        log_std = self.log_std(x).clamp(*LOG_STD) if self.log_std else None
        return self.mean(x), log_std

    def errors(
        self, z: Tensor, goal: Tensor, actions: Tensor, left: Tensor | None = None
    ) -> Tensor:
        """Return the loss of each action (..., K*A): squared error, or negative log likelihood."""
        mean, log_std = self(z, goal, left)
        squares: Tensor = (mean - actions).square()
        if log_std is None:
            return squares
        nll: Tensor = 0.5 * squares * torch.exp(-2 * log_std) + log_std
        return nll

    def terms(
        self, z: Tensor, goal: Tensor, batch: Window, weight: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the weighted losses for frames (T+1, B, D), goals (B, D) and weights (T, B)."""
        assert batch.goal
        now, actions, left = z[:-1], batch.action, batch.goal.left
        # No gradient into the goal, or goals would move to where few actions lead.
        errors = self.errors(now, goal.detach().expand_as(now), actions, left[..., 0])
        # Actions after the goal are not on the way to it.
        share = (left > 0).to(errors.dtype)  # (T, B, K)
        if weight is not None:
            share = share * weight.unsqueeze(-1)
        each = errors.reshape(*left.shape, -1).mean(dim=-1)
        ahead = (each * share).sum() / share.sum().clamp(min=1)
        terms = {'actor': self.config.actor_weight * ahead}
        if not self.timed and self.config.actor_local_weight:
            near = self.errors(now, z[1:], actions).mean(dim=-1)
            near = near if weight is None else near * weight
            terms['actor_local'] = self.config.actor_local_weight * near.mean()
        return terms
