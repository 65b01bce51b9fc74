# SPDX-License-Identifier: Apache-2.0
"""Publish the diagnostics of the plan node once a second."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from smwm_ros import config
from smwm_ros.control.reasons import Reason
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.diagnostics import fill
from smwm_ros.text import count_of, line

_LASTING = 4  # seconds until a problem is reported; discovery of nodes takes time
_LOSS = 0.1  # a larger share of lost images is a warning


class HealthPublisher:
    """Collects the values and problems of the active session, and publishes /diagnostics."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.reset()

    def reset(self) -> None:
        """Count from a new activation on."""
        self._frames = self._lost = 0  # a second ago
        self._problems: dict[str, int] = {}  # and for how many seconds there was each

    def publish(
        self,
        reason: Reason,
        session: ActiveSession | None,  # None while the node is not active
        knobs: config.Node,
        dt: float,
        stopped: bool,
    ) -> None:
        """Publish one message; raise if a thread of the session has died."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        values: dict[str, float | int | bool] = {'stop_latched': stopped}
        warnings: list[str] = []
        if session is not None:
            session.check_threads()
            values |= session.values()
            cameras = session.cameras
            received, self._frames = cameras.count - self._frames, cameras.count
            lost, self._lost = cameras.lost - self._lost, cameras.lost
            values['camera_hz'] = received
            problems = self._lasting(session.problems())
            warnings = [*problems, *_image_problems(received, lost, dt)]
            if knobs.dry_run:
                warnings.append('dry run: no command is published')
        name = f'{self._node.get_fully_qualified_name().lstrip("/")}: control'
        self._publisher.publish(fill(message, name, reason, '; '.join(warnings), values))

    def _lasting(self, problems: list[str]) -> list[str]:
        """Return the problems that last, and log each of them once."""
        self._problems = {text: self._problems.get(text, 0) + 1 for text in problems}
        for text, seconds in self._problems.items():
            if seconds == _LASTING:
                self._node.get_logger().warning(line(text))
        return [text for text, seconds in self._problems.items() if seconds >= _LASTING]


def _image_problems(received: int, lost: int, dt: float) -> list[str]:
    """Return what is wrong with the images of the last second."""
    if lost > _LOSS * (received + lost):
        return [
            f'lost in the last second: {lost} of {count_of(received + lost, "image")}; start '
            'camera and planner with FASTDDS_DEFAULT_PROFILES_FILE=config/fastdds.xml, or '
            'publish compressed images'
        ]
    if received < 0.5 / dt:
        return [f'only {count_of(received, "image")} received in the last second']
    return []
