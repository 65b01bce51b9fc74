# SPDX-License-Identifier: Apache-2.0
"""
Let the CEM solver of stable-worldmodel plan in a small world, to compare our plans with its.

Run as a script, where that package (0.1.1) is installed, this writes peer_cem.npz beside it: the
weights of the world, start, goal and noise, and after each iteration the solver's mean and
standard deviation, and the cost of every sample of the last one.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

VECTORS = Path(__file__).with_suffix('.npz')
SEED = 1234
LATENT, ACTION = 6, 4


class BentWorld:
    """A world model that is not linear: z + tanh([z, a] W) V."""

    latent = LATENT

    def __init__(self, inwards: Tensor, outwards: Tensor) -> None:
        self.inwards, self.outwards = inwards, outwards  # (D + K*A, H), (H, D)

    @classmethod
    def drawn(cls, seed: int) -> BentWorld:
        """Draw a world."""
        rng = np.random.default_rng(seed)
        sizes = (LATENT + ACTION, 16, LATENT)
        layers = [rng.normal(0, size**-0.5, (size, to)) for size, to in pairwise(sizes)]
        return cls(*(torch.from_numpy(layer).float() for layer in layers))

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """Go one model step."""
        return z + torch.tanh(torch.cat([z, action], dim=-1) @ self.inwards) @ self.outwards

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Go several model steps: (..., D), (..., T, K*A) -> (..., T, D)."""
        steps = []
        for action in actions.unbind(dim=-2):
            z = self.predict(z, action)
            steps.append(z)
        return torch.stack(steps, dim=-2)

    def get_cost(self, info: dict[str, Any], actions: Tensor) -> Tensor:
        """Score samples (B, N, T, K*A) as the solver asks for it: last distance, squared."""
        z, goal = info['z'], info['goal']  # (B, N, D)
        return (self.rollout(z, actions)[:, :, -1] - goal).square().sum(dim=-1)


class Peer(NamedTuple):
    """What the solver found."""

    means: Tensor  # (iterations, T, K*A)
    stds: Tensor  # (iterations, T, K*A)
    costs: Tensor  # (N,) of the samples of the last iteration


def peer_plan(
    world: BentWorld,
    z: Tensor,
    goal: Tensor,
    samples: int,
    iterations: int,
    elites: int,
    steps: int,
) -> Peer:
    """Let the solver of the package plan from z (D,) to goal (D,), with noise from SEED."""
    from gymnasium.spaces import Box
    from stable_worldmodel.solver import CEMSolver

    trace: list[dict[str, Any]] = []

    class Tracer:
        output_key, history = 'trace', trace

        def reset(self) -> None:
            trace.clear()

        def start_batch(self) -> None:
            pass

        def end_solve(self) -> None:
            pass

        def __call__(self, **now: Any) -> None:
            trace.append(now)

    solver = CEMSolver(
        world,
        num_samples=samples,
        n_steps=iterations,
        topk=elites,
        seed=SEED,
        callbacks=[Tracer()],
    )
    space = Box(-1.0, 1.0, (1, ACTION))
    config = SimpleNamespace(horizon=steps, action_block=1)
    solver.configure(action_space=space, n_envs=1, config=config)
    found = solver.solve({'z': z[None], 'goal': goal[None]})
    means, stds = (torch.cat([now[name] for now in trace]) for name in ('mean', 'var'))
    assert torch.equal(found['actions'][0], means[-1])
    return Peer(means, stds, trace[-1]['costs'][0])


def main() -> None:
    """Write the vectors."""
    world = BentWorld.drawn(0)
    z, goal = torch.from_numpy(np.random.default_rng(1).normal(size=(2, LATENT))).float()
    samples, iterations, elites, steps = 40, 6, 8, 3
    peer = peer_plan(world, z, goal, samples, iterations, elites, steps)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(iterations, samples, steps, ACTION, generator=generator)
    arrays = {'inwards': world.inwards, 'outwards': world.outwards, 'z': z, 'goal': goal}
    arrays |= {'noise': noise, **peer._asdict()}
    numbers = {name: array.numpy() for name, array in arrays.items()}
    np.savez_compressed(VECTORS, elites=elites, **numbers)


if __name__ == '__main__':
    main()
