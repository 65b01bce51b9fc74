# SPDX-License-Identifier: Apache-2.0
"""
ROS 2 nodes, which connect the other rooms to topics; the only room that imports rclpy.

Read in this order: plan, configured_planner, active, robot_setup, cameras, packet_reader,
image_reader, planner_thread, goal_planner, command_thread, command_output, latency, goals,
current_goal, goal_setter, goal_topics, goal_action, goal_services, goal_store, stop_server,
shadow, plan_publisher, stats, plan_display, plan_markers, plan_panel, drive_monitor, status,
reason_log, health, diagnostics, topic_monitor, parameter_handler, parameters, messages,
rclpy_versions, subscriber, latest, clocks, nonblocking_log, spin, child_process, client,
connection, listener, recorder, recorded_topic, recorder_report, keyboard, watcher, inbox,
watched_messages, arena, arena_tasks, robot_topics, sim_time, trial.
"""
