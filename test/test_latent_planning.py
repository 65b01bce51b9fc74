# SPDX-License-Identifier: Apache-2.0
"""Priors over latent actions, and plans that are searched in them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from contract import check_planner
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import CheckpointError, ConfigError
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.latent_actions.prior import FlowPrior, GaussianPrior
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.planning.latent_space import LatentPlanner, noise_model, REACH, require_free
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner
from smwm_ros.training.train import train
import torch
from torch import Tensor
from worlds import BLOCK, dot_dataset, draw_dot, hide_actions, PointMass

LAM = config.LatentAction(patch=2, channels=6, blur=1.0, width=4, nats=6.0, hidden=16)
MODEL = config.Model(kind='latent_action', latent=8, hidden=32, latent_action=LAM)
TRAIN = config.Train(steps=300, batch=64, threads=1, eval_every=300)
PLANNER = config.Planner(horizon=3, iterations=4, samples=48, elites=8)
SPACES = ('gaussian', 'flow')


def draws(count: int, seed: int = 0) -> Tensor:
    return torch.randn((count, 2), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Train on dots, of which few actions are known."""
    folder = tmp_path_factory.mktemp('dots')
    whole = dot_dataset(folder / 'data', episodes=40)
    hide_actions(whole.folder / 'shards' / 'dots', np.arange(len(whole)) % 30 >= 8)
    dataset = type(whole).open(whole.folder)
    return train(dataset, folder / 'run', MODEL, TRAIN, PLANNER)


def model_of(run: Checkpoint) -> LatentActionModel:
    assert isinstance(run.model, LatentActionModel)
    return run.model


def latents(run: Checkpoint, *places: tuple[float, float]) -> Tensor:
    images = np.stack([draw_dot(np.array(place)) for place in places])
    return run.model.encode(torch.from_numpy(images).permute(0, 3, 1, 2))


def test_a_gaussian_prior_has_mean_and_covariance_of_what_it_is_fitted_to() -> None:
    z = draws(5000) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + torch.tensor([3.0, -1.0])
    prior = GaussianPrior(2)
    prior.fit(z)
    found = prior(draws(5000, 1), z)
    assert torch.allclose(found.mean(dim=0), z.mean(dim=0), atol=0.1)
    assert torch.allclose(found.T.cov(), z.T.cov(), atol=0.2)
    assert torch.allclose(prior(prior.noise(z, z), z), z, atol=1e-4)


def test_a_gaussian_prior_keeps_a_number_that_is_never_used() -> None:
    z = torch.cat([draws(100), torch.full((100, 1), 2.0)], dim=1)
    prior = GaussianPrior(3)
    prior.fit(z)
    assert torch.allclose(prior(torch.full((1, 3), REACH), z)[0, 2], torch.tensor(2.0), atol=0.05)


def test_a_flow_prior_draws_what_is_not_gaussian_and_depends_on_the_state() -> None:
    side = torch.where(draws(4000, 2)[:, :1] > 0, 1.0, -1.0)
    x = torch.where(draws(4000, 3)[:, :1] > 0, 1.0, -1.0)
    z = torch.cat([side, x], dim=1) + 0.05 * draws(4000)
    flow, gaussian = FlowPrior(2, 1), GaussianPrior(2)
    flow.fit(z, x)
    gaussian.fit(z)
    found, without = flow(draws(4000, 4), x), gaussian(draws(4000, 4), x)
    between = [(part[:, 0].abs() < 0.5).float().mean() for part in (found, without)]
    assert between[0] < 0.15 < 0.3 < between[1]
    assert (found[:, 1:] - x).square().mean() < 0.05 < (without[:, 1:] - x).square().mean()


def test_the_noise_of_a_latent_action_gives_it_back(run: Checkpoint) -> None:
    model = model_of(run)
    z = latents(run, (0.0, 0.0), (0.5, 0.1), (-0.5, -0.4))
    e = 0.5 * torch.randn((3, 4), generator=torch.Generator().manual_seed(0))
    for prior in (model.gaussian, model.flow):
        found = prior.noise(prior(e, model.state_of(z)), model.state_of(z))
        assert (found - e).square().mean() < 0.1 * e.square().mean()


def test_a_model_without_labels_has_priors_but_is_not_planned_with(tmp_path: Path) -> None:
    whole = dot_dataset(tmp_path / 'data', episodes=4)
    hide_actions(whole.folder / 'shards' / 'dots', np.arange(len(whole)))
    dataset = type(whole).open(whole.folder)
    made = train(dataset, tmp_path / 'run', MODEL, replace(TRAIN, steps=4), PLANNER)
    assert not torch.equal(model_of(made).gaussian.root, torch.eye(4))
    assert all(part.any() for part in model_of(made).flow.velocity.parameters())
    with pytest.raises(CheckpointError, match='cannot be decoded, because no moment was labelled'):
        Pilot(made)


@pytest.mark.parametrize('space', SPACES)
def test_plans_in_latent_actions_move_the_robot_to_the_goal(run: Checkpoint, space: str) -> None:
    pilot = Pilot(load(run.folder or ''), replace(PLANNER, space=space))
    for x, y in ((0.6, 0.0), (-0.6, 0.0), (0.0, 0.6), (0.0, -0.6)):
        goal, place = np.array([x, y]), np.zeros(2)
        pilot.set_goal(draw_dot(goal))
        for tick in range(2 * BLOCK):
            plan = pilot.plan(draw_dot(place), min(tick, 1))
            assert plan.actions.shape == (PLANNER.horizon * BLOCK, 2)
            assert (plan.actions == run.spec.clip(plan.actions)).all()
            place = np.clip(place + 0.5 * plan.actions[0], -1, 1)
        assert np.linalg.norm(place - goal) < 0.3


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize(('knobs', 'sent'), [({}, 1), ({'kind': 'icem'}, 2), ({'refine': 1}, 3)])
def test_a_planner_in_latent_actions_keeps_the_contract(
    run: Checkpoint, space: str, knobs: dict[str, object], sent: int
) -> None:
    small = replace(PLANNER, samples=12, elites=4, iterations=2)
    settings = replace(small, space=space, **knobs)  # type: ignore[arg-type]
    limit = torch.full((2 * BLOCK,), 1.5)
    make = partial(make_planner, run.model, settings, -limit, limit, block=BLOCK)
    z = latents(run, (0.0, 0.0), (0.5, 0.1), (-0.5, -0.4))
    past = torch.linspace(-1, 1, 6 * sent).reshape(3, sent, 2)
    check_planner(make, z, z.flip(0), past)


class Spy:
    """A planner that stores what it is given."""

    def __init__(self, plan: Tensor) -> None:
        self.plan, self.past, self.shifts = plan, list[Tensor | None](), list[int]()

    def shift(self, raw_steps: int) -> None:
        """Store the steps."""
        self.shifts.append(raw_steps)


def test_the_last_plan_moves_by_the_nearest_number_of_model_steps(run: Checkpoint) -> None:
    spy, limit = Spy(torch.zeros(1, 3, 4)), torch.ones(10)
    made = LatentPlanner(spy, noise_model(run.model, 'flow'), -limit, limit, block=5)  # type: ignore[arg-type]
    for raw_steps in (0, 1, 2, 3, 5, 7, 8, 1000):
        made.shift(raw_steps)
    assert spy.shifts == [0, 0, 0, 1, 1, 1, 2, 200]


@pytest.mark.parametrize('space', SPACES)
def test_noise_of_actions_predicts_what_the_actions_predict(run: Checkpoint, space: str) -> None:
    model, view = model_of(run), noise_model(run.model, space)
    z = latents(run, (0.0, 0.0), (0.5, 0.1), (-0.5, -0.4))
    actions = 0.7 * torch.randn((3, 2, 4), generator=torch.Generator().manual_seed(0))
    exact = model.rollout(z, actions)
    found = view.rollout(z, view.encode_actions(z, actions))
    moved = model.state_of(exact - z.unsqueeze(1)).square().mean()
    assert model.state_of(found - exact).square().mean() < 0.1 * moved


def test_only_a_latent_action_model_is_searched_in_latent_actions() -> None:
    box = torch.ones(4)
    with pytest.raises(ConfigError, match='space: flow: the model has no latent actions'):
        make_planner(PointMass(), replace(PLANNER, space='flow'), -box, box, block=2)


@pytest.mark.parametrize(
    ('knobs', 'match'),
    [
        ({'kind': 'amortised'}, 'a policy or drives propose actions'),
        ({'kind': 'roadmap', 'subplanner': 'amortised'}, 'a policy or drives propose actions'),
        ({'proposals': True}, 'a policy or drives propose actions'),
        ({'retrieval': True}, 'a policy or drives propose actions'),
        ({'max_rate': (1.0,)}, 'max_rate limits actions'),
    ],
)
def test_what_needs_actions_is_refused_in_latent_actions(
    knobs: dict[str, object], match: str
) -> None:
    with pytest.raises(ConfigError, match=f'space: gaussian, but {match}'):
        require_free(replace(PLANNER, space='gaussian', **knobs))  # type: ignore[arg-type]
    require_free(replace(PLANNER, space='gaussian'))


def test_plans_in_half_precision_predict_nearly_the_same(run: Checkpoint) -> None:
    model, half = model_of(run), accelerate(run.model, half=True)
    assert isinstance(half, LatentActionModel)
    assert accelerate(run.model) is None  # nothing is faster at full precision
    z = latents(run, (0.0, 0.0), (0.5, 0.1), (-0.5, -0.4))
    actions = torch.randn((3, 2, 2 * BLOCK), generator=torch.Generator().manual_seed(0))
    exact, found = model.rollout(z, actions), half.rollout(z, actions)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert (found - exact).square().mean() < 1e-3 * (exact - z[:, None]).square().mean()
    noise = torch.zeros((3, 2, 4))
    one, other = (noise_model(each, 'gaussian').rollout(z, noise) for each in (model, half))
    assert torch.allclose(one, other, atol=0.1)


def test_a_run_plans_in_half_precision(run: Checkpoint) -> None:
    pilot = Pilot(load(run.folder or ''), replace(PLANNER, precision='bf16'))
    pilot.set_goal(draw_dot(np.array((0.6, 0.0))))
    assert pilot.plan(draw_dot(np.array((-0.6, 0.0))), 0).actions[:BLOCK, 0].sum() > 0
