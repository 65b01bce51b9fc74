# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: self-contained HTML pages with SVG charts, onion-skin paths, and GIFs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from smwm_ros.files import write_atomic
from smwm_ros.text import line

Array = NDArray[Any]

COLOURS = ('#1f6feb', '#d1690e', '#2a8c4a', '#8250df')
_STOPS, _SHADES = (0, 0.5, 1), ((58, 40, 130), (33, 145, 140), (235, 200, 30))
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 240, 60, 20, 30, 40
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1000px;padding:0 1rem;
color:#1c2128;background:#fff}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dee4;
text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}
.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}
figcaption{font-size:.85rem;color:#57606a}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem}.tile{border:1px solid #d8dee4;border-radius:8px;
padding:.6rem 1rem;min-width:8rem}.tile b{display:block;font-size:1.5rem}
img{image-rendering:pixelated;border-radius:4px}.good{color:#1a7f37}.bad{color:#cf222e}
svg text{font:11px system-ui,sans-serif;fill:#57606a}svg .title{font-weight:600;fill:#1c2128}
"""


def escape(text: str) -> str:
    """Return a text as a page may hold it: no markup, nothing unprintable, and not too long."""
    return html.escape(line(text))


def page(title: str, body: Sequence[str]) -> str:
    """Return one HTML page that needs nothing beside itself."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>'
        + '\n'.join(body)
        + '</body></html>\n'
    )


def write_text(path: Path, text: str) -> None:
    """Write a file of text whole or not at all."""
    write_atomic(path, text.encode())


def tiles(facts: Mapping[str, str]) -> str:
    """Return the few numbers people look for first, large."""
    cells = ''.join(
        f'<div class="tile"><b>{escape(value)}</b>{escape(name)}</div>'
        for name, value in facts.items()
    )
    return f'<div class="tiles">{cells}</div>'


def row(figures: Sequence[str]) -> str:
    """Return figures side by side."""
    return f'<div class="row">{"".join(figures)}</div>'


def picture(image: Array, caption: str = '', width: int = 160, css: str = '') -> str:
    """Return an RGB picture, of shape (H, W, 3), with a caption, embedded."""
    _, png = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    data = base64.b64encode(png.tobytes()).decode()
    return (
        f'<figure><img width="{width}" src="data:image/png;base64,{data}" alt="{escape(caption)}">'
        f'<figcaption class="{css}">{escape(caption)}</figcaption></figure>'
    )


def line_chart(
    title: str, x_label: str, curves: Mapping[str, tuple[Array, Array]], log: bool = False
) -> str:
    """Return curves {name: (x, y)} as SVG; a log axis drops what is not positive."""
    kept = {}
    for name, (x, y) in curves.items():
        x, y = np.asarray(x, float), np.asarray(y, float)
        ok = np.isfinite(y) & ((y > 0) | (not log))
        if ok.any():
            kept[name] = (x[ok], np.log10(y[ok]) if log else y[ok])
    if not kept:
        return _frame(
            title, x_label, (0, 1), (0, 1), False, '<text x="200" y="120">no data</text>'
        )
    x_span = _span(np.concatenate([x for x, _ in kept.values()]))
    y_span = _span(np.concatenate([y for _, y in kept.values()]))
    parts = []
    for number, (name, (x, y)) in enumerate(kept.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = ' '.join(
            f'{_x(a, x_span):.1f},{_y(b, y_span):.1f}' for a, b in zip(x, y, strict=True)
        )
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{points}"/>'
            f'<text x="{_WIDTH - _RIGHT - 4}" y="{_TOP + 12 + 14 * number}" text-anchor="end" '
            f'style="fill:{colour};font-weight:600">{escape(name)}</text>'
        )
    return _frame(title, x_label, x_span, y_span, log, ''.join(parts))


def scatter(title: str, x_label: str, x: Array, y: Array, shades: Array | None = None) -> str:
    """Return points as SVG; shades, one number for each, go from blue over green to yellow."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    x_span, y_span = _span(x), _span(y)
    dots = ''.join(
        f'<circle cx="{_x(a, x_span):.1f}" cy="{_y(b, y_span):.1f}" r="2" fill="{colour}" '
        f'opacity=".7"/>'
        for a, b, colour in zip(x, y, _shade(shades, len(x)), strict=True)
    )
    return _frame(title, x_label, x_span, y_span, False, dots)


def _shade(values: Array | None, count: int) -> list[str]:
    """Return a colour for each of so many values, the smallest blue and the largest yellow."""
    if values is None:
        return [COLOURS[0]] * count
    low, high = _span(np.asarray(values, float))
    share = (np.asarray(values, float) - low) / (high - low)
    channels = [np.interp(share, _STOPS, column) for column in np.array(_SHADES).T]
    return [f'#{int(r):02x}{int(g):02x}{int(b):02x}' for r, g, b in zip(*channels, strict=True)]


def histogram(title: str, x_label: str, values: Array, marks: Mapping[str, float]) -> str:
    """Return a histogram as SVG, with named vertical marks (median, p99)."""
    values = np.asarray(values, float)
    if values.size == 0:
        return _frame(
            title, x_label, (0, 1), (0, 1), False, '<text x="200" y="120">no data</text>'
        )
    counts, edges = np.histogram(values, bins=min(40, max(5, int(np.sqrt(values.size)))))
    return bars(title, x_label, counts, edges, marks)


def bars(title: str, x_label: str, counts: Array, edges: Array, marks: Mapping[str, float]) -> str:
    """Return counts between edges as SVG, with named vertical marks."""
    x_span = _span(np.concatenate([edges, list(marks.values())]))
    y_span = (0.0, float(counts.max()) * 1.1)
    boxes = ''.join(
        f'<rect x="{_x(low, x_span):.1f}" y="{_y(count, y_span):.1f}" '
        f'width="{max(_x(high, x_span) - _x(low, x_span) - 1, 0.5):.1f}" '
        f'height="{_y(0, y_span) - _y(count, y_span):.1f}" fill="{COLOURS[0]}" opacity=".75"/>'
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    )
    lines = ''.join(
        f'<line x1="{_x(value, x_span):.1f}" x2="{_x(value, x_span):.1f}" y1="{_TOP}" '
        f'y2="{_HEIGHT - _BOTTOM}" stroke="{COLOURS[1]}" stroke-dasharray="4 3"/>'
        f'<text x="{_x(value, x_span) + (3 if left else -3):.1f}" y="{_TOP + 12 + 14 * number}" '
        f'text-anchor="{"start" if left else "end"}">{escape(name)} {value:.4g}</text>'
        for number, (name, value) in enumerate(marks.items())
        for left in [_x(value, x_span) < _WIDTH / 2]  # of the chart: the text has room beyond
    )
    return _frame(title, x_label, x_span, y_span, False, boxes + lines)


def onion_skin(frames: Sequence[Array], background: Array) -> Array:
    """Lay the frames of one drive over each other, so that a still picture shows the path."""
    stack = np.stack(frames).astype(np.int16)  # (N, H, W, 3)
    strength = np.abs(stack - background).sum(axis=3)  # how far each pixel is from background
    best = strength.argmax(axis=0)
    rows, columns = np.indices(best.shape)
    skin: Array = stack[best, rows, columns].astype(np.uint8)
    return skin


def write_gif(path: Path, frames: Sequence[Array], fps: float) -> bool:
    """Write RGB frames as a GIF; False where this OpenCV cannot (it needs 4.12 or newer)."""
    if not hasattr(cv2, 'imencodeanimation'):
        return False
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames]
    animation.durations = [round(1000 / fps)] * len(frames)
    made, gif = cv2.imencodeanimation('.gif', animation)
    if made:
        write_atomic(path, gif.tobytes())
    return bool(made)


def label(image: Array, text: str, size: int) -> Array:
    """Enlarge a picture to a square and write a line of text under it."""
    big = cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST)
    bar = np.full((24, size, 3), 255, np.uint8)
    cv2.putText(bar, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (28, 33, 40), 1, cv2.LINE_AA)
    return np.concatenate([big, bar])


def _span(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _x(value: float, span: tuple[float, float]) -> float:
    return _LEFT + (value - span[0]) / (span[1] - span[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    height = _HEIGHT - _TOP - _BOTTOM
    return _HEIGHT - _BOTTOM - (value - span[0]) / (span[1] - span[0]) * height


def _ticks(span: tuple[float, float]) -> list[float]:
    """Return round numbers within a span, about five of them."""
    rough = (span[1] - span[0]) / 5
    decade = 10.0 ** np.floor(np.log10(rough))
    step = decade * next(nice for nice in (1, 2, 5, 10) if nice * decade >= rough)
    first = int(np.ceil(span[0] / step - 1e-9))
    last = int(np.floor(span[1] / step + 1e-9))
    return [number * step for number in range(first, last + 1)]


def _frame(
    title: str,
    x_label: str,
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    log: bool,
    inside: str,
) -> str:
    """Return axes with ticks around the inside of a chart."""
    ticks = []
    for y in _ticks(y_span):
        text = f'{10**y if log else y:.3g}'
        ticks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(y, y_span):.1f}" '
            f'y2="{_y(y, y_span):.1f}" stroke="#eaeef2"/>'
            f'<text x="{_LEFT - 6}" y="{_y(y, y_span) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    for x in _ticks(x_span):
        ticks.append(
            f'<text x="{_x(x, x_span):.1f}" y="{_HEIGHT - _BOTTOM + 15}" '
            f'text-anchor="middle">{x:.4g}</text>'
        )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="{_LEFT}" y="16">{escape(title)}</text>{"".join(ticks)}{inside}'
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f'{escape(x_label)}</text></svg>'
    )
