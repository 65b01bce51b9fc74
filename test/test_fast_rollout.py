# SPDX-License-Identifier: Apache-2.0
"""The fast path imagines what the model imagines, with less arithmetic."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from smwm_ros.config import Model
from smwm_ros.model import kernels, vit
from smwm_ros.model.any_model import make_model
from smwm_ros.model.fast_rollout import accelerate, FastModel, FastPredictor
from smwm_ros.model.kernels import PackedLinear
from smwm_ros.model.vit import Predictor, VisionEncoder
from smwm_ros.model.world_model import Smwm
from smwm_ros.planning import pilot
from smwm_ros.planning.pilot import Pilot
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows
from worlds import draw_dot, PointMass, tiny_checkpoint

ACTIONS = 6  # K*A
EXACT = 1e-5
MODELS = {
    'nano': Model(latent=19, hidden=40),
    'toy': Model(preset='toy'),
    'tiny': Model(preset='tiny'),
}


def random_model(preset: str, seed: int = 0, layers: int = 2, history: int = 1) -> Smwm:
    """Make a model whose every weight and statistic is random; of tiny, one with few layers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vit, 'VisionEncoder', partial(VisionEncoder, layers=1))
            model = make_model(MODELS[preset], 16, ACTIONS)
        if preset == 'tiny':
            model.forward_model = Predictor(ACTIONS, history, layers)
        model.eval().requires_grad_(False)
        for name, weight in model.forward_model.named_parameters():
            if 'modulation' in name:  # zero before it has learnt anything
                weight.normal_(0.0, 0.1)
            elif 'norm' in name:
                weight.add_(0.3 * torch.randn_like(weight))
        for layer in model.forward_model.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.weight.normal_(1.0, 0.3)
                layer.bias.normal_(0.0, 0.3)
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0.0, 0.5)
                layer.running_var.uniform_(0.3, 3.0)
    return model


def fast(model: Smwm, half: bool = False) -> FastModel:
    found = accelerate(model, half)
    assert isinstance(found, FastModel)
    return found


def question(model: Smwm, *batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw latents (..., D) and actions (..., 4, K*A)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(*batch, model.latent, generator=generator)
    return z, torch.randn(*batch, 4, ACTIONS, generator=generator)


@pytest.fixture(params=['layout of the processor', 'layout of torch'])
def _both_layouts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay weights out in both ways; on machines that know one only, they are the same."""
    form = 'plain' if request.param == 'layout of torch' else 'packed'
    monkeypatch.setattr(kernels, 'fastest', lambda *_: form)


@pytest.mark.usefixtures('_both_layouts')
@pytest.mark.parametrize('preset', MODELS)
@pytest.mark.parametrize('seed', range(3))
def test_rollouts_are_those_of_the_model(preset: str, seed: int) -> None:
    model = random_model(preset, seed)
    z, actions = question(model, 3, 33, seed=seed)
    wanted = model.rollout(z, actions)
    found = fast(model).rollout(z, actions)
    assert found.shape == wanted.shape
    assert wanted.std() > 0.01
    assert (found - wanted).abs().max() < EXACT


def test_rollouts_of_the_whole_tiny_are_those_of_the_model() -> None:
    model = random_model('tiny', layers=6)
    z, actions = question(model, 40)
    found = fast(model).rollout(z, actions)
    assert (found - model.rollout(z, actions)).abs().max() < EXACT


def test_modulating_all_steps_ahead_changes_nothing() -> None:
    model = random_model('tiny')
    z, actions = question(model, 9)
    ahead = FastPredictor(model.forward_model, PackedLinear, ahead=True)  # type: ignore[arg-type]
    assert (ahead(z, actions) - model.rollout(z, actions)).abs().max() < EXACT


@pytest.mark.parametrize('preset', MODELS)
def test_all_else_is_as_the_model_has_it(preset: str) -> None:
    model = random_model(preset)
    quick = fast(model)
    z, actions = question(model, 5)
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert quick.latent == model.latent
    assert torch.equal(quick.encode(pixels), model.encode(pixels))
    assert torch.equal(quick.infer(z, z + 1), model.infer(z, z + 1))
    step = actions[:, 0]
    assert (quick.predict(z, step) - model.predict(z, step)).abs().max() < EXACT


@pytest.mark.parametrize('preset', MODELS)
def test_one_latent_or_many_shared_by_samples_are_imagined_alike(preset: str) -> None:
    model = random_model(preset)
    quick = fast(model)
    z, actions = question(model, 6)
    alone = torch.stack([quick.rollout(z[0], way) for way in actions])
    together = quick.rollout(z[:1].expand(6, -1), actions)
    assert (alone - together).abs().max() < EXACT


@pytest.mark.parametrize('preset', MODELS)
def test_gradients_are_those_of_the_model(preset: str) -> None:
    model = random_model(preset)
    z, actions = question(model, 3)
    found = []
    for imagine in (model.rollout, fast(model).rollout):
        point = actions.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(imagine(z, point).square().sum(), point)
        found.append(gradient)
    assert torch.equal(*found)
    assert found[0].abs().max() > 0


def test_what_has_no_fast_form_has_none() -> None:
    assert accelerate(random_model('tiny', history=2)) is None
    assert accelerate(PointMass()) is None


def test_tiny_takes_less_than_two_thirds_of_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, 'can_pack', lambda kind: False)
    model = random_model('tiny', layers=6)
    quick = fast(model)
    z, actions = question(model, 8)
    linear, work = F.linear, [0]

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        work[-1] += x.numel() * len(weight)
        return linear(x, weight, bias)

    monkeypatch.setattr(F, 'linear', counted)
    model.rollout(z, actions)
    work.append(0)
    quick.rollout(z, actions)
    assert 0 < work[1] < work[0] * 2 / 3


@pytest.mark.usefixtures('_both_layouts')
@pytest.mark.parametrize('preset', MODELS)
def test_half_precision_ranks_plans_nearly_as_the_model_does(preset: str) -> None:
    model = random_model(preset)
    z, actions = question(model, 500)
    goal = question(model, 1, seed=1)[0]
    ranks = []
    for imagine in (model.rollout, fast(model, half=True).rollout):
        cost = (imagine(z[:1].expand(500, -1), actions)[:, -1] - goal).square().sum(dim=1)
        ranks.append(cost.argsort().argsort().double())
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.95
    assert not torch.equal(*ranks)


def test_the_pilot_plans_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = draw_dot(np.array([-0.5, 0.0])), draw_dot(np.array([0.5, 0.2]))

    def plan() -> pilot.PilotPlan:
        made = Pilot(tiny_checkpoint())
        made.set_goal(there)
        return made.plan(here, 0)

    quick = plan()
    with monkeypatch.context() as patch:
        patch.setattr(pilot, 'accelerate', lambda *_: None)
        plain = plan()
    assert np.allclose(quick.actions, plain.actions, atol=1e-4)
    assert quick.cost == pytest.approx(plain.cost, rel=1e-4)
    monkeypatch.setattr(Smwm, 'rollout', None)  # which the pilot can do without
    assert np.array_equal(plan().actions, quick.actions)


def test_a_model_without_a_fast_form_plans_too() -> None:
    checkpoint = tiny_checkpoint()
    settings = replace(checkpoint.planner, samples=4, elites=2, iterations=1, horizon=2)
    model = make_model(replace(MODELS['tiny'], history=2), 16, 4).eval().requires_grad_(False)
    made = Pilot(checkpoint._replace(model=model), settings)
    made.set_goal(draw_dot(np.array([0.5, 0.2])))
    assert np.isfinite(made.plan(draw_dot(np.array([-0.5, 0.0])), 0).cost)
