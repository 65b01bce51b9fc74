# SPDX-License-Identifier: Apache-2.0
"""Tests for the two-link arm."""

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.reacher import BEND, DT, LENGTHS, REACHED, SPEED, TIP


@pytest.fixture
def reacher():
    arena = make_arena('reacher')
    yield arena
    arena.close()


@pytest.mark.parametrize('velocity', [(1.0, -0.4), (-SPEED, SPEED), (0.0, 0.7)])
def test_joints_turn_as_fast_as_commanded(reacher, velocity):
    before = reacher.set_state([0.3, 0.2]).state
    after = reacher.step(velocity).state
    np.testing.assert_allclose((after - before) / DT, velocity, atol=1e-4)


@pytest.mark.parametrize('side', [-1, 1])
def test_the_elbow_stops_at_its_limit_and_comes_back_at_once(reacher, side):
    reacher.set_state([0.3, side * (BEND - 0.2)])
    for _ in range(4):
        state = reacher.step([0.0, side * SPEED]).state
    assert abs(state[1]) <= BEND
    assert state[1] == pytest.approx(side * BEND, abs=1e-4)
    assert reacher.step([0.0, -side * SPEED]).state[1] == pytest.approx(
        side * (BEND - 0.15), abs=1e-3
    )


@pytest.mark.parametrize('side', [-1, 1])
def test_the_shoulder_turns_without_end_and_its_angle_stays_within_pi(reacher, side):
    first = reacher.set_state([0.3, 0.2])
    angles = [first.state[0]]
    for _ in range(60):
        angles.append(reacher.step([side * SPEED, 0.0]).state[0])
    assert np.abs(angles).max() <= np.float32(np.pi)
    turned = np.unwrap(angles)[-1] - angles[0]
    assert turned == pytest.approx(side * 60 * SPEED * DT, abs=1e-2)


@pytest.mark.parametrize('turns', [-2, -1, 1, 3])
def test_full_turns_of_the_shoulder_are_the_same_state(reacher, turns):
    state = np.array([0.3, 0.2])
    frame = reacher.set_state(state)
    same = reacher.set_state(state + np.array([turns * 2 * np.pi, 0.0]))
    np.testing.assert_allclose(same.state, frame.state, atol=1e-6)
    reacher.set_goal_state(state + np.array([turns * 2 * np.pi, 0.0]))
    assert reacher.success()


@pytest.mark.parametrize('angle', [np.pi, -np.pi, np.nextafter(np.float32(np.pi), np.float32(0))])
def test_angles_near_half_a_turn_are_kept_to_the_bit(reacher, angle):
    state = reacher.set_state([angle, 0.2]).state
    assert state[0] == np.float32(angle)


@pytest.mark.parametrize('joint', [0, 1])
def test_a_goal_is_reached_when_every_joint_is_near(reacher, joint):
    for start in ([0.5, 0.5], [np.pi, 0.5]):  # on the seam of the angle too
        reacher.set_state(start)
        for away, reached in ((0.98 * REACHED, True), (1.02 * REACHED, False)):
            for side in (-1, 1):
                goal = np.array(start)
                goal[joint] += side * away
                reacher.set_goal_state(goal)
                assert reacher.success() is reached


def test_the_expert_turns_the_shoulder_the_shorter_way(reacher):
    reacher.set_state([3.0, 0.0])
    reacher.set_goal_state([-3.0, 0.0])
    assert reacher.expert()[0] > 0
    reacher.set_goal_state([1.0, 0.0])
    assert reacher.expert()[0] < 0


@pytest.mark.parametrize('state', [(0.0, 0.0), (0.0, 1.5), (2.0, -1.5), (-2.5, 2.0)])
def test_the_camera_sees_the_tip_where_the_angles_say(reacher, state):
    pixels = reacher.set_state(state).pixels.astype(float) / 255
    rows, columns = np.nonzero(np.abs(pixels - TIP).max(axis=-1) < 0.25)
    assert len(rows) >= 4
    view = (2.9 - 0.15) * np.tan(np.deg2rad(17.0))  # half of what is seen as high as the tip [m]
    seen = np.array([columns.mean() - 31.5, 31.5 - rows.mean()]) / 32 * view
    angles = np.cumsum(state)
    tip = sum(
        length * np.array([np.cos(a), np.sin(a)])
        for length, a in zip(LENGTHS, angles, strict=True)
    )
    np.testing.assert_allclose(seen, tip, atol=0.06)


def test_the_camera_sees_a_tenth_of_a_radian_at_either_joint(reacher):
    pixels = reacher.set_state([0.5, 0.5]).pixels
    for moved in ([0.6, 0.5], [0.5, 0.6]):
        assert (reacher.set_state(moved).pixels != pixels).any(axis=-1).sum() >= 8
