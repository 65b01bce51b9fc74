# SPDX-License-Identifier: Apache-2.0
"""
Read any rosbag, whole, split, compressed or damaged, and video files.

Read in this order: find, outcome, open, reader, topics, clock, typestore, commands, trajectory,
steps, packets, frames_at, video, zstd, unindexed, mcap_records, recover_mcap, recover_sqlite,
sqlite_bounds, recover_ros1.
"""
