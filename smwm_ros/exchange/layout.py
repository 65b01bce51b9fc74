# SPDX-License-Identifier: Apache-2.0
"""
The HDF5 layout of stable-worldmodel and LeWM: the names of its columns, and our attributes.

The rows of all episodes are concatenated. Row t has the frame o_t and the action taken there; the
last row of an episode has no action, which is written as NaN.
"""

from __future__ import annotations

from smwm_ros.errors import missing_extra

try:
    import h5py
except ImportError:
    raise missing_extra('HDF5', 'hdf5', 'h5py hdf5plugin') from None
try:
    import hdf5plugin  # the import registers Blosc with HDF5
except ImportError:
    hdf5plugin = None

__all__ = ['ABOUT', 'CHUNK', 'EPISODE', 'LAST_ACTION', 'STATE', 'h5py', 'hdf5plugin']

CHUNK = 100  # rows of frames in a chunk, and in memory at once
# The measured state is written under each name that a configuration of theirs may use.
STATE = ('observation', 'proprio', 'state')
# The names of the column with the episode of each row, in files of several projects.
EPISODE = ('ep_idx', 'episode_idx', 'episode_index', 'episode_id', 'id')

# Attributes that other readers ignore; with them, our import gives the same dataset.
ABOUT = 'smwm_ros'  # of the file: index of the dataset, and meta.json of each shard, as JSON
LAST_ACTION = 'last'  # of `action`: the actions that were replaced by NaN (episodes, A)
