# SPDX-License-Identifier: Apache-2.0
"""The world model is what the paper says, to the last reduction."""

from __future__ import annotations

from dataclasses import replace

from contract import check_world_model
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.core.interfaces import Obs, Window
from smwm_ros.core.model import make_model, Smwm
import torch
from worlds import SIZE, TINY

ACTIONS = 6


@pytest.fixture
def model() -> Smwm:
    torch.manual_seed(0)
    return make_model(TINY, SIZE, ACTIONS)


def some_batch(count: int = 8, size: int = SIZE, steps: int = 1) -> Window:
    generator = torch.Generator().manual_seed(1)
    shape = (steps + 1, count, 3, size, size)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    action = torch.randn(steps, count, ACTIONS, generator=generator)
    return Window(Obs(pixels, torch.zeros(steps + 1, count, 0)), action)


@pytest.mark.parametrize('size', [16, 48, 64, 100, 224])
def test_it_keeps_the_contract_at_every_image_size(size: int) -> None:
    torch.manual_seed(0)
    check_world_model(make_model(TINY, size, ACTIONS), some_batch(size=size))


def reference(model: Smwm, batch: Window) -> dict[str, float]:
    """Compute the losses in float64, from the weights and the formulas alone."""
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f'{name}.weight'].T + w.get(f'{name}.bias', 0.0)

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    pixels = batch.obs.pixels.flatten(0, 1).double().numpy() / 127.5 - 1
    count, side = len(pixels), SIZE // 4
    patches = pixels.reshape(count, 3, side, 4, side, 4)
    features = np.einsum('nciajb,ocab->noij', patches, w['encoder.features.0.weight'])
    features += w['encoder.features.0.bias'][:, None, None]
    hidden = relu(linear('encoder.head.0', relu(features).reshape(count, -1)))
    z = linear('encoder.head.2', hidden)
    z = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
    z = z * w['encoder.head.3.weight'] + w['encoder.head.3.bias']
    frames = np.split(z, len(batch.obs.pixels))
    imagined, forward, inverse = frames[0], [], []
    g, h = 'forward_model.change', 'inverse_model.layers'
    for action, now, then in zip(batch.action.double().numpy(), frames, frames[1:], strict=False):
        x = relu(linear(f'{g}.0', np.concatenate([imagined, action], 1)))
        imagined = imagined + linear(f'{g}.4', relu(linear(f'{g}.2', x)))
        forward.append(np.mean((imagined - then) ** 2))
        x = relu(linear(f'{h}.2', relu(linear(f'{h}.0', np.concatenate([now, then], 1)))))
        inverse.append(np.mean((linear(f'{h}.4', x) - action) ** 2))
    terms = {'forward': np.mean(forward), 'inverse': model.inverse_weight * np.mean(inverse)}
    return {name: float(term) for name, term in terms.items()}


@pytest.mark.parametrize('steps', [1, 3])
@pytest.mark.parametrize('weight', [0.0, 1.0, 30.0])
def test_losses_equal_a_computation_in_float64(weight: float, steps: int) -> None:
    torch.manual_seed(2)
    model = make_model(replace(TINY, inverse_weight=weight), SIZE, ACTIONS)
    batch = some_batch(steps=steps)
    expected = reference(model, batch)
    found = {name: term.item() for name, term in model.losses(batch).items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_forward_loss_teaches_both_latents(model: Smwm) -> None:
    z = torch.randn(2, 8, TINY.latent, requires_grad=True)
    model.encode = lambda obs: z.flatten(0, 1)  # type: ignore[method-assign]
    model.losses(some_batch())['forward'].backward()
    assert z.grad is not None
    assert (z.grad.abs().amax(dim=(1, 2)) > 0).all()


def test_default_model_fits_in_three_megabytes() -> None:
    model = make_model(config.Model(), 64, 10)
    assert sum(tensor.nbytes for tensor in model.state_dict().values()) < 3e6
