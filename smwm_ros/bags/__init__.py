# SPDX-License-Identifier: Apache-2.0
"""
Rosbags and videos to datasets, arenas to rosbags; only here are rosbags and mcap imported.

Read in this order: reading, survey, converting, writing.
"""
