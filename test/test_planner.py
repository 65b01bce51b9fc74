# SPDX-License-Identifier: Apache-2.0
"""Laws of planning, in a latent world of known dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros.config import Planner
from smwm_ros.interfaces import WorldModel
from smwm_ros.model.any_model import make_model
from smwm_ros.planning.planner import make_planner, SearchPlanner
from smwm_ros.planning.search import CancelledError
import torch
from torch import Tensor
from worlds import PointMass, SIZE, TINY

BLOCK = 3
SETTINGS = Planner(horizon=4, samples=64, iterations=8, elites=8, cost='last')
TIME_WEIGHT = SETTINGS.time_weight
LOW, HIGH = torch.full((2 * BLOCK,), -0.5), torch.full((2 * BLOCK,), 0.7)


def planner(model: WorldModel | None = None, **knobs: Any) -> SearchPlanner:
    settings = replace(SETTINGS, **knobs)
    made = make_planner(model or PointMass(), settings, LOW, HIGH, BLOCK)
    assert isinstance(made, SearchPlanner)
    return made


class Spy(PointMass):
    """Keeps every action that it is asked about, and charges the given cost."""

    def __init__(self, charge: Callable[[Tensor], Tensor] = torch.zeros_like) -> None:
        self.seen: list[Tensor] = []
        self.charge = charge

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        self.seen.append(action)
        place = super().predict(z, action)
        return place + self.charge(place)


@pytest.mark.parametrize('cost', ['sum', 'last', 'nearest'])
def test_a_reachable_goal_is_reached(cost: str) -> None:
    z, goal = torch.tensor([1.0, -1.0]), torch.tensor([2.5, 0.5])
    plan = planner(cost=cost).plan(z, goal)
    path = z + plan.actions.reshape(4, BLOCK, 2).sum(dim=1).cumsum(dim=0)
    far = torch.linalg.vector_norm(path - goal, dim=1)
    assert float(far.min() if cost == 'nearest' else far[-1]) < 0.15
    assert plan.actions.shape == (4, 2 * BLOCK)


def test_the_cost_is_that_of_the_returned_actions() -> None:
    z, goal = torch.zeros(2), torch.ones(2)
    last = planner(cost='last').plan(z, goal)
    path = z + last.actions.reshape(4, BLOCK, 2).sum(dim=1).cumsum(dim=0)
    away = (path - goal).square().sum(dim=1)
    assert last.cost == pytest.approx(float(away[-1]), rel=1e-4)
    total = planner(cost='sum').plan(z, goal)
    path = z + total.actions.reshape(4, BLOCK, 2).sum(dim=1).cumsum(dim=0)
    assert total.cost == pytest.approx(float((path - goal).square().sum()), rel=1e-4)
    near = planner(cost='nearest').plan(z, goal)
    path = z + near.actions.reshape(4, BLOCK, 2).sum(dim=1).cumsum(dim=0)
    far = torch.linalg.vector_norm(path - goal, dim=1)
    assert near.cost == pytest.approx(float(far.min() + TIME_WEIGHT * far.sum()), rel=1e-4)


def test_summing_the_cost_hurries_to_a_near_goal() -> None:
    z, goal = torch.zeros(2), torch.full((2,), 1.5)
    first = {cost: planner(cost=cost).plan(z, goal).actions[0].sum() for cost in ('sum', 'last')}
    assert first['sum'] > first['last'] + 0.2


def test_the_nearest_approach_favours_a_way_round_over_standing_nearer() -> None:
    far = torch.tensor([[0.6, 0.6, 0.6, 0.6], [1.1, 0.9, 0.5, 0.0], [1.1, 0.9, 0.0, 0.5]])
    places = torch.stack([far, torch.zeros_like(far)], dim=-1)  # (N, T, 2), the goal at 0
    moves = torch.diff(places, dim=1, prepend=torch.ones(3, 1, 2) * torch.tensor([1.0, 0.0]))
    samples = torch.zeros(1, 3, 4, BLOCK, 2)
    samples[0, :, :, 0] = moves
    z, goal = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    found = {
        name: planner(cost=name)._costs(z, goal, samples.flatten(3))[0].argmin().item()
        for name in ('sum', 'last')
    }
    assert found == {'sum': 0, 'last': 1}
    near = planner(cost='nearest')._costs(z, goal, samples.flatten(3))[0]
    assert near.tolist() == pytest.approx(
        [0.6 + TIME_WEIGHT * 2.4, TIME_WEIGHT * 2.5, TIME_WEIGHT * 2.5], abs=1e-5
    )


def test_a_seed_gives_one_plan() -> None:
    z, goal = torch.zeros(2), torch.ones(2)
    one, two = planner(), planner()
    assert torch.equal(one.plan(z, goal).actions, two.plan(z, goal).actions)
    one.reset()
    again = one.plan(z, goal)
    two.reset()
    assert torch.equal(again.actions, two.plan(z, goal).actions)
    assert not torch.equal(again.actions, planner(seed=1).plan(z, goal).actions)


@given(st.integers(1, 4 * BLOCK - 1), st.integers(0, 100))
def test_a_warm_start_is_the_last_plan_shifted(raw_steps: int, seed: int) -> None:
    spy = Spy()
    warm = planner(spy, seed=seed)
    before = warm.plan(torch.zeros(2), torch.ones(2)).actions.reshape(-1, 2)
    warm.shift(raw_steps)
    spy.seen.clear()
    warm.plan(torch.zeros(2), torch.ones(2))
    tried = torch.stack([action[0, 0] for action in spy.seen[:4]])  # sample 0 is the mean
    shifted = torch.cat([before[raw_steps:], before[-1:].expand(raw_steps, -1)])
    assert torch.equal(tried.reshape(-1, 2), shifted)


@pytest.mark.parametrize('knobs', [{'warm_start': False}, {}])
def test_a_start_is_cold_when_asked_for_or_when_the_plan_is_used_up(knobs: dict[str, Any]) -> None:
    spy = Spy()
    cold = planner(spy, **knobs)
    cold.plan(torch.zeros(2), torch.ones(2))
    cold.shift(1 if knobs else 4 * BLOCK)
    spy.seen.clear()
    cold.plan(torch.zeros(2), torch.ones(2))
    assert all((action[0, 0] == 0).all() for action in spy.seen[:4])


limits = st.tuples(st.floats(-3, 3, width=32), st.floats(0.0625, 3, width=32))


@given(st.lists(limits, min_size=2, max_size=2), st.floats(0.01, 5), st.integers(0, 2**31 - 1))
def test_every_action_tried_or_returned_is_inside_the_bounds(
    bounds: list[tuple[float, float]], init_std: float, seed: int
) -> None:
    low = torch.tensor([start for start, _ in bounds] * BLOCK)
    high = low + torch.tensor([width for _, width in bounds] * BLOCK)
    spy = Spy()
    settings = replace(SETTINGS, samples=12, elites=4, iterations=3, init_std=init_std, seed=seed)
    cem = make_planner(spy, settings, low, high, BLOCK)
    assert isinstance(cem, SearchPlanner)
    for goal in (torch.full((2,), 9.0), torch.full((2,), -9.0)):
        plan = cem.plan(torch.zeros(2), goal)
        for actions in (*spy.seen, plan.actions):
            assert (actions >= low).all()
            assert (actions <= high).all()
        cem.shift(2)


def test_what_has_no_cost_is_never_among_the_best() -> None:
    def charge(place: Tensor) -> Tensor:  # the goal lies where the model knows nothing
        return torch.where(place[..., :1] > 0.4, torch.nan, 0.0)

    plan = planner(Spy(charge)).plan(torch.zeros(2), torch.tensor([0.6, 0.0]))
    assert np.isfinite(plan.cost)
    assert float(plan.actions.reshape(-1, 2)[:, 0].sum()) <= 0.4


def test_a_world_without_any_cost_leaves_a_plan_inside_the_bounds() -> None:
    plan = planner(Spy(lambda place: torch.full_like(place, torch.nan))).plan(
        torch.zeros(2), torch.ones(2)
    )
    assert not np.isfinite(plan.cost)
    assert torch.equal(plan.actions, torch.zeros_like(plan.actions))


def test_the_spread_keeps_above_its_floor() -> None:
    plan = planner(min_std=0.25, iterations=20).plan(torch.zeros(2), torch.zeros(2))
    assert plan.spread >= 0.25
    assert planner(min_std=0.0, iterations=20).plan(torch.zeros(2), torch.ones(2)).spread < 0.2


def test_the_first_refit_is_mean_and_unbiased_deviation_of_the_best() -> None:
    spy = Spy()
    plan = planner(spy, iterations=1, min_std=0.0, cost='sum').plan(torch.zeros(2), torch.ones(2))
    samples = torch.stack(spy.seen[:4], dim=2)[0]  # (N, T, K*A)
    path = samples.reshape(64, 4, BLOCK, 2).sum(dim=2).cumsum(dim=1)
    cost = (path - 1).square().sum(dim=(1, 2))
    best = samples[cost.argsort()[:8]]
    assert torch.allclose(plan.actions, best.mean(dim=0), atol=1e-6)
    assert plan.spread == pytest.approx(float(best.std(dim=0).mean()), rel=1e-5)


def test_many_problems_at_once_are_solved_as_each_would_be_alone() -> None:
    torch.manual_seed(0)
    model = make_model(TINY, SIZE, 2 * BLOCK).eval()
    z, goal = torch.randn(5, TINY.latent), torch.randn(5, TINY.latent)
    together = planner(model).plan_many(z, goal)
    for number in range(5):
        alone = planner(model).plan(z[number], goal[number])
        assert torch.allclose(together.actions[number], alone.actions, atol=1e-4)
        assert float(together.cost[number]) == pytest.approx(alone.cost, rel=1e-3)


def test_problems_that_are_over_leave_the_plans_of_the_others_as_they_were() -> None:
    torch.manual_seed(1)
    model = make_model(TINY, SIZE, 2 * BLOCK).eval()
    z, goal = torch.randn(4, TINY.latent), torch.randn(4, TINY.latent)
    together = planner(model)
    together.plan_many(z, goal)
    together.shift(2)
    together.keep([1, 3])
    later = together.plan_many(z[[1, 3]] + 0.1, goal[[1, 3]])
    for row, number in enumerate((1, 3)):
        alone = planner(model)
        alone.plan(z[number], goal[number])
        alone.shift(2)
        plan = alone.plan(z[number] + 0.1, goal[number])
        assert torch.allclose(later.actions[row], plan.actions, atol=1e-4)


def test_latents_and_bounds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r'latents of width 2, .* found 3'):
        planner().plan(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match=r'found z of \(4, 2\) and goals of \(1, 2\)'):
        planner().plan_many(torch.zeros(4, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match='bounds: expected low <= high'):
        make_planner(PointMass(), SETTINGS, HIGH, LOW, BLOCK)
    with pytest.raises(ValueError, match='elites: 65 is more than the 64 samples'):
        replace(SETTINGS, elites=65)


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_smooth_samples_share_their_noise_within_a_model_step_and_no_further(share: float) -> None:
    spy = Spy()
    settings = replace(SETTINGS, samples=4000, iterations=1, smooth=share, init_std=1.0)
    wide = torch.full((2 * BLOCK,), 99.0)
    make_planner(spy, settings, -wide, wide, BLOCK).plan_many(torch.zeros(1, 2), torch.ones(1, 2))
    tried = torch.stack(spy.seen[:4], dim=2)[0, 1:]  # (N, T, K*A)
    raw = tried.reshape(-1, 4 * BLOCK, 2).permute(2, 1, 0)  # (A, T*K, N)
    for field in raw:
        step = torch.arange(4 * BLOCK) // BLOCK
        wanted = torch.where(step[:, None] == step, share, 0.0)
        wanted.fill_diagonal_(1.0)
        assert torch.allclose(torch.cov(field), wanted, atol=0.1)
    assert abs(float(torch.corrcoef(raw.flatten(1))[0, 1])) < 0.05


@pytest.mark.parametrize('knobs', [{}, {'refine': 50}, {'kind': 'icem'}, {'budget_ms': 1000.0}])
def test_a_search_that_is_cancelled_ends_before_its_next_round(knobs: dict[str, Any]) -> None:
    z, goal = torch.zeros(2), torch.ones(2)
    made = planner(**knobs)
    usual = made.plan(z, goal)
    made.reset()
    asked = 0

    def charge(place: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        made.cancel()
        return torch.zeros_like(place)

    cancelled = planner(Spy(charge), **knobs)
    made = cancelled
    with pytest.raises(CancelledError):
        cancelled.plan(z, goal)
    assert asked <= SETTINGS.horizon, 'one look at one set of samples'
    with pytest.raises(CancelledError):  # it stays so
        cancelled.plan(z, goal)
    fresh = planner(**knobs)
    fresh.cancel()
    fresh.reset()
    assert torch.equal(fresh.plan(z, goal).actions, usual.actions)
