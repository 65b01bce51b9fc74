# SPDX-License-Identifier: Apache-2.0
"""A picture of moments for people: the frame before, the frame after, and the difference."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from smwm_ros.interfaces import Array

TILE, TITLE, MARGIN = 160, 22, 8  # [px]
COLUMNS = 2  # moments side by side
HEADING = 'before, after, difference'
WHITE, INK = 255, (40, 33, 28)


def contact_sheet(titles: Sequence[str], before: Array, after: Array) -> bytes:
    """Return a PNG of moments with these titles, of RGB frames (n, H, W, 3)."""
    cells = [_cell(*moment) for moment in zip(titles, before, after, strict=True)]
    cells += [np.full_like(cells[0], WHITE)] * (-len(cells) % COLUMNS)
    lines = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
    heading = np.full((TITLE + MARGIN, lines[0].shape[1], 3), WHITE, np.uint8)
    _print(heading, f'Each moment: {HEADING}')
    _, data = cv2.imencode('.png', np.vstack([heading, *lines])[..., ::-1])
    return bytes(data)


def _cell(title: str, before: Array, after: Array) -> Array:
    """Return the picture of one moment, RGB."""
    difference = np.abs(after.astype(np.int16) - before)
    # The largest change is white, so that a small one is visible, too.
    shown = (difference * (255 / max(int(difference.max()), 1))).astype(np.uint8)
    size = (TILE, TILE)
    tiles = [
        cv2.copyMakeBorder(
            cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC),
            *(0, MARGIN, MARGIN // 2, MARGIN // 2),
            cv2.BORDER_CONSTANT,
            value=(WHITE,) * 3,
        )
        for frame in (before, after, shown)
    ]
    pictures = np.hstack(tiles)
    bar = np.full((TITLE, pictures.shape[1], 3), WHITE, np.uint8)
    _print(bar, title)
    cell: Array = np.pad(
        np.vstack([bar, pictures]), ((0, 0), (MARGIN, MARGIN), (0, 0)), constant_values=WHITE
    )
    return cell


def _print(bar: Array, text: str) -> None:
    """Print a text on a bar; OpenCV draws ASCII alone."""
    plain = text.encode('ascii', 'replace').decode()
    cv2.putText(bar, plain, (MARGIN, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
