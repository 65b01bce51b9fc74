# SPDX-License-Identifier: Apache-2.0
"""Tests for core/guard.py: what may reach a robot."""

from dataclasses import replace
import re

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.core.guard import check_contract, Guard
from smwm_ros.core.interfaces import ActionSpec
from smwm_ros.errors import CheckpointError

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
        (replace(ROBOT, dt=0.05), 'robot.dt is 0.05 s, but the model was trained at 0.1 s'),
        (
            replace(ROBOT, command=command(fields=('a',), low=(-1.0,), high=(1.0,))),
            'robot.command.fields names 1 numbers, but the model commands 2: a, b',
        ),
        (
            replace(ROBOT, command=command(high=(1.0, 1.5))),
            'reach beyond what the model was trained with, [-1.0, -1.0] .. [1.0, 1.0]',
        ),
    ],
)
def test_a_robot_that_the_model_was_not_trained_for_is_refused(asked, message):
    with pytest.raises(CheckpointError, match=re.escape(message)):
        check_contract(ROBOT, asked)
