# SPDX-License-Identifier: Apache-2.0
"""
Recorded drives as proposals: what was done where a drive went a similar way.

A stretch of a drive leads from one frame to a later one. The stretch of each length whose start,
end and change are nearest to the latent, the goal and the way between them proposes its actions to
a search. Nothing is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.model import sidecar
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.policy import STEPS_TO_GO
import torch
from torch import Tensor

NAME = 'drives'
MOST = 30_000  # frames that are kept


class EqualStretches(NamedTuple):
    """All stretches of one length; the number of a stretch is the row at which it starts."""

    ticks: int  # raw steps from start to end
    offset: Tensor  # (R - ticks,) part of the distance from any way; inf where there is none


class Retrieval:
    """Finds the stretches of recorded drives that are most like the way to a goal."""

    def __init__(self, drives: RecordedDrives) -> None:
        self.drives = drives
        known = drives.left.new_zeros(len(drives.left) + 1)  # rows before with known actions
        known[1:] = drives.actions.isfinite().all(dim=1).cumsum(dim=0)
        self._stretches = []
        for ticks in (steps * drives.block for steps in STEPS_TO_GO):
            start, end = drives.latents[:-ticks], drives.goals[ticks:]
            whole = drives.left[:-ticks] >= ticks
            whole &= known[ticks:-1] - known[: -ticks - 1] == ticks
            if bool(whole.any()):
                squares = start.square().sum(dim=1) + end.square().sum(dim=1)
                offset = squares - (start * end).sum(dim=1)
                self._stretches.append(EqualStretches(ticks, offset.where(whole, torch.inf)))
        if not self._stretches:
            raise DatasetError(
                'no drive has known actions to propose; label them (smwm label), or convert again '
                'with commands'
            )

    def to(self, device: torch.device) -> Retrieval:
        """Return a copy on a device."""
        return Retrieval(self.drives.to(device))

    def propose(self, z: Tensor, goal: Tensor, horizon: int, rest: Tensor) -> Tensor:
        """
        Return the plan of the nearest stretch of each length: (B, W), (B, D) -> (B, P, T, K*A).

        After the end of its stretch a plan rests; `rest` (A,) is the action without motion.
        """
        # With s and e for the ends of a stretch, half of |z - s|^2 + |goal - e|^2 and of the
        # squared difference of both is s.(goal - 2z) + e.(z - 2goal) + offset, and a constant.
        drives, z = self.drives, z[:, : goal.shape[1]]
        starts = (goal - 2 * z) @ drives.latents.T  # (B, R)
        ends = (z - 2 * goal) @ drives.goals.T
        ticks = torch.arange(horizon * drives.block, device=z.device)
        plans = []
        for length, offset in self._stretches:
            row = (starts[:, :-length] + ends[:, length:] + offset).argmin(dim=1, keepdim=True)
            inside = ticks < length
            actions = drives.actions[row + ticks * inside]  # (B, T*K, A)
            plans.append(torch.where(inside.unsqueeze(-1), actions, rest))
        return torch.stack(plans, dim=1).reshape(len(z), len(plans), horizon, -1)


def some_of(drives: RecordedDrives, most: int = MOST) -> RecordedDrives:
    """Return every n-th drive, so that there are about `most` frames."""
    return drives.only(drives.episode % (-(-len(drives.left) // most)) == 0)


def save(folder: Path, drives: RecordedDrives, info: dict[str, Any]) -> None:
    """Write drives beside the model that encoded them."""
    tensors = {'latents': drives.latents, 'actions': drives.actions, 'left': drives.left}
    if drives.resting is not None:
        tensors['resting'] = drives.resting
    if drives.states is not None:
        tensors['states'] = drives.states
    sidecar.save(folder, NAME, tensors, info)


def load(folder: Path | None, block: int, needed_by: str) -> Retrieval:
    """Read the drives beside a model to propose their actions."""
    return Retrieval(load_drives(folder, block, needed_by))


def load_drives(folder: Path | None, block: int, needed_by: str) -> RecordedDrives:
    """Read the drives beside a model."""
    sizes = {'latents': ('R', 'D'), 'actions': ('R', 'A'), 'left': ('R',)}
    tensors, _ = sidecar.load(folder, NAME, needed_by, sizes, {})
    latents, left = tensors['latents'], tensors['left']
    resting, states = tensors.get('resting'), tensors.get('states')  # older versions stored none
    ahead = torch.arange(len(left)) + left
    inside = left.dtype == torch.int64 and bool(((left >= 0) & (ahead < len(left))).all())
    fits = resting is None or resting.shape == latents.shape
    fits &= states is None or (states.ndim == 2 and len(states) == len(latents))
    if not (inside and fits):
        raise CheckpointError(f'{folder}: its {NAME} are damaged; make them again: smwm prepare')
    return RecordedDrives(latents, tensors['actions'], left, block, resting, states)
