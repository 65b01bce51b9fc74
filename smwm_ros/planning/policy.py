# SPDX-License-Identifier: Apache-2.0
"""
A policy that proposes actions: the inverse model for goals that are further away.

It learns from hindsight. Wherever a recording came to later was worth aiming at, so any two frames
of an episode, with what was done at the first of them and the model steps that lay between, are a
lesson. Its proposals begin a search with few samples, or are themselves the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from smwm_ros.errors import CheckpointError, one_line
from smwm_ros.interfaces import Plans, WorldModel
from smwm_ros.model import sidecar
from smwm_ros.model.device import seeded
from smwm_ros.model.networks import perceptron
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs, sum_of
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.reporting import NoProgress, ShowProgress
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

NAME = 'proposals'
HIDDEN = 256
BATCH = 512  # lessons in a step
RATE = 2e-3  # peak learning rate
STEPS_TO_GO = (1, 2, 3, 5, 8, 12)  # a plan is proposed for each of these [model steps]


Propose: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (B, D), (B, D) -> (B, P, T, K*A)


class Policy(nn.Module):
    """Where, whereto and in how many model steps -> the next K raw actions, normalised."""

    mean: Tensor  # (D,) of the latents
    std: Tensor  # (D,)
    to_go: Tensor  # (P, 1) STEPS_TO_GO

    def __init__(self, latent: int, action_size: int) -> None:
        super().__init__()
        self.layers = perceptron(2 * latent + 1, HIDDEN, action_size)
        self.register_buffer('mean', torch.zeros(latent))
        self.register_buffer('std', torch.ones(latent))
        # Here from the start, for a copy from the processor cannot be recorded.
        steps = torch.tensor(STEPS_TO_GO, dtype=torch.float32).unsqueeze(1)
        self.register_buffer('to_go', steps, persistent=False)

    def forward(self, z: Tensor, goal: Tensor, steps: Tensor) -> Tensor:
        """Return actions (..., K*A) from z (..., D) to goals (..., D) in steps (..., 1)."""
        here, there = (z - self.mean) / self.std, (goal - self.mean) / self.std
        seen = torch.cat([here, there - here, steps / STEPS_TO_GO[-1]], dim=-1)
        actions: Tensor = self.layers(seen)
        return actions

    def propose(self, model: WorldModel, z: Tensor, goal: Tensor, horizon: int) -> Tensor:
        """Return a plan for each number of steps to go: (B, D), (B, D) -> (B, P, T, K*A)."""
        count = len(STEPS_TO_GO)
        steps = self.to_go.expand(len(z), -1, -1)
        z, goal = (latent.unsqueeze(1).expand(-1, count, -1) for latent in (z, goal))
        plan = []
        for _ in range(horizon):
            plan.append(self(z, goal, steps))
            z = model.predict(z, plan[-1])
            steps = (steps - 1).clamp(min=1)  # whoever is there stays there
        return torch.stack(plan, dim=2)


def learn(
    drives: RecordedDrives, steps: int, seed: int, progress: ShowProgress = NoProgress
) -> Policy:
    """Train a policy on recorded drives."""
    latents, block = drives.latents, drives.block
    starts = drives.windows(block)
    with seeded(seed):
        policy = Policy(latents.shape[1], block * drives.actions.shape[1])
    policy.mean.copy_(latents.mean(dim=0))
    policy.std.copy_(latents.std(dim=0).clamp(min=1e-6))
    optimiser = torch.optim.AdamW(policy.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    chance = torch.Generator().manual_seed(seed)
    for _ in progress(range(steps), desc='proposals', unit='step'):
        row = starts[torch.randint(len(starts), (BATCH,), generator=chance)]
        error = _error(policy, drives, row, torch.rand(BATCH, generator=chance))
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return policy.eval().requires_grad_(False)


@torch.inference_mode()
def skill(policy: Policy, drives: RecordedDrives) -> float:
    """Return the share of the variance of the actions that the policy knows (R2)."""
    rows = drives.windows(drives.block)
    luck = torch.linspace(0, 1 - 1e-6, len(rows))[torch.randperm(len(rows), generator=_chance())]
    wanted = drives.actions[rows[:, None] + torch.arange(drives.block)].flatten(1)
    return 1 - float(_error(policy, drives, rows, luck) / wanted.var(dim=0).mean())


def _chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _error(policy: Policy, drives: RecordedDrives, row: Tensor, luck: Tensor) -> Tensor:
    """Return the squared error of lessons that start in rows; luck in 0..1 draws the goals."""
    most = (drives.left[row] // drives.block).clamp(max=STEPS_TO_GO[-1])
    steps = 1 + (luck * most).long()  # 1 to most
    goal = drives.latents[row + steps * drives.block]
    done = drives.actions[row[:, None] + torch.arange(drives.block)].flatten(1)
    return F.mse_loss(policy(drives.latents[row], goal, steps.float().unsqueeze(1)), done)


def save(folder: Path, policy: Policy, info: dict[str, Any]) -> None:
    """Write a policy beside its model."""
    sidecar.save(folder, NAME, policy.state_dict(), info)


def load(folder: Path | None, action_size: int, needed_by: str) -> Policy:
    """Read the policy beside a model; it comes ready to propose."""
    tensors, _ = sidecar.load(folder, NAME, needed_by, {'mean': ('D',), 'std': ('D',)}, {})
    try:
        policy = Policy(len(tensors['mean']), action_size)
        policy.load_state_dict(tensors)
    except RuntimeError as error:
        reason = one_line(error)
        raise CheckpointError(f'{folder}: its {NAME} do not fit its model: {reason}') from None
    return policy.eval().requires_grad_(False)


class AmortisedPlanner:
    """Follows the best proposal, without any search."""

    def __init__(self, propose: Propose, bounds: Bounds, costs: Costs) -> None:
        self._propose, self._bounds, self._costs = propose, bounds, costs
        self._last: Tensor | None = None  # (B, T*K, A)
        self._before: Tensor | None = None  # (B, A): the raw action executed last

    @torch.inference_mode()
    def plan_many(self, z: Tensor, goal: Tensor, past: Tensor | None = None) -> Plans:
        """Return the best proposal for each problem."""
        ideas = self._bounds.bound(self._propose(z, goal), self._before, past)
        terms = self._costs.terms(z, goal, ideas, self._before)
        index = sum_of(terms).nan_to_num(nan=torch.inf).argmin(dim=1, keepdim=True)
        actions = torch.take_along_dim(ideas, index[..., None, None], dim=1).squeeze(1)
        shares = {name: term.gather(1, index).squeeze(1) for name, term in terms.items()}
        self._last = self._bounds.raw(actions)
        # How far the proposals are apart, in place of the spread of samples.
        return Plans(actions, sum_of(shares), ideas.std(dim=1).mean(dim=(1, 2)), shares)

    def shift(self, raw_steps: int) -> None:
        """Remember which raw action was executed last."""
        if self._last is not None and raw_steps:
            self._before = self._last[:, min(raw_steps, self._last.shape[1]) - 1]

    def keep(self, problems: Sequence[int]) -> None:
        """Go on with some of the problems."""
        if self._last is not None:
            self._last = self._last[list(problems)]
        if self._before is not None:
            self._before = self._before[list(problems)]

    def reset(self) -> None:
        """Forget the last plans."""
        self._last = self._before = None

    def cancel(self) -> None:
        """Have no search to end."""
