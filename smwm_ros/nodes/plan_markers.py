# SPDX-License-Identifier: Apache-2.0
"""Draw a plan as markers at the positions that a linear probe reads off its latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Point
from smwm_ros import config
from smwm_ros.fieldpath import expand
from smwm_ros.planning.frame_bank import FrameBank
from std_msgs.msg import ColorRGBA
from torch import Tensor
from visualization_msgs.msg import Marker, MarkerArray

_LEAST_R2 = 0.5  # of the probe; nothing is drawn below that
_BLUE, _GREEN = (0.12, 0.44, 0.92), (0.16, 0.55, 0.29)  # RGB of plan and goal


class PlanMarkers:
    """Makes markers of the path of a plan, its end and the goal."""

    def __init__(self, robot: config.Robot, bank: FrameBank, x: int, y: int) -> None:
        self._frame_id = robot.state.frame_id
        self._bank = bank
        self._x, self._y = x, y  # columns of the measured state

    def draw(self, path: Tensor, goal: Tensor | None, stamp: Any) -> MarkerArray:
        """Return markers for latents: path (T+1, D), and goal (1, D) where it is an image."""
        points = self._points(path)
        markers = [
            self._marker(0, Marker.LINE_STRIP, _BLUE, points),
            self._marker(1, Marker.SPHERE_LIST, _BLUE, points[-1:]),
        ]
        if goal is not None:
            markers.append(self._marker(2, Marker.SPHERE_LIST, _GREEN, self._points(goal)))
        for marker in markers:
            marker.header.stamp = stamp
        return MarkerArray(markers=markers)

    def _points(self, latents: Tensor) -> list[Point]:
        """Return the positions of latents (n, D) in the frame of the measured state."""
        states = self._bank.read(latents)
        return [Point(x=float(row[self._x]), y=float(row[self._y])) for row in states]

    def _marker(
        self, number: int, kind: int, colour: tuple[float, float, float], points: list[Point]
    ) -> Marker:
        """Return one marker."""
        marker = Marker(ns='plan', id=number, type=kind, action=Marker.ADD, points=points)
        marker.header.frame_id = self._frame_id
        marker.pose.orientation.w = 1.0
        size = 0.02 if kind == Marker.LINE_STRIP else 0.08  # [m]
        marker.scale.x = marker.scale.y = marker.scale.z = size
        marker.color = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=1.0)
        marker.lifetime.sec = 1
        return marker


def plan_markers(
    robot: config.Robot, bank: FrameBank | None, warn: Callable[[str], None]
) -> PlanMarkers | None:
    """Return markers if positions can be read off latents, else None."""
    fields = list(expand(robot.state.fields)) if robot.state.topic else []
    x, y = (
        next((n for n, field in enumerate(fields) if field.endswith(f'position.{axis}')), None)
        for axis in 'xy'
    )
    if x is None or y is None or bank is None:
        return None
    r2 = min(bank.skill[x], bank.skill[y])
    if not r2 >= _LEAST_R2:
        warn(
            f'no markers: R2 of the probe for positions is {r2:.2f}, expected {_LEAST_R2} or more'
        )
        return None
    return PlanMarkers(robot, bank, x, y)
