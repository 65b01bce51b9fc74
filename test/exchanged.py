# SPDX-License-Identifier: Apache-2.0
"""A dataset of known contents, for the tests of other formats and of the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from smwm_ros.config import Camera, Command, Dataset, Robot, State
from smwm_ros.data.dataset import write_index
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.load import to_dict

SIZE = 16
LENGTHS = {'monday': [130, 12], 'tuesday': [25]}  # rows of the episodes of two shards
ROBOT = Robot(Camera(), Command(), State(topic='/odom'))
SETTINGS = Dataset(image_size=SIZE)
META = {
    'source': {'files': ['a.mcap'], 'bytes': 7, 'fingerprint': 'ab'},
    'time': {'base': 'header', 'why': 'all topics have sound headers'},
    'dropped': {'no command was heard in time': 3},
    'counts': {'frames': 200, 'gaps between frames': 1},
    'notes': ['60 % of the file could be read'],
    'faults': {},
    'frame_period': 0.1,
    'versions': {},
}


def write_dataset(
    folder: Path,
    robot: Robot = ROBOT,
    settings: Dataset = SETTINGS,
    unmeasured: Sequence[int] = (),  # rows of the first shard without a state
) -> Path:
    """Write noise as frames, actions and states, with a gap of a second between episodes."""
    rng = np.random.default_rng(0)
    width = 2 if robot.state.topic else 0
    said = {'robot': to_dict(robot), 'dataset': to_dict(settings)}
    quality = settings.jpeg_quality if settings.pixels == 'jpeg' else None
    row = columns(SIZE, 2, width, quality)
    for name, lengths in LENGTHS.items():
        stops = np.cumsum(lengths).tolist()
        spans = list(zip([0, *stops[:-1]], stops, strict=True))
        rows = np.arange(stops[-1])
        episode = np.searchsorted(stops, rows, side='right')
        state = rng.normal(0, 1, (len(rows), width))
        state[list(unmeasured) if name == 'monday' else []] = np.nan
        with ShardWriter(folder / 'shards' / name, row) as writer:
            writer.append(
                pixels=rng.integers(0, 255, (len(rows), SIZE, SIZE, 3), np.uint8),
                action=rng.uniform(-0.5, 0.5, (len(rows), 2)),
                state=state,
                episode=episode,
                stamp=1_700_000_000_000_000_000 + (rows + 9 * episode) * 100_000_000,
            )
            writer.publish({**META, **said, 'episodes': spans})
    sources = {'sources': dict.fromkeys(LENGTHS, META['source'])}
    write_index(folder, said['robot'], said['dataset'], LENGTHS, sources)
    return folder
