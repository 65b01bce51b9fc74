# SPDX-License-Identifier: Apache-2.0
"""A roadmap leads round walls, knows the shortest way, and says where it knows none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from properties import examples
import pytest
from smwm_ros.config import Planner
from smwm_ros.errors import DatasetError
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.roadmap import (
    AHEAD,
    build,
    farthest_points,
    joined,
    Mover,
    Roadmap,
    RoadmapPlanner,
)
import torch
from torch import Tensor
from worlds import PointMass

WALL, GAP = 0.6, 1.0  # half the thickness of the wall at x = 0, and half the width of its door
FAST = torch.full((2,), 1.0)  # largest move in a step
LEFT, RIGHT = torch.tensor([[-1.5, 3.0]]), torch.tensor([[1.5, 3.0]])
SETTINGS = Planner(horizon=3, samples=64, iterations=3, elites=8, cost='sum', init_std=0.3)


class Walled(PointMass):
    """Places in two rooms: whoever walks into the wall beside the door stops there."""

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """Move in small steps, none of which ends within the wall."""
        for _ in range(10):
            there = z + 0.1 * action
            blocked = (there[..., :1].abs() < WALL) & (there[..., 1:].abs() > GAP)
            z = torch.where(blocked, z, there)
        return z


def drives(model: PointMass, count: int = 60, length: int = 80) -> RecordedDrives:
    """Walk about at random in -4..4; each step is a model step."""
    chance = torch.Generator().manual_seed(0)
    place = torch.rand(count, 2, generator=chance) * 8 - 4
    place[:, 0] = place[:, 0].sign() * place[:, 0].abs().clamp(min=WALL)
    heading = torch.rand(count, generator=chance) * 6.28
    places, actions = [], []
    for _ in range(length):
        places.append(place)
        heading = heading + 0.5 * torch.randn(count, generator=chance)
        actions.append(0.7 * torch.stack([heading.cos(), heading.sin()], dim=1))
        place = model.predict(place, actions[-1])
        out = place.abs() > 4
        heading = torch.where(out.any(dim=1), heading + 2, heading)
        place = place.clamp(-4, 4)
    left = torch.arange(length - 1, -1, -1).repeat(count)
    latents, done = (torch.stack(part, dim=1).flatten(0, 1) for part in (places, actions))
    return RecordedDrives(latents, done, left, block=1)


@pytest.fixture(scope='module')
def rooms() -> Roadmap:
    return build(drives(Walled()), Mover(Walled(), -FAST, FAST), most=400)


def planner(roadmap: Roadmap, **knobs: object) -> RoadmapPlanner:
    wanted = replace(SETTINGS, kind='roadmap', **knobs)  # type: ignore[arg-type]
    made = make_planner(Walled(), wanted, -FAST, FAST, guides=Guides(roadmap))
    assert isinstance(made, RoadmapPlanner)
    return made


def drive(made: RoadmapPlanner, z: Tensor, goal: Tensor, steps: int) -> list[Tensor]:
    """Execute the first step of each plan; return the places on the way."""
    way = [z]
    for _ in range(steps):
        z = Walled().predict(z, made.plan_many(z, goal).actions[:, 0])
        made.shift(1)
        way.append(z)
    return way


def test_the_planner_drives_round_a_wall_where_straight_plans_do_not(rooms: Roadmap) -> None:
    way = drive(planner(rooms), LEFT, RIGHT, 30)
    assert torch.dist(way[-1], RIGHT) < 0.3
    straight = make_planner(Walled(), SETTINGS, -FAST, FAST)
    z = LEFT
    for _ in range(30):
        z = Walled().predict(z, straight.plan_many(z, RIGHT).actions[:, 0])
        straight.shift(1)
    assert z[0, 0] < 0


def test_no_move_of_the_roadmap_goes_through_the_wall(rooms: Roadmap) -> None:
    start, end = rooms.nodes[rooms.edges]
    across = start[:, 0] * end[:, 0] < 0
    # Nodes stand for the places about them, so a move may graze the frame of the door.
    assert (start[across, 1].abs() < GAP + rooms.step).all()
    assert across.any()
    assert joined(rooms) > 0.98


def test_the_way_that_is_left_grows_shorter_and_ends_at_nothing(rooms: Roadmap) -> None:
    made = planner(rooms)
    left = [
        float(made.plan_many(z, RIGHT).to_go[0])  # type: ignore[index]
        for z in drive(planner(rooms), LEFT, RIGHT, 30)
    ]
    assert left[0] * rooms.step > 6  # down to the door and up again
    assert left[-1] < 1
    assert all(later < sooner + 1 for sooner, later in pairwise(left))


@examples(25)
@given(st.integers(0, 2**31 - 1))
def test_no_move_makes_a_way_shorter_than_the_shortest(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    nodes = 4 * torch.rand(20, 2, generator=chance)
    edges = torch.unique(torch.randint(20, (2, 50), generator=chance), dim=1)
    edges = edges[:, edges[0] != edges[1]]
    roadmap = Roadmap(nodes, edges, step=1.0, radius=0.2)
    made = RoadmapPlanner(planner(roadmap), roadmap, Mover(PointMass(), -FAST, FAST))
    goal = nodes[:1] + 0.1
    to_go, after = made.paths(goal).to_go[0], made.paths(goal).after[0]
    start, end = edges
    assert (to_go[start] <= roadmap.lengths + to_go[end] + 1e-5).all()
    for node in torch.nonzero(to_go[:-1].isfinite()).ravel().tolist():
        length, here = 0.0, node
        while after[here] < 20:  # a way ends, and is as long as it is said to be
            length += float(torch.dist(nodes[here], nodes[after[here]]))
            here = int(after[here])
        assert length + float(torch.dist(nodes[here], goal[0])) == pytest.approx(
            to_go[node], abs=1e-4
        )


def test_a_near_goal_is_planned_for_as_without_a_roadmap(rooms: Roadmap) -> None:
    near = LEFT + torch.tensor([[0.2, -0.3]])
    straight = make_planner(Walled(), SETTINGS, -FAST, FAST)
    with_road, without = (one.plan_many(LEFT, near) for one in (planner(rooms), straight))
    assert torch.equal(with_road.actions, without.actions)


def test_where_no_way_is_known_the_plan_goes_straight_and_says_so(rooms: Roadmap) -> None:
    lost = torch.tensor([[40.0, 40.0]])
    plans = planner(rooms).plan_many(LEFT, lost)
    straight = make_planner(Walled(), SETTINGS, -FAST, FAST).plan_many(LEFT, lost)
    assert plans.to_go is not None
    assert plans.to_go.isinf().all()
    assert torch.equal(plans.actions, straight.actions)


def test_problems_in_a_batch_are_planned_as_if_alone(rooms: Roadmap) -> None:
    z = torch.cat([LEFT, RIGHT, torch.tensor([[-3.0, -2.0]])])
    goal = torch.cat([RIGHT, LEFT, torch.tensor([[3.0, 0.0]])])
    together = planner(rooms)
    first = together.plan_many(z, goal)
    together.shift(1)
    together.keep([0, 2])
    kept = together.plan_many(z[[0, 2]], goal[[0, 2]])
    for row, problem in enumerate((0, 2)):
        alone = planner(rooms)
        plans = alone.plan_many(z[[problem]], goal[[problem]])
        assert torch.allclose(plans.actions[0], first.actions[problem], atol=1e-5)
        assert torch.allclose(plans.to_go, first.to_go[problem])  # type: ignore[arg-type, index]
        alone.shift(1)
        again = alone.plan_many(z[[problem]], goal[[problem]])
        assert torch.allclose(again.actions[0], kept.actions[row], atol=1e-5)


def test_the_same_drives_make_the_same_roadmap_and_plans(rooms: Roadmap) -> None:
    again = build(drives(Walled()), Mover(Walled(), -FAST, FAST), most=400)
    assert torch.equal(again.nodes, rooms.nodes)
    assert torch.equal(again.edges, rooms.edges)
    plans = [planner(road).plan_many(LEFT, RIGHT).actions for road in (rooms, again)]
    assert torch.equal(*plans)


def test_nodes_are_spread_evenly_and_each_row_knows_its_nearest() -> None:
    latents = drives(PointMass()).latents
    rows, nearest, radius = farthest_points(latents, 0.4, 10_000)
    nodes = latents[rows]
    apart = torch.cdist(nodes, nodes).fill_diagonal_(torch.inf)
    assert apart.min() >= 0.4
    away = torch.cdist(latents, nodes)
    assert away.amin(dim=1).max() == pytest.approx(radius, abs=1e-3)
    assert radius < 0.4
    assert torch.allclose(away.gather(1, nearest[:, None])[:, 0], away.amin(dim=1), atol=1e-3)
    assert len(farthest_points(latents, 0.4, 7)[0]) == 7


def test_a_subgoal_is_a_short_look_ahead_and_never_where_the_robot_is(rooms: Roadmap) -> None:
    seen = list[Tensor]()

    class Spy:
        def plan_many(self, z: Tensor, goal: Tensor, past: Tensor | None = None) -> None:
            seen.append(torch.linalg.vector_norm(z - goal, dim=1))
            raise InterruptedError

    made = RoadmapPlanner(Spy(), rooms, Mover(Walled(), -FAST, FAST))  # type: ignore[arg-type]
    here = rooms.nodes[torch.linalg.vector_norm(rooms.nodes - RIGHT, dim=1) > 2 * rooms.step]
    with pytest.raises(InterruptedError):
        made.plan_many(here, RIGHT.expand_as(here))
    longest = max(AHEAD * rooms.step, float(rooms.lengths.max()))
    assert seen[0].max() <= longest + rooms.radius
    assert seen[0].min() > 0.5 * rooms.radius


def test_drives_that_never_move_make_no_roadmap() -> None:
    still = RecordedDrives(
        torch.zeros(20, 2), torch.zeros(20, 2), torch.arange(19, -1, -1), block=1
    )
    with pytest.raises(DatasetError, match='a model step is 0, expected more'):
        build(still, Mover(PointMass(), -FAST, FAST), most=10)


def test_drives_that_leap_between_places_make_no_roadmap() -> None:
    latents = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(10, 1)
    leaps = RecordedDrives(latents, torch.zeros(20, 2), torch.arange(19, -1, -1), block=1)
    with pytest.raises(DatasetError, match='none was reached from another'):
        build(leaps, Mover(PointMass(), 0 * FAST, 0 * FAST), most=10)


def test_a_planner_of_kind_roadmap_needs_one() -> None:
    with pytest.raises(ValueError, match='expected a roadmap'):
        make_planner(PointMass(), replace(SETTINGS, kind='roadmap'), -FAST, FAST)
