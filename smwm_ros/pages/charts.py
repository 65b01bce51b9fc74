# SPDX-License-Identifier: Apache-2.0
"""Charts: curves, points, histograms and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from smwm_ros.pages.axes import chart, LegendEntry, Plot, Span
from smwm_ros.pages.numbers import number

Array = NDArray[Any]
Curves = Mapping[str, tuple[Array, Array]]  # x and y by name; a single point becomes a dot

COLOURS = (
    '#1f6feb', '#d1690e', '#2a8c4a', '#8250df', '#bf3989', '#0e7490', '#7d6608', '#57606a',
)  # fmt: skip
_STOPS, _SHADES = (0, 0.5, 1), ((58, 40, 130), (33, 145, 140), (235, 200, 30))
_EMPTY = (0.0, 1.0)
_AIR = 0.05  # of a span, left free beyond it


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    curves: Curves,
    *,
    log: bool = False,
    equal: bool = False,
    marks: Mapping[str, float] | None = None,
    unit: str = '',
) -> str:
    """
    Return curves, and named vertical marks.

    A log axis drops what is not positive. With equal axes, a metre is as long in both directions.
    """
    kept = _kept(curves, log)
    marks = marks or {}
    entries = [
        LegendEntry(name, colour, 'line' if len(x) > 1 else 'dot') for name, colour, x, _ in kept
    ]
    entries += _mark_entries(marks, unit)

    def draw(plot: Plot) -> str:
        return ''.join(_curve(plot, colour, x, y) for _, colour, x, y in kept) + _vertical(
            plot, marks
        )

    xs = [x for _, _, x, _ in kept] + ([np.array(list(marks.values()))] if kept else [])
    ys = [y for _, _, _, y in kept]
    spans = _span(xs, _AIR if equal else 0.0), _span(ys, _AIR)
    return chart(title, (x_label, y_label), spans, entries, draw if kept else None, log, equal)


def scatter(
    title: str,
    x_label: str,
    y_label: str,
    x: Array,
    y: Array,
    shades: tuple[str, Array] | None = None,
    *,
    equal: bool = False,
) -> str:
    """Return points; named shades, a number for each, go from blue over green to yellow."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    colours, entries = [COLOURS[0]] * len(x), list[LegendEntry]()
    if shades is not None:
        name, values = shades
        low, high = _span([np.asarray(values, float)])
        colours = _shade(np.asarray(values, float), (low, high))
        ends = _shade(np.array([low, high]), (low, high))
        words = [number(end, (high - low) / 100) for end in (low, high)]
        entries = [
            LegendEntry(f'{name}: {words[0]}', ends[0], 'dot'),
            LegendEntry(words[1], ends[1], 'dot'),
        ]

    def draw(plot: Plot) -> str:
        return ''.join(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2" fill="{colour}" opacity=".7"/>'
            for a, b, colour in zip(plot.x(x), plot.y(y), colours, strict=True)
        )

    spans = _span([x], _AIR), _span([y], _AIR)
    return chart(title, (x_label, y_label), spans, entries, draw, equal=equal)


def histogram(
    title: str,
    x_label: str,
    y_label: str,
    values: Array,
    marks: Mapping[str, float],
    unit: str = '',
) -> str:
    """Return a histogram, with named vertical marks (median, p99)."""
    values = np.asarray(values, float)
    if values.size == 0:
        return bars(title, x_label, y_label, values, np.zeros(0), {})
    counts, edges = np.histogram(values, bins=min(40, max(5, int(np.sqrt(values.size)))))
    return bars(title, x_label, y_label, counts, edges, marks, unit)


def bars(
    title: str,
    x_label: str,
    y_label: str,
    counts: Array,
    edges: Array,
    marks: Mapping[str, float],
    unit: str = '',
) -> str:
    """Return counts between edges, with named vertical marks."""

    def draw(plot: Plot) -> str:
        left, right, floor = plot.x(edges[:-1]), plot.x(edges[1:]), plot.y(0.0)
        boxes = ''.join(
            f'<rect x="{a:.1f}" y="{top:.1f}" width="{max(b - a - 1, 0.5):.1f}" '
            f'height="{floor - top:.1f}" fill="{COLOURS[0]}" opacity=".75"/>'
            for a, b, top in zip(left, right, plot.y(np.asarray(counts, float)), strict=True)
        )
        return boxes + _vertical(plot, marks)

    spans = (
        _span([edges, np.array(list(marks.values()))]),
        (0.0, (1 + _AIR) * (max(counts, default=0) or 1.0)),
    )
    entries = _mark_entries(marks, unit)
    return chart(title, (x_label, y_label), spans, entries, draw if len(counts) else None)


def _kept(curves: Curves, log: bool) -> list[tuple[str, str, Array, Array]]:
    """Return name, colour, x and y of each curve that can be drawn."""
    kept = []
    for place, (name, (x, y)) in enumerate(curves.items()):
        x, y = np.asarray(x, float), np.asarray(y, float)
        ok = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not log))
        if ok.any():
            colour = COLOURS[place % len(COLOURS)]
            kept.append((name, colour, x[ok], np.log10(y[ok]) if log else y[ok]))
    return kept


def _curve(plot: Plot, colour: str, x: Array, y: Array) -> str:
    """Draw a curve, or a dot where it is a single point."""
    across, down = plot.x(x), plot.y(y)
    if len(x) == 1:
        return f'<circle cx="{across[0]:.1f}" cy="{down[0]:.1f}" r="5" fill="{colour}"/>'
    points = ' '.join(f'{a:.1f},{b:.1f}' for a, b in zip(across, down, strict=True))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{points}"/>'


def _mark_entries(marks: Mapping[str, float], unit: str = '') -> list[LegendEntry]:
    """Return what the legend says of vertical marks."""
    return [
        LegendEntry(
            f'{name} {number(value)} {unit}'.rstrip(), COLOURS[(1 + place) % len(COLOURS)], 'dash'
        )
        for place, (name, value) in enumerate(marks.items())
    ]


def _vertical(plot: Plot, marks: Mapping[str, float]) -> str:
    """Draw vertical marks."""
    return ''.join(
        f'<line x1="{plot.x(value):.1f}" x2="{plot.x(value):.1f}" y1="{plot.top:.1f}" '
        f'y2="{plot.top + plot.height:.1f}" stroke="{entry.colour}" stroke-width="1.8" '
        f'stroke-dasharray="5 3"/>'
        for value, entry in zip(marks.values(), _mark_entries(marks), strict=True)
    )


def _shade(values: Array, span: Span) -> list[str]:
    """Return a colour for each of the values, the smallest blue and the largest yellow."""
    share = (values - span[0]) / (span[1] - span[0])
    channels = [np.interp(share, _STOPS, column) for column in np.array(_SHADES).T]
    return [f'#{int(r):02x}{int(g):02x}{int(b):02x}' for r, g, b in zip(*channels, strict=True)]


def _span(parts: Sequence[Array], air: float = 0.0) -> Span:
    """Return the smallest and the largest of some numbers, apart, and a share of it beyond."""
    values = np.concatenate([np.zeros(0), *parts])
    values = values[np.isfinite(values)]
    if not len(values):
        return _EMPTY
    low, high = float(values.min()), float(values.max())
    if high - low > 1e-12 * max(abs(low), abs(high)):
        return low - air * (high - low), high + air * (high - low)
    half = max(0.5, 1e-6 * abs(low))
    return low - half, high + half
