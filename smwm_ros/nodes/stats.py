# SPDX-License-Identifier: Apache-2.0
"""Publish statistics of every plan: as JSON for programs, as plain numbers for plotters."""

from __future__ import annotations

from collections.abc import Mapping
import json
from math import isfinite
from typing import Any

from rclpy.node import Node
from smwm_ros.nodes.planner_thread import PlanReport
from std_msgs.msg import Float32, String

TOPIC = '~/stats'
MEASURED = ('novelty', 'progress')  # of nodes/drive_monitor.py, where they are known
NUMBERS = ('plan_ms', 'image_age_ms', 'cost', 'spread', 'distance')


class Stats:
    """Publishes ~/stats and one topic for each of NUMBERS."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._json = node.create_publisher(String, TOPIC, 10)
        self._numbers = {
            name: node.create_publisher(Float32, f'{TOPIC}/{name}', 10) for name in NUMBERS
        }

    def publish(
        self, report: PlanReport, goal: Mapping[str, Any], measured: Mapping[str, float]
    ) -> None:
        """Publish the figures of a plan, of the goal, and of what was measured at the image."""
        plan = report.plan
        data: dict[str, Any] = {
            'plan_ms': round(report.plan_ms, 3),
            'image_age_ms': round(report.age_ms, 3),
            'cost': plan.cost,
            'spread': plan.spread,
            'distance': plan.distance,
            'shares': dict(plan.shares),
            # JSON has no infinity.
            'to_go': plan.to_go if plan.to_go is None or isfinite(plan.to_go) else 'no way known',
            'seconds_to_go': plan.seconds_to_go,
            **{name: round(measured[name], 4) for name in MEASURED if name in measured},
            **goal,
        }
        self._json.publish(String(data=json.dumps(data)))
        for name, publisher in self._numbers.items():
            publisher.publish(Float32(data=float(data[name])))

    def destroy(self) -> None:
        """Destroy the publishers; only from the executor's thread."""
        for publisher in (self._json, *self._numbers.values()):
            self._node.destroy_publisher(publisher)
