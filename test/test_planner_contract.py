# SPDX-License-Identifier: Apache-2.0
"""Every kind of planner keeps the contract of interfaces.Planner."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from contract import check_planner
import pytest
from smwm_ros.config import Planner
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.policy import learn
from smwm_ros.planning.roadmap import build, Mover
from smwm_ros.planning.solvers import SOLVERS
from test_policy import BOX, drives, HERE, THERE
import torch
from torch import Tensor
from worlds import PointMass

SETTINGS = Planner(horizon=3, iterations=3, samples=24, elites=6)
KINDS = {
    **{kind: {'kind': kind} for kind in SOLVERS},
    'refined': {'kind': 'cem', 'refine': 2},
    'cold': {'kind': 'cem', 'warm_start': False},
    'proposals': {'kind': 'icem', 'proposals': True},
    'amortised': {'kind': 'amortised'},
    'roadmap': {'kind': 'roadmap', 'subplanner': 'cem'},
    'roadmap of proposals': {'kind': 'roadmap', 'subplanner': 'amortised'},
}


class TwoActions(PointMass):
    """A point mass with two raw actions in a model step."""

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """Return the move as two equal raw actions."""
        return ((z_next - z) / 2).repeat(1, 2)


@pytest.fixture(scope='module')
def guides() -> Guides:
    """Return a roadmap and a policy of the point mass."""
    roadmap = build(drives(0), Mover(TwoActions(), -BOX, BOX), most=100)
    return Guides(roadmap, learn(drives(0), steps=20, seed=0))


@pytest.mark.parametrize('kind', KINDS)
def test_every_planner_keeps_the_contract(guides: Guides, kind: str) -> None:
    settings = replace(SETTINGS, **KINDS[kind])  # type: ignore[arg-type]
    if not (settings.proposals or 'amortised' in (settings.kind, settings.subplanner)):
        guides = guides._replace(policy=None)
    make = partial(make_planner, TwoActions(), settings, -BOX, BOX, block=2, guides=guides)
    past = torch.tensor([[0.5, -0.25], [0.0, 0.125], [-0.5, 1.0]]).unsqueeze(1)
    check_planner(make, HERE, THERE, past)
