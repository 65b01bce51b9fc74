# SPDX-License-Identifier: Apache-2.0
"""Parts of pages: tables, and frames with their commands drawn below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from smwm_ros.interfaces import ActionSpec, Array
from smwm_ros.pages.html import escape, wide

FRAME = 94  # width of a frame in a strip [px]
WORST = 10  # rows in a list of the worst
DRIVEN, PLANNED = (31, 111, 235), (209, 105, 14)  # colours of commands, RGB
_GAP = 4  # between frames [px]
_PAPER, _LIMIT = (255, 255, 255), (208, 215, 222)
_BARS = 8  # fields that get a bar
_TURNS = ('angular.z', 'steering_angle')


def table(head: Sequence[str], rows: Sequence[Sequence[str]], pictures: Sequence[str] = ()) -> str:
    """Return a table; pictures, which are HTML already, stand before its rows."""
    titles = ''.join(f'<th>{escape(title)}</th>' for title in head)
    before = [f'<td>{picture}</td>' for picture in pictures] or [''] * len(rows)
    lines = ''.join(
        f'<tr>{cell}{"".join(f"<td>{escape(text)}</td>" for text in row)}</tr>'
        for cell, row in zip(before, rows, strict=True)
    )
    return wide(f'<table><tr>{titles}</tr>{lines}</table>')


def more(count: int) -> str:
    """Return how many more rows a list has."""
    return f'<p>and {count - WORST} more</p>' if count > WORST else ''


def duration(seconds: float) -> str:
    """Format a duration in s, min or h."""
    if seconds < 120:
        return f'{seconds:.1f} s'
    return f'{seconds / 60:.1f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def strip(frames: Array, actions: Array, spec: ActionSpec) -> Array:
    """Return frames (n, H, W, 3) side by side, each above the command (A,) given there."""
    height = round(FRAME * frames.shape[1] / frames.shape[2])
    columns = []
    for frame, action in zip(frames, actions, strict=True):
        tile = cv2.resize(frame, (FRAME, height), interpolation=cv2.INTER_NEAREST)
        below = command_tile({DRIVEN: action}, spec, FRAME, FRAME // 2)
        column = np.concatenate([tile, below])
        columns += [column, np.full((len(column), _GAP, 3), _PAPER, np.uint8)]
    return np.concatenate(columns[:-1], axis=1)


def legend(spec: ActionSpec) -> str:
    """Describe how commands are drawn."""
    turn = _turn(spec)
    if spec.size != 2:
        names = ', '.join(spec.fields[:_BARS])
        more_ = f' and {spec.size - _BARS} more not drawn' if spec.size > _BARS else ''
        words = (
            'one bar per field, from the middle to the limit, positive to the right; top to '
            f'bottom: {names}{more_}'
        )
    elif turn is None:
        right, up = spec.fields
        words = f'an arrow: {right} to the right, {up} up; the circle is the limit'
    else:
        ahead = spec.fields[1 - turn]
        words = f'an arrow: {ahead} up, {spec.fields[turn]} to the left; the circle is the limit'
    return words


def command_tile(
    actions: Mapping[tuple[int, int, int], Array], spec: ActionSpec, width: int, height: int
) -> Array:
    """Draw commands by their colours: two fields as an arrow, others as bars; NaN not at all."""
    tile = np.full((height, width, 3), _PAPER, np.uint8)
    reach = np.maximum(np.maximum(np.abs(spec.low), np.abs(spec.high)), 1e-12)
    shares = {
        colour: np.clip(action / reach, -1, 1)
        for colour, action in actions.items()
        if np.isfinite(action).all()
    }
    if spec.size == 2:
        _draw_arrows(tile, shares, _turn(spec))
    else:
        _draw_bars(tile, shares)
    return tile


def _turn(spec: ActionSpec) -> int | None:
    """Return which of two fields turns the robot, to the left where positive."""
    turns = [number for number, name in enumerate(spec.fields) if name.endswith(_TURNS)]
    return turns[0] if len(turns) == 1 else None


def _draw_arrows(
    tile: Array, shares: Mapping[tuple[int, int, int], Array], turn: int | None
) -> None:
    """Draw arrows from the middle; at its limit one reaches the circle."""
    height, width = tile.shape[:2]
    middle, radius = np.array([width, height]) / 2, 0.45 * min(height, width)
    begin = (int(middle[0]), int(middle[1]))
    cv2.circle(tile, begin, round(radius), _LIMIT, 1, cv2.LINE_AA)
    for colour, share in shares.items():
        right, up = share if turn is None else (-share[turn], share[1 - turn])
        tip = middle + radius * np.array([right, -up])
        end = (round(tip[0]), round(tip[1]))
        cv2.circle(tile, begin, 2, colour, -1, cv2.LINE_AA)
        cv2.arrowedLine(tile, begin, end, colour, 2, cv2.LINE_AA, tipLength=0.3)


def _draw_bars(tile: Array, shares: Mapping[tuple[int, int, int], Array]) -> None:
    """Draw a bar for each field, from the middle to a side."""
    height, width = tile.shape[:2]
    count = min(len(next(iter(shares.values()), ())), _BARS)
    room = height / max(count, 1)
    cv2.line(tile, (width // 2, 0), (width // 2, height), _LIMIT, 1)
    for place, (colour, share) in enumerate(shares.items()):
        thick = room * 0.8 / len(shares)
        for field in range(count):
            top = field * room + 0.1 * room + place * thick
            end = round(width / 2 + 0.48 * width * float(share[field]))
            corners = (width // 2, round(top)), (end, max(round(top + thick) - 1, round(top)))
            cv2.rectangle(tile, *corners, colour, -1)
