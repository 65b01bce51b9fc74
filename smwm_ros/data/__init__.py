# SPDX-License-Identifier: Apache-2.0
"""
Transition datasets on disk. Without torch.

Read in this order: dataset, shards, rows, jpeg_column, photographs, split, describe, stored,
evenly_spaced.
"""
