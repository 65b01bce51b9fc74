# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/trial.py: arena and planner as two processes."""

from dataclasses import replace

import numpy as np
import pytest
from smwm_ros.core.checkpoint import Checkpoint, save
from smwm_ros.core.model import make_model
from smwm_ros.errors import SmwmError
from smwm_ros.load import load_config
from smwm_ros.nodes.trial import run_trial

TASKS = [{'start': [-0.5, 0.1], 'goal': [-0.3, 0.3]}, {'start': [0.5, 0.1], 'goal': [0.3, 0.3]}]
BUDGET = 6


@pytest.fixture(scope='module')
def untrained(tmp_path_factory):
    """Return a checkpoint of the two-room robot that has learned nothing."""
    made = load_config('two_room')
    model_config = replace(made.model, latent=8, hidden=16)
    planner = replace(made.planner, samples=16, elites=4, iterations=2)
    model = make_model(model_config, made.dataset.image_size, 2 * made.dataset.action_block)
    folder = tmp_path_factory.mktemp('untrained')
    mean, std = np.zeros(2), np.full(2, 0.25)
    save(folder, Checkpoint(model, made.robot, made.dataset, model_config, planner, mean, std, {}))
    return folder


def test_every_task_is_driven_from_its_start_within_the_budget(untrained, tmp_path):
    done = []
    trial = run_trial(untrained, 'two_room', TASKS, BUDGET, tmp_path, lambda: done.append(1))
    assert len(done) == len(trial.tasks) == len(TASKS)
    for task, result in zip(TASKS, trial.tasks, strict=True):
        assert 1 <= result.steps <= BUDGET
        assert result.success or result.steps == BUDGET
        assert len(result.path) == result.steps + 1
        assert result.path[0] == pytest.approx(task['start'], abs=1e-5)
        moves = np.diff(np.array(result.path), axis=0)
        assert (np.abs(moves) <= 0.5 * 0.1 + 1e-6).all()  # at most 0.5 m/s for 0.1 s
    assert len(trial.command_intervals) >= len(TASKS)
    assert trial.control_hz > 0
    assert len(trial.plan_ms) >= sum(result.steps for result in trial.tasks) / 4
    assert all(time > 0 for time in trial.plan_ms)
    assert trial.health['goals'] == str(len(TASKS))
    assert {path.name for path in tmp_path.iterdir()} >= {'arena.log', 'plan.log'}


def test_a_node_that_cannot_start_ends_the_trial_with_its_log(untrained, tmp_path):
    tasks = [{'start': [0.0], 'goal': [0.0]}]
    with pytest.raises(SmwmError, match=r'the arena node ended with code 2(.|\n)*start'):
        run_trial(untrained, 'two_room', tasks, BUDGET, tmp_path)
