# SPDX-License-Identifier: Apache-2.0
"""The verdict: whether a model is fit to plan with, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from smwm_ros.config import Model
from smwm_ros.data.stored import mismatch
from smwm_ros.errors import CheckpointError
from smwm_ros.model.info import Info
from smwm_ros.text import count_of
from smwm_ros.training.metrics import MIN_STD

STILL = 6.0  # grey levels: the noise of a camera whose image does not change
READ = 0.25  # least R2 of the mean command of a model step, inferred from two latents
PREDICTED = 0.6  # largest forward error, as a share of the copy baseline
LUCKY = 0.25  # largest share of other actions predicted to end nearer; 0.5 is chance
WRONG, ABSURD = 1.5, 10.0  # forward errors as shares of the copy baseline
ECHO = 0.5  # least squared correlation of the mean command and the inferred one
WORSE = 0.2  # largest difference between training and held-out episodes, and between probes
SMALL, LARGE = 0.003, 0.7  # squared motion of a model step over that of two random frames
NARROW = 0.3  # least share of the limits that the commands cover
_STORED = {'name': str, 'why': str, 'advice': [str]}


class Verdict(NamedTuple):
    """Whether to plan with a model, in one word and in a sentence."""

    name: str  # fit, blind, overfitted, unlike, collapsed, lost or short-sighted
    why: str
    advice: tuple[str, ...]  # what to do; remarks where it is fit

    @property
    def fit(self) -> bool:
        """Return whether to plan with it."""
        return self.name == 'fit'


def stored_verdict(info: Info, where: str) -> Verdict | None:
    """Return the verdict in the info of a checkpoint, None where none was given yet."""
    found = info.verdict
    if found == '':
        return None
    if reason := mismatch(found, _STORED):
        raise CheckpointError(
            f'{where}: the stored verdict is damaged ({reason}); make it again: '
            f'smwm inspect {where}'
        )
    return Verdict(found['name'], found['why'], tuple(found['advice']))


def require_fit(info: Info, where: str, accept: bool) -> str:
    """Raise CheckpointError for an unfit model unless it is accepted; return a warning or ''."""
    verdict = stored_verdict(info, where)
    if verdict is None:
        return (
            f'{where}: no verdict on whether this model is fit to plan with; make one: '
            f'smwm inspect {where}'
        )
    if verdict.fit:
        return ''
    words = f'{where}: not fit to plan with ({verdict.name}): {verdict.why}'
    if not accept:
        advice = f'{verdict.advice[0]}; ' if verdict.advice else ''
        raise CheckpointError(f'{words}; {advice}to use it nevertheless: node.unfit:=accept')
    return f'{words}; accepted by node.unfit'


def verdict_of(found: Mapping[str, float], model: Model, horizon: int) -> Verdict:
    """Return the verdict on the measures of an examination: the first fault that applies."""
    for check in (_blind, _overfitted, _unlike, _collapsed, _lost, _short_sighted):
        verdict = check(found, model, horizon)
        if verdict:
            return verdict
    why = (
        'on held-out episodes the recorded actions are predicted to end nearer to the recorded '
        f'frame than {1 - found["outdone"]:.0%} of others, and the forward error '
        f'{count_of(horizon, "model step")} ahead is {found["rollout_over_copy"]:.2f} of the copy '
        'baseline'
    )
    return Verdict('fit', why, _remarks(found))


def _blind(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether the images change."""
    if found['pixel_std'] >= STILL:
        return None
    return Verdict(
        'blind',
        f'the images hardly change: the largest standard deviation of a pixel is '
        f'{found["pixel_std"]:.1f} of 255 grey levels, expected {STILL:g} or more',
        (
            'check the frames (smwm view), the camera topic, and the camera: its image must show '
            'what the robot moves',
        ),
    )


def _overfitted(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether it is good on training episodes and fails on held-out ones."""
    read = found['train_inverse_r2'] - found['inverse_r2']
    forward = found['forward_over_copy'] - found['train_forward_over_copy']
    learnt = found['train_inverse_r2'] > READ and found['train_forward_over_copy'] < PREDICTED
    if not (learnt and max(read, forward) > WORSE and _fails(found)):
        return None
    return Verdict(
        'overfitted',
        f'it fits its {count_of(round(found["train_transitions"]), "training transition")} and '
        'does not generalise: R2 of the inferred actions is '
        f'{found["train_inverse_r2"]:.2f} in training and {found["inverse_r2"]:.2f} in held-out '
        f'episodes, forward error {found["train_forward_over_copy"]:.2f} and '
        f'{found["forward_over_copy"]:.2f} of the copy baseline',
        (
            'record more: it was trained on '
            f'{count_of(round(found["train_episodes"]), "episode")}; drive wherever the robot has '
            'to go, in both directions',
            'until then train fewer steps (train.steps), or try best/ in the run folder',
        ),
    )


def _fails(found: Mapping[str, float]) -> bool:
    """Return whether a measure of held-out episodes is insufficient."""
    return (
        found['command_r2'] < READ
        or found['forward_over_copy'] > PREDICTED
        or found['outdone'] > LUCKY
    )


def _unlike(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether it was trained on other images: another camera, light or renderer."""
    error = min(found['forward_over_copy'], found['train_forward_over_copy'])
    there = found.get('nonlinear_r2', 0.0) >= READ
    if found.get('trained_on_it') or error < (WRONG if there else ABSURD):
        return None
    if found.get('command_echo', 0.0) >= ECHO:
        return None  # the images fit; the commands have another sign or unit
    still = (
        ', although a probe fitted to them reads the measured state with R2 '
        f'{found["nonlinear_r2"]:.2f}'
        if there
        else ''
    )
    return Verdict(
        'unlike',
        f'the images differ from those of the training: forward error is {error:.3g} of the copy '
        f'baseline{still}',
        (
            'compare the images with those it was trained on (smwm view of both datasets): '
            'camera, its position, light, colours, noise',
            'record a minute with this camera, and measure the statistics of its images: smwm '
            'adapt RUN --bag BAG',
            'if that does not suffice, record a few minutes more, and train again with these '
            'bags among the others (smwm convert OLD NEW, smwm train)',
            'for robustness, train on images that vary: train.warp, train.colour_jitter, and in '
            'simulation randomise.usual=true or wider ranges of randomise',
            'where the images look alike, check that commands match the frames: fields, signs, '
            'units, dataset.command_delay',
        ),
    )


def _collapsed(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether the latent encodes what the robot does."""
    if found['latent_std'] >= MIN_STD and found['command_r2'] >= READ:
        return None
    alone = not model.inverts and not model.regularises
    advice = [
        'it was trained without the inverse loss: choose model.kind smwm'
        if alone
        else 'let training find lambda: model.inverse_target=0.3'
        if model.inverts
        else 'raise model.sigreg_weight, or choose model.kind smwm'
    ]
    if not alone:
        advice.append(
            'check that commands match the frames (smwm view, dataset.command_delay), and train '
            'longer (train.steps)'
        )
    return Verdict(
        'collapsed',
        'the latent does not encode what the robot did: R2 of the inferred mean command is '
        f'{found["command_r2"]:.2f}, and the standard deviation of the latent is '
        f'{found["latent_std"]:.2g}',
        tuple(advice),
    )


def _lost(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether it predicts the effect of actions one model step ahead."""
    if found['forward_over_copy'] <= PREDICTED and found['outdone'] <= LUCKY:
        return None
    return Verdict(
        'lost',
        'it does not predict the effect of actions: one model step ahead the forward error is '
        f'{found["forward_over_copy"]:.2f} of the copy baseline, and {found["outdone"]:.0%} of '
        'other actions are predicted to end nearer to the recorded frame than the recorded ones '
        '(chance: 50%)',
        (
            'train longer (train.steps), and record more',
            'where R2 of the inferred actions is high, lower model.inverse_weight',
            *_remarks(found),
        ),
    )


def _short_sighted(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Check whether it predicts as far as the horizon of the planner."""
    if found['rollout_over_copy'] <= PREDICTED:
        return None
    return Verdict(
        'short-sighted',
        f'it predicts one model step, but {count_of(horizon, "step")} ahead the forward error is '
        f'{found["rollout_over_copy"]:.2f} of the copy baseline',
        (
            'train it on its own predictions (train.unroll=3), or lower planner.horizon',
            *_remarks(found),
        ),
    )


def _remarks(found: Mapping[str, float]) -> tuple[str, ...]:
    """Return remarks on the data and the latent of a model that has not collapsed."""
    remarks = []
    if found['motion'] < SMALL:
        remarks.append(
            'hardly anything moves within a model step: raise dataset.action_block or robot.dt'
        )
    if found['motion'] > LARGE:
        remarks.append('a model step moves too much: lower dataset.action_block or robot.dt')
    if found['command_range'] < NARROW:
        remarks.append(
            f'commands covered {found["command_range"]:.0%} of their limits, and plans may exceed '
            'that range: vary them more, or narrow robot.command.low and high'
        )
    if found.get('nonlinear_r2', 1.0) - found.get('linear_r2', 1.0) > WORSE:
        remarks.append(
            'the measured state is in the latent, but not linearly: latent distance differs from '
            'distance'
        )
    return tuple(remarks)
