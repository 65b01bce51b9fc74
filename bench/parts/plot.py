# SPDX-License-Identifier: Apache-2.0
"""Draw a chart of values over time as an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from smwm_ros.interfaces import Array

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1000, 260, 70, 20, 34, 20  # [px]
INK, FAINT = (40, 33, 28), (220, 216, 208)  # BGR
COLOURS = ((14, 105, 209), (235, 111, 31), (74, 140, 42))


def chart(title: str, curves: Mapping[str, Sequence[float] | Array], zero: bool = False) -> Array:
    """Return curves as dots on a common scale, (HEIGHT, WIDTH, 3) BGR; later ones on top."""
    sheet = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    arrays = {name: np.asarray(values, float) for name, values in curves.items()}
    everything = np.concatenate(list(arrays.values()))
    low = 0.0 if zero else float(everything.min())
    high = float(everything.max()) * (1.1 if zero else 1.0)
    high = max(high, low + 1e-9)
    for share in (0.0, 0.5, 1.0):
        level = round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))
        cv2.line(sheet, (LEFT, level), (WIDTH - RIGHT, level), FAINT, 1)
        _write(sheet, f'{low + share * (high - low):.4g}', 8, level + 4, INK)
    _write(sheet, title, LEFT, 18, INK)
    x_name = WIDTH - RIGHT
    for number, (name, values) in enumerate(arrays.items()):
        x = np.linspace(LEFT, WIDTH - RIGHT, len(values))
        y = HEIGHT - BOTTOM - (values - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
        for place in zip(x.round().astype(int), y.round().astype(int), strict=True):
            cv2.circle(sheet, tuple(int(part) for part in place), 1, COLOURS[number], -1)
        text = f'{name}: median {np.median(values):.4g}, p99 {np.percentile(values, 99):.4g}'
        x_name -= 9 * len(text)
        _write(sheet, text, x_name, 18, COLOURS[number])
        x_name -= 14
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
