# SPDX-License-Identifier: Apache-2.0
"""
Decide whether the robot may move: limits, stops, ticks, routes. Without torch and ROS.

Read in this order: controller, timed_plan, guard, reasons, caution, stop_latch, ticks,
command_record, search_time, route, alternatives, goal_library, percentiles.
"""
