# SPDX-License-Identifier: Apache-2.0
"""The latents and actions of recorded drives, from which roadmaps and policies are made."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.labels import require_whole
from smwm_ros.errors import DatasetError
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import pick_device
from smwm_ros.model.encoding import encode_rows
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of
import torch
from torch import Tensor

MOST = 100_000  # frames that are encoded; of more, some episodes are left out


class RecordedDrives(NamedTuple):
    """Rows of some episodes, one episode after another."""

    latents: Tensor  # (R, D)
    actions: Tensor  # (R, A) normalised, NaN where unknown
    left: Tensor  # (R,) int64: the rows of the episode after this one
    block: int  # K, raw actions in a model step
    resting: Tensor | None = None  # (R, D) of the same images, if nothing moved; None: no change
    states: Tensor | None = None  # (R, P) measured, NaN where unknown; None: not stored
    rows: Tensor | None = None  # (R,) int64: of the dataset; None: not known

    @property
    def goals(self) -> Tensor:
        """Return the latents (R, D) of the images as goals: pictures, in which nothing moves."""
        return self.latents if self.resting is None else self.resting

    def to(self, device: torch.device) -> RecordedDrives:
        """Return a copy on a device."""
        latents, actions, left = (part.to(device) for part in self[:3])
        others = (part if part is None else part.to(device) for part in self[4:])
        return RecordedDrives(latents, actions, left, self.block, *others)

    def only(self, kept: Tensor) -> RecordedDrives:
        """Return the rows of a mask (R,), which has to keep or drop whole episodes."""
        latents, actions, left = (part[kept] for part in self[:3])
        others = (part if part is None else part[kept] for part in self[4:])
        return RecordedDrives(latents, actions, left, self.block, *others)

    @property
    def episode(self) -> Tensor:
        """Return the number of the episode of each row (R,), from 0."""
        last = (self.left == 0).long()
        return last.cumsum(dim=0) - last

    def windows(self, reach: int) -> Tensor:
        """Return the rows that have at least `reach` rows of their episode after them."""
        return torch.nonzero(self.left >= reach).squeeze(1)

    def known_windows(self) -> Tensor:
        """Return the rows that begin a model step whose raw actions are all known."""
        rows = self.windows(self.block)
        known = self.actions.isfinite().all(dim=1)
        return rows[known[rows[:, None] + torch.arange(self.block)].all(dim=1)]

    def model_actions(self, rows: Tensor) -> Tensor:
        """Return the raw actions (n, K*A) of the model steps that begin at rows (n,)."""
        return self.actions[rows[:, None] + torch.arange(self.block)].flatten(1)

    @property
    def step(self) -> float:
        """Return the median latent distance of a model step."""
        start = self.windows(self.block)
        moves = self.latents[start + self.block] - self.latents[start]
        return float(torch.linalg.vector_norm(moves, dim=1).median())


@torch.inference_mode()
def encode_drives(
    checkpoint: Checkpoint,
    dataset: TransitionDataset,
    split: str = 'train',
    progress: ShowProgress = NoProgress,
    most: int = MOST,
) -> RecordedDrives:
    """Encode the episodes of a split, or every n-th one where there are more frames than most."""
    episodes = [episode for episode in dataset.episodes if episode.split == split]
    total = sum(episode.stop - episode.start for episode in episodes)
    episodes = episodes[:: -(-total // most) or 1]
    runs = [np.arange(episode.start, episode.stop) for episode in episodes]
    rows = np.concatenate([np.zeros(0, np.int64), *runs])
    left = np.concatenate([np.zeros(0, np.int64), *(run[-1] - run for run in runs)])
    block = checkpoint.action_block
    if not (left >= block).any():
        raise DatasetError(
            f'{dataset.folder}: no {split} episode is longer than {count_of(block, "tick")}'
        )
    # The networks of the paper take seconds on a GPU and many minutes on a CPU.
    device = pick_device('auto')
    show = partial(progress, desc='encode', unit='batch')
    model = checkpoint.on(device).model
    latents = encode_rows(model, dataset, rows, show)
    resting = None
    if checkpoint.model_config.stack > 1:
        resting = encode_rows(model, dataset, rows, show, at_rest=True)
    with np.errstate(over='ignore'):
        actions = checkpoint.scaler.normalise(dataset.actions(rows)).astype(np.float32)
    require_whole(dataset.folder, actions)  # large ones are not, in units of the checkpoint
    return RecordedDrives(
        latents,
        torch.from_numpy(actions),
        torch.from_numpy(left),
        block,
        resting,
        torch.from_numpy(dataset.states(rows)) if dataset.info.state_size else None,
        torch.from_numpy(rows),
    )


def limits(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest normalised actions of a model step, (K*A,) each."""
    spec, block = checkpoint.spec, checkpoint.action_block
    low, high = (
        torch.from_numpy(checkpoint.scaler.normalise(np.array(limit))).float().repeat(block)
        for limit in (spec.low, spec.high)
    )
    return low, high
