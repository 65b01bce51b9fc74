# SPDX-License-Identifier: Apache-2.0
"""
ROS 2 nodes, which connect the other rooms to topics; the only room that imports rclpy.

Read in this order: plan, ready, active, robot_setup, cameras, planner_thread, command_thread,
command_output, goals, stop_server, latency, stats, plan_display, plan_panel, reason_log, health,
diagnostics, parameters, messages, subscriber, peers, clocks, nonblocking_log, spin, child_process,
client, shadow, arena, robot_topics, sim_time, trial.
"""
