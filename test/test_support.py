# SPDX-License-Identifier: Apache-2.0
"""Predictions far from all recorded latents cost something, so no plan rests on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from smwm_ros.errors import DatasetError
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.support import MOST, Support, support_of
from smwm_ros.planning.time_to_go import TimeToGo
from test_roadmap import drives, FAST, GAP, LEFT, RIGHT, SETTINGS, WALL, Walled
import torch
from torch import Tensor
from worlds import PointMass


@pytest.fixture(scope='module')
def walked() -> RecordedDrives:
    return drives(Walled())


@pytest.fixture(scope='module')
def support(walked: RecordedDrives) -> Support:
    return support_of(walked)


def test_latents_as_near_to_recorded_ones_as_usual_cost_nothing_and_others_their_distance() -> (
    None
):
    places = Support(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), usual=2.0)
    z = torch.tensor([[[0.0, 2.0], [0.0, 3.0]], [[10.0, 6.0], [5.0, 0.0]]])
    assert places.excess(z).tolist() == [[0.0, 0.5], [2.0, 1.5]]


def test_what_is_usual_is_measured_on_drives_that_are_not_in_it(
    walked: RecordedDrives, support: Support
) -> None:
    drive = torch.arange(len(walked.left)) // 80
    moved = walked.latents + torch.where(drive % 10 == 9, 100.0, 0.0)[:, None]
    found = support_of(walked._replace(latents=moved))
    assert float(found.latents.max()) < 5
    assert found.usual > 100
    new = drives(Walled(), count=20, length=30).latents
    assert 0.75 < float((support.excess(new) == 0).float().mean()) < 0.99


def test_no_more_latents_are_kept_than_a_search_has_time_for(walked: RecordedDrives) -> None:
    assert len(support_of(walked, most=300).latents) <= 300
    latents, actions, left = walked.latents, walked.actions, walked.left
    many = RecordedDrives(latents.repeat(5, 1), actions.repeat(5, 1), left.repeat(5), block=1)
    assert MOST / 2 < len(support_of(many).latents) <= MOST


class ByTheDoor(TimeToGo):
    """The length of the way, which leads through the door where the goal is behind the wall."""

    def forward(self, z: Tensor, goal: Tensor) -> Tensor:
        across = z[..., 0] * goal[..., 0] < 0
        return torch.where(across, z.norm(dim=-1) + goal.norm(dim=-1), (goal - z).norm(dim=-1))


def test_plans_of_a_model_that_walks_through_walls_keep_out_of_them(support: Support) -> None:
    guides = Guides(time=ByTheDoor(2), support=support)

    def path(novel_weight: float) -> Tensor:
        settings = replace(SETTINGS, cost='time', init_std=1.0, novel_weight=novel_weight)
        made = make_planner(PointMass(), settings, -FAST, FAST, guides=guides)
        return (LEFT + made.plan_many(LEFT, RIGHT).actions[0].cumsum(dim=0)).abs()

    def in_the_wall(path: Tensor) -> bool:
        return bool(((path[:, 0] < WALL - 0.1) & (path[:, 1] > GAP + 0.1)).any())

    assert in_the_wall(path(0.0))
    assert not in_the_wall(path(30.0))


def test_the_term_is_summed_over_the_steps_and_has_its_share() -> None:
    settings = replace(SETTINGS, novel_weight=3.0)
    made = make_planner(
        PointMass(), settings, -FAST, FAST, guides=Guides(support=Support(torch.zeros(1, 2), 1.0))
    )
    far = torch.tensor([[5.0, 0.0]])
    plans = made.plan_many(far, far)
    steps = (far[:, None] + plans.actions.cumsum(dim=1)).norm(dim=-1) - 1
    assert float(plans.shares['novel']) == pytest.approx(3 * float(steps.sum()), rel=1e-4)
    assert list(plans.shares) == ['goal', 'novel']


def test_costs_without_a_support_are_refused() -> None:
    settings = replace(SETTINGS, novel_weight=1.0)
    with pytest.raises(ValueError, match='expected the support in guides'):
        make_planner(PointMass(), settings, -FAST, FAST)


@pytest.mark.parametrize(
    ('count', 'same', 'what'),
    [(9, False, 'needs 10 recorded drives or more, found 9'), (20, True, 'are equal')],
)
def test_drives_that_show_no_usual_distance_are_refused(
    walked: RecordedDrives, count: int, same: bool, what: str
) -> None:
    few = walked.only(torch.arange(len(walked.left)) < 80 * count)
    if same:
        few = few._replace(latents=torch.zeros_like(few.latents))
    with pytest.raises(DatasetError, match=what):
        support_of(few)
