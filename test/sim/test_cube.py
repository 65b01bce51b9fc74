# SPDX-License-Identifier: Apache-2.0
"""Tests for the arena of the gripper and the cube."""

from contract import drive, equal
import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.arenas.cube import (
    BORDER,
    DT,
    fourfold,
    heading_of,
    HIGH,
    is_held,
    LOW,
    PADS,
    REACH,
    REACHED,
    REST,
    SPEED,
    STRAIGHT,
    WIDTH,
)

HELD = (0.0, 0.0, 0.1, WIDTH, 0.0, 0.0, 0.1, *STRAIGHT)
APART = (0.1, 0.1, 0.1, HIGH[3], -0.05, 0.0, REST, *fourfold(0.3))
CLOSE, OPEN = (0, 0, 0, -SPEED), (0, 0, 0, SPEED)


@pytest.fixture
def cube():
    arena = make_arena('cube', 32)
    yield arena
    arena.close()


def repeat(arena, action, steps):
    """Take the same action several times; return the last state."""
    return [arena.step(action).state for _ in range(steps)][-1]


def test_an_episode_goes_on_from_any_recorded_state(cube):
    for seed, actions in (
        (4, None),
        (5, policy_actions('expert', cube, 0, np.random.default_rng(5))),
    ):
        frames, taken = drive(cube, seed)
        if actions is not None:
            frames, taken = [cube.reset(seed)], []
            for _ in range(60):
                taken.append(next(actions))
                frames.append(cube.step(taken[-1]))
        for step in np.random.default_rng(0).permutation(len(taken)):
            cube.set_state(frames[step].state)
            assert equal(cube.step(taken[step]), frames[step + 1])


def test_a_gripper_away_from_the_cube_moves_as_commanded_and_nothing_else_moves(cube):
    before = cube.set_state(APART).state
    velocity = np.array([-0.1, -0.05, 0.03, -0.12])
    after = cube.step(velocity).state
    np.testing.assert_allclose((after - before)[:4] / DT, velocity, atol=5e-3)
    np.testing.assert_allclose(after[4:], before[4:], atol=1e-6)


@pytest.mark.parametrize('sign', [-1, 1])
@pytest.mark.parametrize('joint', range(4))
def test_no_joint_leaves_its_range(cube, joint, sign):
    cube.set_state([0.0, 0.0, 0.12, 0.06, 0.1, 0.1, REST, *STRAIGHT])
    velocity = np.zeros(4)
    velocity[joint] = sign * SPEED
    end = repeat(cube, velocity, 20)[joint]
    assert end == pytest.approx((LOW if sign < 0 else HIGH)[joint], abs=2e-3)


def test_fingers_that_close_on_the_cube_hold_lift_and_carry_it(cube):
    cube.set_state([0.01, -0.008, 0.03, HIGH[3], 0.0, 0.0, REST, *fourfold(0.4)])
    assert is_held(repeat(cube, CLOSE, 4))
    lifted = repeat(cube, (0, 0, SPEED, -SPEED), 5)
    carried = repeat(cube, (SPEED, 0, 0, 0), 5)
    assert is_held(carried)
    assert lifted[6] == pytest.approx(REST + 5 * DT * SPEED, abs=5e-3)
    assert carried[4] - lifted[4] == pytest.approx(5 * DT * SPEED, abs=5e-3)
    np.testing.assert_array_equal(carried[4:6], carried[:2])
    assert heading_of(carried) == 0, 'the fingers turn the cube straight'


@pytest.mark.parametrize('heading', [-0.7, -0.3, 0.0, 0.5, 0.78])
def test_a_cube_of_any_heading_can_be_held(cube, heading):
    cube.set_state([0.0, 0.0, 0.03, HIGH[3], 0.0, 0.0, REST, *fourfold(heading)])
    assert is_held(repeat(cube, CLOSE, 5))


def test_a_held_cube_stops_at_the_table(cube):
    cube.set_state(HELD)
    end = repeat(cube, (0, 0, -SPEED, 0), 12)
    assert is_held(end)
    assert end[6] == pytest.approx(REST, abs=1e-4)


def test_a_cube_that_is_let_go_falls_and_stays_on_the_table(cube):
    cube.set_state(HELD)
    states = [cube.step(OPEN).state for _ in range(8)]
    heights = [state[6] for state in states]
    assert not is_held(states[-1])
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == pytest.approx(0.1, abs=1e-3), 'the fingers must open first'
    assert heights[-1] == heights[-2] == pytest.approx(REST)
    np.testing.assert_allclose(states[-1][4:6], 0, atol=1e-3)


def test_soft_pads_forgive_a_gap_that_is_a_little_too_wide(cube):
    for gap, held in ((WIDTH, True), (WIDTH + 0.9 * PADS, True), (WIDTH + 1.1 * PADS, False)):
        assert is_held(cube.set_state([*HELD[:3], gap, *HELD[4:]]).state) is held


def test_closed_fingers_beside_the_cube_push_it_and_do_not_hold_it(cube):
    cube.set_state([-0.08, 0.0, 0.03, 0.0, -0.04, 0.0, REST, *STRAIGHT])
    end = repeat(cube, (SPEED, 0, 0, 0), 5)
    assert not is_held(end)
    assert end[4] > 0.02
    assert end[6] == pytest.approx(REST, abs=1e-3)
    assert end[4] - end[0] == pytest.approx(WIDTH / 2 + 0.012, abs=5e-3)


def test_an_offset_push_turns_the_cube(cube):
    cube.set_state([-0.08, 0.025, 0.03, 0.0, -0.04, 0.0, REST, *STRAIGHT])
    assert abs(heading_of(repeat(cube, (SPEED, 0, 0, 0), 4))) > 0.1


def test_the_rim_keeps_the_cube_within_reach(cube):
    cube.set_state([0.05, 0.0, 0.03, 0.0, 0.09, 0.0, REST, *STRAIGHT])
    end = repeat(cube, (SPEED, 0, 0, 0), 15)
    assert BORDER - 5e-3 < end[4] <= np.float32(BORDER)
    assert end[0] <= np.float32(REACH)


def test_fingers_stand_on_the_cube_and_do_not_sink_into_it(cube):
    cube.set_state([0.0, 0.0, 0.09, 0.0, 0.0, 0.0, REST, *STRAIGHT])
    end = repeat(cube, (0, 0, -SPEED, 0), 10)
    assert end[2] > WIDTH + 0.018
    assert end[6] == pytest.approx(REST, abs=1e-3)


def test_a_heading_is_the_same_after_a_quarter_turn(cube):
    for heading in (-0.7, -0.3, 0.0, 0.5, 0.78):
        state = cube.set_state([*APART[:7], *fourfold(heading + np.pi / 2)]).state
        assert heading_of(state) == pytest.approx(heading, abs=1e-6)
        assert cube.world.joints('cube')[3] == pytest.approx(heading, abs=1e-6)


def test_a_heading_that_is_no_cosine_and_sine_becomes_one(cube):
    state = cube.set_state([*APART[:7], 0.3, 0.4]).state
    np.testing.assert_allclose(state[7:], (0.6, 0.8), atol=1e-6)


def test_the_cube_must_come_within_four_centimetres_of_its_goal(cube):
    for away, reached in ((0.99 * REACHED, True), (1.01 * REACHED, False)):
        for axis in (4, 6):
            goal = np.array(APART)
            goal[axis] += away
            cube.set_state(APART)
            cube.set_goal_state(goal)
            assert cube.success() is reached
    goal = np.array(APART)
    goal[:4] = LOW
    cube.set_goal_state(goal)
    assert cube.success(), 'where the gripper stands does not matter'


def test_the_camera_shows_height_gap_and_cube(cube):
    seen = cube.set_state(APART).pixels
    for index, by in ((0, -0.03), (1, -0.03), (2, 0.03), (3, -0.05), (4, 0.03), (5, 0.03)):
        state = np.array(APART)
        state[index] += by
        changed = (cube.set_state(state).pixels != seen).any(axis=-1)
        assert changed.sum() >= 4


def test_samples_hold_leave_and_push_the_cube_in_the_expected_shares(cube):
    rng = np.random.default_rng(0)
    states = np.array([cube.sample(rng) for _ in range(400)])
    held = np.array([is_held(state) for state in states])
    pushed = ~held & (states[:, 3] == 0)
    assert 0.5 < held.mean() < 0.7
    assert 0.1 < pushed.mean() < 0.3
    for state in states[:40]:
        np.testing.assert_array_equal(cube.set_state(state).state, state)
    cube.set_state(states[pushed][0])
    assert np.abs(cube.step(np.zeros(4)).state - states[pushed][0]).max() < 0.01, 'no overlap'


def test_the_expert_pushes_where_the_goal_shows_closed_fingers(cube):
    cube.set_state([-0.08, 0.0, 0.1, 0.0, 0.0, 0.0, REST, *STRAIGHT])
    cube.set_goal_state([0.0, 0.06, 0.03, 0.0, 0.08, 0.06, REST, *STRAIGHT])
    held = []
    for _ in range(60):
        held.append(is_held(cube.step(cube.expert()).state))
        if cube.success():
            break
    assert cube.success()
    assert not any(held)


def test_the_restless_expert_stays_within_the_limits_and_picks_up_and_lets_go(cube):
    changes = []
    for episode in range(3):
        cube.reset(episode)
        actions = policy_actions('restless', cube, episode, np.random.default_rng(episode))
        held = []
        for _ in range(80):
            action = next(actions)
            assert np.array_equal(action, cube.spec.clip(action))
            held.append(is_held(cube.step(action).state))
        changes += np.diff(np.array(held, np.int64)).tolist()
    assert changes.count(1) >= 3
    assert changes.count(-1) >= 3
