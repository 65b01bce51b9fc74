# SPDX-License-Identifier: Apache-2.0
"""
Rosbags to datasets, and arenas to rosbags; the only room that imports rosbags and mcap.

Read in this order: reading, survey, converting, writing.
"""
