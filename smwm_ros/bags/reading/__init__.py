# SPDX-License-Identifier: Apache-2.0
"""
Read any rosbag: whole, split, compressed or damaged.

Read in this order: find, open, reader, topics, clock, typestore, commands, trajectory, steps,
frames_at, zstd, unindexed, mcap_records, recover_mcap, recover_sqlite, sqlite_bounds,
recover_ros1.
"""
