# SPDX-License-Identifier: Apache-2.0
"""
Write rosbags: of frames and actions, as a robot would record them, and of a running robot.

Read in this order: writer, timeline, serialise, blank, raw, rosbag2, episodes.
"""
