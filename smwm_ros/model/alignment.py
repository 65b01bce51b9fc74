# SPDX-License-Identifier: Apache-2.0
"""
Losses over the pairs of frames in a window: of measured states, of their changes, of actions.

All of them shape the latent in training. Planning reads the state alone (planner.focus).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from smwm_ros import config
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array, Obs
from smwm_ros.model.networks import perceptron, readout
import torch
from torch import nn, Tensor

GRID = 16  # cells of a coarse picture, along each side
STILL = 1e-3  # variance of a cell below which it counts as still; pixels are from 0 to 2


class StateHead(nn.Module):
    """
    Reads the measured state off two latents: (B, D), (B, D) -> (B, P) at the second of them.

    Two, because one image does not show a velocity. The fields are those of model.state_fields,
    then the velocities of model.velocity_fields.
    """

    mean: Tensor  # (P,) of what is read, in recorded units
    std: Tensor  # (P,)
    columns: Tensor  # (P - V,) of the measured state, where fields were chosen
    moving: Tensor  # (P,) bool, what a single image does not show
    change_std: Tensor  # (P - V,) of the change of fields in a model step

    def __init__(
        self, latent: int, state_size: int, hidden: int, settings: config.Model | None = None
    ) -> None:
        super().__init__()
        settings = settings or config.Model()
        chosen = len(expand(settings.state_fields))
        self.places = chosen or state_size
        size = self.places + len(expand(settings.velocity_fields))
        self._recorded, self._every = state_size, settings.state_frames == config.ALL
        self.layers = readout(settings.readout, 2 * latent, hidden, size)
        self.register_buffer('mean', torch.zeros(size))
        self.register_buffer('std', torch.ones(size))
        if chosen:
            self.register_buffer('columns', torch.arange(chosen))
        self._selects = chosen > 0
        if self._every:
            self.register_buffer('moving', torch.arange(size) >= self.places)
        self.change = None
        if settings.state_change_weight:
            self.change = readout(settings.readout, 2 * latent, hidden, self.places)
            self.register_buffer('change_std', torch.ones(self.places))

    def forward(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Predict the normalised state."""
        state: Tensor = self.layers(torch.cat([z, z_next], dim=-1))
        return state

    def at_rest(self, z: Tensor, columns: Tensor) -> Tensor:
        """Predict columns of the normalised state, assuming no motion: (..., D) -> (..., V)."""
        state: Tensor = self(z, z)
        return state.index_select(-1, columns)  # a Python list would be copied to a GPU each time

    def fit(self, mean: Array, std: Array) -> None:
        """Set mean (P,) and standard deviation (P,) of what is read."""
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))

    def choose(self, columns: Sequence[int], moving: Array, change_std: Array) -> None:
        """Set the columns of the measured state that are read, and what is known of each."""
        if self._selects:
            self.columns.copy_(torch.tensor(columns))
        if self._every:
            self.moving.copy_(torch.from_numpy(moving))
        if self.change:
            self.change_std.copy_(torch.from_numpy(change_std))

    def targets(self, state: Tensor) -> Tensor:
        """Return the normalised fields (..., P) of recorded states, NaN where unmeasured."""
        places, velocities = state[..., : self._recorded], state[..., self._recorded :]
        if self._selects:
            places = places.index_select(-1, self.columns)
        missing = len(self.mean) - places.shape[-1] - velocities.shape[-1]
        if missing:  # only training derives velocities
            velocities = state.new_full((*state.shape[:-1], missing), torch.nan)
        return (torch.cat([places, velocities], dim=-1) - self.mean) / self.std

    def error(self, z: Tensor, z_next: Tensor, state: Tensor) -> Tensor:
        """Return the mean squared error over measured states (B, P), 0 where none was measured."""
        return masked_error(self(z, z_next), self.targets(state))

    def window_error(self, z: tuple[Tensor, ...], state: Tensor) -> Tensor:
        """Return the mean squared error over the frames of a window; states are (T+1, B, P)."""
        now, then, true = torch.cat(z[:-1]), torch.cat(z[1:]), self.targets(state)
        if not self._every:
            return masked_error(self(now, then), true[1:].flatten(0, 1))
        shown = true[:1].masked_fill(self.moving, torch.nan)
        true = torch.cat([shown, true[1:]]).flatten(0, 1)
        return masked_error(self(torch.cat([z[0], now]), torch.cat([z[0], then])), true)

    def change_error(self, z: Sequence[Tensor], state: Tensor) -> Tensor:
        """Return the mean squared error of the changes between any two frames of a window."""
        return masked_error(*self.changes(z, state))

    def changes(self, z: Sequence[Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changes between any two frames of a window (n, P - V), as read and true."""
        assert self.change
        true = self.targets(state)[..., : self.places] * self._scale
        read, changes = [], []
        for i, j in combinations(range(len(z)), 2):
            read.append(torch.cat([z[i], z[j]], dim=-1))
            changes.append(true[j] - true[i])
        return self.change(torch.cat(read)), torch.cat(changes)

    @property
    def _scale(self) -> Tensor:
        """Return the standard deviation of states over that of changes (P - V,)."""
        return self.std[: self.places] / self.change_std


class PictureHead(nn.Module):
    """
    Reads a coarse picture off a latent: (B, D) -> (B, 3*GRID*GRID).

    Each cell of the picture has mean 0 and variance 1 in a batch. The loss is small where a latent
    shows how everything in the image lies.
    """

    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self._latent = latent
        self.layers = perceptron(latent, hidden, 3 * GRID * GRID)

    def forward(self, z: Tensor) -> Tensor:
        """Predict the normalised cells."""
        cells: Tensor = self.layers(z)
        return cells

    def error(self, frames: Sequence[Tensor], shown: Obs) -> Tensor:
        """Return the mean squared error for the latents (T+1, B, W) of what was shown."""
        newest = shown.pixels.flatten(0, 1)[:, -3:].float() / 127.5
        cells = nn.functional.adaptive_avg_pool2d(newest, GRID).flatten(1)
        # Cells that change count alike; the noise of a camera does not.
        away = cells - cells.mean(dim=0)
        true = away * (away.square().mean(dim=0) + STILL).rsqrt()
        z = torch.cat(tuple(frames))[:, : self._latent]  # without how it changed
        error: Tensor = (self(z) - true).square().mean()
        return error


class FarInverse(nn.Module):
    """Infers the actions of the first model step from two latents that are further apart."""

    def __init__(self, latent: int, action_size: int, hidden: int, layers: str) -> None:
        super().__init__()
        self.layers = readout(layers, 2 * latent + 1, hidden, action_size)

    def pairs(self, z: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield, for each two frames that are no neighbours, the first and the actions there."""
        for i, j in combinations(range(len(z)), 2):
            if j > i + 1:
                apart = z[i].new_full((len(z[i]), 1), 1.0 / (j - i))
                yield i, self.layers(torch.cat([z[i], z[j] - z[i], apart], dim=-1))


def masked_error(read: Tensor, true: Tensor) -> Tensor:
    """Return the mean squared error over known numbers, 0 where none is known."""
    known = true.isfinite()
    # NaN times 0 is NaN, also in the gradient, so unknown numbers are replaced first.
    squares = (read - torch.where(known, true, 0.0)).square() * known
    return squares.sum() / known.sum().clamp(min=1)
