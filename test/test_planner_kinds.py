# SPDX-License-Identifier: Apache-2.0
"""Laws that every kind of planner keeps, and what is particular to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import gc
from itertools import pairwise
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest
from smwm_ros.config import Planner
from smwm_ros.interfaces import WorldModel
from smwm_ros.model.any_model import make_model
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.noise import coloured, Noise
from smwm_ros.planning.planner import make_planner, SearchPlanner
from smwm_ros.planning.solvers import cem, descend, Elites, Fit, mppi, SOLVERS
import torch
from torch import Tensor
from worlds import PointMass, SIZE, TINY

BLOCK = 3
SETTINGS = Planner(horizon=4, samples=64, iterations=8, elites=8, cost='last')
LOW, HIGH = torch.full((2 * BLOCK,), -0.5), torch.full((2 * BLOCK,), 0.7)
HERE, THERE = torch.tensor([1.0, -1.0]), torch.tensor([2.5, 0.5])
KINDS = [*({'kind': kind} for kind in SOLVERS), {'kind': 'cem', 'refine': 2}]


def planner(model: WorldModel | None = None, step: float = 0.0, **knobs: Any) -> SearchPlanner:
    settings = replace(SETTINGS, **knobs)
    steps = torch.full((2,), step) if step else None
    made = make_planner(model or PointMass(), settings, LOW, HIGH, BLOCK, step=steps)
    assert isinstance(made, SearchPlanner)
    return made


class Spy(PointMass):
    """Keeps every action sequence that it is asked about, and charges the given cost."""

    def __init__(self, charge: Callable[[Tensor], Tensor] = torch.zeros_like) -> None:
        self.tried: list[Tensor] = []  # (B, N, T, K*A)
        self.charge = charge

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Move step after step, at a charge."""
        self.tried.append(actions.detach().clone())
        path = z.unsqueeze(-2) + actions.unflatten(-1, (BLOCK, 2)).sum(dim=-2).cumsum(dim=-2)
        return path + self.charge(path)


each_kind = pytest.mark.parametrize('knobs', KINDS, ids=str)


@each_kind
def test_a_reachable_goal_is_reached(knobs: dict[str, Any]) -> None:
    plan = planner(iterations=20, **knobs).plan(HERE, THERE)
    end = HERE + plan.actions.reshape(-1, 2).sum(dim=0)
    # Around the best sample alone, and not a mean of several, the search is coarser.
    assert float((end - THERE).norm()) < (0.3 if knobs['kind'] == 'sampling' else 0.15)
    assert plan.cost == pytest.approx(float((end - THERE).square().sum()), abs=1e-5)


@each_kind
def test_a_seed_gives_one_plan_also_after_a_reset(knobs: dict[str, Any]) -> None:
    one, two = planner(**knobs), planner(**knobs)
    first = one.plan(HERE, THERE)
    one.shift(2)
    one.plan(HERE, THERE)
    one.reset()
    for plan in (one.plan(HERE, THERE), two.plan(HERE, THERE)):
        assert torch.equal(plan.actions, first.actions)
    other = planner(**knobs, seed=1).plan(HERE, THERE)
    assert not torch.equal(other.actions, first.actions)


@given(
    st.sampled_from(KINDS),
    st.floats(0.01, 3.0),
    st.floats(0.01, 1.0),
    st.lists(st.integers(0, 4 * BLOCK + 1), max_size=3),
    st.integers(0, 1000),
)
def test_whatever_is_tried_or_returned_keeps_the_bounds_and_changes_no_faster_than_allowed(
    knobs: dict[str, Any], init_std: float, step: float, shifts: list[int], seed: int
) -> None:
    spy = Spy()
    little = {'samples': 12, 'elites': 4, 'iterations': 3, 'init_std': init_std, 'seed': seed}
    search = planner(spy, step, **(little | knobs))
    before = None
    for raw_steps in [*shifts, 0]:
        spy.tried.clear()
        plan = search.plan(torch.zeros(2), torch.full((2,), 9.0))
        for actions in (*spy.tried, plan.actions[None, None]):
            raw = actions.reshape(-1, 4 * BLOCK, 2)
            assert (raw >= LOW[:2]).all()
            assert (raw <= HIGH[:2]).all()
            first = raw[:, :1] if before is None else before.expand(len(raw), 1, 2)
            change = torch.diff(raw, dim=1, prepend=first).abs()
            assert float(change.max()) <= step + 1e-6
        search.shift(raw_steps)
        if raw_steps:
            executed = plan.actions.reshape(-1, 2)
            before = executed[min(raw_steps, len(executed)) - 1]


@each_kind
def test_what_has_no_cost_is_never_followed(knobs: dict[str, Any]) -> None:
    def charge(path: Tensor) -> Tensor:  # the goal lies where the model knows nothing
        return torch.where(path[..., :1] > 0.4, torch.nan, 0.0)

    search = planner(Spy(charge), **knobs)
    for _ in range(2):
        plan = search.plan(torch.zeros(2), torch.tensor([0.6, 0.0]))
        assert math.isfinite(plan.cost)
        assert float(plan.actions.reshape(-1, 2)[:, 0].sum()) <= 0.4
        search.shift(0)


@each_kind
def test_a_world_without_any_cost_leaves_a_plan_inside_the_bounds(
    knobs: dict[str, Any],
) -> None:
    nowhere = planner(Spy(lambda path: torch.full_like(path, torch.nan)), **knobs)
    plan = nowhere.plan(HERE, THERE)
    assert not math.isfinite(plan.cost)
    assert torch.equal(plan.actions, torch.zeros_like(plan.actions))


@each_kind
def test_many_problems_at_once_are_solved_as_each_would_be_alone(
    knobs: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    model = make_model(TINY, SIZE, 2 * BLOCK).eval().requires_grad_(False)
    z, goal = torch.randn(2, 4, TINY.latent)
    together = planner(model, 0.3, **knobs)
    first = together.plan_many(z, goal)
    together.shift(2)
    together.keep([1, 3])
    later = together.plan_many(z[[1, 3]] + 0.1, goal[[1, 3]])
    for row, number in enumerate((1, 3)):
        alone = planner(model, 0.3, **knobs)
        plan = alone.plan(z[number], goal[number])
        assert torch.allclose(first.actions[number], plan.actions, atol=1e-4)
        alone.shift(2)
        plan = alone.plan(z[number] + 0.1, goal[number])
        assert torch.allclose(later.actions[row], plan.actions, atol=1e-4)
        assert float(later.cost[row]) == pytest.approx(plan.cost, rel=1e-3)


@each_kind
def test_planning_again_and_again_keeps_no_more_than_the_last_plan(
    knobs: dict[str, Any],
) -> None:
    def alive() -> int:
        gc.collect()
        return sum(item.numel() for item in gc.get_objects() if type(item) is Tensor)

    search = planner(PointMass(), 0.3, **knobs)
    counts = []
    for _ in range(6):
        search.plan(HERE, THERE)
        search.shift(1)
        counts.append(alive())
    assert counts[1:] == counts[1:2] * 5


def test_the_paths_of_icem_are_smooth_its_spread_is_one_and_white_stays_white() -> None:
    noise = Noise((4000, 5, 2 * BLOCK), BLOCK, 0.0, 2.0, torch.device('cpu'))
    noise.seed(0)
    drawn = noise.draw().reshape(4000, 5 * BLOCK, 2)
    assert torch.allclose(drawn.var(dim=0), torch.ones(5 * BLOCK, 2), atol=0.15)
    near = (drawn[:, 1:] * drawn[:, :-1]).mean()
    far = (drawn[:, 8:] * drawn[:, :-8]).mean()
    assert float(near) > 0.7
    assert float(far) < float(near) - 0.3
    assert abs(float((drawn[..., 0] * drawn[..., 1]).mean())) < 0.05  # fields know nothing
    assert torch.allclose(coloured(7, 0.0), torch.eye(7), atol=1e-6)


def test_the_power_of_coloured_noise_falls_as_its_exponent_says() -> None:
    mix = coloured(64, 2.0).double()
    power = torch.fft.rfft(mix, dim=0).abs().square().sum(dim=1)
    low, high = power[4:8].mean(), power[16:32].mean()
    assert math.log(float(low / high)) / math.log(4) == pytest.approx(2.0, abs=0.4)


def test_icem_returns_nothing_worse_than_what_it_tried_last_and_tries_its_best_again() -> None:
    spy = Spy()
    search = planner(spy, kind='icem', cost='sum')

    def cost(samples: Tensor) -> Tensor:
        path = HERE + samples.unflatten(-1, (BLOCK, 2)).sum(dim=-2).cumsum(dim=-2)
        return (path - THERE).square().sum(dim=(-2, -1))

    plan = search.plan(HERE, THERE)
    rounds = [(tried[0], cost(tried[0])) for tried in spy.tried[:-1]]
    assert len(rounds) == SETTINGS.iterations
    assert plan.cost <= min(float(costs.min()) for _, costs in rounds) + 1e-5
    kept = round(0.3 * SETTINGS.elites)
    for (samples, costs), (after, _) in pairwise(rounds):
        best = samples[costs.argsort()[:kept]]
        assert torch.equal(after[-kept:], best)
    search.shift(2)
    spy.tried.clear()
    search.plan(HERE, THERE)
    # The next plan begins with the best of this one, moved on.
    old = rounds[-1][0][rounds[-1][1].argsort()[:kept]].reshape(kept, -1, 2)
    moved = torch.cat([old[:, 2:], old[:, -1:].expand(-1, 2, -1)], dim=1)
    assert torch.equal(spy.tried[0][0, -kept:].reshape(kept, -1, 2), moved)


def elites_of(cost: list[float]) -> Elites:
    actions = torch.arange(1.0, len(cost) + 1)[None, :, None, None]
    return Elites(actions, torch.tensor([cost]))


LAST = Fit(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))


def test_mppi_follows_the_best_when_it_is_cold_and_the_mean_when_it_is_hot() -> None:
    elites = elites_of([1.0, 2.0, 4.0])
    for temperature, wanted in ((1e-3, 1.0), (1e3, 2.0)):
        found = mppi(elites, LAST, replace(SETTINGS, temperature=temperature))
        assert float(found.mean) == pytest.approx(wanted, abs=0.01)
    typical = (0 + 1 + 3) / 3
    weight = torch.tensor([0.0, -1.0, -3.0]).div(0.5 * typical).exp()
    wanted = float((weight * torch.tensor([1.0, 2.0, 3.0])).sum() / weight.sum())
    assert float(mppi(elites, LAST, SETTINGS).mean) == pytest.approx(wanted)
    scaled = elites._replace(cost=elites.cost * 1e4)  # costs have no unit
    assert float(mppi(scaled, LAST, SETTINGS).mean) == pytest.approx(wanted)


@pytest.mark.parametrize('solver', [cem, mppi])
def test_elites_without_a_cost_do_not_count(solver: Callable[..., Fit]) -> None:
    some, none = elites_of([1.0, 2.0, math.inf]), elites_of([math.inf] * 3)
    both = solver(some, LAST, SETTINGS)
    assert torch.allclose(both.mean, solver(elites_of([1.0, 2.0]), LAST, SETTINGS).mean)
    assert torch.allclose(both.std, solver(elites_of([1.0, 2.0]), LAST, SETTINGS).std)
    assert torch.equal(solver(none, LAST, SETTINGS).mean, LAST.mean)
    assert torch.equal(solver(none, LAST, SETTINGS).std, LAST.std)


def test_sampling_never_returns_worse_after_more_iterations() -> None:
    costs = [
        planner(kind='sampling', iterations=number).plan(HERE, THERE).cost for number in (1, 2, 8)
    ]
    assert costs == sorted(costs, reverse=True)


@given(st.integers(1, 6), st.floats(0.01, 5.0), st.integers(0, 100))
def test_refined_elites_are_never_worse_and_stay_inside(
    steps: int, size: float, seed: int
) -> None:
    torch.manual_seed(seed)
    bounds = Bounds(LOW, HIGH, BLOCK)
    actions = bounds.bound(torch.randn(2, 5, 4, 2 * BLOCK))
    way = torch.randn(2, 1, 4, 2 * BLOCK)

    def score(samples: Tensor) -> Tensor:
        return (samples * way).sum(dim=(-2, -1)).square() + samples.abs().sum(dim=(-2, -1)).sin()

    cost, order = score(actions).sort(dim=1)
    elites = Elites(torch.take_along_dim(actions, order[..., None, None], dim=1), cost)
    found = descend(score, bounds.bound, elites, steps, size)
    assert (found.cost <= cost + 1e-6).all()
    assert torch.allclose(score(found.actions), found.cost, atol=1e-5)
    assert (found.cost.diff(dim=1) >= 0).all()
    assert (found.actions >= LOW).all()
    assert (found.actions <= HIGH).all()


def test_gradients_find_what_few_samples_do_not() -> None:
    few: dict[str, Any] = {'samples': 8, 'elites': 4, 'iterations': 2}
    plain, refined = planner(**few), planner(**few, refine=8)
    assert refined.plan(HERE, THERE).cost < 0.1 * plain.plan(HERE, THERE).cost


def test_gradients_are_had_from_whatever_mode_planning_is_asked_in() -> None:
    torch.manual_seed(0)
    model = make_model(TINY, SIZE, 2 * BLOCK).eval().requires_grad_(False)
    refined = planner(accelerate(model) or model, 0.3, refine=2)
    z, goal = torch.randn(2, TINY.latent)
    wanted = planner(model, 0.3, refine=2).plan(z, goal)
    with torch.inference_mode():
        plan = refined.plan(z * 1.0, goal * 1.0)
    assert torch.allclose(plan.actions, wanted.actions, atol=1e-4)


class Timed(PointMass):
    """Takes its time, on a clock of its own."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.rounds = 0.0, 0
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        self.now += self._seconds[min(self.rounds, len(self._seconds) - 1)]
        self.rounds += 1
        path: Tensor = actions.unflatten(-1, (BLOCK, 2)).sum(dim=-2).cumsum(dim=-2)
        return z.unsqueeze(-2) + path


@each_kind
@pytest.mark.parametrize('budget', [1.0, 25.0, 60.0, 1e4])
def test_iterations_end_in_time_and_the_best_so_far_is_returned(
    knobs: dict[str, Any], budget: float
) -> None:
    slow = Timed([0.01])  # [s] each time that samples are imagined
    settings = replace(SETTINGS, budget_ms=budget, **knobs)
    search = make_planner(slow, settings, LOW, HIGH, BLOCK, clock=slow.clock)
    assert isinstance(search, SearchPlanner)
    for _ in range(2):
        begun = slow.now
        plan = search.plan(HERE, THERE)
        spent = slow.now - begun
        one_round = 0.01 * (1 + 2 * int(settings.refine))
        assert spent <= max(1e-3 * budget, one_round + 0.01) + 1e-9
        if budget == 1e4:
            assert spent == pytest.approx(SETTINGS.iterations * one_round + 0.01)
        if budget == 60.0:
            assert spent > 0.06 - one_round
        assert plan.cost < float((HERE - THERE).square().sum())
        search.reset()


@given(st.lists(st.floats(0.001, 0.1), min_size=10, max_size=10))
def test_no_iteration_begins_that_would_end_too_late_if_it_took_as_long_as_the_last(
    seconds: list[float],
) -> None:
    slow = Timed(seconds)
    settings = replace(SETTINGS, budget_ms=150.0)
    search = make_planner(slow, settings, LOW, HIGH, BLOCK, clock=slow.clock)
    assert isinstance(search, SearchPlanner)
    search.plan(HERE, THERE)
    done = slow.rounds - 1  # the last one scores what is returned
    ends = [sum(seconds[: number + 1]) for number in range(done)]
    for number in range(done - 1):  # was there time for one more round, and the end?
        assert ends[number] + 2 * seconds[number] <= 0.15 + 1e-9
    if done < SETTINGS.iterations:
        assert ends[-1] + 2 * seconds[done - 1] > 0.15 - 1e-9


def test_without_a_budget_no_clock_is_read() -> None:
    def clock() -> float:
        raise AssertionError('nobody asked for the time')

    search = make_planner(PointMass(), SETTINGS, LOW, HIGH, BLOCK, clock=clock)
    search.plan_many(HERE[None], THERE[None])


def test_one_sample_of_luck_is_returned_when_time_is_short() -> None:
    plan = planner(iterations=1, elites=64).plan(HERE, THERE)
    short = planner(iterations=1, elites=64, budget_ms=1e4).plan(HERE, THERE)
    assert short.cost < 0.5 * plan.cost  # the mean of all samples leads nowhere


def test_bounds_and_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match='bounds: expected low <= high'):
        Bounds(HIGH, LOW, BLOCK)
    with pytest.raises(ValueError, match='bounds: expected low <= high'):
        Bounds(torch.full((6,), torch.nan), HIGH, BLOCK)
    with pytest.raises(ValueError, match='bounds: expected 4 raw actions'):
        Bounds(LOW, HIGH, 4)
    with pytest.raises(ValueError, match='step: expected a positive number for each field'):
        Bounds(LOW, HIGH, BLOCK, torch.zeros(2))
    with pytest.raises(ValueError, match='horizon: 0 model steps'):
        replace(SETTINGS, horizon=0)
    with pytest.raises(ValueError, match='elites: 65 is more than the 64 samples'):
        replace(SETTINGS, elites=65)
    with pytest.raises(ValueError, match='goal: expected finite numbers'):
        planner().plan(HERE, torch.tensor([0.0, torch.nan]))
    model = make_model(TINY, SIZE, 2 * BLOCK).eval()
    with pytest.raises(ValueError, match=r'expected latents of width 4, .*found 2'):
        planner(model).plan(HERE, THERE)
