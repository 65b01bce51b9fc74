# SPDX-License-Identifier: Apache-2.0
"""Tests for the arena of the pusher and the T."""

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.arenas.push_t import HALF, NEAR, SPEED, TURNED
from smwm_ros.arenas.push_t_shape import (
    BAR,
    BAR_Y,
    blocked,
    clearance,
    Pose,
    RADIUS,
    STEM,
    STEM_Y,
    wall_gap,
)

TOP = BAR_Y + BAR[1]  # of the bar, in the frame of the block [m]


def state_of(pusher, block=(0.0, 0.0), angle=0.0):
    return np.array([*pusher, *block, np.cos(angle), np.sin(angle)])


def gap(state):
    """Return how far the pusher is from the block [m]."""
    return float(clearance(Pose.of(state).inside(np.asarray(state[:2], np.float64)))) - RADIUS


@pytest.fixture(scope='module')
def arena():
    made = make_arena('push_t', 32)
    yield made
    made.close()


@pytest.fixture(scope='module')
def drives(arena):
    """Return what is measured while the noisy expert and noise drive, (episodes, steps+1, 6)."""
    episodes = []
    for episode in range(6):
        arena.reset(episode)
        actions = policy_actions('mixed', arena, episode, np.random.default_rng(episode))
        states = [arena.step(next(actions)).state for _ in range(101)]
        episodes.append(np.array(states, np.float64))
    return np.array(episodes)


def test_the_block_moves_only_when_it_is_touched(drives):
    moved = np.abs(np.diff(drives[..., 2:], axis=1)).max(axis=-1) > 0
    gaps = np.array([[gap(state) for state in episode] for episode in drives])
    apart = (gaps[:, :-1] > 2**0.5 * SPEED * 0.1) & (gaps[:, 1:] > 0.01)
    assert moved.any()
    assert not moved[apart].any()


def test_a_drive_of_the_expert_touches_the_block_often(drives):
    moved = np.abs(np.diff(drives[0::2, :, 2:], axis=1)).max(axis=-1) > 0
    assert moved.mean() > 0.1


def test_pusher_and_block_do_not_sink_into_each_other(drives):
    assert min(gap(state) for episode in drives for state in episode) > -1e-3


def test_nothing_leaves_the_table(drives):
    assert np.abs(drives[..., :2]).max() < HALF - RADIUS + 1e-3
    assert min(wall_gap(Pose.of(state), HALF) for e in drives for state in e) > -1e-3


@pytest.mark.parametrize('aside', [-0.05, -0.02, 0.02, 0.05])
def test_a_block_that_is_pushed_against_a_wall_stays_within(arena, aside):
    arena.set_state(state_of((0.05, 0.0), (0.3, 0.0), np.pi / 2))
    states = [arena.step([SPEED, aside]).state.astype(np.float64) for _ in range(60)]
    gaps = [wall_gap(Pose.of(state), HALF) for state in states]
    assert min(gaps) == pytest.approx(0.0, abs=4e-3)
    assert min(gap(state) for state in states) > -2e-3


def test_a_push_through_the_centre_of_mass_does_not_turn_the_block(arena):
    arena.set_state(state_of((0.0, TOP + RADIUS)))
    for _ in range(5):
        state = arena.step([0.0, -SPEED]).state
    np.testing.assert_allclose(state[2:], [0.0, -5 * 0.1 * SPEED, 1.0, 0.0], atol=2e-3)


@pytest.mark.parametrize('side', [-1, 1])
def test_a_push_beside_the_centre_of_mass_turns_the_block(arena, side):
    arena.set_state(state_of((side * 0.2, TOP + RADIUS)))
    for _ in range(3):
        state = arena.step([0.0, -SPEED]).state
    assert np.sign(Pose.of(state).angle) == -side
    assert abs(Pose.of(state).angle) > 0.1


def test_the_block_stops_with_the_pusher(arena):
    arena.set_state(state_of((0.0, TOP + RADIUS)))
    pushed = arena.step([0.0, -SPEED]).state
    np.testing.assert_allclose(arena.step([0.0, 0.0]).state, pushed, atol=5e-4)


def test_an_episode_goes_on_from_any_recorded_state_in_contact_too(arena):
    arena.reset(3)
    actions, states = [], [arena.save()[0]]
    drive = policy_actions('expert', arena, 0, np.random.default_rng(3))
    for _ in range(80):
        actions.append(next(drive))
        states.append(arena.step(actions[-1]).state)
    for step in np.random.default_rng(0).permutation(80):
        arena.set_state(states[step])
        assert np.array_equal(arena.step(actions[step]).state, states[step + 1])


@pytest.mark.parametrize(
    ('pusher', 'block'), [((NEAR, 0), (0, 0)), ((0, 0), (0, NEAR)), ((0.6, 0), (0.0, 0.8))]
)
def test_pusher_and_block_together_may_miss_the_goal_by_so_much(arena, pusher, block):
    place = np.array([-0.4, 0.2, 0.1, 0.1])
    off = np.array([*pusher, *block]) * NEAR / np.linalg.norm([*pusher, *block])
    for share, reached in ((0.99, True), (1.01, False)):
        arena.set_goal_state(np.array([*place, 1.0, 0.0]))
        arena.set_state(np.array([*(place + share * off), 1.0, 0.0]))
        assert arena.success() is reached


@pytest.mark.parametrize('angle', [0.0, np.pi, -3.0, 1.5])
@pytest.mark.parametrize('side', [-1, 1])
def test_the_block_may_be_turned_away_from_its_goal_by_so_much(arena, angle, side):
    arena.set_goal_state(state_of((-0.5, 0.0), angle=angle))
    for share, reached in ((0.99, True), (1.01, False), (9.0, False)):
        arena.set_state(state_of((-0.5, 0.0), angle=angle + side * share * TURNED))
        assert arena.success() is reached


def test_cosine_and_sine_that_are_none_become_those_of_the_same_angle(arena):
    state = arena.set_state([0.5, 0.5, 0.0, 0.0, 3.0, 4.0]).state
    np.testing.assert_allclose(state[4:], [0.6, 0.8], rtol=1e-6)


def test_places_that_are_drawn_are_free(arena):
    rng = np.random.default_rng(0)
    for state in (arena.sample(rng).astype(np.float64) for _ in range(200)):
        assert gap(state) > 0
        assert wall_gap(Pose.of(state), HALF) > 2 * RADIUS
        assert np.abs(state[:2]).max() < HALF - RADIUS


def test_the_expert_does_what_is_asked_near_by_too(arena):
    reached = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        arena.reset(seed)
        start = arena.save()[0]
        drive = policy_actions('expert', arena, 0, rng)
        for _ in range(25):
            goal = arena.step(next(drive)).state
        arena.set_goal_state(goal)
        arena.set_state(start)
        reached += any(arena.step(arena.expert()) and arena.success() for _ in range(50))
    assert reached >= 9


def test_a_straight_way_through_the_block_is_blocked():
    below = np.array([0.0, STEM_Y - STEM[1] - 0.1])
    ends = np.array([[0.0, TOP + 0.1], [0.5, -0.3], [-0.3, STEM_Y - 0.3], [0.0, STEM_Y]])
    assert blocked(below, ends, RADIUS).tolist() == [True, False, False, True]


def test_the_camera_sees_pusher_and_angle(arena):
    def changed(one, other):
        return (arena.set_state(one).pixels != arena.set_state(other).pixels).any(axis=-1).sum()

    here = state_of((-0.5, 0.3))
    assert changed(here, state_of((-0.4, 0.3))) >= 4
    assert changed(here, state_of((-0.5, 0.3), angle=TURNED)) >= 10
    assert changed(here, state_of((-0.5, 0.3), angle=np.pi)) >= 20
    over = arena.set_state(state_of((0.0, 0.1))).pixels  # never seen, but never hidden either
    assert (over[..., 0].astype(int) - over[..., 2] > 60).any(), 'the pusher is red'
