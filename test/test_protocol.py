# SPDX-License-Identifier: Apache-2.0
"""What counts as success, and how it is tried, has the numbers of the paper, written out here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.arenas import make_arena
from smwm_ros.evaluation.methods import as_in_the_paper, PAPER_PLANNER
from smwm_ros.interfaces import Arena
from smwm_ros.load import load_config
from smwm_ros.model.sigreg import KNOTS, LAST_KNOT
from worlds import tiny_checkpoint

ARENAS = ('two_room', 'two_room_differential', 'reacher', 'push_t', 'cube')
PIXEL_OF_TWO_ROOM = 2.0 / 224  # [m]: the paper's arena has 224 px, this one 2 m
PIXEL_OF_PUSH_T = 1.6 / 512  # [m]: the paper's table has 512 px, this one 1.6 m
CUBE = (0.0, 0.0, 0.1, 0.09, 0.05, -0.05, 0.025, 1.0, 0.0)  # the gripper is away from it
PUSH_T = (-0.5, 0.3, 0.1, -0.1, 1.0, 0.0)
# arena, a state, the fields that are off, and by how much they may be
RADII = {
    'two_room': ('two_room', (0.5, 0.5), (0,), 16 * PIXEL_OF_TWO_ROOM),
    'two_room_diagonal': ('two_room', (0.5, 0.5), (0, 1), 16 * PIXEL_OF_TWO_ROOM / 2**0.5),
    'two_room_differential': (
        'two_room_differential', (0.5, 0.5, 1.0, 0.0), (0,), 16 * PIXEL_OF_TWO_ROOM,
    ),
    'reacher_shoulder': ('reacher', (0.3, 0.2), (0,), 0.05),
    'reacher_elbow': ('reacher', (0.3, 0.2), (1,), 0.05),
    'reacher_both': ('reacher', (0.3, 0.2), (0, 1), 0.05),
    'push_t_pusher': ('push_t', PUSH_T, (0,), 20 * PIXEL_OF_PUSH_T),
    'push_t_block': ('push_t', PUSH_T, (3,), 20 * PIXEL_OF_PUSH_T),
    'push_t_together': ('push_t', PUSH_T, (0, 1, 2, 3), 20 * PIXEL_OF_PUSH_T / 2),
    'cube': ('cube', CUBE, (4,), 0.04),
    'cube_height': ('cube', CUBE, (6,), 0.04),
}  # fmt: skip


@pytest.fixture(scope='module')
def arenas() -> Iterator[dict[str, Arena]]:
    made: dict[str, Arena] = {name: make_arena(name, 16) for name in ARENAS}
    yield made
    for arena in made.values():
        arena.close()


@pytest.mark.parametrize('name', RADII)
def test_a_goal_is_reached_within_the_radius_of_the_paper(
    arenas: dict[str, Arena], name: str
) -> None:
    arena, state, fields, radius = RADII[name]
    world = arenas[arena]
    for share, reached in ((0.98, True), (1.02, False)):
        goal = np.array(state)
        goal[list(fields)] += share * radius
        world.set_goal_state(goal)
        world.set_state(np.array(state))
        assert world.success() is reached, share
        assert world.distance() == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize('side', [-1, 1])
def test_the_block_may_be_turned_by_twenty_degrees(arenas: dict[str, Arena], side: int) -> None:
    for degrees, reached in ((19.5, True), (20.5, False)):
        angle = np.deg2rad(side * degrees)
        arenas['push_t'].set_goal_state(np.array([*PUSH_T[:4], np.cos(angle), np.sin(angle)]))
        arenas['push_t'].set_state(np.array(PUSH_T))
        assert arenas['push_t'].success() is reached


@pytest.mark.parametrize('name', [None, 'paper', *ARENAS])
def test_goals_are_25_raw_steps_away_and_the_budget_is_50(name: str | None) -> None:
    protocol = load_config(name, []).evaluate
    assert (protocol.offset, protocol.budget) == (25, 50)
    assert (protocol.pairs, protocol.repeats) == (100, 5)
    assert protocol.delay == 0
    assert load_config(name, []).dataset.action_block == 5
    assert load_config(name, []).robot.dt == 0.1


def test_the_search_of_the_paper_has_its_numbers() -> None:
    planner, execute = as_in_the_paper(tiny_checkpoint())
    assert execute == planner.horizon * tiny_checkpoint().action_block, 'to the end of the plan'
    for one in (PAPER_PLANNER, planner, load_config('paper', []).planner):
        assert (one.samples, one.iterations, one.elites, one.horizon) == (300, 30, 30, 5)
        assert (one.cost, one.init_std, one.min_std, one.kind) == ('last', 1.0, 0.0, 'cem')
        assert (one.smooth, one.focus, one.proposals, one.max_rate) == (0.0, (), False, ())
    assert not PAPER_PLANNER.warm_start
    assert load_config('paper', []).evaluate.execute == 25


def test_the_model_of_the_paper_is_trained_with_its_numbers() -> None:
    paper = load_config('paper', [])
    train = paper.train
    assert (train.batch, train.lr, train.weight_decay) == (256, 1e-4, 1e-3)
    assert (train.warmup, train.clip, train.unroll) == (0.01, 1.0, 1)
    assert (paper.model.preset, paper.model.kind, paper.model.history) == ('tiny', 'smwm', 1)
    assert paper.model.inverse_target == 0.0


def test_the_regulariser_has_the_numbers_of_leworldmodel() -> None:
    model = config.Model()
    assert (model.sigreg_weight, model.sigreg_directions) == (0.09, 1024)
    assert (KNOTS, LAST_KNOT) == (17, 3.0)
