# SPDX-License-Identifier: Apache-2.0
"""Lay out a recording in the viewer: images left, curves, scenes in 3D, and a log below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.interfaces import Array
from smwm_ros.viewers.recording import entity, RERUN

rrb = RERUN.blueprint
LOG = 'log'
_CHARTS = 4  # for the fields of an entity; more fields share one


class View3D(NamedTuple):
    """A view in 3D."""

    entity: str
    title: str
    points: Array  # (n, 3) that are seen
    towards: tuple[float, float, float]  # from the middle of the points to the eye
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)


def layout(
    images: Sequence[str],
    curves: Mapping[str, str],  # entities of charts, and their titles
    scenes: Sequence[View3D],
    timeline: str,
) -> Any:
    """Return the layout of a recording with these entities."""
    pictures = [rrb.Spatial2DView(origin=name, name=name) for name in images]
    charts = [rrb.TimeSeriesView(origin=name, name=title) for name, title in curves.items()]
    columns = [rrb.Vertical(*pictures), rrb.Vertical(*charts)]
    if scenes:
        columns.append(rrb.Vertical(*map(_view, scenes)))
    shares = [1.0, 2.0, 1.2]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(*columns, column_shares=shares[: len(columns)]),
            rrb.TextLogView(origin=LOG, name='Log'),
            row_shares=[4, 1],
        ),
        rrb.TimePanel(timeline=timeline, state='collapsed'),
        rrb.BlueprintPanel(state='collapsed'),
        rrb.SelectionPanel(state='collapsed'),
    )


def charts_of(root: str, fields: Sequence[str]) -> dict[str, str]:
    """Return a chart for each field of an entity, or one chart where there are many."""
    if len(fields) > _CHARTS:
        return {root: root}
    return {entity(root, field): field for field in fields}


def _view(scene: View3D) -> Any:
    """Return a view whose eye sees all points."""
    low, high = scene.points.min(0), scene.points.max(0)
    middle, size = (low + high) / 2, max(float(np.linalg.norm(high - low)), 1e-6)
    eye = middle + size * np.array(scene.towards)
    controls = rrb.EyeControls3D(position=eye, look_target=middle, eye_up=scene.up)
    return rrb.Spatial3DView(origin=scene.entity, name=scene.title, eye_controls=controls)
