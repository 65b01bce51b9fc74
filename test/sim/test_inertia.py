# SPDX-License-Identifier: Apache-2.0
"""Robots with inertia: velocities follow their commands with a lag and a largest acceleration."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from contract import check_all_but_states, check_inertia, require_mujoco
import numpy as np
import pytest
from smwm_ros.arenas import arena_of
from smwm_ros.arenas.actuation import respond
from smwm_ros.config import Arena, Config, Randomise
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Arena as AnyArena
from smwm_ros.interfaces import Array

HEAVY = {'lag': 0.4, 'acceleration': (0.5, 2.0)}
DT = 0.1


def inert(name: str = 'two_room', randomise: Randomise | None = None, **words: Any) -> AnyArena:
    """Make an arena with inertia."""
    arena = Arena(name=name, image_size=16, **words)
    return arena_of(Config(arena=arena, randomise=randomise or Randomise()))


def velocities(arena: AnyArena, start: Array, actions: list[Any]) -> Array:
    """Return the mean velocities (n, P) of raw steps from a state."""
    states = [arena.set_state(start).state] + [arena.step(np.array(one)).state for one in actions]
    return np.diff(np.array(states, np.float64), axis=0) / DT


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('two_room_differential', HEAVY),
        ('reacher', {'lag': 0.5}),
        ('two_room', {'acceleration': (0.5,)}),
        ('reacher_torque', {'lag': 0.2}),
    ],
)
def test_an_arena_with_inertia_keeps_the_contract(name: str, words: dict[str, Any]) -> None:
    with closing(inert(name, **words)) as arena, closing(inert(name, **words)) as other:
        check_all_but_states(arena, other)
        check_inertia(arena, other)


def test_a_robot_coasts_in_the_other_engine_too() -> None:
    require_mujoco()
    words: dict[str, Any] = {'name': 'two_room_differential', 'engine': 'mujoco', **HEAVY}
    with closing(inert(**words)) as arena, closing(inert(**words)) as other:
        check_inertia(arena, other)


@pytest.mark.parametrize('lag', [0.0, 0.05, 0.4, 3.0])
@pytest.mark.parametrize('limit', [0.3, 2.0, np.inf])
def test_velocities_are_the_solution_of_their_equation(lag: float, limit: float) -> None:
    rng = np.random.default_rng(0)
    velocity, commands = rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 40)
    after, mean = respond(velocity, commands, lag, np.full(40, limit), DT)
    # In small steps.
    count = 4000
    now, sums, small = velocity.copy(), np.zeros(40), DT / count
    for _ in range(count):
        change = (commands - now) / max(lag, small)
        then = now + small * np.clip(change, -limit, limit)
        sums += (now + then) / 2
        now = then
    assert after == pytest.approx(now, abs=2e-4)
    assert mean == pytest.approx(sums / count, abs=2e-4)
    # Two halves of a step are the whole step, so the result depends on no number of substeps.
    half, first = respond(velocity, commands, lag, np.full(40, limit), DT / 2)
    end, second = respond(half, commands, lag, np.full(40, limit), DT / 2)
    assert end == pytest.approx(after, abs=1e-12)
    assert (first + second) / 2 == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize('gain', [1.0, 1.5])
def test_no_velocity_changes_faster_than_the_largest_acceleration(gain: float) -> None:
    actions = [(0.5, -0.5)] * 5 + [(-0.5, 0.5)] * 7 + [(0.5, 0.5), (-0.5, -0.5)] * 4
    ranges = Randomise(gain=(gain, gain))
    with closing(inert(acceleration=(0.5, 2.0), randomise=ranges)) as arena:
        moved = velocities(arena, np.array([0.5, 0.0]), actions)
    changes = np.abs(np.diff(moved, axis=0)).max(axis=0) / DT
    assert changes == pytest.approx([0.5, 2.0], rel=0.01)


def test_one_acceleration_holds_for_all_fields() -> None:
    actions = [(0.5, -0.5)] * 4
    with closing(inert(acceleration=(0.5,))) as arena, closing(inert()) as plain:
        moved = velocities(arena, np.array([0.5, 0.0]), actions)
        assert moved[:, 0] == pytest.approx([0.025, 0.075, 0.125, 0.175], abs=1e-4)
        assert moved[:, 1] == pytest.approx(-moved[:, 0], abs=1e-4)
        assert velocities(plain, np.array([0.5, 0.0]), actions) == pytest.approx(
            np.array(actions), abs=1e-3
        )


def test_a_lag_adds_to_the_one_that_is_drawn() -> None:
    drawn = Randomise(lag=(0.1, 0.1))
    actions = [(0.2, 0.0)] * 5 + [(0.0, 0.0)] * 5
    found = []
    for lag, randomise in ((0.3, Randomise()), (0.2, drawn)):
        with closing(inert(lag=lag, randomise=randomise)) as arena:
            found.append(velocities(arena, np.array([0.5, 0.0]), actions))
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0][0, 0] < 0.05


@pytest.mark.parametrize('values', [(1.0, 2.0, 3.0), (1.0,) * 4])
def test_a_wrong_number_of_accelerations_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(
        ArenaError,
        match=r'arena\.acceleration: expected one number for all 2 fields of the command, or one',
    ):
        inert(acceleration=values)


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('two_room', {'lag': 0.4, 'acceleration': (0.5,)}),
        ('two_room_differential', HEAVY),
        ('reacher', {'lag': 0.4, 'acceleration': (2.0,)}),
    ],
)
def test_the_expert_brakes_in_time_and_stays_at_its_goal(name: str, words: dict[str, Any]) -> None:
    with closing(inert(name, **words)) as arena:
        for seed in range(8):
            arena.reset(seed)
            reached = [arena.step(arena.expert()) and arena.success() for _ in range(110)]
            assert any(reached[:80])
            assert all(reached[80:])
