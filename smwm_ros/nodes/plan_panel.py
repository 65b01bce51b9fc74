# SPDX-License-Identifier: Apache-2.0
"""Draw the panel for the operator: camera image, goal, and predicted end of the plan."""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np
from smwm_ros.interfaces import Array

TILE, GAP, CAPTION, BAR = 224, 8, 22, 34  # [px]
_PAPER, _INK, _FAINT = (28, 33, 40), (230, 237, 243), (110, 118, 129)  # RGB
_ALARM = (248, 81, 73)
_FAR, _NEAR = (209, 105, 14), (42, 140, 74)


def panel(
    # caption, image (S, S, 3), text where there is no image
    tiles: Sequence[tuple[str, Array | None, str]],
    distance: float,  # latent distance to the goal
    farthest: float,  # largest distance since this goal was set
    near: float,  # distance at which the goal is reached, 0 if unknown
    notes: str = '',  # at the right of the bar
    alarm: bool = False,  # the notes are a warning
) -> Array:
    """Return the tiles side by side above a bar of the distance, (H, W, 3) uint8 RGB."""
    width = len(tiles) * TILE + (len(tiles) + 1) * GAP
    sheet = np.full((CAPTION + TILE + GAP + BAR, width, 3), _PAPER, np.uint8)
    for number, (caption, image, instead) in enumerate(tiles):
        x = GAP + number * (TILE + GAP)
        _write(sheet, caption, x, CAPTION - 7, _INK)
        if image is not None:
            tile = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
            sheet[CAPTION : CAPTION + TILE, x : x + TILE] = tile
        else:
            for line, words in enumerate(_lines(instead)):
                _write(sheet, words, x + GAP, CAPTION + TILE // 3 + 18 * line, _FAINT)
    strip = sheet[CAPTION + TILE + GAP :]
    _write(strip, notes, width // 2, 12, _ALARM if alarm else _INK)
    _draw_bar(strip, distance, farthest, near)
    return sheet


def _draw_bar(strip: Array, distance: float, farthest: float, near: float) -> None:
    """Draw the distance to the goal; the whole bar is the largest one so far."""
    known = math.isfinite(distance)
    text = (
        f'latent distance to the goal {distance:.3g}'
        if known
        else 'the latent distance is not finite'
    )
    _write(strip, text, GAP, 12, _INK)
    left, right, top, bottom = GAP, strip.shape[1] - GAP, 18, 28
    cv2.rectangle(strip, (left, top), (right, bottom), _FAINT, 1)
    whole = max(farthest, 1e-9)
    if known:
        end = left + round((right - left) * min(distance / whole, 1.0))
        cv2.rectangle(strip, (left, top), (end, bottom), _NEAR if distance <= near else _FAR, -1)
    if 0 < near < whole:
        x = left + round((right - left) * near / whole)
        cv2.line(strip, (x, top - 3), (x, bottom + 3), _INK, 1)


def _write(sheet: Array, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Write one line of small text with its lower left corner at (x, y)."""
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _lines(text: str, most: int = 28) -> list[str]:
    """Break a text into lines of `most` characters."""
    lines = ['']
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines
