# SPDX-License-Identifier: Apache-2.0
"""
The HDF5 layout of stable-worldmodel and LeWM: what its columns are called, and what we add.

Rows are flat and the episodes lie one after the other. Row t holds the frame o_t and the action
that was taken there; the last row of an episode has no action, which they write as NaN.
"""

from __future__ import annotations

from smwm_ros.errors import missing_extra

try:
    import h5py
except ImportError:
    raise missing_extra('HDF5', 'hdf5', 'h5py hdf5plugin') from None
try:
    import hdf5plugin  # importing it is what teaches HDF5 to read Blosc
except ImportError:
    hdf5plugin = None

__all__ = ['ABOUT', 'CHUNK', 'EPISODE', 'LAST_ACTION', 'STATE', 'h5py', 'hdf5plugin']

CHUNK = 100  # rows of frames in a chunk, and in memory at once
# One measured state under the names that different configurations ask for.
STATE = ('observation', 'proprio', 'state')
EPISODE = ('ep_idx', 'episode_idx', 'episode_index', 'episode_id', 'id')  # of a row, whoever wrote

# Attributes, which no reader of theirs looks at; with them our import gives the same dataset.
ABOUT = 'smwm_ros'  # of the file: index of the dataset, and meta.json of each shard, as JSON
LAST_ACTION = 'last'  # of `action`: what stood where NaN stands now (episodes, A)
