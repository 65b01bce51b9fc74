# SPDX-License-Identifier: Apache-2.0
"""
The frame of every chart: title, legend and axes with ticks, as SVG that scales to the screen.

The legend stands between title and plot, where no curve crosses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.pages.html import escape
from smwm_ros.pages.numbers import log_ticks, number, ticks

Span = tuple[float, float]

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 66, 16, 30, 44  # of a chart and its margins [px]
_HEIGHT, _TALL = 180, 300  # of the plot, and of one whose axes are equal [px]
_LETTER, _LINE = 7.2, 18  # width of a letter, and height of a line of the legend [px]


class Plot(NamedTuple):
    """The plane of a chart: numbers to pixels."""

    x_span: Span
    y_span: Span
    top: float  # [px]
    height: float  # [px]

    def x(self, value: Any) -> Any:
        """Return where a number lies across [px]."""
        low, high = self.x_span
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: Any) -> Any:
        """Return where a number lies down [px]."""
        low, high = self.y_span
        return self.top + self.height - (value - low) / (high - low) * self.height


class LegendEntry(NamedTuple):
    """A word of the legend, and what is drawn before it."""

    name: str
    colour: str
    form: str  # line, dash or dot


Draw = Callable[[Plot], str]


def _equal(x_span: Span, y_span: Span) -> tuple[Span, Span, float]:
    """Widen a span so that both axes have one scale; return the height of the plot, too [px]."""
    width = _WIDTH - _LEFT - _RIGHT
    across, down = x_span[1] - x_span[0], y_span[1] - y_span[0]
    height = min(max(width * down / across, _HEIGHT), _TALL)
    scale = max(across / width, down / height)  # of numbers in a pixel
    return _widen(x_span, scale * width), _widen(y_span, scale * height), height


def _widen(span: Span, length: float) -> Span:
    """Return a span of a length about the same middle."""
    middle = (span[0] + span[1]) / 2
    return middle - length / 2, middle + length / 2


def chart(
    title: str,
    labels: tuple[str, str],
    spans: tuple[Span, Span],
    entries: Sequence[LegendEntry],
    draw: Draw | None,
    log: bool = False,
    equal: bool = False,
) -> str:
    """Return the title, the legend, axes with ticks, and what is drawn between them."""
    (x_span, y_span), height = spans, float(_HEIGHT)
    if equal:
        x_span, y_span, height = _equal(x_span, y_span)
    legend, lines = _legend(entries if draw else ())
    plot = Plot(x_span, y_span, _TOP + _LINE * lines + 4, height)
    bottom, middle = plot.top + height, plot.top + height / 2
    across = (_LEFT + _WIDTH - _RIGHT) / 2
    nothing = f'<text x="{across}" y="{middle}" text-anchor="middle">no data</text>'
    inside = draw(plot) if draw else nothing
    return (
        f'<svg viewBox="0 0 {_WIDTH} {bottom + _BOTTOM:.0f}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<text class="title" x="4" y="17">{escape(_cut(title, _WIDTH - 4, 7.2))}</text>{legend}'
        f'<rect class="area" x="{_LEFT}" y="{plot.top:.1f}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{height:.1f}" fill="none" stroke="#d0d7de"/>{_ticks(plot, log)}{inside}'
        f'<text x="{across}" y="{bottom + 36:.1f}" text-anchor="middle">'
        f'{escape(_cut(labels[0], _WIDTH - _LEFT))}</text>'
        f'<text transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f'{escape(_cut(labels[1], height + 60))}</text></svg>'
    )


def _ticks(plot: Plot, log: bool) -> str:
    """Return lines and numbers of both axes."""
    parts = []
    places, step = ticks(*plot.y_span)
    found = [(at, number(at, step)) for at in places]
    if log:
        found = [(float(np.log10(at)), number(at)) for at in log_ticks(*plot.y_span)]
    for at, text in found:
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{plot.y(at):.1f}" '
            f'y2="{plot.y(at):.1f}" stroke="#eaeef2"/><text class="tick" x="{_LEFT - 6}" '
            f'y="{plot.y(at) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    places, step = ticks(*plot.x_span)
    texts = [number(at, step) for at in places]
    if max(map(len, texts), default=0) > 8:
        places, texts = places[::2], texts[::2]
    for at, text in zip(places, texts, strict=True):
        parts.append(
            f'<text class="tick" x="{plot.x(at):.1f}" y="{plot.top + plot.height + 16:.1f}" '
            f'text-anchor="middle">{text}</text>'
        )
    return ''.join(parts)


def _legend(entries: Sequence[LegendEntry]) -> tuple[str, int]:
    """Return the legend above the plot, and how many lines it takes."""
    drawn, x, line = [], 4.0, 0
    for name, colour, form in entries:
        text = _cut(name, _WIDTH - 40)
        width = _LETTER * len(text) + 34
        if x > 4 and x + width > _WIDTH:
            x, line = 4.0, line + 1
        y = _TOP + _LINE * line
        sign = f'<circle cx="{x + 9}" cy="{y + 4}" r="5" fill="{colour}"/>'
        if form != 'dot':
            dash = ' stroke-dasharray="5 3"' if form == 'dash' else ''
            sign = (
                f'<line x1="{x}" x2="{x + 18}" y1="{y + 4}" y2="{y + 4}" stroke="{colour}" '
                f'stroke-width="3"{dash}/>'
            )
        drawn.append(f'{sign}<text x="{x + 22:.1f}" y="{y + 8}">{escape(text)}</text>')
        x += width
    return f'<g class="legend">{"".join(drawn)}</g>', line + 1 if entries else 0


def _cut(text: str, room: float, letter: float = _LETTER) -> str:
    """Return what fits into so many pixels of a text."""
    most = int(room / letter)
    return text if len(text) <= most else f'{text[: most - 1]}…'
