# SPDX-License-Identifier: Apache-2.0
"""Read recordings of the Rerun viewer back, as rerun-sdk reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

NEEDED = 'rerun-sdk is not installed: pip install .[viz]'


class Row(NamedTuple):
    """What an entity has at an instant."""

    step: int
    stamp: int  # [ns]
    clock: str  # timeline of the stamp
    value: Any  # number, frame, text or points; None where it is cleared


def read_rows(path: Path) -> dict[str, list[Row]]:
    """Return the rows of each entity of a recording, in the order of their times."""
    chunk = pytest.importorskip('rerun.chunk', reason=NEEDED)
    found: dict[str, list[Row]] = {}
    for part in chunk.RrdReader(path).stream():
        if part.is_static:
            continue
        batch = part.to_record_batch()
        (clock,) = (name for name in part.timeline_names if name.startswith('robot_time'))
        stamps = batch.column(clock).cast('int64').to_pylist()
        values = batch.drop_columns(part.timeline_names).to_pylist()
        steps = batch.column('step').to_pylist()
        for row, step, stamp in zip(values, steps, stamps, strict=True):
            value = None if 'Clear:is_recursive' in row else value_of(row)
            found.setdefault(part.entity_path, []).append(Row(step, stamp, clock, value))
    for rows in found.values():
        rows.sort(key=lambda row: (row.clock, row.stamp, row.value is not None))
    return found


def value_of(row: dict[str, Any]) -> Any:
    """Return what a row holds."""
    if 'EncodedImage:blob' in row:
        (data,) = row['EncodedImage:blob'] or [None]  # an image that is not there
        if data is None:
            return None
        bgr = cv2.imdecode(np.array(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    kinds = ('Scalars:scalars', 'TextLog:text', 'Points3D:positions', 'LineStrips3D:strips')
    (value,) = next(row[kind] for kind in kinds if kind in row)
    return value


def shown(rows: list[Row]) -> list[Row]:
    """Return the rows that show something."""
    return [row for row in rows if row.value is not None]


def series(rows: list[Row]) -> dict[int, float]:
    """Return the numbers of an entity by their steps."""
    return {row.step: row.value for row in shown(rows)}
