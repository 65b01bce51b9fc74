# SPDX-License-Identifier: Apache-2.0
"""
Frames and actions to a rosbag2, as a robot records them.

Read in this order: writer, timeline, serialise, blank.
"""
