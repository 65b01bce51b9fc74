# SPDX-License-Identifier: Apache-2.0
"""Tests for the two rooms."""

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.arenas.rooms import CLEAR, DT, RADIUS, REACHED, SPEED, WALL


@pytest.fixture
def two_room():
    arena = make_arena('two_room')
    yield arena
    arena.close()


def test_a_free_robot_moves_as_commanded(two_room):
    before = two_room.set_state([0.5, 0.0]).state
    after = two_room.step([0.3, -0.2]).state
    np.testing.assert_allclose((after - before) / DT, [0.3, -0.2], atol=1e-4)


def test_walls_stop_the_robot_and_the_door_lets_it_through(two_room):
    def drive_left(y):
        two_room.set_state([0.5, y])
        return [two_room.step([-SPEED, 0.0]).state for _ in range(20)][-1]

    assert drive_left(0.6)[0] == pytest.approx(WALL + RADIUS, abs=1e-3)
    assert drive_left(0.0)[0] < -WALL - RADIUS


def test_a_goal_is_reached_within_its_radius_only(two_room):
    two_room.set_state([0.5, 0.5])
    for away, reached in ((0.99 * REACHED, True), (1.01 * REACHED, False)):
        two_room.set_goal([0.5 + away, 0.5])
        assert two_room.success() is reached


@pytest.mark.parametrize('goal', [(0.0, 0.0), (0.1, 0.1), (-0.13, 0.5), (CLEAR + 0.01, -0.9)])
@pytest.mark.parametrize('start', [(0.0, 0.05), (-0.12, -0.9), (0.9, 0.9), (0.13, 0.12)])
def test_the_expert_finds_its_way_round_the_door(two_room, start, goal):
    two_room.set_state(start)
    two_room.set_goal(goal)
    assert two_room.success() or any(
        two_room.step(two_room.expert()) and two_room.success() for _ in range(80)
    )


def test_the_camera_distinguishes_places_a_tenth_of_a_metre_apart(two_room):
    one = two_room.set_state([-0.5, 0.3]).pixels
    two = two_room.set_state([-0.4, 0.3]).pixels
    changed = (one != two).any(axis=-1)
    assert changed.sum() >= 8
    rows, columns = np.nonzero(changed)
    assert rows.max() < 32, 'y points upwards in the image'
    assert columns.max() < 32, 'x points to the right in the image'


@pytest.mark.parametrize('policy', ['expert', 'random', 'mixed'])
def test_every_policy_visits_both_rooms(two_room, policy):
    xs = []
    for episode in range(4):
        two_room.reset(episode)
        actions = policy_actions(policy, two_room, episode, np.random.default_rng(episode))
        xs += [two_room.step(next(actions)).state[0] for _ in range(60)]
    assert min(xs) < -0.3
    assert max(xs) > 0.3
