# SPDX-License-Identifier: Apache-2.0
"""What the parts of a contact sheet are made of: tables, and frames with what was commanded."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from smwm_ros.core.interfaces import ActionSpec, Array
from smwm_ros.report import escape

FRAME = 94  # width of a frame [px]
WORST = 10  # rows in a list of the worst
_ARROW = (255, 230, 0)
_EDGE = (20, 20, 20)
_TURNS = ('angular.z', 'steering_angle')


def table(head: Sequence[str], rows: Sequence[Sequence[str]], pictures: Sequence[str] = ()) -> str:
    """Return a table; pictures, which are HTML already, stand before its rows."""
    titles = ''.join(f'<th>{escape(title)}</th>' for title in head)
    before = [f'<td>{picture}</td>' for picture in pictures] or [''] * len(rows)
    lines = ''.join(
        f'<tr>{cell}{"".join(f"<td>{escape(text)}</td>" for text in row)}</tr>'
        for cell, row in zip(before, rows, strict=True)
    )
    return f'<table><tr>{titles}</tr>{lines}</table>'


def more(count: int) -> str:
    """Say that a list goes on."""
    return f'<p>and {count - WORST} more</p>' if count > WORST else ''


def duration(seconds: float) -> str:
    """Say a duration in the unit that suits it."""
    if seconds < 120:
        return f'{seconds:.1f} s'
    return f'{seconds / 60:.1f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def strip(frames: Array, actions: Array, spec: ActionSpec) -> Array:
    """Return frames (n, H, W, 3) side by side, with the actions (n, A) as arrows where A is 2."""
    tiles = []
    for frame, action in zip(frames, actions, strict=True):
        height = round(FRAME * frame.shape[0] / frame.shape[1])
        tile = cv2.resize(frame, (FRAME, height), interpolation=cv2.INTER_NEAREST)
        tiles.append(_with_arrow(tile, action, spec) if spec.size == 2 else tile)
    return np.concatenate(tiles, axis=1)


def arrows(spec: ActionSpec) -> list[str]:
    """Say what the arrows in a strip mean, if there are any."""
    if spec.size != 2:
        return []
    turn = _turn(spec)
    if turn is None:
        right, up = spec.fields
        words = f'{right} to the right, {up} up'
    else:
        words = f'{spec.fields[1 - turn]} up, {spec.fields[turn]} to the left'
    return [f'<p>The arrow in a frame is what was commanded: {escape(words)}.</p>']


def _turn(spec: ActionSpec) -> int | None:
    """Return which of two fields turns the robot, to the left where positive."""
    turns = [number for number, name in enumerate(spec.fields) if name.endswith(_TURNS)]
    return turns[0] if len(turns) == 1 else None


def _with_arrow(tile: Array, action: Array, spec: ActionSpec) -> Array:
    """Draw an action from the middle of a frame; at its limit it nearly reaches the edge."""
    reach = np.maximum(np.abs(spec.low), np.abs(spec.high))
    share = np.clip(action / reach, -1, 1)
    turn = _turn(spec)
    right, up = share if turn is None else (-share[turn], share[1 - turn])
    middle = np.array([tile.shape[1], tile.shape[0]]) / 2
    tip = middle + 0.45 * min(tile.shape[:2]) * np.array([right, -up])
    begin, end = ((int(x), int(y)) for x, y in (middle.round(), tip.round()))
    for colour, width in ((_EDGE, 4), (_ARROW, 2)):
        cv2.circle(tile, begin, width, colour, -1, cv2.LINE_AA)
        cv2.arrowedLine(tile, begin, end, colour, width, cv2.LINE_AA, tipLength=0.3)
    return tile
