# SPDX-License-Identifier: Apache-2.0
"""Publish what is known of each plan: statistics, the progress towards the goal, the display."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.node import Node
from smwm_ros.nodes.current_goal import CurrentGoal
from smwm_ros.nodes.plan_display import PlanDisplay, PlanSnapshot
from smwm_ros.nodes.planner_thread import PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.stats import Stats


class PlanPublisher:
    """Publishes each plan that the controller accepts."""

    def __init__(
        self, node: Node, setup: Setup, goal: CurrentGoal, warn: Callable[[str], None]
    ) -> None:
        self._goal = goal
        self._stats = Stats(node)
        self._display = PlanDisplay(node, setup, warn)
        self.set_model = self._display.set_model
        self._shares: Mapping[str, float] = {}  # of each term in the cost of the last plan
        self._to_go: float | None = None  # of the last plan along a roadmap [model steps]

    def publish(self, report: PlanReport, measured: Mapping[str, float]) -> None:
        """Publish one plan, and what was measured at its image."""
        plan, goal = report.plan, self._goal
        self._shares, self._to_go = plan.shares, plan.to_go
        self._stats.publish(report, goal.update(report), measured)
        if self._display.has_subscribers:
            near = 0.0 if goal.tolerance is None else goal.tolerance.near
            self._display.update(
                PlanSnapshot(
                    report.pixels,
                    goal.picture(report.subgoal),
                    goal.number,
                    near,
                    plan,
                    measured,
                    report.frame_id,
                )
            )

    def values(self) -> dict[str, float]:
        """Return the values for /diagnostics."""
        costs = {f'cost_{name}': share for name, share in self._shares.items()}
        return costs if self._to_go is None else {**costs, 'to_go': self._to_go}

    def close(self) -> None:
        """End the thread of the display; may be called twice and from any thread."""
        self._display.close()

    def destroy(self) -> None:
        """Destroy the publishers; only from the executor's thread."""
        self._stats.destroy()
        self._display.destroy()
