# SPDX-License-Identifier: Apache-2.0
"""The page of a training run: is the model fit to plan with, and everything that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import csv
from pathlib import Path

import cv2
import numpy as np
from smwm_ros import report
from smwm_ros.core.checkpoint import Checkpoint
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.examine import Examination
from smwm_ros.core.interfaces import Array
from smwm_ros.core.run import CURVES
from smwm_ros.core.verdict import Verdict
from smwm_ros.errors import CheckpointError, one_line
from smwm_ros.fieldpath import expand
from smwm_ros.report import escape
from smwm_ros.verbs.sheet_parts import FRAME, table

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
        f'<p class="{"good" if verdict.fit else "bad"}"><b>{escape(in_a_word(verdict))}</b></p>',
        f'<p>{escape(verdict.why)}.</p>',
        f'<p>{escape(found.note)}</p>' if found.note else '',
        f'<ul>{"".join(f"<li>{escape(words)}</li>" for words in verdict.advice)}</ul>',
        report.tiles(_facts(found)),
        '<h2>Foresight</h2>',
        report.row([_errors(found, checkpoint.planner.horizon)]),
        '<p>From its first frame and the recorded actions, what the model imagines, shown by the '
        'training frames whose latents are nearest; above it what came.</p>',
        *_imagined(found, data),
        '<h2>The latent</h2>',
        report.row([*_clouds(found, names), _spectrum(found, data)]),
        '<h2>What can be read off it</h2>',
        _probes(found),
        report.row(list(_actions(found, data))),
        '<h2>Training</h2>',
        report.row(list(_curves(curves))) if curves else '<p>There is no train.csv here.</p>',
    ]
    return report.page(title, body)


def in_a_word(verdict: Verdict) -> str:
    """Say the verdict."""
    return 'Fit to plan with.' if verdict.fit else f'Not fit to plan with: {verdict.name}.'


def read_curves(run: Path) -> list[dict[str, float]]:
    """Return the curves of a run, if they are there."""
    path = run / CURVES
    if not path.is_file():
        return []
    try:
        with path.open(encoding='utf-8') as lines:
            rows = list(csv.DictReader(lines, strict=True))
        return [{name: float(text) for name, text in row.items()} for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f'{path}: damaged: expected rows of numbers under names: {one_line(error)}; remove '
            'it, and the page goes without the curves of the training'
        ) from None


def _facts(found: Examination) -> dict[str, str]:
    """Return the numbers people look for first."""
    measures = found.measures
    facts = {
        'of other actions seem better (chance: 50%)': f'{measures["outdone"]:.0%}',
        'forward error over copying, one step': f'{measures["forward_over_copy"]:.2f}',
        'the same at the horizon': f'{measures["rollout_over_copy"]:.2f}',
        'mean command read back, R2': f'{measures["command_r2"]:.2f}',
        'effective rank': f'{measures["effective_rank"]:.1f}',
    }
    if found.probes:
        facts['state, linear probe, R2'] = f'{measures["linear_r2"]:.3f}'
    return facts


def _errors(found: Examination, horizon: int) -> str:
    """Return the error of rollouts by their length, beside that of saying that nothing moves."""
    steps = np.arange(1, len(found.rollouts.error) + 1)
    curves = {
        'imagined': (steps, found.rollouts.error),
        'copied': (steps, found.rollouts.copying),
    }
    label = f'model steps ahead (the planner looks {horizon} ahead)'
    return report.line_chart('Squared error of the latent, open loop', label, curves)


def _imagined(found: Examination, data: TransitionDataset) -> Iterator[str]:
    """Yield strips of drives as they came and as they were imagined."""
    for number, (came, nearest) in enumerate(
        zip(found.rollouts.came, found.rollouts.nearest, strict=True)
    ):
        rows = [
            np.concatenate([_tile(frame, len(part)) for frame in data.pixels(part)], axis=1)
            for part in (came, nearest)
        ]
        image = np.concatenate(rows)
        caption = f'drive {number + 1}: rows {came[0]} to {came[-1]}; imagined below'
        yield report.picture(image, caption, image.shape[1])


def _tile(frame: Array, count: int) -> Array:
    """Return a frame such that so many of them fit side by side."""
    side = min(FRAME, _WIDTH // count)
    tile: Array = cv2.resize(frame, (side, side), interpolation=cv2.INTER_NEAREST)
    return tile


def _clouds(found: Examination, names: Sequence[str]) -> Iterator[str]:
    """Yield the plane of the first two principal directions, coloured by each state field."""
    some = np.linspace(0, len(found.latents) - 1, min(POINTS, len(found.latents))).astype(int)
    if names:
        some = some[np.isfinite(found.states[some]).all(axis=1)]
    if not len(some):
        return
    z = found.latents - found.latents.mean(0)
    _, _, axes = np.linalg.svd(z, full_matrices=False)
    plane = z[some] @ axes[:2].T
    x, y = plane[:, 0], plane[:, -1]
    label = 'first principal direction (up: second)'
    for name, shades in zip(names[:FIELDS], found.states[some].T, strict=False):
        yield report.scatter(f'Latents, coloured by {name}', label, x, y, shades)
    if not names:
        yield report.scatter('Latents', label, x, y)


def _spectrum(found: Examination, data: TransitionDataset) -> str:
    """Return the share of the variance by principal direction."""
    shares = found.spectrum[:DIRECTIONS]
    return report.bars(
        'Share of the variance',
        'principal directions',
        shares,
        np.arange(len(shares) + 1),
        {'command fields:': data.info.spec.size},
    )


def _probes(found: Examination) -> str:
    """Return how much of each state field can be read off the latent of one frame."""
    if not found.probes:
        return '<p>The dataset holds no measured state, or none of the frames looked at.</p>'
    rows = [[name, f'{a:.3f}', f'{b:.3f}'] for name, (a, b) in found.probes.items()]
    unknown = int((~np.isfinite(found.states).all(axis=1)).sum())
    words = f'<p>{unknown} of {len(found.states)} frames have no measured state.</p>'
    figures = table(['measured state', 'linear probe, R2', 'nonlinear probe, R2'], rows)
    return figures + (words if unknown else '')


def _actions(found: Examination, data: TransitionDataset) -> Iterator[str]:
    """Yield, for each command field, what was commanded beside what two latents tell of it."""
    fields = data.info.spec.fields
    pairs = found.actions.reshape(len(found.actions), -1, len(fields), 2)  # (m, K, A, 2)
    for number, name in enumerate(fields[:FIELDS]):
        recorded, read = pairs[:, :, number].reshape(-1, 2).T
        some = np.linspace(0, len(read) - 1, min(POINTS, len(read))).astype(int)
        label = 'commanded [standard deviations] (up: read back)'
        yield report.scatter(f'{name}, read back', label, recorded[some], read[some])


def _curves(curves: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield the curves of the training."""
    steps = np.array([row['step'] for row in curves])

    def of(*names: str) -> dict[str, tuple[Array, Array]]:
        kept = [name for name in names if name in curves[0]]
        return {name: (steps, np.array([row[name] for row in curves])) for name in kept}

    yield report.line_chart(
        'Loss', 'step', of('forward', 'val_forward', 'inverse', 'val_inverse'), log=True
    )
    yield report.line_chart(
        'In held-out episodes', 'step', of('inverse_r2', 'forward_over_copy', 'state_r2')
    )
    yield report.line_chart('The latent', 'step', of('effective_rank'))


def _state_names(data: TransitionDataset) -> tuple[str, ...]:
    """Return the fields of the measured state."""
    return expand(data.info.robot['state']['fields']) if data.info.state_size else ()
