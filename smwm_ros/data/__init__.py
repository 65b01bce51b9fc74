# SPDX-License-Identifier: Apache-2.0
"""
Transition datasets on disk. Without torch.

Read in this order: dataset, shards, rows, actions, labels, observations, jpeg_column,
photographs, split, outcomes, joined, motion_lag, describe, stored, evenly_spaced.
"""
