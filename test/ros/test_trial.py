# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/trial.py, and of the shipped model: arena and planner as two processes."""

import os
from pathlib import Path

import numpy as np
import pytest
from smwm_ros.errors import SmwmError
from smwm_ros.nodes.trial import private_network, run_trial
from smwm_ros.share import profile_variable, PROFILE_VARIABLES

MODEL = Path(__file__).resolve().parents[2] / 'models' / 'two_room'
# From (x, y) to (x, y) [m], the last four through the door. Chance reaches 0.4 of these 10 goals.
WAYS = (
    ((-0.8, -0.7), (-0.8, 0.0)),
    ((-0.5, 0.6), (-0.9, 0.2)),
    ((-0.3, -0.5), (-0.8, -0.8)),
    ((0.8, 0.8), (0.3, 0.4)),
    ((0.4, -0.2), (0.7, -0.8)),
    ((0.9, -0.3), (0.4, 0.1)),
    ((-0.3, 0.1), (0.4, 0.0)),
    ((0.4, -0.1), (-0.3, -0.1)),
    ((-0.5, -0.1), (0.3, 0.2)),
    ((0.3, 0.2), (-0.5, 0.1)),
)
BUDGET = 80  # raw steps: 9 to 18 do without delay, up to 26 with 400 ms; machines may be slower
SPEED = 2.0  # simulated seconds in a second


def test_the_shipped_model_reaches_its_goals_over_ros(tmp_path):
    tasks = [{'start': start, 'goal': goal} for start, goal in WAYS]
    done = []
    trial = run_trial(MODEL, 'two_room', tasks, BUDGET, tmp_path, lambda: done.append(1), SPEED)
    assert len(done) == len(trial.tasks) == len(tasks)
    for task, result in zip(tasks, trial.tasks, strict=True):
        assert 1 <= result.steps <= BUDGET
        assert result.success or result.steps == BUDGET
        assert len(result.path) == result.steps + 1
        assert result.path[0] == pytest.approx(task['start'], abs=1e-5)
        moves = np.diff(np.array(result.path), axis=0)
        assert (np.abs(moves) <= 0.5 * 0.1 + 1e-6).all()  # at most 0.5 m/s for 0.1 s
    assert sum(result.success for result in trial.tasks) >= 8
    assert len(trial.command_intervals) >= len(tasks)
    assert trial.control_hz > 0
    assert len(trial.plan_ms) >= len(tasks)
    assert all(time >= 0 for time in trial.plan_ms)  # a simulated clock goes in steps
    assert trial.health['goals'] == str(len(tasks))
    assert float(trial.health['near_distance']) < 0, 'the arena judges, not the node'
    assert {path.name for path in tmp_path.iterdir()} >= {'arena.log', 'plan.log'}


def test_a_node_that_cannot_start_ends_the_trial_with_its_log(tmp_path):
    tasks = [{'start': [0.0], 'goal': [0.0]}]
    with pytest.raises(SmwmError, match=r'the arena node ended with code 2(.|\n)*start'):
        run_trial(MODEL, 'two_room', tasks, BUDGET, tmp_path)


def test_a_trial_gives_fast_dds_a_profile_unless_the_user_has_one(monkeypatch):
    name = profile_variable(os.environ)
    for each in PROFILE_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    with private_network() as environment:
        assert Path(environment[name]).name == 'fastdds.xml'
    assert name not in os.environ
    monkeypatch.setenv(name, 'mine.xml')
    with private_network() as environment:
        assert environment[name] == 'mine.xml'
    assert os.environ[name] == 'mine.xml'
