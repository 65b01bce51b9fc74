# SPDX-License-Identifier: Apache-2.0
"""Tests for the differential drive in two rooms."""

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.rooms import DT, RADIUS, REACHED, SPEED, WALL
from smwm_ros.arenas.two_room_differential import TURN
from smwm_ros.errors import ArenaError


@pytest.fixture
def room():
    arena = make_arena('two_room_differential')
    yield arena
    arena.close()


def pose(x, y, yaw):
    """Return a state."""
    return [x, y, np.sin(yaw / 2), np.cos(yaw / 2)]


def yaw(state):
    """Return the heading in a state."""
    return 2 * np.arctan2(state[2], state[3])


@pytest.mark.parametrize('heading', [0.0, 0.8, np.pi / 2, -2.5, np.pi])
@pytest.mark.parametrize('speed', [SPEED, -0.2])
def test_the_robot_drives_where_it_faces(room, heading, speed):
    before = room.set_state(pose(0.5, 0.3, heading)).state
    after = room.step([speed, 0.0]).state
    moved = (after[:2] - before[:2]) / DT
    np.testing.assert_allclose(
        moved, speed * np.array([np.cos(heading), np.sin(heading)]), atol=1e-4
    )
    assert np.array_equal(np.abs(after[2:]), np.abs(before[2:]))


@pytest.mark.parametrize('turn', [TURN, -1.0])
def test_the_robot_turns_on_the_spot(room, turn):
    room.set_state(pose(0.5, 0.3, 0.2))
    after = room.step([0.0, turn]).state
    assert (yaw(after) - 0.2) / DT == pytest.approx(turn, abs=1e-3)
    np.testing.assert_allclose(after[:2], [0.5, 0.3], atol=1e-6)


def test_both_together_make_an_arc(room):
    room.set_state(pose(0.5, 0.0, 0.0))
    for _ in range(8):
        state = room.step([0.3, 1.5]).state
    radius, angle = 0.3 / 1.5, 1.5 * 8 * DT
    wanted = [0.5 + radius * np.sin(angle), radius * (1 - np.cos(angle))]
    np.testing.assert_allclose(state[:2], wanted, atol=5e-3)


def test_the_robot_can_go_through_the_door_and_through_no_wall(room):
    for y, reached in ((0.0, -0.3), (0.6, WALL + RADIUS)):
        room.set_state(pose(0.5, y, np.pi))
        for _ in range(16):
            state = room.step([SPEED, 0.0]).state
        assert state[0] == pytest.approx(reached, abs=2e-2)


def test_a_wall_lets_the_robot_slide_along_and_turn(room):
    room.set_state(pose(0.5, 0.85, np.pi / 4))
    for _ in range(5):
        state = room.step([SPEED, 0.0]).state
    assert state[1] == pytest.approx(1 - RADIUS, abs=2e-3)
    assert state[0] > 0.6
    assert yaw(room.step([0.0, TURN]).state) == pytest.approx(np.pi / 4 + TURN * DT, abs=1e-3)


def test_a_goal_is_a_place_and_no_heading(room):
    room.set_state(pose(0.5, 0.5, 0.0))
    for away, reached in ((0.99 * REACHED, True), (1.01 * REACHED, False)):
        room.set_goal_state(pose(0.5 + away, 0.5, 2.0))
        assert room.success() is reached


def test_a_quaternion_and_its_negative_are_one_state(room):
    state = np.array(pose(0.5, 0.3, 2.0))
    one = room.set_state(state)
    two = room.set_state(state * [1, 1, -1, -1])
    assert np.array_equal(one.state, two.state)
    assert np.array_equal(one.pixels, two.pixels)


def test_a_quaternion_of_another_norm_is_made_a_rotation(room):
    state = room.set_state([0.5, 0.3, 0.6, 0.6]).state
    assert np.linalg.norm(state[2:]) == pytest.approx(1, abs=1e-6)
    assert yaw(state) == pytest.approx(np.pi / 2)


def test_a_quaternion_of_zeros_is_refused(room):
    with pytest.raises(ArenaError, match='state: expected a quaternion of norm 1'):
        room.set_state([0.5, 0.3, 0.0, 0.0])


@pytest.mark.parametrize('goal', [(0.0, 0.0), (-0.13, 0.5), (0.16, -0.9), (-0.9, 0.9)])
@pytest.mark.parametrize('start', [(0.0, 0.05), (-0.14, -0.89), (0.9, 0.9), (0.14, 0.12)])
@pytest.mark.parametrize('heading', [0.0, 2.0])
def test_the_expert_finds_its_way_round_the_door(room, start, goal, heading):
    room.set_state(pose(start[0], start[1], heading))
    room.set_goal_state(pose(goal[0], goal[1], 0.0))
    assert room.success() or any(room.step(room.expert()) and room.success() for _ in range(120))


def test_the_camera_sees_which_way_the_robot_faces(room):
    views = [room.set_state(pose(0.5, 0.3, turn * np.pi / 4)).pixels for turn in range(8)]
    for index, view in enumerate(views):
        for other in views[:index]:
            assert (view != other).any(axis=-1).sum() >= 6
    # Blue is what points ahead: it is right of the robot's middle when it faces along x.
    ahead, behind = (
        np.nonzero((v[..., 2] > 90) & (v[..., 0] < 60))[1].mean() for v in (views[0], views[4])
    )
    assert ahead > behind + 2
