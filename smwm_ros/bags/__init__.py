# SPDX-License-Identifier: Apache-2.0
"""
Rosbags and videos to datasets, arenas to rosbags; only here are rosbags, mcap and av imported.

Read in this order: reading, survey, converting, writing.
"""
