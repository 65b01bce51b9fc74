# SPDX-License-Identifier: Apache-2.0
"""The page of a replay: recorded and planned commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.replay import Leg
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.pages import charts, html
from smwm_ros.pages.episode import beside, camera
from smwm_ros.pages.film import film, MOST
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import number, unit, with_unit
from smwm_ros.pages.parts import command_tile, DRIVEN, legend, PLANNED, table
from smwm_ros.pages.replay_stretch import LEARNT, PARTLY, Stretch, Stretches, UNKNOWN
from smwm_ros.pages.warnings import odd
from smwm_ros.text import count_of

SHOWN = 4  # legs where both agree most, and as many where they agree least
LENGTH = 300  # ticks in the charts of the whole recording
DRAWN = 144  # width of a picture, and height of a film [px]


def in_words(found: Mapping[str, float], floor: Mapping[str, float]) -> str:
    """Return how far recorded and planned commands agree, with the chance level."""
    return (
        f'{count_of(round(found["compared"]), "command")} compared: {found["close"]:.0%} are '
        f'close (chance {floor["close"]:.0%}), cosine of the directions '
        f'{number(found["direction"], 0.01)} '
        f'({number(floor["direction"], 0.01)}), difference {found["difference"]:.0%} of the range '
        f'({floor["difference"]:.0%})'
    )


def page(
    title: str,
    dataset: TransitionDataset,
    legs: Sequence[Leg],
    goal: Array | None,
    stretches: Stretches,
    found: Mapping[str, float],
    floor: Mapping[str, float],
) -> str:
    """Return the page."""
    spec = dataset.info.spec
    facts = {
        'commands close': f'{found["close"]:.0%}',
        'close by chance': f'{floor["close"]:.0%}',
        'cosine of the directions': number(found['direction'], 0.01),
        'mean difference [range]': f'{found["difference"]:.0%}',
        'legs': f'{len(legs):,}',
    }
    first = _first(legs)
    body = [
        html.tiles(facts),
        f'<p>{escape(in_words(found, floor))}. Close: no field differs by more than a '
        'quarter of its range. The plans are made from the recorded images; they did not move the '
        'robot.</p>',
        '<h2>Recording</h2>',
        _table(stretches.all(legs)),
        f'<h2>Recorded and planned: {escape(_span(first, stretches))}</h2>',
        html.row(_charts(first, spec, stretches)),
        _film(first, dataset, goal, stretches),
        *camera(dataset),
    ]
    ranked = sorted(legs, key=lambda leg: _apart(leg, spec))
    half = min(SHOWN, len(ranked) // 2)
    for name, some in (('most', ranked[:half]), ('least', ranked[len(ranked) - half :][::-1])):
        body.append(f'<h2>Legs that agree {name}</h2>')
        body += [_leg(leg, dataset, goal, stretches) for leg in some]
    about = 'Planned commands beside the recorded ones.'
    warnings = [*_learnt(legs, stretches), *odd(dataset)]
    icon = dataset.pixels(np.array([legs[0].start]))[0]
    return html.page(f'Replay: {title}', about, body, warnings, icon)


def _first(legs: Sequence[Leg]) -> list[Leg]:
    """Return the first legs that follow each other, up to a limit."""
    some = [legs[0]]
    for leg in legs[1:]:
        before = some[-1]
        together = leg.start + len(leg.ours) - some[0].start
        if before.start + len(before.ours) != leg.start or together > LENGTH:
            break
        some.append(leg)
    return some


def _span(legs: Sequence[Leg], stretches: Stretches) -> str:
    """Describe consecutive legs: recording, time range, split."""
    splits = {stretches.split(leg) for leg in legs}
    split = splits.pop() if len(splits) == 1 else PARTLY
    return f'{stretches.where(legs[0].start, legs[-1].start + len(legs[-1].ours))}, {split}'


def _learnt(legs: Sequence[Leg], stretches: Stretches) -> list[str]:
    """Warn if the run was trained on the recording."""
    seen = sum(stretches.split(leg) in (LEARNT, PARTLY) for leg in legs)
    if not seen:
        return []
    return [
        f'The run was trained on {seen} of {count_of(len(legs), "leg")}: use held-out recordings '
        'for a fair comparison.'
    ]


def _table(found: Sequence[Stretch]) -> str:
    """Return all stretches."""
    rows = [[one.place, str(one.legs), one.split] for one in found]
    shown = table(['recording, from when to when', 'legs', 'held out?'], rows)
    if any(one.split == UNKNOWN for one in found):
        shown += (
            '<p>Whether a leg was held out is unknown: the dataset of the run was moved or '
            'removed.</p>'
        )
    return shown


def _apart(leg: Leg, spec: ActionSpec) -> float:
    """Return the mean difference in a leg, as a share of the range."""
    span = np.array(spec.high) - np.array(spec.low)
    return float((np.abs(leg.ours - leg.theirs) / span).mean())


def _charts(legs: Sequence[Leg], spec: ActionSpec, stretches: Stretches) -> list[str]:
    """Return a chart for each field, and one of the distance to the goal."""
    ours, theirs = (
        np.concatenate([getattr(leg, source) for leg in legs]) for source in ('ours', 'theirs')
    )
    time = np.concatenate([stretches.seconds(leg) for leg in legs])
    label = 'time in the recording [s]'
    drawn = [
        charts.line_chart(
            name,
            label,
            with_unit('command' if not unit(name) else name),
            {'recorded': (time, theirs[:, k]), 'planned': (time, ours[:, k])},
        )
        for k, name in enumerate(spec.fields)
    ]
    curve = {'to the goal': (time, np.concatenate([leg.distance for leg in legs]))}
    return [*drawn, charts.line_chart('Latent distance', label, 'distance', curve)]


def _film(
    legs: Sequence[Leg], dataset: TransitionDataset, goal: Array | None, stretches: Stretches
) -> str:
    """Return a film of legs that follow each other: camera, goal, and both commands beside."""
    spec = dataset.info.spec
    some = legs[: max(1, MOST // len(legs[0].ours))]
    frames, texts = [], []
    for leg in some:
        rows = leg.start + np.arange(len(leg.ours) + 1)
        pixels = dataset.pixels(rows)
        aim = pixels[-1] if goal is None else goal
        for frame, theirs, ours, at in zip(
            pixels[:-1], leg.theirs, leg.ours, stretches.seconds(leg), strict=True
        ):
            tile = command_tile({DRIVEN: theirs, PLANNED: ours}, spec, DRAWN, DRAWN)
            frames.append(np.concatenate([beside(frame, tile), beside(aim, tile[:, :0])], axis=1))
            texts.append(f'{number(float(at), 0.1)} s')
    caption = (
        f'{_span(some, stretches)}. From left to right: camera, recorded (blue) and planned '
        f'(orange) command, goal of the leg. The command is {legend(spec)}.'
    )
    return film(frames, texts, spec.dt, caption)


def _leg(leg: Leg, dataset: TransitionDataset, goal: Array | None, stretches: Stretches) -> str:
    """Return the pictures and charts of one leg."""
    end = leg.start + len(leg.ours)
    first, last = dataset.pixels(np.array([leg.start, end]))
    pictures = [
        html.picture(first, 'start', DRAWN),
        html.picture(last if goal is None else goal, 'goal', DRAWN),
    ]
    figures = html.row([*pictures, *_charts([leg], dataset.info.spec, stretches)])
    return f'<h3>{escape(stretches.place(leg))}</h3>{figures}'
