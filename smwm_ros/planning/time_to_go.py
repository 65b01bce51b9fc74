# SPDX-License-Identifier: Apache-2.0
"""
The time from one latent to another in model steps, learnt from recorded drives.

Latent distance ignores walls, and that a robot on wheels cannot move sideways. The time is learnt
from two frames of a drive, and across drives: one step before a frame from which a goal takes n
steps, it takes n + 1, whichever drive showed the rest of the way. Errors of shorter ways count
more, because drives take detours. Half of the latents are predictions of the forward model, as
those are whose time a planner asks for.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import WorldModel
from smwm_ros.model import sidecar
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.goal_network import BATCH, GoalNetwork, RATE, reloaded, untrained
from smwm_ros.reporting import NoProgress, ShowProgress
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

NAME = 'time_to_go'
MOST = 50.0  # longest time [model steps]
SHORT = 0.9  # weight of errors of ways that are shorter than predicted; longer ones have the rest
FOLLOW = 0.02  # share of the way that the network of the targets follows in a step
JUDGED = 5000  # pairs of held-out frames that the time is tested with


class TimeToGo(GoalNetwork):
    """Latent and goal latent -> model steps from one to the other."""

    def __init__(self, latent: int) -> None:
        super().__init__(latent, 1)

    def forward(self, z: Tensor, goal: Tensor) -> Tensor:
        """Return the time (...,) from z (..., D) to goals (..., D)."""
        share = self.read(z, goal).squeeze(-1)
        return MOST * torch.sigmoid(share - 2)  # some 6 steps before the training


class Ranks(NamedTuple):
    """How well two measures order pairs of held-out frames by the recorded time between them."""

    time: float  # rank correlation with the recorded time
    latent: float  # that of the latent distance

    @property
    def better(self) -> bool:
        """Return whether the learnt time is the better one."""
        return self.time > self.latent


def learn(
    drives: RecordedDrives,
    model: WorldModel,
    steps: int,
    seed: int,
    progress: ShowProgress = NoProgress,
) -> TimeToGo:
    """Learn the time in `steps` gradient steps."""
    latents, block = drives.latents, drives.block
    starts = drives.windows(block)
    if not len(starts):
        raise DatasetError('no drive is longer than a model step, so no time can be learnt')
    head = untrained(TimeToGo, latents, seed)
    target = copy.deepcopy(head)
    predicted = _predicted(drives, model)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in progress(range(steps), desc='time to go', unit='step'):
        row = starts[torch.randint(len(starts), (BATCH,), generator=generator)]
        half = torch.rand(BATCH, 1, generator=generator) < 0.5
        z = torch.where(half, latents[row], predicted[row])
        goal, recorded = _goals(drives, row, generator)
        with torch.no_grad():
            onward = 1 + target(latents[row + block], goal)
            # A step leads past a goal that is nearer than a step.
            wanted = torch.where(recorded < 1, recorded, torch.minimum(recorded, onward))
        error = head(z, goal) - wanted.clamp(max=MOST)
        weight = torch.where(error > 0, SHORT, 1 - SHORT)
        loss = (weight * F.huber_loss(error, torch.zeros_like(error), reduction='none')).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for slow, now in zip(target.parameters(), head.parameters(), strict=True):
                slow.lerp_(now, FOLLOW)
    return head.eval().requires_grad_(False)


def _goals(
    drives: RecordedDrives, row: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a goal (n, D) for each row: later in its drive with the time (n,), or any, with inf."""
    count = len(row)
    ahead = (torch.rand(count, generator=generator) * (drives.left[row] + 1)).long()
    other = torch.randint(len(drives.goals), (count,), generator=generator)
    same = torch.rand(count, generator=generator) < 0.5
    goal = drives.goals[torch.where(same, row + ahead, other)]
    return goal, torch.where(same, ahead / drives.block, torch.inf)


@torch.inference_mode()
def _predicted(drives: RecordedDrives, model: WorldModel) -> Tensor:
    """Return each latent as it is predicted from a model step before, where that is possible."""
    latents = drives.latents.clone()
    if len(rows := drives.known_windows()):
        actions = drives.model_actions(rows)
        latents[rows + drives.block] = model.predict(drives.latents[rows], actions)
    return latents


@torch.inference_mode()
def judge(head: TimeToGo, drives: RecordedDrives) -> Ranks:
    """Compare the time and the latent distance on pairs of frames of drives."""
    generator = torch.Generator().manual_seed(0)
    starts = drives.windows(1)
    row = starts[torch.randint(len(starts), (JUDGED,), generator=generator)]
    ahead = 1 + (torch.rand(JUDGED, generator=generator) * drives.left[row]).long()
    z, goal = drives.latents[row], drives.goals[row + ahead]
    distance = torch.linalg.vector_norm(goal - z, dim=1)
    return Ranks(*(_rank_correlation(found, ahead) for found in (head(z, goal), distance)))


def _rank_correlation(found: Tensor, true: Tensor) -> float:
    """Return the correlation of ranks; equal numbers share the mean of their ranks."""
    ranks = np.zeros((2, len(true)))
    for rank, values in zip(ranks, (found, true), strict=True):
        _, group, size = np.unique(values.numpy(), return_inverse=True, return_counts=True)
        rank[:] = (np.cumsum(size) - (size - 1) / 2)[group]
    constant = bool((np.ptp(ranks, axis=1) == 0).any())
    return 0.0 if constant else float(np.asarray(np.corrcoef(ranks))[0, 1])


def save(folder: Path, head: TimeToGo, ranks: Ranks, info: dict[str, Any]) -> None:
    """Write the time beside its model."""
    sidecar.save(folder, NAME, head.state_dict(), {**info, **ranks._asdict()})


def load(folder: Path | None, needed_by: str) -> tuple[TimeToGo, Ranks]:
    """Read the time beside a model."""
    sizes: dict[str, tuple[int | str, ...]] = {'mean': ('D',), 'std': ('D',)}
    form = {'time': float, 'latent': float}
    tensors, meta = sidecar.load(folder, NAME, needed_by, sizes, form)
    head = reloaded(TimeToGo, tensors, folder, NAME)
    return head, Ranks(meta['time'], meta['latent'])
