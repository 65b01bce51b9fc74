# SPDX-License-Identifier: Apache-2.0
"""
Collect data: run a policy in an arena, and record rosbags.

Read in this order: record, pool, fresh.
"""
