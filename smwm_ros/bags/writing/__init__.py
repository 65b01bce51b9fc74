# SPDX-License-Identifier: Apache-2.0
"""
Write frames and actions to a rosbag2, as a robot would record them.

Read in this order: writer, timeline, serialise, blank, raw.
"""
