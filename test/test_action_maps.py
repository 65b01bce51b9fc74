# SPDX-License-Identifier: Apache-2.0
"""A map of actions is as complex as its labels can prove, and no more."""

from __future__ import annotations

from typing import Any

import pytest
from smwm_ros.latent_actions import action_maps
from smwm_ros.latent_actions.action_maps import _ridge, ActionMap, PENALTIES
import torch
from torch import Tensor

pytestmark = pytest.mark.usefixtures('one_thread')
INPUTS, STATES, OUTPUTS = 2, 3, 2


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def every_fifth(count: int) -> Tensor:
    return torch.arange(count) % 5 == 4


def linear(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw actions u, states x, and outputs that do not depend on x."""
    u, x = 3 * torch.randn(count, INPUTS) + 1, torch.randn(count, STATES)
    y = u @ torch.tensor([[2.0, 0.0], [1.0, -1.0]]) + 5
    return u, x, y


def rotated(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw actions u, states x, and u rotated by an angle that depends on x."""
    u, x = torch.randn(count, INPUTS), torch.randn(count, STATES)
    angle = 1.5 * x[:, 0]
    cos, sin = angle.cos(), angle.sin()
    y = torch.stack([cos * u[:, 0] - sin * u[:, 1], sin * u[:, 0] + cos * u[:, 1]], dim=1)
    return u, x, y


def explained(fitted: ActionMap, u: Tensor, x: Tensor, y: Tensor) -> float:
    missed = (fitted(u, x) - y).square().sum()
    return float(1 - missed / (y - y.mean(dim=0)).square().sum())


def test_a_linear_effect_is_read_by_a_ridge_without_state() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    u, x, y = linear(25)
    scores = fitted.fit(u, x, y, every_fifth(25)).scores
    assert fitted.kind == 'ridge'
    assert scores['ridge'] == max(scores.values()) > 0.999
    assert explained(fitted, *linear(500)) > 0.999, 'outputs are in the units of the labels'


def test_a_fit_returns_what_the_chosen_candidate_reads_on_held_out_rows() -> None:
    (u, x, y), held_out = linear(60), every_fifth(60)
    found = ActionMap(INPUTS, STATES, OUTPUTS).fit(u, x, y, held_out)
    true, seen = y[held_out], y[~held_out]
    assert found.held_out.shape == true.shape
    missed = ((found.held_out - true) / seen.std(dim=0)).square().sum()
    variance = ((true - seen.mean(dim=0)) / seen.std(dim=0)).square().sum()
    assert float(1 - missed / variance) == pytest.approx(max(found.scores.values()), abs=1e-5)


def test_many_labels_show_that_the_effect_depends_on_the_state() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    scores = fitted.fit(*rotated(1500), every_fifth(1500)).scores
    assert fitted.kind == 'mlp with state'
    assert scores[fitted.kind] > 0.8
    assert scores['ridge with state'] > scores['ridge'] + 0.1, 'products of both are features'
    assert explained(fitted, *rotated(500)) > 0.8


def test_few_labels_never_make_it_worse_than_the_best_candidate() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    u, x, y = rotated(25)
    # An effect that barely depends on the state: 20 labels cannot show by how much.
    scores = fitted.fit(u, x, u + 0.1 * y, every_fifth(25)).scores
    assert 'with state' not in fitted.kind
    assert scores['mlp with state'] < scores[fitted.kind]


def test_actions_of_any_leading_shape_are_mapped_alike() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    fitted.fit(*rotated(200), every_fifth(200))
    u, x, _ = rotated(6)
    for number in range(4):
        fitted.choice.fill_(number)
        rows = fitted(u, x)
        assert torch.allclose(fitted(u.view(2, 3, -1), x.view(2, 3, -1)).flatten(0, 1), rows)


def test_held_out_rows_are_used_for_no_fit_before_the_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits: list[tuple[Tensor, ...]] = []
    fit = ActionMap._fit

    def noted(self: ActionMap, number: int, u: Tensor, x: Tensor, y: Tensor, *more: Any) -> None:
        fits.append((u.clone(), x.clone(), y.clone()))
        fit(self, number, u, x, y, *more)

    monkeypatch.setattr(ActionMap, '_fit', noted)
    monkeypatch.setattr(action_maps, 'STEPS', 2)
    held_out = every_fifth(50)
    u, x, y = linear(50)
    other = [torch.where(held_out[:, None], 7 * part.flip(0), part) for part in (u, x, y)]
    ActionMap(INPUTS, STATES, OUTPUTS).fit(u, x, y, held_out)
    ActionMap(INPUTS, STATES, OUTPUTS).fit(other[0], other[1], other[2], held_out)
    count = 2 * len(PENALTIES) + 2 + 1
    assert len(fits) == 2 * count
    for one, two in zip(fits[: count - 1], fits[count:-1], strict=True):
        assert len(one[0]) == 40
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert len(fits[-1][0]) == 50, 'the chosen one gets all rows'


@pytest.mark.parametrize(('noise', 'least'), [(0.01, True), (3.0, False)])
def test_the_penalty_is_the_one_that_held_out_rows_favour(noise: float, least: bool) -> None:
    fitted = ActionMap(6, 1, 1)
    u, x = torch.randn(20, 6), torch.zeros(20, 1)
    y, held_out = u[:, :1] + noise * torch.randn(20, 1), every_fifth(20)
    scores = fitted.fit(u, x, y, held_out).scores
    u, x, y = fitted._normalise(
        torch.cat([u, x, y], dim=1), torch.cat([u, x, y], dim=1)[~held_out]
    )
    errors = [
        (u[held_out] @ _ridge(u[~held_out], y[~held_out], penalty) - y[held_out]).square().sum()
        for penalty in PENALTIES
    ]
    best = min(errors)
    assert scores['ridge'] == pytest.approx(float(1 - best / y[held_out].square().sum()), abs=1e-4)
    assert (errors.index(best) == 0) == least


@pytest.mark.parametrize(('rows', 'features'), [(5, 9), (9, 5), (6, 6)])
@pytest.mark.parametrize('penalty', PENALTIES)
def test_both_forms_of_a_ridge_agree(rows: int, features: int, penalty: float) -> None:
    f, y = torch.randn(rows, features).double(), torch.randn(rows, 2).double()
    primal = torch.linalg.solve(f.T @ f + penalty * torch.eye(features), f.T @ y)
    assert torch.allclose(_ridge(f.float(), y.float(), penalty).double(), primal, atol=1e-4)


def test_a_number_that_never_varied_in_the_labels_has_no_effect_later() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    u, x, y = linear(60)
    u[:, 1], x[:, 2] = 0.1, -0.3  # not exact in binary: their deviation is not exactly 0
    fitted.fit(u, x, y, every_fifth(60))
    for number in range(2):
        fitted.choice.fill_(number)
        rows = torch.cat([u, x, y], dim=1)
        fitted._fit(number, *fitted._normalise(rows, rows), 1.0)
        before = fitted(u, x)
        later = fitted(u + torch.tensor([0.0, 1.0]), x + torch.tensor([0.0, 0.0, 1.0]))
        assert (later - before).abs().max() < 1e-3


def test_no_other_optimiser_trains_the_candidates() -> None:
    fitted = ActionMap(INPUTS, STATES, OUTPUTS)
    assert not any(weight.requires_grad for weight in fitted.parameters())
    fitted.fit(*linear(40), every_fifth(40))
    assert not any(weight.requires_grad for weight in fitted.parameters())
