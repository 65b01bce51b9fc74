# SPDX-License-Identifier: Apache-2.0
"""
The support of a model: how far predicted latents are from all recorded ones.

A forward model errs where few drives went. Where a robot pushes against a wall beside a door, it
may predict that the robot comes out on the other side, and a search finds each such mistake. These
predictions lie farther from the recorded latents than the latents of other drives do.
"""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.errors import DatasetError
from smwm_ros.planning.drives import RecordedDrives
import torch
from torch import Tensor

MOST = 4000  # recorded latents; a search compares every prediction with all of them
HELD_OUT = 10  # every so many drives, one shows which distances are usual
USUAL = 0.9  # share of the latents of other drives that are no farther than `usual`


class Support(NamedTuple):
    """Recorded latents, and the distance from them that is still usual."""

    latents: Tensor  # (M, D)
    usual: float

    def excess(self, z: Tensor) -> Tensor:
        """Return how far latents (..., D) are outside the support (...,): 0 inside it."""
        apart = torch.cdist(z.reshape(-1, z.shape[-1]), self.latents).amin(dim=1)
        return (apart / self.usual - 1).clamp(min=0).view(z.shape[:-1])

    def to(self, device: torch.device) -> Support:
        """Return a copy on a device."""
        return self._replace(latents=self.latents.to(device))


def support_of(drives: RecordedDrives, most: int = MOST) -> Support:
    """Return the support of drives: about `most` of their latents, at even intervals."""
    number = drives.episode
    others = number % HELD_OUT == HELD_OUT - 1
    if not others.any():
        raise DatasetError(
            f'planner.novel_weight: needs {HELD_OUT} recorded drives or more, found '
            f'{int(number.max()) + 1}; record more, then run smwm prepare'
        )
    latents, held_out = (
        part[:: -(-len(part) // most)]
        for part in (drives.latents[~others], drives.latents[others])
    )
    usual = float(torch.quantile(torch.cdist(held_out, latents).amin(dim=1), USUAL))
    if not usual > 0:
        raise DatasetError(
            'planner.novel_weight: the latents of different drives are equal; smwm inspect says '
            'whether the latent has collapsed'
        )
    return Support(latents, usual)
