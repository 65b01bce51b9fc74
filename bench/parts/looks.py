# SPDX-License-Identifier: Apache-2.0
"""Latent actions that are inferred from images of one look, applied to images of another."""

from __future__ import annotations

import numpy as np
from parts.dot_world import DotWorld, draw, FAR, HIGH, LOW
from smwm_ros.evaluation.latent_actions import fit_probe
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint
import torch
from torch import Tensor

COUNT = 500


@torch.inference_mode()
def between_looks(run: Checkpoint, seed: int) -> dict[str, float]:
    """
    Return the error of the displacement, beside copying and a latent action of chance [px].

    The latent actions of dark images are applied at other places in light images, and linear
    probes of light maps read where the commanded dot went.
    """
    model = run.model
    assert isinstance(model, LatentActionModel)
    world = DotWorld(20_000 + seed)

    def maps(states: np.ndarray, scheme: str) -> Tensor:
        pixels = torch.from_numpy(draw(states, scheme)).permute(0, 3, 1, 2)
        return model.map_of(model.encode(pixels))

    seen = world.places(2 * COUNT)
    read = fit_probe(maps(seen, 'light'), seen[:, :2])
    start, action = world.places(COUNT), world.rng.uniform(-1, 1, (COUNT, 2))
    elsewhere = world.places(COUNT)
    moved = elsewhere[:, :2] + FAR * action
    # Where a wall stops neither dot.
    free = ((moved >= LOW) & (moved <= HIGH)).all(axis=1)
    then = world.step(start, action)
    free &= np.isclose(then[:, :2] - start[:, :2], FAR * action).all(axis=1)
    z = model.latent_action(maps(start, 'dark'), maps(then, 'dark')).mean
    s = maps(elsewhere, 'light')
    by_chance = z[torch.from_numpy(world.rng.permutation(COUNT))]

    def error(latent_action: Tensor) -> float:
        found = read(model.forward_model(s, latent_action)) - read(s)
        return float(np.linalg.norm(found - FAR * action, axis=1)[free].mean())

    return {
        'error': error(z),
        'copy': float(np.linalg.norm(FAR * action, axis=1)[free].mean()),
        'random': error(by_chance),
    }
