# SPDX-License-Identifier: Apache-2.0
"""
Check whether a model fits the images and the commands of a recording, before a robot moves.

Each check says go or no-go, why, and what to do. Commands are compared with those that the inverse
model infers from the images: which delay fits best, how well, and by what factor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.config import Node
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.evaluation.fit_to_images import NOVEL, Novelty
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.encoding import encode_rows
from smwm_ros.text import count_of
import torch

WINDOWS = 512  # that are measured
LATEST = 5  # delays that are tried [ticks]
LEAST_R2 = 0.4  # of inferred commands, as a share of that in training
GAIN = (0.6, 1.6)  # factor between commands and motion that still counts as the same robot
KEPT = 0.8  # least share of the ticks that the converter keeps


class Check(NamedTuple):
    """One question and its answer."""

    name: str
    go: bool
    what: str  # what was found
    remedy: str = ''  # what to do about a no-go, or about a remark


class Commands(NamedTuple):
    """Recorded commands beside those that were inferred from images."""

    delay: int  # that fits best [ticks]
    r2: float  # of the mean command of a model step, at that delay
    gain: float  # inferred over recorded


def check_recording(data: TransitionDataset) -> Check:
    """Check whether the topics came often enough."""
    kept = sum(meta['rows'] for meta in data.metas.values())
    dropped = sum(sum(meta.get('dropped', {}).values()) for meta in data.metas.values())
    share = kept / max(kept + dropped, 1)
    return Check(
        'recording',
        share >= KEPT,
        f'{share:.0%} of {count_of(kept + dropped, "tick")} have an image in time',
        'see why with smwm convert: the camera may be too slow for robot.dt, or pause',
    )


def check_images(checkpoint: Checkpoint, data: TransitionDataset) -> Check:
    """Check whether the images look like those of the training."""
    novelty = Novelty(checkpoint)
    median = novelty.median(checkpoint, data, 'all')
    # Where the plan node would stop the robot, this is no go.
    limit = min(NOVEL, novelty.limit(Node.novel_limit))
    usual = 'of held-out frames are as unusual'
    share = (
        f'{novelty.share(median):.1%} {usual}'
        if novelty.calibrated
        else f'the album has no distances of held-out frames, so it is unknown how many {usual}; '
        'smwm prepare adds them'
    )
    return Check(
        'images',
        median <= limit,
        f'novelty {median:.1f}, expected at most {limit:.1f} (about 1: as in training); {share}',
        'adapt the model to these images: smwm adapt RUN --bag BAG',
    )


def check_commands(checkpoint: Checkpoint, data: TransitionDataset) -> list[Check]:
    """Check whether the images answer to the recorded commands as in the training."""
    found = compare_commands(checkpoint, data)
    if found is None:
        return [Check('commands', True, 'none were recorded, so nothing was checked')]
    usual = checkpoint.info.summary.get('inverse_r2', 1.0)
    follows = found.r2 >= LEAST_R2 * usual
    checks = [
        Check(
            'commands',
            follows,
            f'R2 {found.r2:.2f} of the commands inferred from images, expected at least '
            f'{LEAST_R2 * usual:.2f}',
            'after smwm adapt, compare fields, signs and units of robot.command; then train with '
            'more recordings of this robot, or smwm adapt --steps 100',
        )
    ]
    if follows:
        low, high = GAIN
        checks += [
            Check(
                'gain',
                low <= found.gain <= high,
                f'the robot moves {found.gain:.2f} times as far as commanded, by the measure of '
                f'the training; expected {low} to {high}',
                'check units and limits of robot.command, or train with recordings of this robot',
            ),
            Check(
                'delay',
                True,
                f'{count_of(found.delay, "control period")} from command to motion',
                f'convert with dataset.command_delay={_later(checkpoint, found.delay):g}'
                if found.delay
                else '',
            ),
        ]
    return checks


def _later(checkpoint: Checkpoint, delay: int) -> float:
    """Return the delay of the training, and so many ticks more [s]."""
    return checkpoint.dataset.command_delay + delay * checkpoint.robot.dt


@torch.inference_mode()
def compare_commands(checkpoint: Checkpoint, data: TransitionDataset) -> Commands | None:
    """Compare recorded commands with inferred ones, at each delay; None without commands."""
    block = data.info.action_block
    starts = evenly_spaced(data.starts('all', block + LATEST), WINDOWS)
    if len(starts) < 2:
        return None
    frames = starts + LATEST  # actions up to so many ticks before are known
    z, then = (encode_rows(checkpoint.model, data, frames + ahead) for ahead in (0, block))
    inferred = checkpoint.model.infer(z, then).numpy().reshape(len(starts), block, -1)
    read = inferred.mean(axis=1)

    def at(delay: int) -> tuple[float, float]:
        ticks = frames[:, None] - delay + np.arange(block)
        recorded = checkpoint.scaler.normalise(data.actions(ticks)).mean(axis=1)
        return _r2(read, recorded), _gain(read, recorded)

    found = [at(delay) for delay in range(LATEST + 1)]
    best = int(np.argmax([r2 for r2, _ in found]))
    return Commands(best, *found[best])


def _r2(read: Array, recorded: Array) -> float:
    """Return R2 over all fields."""
    variance = recorded.var(axis=0).sum()
    return float(1 - ((read - recorded) ** 2).mean(axis=0).sum() / max(variance, 1e-12))


def _gain(read: Array, recorded: Array) -> float:
    """Return the slope of the regression of inferred on recorded commands."""
    away = recorded - recorded.mean(axis=0)
    return float((away * read).sum() / max((away**2).sum(), 1e-12))
