# SPDX-License-Identifier: Apache-2.0
"""Bottlenecks penalise what the paper says, and let pass what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np
import pytest
from smwm_ros.config import BOTTLENECKS, LatentAction
from smwm_ros.latent_actions.bottlenecks import (
    Bottleneck,
    make_bottleneck,
    MAX_PRICE,
    Noisy,
    Prefix,
    QUIET,
    Sparse,
    Vq,
    Zero,
)
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def by_hand(h: np.ndarray, weight: float, floor: float) -> float:
    """Return the loss of the sparse bottleneck, term by term."""
    count, width = h.shape
    covariance = np.cov(h.T)
    apart = covariance[~np.eye(width, dtype=bool)]
    loss = weight * np.abs(h).sum() / count
    loss += floor * np.maximum(np.sqrt(width) - (h**2).sum(1), 0).mean()
    loss += 0.1 * np.maximum(1 - np.sqrt(np.diag(covariance)), 0).mean()
    loss += 0.001 * (apart**2).sum() / (width * (width - 1))
    return float(loss + 0.1 * (h.mean(0) ** 2).mean())


@pytest.mark.parametrize('paper_exact', [False, True])
@pytest.mark.parametrize('scale', [0.1, 2.0])
def test_sparse_is_the_energy_and_the_terms_against_shrinking(
    paper_exact: bool, scale: float
) -> None:
    h = scale * torch.randn(50, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0, 1, 0], [0, 0, 1]]) + 0.3
    code = Sparse(3, 0.02, paper_exact)(h)
    assert float(code.loss) == pytest.approx(by_hand(h.numpy(), 0.02, paper_exact), rel=1e-4)
    assert torch.equal(code.z, h)
    assert torch.equal(code.mean, h)
    assert code.nats.isnan().all(), 'sparse codes have no defined rate'


def test_only_the_norm_floor_of_the_paper_forbids_the_zero_code() -> None:
    losses = {}
    for exact in (False, True):
        for quiet in (0.0, 1.0):  # 1: half of the codes are 0
            h = 3 * torch.randn(64, 4) * (torch.rand(64, 1) >= 0.5 * quiet)
            losses[exact, quiet] = float(Sparse(4, 0.02, exact)(h).loss)
    assert losses[False, 1.0] < losses[False, 0.0]
    assert losses[True, 1.0] > losses[True, 0.0] + 0.5


def test_the_mean_term_has_a_lower_bound() -> None:
    far = torch.randn(32, 4) - 100
    assert Sparse(4, 0.0)(far).loss > Sparse(4, 0.0)(far + 100).loss


def test_one_number_is_a_code_too() -> None:
    assert Sparse(1, 0.1)(torch.randn(16, 1)).loss.isfinite()


def test_noisy_pays_the_kl_divergence_to_the_standard_normal() -> None:
    bottleneck = Noisy(3, 0.25).eval()
    h = torch.randn(40, 6)
    code = bottleneck(h)
    mean, std = h[:, :3], (0.5 * (h[:, 3:] + QUIET)).exp()
    posterior = torch.distributions.Normal(mean, std)
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(code.nats, kl, rtol=1e-4)
    assert float(code.loss) == pytest.approx(0.25 * float(kl.mean()), rel=1e-4)
    assert code.loss > 0, 'the sign that the paper prints rewards information'
    assert torch.equal(code.z, mean)


def test_noise_has_its_deviation_in_training_and_is_absent_otherwise() -> None:
    bottleneck = Noisy(2, 1e-3)
    h = torch.tensor([[1.0, -1.0, 0.0, 2.0]]).repeat(20_000, 1)
    code = bottleneck.train()(h)
    assert torch.equal(code.mean, h[:, :2])
    expected = [math.exp(0.5 * (value + QUIET)) for value in (0.0, 2.0)]
    assert code.z.std(dim=0).tolist() == pytest.approx(expected, rel=0.03)
    assert code.z.mean(dim=0).tolist() == pytest.approx([1.0, -1.0], abs=0.02)


def trained(
    bottleneck: Bottleneck, content: Callable[[Tensor], Tensor | None], steps: int = 700
) -> Tensor:
    """Train an autoencoder through a bottleneck; return the nats of each row of a last batch."""
    inputs = 9  # eight numbers to carry, and a sign that the content may depend on
    encoder = nn.Linear(inputs, bottleneck.inputs)
    decoder = nn.Linear(bottleneck.width, inputs - 1)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(weights, lr=1e-2)
    gates = nn.Linear(inputs, bottleneck.inputs)
    optimiser.add_param_group({'params': gates.parameters()})
    for _ in range(steps):
        x = torch.randn(64, inputs)
        x[:, -1] = x[:, -1].sign()
        h = encoder(x) + x[:, -1:] * gates(x)
        code = bottleneck(h, content(x))
        loss = (decoder(code.z) - x[:, :-1]).square().mean() + code.loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bottleneck.adapt()
    nats: Tensor = code.nats
    return torch.stack([nats[x[:, -1] > 0].mean(), nats[x[:, -1] < 0].mean(), nats.mean()])


@pytest.mark.parametrize('beta', [1e-5, 1e-1])
def test_the_rate_reaches_its_target_wherever_beta_begins(beta: float) -> None:
    bottleneck = Noisy(8, beta, nats=8.0).train()
    assert float(trained(bottleneck, lambda x: None)[-1]) == pytest.approx(8.0, rel=0.25)
    low, high = (math.log(limit) for limit in Noisy.RANGE)
    assert low < float(bottleneck.log_beta) < high


def test_beta_stays_as_set_without_a_target() -> None:
    bottleneck = Noisy(2, 0.01).train()
    bottleneck(torch.randn(8, 4))
    bottleneck.adapt()
    assert math.exp(float(bottleneck.log_beta)) == pytest.approx(0.01)


def test_beta_rises_above_the_target_and_falls_below_it_within_its_range() -> None:
    bottleneck = Noisy(1, 1e-3, nats=1.0).train()
    for h, sign in ((torch.full((4, 2), 9.0), 1), (torch.tensor([[0.0, 4.0]]), -1)):
        before = float(bottleneck.log_beta)
        bottleneck(h)
        bottleneck.adapt()
        assert float(bottleneck.log_beta) - before == pytest.approx(sign * Noisy.RATE, rel=1e-3)
    for _ in range(1000):
        bottleneck.adapt()
    assert math.exp(float(bottleneck.log_beta)) == pytest.approx(Noisy.RANGE[0], rel=1e-3)


@pytest.mark.parametrize('make', [lambda: Noisy(4, 0.1), lambda: Sparse(4, 0.1)])
def test_equal_content_changes_nothing(make: Callable[[], Bottleneck]) -> None:
    bottleneck = make().eval()
    h = torch.randn(16, bottleneck.inputs)
    plain, equal = bottleneck(h), bottleneck(h, torch.full((16,), 0.3))
    assert float(plain.loss) == pytest.approx(float(equal.loss), rel=1e-6)


def test_the_price_falls_with_the_content_and_has_limits() -> None:
    bottleneck = Noisy(1, 1.0).eval()
    h = torch.zeros(3, 2).requires_grad_()
    content = torch.tensor([0.0, 1.0, 8.0])
    (slope,) = torch.autograd.grad(bottleneck(h, content).loss, h)
    prices = slope[:, 1] / slope[:, 1].mean()
    raw = np.array([MAX_PRICE, 3.0, 3 / 8])
    assert prices.tolist() == pytest.approx((raw / raw.mean()).tolist(), rel=1e-4)


def test_more_content_gets_more_nats() -> None:
    high, low, _ = trained(Noisy(8, 0.02).train(), lambda x: 2.0 ** (2 * x[:, -1]), 300)
    assert high > 1.3 * low


def test_a_prefix_ends_anywhere_in_training_and_where_asked_otherwise() -> None:
    bottleneck = Prefix(4, 1e-3).train()
    h = torch.cat([torch.full((4000, 4), 3.0), torch.full((4000, 4), -8.0)], dim=1)
    code = bottleneck(h)
    passed = code.z != 0
    lengths = passed.sum(dim=1)
    ordered = torch.arange(4) < lengths[:, None]
    assert torch.equal(passed, ordered), 'what passes is no prefix'
    shares = torch.bincount(lengths, minlength=5) / len(lengths)
    assert shares.tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.03)
    assert torch.equal(code.mean != 0, passed)
    bottleneck.eval()
    assert torch.equal(bottleneck(h).z, h[:, :4])
    bottleneck.keep = 2
    assert bottleneck(h).z[0].tolist() == [3.0, 3.0, 0.0, 0.0]


def test_vq_returns_the_nearest_code_and_passes_the_gradient_straight_through() -> None:
    bottleneck = Vq(3, 8).train()
    h = torch.randn(20, 3).requires_grad_()
    code = bottleneck(h)
    away = ((h.detach()[:, None] - bottleneck.codes[0]) ** 2).sum(-1)
    nearest = bottleneck.codes[0, away.argmin(1)]
    assert torch.allclose(code.z, nearest, atol=1e-6)
    assert torch.equal(code.mean, nearest)
    assert float(code.loss) == pytest.approx(0.25 * float((h - nearest).square().mean()), rel=1e-4)
    slope = torch.randn(20, 3)
    (found,) = torch.autograd.grad((code.z * slope).sum(), h, retain_graph=True)
    assert torch.allclose(found, slope)
    (pull,) = torch.autograd.grad(code.loss, h)
    assert torch.allclose(pull, 0.25 * 2 * (h.detach() - nearest) / h.numel(), atol=1e-7)


def test_the_code_books_of_groups_are_independent() -> None:
    bottleneck = Vq(4, 8, groups=2).train()
    h = torch.randn(30, 4)
    found = bottleneck(h).mean
    for group, part in enumerate(h.split(2, dim=1)):
        book = bottleneck.codes[group]
        index = ((part[:, None] - book) ** 2).sum(-1).argmin(1)
        assert torch.equal(found[:, 2 * group : 2 * group + 2], book[index])
    assert bottleneck.perplexity.shape == (2,)


def test_a_code_moves_to_the_mean_of_its_inputs_and_others_stay() -> None:
    bottleneck = Vq(2, 3).train()
    bottleneck.codes[0] = torch.tensor([[0.0, 0.0], [5.0, 5.0], [-90.0, 0.0]])
    bottleneck.sums.copy_(bottleneck.codes)
    inputs = torch.tensor([[0.5, 0.0], [1.5, 0.0], [5.0, 6.0]])
    before = bottleneck.codes.clone()
    bottleneck(inputs)
    bottleneck.adapt()
    keep = Vq.DECAY
    first = (keep * before[0, 0] + (1 - keep) * inputs[:2].sum(0)) / (keep + (1 - keep) * 2)
    assert torch.allclose(bottleneck.codes[0, 0], first, atol=1e-6)
    assert torch.allclose(bottleneck.codes[0, 2], before[0, 2], atol=1e-4)
    for _ in range(95):  # before the first reset
        bottleneck(inputs)
        bottleneck.adapt()
    assert torch.allclose(bottleneck.codes[0, 0], torch.tensor([1.0, 0.0]), atol=0.05)
    assert torch.allclose(bottleneck.codes[0, 1], torch.tensor([5.0, 6.0]), atol=0.1)


def test_codes_that_go_unused_become_inputs_and_nothing_is_drawn() -> None:
    bottleneck = Vq(2, 4).train()
    bottleneck.codes[0] = torch.tensor([[0.0, 0.0], [0.1, 0.0], [90.0, 0.0], [91.0, 0.0]])
    bottleneck.sums.copy_(bottleneck.codes)
    inputs = 0.1 * torch.randn(40, 2)
    state = torch.get_rng_state()
    for step in range(2 * Vq.RESET_EVERY):
        bottleneck(inputs)
        bottleneck.adapt()
        if step == Vq.RESET_EVERY - 2:
            assert (bottleneck.codes[0, 2:, 0] > 80).all(), 'reset too early'
        if step == Vq.RESET_EVERY - 1:
            away = torch.cdist(bottleneck.codes[0, 2:], inputs).min(dim=1).values
            assert away.max() < 1e-3
            assert (bottleneck.counts[0, 2:] == 10).all(), 'a new code counts as one in fair use'
    assert torch.equal(state, torch.get_rng_state())
    assert float(bottleneck.perplexity) > 2


def test_perplexity_counts_the_codes_in_use() -> None:
    bottleneck = Vq(2, 8)
    assert bottleneck.perplexity.tolist() == pytest.approx([8.0])
    bottleneck.counts.copy_(torch.tensor([[3.0, 3.0, 0, 0, 0, 0, 0, 0]]))
    assert bottleneck.perplexity.tolist() == pytest.approx([2.0], rel=1e-3)
    bottleneck.codes[0, 0] = 0.0
    nats = bottleneck.eval()(torch.zeros(1, 2)).nats
    assert nats.tolist() == pytest.approx([math.log(2)], rel=1e-3)


def test_looking_at_a_code_book_does_not_move_it() -> None:
    bottleneck = Vq(2, 4).eval()
    before = bottleneck.codes.clone()
    bottleneck(torch.randn(9, 2))
    bottleneck.adapt()
    assert torch.equal(bottleneck.codes, before)


def test_the_references_pass_everything_and_nothing() -> None:
    h = torch.randn(5, 3)
    everything, nothing = Bottleneck(3)(h), Zero(3)(h)
    assert torch.equal(everything.z, h)
    assert everything.nats.isnan().all()
    assert not nothing.z.any()
    assert not nothing.mean.any()
    assert not nothing.nats.any()
    assert float(everything.loss) == float(nothing.loss) == 0.0


@pytest.mark.parametrize('name', BOTTLENECKS)
def test_every_bottleneck_takes_its_inputs_and_returns_its_width(name: str) -> None:
    lam = replace(LatentAction(), bottleneck=name, width=8, groups=4, codes=16, strength=0.03)
    bottleneck = make_bottleneck(lam)
    code = bottleneck(torch.randn(12, bottleneck.inputs))
    assert code.z.shape == code.mean.shape == (12, 8)
    assert code.loss.shape == ()
    assert code.nats.shape == (12,)
    books = {'vq': 1, 'pvq': 4}.get(name, 0)
    assert len(bottleneck.perplexity) == books
    if isinstance(bottleneck, Noisy):
        assert bottleneck.target == lam.nats
        assert float(bottleneck.log_beta.exp()) == pytest.approx(0.03)
