# SPDX-License-Identifier: Apache-2.0
"""Tests for the arenas."""

import subprocess
import sys

from contract import check_arena, drive, equal
import numpy as np
import pytest
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.arenas.drivers import driver
from smwm_ros.arenas.rooms import CLEAR, DT, RADIUS, REACHED, SPEED, WALL
from smwm_ros.errors import ArenaError


@pytest.fixture
def two_room():
    arena = make_arena('two_room')
    yield arena
    arena.close()


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_every_arena_keeps_the_contract(name):
    check_arena(name)


@pytest.mark.parametrize('name', ARENA_NAMES)
def test_the_expert_reaches_every_goal(name):
    arena = make_arena(name, 16)
    failed = []
    for seed in range(20):
        arena.reset(seed)
        if not any(arena.step(arena.expert()) and arena.success() for _ in range(200)):
            failed.append(seed)
    arena.close()
    assert not failed


def test_an_unknown_arena_is_refused_with_the_nearest_name():
    with pytest.raises(ArenaError, match=r"'two_rom': no such arena; did you mean 'two_room'"):
        make_arena('two_rom')


@pytest.mark.parametrize('size', [0, 15, 1025])
def test_image_sizes_out_of_range_are_refused(size):
    with pytest.raises(ArenaError, match=f'image size: {size} is out of range; valid: 16 to 1024'):
        make_arena('two_room', size)


def test_arenas_are_named_without_loading_the_simulator():
    code = 'import sys, smwm_ros.arenas; sys.exit("pybullet" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_making_an_arena_prints_nothing():
    code = 'from smwm_ros.arenas import make_arena; make_arena("two_room").close()'
    made = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert (made.stdout, made.stderr) == ('', '')


def test_an_episode_goes_on_from_any_recorded_state(two_room):
    frames, actions = drive(two_room, 4)
    for step in np.random.default_rng(0).permutation(len(actions)):
        two_room.set_state(frames[step].state)
        assert equal(two_room.step(actions[step]), frames[step + 1])


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


def test_the_camera_tells_places_apart_that_are_a_tenth_of_a_metre_apart(two_room):
    one = two_room.set_state([-0.5, 0.3]).pixels
    two = two_room.set_state([-0.4, 0.3]).pixels
    changed = (one != two).any(axis=-1)
    assert changed.sum() >= 8
    rows, columns = np.nonzero(changed)
    assert rows.max() < 32, 'y points upwards in the image'
    assert columns.max() < 32, 'x points to the right in the image'


@pytest.mark.parametrize('policy', ['expert', 'random', 'mixed'])
def test_drivers_stay_within_the_limits_and_visit_both_rooms(two_room, policy):
    xs = []
    for episode in range(4):
        rng = np.random.default_rng(episode)
        two_room.reset(episode)
        actions = driver(policy, two_room, episode, rng)
        for _ in range(60):
            action = next(actions)
            assert np.array_equal(action, two_room.spec.clip(action))
            xs.append(two_room.step(action).state[0])
    assert min(xs) < -0.3
    assert max(xs) > 0.3


def test_an_unknown_policy_is_refused(two_room):
    with pytest.raises(ArenaError, match=r"'expret': no such policy; did you mean 'expert'"):
        driver('expret', two_room, 0, np.random.default_rng(0))
