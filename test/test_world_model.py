# SPDX-License-Identifier: Apache-2.0
"""The world model is what the paper says, to the last reduction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contract import check_world_model
import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Obs, Window
from smwm_ros.model.any_model import make_model
from smwm_ros.model.multiplier import Multiplier
from smwm_ros.model.sigreg import SigReg
from smwm_ros.model.world_model import Smwm
import torch
from worlds import SIZE, TINY

ACTIONS = 6
STATES = 3
FEW = replace(TINY, sigreg_directions=16)


@pytest.fixture
def model() -> Smwm:
    torch.manual_seed(0)
    return make_model(TINY, SIZE, ACTIONS)


def some_batch(count: int = 8, size: int = SIZE, steps: int = 1) -> Window:
    generator = torch.Generator().manual_seed(1)
    shape = (steps + 1, count, 3, size, size)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    action = torch.randn(steps, count, ACTIONS, generator=generator)
    state = torch.randn(steps + 1, count, STATES, generator=generator)
    return Window(Obs(pixels, state), action)


@pytest.mark.parametrize('stem', ['patches', 'convolutions'])
@pytest.mark.parametrize('size', [16, 48, 63, 64, 100, 224])
def test_it_keeps_the_contract_at_every_image_size(size: int, stem: str) -> None:
    torch.manual_seed(0)
    model = make_model(replace(TINY, stem=stem), size, ACTIONS)
    check_world_model(model, some_batch(size=size))


@pytest.mark.parametrize(('stem', 'cells'), [('patches', 1), ('convolutions', 4)])
def test_the_cells_of_the_first_layer_overlap_with_convolutions(stem: str, cells: int) -> None:
    torch.manual_seed(0)
    encoder = make_model(replace(TINY, stem=stem), SIZE, ACTIONS).encoder
    first = next(layer for layer in encoder.modules() if isinstance(layer, torch.nn.Conv2d))
    image = torch.zeros(1, 3, SIZE, SIZE)
    spot = image.clone()
    spot[..., 7, 7] = 1.0
    changed = (first(spot) - first(image)).abs().amax(dim=1) > 0
    assert changed.sum() == cells


def test_a_stem_of_another_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'model\.stem: only preset nano has this knob'):
        make_model(config.Model(preset='tiny', stem='convolutions'), SIZE, ACTIONS)


@pytest.mark.parametrize('kind', config.KINDS)
def test_every_kind_keeps_the_contract(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(replace(FEW, kind=kind), SIZE, ACTIONS, STATES)
    check_world_model(model, some_batch(steps=2))


def test_what_two_frames_share_says_nothing_of_the_action_to_begin_with(model: Smwm) -> None:
    z, z_next, look = torch.randn(3, 8, model.latent)
    found = model.infer(z, z_next)
    assert torch.allclose(model.infer(z + look, z_next + look), found, atol=1e-5)
    assert not torch.allclose(model.infer(z, z_next + look), found, atol=1e-3)


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


@pytest.mark.parametrize('kind', ['smwm', 'forward_only', 'sigreg'])
def test_equal_weights_are_no_weights(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(replace(FEW, kind=kind, heads=2), SIZE, ACTIONS)
    batch = some_batch(steps=2)
    torch.manual_seed(3)  # of the regulariser
    expected = model.losses(batch)
    torch.manual_seed(3)
    found = model.losses(batch._replace(weight=torch.full((2, 8), 0.3)))
    for name, term in expected.items():
        assert torch.allclose(found[name], term, rtol=1e-5), name


@pytest.mark.parametrize('kind', ['smwm', 'forward_only'])
def test_a_weight_of_zero_leaves_the_errors_of_a_transition_out(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(replace(FEW, kind=kind, heads=2, inverse_target=0.0), SIZE, ACTIONS)
    batch = some_batch()
    z = model.latents(batch)
    kept = torch.tensor([0, 1, 3, 4, 6])
    weight = torch.zeros(1, 8)
    weight[:, kept] = 0.25
    few = batch._replace(obs=Obs(*(part[:, kept] for part in batch.obs)))
    few = few._replace(action=batch.action[:, kept])
    expected = model.terms(tuple(part[kept] for part in z), few)
    found = model.terms(z, batch._replace(weight=weight))
    for name in ('forward', 'inverse', 'heads'):
        assert torch.allclose(found[name], expected[name], rtol=1e-5), name


def test_weights_count_in_proportion_and_all_zero_is_no_error() -> None:
    torch.manual_seed(0)
    model = make_model(TINY, SIZE, ACTIONS)
    batch = some_batch(steps=2)
    z = model.latents(batch)

    def terms(weight: torch.Tensor) -> dict[str, torch.Tensor]:
        return model.terms(z, batch._replace(weight=weight))

    each = torch.eye(16).view(16, 2, 8)  # one transition alone
    alone = [terms(one) for one in each]
    weight = torch.rand(2, 8, generator=torch.Generator().manual_seed(4))
    share = weight.flatten() / weight.sum()
    for name, term in terms(weight).items():
        parts = torch.stack([found[name] for found in alone])
        assert torch.allclose(term, parts @ share, rtol=1e-4), name
    assert all(float(term.detach()) == 0 for term in terms(torch.zeros(2, 8)).values())


def test_forward_loss_teaches_both_latents(model: Smwm) -> None:
    z = torch.randn(2, 8, TINY.latent, requires_grad=True)
    model.latents = lambda batch, gather=None: tuple(z)  # type: ignore[method-assign]
    model.losses(some_batch())['forward'].backward()
    assert z.grad is not None
    assert (z.grad.abs().amax(dim=(1, 2)) > 0).all()


def test_default_model_fits_in_three_megabytes() -> None:
    model = make_model(config.Model(), 64, 10)
    assert sum(tensor.nbytes for tensor in model.state_dict().values()) < 3e6


TERMS = {
    'smwm': {'forward', 'inverse'},
    'forward_only': {'forward'},
    'sigreg': {'forward', 'sigreg'},
    'state_align': {'forward', 'inverse', 'state'},
    'smwm+sigreg': {'forward', 'inverse', 'sigreg'},
    'state_align+sigreg': {'forward', 'inverse', 'state', 'sigreg'},
}
assert set(TERMS) == {*config.KINDS} - {'latent_action'}


@pytest.mark.parametrize('kind', TERMS)
def test_a_kind_is_the_terms_that_shape_its_latent(kind: str) -> None:
    torch.manual_seed(0)
    model = make_model(replace(FEW, kind=kind), SIZE, ACTIONS, STATES)
    terms = model.losses(some_batch())
    assert set(terms) == TERMS[kind] | {'inverse'}, 'h listens even where it shapes nothing'
    weights = list(model.encoder.parameters())
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
        shaped = any(gradient is not None and gradient.any() for gradient in gradients)
        assert shaped == (name in TERMS[kind]), name


def test_the_regulariser_equals_a_computation_in_float64() -> None:
    z = 2 * torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0)) + 0.3
    torch.manual_seed(1)
    found = float(SigReg(64)(z))
    torch.manual_seed(1)
    directions = torch.randn(5, 64).double().numpy()
    directions /= np.sqrt((directions**2).sum(0))
    t = np.linspace(-3, 3, 33)
    weights = np.full(33, 6 / 32) * np.exp(-(t**2) / 2)
    weights[[0, -1]] /= 2
    shadow = (z.double().numpy() @ directions)[..., None] * t
    apart = np.abs(np.exp(1j * shadow).mean(1) - np.exp(-(t**2) / 2)) ** 2
    assert found == pytest.approx(40 * (apart @ weights).mean(), rel=1e-4)


def test_the_regulariser_counts_by_its_weight() -> None:
    terms = []
    for weight in (0.09, 0.9):
        torch.manual_seed(1)  # of weights and directions
        model = make_model(replace(FEW, kind='sigreg', sigreg_weight=weight), SIZE, 4)
        z = tuple(torch.randn(2, 16, model.latent, generator=torch.Generator().manual_seed(2)))
        batch = Window(Obs(torch.zeros(2, 16), torch.zeros(2, 16, 0)), torch.zeros(1, 16, 4))
        terms.append(float(model.terms(z, batch)['sigreg'].detach()))
    assert terms[1] == pytest.approx(10 * terms[0], rel=1e-4)


def test_the_regulariser_separates_gaussian_latents_from_collapsed_ones() -> None:
    torch.manual_seed(0)
    regulariser = SigReg(256)
    gaussian = torch.randn(1, 1000, 8)
    fine = float(regulariser(gaussian))
    assert fine < 5
    for worse in (
        0 * gaussian,
        0.1 * gaussian,
        gaussian + 3,
        5 * gaussian,
        gaussian.sign()[..., :1],
    ):
        assert float(regulariser(worse)) > 20 * fine


def test_state_is_read_at_the_second_frame_in_standard_deviations() -> None:
    torch.manual_seed(0)
    settings = replace(TINY, kind='state_align', state_weight=2.0)
    model = make_model(settings, SIZE, ACTIONS, STATES)
    assert model.state_head is not None
    mean, std = np.array([1.0, 2.0, 3.0]), np.array([0.1, 1.0, 10.0])
    model.state_head.fit(mean, std)
    batch = some_batch()
    read = model.state_head(*model.latents(batch)).detach().numpy()
    states = (batch.obs.state[1].numpy() - mean) / std
    found = model.losses(batch)['state'].item()
    assert found == pytest.approx(2 * np.mean((read - states) ** 2), rel=1e-5)


def test_the_loss_of_the_state_is_that_of_the_numbers_that_were_measured() -> None:
    torch.manual_seed(0)
    model = make_model(replace(TINY, kind='state_align'), SIZE, ACTIONS, STATES)
    assert model.state_head is not None
    z, z_next = torch.randn(2, 6, TINY.latent)
    state = torch.randn(6, STATES)
    state[1, 0] = state[4] = torch.nan
    error = model.state_head.error(z, z_next, state)
    squares = (model.state_head(z, z_next).detach() - state).square()
    assert error.item() == pytest.approx(squares.nanmean().item(), rel=1e-6)
    error.backward()
    for part in model.state_head.parameters():
        assert part.grad is not None
        assert part.grad.isfinite().all()
    nothing = model.state_head.error(z, z_next, torch.full_like(state, torch.nan))
    assert nothing.item() == 0.0


@pytest.mark.parametrize('start', [1e-3, 0.3, 100.0])
def test_lambda_holds_the_error_at_its_target_wherever_it_begins(start: float) -> None:
    multiplier = Multiplier(start, target=0.25)
    error = 1.0
    for _ in range(3000):
        error += 0.05 * (1 / (1 + 3 * multiplier().item()) - error)  # the model follows lambda
        multiplier.ascend(torch.tensor(error))
    assert error == pytest.approx(0.25, rel=0.01)
    assert multiplier().item() == pytest.approx(1.0, rel=0.05)


def test_lambda_stays_a_number_whatever_the_error() -> None:
    for error in (0.0, 1e9):
        multiplier = Multiplier(1.0, target=0.5)
        for _ in range(2000):
            multiplier.ascend(torch.tensor(error))
        assert 1e-4 < multiplier().item() < 100


def test_the_weight_of_the_inverse_term_is_the_lambda_that_was_found() -> None:
    torch.manual_seed(0)
    model = make_model(replace(TINY, inverse_weight=0.5, inverse_target=0.3), SIZE, ACTIONS)
    before = model.losses(some_batch())['inverse'].item()
    model.adapt({'inverse': torch.tensor(before)})
    assert model.inverse_weight > 0.5
    after = model.losses(some_batch())['inverse'].item()
    assert after / before == pytest.approx(model.inverse_weight / 0.5)


@pytest.mark.parametrize(
    ('knobs', 'match'),
    [
        ({'kind': 'sigreg', 'inverse_target': 0.3}, 'kind sigreg has no inverse loss'),
        ({'inverse_weight': 0.0, 'inverse_target': 0.3}, 'needs model.inverse_weight above 0'),
    ],
)
def test_a_search_for_lambda_that_cannot_begin_is_refused(
    knobs: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        make_model(config.Model(**knobs), SIZE, ACTIONS)
