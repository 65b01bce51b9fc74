# SPDX-License-Identifier: Apache-2.0
"""The pilot turns images into actions that a robot may execute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import ActionScaler
from smwm_ros.planning.pilot import Pilot
from worlds import draw_dot, SIZE, tiny_checkpoint

HERE, THERE = draw_dot(np.array([-0.5, 0.0])), draw_dot(np.array([0.5, 0.2]))


def pilot(**knobs: object) -> Pilot:
    checkpoint = tiny_checkpoint()
    made = Pilot(checkpoint, replace(checkpoint.planner, **knobs))  # type: ignore[arg-type]
    made.set_goal(THERE)
    return made


@given(st.floats(-0.4, 0.4), st.floats(0.001, 10), st.integers(0, 100))
def test_actions_are_physical_and_inside_the_limits(mean: float, std: float, seed: int) -> None:
    checkpoint = tiny_checkpoint(seed, mean, std)
    made = Pilot(checkpoint)
    made.set_goal(THERE)
    for elapsed in (0, 1, 3):
        plan = made.plan(HERE, elapsed)
        assert plan.actions.shape == (made.raw_steps, 2) == (6, 2)
        assert plan.actions.dtype == np.float64
        assert (plan.actions >= made.spec.low).all()
        assert (plan.actions <= made.spec.high).all()
        assert np.isfinite([plan.cost, plan.spread, plan.distance]).all()


def test_the_same_images_give_the_same_plans_after_a_reset() -> None:
    made = pilot()
    first = [made.plan(HERE, 0), made.plan(HERE, 1)]
    made.reset()
    again = [made.plan(HERE, 0), made.plan(HERE, 1)]
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.actions, two.actions)


def test_a_tight_plan_goes_on_where_the_last_one_was() -> None:
    made = pilot(init_std=0.01, min_std=0.0, iterations=1)
    first = made.plan(HERE, 0).actions
    second = made.plan(HERE, 2).actions
    assert np.allclose(second[:-2], first[2:], atol=0.02)


def test_at_the_goal_the_distance_is_nothing() -> None:
    made = pilot()
    assert made.plan(THERE, 0).distance == 0
    assert made.plan(HERE, 0).distance > 0


def test_warming_up_changes_no_plan() -> None:
    cold, warm = pilot(), pilot()
    warm.warm_up()
    assert np.array_equal(cold.plan(HERE, 0).actions, warm.plan(HERE, 0).actions)


def test_a_plan_needs_a_goal_and_an_image_of_the_right_kind() -> None:
    made = Pilot(tiny_checkpoint())
    with pytest.raises(RuntimeError, match='no goal; call set_goal'):
        made.plan(HERE, 0)
    with pytest.raises(ValueError, match=r'expected \(16, 16, 3\) uint8, found \(8, 8, 3\)'):
        made.set_goal(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r'found \(16, 16, 3\) float64'):
        made.set_goal(np.zeros((SIZE, SIZE, 3)))


def test_many_problems_are_planned_as_each_would_be_alone_also_when_some_are_over() -> None:
    goals = [draw_dot(np.array([0.5, y])) for y in (-0.5, 0.0, 0.5)]
    views = [draw_dot(np.array([-0.5, y])) for y in (0.3, 0.0, -0.3)]
    together = Pilot(tiny_checkpoint())
    together.set_goals(np.stack(goals))
    first = together.plan_many(np.stack(views), 0)
    together.keep([0, 2])
    second = together.plan_many(np.stack([views[0], views[2]]), 1)
    for number, plans in (
        (0, (first[0], second[0])),
        (1, (first[1],)),
        (2, (first[2], second[1])),
    ):
        alone = Pilot(tiny_checkpoint())
        alone.set_goal(goals[number])
        for elapsed, plan in enumerate(plans):
            wanted = alone.plan(views[number], elapsed)
            assert np.allclose(plan.actions, wanted.actions, atol=1e-4)
            assert plan.distance == pytest.approx(wanted.distance, rel=1e-4)
            assert plan.cost == pytest.approx(wanted.cost, rel=1e-3)


def test_a_goal_that_a_broken_model_cannot_place_is_refused() -> None:
    checkpoint = tiny_checkpoint()
    for weights in checkpoint.model.encoder.parameters():
        weights.fill_(np.nan)
    with pytest.raises(CheckpointError, match='latent of the goal is not finite'):
        Pilot(checkpoint).set_goal(THERE)


@given(
    st.sampled_from(['cem', 'icem', 'mppi', 'sampling']),
    st.floats(-0.4, 0.4),
    st.floats(0.001, 10),
    st.floats(0.05, 20.0),
    st.integers(0, 100),
)
def test_no_command_field_changes_faster_than_allowed(
    kind: str, mean: float, std: float, rate: float, seed: int
) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint = checkpoint._replace(
        scaler=ActionScaler(np.array([mean, 0.0]), np.array([std, 2 * std]))
    )
    knobs = {'kind': kind, 'max_rate': (rate, 2 * rate), 'seed': seed}
    made = Pilot(checkpoint, replace(checkpoint.planner, **knobs))  # type: ignore[arg-type]
    made.set_goal(THERE)
    step = np.array([rate, 2 * rate]) * made.spec.dt
    executed = None
    for elapsed in (0, 2, 1):
        plan = made.plan(HERE, elapsed)
        if executed is not None:
            last = executed[elapsed - 1]
            assert (np.abs(plan.actions[0] - last) <= step + 1e-5 * (std + rate)).all()
        assert (np.abs(np.diff(plan.actions, axis=0)) <= step + 1e-5 * (std + rate)).all()
        assert (plan.actions >= made.spec.low).all()
        assert (plan.actions <= made.spec.high).all()
        executed = plan.actions


def test_rates_that_fit_no_command_are_refused() -> None:
    for rates in ((1.0, 1.0, 1.0), (0.0,), (-1.0, 1.0)):
        with pytest.raises(ConfigError, match=r'planner\.max_rate: expected one positive number'):
            pilot(max_rate=rates)


def test_places_to_avoid_are_read_from_a_folder_and_reported_in_the_shares(tmp_path: Path) -> None:
    for number, place in enumerate(((0.0, 0.1), (0.2, 0.1))):
        picture = cv2.cvtColor(draw_dot(np.array(place)), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / f'{number}.png'), picture)
    made = pilot(keep_out=str(tmp_path), keep_out_weight=3.0)
    plan = made.plan(HERE, 0)
    assert set(plan.shares) == {'goal', 'keep_out'}
    assert plan.shares['keep_out'] > 0
    assert sum(plan.shares.values()) == pytest.approx(plan.cost, rel=1e-5)


def test_a_folder_without_places_to_avoid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='nowhere: no such folder'):
        pilot(keep_out=str(tmp_path / 'nowhere'))
    with pytest.raises(ConfigError, match='no images found'):
        pilot(keep_out=str(tmp_path))
    (tmp_path / 'one.png').write_text('no image')
    with pytest.raises(ConfigError, match=r'one\.png: cannot be read'):
        pilot(keep_out=str(tmp_path))
