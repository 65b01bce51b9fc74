# SPDX-License-Identifier: Apache-2.0
"""The diagnostics of the plan node, once a second."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from smwm_ros import config
from smwm_ros.control.reasons import Reason
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.diagnostics import fill
from smwm_ros.text import count_of, line

_LASTING = 4  # looks; nodes find each other one by one
_LOSS = 0.1  # a larger share of lost images is worth a warning


class Health:
    """Looks at what is active, and publishes what it sees."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.begin()

    def begin(self) -> None:
        """Count from a new activation on."""
        self._frames = self._lost = 0  # at the last look
        self._seen: dict[str, int] = {}  # what other nodes misunderstand, and for how many looks

    def publish(
        self,
        reason: Reason,
        active: ActiveSession | None,
        knobs: config.Node,
        dt: float,
        latched: Reason | None,
    ) -> None:
        """Publish one message; raise if a thread of ours has died."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        values: dict[str, float | int | bool] = {'stop_latched': latched is not None}
        warnings: list[str] = []
        if active is not None:
            active.check()
            values |= active.values()
            heard, self._frames = active.cameras.count - self._frames, active.cameras.count
            lost, self._lost = active.cameras.lost - self._lost, active.cameras.lost
            values['camera_hz'] = heard
            warnings = [*self._misunderstandings(active), *_images(heard, lost, dt)]
            if knobs.dry_run:
                warnings.append('dry run: no command is published')
        name = f'{self._node.get_fully_qualified_name().lstrip("/")}: control'
        self._publisher.publish(fill(message, name, reason, '; '.join(warnings), values))

    def _misunderstandings(self, active: ActiveSession) -> list[str]:
        """Return what lasts; the log has each of them once."""
        now = active.misunderstandings()
        self._seen = {text: self._seen.get(text, 0) + 1 for text in now}
        for text, looks in self._seen.items():
            if looks == _LASTING:
                self._node.get_logger().warning(line(text))
        return [text for text, looks in self._seen.items() if looks >= _LASTING]


def _images(heard: int, lost: int, dt: float) -> list[str]:
    """Return what is wrong with the images of the last second."""
    if lost > _LOSS * (heard + lost):
        return [
            f'lost on their way: {lost} of {count_of(heard + lost, "image")} of the last second; '
            'start camera and planner with FASTDDS_DEFAULT_PROFILES_FILE=config/'
            'fastdds.xml, or send compressed images'
        ]
    if heard < 0.5 / dt:
        return [f'only {count_of(heard, "image")} came in the last second']
    return []
