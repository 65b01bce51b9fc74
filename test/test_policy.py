# SPDX-License-Identifier: Apache-2.0
"""A policy learns from hindsight what leads where, and a search begins with what it proposes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from smwm_ros.config import Planner
from smwm_ros.errors import DatasetError
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.planner import make_planner, SearchPlanner
from smwm_ros.planning.policy import learn, Policy, skill, STEPS_TO_GO
from smwm_ros.planning.search import Search
import torch
from torch import Tensor
from worlds import PointMass

BOX = torch.full((4,), 1.0)  # two raw actions of two fields
SETTINGS = Planner(kind='amortised', horizon=3, cost='nearest', samples=16, elites=4)
HERE = torch.tensor([[0.0, 0.0], [1.0, -1.0], [2.0, 0.5]])
THERE = torch.tensor([[1.5, 0.5], [1.0, 0.5], [-1.0, 0.0]])


def drives(seed: int, count: int = 50, length: int = 40) -> RecordedDrives:
    """Drive straight for a while in one direction after the other."""
    chance = torch.Generator().manual_seed(seed)
    actions = (2 * torch.rand(count, length // 10, 2, generator=chance) - 1).repeat_interleave(
        10, 1
    )
    places = actions.cumsum(dim=1) - actions
    left = torch.arange(length - 1, -1, -1).repeat(count)
    return RecordedDrives(places.flatten(0, 1), actions.flatten(0, 1), left, block=2)


@pytest.fixture(scope='module')
def policy() -> Policy:
    return learn(drives(0), steps=200, seed=0)


def plan(policy: Policy, **knobs: object) -> tuple[Tensor, Tensor]:
    settings = replace(SETTINGS, **knobs)  # type: ignore[arg-type]
    made = make_planner(PointMass(), settings, -BOX, BOX, block=2, guides=Guides(None, policy))
    plans = made.plan_many(HERE, THERE)
    return plans.actions, plans.cost


def test_it_knows_most_of_what_was_done_in_drives_it_has_not_seen(policy: Policy) -> None:
    assert skill(policy, drives(1)) > 0.5  # a goal beyond a bend says little of the first action
    assert skill(Policy(2, 4), drives(1)) < 0.1


def test_it_is_the_same_for_the_same_seed() -> None:
    first, again = (learn(drives(0), steps=5, seed=seed) for seed in (3, 3))
    assert torch.equal(first(HERE, THERE, torch.ones(3, 1)), again(HERE, THERE, torch.ones(3, 1)))


def test_it_learns_only_from_known_actions(policy: Policy) -> None:
    whole = drives(0)
    unknown = torch.rand(len(whole.left), generator=torch.Generator().manual_seed(1)) < 0.1
    holes = whole._replace(actions=whole.actions.masked_fill(unknown[:, None], torch.nan))
    starts = set(whole.windows(2).tolist())
    lost = {row for row in starts if unknown[row] or unknown[row + 1]}
    assert holes.known_windows().tolist() == sorted(starts - lost)
    assert skill(learn(holes, steps=200, seed=0), drives(1)) > 0.5
    assert skill(policy, holes) > 0.5
    nothing = whole._replace(actions=torch.full_like(whole.actions, torch.nan))
    with pytest.raises(DatasetError, match='no drive has known actions to propose; label them'):
        learn(nothing, steps=1, seed=0)


def test_proposals_that_have_more_time_go_slower(policy: Policy) -> None:
    ideas = policy.propose(PointMass(), HERE, THERE, horizon=3)
    assert ideas.shape == (3, len(STEPS_TO_GO), 3, 4)
    effort = ideas[:, :, 0].square().sum(dim=-1)
    assert (effort[:, 1] > effort[:, -1]).all()


def test_amortised_plans_arrive_and_keep_the_limits(policy: Policy) -> None:
    actions, _ = plan(policy)
    end = HERE + actions.unflatten(-1, (2, 2)).sum(dim=(1, 2))
    before, after = (torch.linalg.vector_norm(place - THERE, dim=1) for place in (HERE, end))
    assert (after < 0.5 * before).all()
    assert (actions.abs() <= 1).all()


@pytest.mark.parametrize('kind', ['icem', 'sampling'])
def test_a_tiny_search_with_proposals_is_no_worse_than_the_best_of_them(
    policy: Policy, kind: str
) -> None:
    _, alone = plan(policy)
    few = {'kind': kind, 'samples': 8, 'iterations': 1, 'elites': 2, 'init_std': 0.01}
    _, with_proposals = plan(policy, proposals=True, **few)
    made = make_planner(PointMass(), replace(SETTINGS, **few), -BOX, BOX, 2)  # type: ignore[arg-type]
    without = made.plan_many(HERE, THERE).cost
    assert (with_proposals <= alone + 1e-5).all()
    assert (with_proposals < without).all()


def test_a_search_returns_no_less_than_its_best_proposal_though_their_mean_is_worse() -> None:
    settings = Planner(horizon=1, cost='last', samples=4, elites=4, iterations=1, init_std=0.01)
    bounds = Bounds(-BOX, BOX, 2)
    costs = Costs(PointMass(), settings, bounds)
    ideas = torch.tensor([[1.0, 0.0, 0.5, 0.5], [-1.0, 0.0, -1.0, 0.0]]).view(1, 2, 1, 4)
    made = SearchPlanner(Search(settings, bounds, costs, propose=lambda *_: ideas))
    found = made.plan_many(HERE[:1], THERE[:1])  # of these, the first leads right there
    assert float(found.cost) == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(found.actions, ideas[:, 0])


def test_a_search_with_more_proposals_than_samples_still_tries_the_mean(policy: Policy) -> None:
    actions, cost = plan(policy, kind='cem', proposals=True, samples=2, iterations=1, elites=2)
    assert actions.isfinite().all()
    assert cost.isfinite().all()


def test_a_planner_of_kind_amortised_needs_a_policy() -> None:
    with pytest.raises(ValueError, match='expected a policy'):
        make_planner(PointMass(), SETTINGS, -BOX, BOX, 2)
