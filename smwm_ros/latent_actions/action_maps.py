# SPDX-License-Identifier: Apache-2.0
"""
Controller (a, s) -> z and decoder z -> a: two maps of one form, fitted to labelled moments.

Four candidates are fitted: with and without the state, linear and not. The one with the lowest
error on held-out moments is used. Few labels favour the ridge without state; where the effect of
an action depends on the state, the others win once there are enough labels.
"""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.latent_actions.networks import mlp
import torch
from torch import nn, Tensor

CANDIDATES = ('ridge', 'ridge with state', 'mlp', 'mlp with state')
RIDGES = 2  # of the candidates
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of a ridge on normalised numbers
HIDDEN, STEPS = 64, 300  # of the MLPs
MARGIN = 0.02  # of R2 within which the simpler candidate is used
TINY = 1e-6


class MapFit(NamedTuple):
    """How well a map was fitted."""

    scores: dict[str, float]  # R2 on held-out rows, by candidate
    held_out: Tensor  # (m, O) what the chosen candidate returned there, fitted to the others alone


class ActionMap(nn.Module):
    """Maps vectors (B, I), and optionally states (B, X), to vectors (B, O)."""

    choice: Tensor  # number of the candidate in use
    statistics: Tensor  # (2, I + X + O) mean and standard deviation

    def __init__(self, inputs: int, states: int, outputs: int) -> None:
        super().__init__()
        self._sizes = [inputs, states, outputs]
        self.register_buffer('choice', torch.zeros((), dtype=torch.int64))
        self.register_buffer(
            'statistics',
            torch.stack([torch.zeros(sum(self._sizes)), torch.ones(sum(self._sizes))]),
        )
        both = inputs + states
        self.candidates = nn.ModuleList(
            [
                nn.Linear(inputs, outputs, bias=False),
                nn.Linear(both + inputs * states, outputs, bias=False),
                mlp(inputs, HIDDEN, outputs),
                mlp(both, HIDDEN, outputs),
            ]
        ).requires_grad_(False)  # fit() trains them; the optimiser of the model must not

    @property
    def kind(self) -> str:
        """Return the name of the candidate in use."""
        return CANDIDATES[int(self.choice)]

    def forward(self, u: Tensor, x: Tensor) -> Tensor:
        """Map vectors u (..., I) at states x (..., X)."""
        (mean_u, mean_x, mean_y), (std_u, std_x, std_y) = self._parts()
        y = self._map(int(self.choice), (u - mean_u) / std_u, (x - mean_x) / std_x)
        return y * std_y + mean_y

    @torch.no_grad()
    def fit(
        self, u: Tensor, x: Tensor, y: Tensor, held_out: Tensor, quick: bool = False
    ) -> MapFit:
        """
        Fit all candidates to rows (n, ...), and choose one by R2 on held-out rows (n,) bool.

        The candidate in use is fitted to all rows in the end. With `quick`, only ridges are tried.
        """
        rows = torch.cat([u, x, y], dim=1)
        u, x, y = self._normalise(rows, rows[~held_out])
        scores, penalties, seen = dict[str, float](), dict[str, float](), ~held_out
        found = dict[str, Tensor]()
        for number, name in enumerate(CANDIDATES[:RIDGES] if quick else CANDIDATES):
            tried = dict[float, tuple[float, Tensor]]()
            for penalty in PENALTIES if number < RIDGES else (0.0,):
                self._fit(number, u[seen], x[seen], y[seen], penalty)
                read = self._map(number, u[held_out], x[held_out])
                tried[penalty] = _r2(read, y[held_out]), read
            penalties[name] = max(tried, key=lambda penalty: tried[penalty][0])
            scores[name], found[name] = tried[penalties[name]]
        best = max(scores.values())
        chosen = next(name for name, score in scores.items() if score >= best - MARGIN)
        number = CANDIDATES.index(chosen)
        self.choice.fill_(number)
        (_, _, mean), (_, _, std) = self._parts()
        read = found[chosen] * std + mean
        self._fit(number, *self._normalise(rows, rows), penalties[chosen])
        return MapFit(scores, read)

    def _normalise(self, rows: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return u, x and y of rows, normalised by the mean and the deviation of those seen."""
        mean, std = seen.mean(dim=0), seen.std(dim=0)
        # Where a number never varied, a tiny deviation would make any later change huge.
        self.statistics.copy_(torch.stack([mean, torch.where(std > TINY, std, 1.0)]))
        u, x, y = ((rows - mean) / self.statistics[1]).split_with_sizes(self._sizes, dim=1)
        return u, x, y

    def _fit(self, number: int, u: Tensor, x: Tensor, y: Tensor, penalty: float) -> None:
        """Fit a candidate."""
        candidate = self.candidates[number]
        if isinstance(candidate, nn.Linear):
            candidate.weight.copy_(_ridge(_features(number, u, x), y, penalty).T)
        else:
            self._train(candidate, _features(number, u, x), y)

    def _parts(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the means and the standard deviations of u, x and y."""
        mean, std = (row.split_with_sizes(self._sizes) for row in self.statistics)
        return mean, std

    def _map(self, number: int, u: Tensor, x: Tensor) -> Tensor:
        """Return the normalised output of a candidate."""
        y: Tensor = self.candidates[number](_features(number, u, x))
        return y

    def _train(self, network: nn.Module, features: Tensor, y: Tensor) -> None:
        """Train an MLP from new weights, on all rows at once."""
        with torch.enable_grad():
            for layer in network.children():
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            network.requires_grad_(True)
            optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.1)
            for _ in range(STEPS):
                loss = (network(features) - y).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            network.requires_grad_(False)


def _features(number: int, u: Tensor, x: Tensor) -> Tensor:
    """Return what a candidate reads: u, or u with x; the ridge also gets their products."""
    if number % 2 == 0:
        return u
    both = torch.cat([u, x], dim=-1)
    if number == 3:
        return both
    products = (u.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
    return torch.cat([both, products], dim=-1)


def _r2(found: Tensor, true: Tensor) -> float:
    """Return R2 of all columns together; 0 is the error of the mean of the fitted rows, 0."""
    return float(1 - (found - true).square().sum() / true.square().sum().clamp(min=TINY))


def _ridge(features: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Return the weights (F, O) of a ridge."""
    f, y = features.double(), y.double()
    if f.shape[1] > len(f):  # the dual form, where there are more features than rows
        gram = f @ f.T + penalty * torch.eye(len(f), device=f.device, dtype=f.dtype)
        weights = f.T @ torch.linalg.solve(gram, y)
    else:
        gram = f.T @ f + penalty * torch.eye(f.shape[1], device=f.device, dtype=f.dtype)
        weights = torch.linalg.solve(gram, f.T @ y)
    found: Tensor = weights.float()
    return found
