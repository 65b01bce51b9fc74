# SPDX-License-Identifier: Apache-2.0
"""How planning goes, for every plan: as JSON for programs, and as plain numbers for plotters."""

from __future__ import annotations

from collections.abc import Mapping
import json
from math import isfinite
from typing import Any

from rclpy.node import Node
from smwm_ros.nodes.planner_thread import PlanReport
from std_msgs.msg import Float32, String

TOPIC = '~/stats'
NUMBERS = ('plan_ms', 'image_age_ms', 'cost', 'spread', 'distance')


class Stats:
    """Publishes what is known of each plan."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._whole = node.create_publisher(String, TOPIC, 10)
        self._numbers = {
            name: node.create_publisher(Float32, f'{TOPIC}/{name}', 10) for name in NUMBERS
        }

    def publish(self, plan_report: PlanReport, goal: Mapping[str, int | bool]) -> None:
        """Say how a plan came about, and where the robot is on its way."""
        plan = plan_report.plan
        said: dict[str, Any] = {
            'plan_ms': round(plan_report.plan_ms, 3),
            'image_age_ms': round(plan_report.age_ms, 3),
            'cost': plan.cost,
            'spread': plan.spread,
            'distance': plan.distance,
            'shares': dict(plan.shares),
            # JSON knows no infinity.
            'to_go': plan.to_go if plan.to_go is None or isfinite(plan.to_go) else 'no way known',
            **goal,
        }
        self._whole.publish(String(data=json.dumps(said)))
        for name, publisher in self._numbers.items():
            publisher.publish(Float32(data=float(said[name])))

    def destroy(self) -> None:
        """Give the publishers back; only from the executor's thread."""
        for publisher in (self._whole, *self._numbers.values()):
            self._node.destroy_publisher(publisher)
