# SPDX-License-Identifier: Apache-2.0
"""Recorded drives propose what was done on the stretches that are most like the way to a goal."""

from __future__ import annotations

from pathlib import Path

import pytest
from smwm_ros import config
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.model.checkpoint import save as save_checkpoint
from smwm_ros.planning import retrieval
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.policy import STEPS_TO_GO
from smwm_ros.planning.retrieval import load, Retrieval, save, some_of
import torch
from torch import Tensor
from worlds import PointMass, tiny_checkpoint

REST = torch.tensor([9.0, 9.0])


def drives(count: int = 30, length: int = 60, block: int = 2) -> RecordedDrives:
    """Return random walks of a point; an action is the motion of a tick."""
    generator = torch.Generator().manual_seed(0)
    moves = 0.1 * torch.randn(count, length, 2, generator=generator)
    begin = torch.randn(count, 1, 2, generator=generator)
    places = begin + torch.cat([torch.zeros(count, 1, 2), moves.cumsum(dim=1)[:, :-1]], dim=1)
    left = torch.arange(length - 1, -1, -1).repeat(count)
    return RecordedDrives(places.flatten(0, 1), moves.flatten(0, 1), left, block)


def by_hand(known: RecordedDrives, z: Tensor, goal: Tensor, ticks: int) -> int:
    """Return the start of the nearest stretch, one stretch after another."""
    best, nearest = -1, float('inf')
    for row in range(len(known.left)):
        if known.left[row] < ticks or not known.actions[row : row + ticks].isfinite().all():
            continue
        start, end = known.latents[row], known.goals[row + ticks]
        parts = (z - start, goal - end, (goal - z) - (end - start))
        apart = sum(float(part.square().sum()) for part in parts)
        if apart < nearest:
            best, nearest = row, apart
    return best


@pytest.mark.parametrize('gaps', [False, True])
def test_the_nearest_stretch_of_each_length_is_found(gaps: bool) -> None:
    known = drives(6, 40)
    if gaps:
        known.actions[::13] = torch.nan
        known = known._replace(resting=known.latents + 0.1 * torch.sin(7 * known.latents))
    generator = torch.Generator().manual_seed(1)
    z, goal = torch.randn(2, 5, 2, generator=generator)
    horizon = 7
    plans = Retrieval(known).propose(z, goal, horizon, REST)
    lengths = [2 * steps for steps in STEPS_TO_GO if not gaps or 2 * steps <= 12]
    assert plans.shape == (5, len(lengths), horizon, 4)
    for problem in range(5):
        for number, ticks in enumerate(lengths):
            row = by_hand(known, z[problem], goal[problem], ticks)
            raw = plans[problem, number].reshape(-1, 2)
            assert torch.equal(raw[:ticks], known.actions[row : row + ticks][: 2 * horizon])
            assert (raw[ticks:] == REST).all(), 'after its end a plan rests'


def test_what_was_done_on_a_recorded_way_is_proposed_for_it() -> None:
    known = drives()
    row, ticks = 130, 10
    z, goal = known.latents[row], known.latents[row + ticks]
    plans = Retrieval(known).propose(z[None], goal[None], 5, REST)
    raw = plans[0, STEPS_TO_GO.index(5)].reshape(-1, 2)
    assert torch.equal(raw, known.actions[row : row + ticks])


def test_a_search_with_few_samples_gains_from_recorded_drives() -> None:
    known = drives(100, 60, block=1)
    settings = config.Planner(samples=8, iterations=1, elites=2, horizon=5, cost='last')
    low, high = torch.full((2,), -1.0), torch.full((2,), 1.0)
    rows = torch.arange(7, 5907, 295)
    rows = rows[known.left[rows] >= 5]
    z, goal = known.latents[rows] + 0.01, known.latents[rows + 5] + 0.01
    ends = {}
    for name, guides in {'alone': Guides(), 'helped': Guides(retrieval=Retrieval(known))}.items():
        planner = make_planner(PointMass(), settings, low, high, guides=guides)
        plans = planner.plan_many(z, goal)
        ends[name] = float(
            (PointMass().rollout(z, plans.actions)[:, -1] - goal).norm(dim=1).mean()
        )
    assert ends['helped'] < 0.3 * ends['alone'], ends


def test_some_drives_are_kept_whole_and_evenly_spaced() -> None:
    known = drives(10, 60)
    kept = some_of(known, 200)
    assert kept.left.tolist() == list(range(59, -1, -1)) * 4
    assert torch.equal(kept.latents, known.latents.reshape(10, 60, 2)[::3].flatten(0, 1))
    assert torch.equal(kept.actions, known.actions.reshape(10, 60, 2)[::3].flatten(0, 1))
    assert some_of(known, 600).latents.shape == known.latents.shape


def test_drives_are_stored_beside_their_model_and_damaged_ones_refused(tmp_path: Path) -> None:
    known = drives(4, 40)
    for number, stored in enumerate((known, known._replace(resting=known.latents + 1))):
        folder = tmp_path / str(number)
        save_checkpoint(folder, tiny_checkpoint())
        save(folder, stored, {'dataset': 'none'})
        read = load(folder, 2, 'a test').drives
        assert torch.equal(read.goals, stored.goals)
        assert torch.equal(read.actions, stored.actions)
    for left in (known.left + 1, known.left - 1, known.left.float()):
        save(tmp_path / '0', known._replace(left=left), {})
        with pytest.raises(CheckpointError, match=r'its drives are damaged; .* smwm prepare'):
            load(tmp_path / '0', 2, 'a test')
    save_checkpoint(tmp_path / 'new', tiny_checkpoint())
    with pytest.raises(CheckpointError, match=r'planner.retrieval: .* has no drives yet; make it'):
        load(tmp_path / 'new', 2, 'planner.retrieval')


def test_drives_without_known_actions_propose_nothing() -> None:
    known = drives(2, 40)
    known.actions[:] = torch.nan
    with pytest.raises(DatasetError, match='no drive has known actions to propose; label them'):
        Retrieval(known)
    assert retrieval.MOST >= 10_000
