# SPDX-License-Identifier: Apache-2.0
"""The arm that is driven by torques, in both engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from contract import require_mujoco
import numpy as np
import pytest
from smwm_ros.arenas import arena_of, make_arena
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.arenas.reacher import BEND, LENGTHS
from smwm_ros.arenas.reacher_torque import DAMPING, ReacherTorque, TORQUES
from smwm_ros.arenas.vary import effective_shifts
from smwm_ros.config import Arena, Config, Randomise
from smwm_ros.interfaces import Array

DT, MASS = 0.1, 1.0
SIDES = (0.15, 0.12)  # widths of the links [m]


@pytest.fixture(params=['pybullet', 'mujoco'])
def arm(request: pytest.FixtureRequest) -> Iterator[ReacherTorque]:
    """Make the arm in one engine."""
    if request.param == 'mujoco':
        require_mujoco()
    arena: Any = make_arena('reacher_torque', 16, request.param)
    yield arena
    arena.close()


def accelerations(angles: Array, speeds: Array, torques: Array) -> Array:
    """Return the accelerations of a planar arm of two bars, from its Lagrangian."""
    (upper, fore), (wide, narrow) = LENGTHS, SIDES
    first, second = (MASS / 12 * (a**2 + b**2) for a, b in ((upper, wide), (fore, narrow)))
    coupled = MASS * upper * fore / 2
    elbow = second + MASS * fore**2 / 4
    shoulder = first + MASS * upper**2 / 4 + MASS * upper**2 + elbow
    cos, sin = np.cos(angles[1]), np.sin(angles[1])
    mixed = elbow + coupled * cos
    inertia = np.array([[shoulder + 2 * coupled * cos, mixed], [mixed, elbow]])
    swing = coupled * sin * np.array([-speeds[1] * (2 * speeds[0] + speeds[1]), speeds[0] ** 2])
    solved: Array = np.linalg.solve(inertia, torques - swing - np.array(DAMPING) * speeds)
    return solved


def integrated(angles: Array, actions: list[tuple[float, float]]) -> Array:
    """Return the angles (n, 2) after raw steps from rest, by the midpoint method."""
    angles, speeds, small = np.array(angles, float), np.zeros(2), 1e-3
    found = []
    for action in actions:
        for _ in range(round(DT / small)):
            half = speeds + small / 2 * accelerations(angles, speeds, np.array(action))
            middle = angles + small / 2 * speeds
            angles = angles + small * half
            speeds = speeds + small * accelerations(middle, half, np.array(action))
        found.append(angles)
    return np.array(found)


@pytest.mark.parametrize('bend', [0.0, 1.2, -2.0])
def test_the_joints_obey_the_equations_of_motion(arm: ReacherTorque, bend: float) -> None:
    actions = [(1.0, 0.2)] * 4 + [(0.0, -0.4)] * 4 + [(0.0, 0.0)] * 7
    arm.set_state(np.array([0.3, bend]))
    states = np.array([arm.step(np.array(action)).state for action in actions])
    wanted = integrated(np.array([0.3, bend]), actions)
    assert np.ptp(wanted, axis=0).min() > 0.4
    assert np.abs(states - wanted).max() < 0.03


def test_a_constant_torque_gives_a_velocity_with_a_limit(arm: ReacherTorque) -> None:
    arm.set_state(np.array([0.0, 0.0]))
    states = np.array([arm.step(np.array([TORQUES[0], 0.0])).state for _ in range(120)])
    assert np.abs(states[:, 0]).max() <= np.float32(np.pi)
    turned = np.diff(np.unwrap(states[:, 0])) / DT
    assert turned[-30:].mean() == pytest.approx(TORQUES[0] / DAMPING[0], rel=0.05)


@pytest.mark.parametrize('side', [-1, 1])
def test_the_elbow_stops_at_its_limit_and_comes_back(arm: ReacherTorque, side: int) -> None:
    arm.set_state(np.array([0.3, side * (BEND - 1.0)]))
    for _ in range(20):
        state = arm.step(np.array([0.0, side * TORQUES[1]])).state
        assert abs(state[1]) <= np.float32(BEND)
    assert state[1] == pytest.approx(side * BEND, abs=0.02)
    for _ in range(2):  # at once: the stop took its velocity
        state = arm.step(np.array([0.0, -side * TORQUES[1]])).state
    assert abs(state[1]) < BEND - 0.1


def test_the_expert_reaches_goals_and_stays() -> None:
    with closing(make_arena('reacher_torque', 16)) as arm:
        for seed in range(10):
            arm.reset(seed)
            reached = [arm.step(arm.expert()) and arm.success() for _ in range(75)]
            assert all(reached[60:])


@pytest.mark.parametrize('policy', ['random', 'mixed'])
def test_policies_move_both_joints_far(policy: str) -> None:
    with closing(make_arena('reacher_torque', 16)) as arm:
        for episode in range(2):
            states = [arm.reset(episode).state]
            actions = policy_actions(policy, arm, episode, np.random.default_rng(episode))
            states += [arm.step(next(actions)).state for _ in range(100)]
            assert np.ptp(np.unwrap(states, axis=0), axis=0).min() > 1.5


def test_both_engines_move_alike() -> None:
    require_mujoco()
    actions = np.random.default_rng(0).uniform(-1, 1, (15, 2)) * TORQUES
    ways = []
    for engine in ('pybullet', 'mujoco'):
        with closing(make_arena('reacher_torque', 16, engine)) as arena:
            arena.set_state(np.array([0.0, 1.0]))
            ways.append(np.array([arena.step(action).state for action in actions]))
    assert np.ptp(ways[0], axis=0).min() > 0.1
    assert np.abs(ways[0] - ways[1]).max() < 0.03


@pytest.mark.parametrize('engine', ['pybullet', 'mujoco'])
def test_gain_and_mass_change_its_motion(engine: str) -> None:
    if engine == 'mujoco':
        require_mujoco()

    def turned(**ranges: Any) -> float:
        arena = Arena(name='reacher_torque', image_size=16, engine=engine)
        with closing(arena_of(Config(arena=arena, randomise=Randomise(**ranges)))) as arm:
            arm.set_state(np.array([0.0, 1.0]))
            return float(arm.step(np.array([1.0, 0.0])).state[0])

    plain = turned()
    assert turned(gain=(0.5, 0.5)) == pytest.approx(plain / 2, rel=0.02)
    assert 0.5 < turned(mass=(2.0, 2.0)) / plain < 0.6  # damping matters less then


def test_a_shift_of_mass_has_an_effect() -> None:
    with closing(make_arena('reacher_torque', 16)) as arm:
        assert 'mass' in effective_shifts(arm)
