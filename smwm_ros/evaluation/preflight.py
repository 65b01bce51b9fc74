# SPDX-License-Identifier: Apache-2.0
"""
Check whether a model fits the images and the commands of a recording, before a robot moves.

Each check says go or no-go, why, and what to do.
"""

from __future__ import annotations

from typing import NamedTuple

from smwm_ros.config import Node
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.command_response import Commands, later
from smwm_ros.evaluation.fit_to_images import NOVEL, Novelty
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.text import count_of

LEAST_R2 = 0.4  # of inferred commands, as a share of that in training
GAIN = (0.25, 2.0)  # factor between commands and motion with which plans still reach goals
USUAL_GAIN = (0.6, 1.6)  # beyond it is a remark
LATE = 2  # model steps by which a delay may differ: plans are corrected meanwhile
KEPT = 0.8  # least share of the ticks that the converter keeps


class Check(NamedTuple):
    """One question and its answer."""

    name: str
    go: bool
    what: str  # what was found
    remedy: str = ''  # what to do about a no-go, or about a remark


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
    checkpoint: Checkpoint,
    data: TransitionDataset,
    found: Commands | None,
    expected_delay: float,
) -> list[Check]:
    """Check whether the images answer to the commands as in the training, delay [s] apart."""
    if found is None:
        return [_without_commands(data)]
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


def _without_commands(data: TransitionDataset) -> Check:
    """Say why commands were not compared: no-go where there are some, but not beside images."""
    recorded = 0
    for meta in data.metas.values():
        topic = meta['robot']['command']['topic'].lstrip('/')
        recorded += meta.get('counts', {}).get(f'/{topic}', 0)
    if recorded and not len(data.starts('all')):
        return Check(
            'commands',
            False,
            f'{count_of(recorded, "command")}, but none while images came',
            'record camera and commands at the same time, and check that their clocks agree',
        )
    return Check(
        'commands',
        True,
        'they hardly vary, so nothing was checked' if recorded else 'none, so nothing was checked',
        'drive the robot by hand meanwhile, to check fields, signs, gain and delay',
    )


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
