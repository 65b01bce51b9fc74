# SPDX-License-Identifier: Apache-2.0
"""A goal may be about some of the measured state before all else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import ConfigError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.goal_fields import settings_for
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.train import train
import torch
from worlds import dot_dataset, draw_dot, PointMass, STATE, TINY, tiny_checkpoint

pytestmark = pytest.mark.usefixtures('one_thread')
ALIGNED = replace(TINY, kind='state_align', state_weight=10.0)
TRAINING = config.Train(steps=300, batch=32, lr=1e-2, eval_every=100, device='cpu')
HERE, THERE = draw_dot(np.array([-0.6, -0.6])), draw_dot(np.array([0.4, 0.6]))


@pytest.fixture(scope='module')
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Train a model that reads where the dot is."""
    folder = tmp_path_factory.mktemp('focus')
    dots = dot_dataset(folder / 'dots')
    return train(dots, folder / 'run', ALIGNED, TRAINING, config.Planner())


def test_the_focus_is_added_to_the_squared_distance_by_its_weight() -> None:
    limit = torch.ones(2)
    settings = config.Planner(cost='last', focus=('y',), focus_weight=3.0)
    about_y = Costs(
        PointMass(), settings, Bounds(-limit, limit, 1), read_focus=lambda z: z[..., 1:]
    )
    start, goal = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]])
    once_to_the_right = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    assert float(about_y(start, goal, once_to_the_right)) == pytest.approx(2.0**2 + 1 + 3 * 1)


@pytest.mark.parametrize('field', [0, 1])
def test_plans_go_first_of_all_where_the_focus_wants(aligned: Checkpoint, field: int) -> None:
    # Moving is dear: worth it for the field that the goal is about, and not for the other.
    settings = config.Planner(
        horizon=4,
        samples=256,
        elites=16,
        iterations=8,
        cost='last',
        focus=(STATE.fields[field],),
        focus_weight=1e4,
        effort_weight=1e3,
    )
    pilot = Pilot(aligned, settings)
    pilot.set_goal(THERE)
    shift = np.abs(0.5 * pilot.plan(HERE, 0).actions.sum(axis=0))
    assert shift[field] > 0.6
    assert shift[1 - field] < 0.3


@pytest.mark.parametrize(
    ('focus', 'reported'),
    [
        (('pose.pose.position.z',), r"'pose\.pose\.position\.z': not in the state.*position\.y"),
        (('pose..x',), "'pose..x': not a field path"),
        (STATE.fields[:1] * 2, 'named more than once'),
    ],
)
def test_a_focus_on_nothing_that_was_measured_is_refused(
    aligned: Checkpoint, focus: tuple[str, ...], reported: str
) -> None:
    with pytest.raises(ConfigError, match=rf'planner\.focus: .*{reported}'):
        Pilot(aligned, config.Planner(focus=focus))


def test_a_model_that_reads_no_state_has_no_focus_and_is_not_trained_for_one(
    tmp_path: Path,
) -> None:
    checkpoint = tiny_checkpoint()
    planner = config.Planner(focus=STATE.fields)
    reported = r'planner\.focus: a model of kind smwm predicts no state.*state_align'
    with pytest.raises(ConfigError, match=reported):
        Pilot(checkpoint, planner)
    with pytest.raises(ConfigError, match=reported):
        train(dot_dataset(tmp_path / 'dots'), tmp_path / 'run', TINY, TRAINING, planner)
    assert settings_for(planner, TINY).focus == ()
    assert settings_for(planner, ALIGNED) == planner
    assert settings_for(replace(planner, space='flow'), ALIGNED) == planner
