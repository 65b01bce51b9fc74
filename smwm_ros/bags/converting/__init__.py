# SPDX-License-Identifier: Apache-2.0
"""
Convert a bag to a shard, and many bags in parallel.

Read in this order: convert, job, shard_builder, frame_track, number_track, packet_counter, grid,
align, ages, motion_lag, faults, photographs, camera_check, pool, ray_pool.
"""
