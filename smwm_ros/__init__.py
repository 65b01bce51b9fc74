# SPDX-License-Identifier: Apache-2.0
"""Sensorimotor World Models for ROS 2: from rosbags to a robot that plans from pixels."""

__version__ = '0.1.0'
