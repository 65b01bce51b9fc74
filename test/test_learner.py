# SPDX-License-Identifier: Apache-2.0
"""One step of training is the published arithmetic, and depends on nothing but its number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.device import pick_device, seeded
from smwm_ros.model.world_model import Smwm
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.learner import Learner, learning_rate
import torch
from torch import Tensor
from worlds import SIZE, TINY, tiny_checkpoint

CPU = torch.device('cpu')
SETTINGS = config.Train(steps=20, lr=1e-2, weight_decay=0.1, warmup=0.2, clip=0.05)


@pytest.fixture
def model() -> Smwm:
    torch.manual_seed(0)
    return make_model(replace(TINY, kind='smwm+sigreg', sigreg_directions=8), SIZE, 4)


@pytest.fixture
def batch() -> Window:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, 8, 3, SIZE, SIZE), generator=generator).byte()
    action = torch.randn(2, 8, 4, generator=generator)
    return Window(Obs(pixels, torch.zeros(3, 8, 0)), action)


def gradients(model: Smwm, batch: Window, step: int) -> list[np.ndarray]:
    """Return what a step goes down, by the losses alone."""
    with seeded(step):
        loss = torch.stack(list(model.losses(batch).values())).sum()
    found = torch.autograd.grad(loss, list(model.parameters()))
    return [gradient.double().numpy() for gradient in found]


def test_steps_equal_a_computation_in_float64(model: Smwm, batch: Window) -> None:
    learner = Learner(model, SETTINGS, CPU)
    weights = [weight.detach().double().numpy().copy() for weight in model.parameters()]
    first, second = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    for step in (1, 2, 3, 4):
        slopes = gradients(model, batch, step)
        norm = np.sqrt(sum((slope**2).sum() for slope in slopes))
        assert norm > SETTINGS.clip, 'nothing would be clipped'
        rate = SETTINGS.lr * (step - 1) / 4  # the rate rises for 0.2 * 20 steps
        for place, slope in enumerate(slopes):
            slope = slope * SETTINGS.clip / norm
            first[place] = 0.9 * first[place] + 0.1 * slope
            second[place] = 0.999 * second[place] + 0.001 * slope**2
            mean, square = first[place] / (1 - 0.9**step), second[place] / (1 - 0.999**step)
            weights[place] *= (
                1 - rate * SETTINGS.weight_decay
            )  # of every tensor, without exception
            weights[place] -= rate * mean / (np.sqrt(square) + 1e-8)
        learner.step(step, batch)
        # A gradient of nearly nothing is all rounding, and Adam makes it as large as any other.
        for weight, expected in zip(model.parameters(), weights, strict=True):
            near = np.isclose(weight.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
            assert near.mean() > 0.98


def test_chance_depends_on_the_seed_and_the_step_alone(batch: Window) -> None:
    def terms(seed: int, step: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        kind = replace(TINY, kind='sigreg', sigreg_directions=8)
        learner = Learner(make_model(kind, SIZE, 4), replace(SETTINGS, seed=seed), CPU)
        torch.rand(seed + step)
        before = torch.get_rng_state()
        found = learner.step(step, batch)
        assert torch.equal(torch.get_rng_state(), before), 'took from the chance of others'
        return found

    assert terms(0, 1) == terms(0, 1)
    assert terms(0, 1)['sigreg'] != terms(0, 2)['sigreg'] != terms(1, 1)['sigreg']


def test_looks_at_two_steps_are_taken_from_the_same_sides(model: Smwm, batch: Window) -> None:
    learner = Learner(model, SETTINGS, CPU)
    assert learner.validate(batch, settled=True) == learner.validate(batch, settled=True)


def test_the_learning_rate_rises_from_nothing_and_falls_to_nothing() -> None:
    settings = config.Train(steps=200, lr=1e-2, warmup=0.1)
    rates = [learning_rate(step, settings) for step in range(200)]
    rise = [1e-2 * step / 20 for step in range(20)]
    fall = [5e-3 * (1 + np.cos(np.pi * step / 180)) for step in range(180)]
    assert rates == pytest.approx(rise + fall)
    assert rates[0] == 0.0
    assert learning_rate(0, replace(settings, warmup=0.0)) == 1e-2


def test_a_gpu_that_is_not_there_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert pick_device('auto') == CPU
    reported = 'no CUDA GPU was found; valid here: auto, cpu'
    with pytest.raises(ConfigError, match=f'train.device: {reported}'):
        pick_device('cuda')
    checkpoint = tiny_checkpoint()
    with pytest.raises(ConfigError, match=f'planner.device: {reported}'):
        Pilot(checkpoint, replace(checkpoint.planner, device='cuda'))


def test_small_models_plan_on_the_processor_also_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    pilot = Pilot(tiny_checkpoint())  # would fail on a GPU that is not there
    pilot.warm_up()
