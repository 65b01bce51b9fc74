# SPDX-License-Identifier: Apache-2.0
"""The page of a replay: what was driven, and what the planner would have driven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from smwm_ros import report
from smwm_ros.core.dataset import TransitionDataset
from smwm_ros.core.interfaces import ActionSpec, Array
from smwm_ros.core.replay import Leg
from smwm_ros.report import escape

SHOWN = 4  # legs where both agree most, and as many where they agree least
LENGTH = 300  # ticks in the charts of the whole recording
DRAWN = 128  # width of a picture [px]


def in_words(found: Mapping[str, float], floor: Mapping[str, float]) -> str:
    """Say how far both drivers agree, beside chance."""
    return (
        f'{found["compared"]:.0f} commands compared: {found["close"]:.0%} are close (chance '
        f'{floor["close"]:.0%}), cosine of the directions {found["direction"]:.2f} '
        f'({floor["direction"]:.2f}), difference {found["difference"]:.0%} of the range '
        f'({floor["difference"]:.0%})'
    )


def write_page(
    out: Path,
    title: str,
    dataset: TransitionDataset,
    legs: Sequence[Leg],
    goal: Array | None,
    spec: ActionSpec,
    found: Mapping[str, float],
    floor: Mapping[str, float],
) -> None:
    """Write the page."""
    facts = {
        'of the commands are close': f'{found["close"]:.0%}',
        'close by chance': f'{floor["close"]:.0%}',
        'cosine of the directions': f'{found["direction"]:.2f}',
        'of the range apart': f'{found["difference"]:.0%}',
        'legs': str(len(legs)),
    }
    body = [
        report.tiles(facts),
        f'<p>{escape(in_words(found, floor))}. Close means that no field differs by more than a '
        'quarter of its range. The planner never moved the robot: it saw what the driver '
        'saw.</p>',
        '<h2>Driven and planned</h2>',
        report.row(_charts(legs, spec, LENGTH)),
    ]
    ranked = sorted(legs, key=lambda leg: _apart(leg, spec))
    half = min(SHOWN, len(ranked) // 2)
    for name, some in (('most', ranked[:half]), ('least', ranked[len(ranked) - half :][::-1])):
        body.append(f'<h2>Legs in which they agree {name}</h2>')
        body += [_leg(leg, dataset, goal, spec) for leg in some]
    report.write_text(out, report.page(f'Replay: {title}', body))


def _apart(leg: Leg, spec: ActionSpec) -> float:
    """Return how far both are apart in a leg, as a share of the range."""
    span = np.array(spec.high) - np.array(spec.low)
    return float((np.abs(leg.ours - leg.theirs) / span).mean())


def _charts(legs: Sequence[Leg], spec: ActionSpec, length: int) -> list[str]:
    """Return a chart for each field, and one of the distance to the goal."""
    ours, theirs = (
        np.concatenate([getattr(leg, who) for leg in legs])[:length] for who in ('ours', 'theirs')
    )
    time = np.arange(len(ours)) * spec.dt
    charts = [
        report.line_chart(
            name,
            'driven time [s]',
            {'driven': (time, theirs[:, k]), 'planned': (time, ours[:, k])},
        )
        for k, name in enumerate(spec.fields)
    ]
    distance = np.concatenate([leg.distance for leg in legs])[:length]
    curve = {'to the goal': (time, distance)}
    return [*charts, report.line_chart('Latent distance', 'driven time [s]', curve)]


def _leg(leg: Leg, dataset: TransitionDataset, goal: Array | None, spec: ActionSpec) -> str:
    """Return the pictures and charts of one leg."""
    end = leg.start + len(leg.ours)
    first, last = dataset.pixels(np.array([leg.start, end]))
    pictures = [
        report.picture(first, f'row {leg.start}: start', DRAWN),
        report.picture(last if goal is None else goal, 'goal', DRAWN),
    ]
    return report.row([*pictures, *_charts([leg], spec, len(leg.ours))])
