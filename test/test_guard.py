# SPDX-License-Identifier: Apache-2.0
"""Tests for control/guard.py: what may reach a robot."""

from dataclasses import replace
import re

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from properties import examples
import pytest
from smwm_ros import config
from smwm_ros.control.guard import check_contract, Guard, Limits, limits_of
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.interfaces import ActionSpec

DT = 0.1
SPEC = ActionSpec(('x', 'y'), (-1.0, -1.0), (1.0, 1.0), DT)


def test_commands_never_leave_the_limits_and_each_intervention_counts():
    guard = Guard(SPEC)
    assert guard.check(np.array([0.5, -0.5])) == pytest.approx([0.5, -0.5])
    assert guard.interventions == 0
    assert guard.check(np.array([7.0, -9.0])) == pytest.approx([1.0, -1.0])
    assert guard.interventions == 1
    assert guard.check(np.array([np.nan, 0.0])) is None
    assert guard.check(np.zeros(3)) is None
    assert guard.interventions == 3


def test_a_rounding_error_at_the_limit_is_no_intervention():
    guard = Guard(SPEC)
    guard.check(np.array([1.0 + 1e-12, -1.0]))
    assert guard.interventions == 0


def command(**words):
    fields = {'fields': ('a', 'b'), 'low': (-1.0, -1.0), 'high': (1.0, 1.0)}
    return config.Command(**{**fields, **words})


ROBOT = config.Robot(command=command(), dt=DT)


@pytest.mark.parametrize(
    'asked',
    [
        ROBOT,
        replace(ROBOT, camera=config.Camera(topic='/other')),
        replace(ROBOT, command=command(fields=('c', 'd'), topic='/other')),
        replace(ROBOT, command=command(low=(-0.1, -0.5), high=(0.2, 1.0))),
    ],
)
def test_other_names_and_narrower_limits_fit_the_checkpoint(asked):
    check_contract(ROBOT, asked)


@pytest.mark.parametrize(
    ('asked', 'message'),
    [
        (
            replace(ROBOT, dt=0.05),
            'robot.dt: 0.05 s, expected 0.1 s, at which the model was trained',
        ),
        (
            replace(ROBOT, command=command(fields=('a',), low=(-1.0,), high=(1.0,))),
            'robot.command.fields: 1 number, expected 2 as in training: a, b',
        ),
        (
            replace(ROBOT, command=command(high=(1.0, 1.5))),
            'expected limits within those of training, [-1.0, -1.0] .. [1.0, 1.0]',
        ),
    ],
)
def test_a_robot_that_the_model_was_not_trained_for_is_refused(asked, message):
    with pytest.raises(CheckpointError, match=re.escape(message)):
        check_contract(ROBOT, asked)


DT_UNIT = ActionSpec(('x',), (-1.0,), (2.0,), 0.1)
TARGETS = st.lists(st.floats(-1.0, 2.0, width=32), min_size=1, max_size=60)
LIMIT = st.floats(0.5, 50.0)


def driven(guard, targets):
    """Return what is sent for targets, from rest on."""
    return np.array([0.0, *(float(guard.check(np.array([target]))[0]) for target in targets)])


@examples(50)
@given(TARGETS, LIMIT, LIMIT)
def test_commands_change_no_faster_than_rate_and_jerk_allow_and_stay_in_the_limits(
    targets, rate, jerk
):
    sent = driven(Guard(DT_UNIT, Limits((rate,), (jerk,))), targets)
    change = np.diff(sent, prepend=0.0)
    assert np.abs(change).max() <= rate * DT + 1e-9
    assert np.abs(np.diff(change)).max() <= jerk * DT**2 + 1e-9
    assert sent.min() >= -1.0
    assert sent.max() <= 2.0


@examples(50)
@given(st.floats(-1.0, 2.0), LIMIT, st.floats(1.0, 50.0), TARGETS)
def test_a_target_that_stays_is_reached_and_never_left(target, rate, jerk, before):
    guard = Guard(DT_UNIT, Limits((rate,), (jerk,)))
    driven(guard, before)
    sent = driven(guard, [target] * 150)[1:]
    assert sent[-1] == pytest.approx(target, abs=1e-9)
    arrived = int(np.argmax(np.abs(sent - target) < 1e-9))
    assert sent[arrived + 40 :] == pytest.approx(target, abs=1e-6)


def test_what_is_slowed_counts_as_an_intervention_and_a_stop_does_not():
    guard = Guard(DT_UNIT, Limits((1.0,), ()))
    assert guard.check(np.array([0.05])) == pytest.approx([0.05])
    assert guard.interventions == 0
    assert guard.check(np.array([1.0])) == pytest.approx([0.15])
    assert guard.interventions == 1
    assert guard.slow_down() == pytest.approx([0.05])
    assert guard.slow_down() == pytest.approx([0.0])
    assert guard.interventions == 1
    assert not guard.moves


def test_a_robot_with_position_commands_starts_from_the_first_one():
    guard = Guard(DT_UNIT, Limits((1.0,), ()), starts_at_rest=False)
    assert guard.check(np.array([1.5])) == pytest.approx([1.5])
    assert guard.check(np.array([0.0])) == pytest.approx([1.4])


def test_narrower_limits_hold_at_once_whatever_the_rate():
    guard = Guard(DT_UNIT, Limits((1.0,), ()))
    driven(guard, [2.0] * 30)
    guard.set(DT_UNIT._replace(high=(0.5,)), Limits((1.0,), ()))
    assert guard.check(np.array([2.0])) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ('knobs', 'message'),
    [
        ({'max_rate': (1.0, 2.0, 3.0)}, 'max_rate: expected one number, or one for each of x, y'),
        ({'max_jerk': (0.0,)}, 'max_jerk: expected positive numbers, found [0.0]'),
        ({'max_rate': (float('nan'),)}, 'max_rate: expected positive numbers'),
    ],
)
def test_limits_that_make_no_sense_are_refused(knobs, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        limits_of(config.Node(**knobs), SPEC)


def test_limits_are_for_all_fields_or_for_each():
    node = config.Node(max_rate=(1.0,), max_jerk=(3.0, 4.0))
    assert limits_of(node, SPEC) == Limits((1.0,), (3.0, 4.0))
    guard = Guard(SPEC, Limits((1.0, 0.5)))
    assert guard.check(np.array([1.0, 1.0])) == pytest.approx([0.1, 0.05])
