# SPDX-License-Identifier: Apache-2.0
"""What plans are charged for: named terms that add up, each of which does what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from smwm_ros.config import Planner
from smwm_ros.errors import ConfigError
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.planner import make_planner
import torch
from torch import Tensor
from worlds import PointMass

BLOCK = 2
LOW, HIGH = torch.tensor([-1.0, -2.0] * BLOCK), torch.tensor([1.0, 2.0] * BLOCK)
START, GOAL = torch.zeros(1, 2), torch.tensor([[3.0, 0.0]])
SETTINGS = Planner(horizon=3, samples=256, iterations=10, elites=16, cost='last')
TIME_WEIGHT = SETTINGS.time_weight


def unsure(z: Tensor, action: Tensor) -> Tensor:
    """Hold two opinions, that differ where x is above 1."""
    place = PointMass().predict(z, action)
    return torch.stack([place, place + 2.0 * (z[..., :1] > 1.0)])


def costs(keep_out: Tensor | None = None, rest: Tensor | None = None, **knobs: Any) -> Costs:
    settings = replace(SETTINGS, **knobs)
    return Costs(PointMass(), settings, Bounds(LOW, HIGH, BLOCK), rest, keep_out, unsure)


def actions(*raw: tuple[float, float]) -> Tensor:
    """Return one action sequence (1, 1, T, K*A)."""
    return torch.tensor(raw).reshape(1, 1, -1, 2 * BLOCK)


STRAIGHT = actions((1, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 1))  # to (1,0), (2,0), (2,2)


@pytest.mark.parametrize(
    ('kind', 'wanted'),
    [
        ('last', 5.0),
        ('sum', 4.0 + 1.0 + 5.0),
        ('min', 1.0),
        ('nearest', 1.0 + TIME_WEIGHT * (2.0 + 1.0 + 5.0**0.5)),
    ],
)
def test_the_distance_to_the_goal_is_measured_as_the_knob_says(kind: str, wanted: float) -> None:
    assert float(costs(cost=kind)(START, GOAL, STRAIGHT)) == pytest.approx(wanted)


def test_effort_is_the_mean_square_away_from_rest_in_halves_of_the_range() -> None:
    terms = costs(effort_weight=2.0).terms(START, GOAL, STRAIGHT)
    squares = [1.0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0.25, 0, 0.25]
    assert float(terms['effort']) == pytest.approx(2 * sum(squares) / 12)
    rest = torch.tensor([1.0, 0.0])
    still = actions(*[(1.0, 0.0)] * 6)
    terms = costs(effort_weight=2.0, rest=rest).terms(START, GOAL, still)
    assert float(terms['effort']) == 0


def test_change_counts_from_the_action_that_was_executed_last() -> None:
    held = actions(*[(0.5, -1.0)] * 6)
    alone = costs(change_weight=3.0)
    assert float(alone.terms(START, GOAL, held)['change']) == 0
    before = torch.tensor([[-0.5, 1.0]])
    found = alone.terms(START, GOAL, held, before)['change']
    assert float(found) == pytest.approx(3 * (1.0**2 + 1.0**2) / 12)


def test_doubt_is_the_disagreement_of_the_heads_where_each_step_begins() -> None:
    found = costs(doubt_weight=1.0).terms(START, GOAL, STRAIGHT)['doubt']
    assert float(found) == pytest.approx(4.0)  # only the last step begins beyond x = 1


def test_keeping_out_counts_how_near_the_steps_come_to_the_nearest_example() -> None:
    places = torch.tensor([[2.0, 0.0], [50.0, 50.0]])
    found = costs(places, keep_out_weight=5.0, keep_out_radius=1.0)
    away = torch.tensor([1.0, 0.0, 2.0])
    wanted = 5 * float((-0.5 * away.square()).exp().sum())
    assert float(found.terms(START, GOAL, STRAIGHT)['keep_out']) == pytest.approx(wanted)


def test_terms_add_up_and_those_without_weight_are_not_there() -> None:
    weights: dict[str, Any] = {'effort_weight': 1.0, 'change_weight': 2.0, 'doubt_weight': 3.0}
    everything = costs(torch.ones(1, 2), **weights)
    terms = everything.terms(START, GOAL, STRAIGHT)
    assert list(terms) == ['goal', 'effort', 'change', 'doubt', 'keep_out']
    total = float(everything(START, GOAL, STRAIGHT))
    assert total == pytest.approx(sum(float(term) for term in terms.values()))
    assert list(costs().terms(START, GOAL, STRAIGHT)) == ['goal']


def plan(places: Tensor | None = None, **knobs: object) -> tuple[Tensor, float, dict[str, Tensor]]:
    """Return the raw actions, their cost, and its shares."""
    settings = replace(SETTINGS, **knobs)  # type: ignore[arg-type]
    planner = make_planner(PointMass(), settings, LOW, HIGH, BLOCK, keep_out=places, heads=unsure)
    plans = planner.plan_many(START, GOAL)
    raw = plans.actions.reshape(-1, 2)
    return raw, float(plans.cost), dict(plans.shares)


@pytest.mark.parametrize('kind', ['cem', 'icem', 'mppi', 'sampling'])
def test_a_plan_reports_the_share_of_each_term_in_its_cost(kind: str) -> None:
    _, cost, shares = plan(
        torch.ones(1, 2), kind=kind, effort_weight=1.0, change_weight=1.0, doubt_weight=1.0
    )
    assert set(shares) == {'goal', 'effort', 'change', 'doubt', 'keep_out'}
    assert sum(float(share) for share in shares.values()) == pytest.approx(cost, rel=1e-5)


def test_each_weight_buys_less_of_what_it_charges_for() -> None:
    def path(raw: Tensor) -> Tensor:
        return raw.reshape(3, BLOCK, 2).sum(dim=1).cumsum(dim=0)

    free, _, _ = plan()
    lazy, _, _ = plan(effort_weight=50.0)
    assert float(lazy.square().mean()) < 0.5 * float(free.square().mean())
    smooth, _, _ = plan(change_weight=50.0)
    assert float(smooth.diff(dim=0).square().mean()) < 0.5 * float(
        free.diff(dim=0).square().mean()
    )
    sure, _, _ = plan(doubt_weight=50.0)
    assert float(path(sure)[:-1, 0].max()) <= 1.0 < float(path(free)[:-1, 0].max())
    middle = path(free)[1:2]
    around, _, shares = plan(middle, keep_out_weight=50.0)
    assert float((path(around) - middle).norm(dim=1).min()) > 1.0
    assert float(shares['goal']) < 4.0  # and still gets nearer than 3.0 away


def test_doubt_without_heads_is_refused() -> None:
    settings = replace(SETTINGS, doubt_weight=1.0)
    with pytest.raises(
        ConfigError, match=r'planner\.doubt_weight: .*train it with model\.heads=5'
    ):
        make_planner(PointMass(), settings, LOW, HIGH, BLOCK)
