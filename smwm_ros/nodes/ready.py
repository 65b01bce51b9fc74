# SPDX-License-Identifier: Apache-2.0
"""What is there between configuration and clean-up of the plan node."""

from __future__ import annotations

from rclpy.publisher import Publisher
from smwm_ros.control.search_time import SearchTime
from smwm_ros.interfaces import Array
from smwm_ros.nodes.planner_thread import PilotLike
from smwm_ros.nodes.robot_setup import Setup


class Configured:
    """What the configure transition leaves behind."""

    def __init__(
        self,
        setup: Setup,
        pilot: PilotLike,
        commands: Publisher | None,
        goal: Array | None,
        effort: SearchTime,  # how long plans take here
    ) -> None:
        self.setup, self.pilot, self.commands, self.goal = setup, pilot, commands, goal
        self.effort = effort
