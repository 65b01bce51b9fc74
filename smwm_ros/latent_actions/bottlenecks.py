# SPDX-License-Identifier: Apache-2.0
"""
Bottlenecks: what keeps a latent action from carrying the whole next frame.

Each maps the output of the latent IDM, h (B, inputs), to a latent action z (B, width) and a
penalty. Three are those of the paper (arXiv 2601.05230): sparse, noisy and vq. Corrections to its
printed formulas are marked where they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from typing import NamedTuple

from smwm_ros.config import LatentAction
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

QUIET = -4.0  # logarithm of the variance of the first noise; louder noise drowns the signal
MAX_PRICE = 4.0  # largest factor on the price of information, with scheduled capacity


class Code(NamedTuple):
    """Latent actions of a batch."""

    z: Tensor  # (B, D) for the forward model; noisy while training
    mean: Tensor  # (B, D) without noise, for reading
    loss: Tensor  # () penalty, weighted
    nats: Tensor  # (B,) information per transition; NaN where the bottleneck does not define it


class Bottleneck(nn.Module):
    """The identity: no bottleneck, a reference."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def inputs(self) -> int:
        """Return the width of h."""
        return self.width

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """
        Return the latent actions of a batch.

        With `content` (B,), what happens in each transition, more information is allowed where
        more happens: the price of it falls with the content.
        """
        return Code(h, h, h.new_zeros(()), h.new_full((len(h),), math.nan))

    @property
    def perplexity(self) -> Tensor:
        """Return the effective number of codes of each code book (G,), if there are any."""
        return torch.ones(0)

    def adapt(self) -> None:
        """Update what follows the data rather than the gradient; call after each step."""


class Zero(Bottleneck):
    """No information: the forward model predicts the mean, the lower reference."""

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """Return zeros."""
        z = torch.zeros_like(h)
        return Code(z, z, h.new_zeros(()), h.new_zeros(len(h)))


class Sparse(Bottleneck):
    """
    L1 norm, with variance, covariance and mean terms that keep the code from shrinking instead.

    The paper prints a norm floor (l2) that forbids z = 0, so that no code means "nothing happens";
    it is used with `paper_exact` only. Its mean term is unbounded below as printed; here it is the
    mean of the squared means.
    """

    def __init__(self, width: int, weight: float, paper_exact: bool = False) -> None:
        super().__init__(width)
        self.weight, self.floor = weight, 1.0 if paper_exact else 0.0

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """Return h, and the penalty of the batch."""
        energy = self.weight * _priced(h.abs().sum(dim=1), content)
        short = (math.sqrt(self.width) - h.square().sum(dim=1)).clamp(min=0)
        correction = min(1, len(h) - 1)  # a single transition has no spread
        std = h.var(dim=0, correction=correction).clamp(min=1e-8).sqrt()
        variance = (1 - std).clamp(min=0).mean()
        covariance = torch.cov(h.T, correction=correction).reshape(self.width, self.width)
        off = covariance.square().sum() - covariance.diagonal().square().sum()
        off = off / max(self.width * (self.width - 1), 1)
        mean = h.mean(dim=0).square().mean()
        loss = energy + self.floor * short.mean() + 0.1 * variance + 0.001 * off + 0.1 * mean
        return Code(h, h, loss, h.new_full((len(h),), math.nan))


def _priced(cost: Tensor, content: Tensor | None) -> Tensor:
    """Return the mean of costs (B,), each divided by the content of its transition."""
    if content is None:
        return cost.mean()
    price = (content.mean() / content.clamp(min=1e-12)).clamp(1 / MAX_PRICE, MAX_PRICE)
    return (price / price.mean() * cost).mean()


class Noisy(Bottleneck):
    """
    A Gaussian code with a KL penalty towards N(0, 1), as in a VAE.

    With a target rate [nats per transition] the weight beta follows by dual ascent.
    """

    log_beta: Tensor

    RANGE = (1e-6, 0.05)  # of beta
    RATE = 0.02  # of the ascent, per step

    def __init__(self, width: int, beta: float, nats: float = 0.0) -> None:
        super().__init__(width)
        self.target = nats
        self.register_buffer('log_beta', torch.tensor(math.log(beta)))
        self._nats = torch.zeros(())  # mean of the last batch

    @property
    def inputs(self) -> int:
        """Return the width of h: means, and logarithms of variances."""
        return 2 * self.width

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """Sample while training; return the mean otherwise."""
        mean, log_var = h.chunk(2, dim=1)
        log_var = (log_var + QUIET).clamp(-12.0, 4.0)
        nats = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean) if self.training else mean
        self._nats = nats.detach().mean()
        return Code(z, mean, self.log_beta.exp() * _priced(nats, content), nats.detach())

    @torch.no_grad()
    def adapt(self) -> None:
        """Raise beta while the rate is above its target, lower it while it is below."""
        if self.target:
            low, high = map(math.log, self.RANGE)
            excess = (self._nats / self.target - 1).clamp(-1, 1)
            self.log_beta.add_(self.RATE * excess).clamp_(low, high)


class Vq(Bottleneck):
    """
    Vector quantisation: the nearest of `size` codes in each of `groups` parts of the code.

    Codebooks follow an exponential moving average; codes that go unused are reset to inputs.
    """

    codes: Tensor  # (G, C, D / G)
    counts: Tensor  # (G, C) moving average of uses per step
    sums: Tensor  # (G, C, D / G)
    steps: Tensor

    DECAY, COMMITMENT, RESET_EVERY = 0.97, 0.25, 100

    def __init__(self, width: int, size: int, groups: int = 1) -> None:
        super().__init__(width)
        self.groups, self.size = groups, size
        codes = torch.randn(groups, size, width // groups)
        self.register_buffer('codes', codes)
        self.register_buffer('counts', torch.ones(groups, size))
        self.register_buffer('sums', codes.clone())
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))
        self._last: tuple[Tensor, Tensor] | None = None  # parts and indices of the last batch

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """Return the nearest codes, with straight-through gradients."""
        parts = h.view(len(h), self.groups, -1).transpose(0, 1)  # (G, B, D / G)
        index = torch.cdist(parts.detach(), self.codes).argmin(dim=2)  # (G, B)
        z = torch.gather(self.codes, 1, index[..., None].expand(-1, -1, self.codes.shape[2]))
        loss = self.COMMITMENT * F.mse_loss(parts, z)
        self._last = (parts.detach(), index) if self.training else None
        through = (parts + (z - parts).detach()).transpose(0, 1).flatten(1)
        share = self.counts / self.counts.sum(dim=1, keepdim=True)
        nats = -share.clamp(min=1e-12).log().gather(1, index).sum(dim=0)
        return Code(through, z.transpose(0, 1).flatten(1), loss, nats)

    @torch.no_grad()
    def adapt(self) -> None:
        """Move each code towards the mean of its inputs; reset unused ones."""
        if self._last is None:
            return
        parts, index = self._last
        uses = F.one_hot(index, self.size).to(parts.dtype)  # (G, B, C)
        self.counts.lerp_(uses.sum(dim=1), 1 - self.DECAY)
        self.sums.lerp_(uses.transpose(1, 2) @ parts, 1 - self.DECAY)
        self.codes.copy_(self.sums / self.counts.clamp(min=1e-5)[..., None])
        self.steps += 1
        if self.steps % self.RESET_EVERY == 0:
            self._reset(parts)

    def _reset(self, parts: Tensor) -> None:
        """
        Replace codes that are used less than a twentieth of their share by inputs.

        Nothing is drawn: a run that resumes, or has several processes, resets alike.
        """
        fair = parts.shape[1] / self.size
        for group, unused in enumerate(self.counts < 0.05 * fair):
            number = int(unused.sum())
            rows = torch.arange(number, device=parts.device) * parts.shape[1] // max(number, 1)
            self.codes[group, unused] = parts[group, rows]
            self.sums[group, unused] = fair * parts[group, rows]
            self.counts[group, unused] = fair

    @property
    def perplexity(self) -> Tensor:
        """Return the effective number of codes of each group (G,)."""
        share = self.counts / self.counts.sum(dim=1, keepdim=True)
        return torch.exp(-torch.xlogy(share, share).sum(dim=1))


class Prefix(Noisy):
    """
    Nested dropout: while training, only the first k dimensions pass, k drawn anew per transition.

    Earlier dimensions then carry more, and any prefix is a code of lower capacity.
    """

    keep: int | None = None  # dimensions to use; None for all

    def forward(self, h: Tensor, content: Tensor | None = None) -> Code:
        """Cut the code of each transition after a random or chosen number of dimensions."""
        code = super().forward(h, content)
        count = torch.full((len(h), 1), self.keep or self.width, device=h.device)
        if self.training:
            count = torch.randint(1, self.width + 1, (len(h), 1), device=h.device)
        passed = (torch.arange(self.width, device=h.device) < count).to(h.dtype)
        return code._replace(z=code.z * passed, mean=code.mean * passed)


def make_bottleneck(lam: LatentAction) -> Bottleneck:
    """Build the bottleneck that the knobs describe."""
    made: Mapping[str, Callable[[], Bottleneck]] = {
        'none': lambda: Bottleneck(lam.width),
        'zero': lambda: Zero(lam.width),
        'sparse': lambda: Sparse(lam.width, lam.strength, lam.paper_exact),
        'noisy': lambda: Noisy(lam.width, lam.strength, lam.nats),
        'prefix': lambda: Prefix(lam.width, lam.strength, lam.nats),
        'vq': lambda: Vq(lam.width, lam.codes),
        'pvq': lambda: Vq(lam.width, lam.codes, lam.groups),
    }
    return made[lam.bottleneck]()
