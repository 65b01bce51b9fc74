# SPDX-License-Identifier: Apache-2.0
"""The cross-entropy method is that of the paper: beside the solver of stable-worldmodel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from peer_cem import ACTION, BentWorld, LATENT, peer_plan, SEED, VECTORS
import pytest
from smwm_ros.config import Planner
from smwm_ros.planning.planner import make_planner, SearchPlanner
import torch
from torch import Tensor

TOLERANCE = 1e-4
UNBOUNDED = torch.full((ACTION,), 1e6)


class Replay:
    """Noise that was drawn before."""

    def __init__(self, noise: Tensor) -> None:
        self._noise = noise  # (iterations, N, T, K*A)
        self.seed(0)

    def seed(self, seed: int) -> None:
        self._draws: Iterator[Tensor] = iter(self._noise.clone())

    def draw(self) -> Tensor:
        return next(self._draws)


def paper(world: BentWorld, **knobs: Any) -> SearchPlanner:
    settings = Planner(cost='last', init_std=1.0, min_std=0.0, seed=SEED, **knobs)
    # A search predicts, and needs nothing else of a world model.
    planner = make_planner(world, settings, -UNBOUNDED, UNBOUNDED)  # type: ignore[arg-type]
    assert isinstance(planner, SearchPlanner)
    return planner


def test_each_iteration_is_that_of_the_solver_on_frozen_vectors() -> None:
    with np.load(VECTORS) as file:
        found = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    world = BentWorld(found['inwards'], found['outwards'])
    iterations, samples, steps, _ = found['noise'].shape
    size = {'samples': samples, 'elites': int(found['elites']), 'horizon': steps}
    z, goal = found['z'], found['goal']
    for number in range(iterations):
        planner = paper(world, **size, iterations=number + 1)
        planner._search.noise = Replay(found['noise'])  # type: ignore[assignment]
        plan = planner.plan(z, goal)
        assert torch.allclose(plan.actions, found['means'][number], atol=TOLERANCE)
        assert plan.spread == pytest.approx(float(found['stds'][number].mean()), abs=TOLERANCE)
    noise = found['noise'][-1].clone()
    noise[0] = 0
    tried = (found['means'][-2] + found['stds'][-2] * noise)[None]
    assert torch.allclose(
        planner._costs(z[None], goal[None], tried)[0], found['costs'], atol=TOLERANCE
    )


def test_a_plan_with_the_settings_of_the_paper_is_that_of_the_package() -> None:
    pytest.importorskip('stable_worldmodel', reason='stable-worldmodel 0.1.1 is not installed')
    size = {'samples': 300, 'iterations': 30, 'elites': 30}
    for number in range(3):
        world = BentWorld.drawn(number)
        torch.manual_seed(number)
        z, goal = torch.randn(2, LATENT)
        peer = peer_plan(world, z, goal, **size, steps=5)
        plan = paper(world, **size, horizon=5).plan(z, goal)
        assert torch.allclose(plan.actions, peer.means[-1], atol=TOLERANCE)
        assert plan.spread == pytest.approx(float(peer.stds[-1].mean()), abs=TOLERANCE)
        info = {'z': z[None, None], 'goal': goal[None, None]}
        cost = world.get_cost(info, peer.means[-1][None, None])
        assert plan.cost == pytest.approx(float(cost), abs=TOLERANCE)
