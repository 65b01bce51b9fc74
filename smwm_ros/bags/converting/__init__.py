# SPDX-License-Identifier: Apache-2.0
"""
One recording to one shard, and many recordings in parallel.

Read in this order: convert, job, shard_builder, frame_track, number_track, grid, align, ages,
faults, photographs, pool, ray_pool.
"""
