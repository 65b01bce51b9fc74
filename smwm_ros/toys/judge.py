# SPDX-License-Identifier: Apache-2.0
"""Measure what a model kept of a toy world, on held-out transitions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.evaluation.examine import significant, spectrum
from smwm_ros.evaluation.probes import linear
from smwm_ros.interfaces import Array, Obs, Window
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.regression import r2
from smwm_ros.toys.dots import Moves
from smwm_ros.toys.worlds import draw, JUDGE, Toy
from smwm_ros.training.metrics import measure
import torch

COUNT = 1000


class Found(NamedTuple):
    """Measurements of one model."""

    measures: dict[str, float]
    probes: dict[str, float]  # by state: R2 of a linear probe, fitted to half of the latents
    kept: dict[str, float]  # by state: share of the latent's variance that it alone explains
    shares: Array  # (D,) of the variance of the latent, falling
    latents: Array  # (2n, D) of the frames before, then those after
    moves: Moves

    @property
    def significant(self) -> int:
        """Return the number of significant principal directions."""
        return significant(self.shares, self.measures['latent_std'])


@torch.inference_mode()
def judge(toy: Toy, checkpoint: Checkpoint, seed: int, count: int = COUNT) -> Found:
    """Measure a model on fresh transitions."""
    moves = draw(toy, seed, JUDGE, count, checkpoint.image_size)
    window = _window(moves, checkpoint)
    model = checkpoint.model
    before, after = (part.numpy() for part in model.latents(window))
    states = moves.state[:, 0]
    half = count // 2
    read = linear(before[:half], states[:half])(before[half:])
    probes = zip(toy.world.states, r2(read, states[half:]).tolist(), strict=True)
    return Found(
        measure(model, window),
        dict(probes),
        dict(zip(toy.world.states, _alone(states, before), strict=True)),
        spectrum(before),
        np.concatenate([before, after]),
        moves,
    )


def _alone(states: Array, latents: Array) -> list[float]:
    """
    Return for each state the share of the latents' variance that is explained by it alone.

    Positions of things that never overlap are slightly correlated.
    """
    total = max(float(latents.var(0).sum()), float(np.finfo(np.float32).tiny))

    def missed(some: Array) -> float:
        return float((latents - linear(some, latents)(some)).var(0).sum()) / total

    everything = missed(states)
    return [missed(np.delete(states, at, axis=1)) - everything for at in range(states.shape[1])]


def _window(moves: Moves, checkpoint: Checkpoint) -> Window:
    """Return transitions as a model sees them."""
    pixels = torch.from_numpy(moves.pixels).permute(1, 0, 4, 2, 3)
    action = checkpoint.scaler.normalise(moves.action).astype(np.float32)
    states = torch.from_numpy(moves.state).transpose(0, 1)
    return Window(Obs(pixels, states), torch.from_numpy(action)[None])
