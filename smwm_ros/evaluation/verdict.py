# SPDX-License-Identifier: Apache-2.0
"""Is a model fit to plan with, and if not, what to do: in words, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from smwm_ros.config import Model
from smwm_ros.data.stored import mismatch
from smwm_ros.errors import CheckpointError
from smwm_ros.text import count_of
from smwm_ros.training.metrics import MIN_STD

STILL = 6.0  # grey levels; a camera that sees nothing move has this much noise
READ = 0.25  # share of the mean command of a model step that two latents must show
FORESEEN = 0.6  # error of a prediction as a share of that of copying
LUCKY = 0.25  # share of other actions that seem better than those taken; 0.5 is chance
WRONG, ABSURD = 1.5, 10.0  # errors as such shares, worse than to say that nothing moves
ECHO = 0.5  # share of the mean command that goes up and down with what is read, whatever its scale
WORSE = 0.2  # in held-out episodes than in training, of what is 1 at most
SMALL, LARGE = 0.003, 0.7  # of how far apart any two latents are, moved in a model step
NARROW = 0.3  # of the limits, covered by the commands
_STORED = {'name': str, 'why': str, 'advice': [str]}


class Verdict(NamedTuple):
    """What a person should know."""

    name: str  # fit, blind, overfitted, unlike, collapsed, lost or short-sighted
    why: str
    advice: tuple[str, ...]  # what to do, and what to keep in mind where it is fit

    @property
    def fit(self) -> bool:
        """Say whether to plan with it."""
        return self.name == 'fit'


def stored_verdict(info: Mapping[str, Any], where: str) -> Verdict | None:
    """Return the verdict in the info of a checkpoint, None where none was given yet."""
    if 'verdict' not in info:
        return None
    found = info['verdict']
    if reason := mismatch(found, _STORED):
        raise CheckpointError(
            f'{where}: the stored verdict is damaged ({reason}); '
            f'smwm inspect {where} gives it anew'
        )
    return Verdict(found['name'], found['why'], tuple(found['advice']))


def require_fit(info: Mapping[str, Any], where: str, accept: bool) -> str:
    """Refuse an unfit model unless it is accepted; return a warning, '' where there is none."""
    verdict = stored_verdict(info, where)
    if verdict is None:
        return f'{where}: nothing says whether this model is fit to plan with; smwm inspect does'
    if verdict.fit:
        return ''
    words = f'{where}: not fit to plan with ({verdict.name}): {verdict.why}'
    if not accept:
        advice = f'{verdict.advice[0]}; ' if verdict.advice else ''
        raise CheckpointError(
            f'{words}; {advice}to drive with it all the same: node.unfit:=accept'
        )
    return f'{words}; accepted by node.unfit'


def verdict_of(found: Mapping[str, float], model: Model, horizon: int) -> Verdict:
    """Judge a model by the measures of an examination; what is wrong first, counts."""
    for check in (_blind, _overfitted, _unlike, _collapsed, _lost, _short_sighted):
        verdict = check(found, model, horizon)
        if verdict:
            return verdict
    why = (
        f'recorded actions lead nearer to what came than {1 - found["outdone"]:.0%} of others do, '
        f'and {count_of(horizon, "model step")} ahead it errs by {found["rollout_over_copy"]:.2f} '
        'of what moved, in episodes that it has not seen'
    )
    return Verdict('fit', why, _remarks(found))


def _blind(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether there was anything to see."""
    if found['pixel_std'] >= STILL:
        return None
    return Verdict(
        'blind',
        f'the images hardly change: no pixel varies by more than {found["pixel_std"]:.1f} of 255 '
        'grey levels, so there is nothing to learn from',
        (
            'look at the frames (smwm view), at the camera topic, and at what the camera sees: '
            'it must show what the robot moves',
        ),
    )


def _overfitted(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether it knows by heart what it has seen, and nothing else."""
    read = found['train_inverse_r2'] - found['inverse_r2']
    foreseen = found['forward_over_copy'] - found['train_forward_over_copy']
    learnt = found['train_inverse_r2'] > READ and found['train_forward_over_copy'] < FORESEEN
    if not (learnt and max(read, foreseen) > WORSE and _fails(found)):
        return None
    return Verdict(
        'overfitted',
        f'it knows its {count_of(round(found["train_transitions"]), "training transition")} by '
        f'heart (actions read back with R2 {found["train_inverse_r2"]:.2f}) and little else '
        f'({found["inverse_r2"]:.2f} in held-out episodes; forward error '
        f'{found["train_forward_over_copy"]:.2f} there and {found["forward_over_copy"]:.2f} here)',
        (
            f'record more: it has seen {count_of(round(found["train_episodes"]), "episode")}; '
            'drive wherever the robot is to go, in both directions',
            'until then train fewer steps (train.steps), or try best/ in the run folder',
        ),
    )


def _fails(found: Mapping[str, float]) -> bool:
    """Say whether something does not suffice in held-out episodes."""
    return (
        found['command_r2'] < READ
        or found['forward_over_copy'] > FORESEEN
        or found['outdone'] > LUCKY
    )


def _unlike(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether it was trained on images of another kind: another camera, light or renderer."""
    error = min(found['forward_over_copy'], found['train_forward_over_copy'])
    there = found.get('nonlinear_r2', 0.0) >= READ
    if found.get('trained_on_it') or error < (WRONG if there else ABSURD):
        return None
    if found.get('command_echo', 0.0) >= ECHO:
        return None  # the images it understands; what it reads off them has another sign or unit
    still = (
        f', while a probe that is fitted anew still reads the measured state (R2 '
        f'{found["nonlinear_r2"]:.2f})'
        if there
        else ''
    )
    return Verdict(
        'unlike',
        f"the images look unlike the training's: the forward model errs by {error:.3g} of what "
        f'moved, more than if it said that nothing moves{still}',
        (
            'compare the images with those it was trained on (smwm view of both datasets): '
            'camera, its place, light, colours, noise',
            'record a few minutes with this camera, and train again with these bags among the '
            'others (smwm convert OLD NEW, smwm train)',
            'to bear such changes, train on images that vary: train.shift and train.brightness, '
            'and in simulation randomise.usual=true or wider ranges of randomise',
            'where the images look alike, see that frames and commands fit together (fields, '
            'signs, units, dataset.command_delay)',
        ),
    )


def _collapsed(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether the latent shows what the robot does."""
    if found['latent_std'] >= MIN_STD and found['command_r2'] >= READ:
        return None
    alone = not model.inverts and not model.regularises
    advice = [
        'it was trained without the inverse loss: choose model.kind smwm'
        if alone
        else 'let lambda be found: model.inverse_target=0.3'
        if model.inverts
        else 'raise model.sigreg_weight, or choose model.kind smwm'
    ]
    if not alone:
        advice.append(
            'see that frames and commands fit together (smwm view, dataset.command_delay), and '
            'train longer (train.steps)'
        )
    return Verdict(
        'collapsed',
        f'the latent does not show what the robot did: commands are read back with R2 '
        f'{found["command_r2"]:.2f}, and its standard deviation is {found["latent_std"]:.2g}',
        tuple(advice),
    )


def _lost(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether it foresees what an action does."""
    if found['forward_over_copy'] <= FORESEEN and found['outdone'] <= LUCKY:
        return None
    return Verdict(
        'lost',
        f'it does not foresee what actions do: one model step ahead it errs by '
        f'{found["forward_over_copy"]:.2f} of what moved, and {found["outdone"]:.0%} of other '
        'actions seem to lead nearer to what came than those that were taken (chance: 50%)',
        (
            'train longer (train.steps), and record more',
            'where actions are read back well, lower model.inverse_weight',
            *_remarks(found),
        ),
    )


def _short_sighted(found: Mapping[str, float], model: Model, horizon: int) -> Verdict | None:
    """Look whether it foresees as far as the planner asks."""
    if found['rollout_over_copy'] <= FORESEEN:
        return None
    return Verdict(
        'short-sighted',
        f'it foresees one model step, but {count_of(horizon, "step")} ahead it errs by '
        f'{found["rollout_over_copy"]:.2f} of what moved',
        (
            'train it to go on from its own predictions (train.unroll=3), or plan less far ahead '
            '(planner.horizon)',
            *_remarks(found),
        ),
    )


def _remarks(found: Mapping[str, float]) -> tuple[str, ...]:
    """Return what to keep in mind of a latent that says something."""
    remarks = []
    if found['motion'] < SMALL:
        remarks.append(
            'hardly anything moves within a model step: raise dataset.action_block or robot.dt'
        )
    if found['motion'] > LARGE:
        remarks.append(
            'after one model step everything is elsewhere: lower dataset.action_block or robot.dt'
        )
    if found['command_range'] < NARROW:
        remarks.append(
            f'commands covered {found["command_range"]:.0%} of their limits: vary them more, or '
            'narrow robot.command.low and high, or plans leave what the model knows'
        )
    if found.get('nonlinear_r2', 1.0) - found.get('linear_r2', 1.0) > WORSE:
        remarks.append(
            'the measured state is in the latent, but bent: distances there are not distances here'
        )
    return tuple(remarks)
