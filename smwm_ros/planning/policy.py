# SPDX-License-Identifier: Apache-2.0
"""
A policy that proposes actions: an inverse model for goals that are several model steps away.

It is trained by hindsight relabelling: any later frame of an episode serves as the goal of an
earlier one, with the recorded actions as targets. Its proposals are the first samples of a search,
or the plan itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import Plans, WorldModel
from smwm_ros.model import sidecar
from smwm_ros.model.actor import STEPS
from smwm_ros.model.past import advanced
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs, sum_of
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.goal_network import BATCH, GoalNetwork, RATE, reloaded, untrained
from smwm_ros.reporting import NoProgress, ShowProgress
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

NAME = 'proposals'
STEPS_TO_GO = STEPS  # one proposal for each of these [model steps]


# z (B, W), goal (B, D), the last raw action (B, A), those sent before (B, n, A) -> (B, P, T, K*A)
Propose: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


class Policy(GoalNetwork):
    """Latent, goal latent and model steps to go -> the next K raw actions, normalised."""

    to_go: Tensor  # (P, 1) STEPS_TO_GO

    def __init__(self, latent: int, action_size: int) -> None:
        super().__init__(latent, action_size, more=1)
        # A buffer, since a CUDA graph cannot record a copy from the CPU.
        steps = torch.tensor(STEPS_TO_GO, dtype=torch.float32).unsqueeze(1)
        self.register_buffer('to_go', steps, persistent=False)

    def forward(self, z: Tensor, goal: Tensor, steps: Tensor) -> Tensor:
        """Return actions (..., K*A) from z (..., D) to goals (..., D) in steps (..., 1)."""
        return self.read(z, goal, steps / STEPS_TO_GO[-1])

    def propose(self, model: WorldModel, z: Tensor, goal: Tensor, horizon: int) -> Tensor:
        """Return a plan for each of STEPS_TO_GO: (B, W), (B, D) -> (B, P, T, K*A)."""
        count = len(STEPS_TO_GO)
        steps = self.to_go.expand(len(z), -1, -1)
        z, goal = (latent.unsqueeze(1).expand(-1, count, -1) for latent in (z, goal))
        plan = []
        for _ in range(horizon):
            plan.append(self(z[..., : goal.shape[-1]], goal, steps))
            z = advanced(model, z, plan[-1])
            steps = (steps - 1).clamp(min=1)  # after the goal, stay there
        return torch.stack(plan, dim=2)


def learn(
    drives: RecordedDrives, steps: int, seed: int, progress: ShowProgress = NoProgress
) -> Policy:
    """Train a policy for `steps` gradient steps."""
    latents, block = drives.latents, drives.block
    starts = drives.known_windows()
    if not len(starts):
        raise DatasetError(
            'no drive has known actions to propose; label them (smwm label), or convert again '
            'with commands'
        )
    policy = untrained(partial(Policy, action_size=block * drives.actions.shape[1]), latents, seed)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in progress(range(steps), desc='proposals', unit='step'):
        row = starts[torch.randint(len(starts), (BATCH,), generator=generator)]
        error = _error(policy, drives, row, torch.rand(BATCH, generator=generator))
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return policy.eval().requires_grad_(False)


@torch.inference_mode()
def skill(policy: Policy, drives: RecordedDrives) -> float:
    """Return the R2 of the actions that the policy proposes."""
    rows = drives.known_windows()
    draw = torch.linspace(0, 1 - 1e-6, len(rows))[
        torch.randperm(len(rows), generator=_generator())
    ]
    variance = drives.model_actions(rows).var(dim=0).mean()
    return 1 - float(_error(policy, drives, rows, draw) / variance)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _error(policy: Policy, drives: RecordedDrives, row: Tensor, draw: Tensor) -> Tensor:
    """Return the mean squared error from rows (n,) to goals that `draw` (n,) in 0..1 selects."""
    most = (drives.left[row] // drives.block).clamp(max=STEPS_TO_GO[-1])
    steps = 1 + (draw * most).long()  # 1 to most
    goal = drives.goals[row + steps * drives.block]
    proposed = policy(drives.latents[row], goal, steps.float().unsqueeze(1))
    return F.mse_loss(proposed, drives.model_actions(row))


def save(folder: Path, policy: Policy, info: dict[str, Any]) -> None:
    """Write a policy beside its model."""
    sidecar.save(folder, NAME, policy.state_dict(), info)


def load(folder: Path | None, action_size: int, needed_by: str) -> Policy:
    """Read the policy beside a model."""
    tensors, _ = sidecar.load(folder, NAME, needed_by, {'mean': ('D',), 'std': ('D',)}, {})
    return reloaded(partial(Policy, action_size=action_size), tensors, folder, NAME)


class AmortisedPlanner:
    """Returns the proposal with the lowest cost, without a search."""

    def __init__(self, propose: Propose, bounds: Bounds, costs: Costs) -> None:
        self._propose, self._bounds, self._costs = propose, bounds, costs
        self._last: Tensor | None = None  # (B, T*K, A)
        self._before: Tensor | None = None  # (B, A): the last executed raw action

    @torch.inference_mode()
    def plan_many(
        self, z: Tensor, goal: Tensor, past: Tensor | None = None, metric: Tensor | None = None
    ) -> Plans:
        """Return the proposal with the lowest cost for each problem."""
        proposals = self._propose(z, goal, self._before, past)
        proposals = self._bounds.bound(proposals, self._before, past)
        terms = self._costs.terms(z, goal, proposals, self._before, metric)
        index = sum_of(terms).nan_to_num(nan=torch.inf).argmin(dim=1, keepdim=True)
        actions = torch.take_along_dim(proposals, index[..., None, None], dim=1).squeeze(1)
        shares = {name: term.gather(1, index).squeeze(1) for name, term in terms.items()}
        self._last = self._bounds.raw(actions)
        # The standard deviation over the proposals stands for that of the samples.
        spread = proposals.std(dim=1, correction=min(proposals.shape[1] - 1, 1)).mean(dim=(1, 2))
        return Plans(actions, sum_of(shares), spread, shares)

    def shift(self, raw_steps: int) -> None:
        """Store the last executed raw action."""
        if self._last is not None and raw_steps:
            self._before = self._last[:, min(raw_steps, self._last.shape[1]) - 1]

    def keep(self, problems: Sequence[int]) -> None:
        """Keep only these problems, in this order."""
        if self._last is not None:
            self._last = self._last[list(problems)]
        if self._before is not None:
            self._before = self._before[list(problems)]

    def reset(self) -> None:
        """Drop the last plans."""
        self._last = self._before = None

    def cancel(self) -> None:
        """Do nothing: there is no search to cancel."""
