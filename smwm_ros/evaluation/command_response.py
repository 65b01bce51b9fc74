# SPDX-License-Identifier: Apache-2.0
"""
Measure how the motion in the images answers to recorded commands, field by field.

Commands are compared with those that the inverse model infers from the images: which delay fits
best, how well, by what factor, and whether a field answers to the command of another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.config import FIELD_GAINS
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.encoding import encode_rows
import torch

WINDOWS = 512  # that are measured
LATEST = 15  # [ticks]
DELAYS = range(LATEST + 1)  # that are tried [ticks]
CLEAR = 0.6  # correlation from which a motion follows a command for certain
LEAST_MOTION = 0.1  # standard deviation of a command that is measured [that of the training]


class Response(NamedTuple):
    """How the motion in the images answers to one field of the command."""

    name: str
    delay: int  # that fits best [ticks]
    gain: float  # inferred over recorded, at that delay
    known: bool  # the field varied, and its motion answers to it


class Commands(NamedTuple):
    """Recorded commands beside those that were inferred from images."""

    delay: int  # that fits best, over all fields [ticks]
    r2: float  # of the mean command of a model step, at that delay
    gain: float  # inferred over recorded
    fields: tuple[Response, ...]
    strange: tuple[str, ...]  # fields whose motion answers to others, or the other way


def actuation(checkpoint: Checkpoint, found: Commands) -> dict[str, Any]:
    """
    Return the knobs of section arena with which an arena answers as the robot does.

    A field that was not measured has the delay of all fields, and gain 1. Gains are limited to
    what arena.field_gain may be.
    """
    trained = round(checkpoint.dataset.command_delay / checkpoint.robot.dt)
    delays = [max(trained + (one.delay if one.known else found.delay), 0) for one in found.fields]
    low, high = FIELD_GAINS
    gains = [min(max(round(one.gain, 3), low), high) if one.known else 1.0 for one in found.fields]
    return {'field_delay': delays, 'field_gain': gains}


def later(checkpoint: Checkpoint, delay: int) -> float:
    """Return the delay of the training, and so many ticks more [s]."""
    return checkpoint.dataset.command_delay + delay * checkpoint.robot.dt


@torch.inference_mode()
def compare_commands(checkpoint: Checkpoint, data: TransitionDataset) -> Commands | None:
    """Compare recorded commands with inferred ones, at each delay; None if none vary."""
    block = data.info.action_block
    starts = evenly_spaced(data.starts('all', block + LATEST), WINDOWS)
    if len(starts) < 2:
        return None
    frames = starts + LATEST  # actions up to so many ticks before are known
    z, then = (encode_rows(checkpoint.model, data, frames + ahead) for ahead in (0, block))
    inferred = checkpoint.model.infer(z, then).numpy().reshape(len(starts), block, -1)
    read = inferred.mean(axis=1)

    recorded = np.stack([_recorded(checkpoint, data, frames - delay) for delay in DELAYS])
    if (recorded[0].std(axis=0) < LEAST_MOTION).all():
        return None
    found = [(_r2(read, one), _gain(read, one)) for one in recorded]
    best = int(np.argmax([r2 for r2, _ in found]))
    names = data.info.spec.fields
    fields = [
        _response(name, read[:, field, None], recorded[:, :, field, None], best)
        for field, name in enumerate(names)
    ]
    return Commands(best, *found[best], tuple(fields), tuple(_strange(names, read, recorded)))


def _recorded(checkpoint: Checkpoint, data: TransitionDataset, rows: Array) -> Array:
    """Return the mean normalised command (n, A) of the model steps at some rows."""
    ticks = rows[:, None] + np.arange(data.info.action_block)
    mean: Array = checkpoint.scaler.normalise(data.actions(ticks)).mean(axis=1)
    return mean


def _response(name: str, read: Array, recorded: Array, usual: int) -> Response:
    """Compare one field (n, 1) with its command at each delay (delays, n, 1)."""
    if recorded[usual].std() < LEAST_MOTION:
        return Response(name, usual, 1.0, False)
    scores = [_r2(read, one) for one in recorded]
    best = int(np.argmax(scores))
    gain = _gain(read, recorded[best])
    return Response(name, best, gain, scores[best] > 0 and gain > 0)


def _strange(names: Sequence[str], read: Array, recorded: Array) -> Iterator[str]:
    """Yield which fields answer to the commands of another one, or move against their own."""
    # (motion, command): the correlation at the delay where it is largest
    tried = np.stack([_correlation(read, one) for one in recorded])
    place = np.abs(tried).argmax(axis=0)
    found = np.take_along_axis(tried, place[None], axis=0)[0]
    for field, name in enumerate(names):
        other = int(np.abs(found[field]).argmax())
        own, best = abs(found[field, field]), abs(found[field, other])
        if other != field and best > max(CLEAR, 2 * own):
            yield (
                f'wrong order: the motion of {name} follows the command {names[other]} '
                f'(correlation {found[field, other]:.2f}, own command {found[field, field]:.2f})'
            )
        elif found[field, field] < -CLEAR:
            yield (
                f'wrong sign: {name} moves against its command '
                f'(correlation {found[field, field]:.2f})'
            )


def _correlation(read: Array, recorded: Array) -> Array:
    """Return the correlation (A, A) of each motion with each command; 0 where one is constant."""
    parts = []
    for one in (read, recorded):
        away = one - one.mean(axis=0)
        parts.append(away / np.maximum(np.sqrt((away**2).sum(axis=0)), 1e-9))
    matrix: Array = parts[0].T @ parts[1]
    return matrix


def _r2(read: Array, recorded: Array) -> float:
    """Return R2 over all fields."""
    variance = recorded.var(axis=0).sum()
    return float(1 - ((read - recorded) ** 2).mean(axis=0).sum() / max(variance, 1e-12))


def _gain(read: Array, recorded: Array) -> float:
    """Return the slope of the regression of inferred on recorded commands."""
    away = recorded - recorded.mean(axis=0)
    return float((away * read).sum() / max((away**2).sum(), 1e-12))
