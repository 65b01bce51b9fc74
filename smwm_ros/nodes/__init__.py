# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: thin shells around core; the only folder that imports rclpy and messages."""
