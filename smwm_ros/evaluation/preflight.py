# SPDX-License-Identifier: Apache-2.0
"""
Check whether a model fits the images and the commands of a recording, before a robot moves.

Each check says go or no-go, why, and what to do. Commands are compared with those that the inverse
model infers from the images: which delay fits best, how well, and by what factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

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
LATEST = 15  # [ticks]
DELAYS = range(LATEST + 1)  # that are tried [ticks]
LEAST_R2 = 0.4  # of inferred commands, as a share of that in training
GAIN = (0.25, 2.0)  # factor between commands and motion with which plans still reach goals
USUAL_GAIN = (0.6, 1.6)  # beyond it is a remark
CLEAR = 0.6  # correlation from which a motion follows a command for certain
LEAST_MOTION = 0.1  # standard deviation of a command that is measured [that of the training]
LATE = 2  # model steps by which a delay may differ: plans are corrected meanwhile
KEPT = 0.8  # least share of the ticks that the converter keeps


class Check(NamedTuple):
    """One question and its answer."""

    name: str
    go: bool
    what: str  # what was found
    remedy: str = ''  # what to do about a no-go, or about a remark


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


def judged(name: str, go: bool, what: str, remedy: str) -> Check:
    """Return a check with a remedy only if it says no-go."""
    return Check(name, go, what, '' if go else remedy)


def check_recording(data: TransitionDataset) -> Check:
    """Check whether the topics came often enough."""
    kept = sum(meta['rows'] for meta in data.metas.values())
    dropped = sum(sum(meta.get('dropped', {}).values()) for meta in data.metas.values())
    share = kept / max(kept + dropped, 1)
    return judged(
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
    return judged(
        'images',
        median <= limit,
        f'novelty {median:.1f}, expected at most {limit:.1f} (about 1: as in training); {share}',
        'adapt the model to these images: smwm adapt RUN --bag BAG',
    )


def check_commands(
    checkpoint: Checkpoint, found: Commands | None, expected_delay: float
) -> list[Check]:
    """Check whether the images answer to the commands as in the training, delay [s] apart."""
    if found is None:
        return [
            Check(
                'commands',
                True,
                'none were recorded, or they never changed, so nothing was checked',
                'drive the robot by hand meanwhile, to check fields, signs, gain and delay',
            )
        ]
    usual = checkpoint.info.summary.get('inverse_r2', 1.0)
    follows = found.r2 >= LEAST_R2 * usual
    checks = [
        judged(
            'commands',
            follows,
            f'R2 {found.r2:.2f} of the commands inferred from images, expected at least '
            f'{LEAST_R2 * usual:.2f}',
            'after smwm adapt, compare fields, signs and units of robot.command, and the camera '
            'with that of the training; then train with more recordings of this robot '
            '(smwm train --from), or smwm adapt --steps 100',
        )
    ]
    if found.strange:
        checks.append(
            Check(
                'fields',
                False,
                '; '.join(found.strange),
                'correct order and signs of robot.command.fields, or of the joints of the driver; '
                'or turn the camera as it was in the training',
            )
        )
    elif follows:
        checks += [_check_gain(found), _check_delay(checkpoint, found, expected_delay)]
    return checks


def _check_gain(found: Commands) -> Check:
    """Check whether the robot moves as far as commanded."""
    (low, high), (least, most) = GAIN, USUAL_GAIN
    remedy = 'check units and limits of robot.command, or train with recordings of this robot'
    return Check(
        'gain',
        low <= found.gain <= high,
        f'the robot moves {found.gain:.2f} times as far as commanded, by the measure of '
        f'the training; expected {low} to {high}' + _each(found, 'gain'),
        '' if least <= found.gain <= most else remedy,
    )


def _check_delay(checkpoint: Checkpoint, found: Commands, expected: float) -> Check:
    """Check whether the delay from command to motion is about that which plans begin with."""
    delay = later(checkpoint, found.delay)
    ticks = round((delay - expected) / checkpoint.robot.dt)
    what = f'{count_of(found.delay, "control period")} from command to motion'
    return Check(
        'delay',
        abs(ticks) <= LATE * checkpoint.action_block,
        f'{what}{_each(found, "delay")}; {expected:g} s are configured',
        f'set node.actuation_delay={delay:g} in the configuration of the robot, and convert with '
        f'dataset.command_delay={delay:g}'
        if ticks
        else '',
    )


def _each(found: Commands, figure: str) -> str:
    """Return a figure of each field as text, if there are several."""
    if len(found.fields) < 2:
        return ''
    form = '.2f' if figure == 'gain' else 'd'
    words = (
        f'{one.name} {getattr(one, figure):{form}}' if one.known else f'{one.name} unknown'
        for one in found.fields
    )
    return f' ({", ".join(words)})'


def actuation(checkpoint: Checkpoint, found: Commands) -> dict[str, Any]:
    """
    Return the knobs of section arena with which an arena answers as the robot does.

    A field that was not measured has the delay of all fields, and gain 1. Gains are limited to
    what arena.field_gain may be.
    """
    trained = round(checkpoint.dataset.command_delay / checkpoint.robot.dt)
    delays = [max(trained + (one.delay if one.known else found.delay), 0) for one in found.fields]
    gains = [min(max(round(one.gain, 3), 0.1), 3.0) if one.known else 1.0 for one in found.fields]
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
