# SPDX-License-Identifier: Apache-2.0
"""Batches of short windows, which depend on the dataset, the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable
import copy
import logging
import math
from typing import NamedTuple, TypeAlias

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.observations import observations
from smwm_ros.data.split import cuttable, Episode, gap_of
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import ActionScaler, Array, GoalAhead, Obs, Window
from smwm_ros.text import count_of
from smwm_ros.training.goals import raw_steps_left, with_goals
from smwm_ros.training.state_scale import with_velocities
import torch
from torch import Tensor

_log = logging.getLogger(__name__)

Sampler: TypeAlias = Callable[[int], Array]  # step, from 0 -> rows of its batch

CUT = (0.6, 0.7)  # of an episode: where its training part ends and its held-out part begins


class Batches(NamedTuple):
    """A dataset, cut into normalised windows."""

    dataset: TransitionDataset
    scaler: ActionScaler
    device: torch.device
    steps: int = 1  # T, the model steps in a window
    unlabelled: bool = False  # also windows with unknown actions, which are NaN
    stack: int = 1  # H, the images in an observation
    velocities: tuple[int, ...] = ()  # columns of the state whose velocity is derived

    def starts(self, split: str) -> Array:
        """Return the rows at which a whole window can start."""
        ticks = self.steps * self.dataset.info.action_block
        return self.dataset.starts(split, ticks, self.unlabelled)

    @property
    def weighted(self) -> bool:
        """Return whether a window may have actions with a confidence below 1."""
        return bool(self.dataset.labels) or (self.unlabelled and self.dataset.unknown > 0)

    def normalised(self, rows: Array) -> Array:
        """Return the normalised raw actions (..., A) of rows, float32."""
        return self.scaler.normalise(self.dataset.actions(rows)).astype(np.float32)

    def states(self, rows: Array) -> Array:
        """Return measured states (..., P), then the velocities of some of its fields."""
        return with_velocities(self.dataset, rows, self.velocities)

    def at(self, starts: Array, share: slice = slice(None)) -> Window:
        """
        Return the windows that start at these rows, with images for a share of them alone.

        `starts` is (B,), or (2, B) with the rows of the goals.
        """
        if starts.ndim == 2:
            return self.at(starts[0], share)._replace(goal=self._goals(starts, share))
        rows = self.rows(starts)
        mine = rows[:, share]
        frames = observations(self.dataset, mine.ravel(), self.stack)  # (n, S, S, 3*H)
        pixels = torch.from_numpy(frames.reshape(*mine.shape, *frames.shape[1:])).to(self.device)
        return Window(
            Obs(
                pixels.permute(0, 1, 4, 2, 3),
                torch.from_numpy(self.states(rows)).to(self.device),
            ),
            *self.sent(rows),
        )

    def rows(self, starts: Array) -> Array:
        """Return the rows (T+1, B) of the frames of the windows that start at rows (B,)."""
        # Time comes first, so that one frame of all windows is a contiguous block: no copies.
        rows: Array = starts + self.dataset.info.action_block * np.arange(self.steps + 1)[:, None]
        return rows

    def sent(self, rows: Array) -> tuple[Tensor, Tensor | None]:
        """Return actions (T, B, K*A) and weights (T, B) between frames; None where all are 1."""
        ticks = rows[:-1, :, None] + np.arange(self.dataset.info.action_block)  # (T, B, K)
        action = torch.from_numpy(self.normalised(ticks)).flatten(2).to(self.device)
        if not self.weighted:
            return action, None
        weight = self.dataset.confidence(ticks).min(axis=2)
        return action, torch.from_numpy(weight).to(self.device)

    def held_out(self, starts: Array, reach: int) -> Window:
        """Return the windows at these rows, with goals for an actor where `reach` is not 0."""
        return self.at(with_goals(starts, self.dataset, reach, [0]) if reach else starts)

    def _goals(self, rows: Array, share: slice) -> GoalAhead:
        """Return goals, as pictures: in all images of one, the robot is at the same place."""
        frames = self.dataset.pixels(rows[1, share])
        pixels = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2)
        left = raw_steps_left(rows, self.steps, self.dataset.info.action_block)
        return GoalAhead(
            pixels.repeat(1, self.stack, 1, 1), torch.from_numpy(left).to(self.device)
        )


class TrainingData(NamedTuple):
    """What a training reads."""

    batches: Batches
    sampler: Sampler
    validation: Window | None  # only the leader validates


class Shuffle:
    """Orders the rows anew in each epoch, and returns those of a step."""

    def __init__(self, rows: Array, batch: int, seed: int) -> None:
        self._rows, self._batch, self._seed = rows, batch, seed
        self._orders: dict[int, Array] = {}

    def __call__(self, step: int) -> Array:
        """Return the rows of a step; a batch may reach into the next epoch."""
        place = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(place, len(self._rows))
        self._orders = {int(epoch): self._order(int(epoch)) for epoch in np.unique(epochs)}
        order = [self._orders[int(epoch)][at] for epoch, at in zip(epochs, places, strict=True)]
        rows: Array = self._rows[order]
        return rows

    def _order(self, epoch: int) -> Array:
        if epoch in self._orders:
            return self._orders[epoch]
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))


def check(
    dataset: TransitionDataset,
    steps: int,
    needs_state: bool = False,
    warn: bool = True,
    unlabelled: bool = False,
    stack: int = 1,
) -> None:
    """
    Raise a DatasetError if a dataset is too small, or its actions are unknown or constant.

    With `unlabelled`, as for `Batches`, actions may be unknown.
    """
    where, count = dataset.folder, len(dataset.drives)
    ticks = steps * dataset.info.action_block
    enough = max(cuttable(gap_of(dataset.info.action_block, dataset.info.spec.dt)), 4 * ticks)
    for split, name in (('train', 'training'), ('val', 'held-out')):
        if not len(dataset.starts(split, ticks, unlabelled=True)):
            raise DatasetError(
                f'{where}: no {name} transitions in {count_of(count, "episode")}; expected at '
                f'least two longer than {count_of(ticks, "tick")} '
                f'({count_of(steps, "model step")} x '
                f'dataset.action_block {dataset.info.action_block}) or one of {enough}, and '
                'dataset.val_share above 0'
                + ('; or a smaller train.unroll, or model.history of preset tiny' * (steps > 1))
            )
    longest = max(drive.stop - drive.start for drive in dataset.drives)
    if longest < stack + ticks:
        raise DatasetError(
            f'{where}: model.history: {stack}, but the longest episode has '
            f'{count_of(longest, "tick")}; expected one of at least {stack + ticks}, or a smaller '
            'model.history'
        )
    if not unlabelled:
        require_known(dataset, ticks, 'train', 'val')
        _report_left_out(dataset, ticks, warn)
    rows = np.concatenate([np.arange(e.start, e.stop) for e in dataset.episodes])
    actions = dataset.actions(rows[dataset.confidence(rows) > 0])
    if needs_state:
        _require_state(dataset, rows, warn)
    if not len(actions):
        return
    constant = np.ptp(actions, axis=0) == 0
    if constant.all():
        raise DatasetError(
            f'{where}: all actions are the same ({actions[0].tolist()}); expected drives in which '
            'the commands vary; record again'
        )
    for name in np.array(dataset.info.spec.fields)[constant & warn]:
        _log.warning('%s: %s never changes; plans keep it constant', where, name)


def require_known(dataset: TransitionDataset, ticks: int, *splits: str) -> None:
    """Raise a DatasetError if no window of so many ticks has known actions, in each split."""
    names = {'all': '', 'train': 'training ', 'val': 'held-out '}
    for split in ('all', *splits):
        if len(dataset.starts(split, ticks)):
            continue
        raise DatasetError(
            f'{dataset.folder}: no {names[split]}transition has a known action '
            f'({count_of(dataset.unknown, "tick")} are unlabelled); train a latent-action model '
            f'(smwm train {dataset.folder} ... model.kind=latent_action) and label them (smwm '
            'label), or convert again with commands'
        )


def _report_left_out(dataset: TransitionDataset, ticks: int, warn: bool) -> None:
    """Log how many training transitions are left out because an action is unknown."""
    every = len(dataset.starts('train', ticks, unlabelled=True))
    left_out = every - len(dataset.starts('train', ticks))
    if left_out and warn:
        _log.warning(
            '%s: %d of %s are left out, because an action is unknown; smwm label adds actions',
            dataset.folder,
            left_out,
            count_of(every, 'training transition'),
        )


def with_held_out(
    data: TransitionDataset, unlabelled: bool = False
) -> tuple[TransitionDataset, str]:
    """
    Return a dataset with training and held-out episodes, and a note if it had to be cut.

    In a dataset without such a split, such as a single recording, each episode is cut into two
    parts. The gap between them keeps the same moment out of both. With `unlabelled`, as for
    `Batches`, actions may be unknown.
    """
    if not unlabelled:
        require_known(data, data.info.action_block)
    if all(len(data.starts(split, unlabelled=unlabelled)) for split in ('train', 'val')):
        return data, ''
    parts = []
    for start, stop, _ in data.episodes:
        first, second = (start + round(share * (stop - start)) for share in CUT)
        parts += [Episode(start, first, 'train'), Episode(second, stop, 'val')]
    halves = copy.copy(data)
    halves.episodes = tuple(parts)
    what = 'episode with known actions' if data.unknown and not unlabelled else 'episode'
    if not all(len(halves.starts(split, unlabelled=unlabelled)) for split in ('train', 'val')):
        longest = max((stop - start for start, stop, _ in data.episodes), default=0)
        raise DatasetError(
            f'{data.folder}: cannot measure a model on it: no {what} is held out, and '
            f'the longest has {count_of(longest, "tick")}; expected one of at least '
            f'{math.ceil((data.info.action_block + 2) / (1 - CUT[1]))}, to be cut in two parts'
        )
    count = len(data.episodes)
    return halves, (
        f'no {what} of the dataset is held out, so '
        f'{"the only one" if count == 1 else f"each of {count}"} was cut: probes were fitted to '
        f'its first {CUT[0]:.0%}, and the model was measured on its last {1 - CUT[1]:.0%}'
    )


def _require_state(dataset: TransitionDataset, rows: Array, warn: bool) -> None:
    """Raise a DatasetError if the measured state is missing; warn if some of it is."""
    where = dataset.folder
    if not dataset.info.state_size:
        raise DatasetError(
            f'{where}: has no measured state, which model.kind state_align needs; choose another '
            'kind, or convert again with robot.state.topic'
        )
    for split, name in (('train', 'training'), ('val', 'held-out')):
        mine = [np.arange(e.start, e.stop) for e in dataset.episodes if e.split == split]
        if not np.isfinite(dataset.states(np.concatenate(mine))).any():
            raise DatasetError(
                f'{where}: no {name} tick has a measured state, which model.kind state_align '
                'needs; choose another kind, or convert again with a larger '
                'dataset.max_frame_age'
            )
    unknown = int((~dataset.measured(rows)).sum())
    if unknown and warn:
        _log.warning(
            '%s: no measured state at %d of %s; the state loss ignores these',
            where,
            unknown,
            count_of(len(rows), 'tick'),
        )
