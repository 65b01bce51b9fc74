# SPDX-License-Identifier: Apache-2.0
"""
Labelled moments for a latent-action model: which ground it, and which measure it.

A moment is a transition whose actions were recorded. A fifth of the moments is held out: training
sees neither their images nor their actions, so that they judge what the model infers elsewhere.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import Array, Window
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.device import seeded
from smwm_ros.model.regression import r2
from smwm_ros.text import count_of
from smwm_ros.training.batches import Batches, Sampler, Shuffle
import torch
from torch import Tensor

_log = logging.getLogger(__name__)

FEWEST = 20  # labelled moments that can ground a model
HELD_OUT = 5  # one of so many moments is held out
SHARE = 0.25  # of a batch that is labelled, where labels are rarer than that
MOST = 2000  # moments that a controller and a decoder are fitted to
FRAMES = 1000  # images that the encoder is fitted to
PART = 128  # moments encoded at once
UNGROUNDED = (
    'no transition is labelled: latent actions will describe whatever moves, which may not be the '
    'robot, and no command can be planned; label some moments (smwm label DATASET RUN --ask)'
)
STILL = 1e-7  # mean squared change of the map below which nothing moves


class Anchors(NamedTuple):
    """Rows at which labelled moments start."""

    train: Array
    held_out: Array

    def __len__(self) -> int:
        """Return the number of moments."""
        return len(self.train) + len(self.held_out)


def choose_anchors(dataset: TransitionDataset) -> Anchors:
    """Return the labelled moments of a dataset; raise if there are some, but too few."""
    block = dataset.info.action_block
    train, val = (labelled_moments(dataset, split) for split in ('train', 'val'))
    held_out = np.concatenate([train[_held_out(train, block)], val])
    anchors = Anchors(apart(train, block, held_out, block), np.sort(held_out))
    if 0 < len(train) + len(val) < FEWEST or (len(held_out) and not len(anchors.train)):
        raise DatasetError(
            f'{dataset.folder}: {count_of(len(train) + len(val), "labelled transition")}, '
            f'{len(anchors.train)} of them for training; expected at least {FEWEST} in several '
            'places to ground latent actions, or none; smwm label --ask proposes moments to label'
        )
    return anchors


def _held_out(rows: Array, block: int) -> Array:
    """Return which of the rows at which labelled moments start are held out (n,) bool."""
    # Moments that share frames make a stretch.
    stretch = np.cumsum(np.diff(rows, prepend=rows[:1]) > block)
    lengths = np.bincount(stretch)
    short = max(2 * block, HELD_OUT)  # too short to be cut in two
    if len(lengths) >= 2 * HELD_OUT or (len(lengths) > 1 and lengths.max() <= short):
        last: Array = (stretch[-1] - stretch) % HELD_OUT == 0
        return last
    place = np.arange(len(rows)) - np.concatenate([[0], np.cumsum(lengths)])[stretch]
    end: Array = place >= lengths[stretch] - lengths[stretch] // HELD_OUT
    return end


def apart(rows: Array, ticks: int, held_out: Array, block: int) -> Array:
    """Return the rows whose windows of so many ticks share no frame with held-out moments."""
    ends = np.append(np.sort(held_out), np.iinfo(np.int64).max)
    following = ends[np.searchsorted(ends, rows - block)]  # the first that does not end before
    free: Array = rows[following > rows + ticks]
    return free


def labelled_moments(dataset: TransitionDataset, split: str) -> Array:
    """Return the rows of a split at which transitions start whose actions are certain."""
    rows = dataset.starts(split)
    ticks = rows[:, None] + np.arange(dataset.info.action_block)
    known: Array = rows[(dataset.confidence(ticks) == 1).all(axis=1)]
    return known


class AnchoredShuffle:
    """Orders the rows anew in each epoch; a part of each batch is labelled."""

    def __init__(self, rows: Array, labelled: Array, batch: int, seed: int) -> None:
        count = round(SHARE * batch) if 0 < len(labelled) < SHARE * len(rows) else 0
        self._all = Shuffle(rows, batch - count, seed)
        self._labelled = Shuffle(labelled, count, seed + 1) if count else None

    def __call__(self, step: int) -> Array:
        """Return the rows of a step, the labelled ones first."""
        rows = self._all(step)
        return np.concatenate([self._labelled(step), rows]) if self._labelled else rows


class Grounding:
    """A latent-action model, and the moments that ground it."""

    def __init__(self, model: LatentActionModel, batches: Batches, warn: bool) -> None:
        self._model, self._batches = model, batches
        self._anchors = choose_anchors(batches.dataset)
        if not len(self._anchors):
            if model.trains_encoder:
                raise DatasetError(
                    f'{batches.dataset.folder}: has no labelled transition, and without labels an '
                    'encoder that is trained end to end collapses; use '
                    'model.latent_action.encoder=patch_pca, or label some moments'
                )
            if warn:
                _log.warning('%s: %s', batches.dataset.folder, UNGROUNDED)
        starts, block = batches.starts('train'), batches.dataset.info.action_block
        self._rows = apart(starts, batches.steps * block, self._anchors.held_out, block)
        self._fit_encoder()

    def sampler(self, settings: config.Train) -> Sampler:
        """Return what draws the rows of each step."""
        labelled = np.intersect1d(self._rows, self._anchors.train)
        return AnchoredShuffle(self._rows, labelled, settings.batch, settings.seed)

    def validation(self, count: int) -> Window:
        """Return held-out windows, of which up to a half are labelled moments."""
        labelled = np.intersect1d(self._batches.starts('all'), self._anchors.held_out)
        labelled = evenly_spaced(labelled, count // 2)
        others = evenly_spaced(self._batches.starts('val'), count - len(labelled))
        return self._batches.at(np.concatenate([labelled, others]))

    @torch.no_grad()
    def _fit_encoder(self) -> None:
        """Fit a frozen encoder to the training images, and measure how much its maps change."""
        window = self._batches.at(evenly_spaced(self._rows, FRAMES))
        self._model.fit_encoder(window.obs.pixels[0], window.obs.pixels[1])
        motion = float(self._model.motion)
        if motion < STILL:
            raise DatasetError(
                f'{self._batches.dataset.folder}: nothing moves from one frame to the next (the '
                f'map changes by {motion:.2g} of its variance); expected images of a moving robot'
            )

    @torch.no_grad()
    def fit_actions(self, quick: bool = False) -> dict[str, Any]:
        """
        Fit priors, decoder, controller; return R2 on the held-out moments by candidate.

        With `quick`, as for checkpoints that a better one may replace, only linear ones.
        """
        self._fit_priors(quick)
        if not len(self._anchors):
            return {}
        model, training = self._model, self._model.training
        model.eval()
        train, held_out = (evenly_spaced(rows, MOST) for rows in self._anchors)
        rows = np.sort(np.concatenate([train, held_out]))
        z, x, actions = self._read(rows)
        judges = torch.from_numpy(np.isin(rows, held_out)).to(z.device)
        with seeded(0, z.device):  # a run that resumes draws the same weights
            decoder = model.decoder.fit(z, x, actions, judges, quick)
            controller = model.controller.fit(actions, x, z, judges, quick)
        found = {
            'moments': len(rows),
            'held_out': len(held_out),
            'r2': self._r2_of_means(decoder.held_out, actions[judges]),
            'decoder': decoder.scores,
            'controller': controller.scores,
        }
        model.train(training)
        return found

    def _r2_of_means(self, read: Tensor, true: Tensor) -> float:
        """
        Return R2 of the mean command of a model step, for actions (n, K*A).

        The mean, since two frames show the motion between them but not the order of the commands.
        """
        block = self._batches.dataset.info.action_block
        read, true = (part.reshape(len(part), block, -1).mean(dim=1) for part in (read, true))
        scores = r2(read.cpu().numpy(), true.cpu().numpy())
        return float(scores[np.isfinite(scores)].mean()) if np.isfinite(scores).any() else 0.0

    def _fit_priors(self, quick: bool) -> None:
        """Fit the priors to the latent actions of training transitions."""
        model, training = self._model, self._model.training
        model.eval()
        z, x, _ = self._read(evenly_spaced(self._rows, MOST))
        with seeded(0, z.device):  # as for the decoder
            model.gaussian.fit(z)
            model.flow.fit(z, x, quick)
        model.train(training)

    def _read(self, rows: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Return latent actions (n, Z), states (n, X) and actions (n, K*A) of moments."""
        device = self._model.motion.device  # in the end not that of the batches
        single = self._batches._replace(steps=1, device=device)
        parts = []
        for part in np.array_split(rows, max(len(rows) // PART, 1)):
            window = single.at(part)
            now, then = self._model.maps(window)
            code = self._model.latent_action(now, then)
            parts.append((code.mean, self._model.state(now), window.action[0]))
        z, x, actions = (torch.cat(column) for column in zip(*parts, strict=True))
        return z, x, actions
