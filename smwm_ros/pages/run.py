# SPDX-License-Identifier: Apache-2.0
"""The page of a training run: the verdict on its model, and the evidence for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import csv
from pathlib import Path

import cv2
import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import CheckpointError, one_line
from smwm_ros.evaluation.examine import Examination
from smwm_ros.evaluation.verdict import Verdict
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.pages import charts, html
from smwm_ros.pages.episode import camera, place
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import number, with_unit
from smwm_ros.pages.parts import FRAME, table
from smwm_ros.pages.warnings import odd
from smwm_ros.text import count_of
from smwm_ros.training.run_folder import CURVES

DIRECTIONS = 15  # of a spectrum
POINTS = 1000  # in a cloud
_WIDTH = 980  # of a strip [px]
FIELDS = 4  # of states and actions that get a chart


def run_sheet(
    title: str,
    found: Examination,
    verdict: Verdict,
    checkpoint: Checkpoint,
    data: TransitionDataset,
    curves: Sequence[Mapping[str, float]],
) -> str:
    """Return the page."""
    names = _state_names(data)
    body = [
        f'<p class="good"><b>{in_a_word(verdict)}</b> {escape(_sentence(verdict.why))}</p>'
        if verdict.fit
        else '',
        f'<ul>{"".join(f"<li>{escape(words)}</li>" for words in verdict.advice)}</ul>',
        html.tiles(_facts(found)),
        '<h2>Prediction</h2>',
        html.row([_errors(found, checkpoint.planner.horizon)]),
        '<p>Each picture shows a held-out drive. Top: the recorded frames. Bottom: the prediction '
        'from the first frame and the recorded commands, shown as the training frames with the '
        'nearest latents.</p>',
        html.row(list(_imagined(found, data))),
        '<h2>The latent</h2>',
        html.row([*_clouds(found, names), _spectrum(found, data)]),
        '<h2>Probes and inverse model</h2>',
        _probes(found),
        html.row(list(_actions(found, data))),
        *camera(data),
        '<h2>Training</h2>',
        html.row(list(_curves(curves))) if curves else '<p>The run has no train.csv.</p>',
    ]
    about = 'Quality of the model of this run, measured on held-out drives.'
    first = data.pixels(np.array([0]))[0]
    return html.page(title, about, body, _warnings(found, verdict, checkpoint, data), first)


def _warnings(
    found: Examination, verdict: Verdict, checkpoint: Checkpoint, data: TransitionDataset
) -> list[str]:
    """Return reasons not to plan with the model, and warnings about training and data."""
    cautions = [] if verdict.fit else [f'{in_a_word(verdict)} {_sentence(verdict.why)}']
    cautions += [_sentence(words) for words in checkpoint.info.warnings]
    if found.note:
        cautions.append(_sentence(found.note))
    return cautions + odd(data)


def _sentence(words: str) -> str:
    """Return words as a sentence."""
    return f'{words[:1].upper()}{words[1:].removesuffix(".")}.'


def in_a_word(verdict: Verdict) -> str:
    """Return the verdict as a sentence."""
    return 'Fit to plan with.' if verdict.fit else f'Not fit to plan with: {verdict.name}.'


def read_curves(run: Path) -> list[dict[str, float]]:
    """Return the training curves of a run, if it has any."""
    path = run / CURVES
    if not path.is_file():
        return []
    try:
        with path.open(encoding='utf-8') as lines:
            rows = list(csv.DictReader(lines, strict=True))
        return [{name: float(text) for name, text in row.items()} for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f'{path}: damaged: expected rows of numbers under a header: {one_line(error)}; remove '
            'it to write the page without training curves'
        ) from None


def _facts(found: Examination) -> dict[str, str]:
    """Return the key figures."""
    measures = found.measures
    facts = {
        'other actions ranked better (chance: 50%)': f'{measures["outdone"]:.0%}',
        'forward error / copy baseline, one step': number(measures['forward_over_copy']),
        'forward error / copy baseline, horizon': number(measures['rollout_over_copy']),
        'inverse model, mean command, R2': number(measures['command_r2']),
        'effective rank': f'{measures["effective_rank"]:.1f}',
    }
    if 'actor_r2' in measures:
        facts['actor, first action to goals ahead, R2'] = number(measures['actor_r2'])
        facts['inverse model, the same, R2'] = number(measures['goal_inverse_r2'])
    if found.probes:
        facts['state, linear probe, R2'] = number(measures['linear_r2'])
    return facts


def _errors(found: Examination, horizon: int) -> str:
    """Return the error of rollouts by length, with the copy baseline."""
    steps = np.arange(1, len(found.rollouts.error) + 1)
    curves = {
        'model': (steps, found.rollouts.error),
        'copy baseline (no motion)': (steps, found.rollouts.copying),
    }
    return charts.line_chart(
        'Rollout error', 'model steps ahead', 'squared error of the latent', curves,
        marks={'planner horizon:': horizon},
    )  # fmt: skip


def _imagined(found: Examination, data: TransitionDataset) -> Iterator[str]:
    """Yield strips of drives: recorded above, predicted below."""
    for count, (came, nearest) in enumerate(
        zip(found.rollouts.came, found.rollouts.nearest, strict=True)
    ):
        rows = [
            np.concatenate([_tile(frame, len(part)) for frame in data.pixels(part)], axis=1)
            for part in (came, nearest)
        ]
        image = np.concatenate(rows)
        where = place(data, int(came[0]), int(came[-1]) + 1)
        caption = f'Drive {count + 1}: {where}. Top: recorded. Bottom: predicted.'
        yield html.picture(image, caption, image.shape[1], strip=True)


def _tile(frame: Array, count: int) -> Array:
    """Return a frame scaled so that `count` of them fit side by side."""
    side = min(FRAME, _WIDTH // count)
    tile: Array = cv2.resize(frame, (side, side), interpolation=cv2.INTER_NEAREST)
    return tile


def _clouds(found: Examination, names: Sequence[str]) -> Iterator[str]:
    """Yield the plane of the first two principal directions, coloured by each state field."""
    some = evenly_spaced(np.arange(len(found.latents)), POINTS)
    if names:
        some = some[np.isfinite(found.states[some]).all(axis=1)]
    if not len(some):
        return
    z = found.latents - found.latents.mean(0)
    _, _, axes = np.linalg.svd(z, full_matrices=False)
    plane = z[some] @ axes[:2].T
    x, y = plane[:, 0], plane[:, -1]
    labels = 'first principal direction', 'second'
    for name, shades in zip(names[:FIELDS], found.states[some].T, strict=False):
        shown = (with_unit(name), shades)
        yield charts.scatter(f'Latents, coloured by {name}', *labels, x, y, shown, equal=True)
    if not names:
        yield charts.scatter('Latents', *labels, x, y, equal=True)


def _spectrum(found: Examination, data: TransitionDataset) -> str:
    """Return the share of the variance by principal direction."""
    shares = found.spectrum[:DIRECTIONS]
    return charts.bars(
        'Variance of the latent by direction',
        'principal direction',
        'share of the variance',
        shares,
        np.arange(len(shares) + 1),
        {'fields of the command:': data.info.spec.size},
    )


def _probes(found: Examination) -> str:
    """Return the R2 of probes from the latent of one frame to each state field."""
    if not found.probes:
        return '<p>No probes: the sampled frames have no measured state.</p>'
    rows = [[name, number(a), number(b)] for name, (a, b) in found.probes.items()]
    unknown = int((~np.isfinite(found.states).all(axis=1)).sum())
    words = f'<p>Without measured state: {unknown} of {count_of(len(found.states), "frame")}.</p>'
    figures = table(['measured state', 'linear probe, R2', 'nonlinear probe, R2'], rows)
    return figures + (words if unknown else '')


def _actions(found: Examination, data: TransitionDataset) -> Iterator[str]:
    """Yield, for each command field, recorded commands against those of the inverse model."""
    fields = data.info.spec.fields
    pairs = found.actions.reshape(len(found.actions), -1, len(fields), 2)  # (m, K, A, 2)
    for field, name in enumerate(fields[:FIELDS]):
        recorded, read = pairs[:, :, field].reshape(-1, 2).T
        some = evenly_spaced(np.arange(len(read)), POINTS)
        labels = 'recorded [standard deviations]', 'inverse model [same]'
        title = f'{name}: inverse model'
        yield charts.scatter(title, *labels, recorded[some], read[some], equal=True)


def _curves(curves: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield the training curves."""
    steps = np.array([row['step'] for row in curves])

    def of(*names: str) -> dict[str, tuple[Array, Array]]:
        kept = [name for name in names if name in curves[0]]
        return {name: (steps, np.array([row[name] for row in curves])) for name in kept}

    step = 'training step'
    losses = of('forward', 'val_forward', 'inverse', 'val_inverse')
    yield charts.line_chart('Loss', step, 'loss', losses, log=True)
    held_out = of('inverse_r2', 'forward_over_copy', 'state_r2', 'actor_r2')
    yield charts.line_chart('Held-out episodes', step, 'score', held_out)
    rank = of('effective_rank')
    yield charts.line_chart('Effective rank of the latent', step, 'effective rank', rank)


def _state_names(data: TransitionDataset) -> tuple[str, ...]:
    """Return the fields of the measured state."""
    return expand(data.info.robot['state']['fields']) if data.info.state_size else ()
